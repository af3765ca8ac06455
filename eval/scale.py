"""Plan for ten million passages and more: print the tables of docs/scale.md, write them there, measure their inputs.

python -m querywright.eval.scale [--queries 500] [--machine-price 1.8] [--measure] [--write]
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import orjson

from .. import InputError, QuerywrightError
from .scale_measure import Plan, measure
from .scale_model import SIZES, Assumptions, Inputs
from .scale_tables import tables
from .speed import machine

DOCUMENT = Path(__file__).parent.parent / "docs" / "scale.md"
INPUTS = DOCUMENT.with_suffix(".json")

_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, or write them into the document, or measure the inputs; return the exit code."""
    given = vars(_parser().parse_args(arguments))
    try:
        _run(**given)
    except (QuerywrightError, OSError) as error:
        sys.stderr.write(f"scale: {error}\n")
        return 2
    return 0


def _run(
    *, measure_into: Path | None, inputs: Path, write: Path | None, seed: int, queries: float | None, **assumed: float
) -> None:
    if measure_into is not None:
        figures = {"machine": machine(), "figures": measure(Plan(seed=seed))}
        measure_into.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
        inputs = measure_into
    sizes = [replace(one, queries=queries or one.queries) for one in SIZES]
    made = tables(read_inputs(inputs), Assumptions(**assumed), sizes, seed)
    if write is None:
        sys.stdout.write("\n".join(f"{name}\n\n{table}" for name, table in made.items()))
    else:
        write.write_text(woven(write.read_text(encoding="utf-8"), made), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m querywright.eval.scale", description=(__doc__ or "").splitlines()[0])
    measured = "measure on one core first, for some minutes, and keep it"
    parser.add_argument("--measure", dest="measure_into", type=Path, nargs="?", const=INPUTS, help=measured)
    parser.add_argument("--inputs", type=Path, default=INPUTS, help="what was measured [%(default)s]")
    parser.add_argument("--write", type=Path, nargs="?", const=DOCUMENT, help="bring a document's tables up to date")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--queries", type=_positive, help="a second, at every size [100, 1,000, 10,000]")
    for one in fields(Assumptions):
        option = f"--{one.name.replace('_', '-')}"
        parser.add_argument(option, type=_positive, default=one.default, help=f"{one.metadata['why']} [%(default)s]")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("expected a number above 0")
    return value


def read_inputs(path: Path) -> Inputs:
    """Return what `--measure` wrote; raises InputError where it cannot be read."""
    try:
        return Inputs(orjson.loads(path.read_bytes())["figures"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not what --measure writes: {error}") from error


def woven(document: str, made: Mapping[str, str]) -> str:
    """Return `document` with each block `<!-- table: NAME -->` … `<!-- end -->` holding that table."""

    def block(found: re.Match[str]) -> str:
        if found[2] not in made:
            raise InputError(f"there is no table {found[2]!r}: expected any of {', '.join(made)}")
        return f"{found[1]}{made[found[2]]}{found[3]}"

    return _BLOCK.sub(block, document)


if __name__ == "__main__":
    sys.exit(main())
