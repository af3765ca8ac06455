"""Speed beside what users would pick instead: each part in a process of its own, all its contestants in that one."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from .. import InputError, UnavailableError

PARTS = ("lexical", "hybrid", "ingest", "update", "serve")
"""All that can be measured, by what is typed."""

_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")}
"""Libraries read these when they are imported."""

_PACKAGES = (
    "querywright",
    "numpy",
    "faiss-cpu",
    "faiss-gpu",
    "onnxruntime",
    "bm25s",
    "numba",
    "rank-bm25",
    "tantivy",
    "langchain-classic",
    "langchain-community",
    "sentence-transformers",
    "torch",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: documents, queries, turns of the contestants; with `encode`, real vectors of the texts."""

    size: int = 100_000
    queries: int = 1_000
    seed: int = 0
    rounds: int = 10
    encode: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant: how many times as fast ours is, its own figures, what is to be known of them."""

    name: str
    ratio: float | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What one part found: what was measured, the contestants with ours first, and what was checked beside speed."""

    part: str
    setup: str
    rows: Sequence[Row]
    checks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Speed:
    """What all parts found, and on which machine."""

    plan: Plan
    machine: Mapping[str, Any]
    results: Sequence[Result]

    def to_object(self) -> dict[str, Any]:
        """Return it for JSON: `machine`, `plan`, and `parts` by name."""
        parts = {result.part: {k: v for k, v in asdict(result).items() if k != "part"} for result in self.results}
        return {"machine": self.machine, "plan": asdict(self.plan), "parts": parts}

    def show(self, console: Console) -> None:
        """Print each part: what was measured, a table, and what else is to be known."""
        for result in self.results:
            console.print(f"{result.part}: {result.setup}")
            console.print(_table(result))
            for name, value in result.checks.items():
                console.print(f"{_worded(name)}: {value:.4f}")
            for row in result.rows:
                if row.note:
                    console.print(f"{row.name}: {row.note}")
            console.print()


def measure(parts: Iterable[str], plan: Plan) -> Speed:
    """Measure `parts`, all where none is named; raises InputError for a name that is none of `PARTS`."""
    wanted = list(dict.fromkeys(parts)) or list(PARTS)
    for part in wanted:
        if part not in PARTS:
            raise InputError(f"bench: there is no part {part!r:.40}: expected any of {', '.join(PARTS)}")
    return Speed(plan, machine(), [_measured_apart(part, plan) for part in wanted])


def _measured_apart(part: str, plan: Plan) -> Result:
    """Measure one part in a new process: with one thread where that is asked for, and nobody else's memory."""
    # Encoding and serving are timed as they are used.
    limits = {} if part in {"ingest", "serve"} else _ONE_THREAD
    code = "from querywright.eval.speed import main; main()"
    job = orjson.dumps({"part": part, "plan": asdict(plan)}).decode()
    done = subprocess.run(  # noqa: S603 # ourselves
        [sys.executable, "-P", "-c", code, job], env=os.environ | limits, stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise UnavailableError(f"bench: {part} could not be measured; what went wrong stands above")
    return result_of(orjson.loads(done.stdout))


def main() -> None:
    """Measure the part that the one argument names, and print the result as JSON: the other process's work."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # here it ends the work without a word
    warnings.simplefilter("ignore")  # of libraries about themselves
    job = orjson.loads(sys.argv[1])
    result = _measure_of(job["part"])(Plan(**job["plan"]))
    sys.stdout.buffer.write(orjson.dumps(asdict(result)))


def _measure_of(part: str) -> Callable[[Plan], Result]:
    # Imported here, in the process where threads are limited.
    module = import_module(f".speed_{'search' if part in {'lexical', 'hybrid'} else 'upkeep'}", __package__)
    measure_part: Callable[[Plan], Result] = getattr(module, part)
    return measure_part


def result_of(row: Mapping[str, Any]) -> Result:
    """Return the result that was written as JSON."""
    return Result(**{**row, "rows": [Row(**one) for one in row["rows"]]})


def _table(result: Result) -> Table:
    """Return how many times as fast ours is, then everybody's figures."""
    names = list(dict.fromkeys(name for row in result.rows for name in row.figures))
    table = Table("", show_edge=False, pad_edge=False)
    for name in ("ours is × as fast", *names):
        table.add_column(_worded(name), justify="right")
    for row in result.rows:
        figures = (row.figures.get(name) for name in names)
        table.add_row(row.name, *map(_shown, (row.ratio, *figures)))
    return table


def _worded(name: str) -> str:
    return name.replace("_per_s", "/s").replace("per_s", "/s").replace("_", " ")


def _shown(value: float | None) -> str:
    """Return three digits of a figure, all of a large one.

    >>> [_shown(value) for value in (12345.6, 1.2345, None, 0.9996)]
    ['12,346', '1.23', '', '1.00']
    """
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def machine() -> dict[str, Any]:
    """Say what was measured on: processor, cores, versions."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
