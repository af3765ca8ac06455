"""What an evaluation says: results.json for programs, a Markdown table for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import orjson

from .arms import BASELINE
from .experiment import Cell, DatasetResults, Results
from .measures import MAIN_MEASURE, means
from .runs import write_whole
from .significance import Comparison, compare, holm, seed_for

FORMAT = 1
"""The version of results.json."""


class VersusNone(TypedDict):
    """How an arm differs from `none` on the queries that it covers."""

    measure: str
    delta: float
    low: float
    high: float
    p: float
    p_holm: float
    helped: int
    hurt: int
    tied: int


class Percentiles(TypedDict):
    """Milliseconds that half, and nineteen of twenty, of the queries did not exceed."""

    p50: float
    p95: float


class LegResult(TypedDict):
    """One arm and leg on one data set."""

    queries: int
    changed: int
    degraded: int
    measures: dict[str, float]
    none: dict[str, float]
    vs_none: VersusNone
    ms: dict[str, Percentiles]


class DatasetResult(TypedDict):
    """One data set: arm → leg → result."""

    queries: int
    skipped: int
    arms: dict[str, dict[str, LegResult]]


class Report(TypedDict):
    """The object in results.json."""

    format: int
    seed: int
    datasets: dict[str, DatasetResult]


Key = tuple[str, str, str]
"""Data set, arm and leg."""


def report(results: Results) -> Report:
    """Return the object of results.json; the same results and seed give the same object.

    p-values are Holm-adjusted over every comparison of the evaluation.
    """
    comparisons = _comparisons(results)
    tested = [key for key in comparisons if key[1] != BASELINE]
    adjusted = dict(zip(tested, holm([comparisons[key].p for key in tested]), strict=True))
    return {
        "format": FORMAT,
        "seed": results.seed,
        "datasets": {dataset.name: _dataset(dataset, comparisons, adjusted) for dataset in results.datasets},
    }


def to_json(report: Report) -> bytes:
    """Return results.json."""
    return orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def markdown(report: Report) -> str:
    """Return the table: a row for each data set, arm and leg."""
    head = (
        "set",
        "arm",
        "leg",
        "queries",
        MAIN_MEASURE,
        BASELINE,
        "delta",
        "low..high",
        "p_holm",
        "helped/hurt/tied",
        "ms p50",
    )
    rows = [head, tuple("---" if name in head[:3] else "---:" for name in head), *_rows(report)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def write(report: Report, out: Path) -> None:
    """Write results.json and results.md into `out`."""
    write_whole(out / "results.json", to_json(report))
    write_whole(out / "results.md", markdown(report).encode())


def _comparisons(results: Results) -> dict[Key, Comparison]:
    return {
        key: _compare(cell, seed_for(results.seed, *key))
        for dataset in results.datasets
        for cell in dataset.cells
        for key in [(dataset.name, cell.arm, cell.leg)]
    }


def _compare(cell: Cell, seed: Sequence[int]) -> Comparison:
    ours, none = cell.values[MAIN_MEASURE], cell.none[MAIN_MEASURE]
    return compare([ours[query] - none[query] for query in cell.queries], cell.conversations, seed)


def _dataset(
    dataset: DatasetResults, comparisons: Mapping[Key, Comparison], adjusted: Mapping[Key, float]
) -> DatasetResult:
    arms: dict[str, dict[str, LegResult]] = {}
    for cell in dataset.cells:
        key = dataset.name, cell.arm, cell.leg
        legs = arms.setdefault(cell.arm, {})
        legs[cell.leg] = _leg(cell, comparisons[key], adjusted.get(key, 1.0))
    return {"queries": dataset.queries, "skipped": dataset.skipped, "arms": arms}


def _leg(cell: Cell, comparison: Comparison, p_holm: float) -> LegResult:
    return {
        "queries": len(cell.queries),
        "changed": cell.changed,
        "degraded": cell.degraded,
        "measures": means(cell.values),
        "none": means(cell.none),
        "vs_none": {
            "measure": MAIN_MEASURE,
            "delta": comparison.delta,
            "low": comparison.low,
            "high": comparison.high,
            "p": comparison.p,
            "p_holm": p_holm,
            "helped": comparison.helped,
            "hurt": comparison.hurt,
            "tied": comparison.tied,
        },
        "ms": {"rewrite": _percentiles(cell.rewrite_seconds), "search": _percentiles(cell.search_seconds)},
    }


def _percentiles(seconds: Sequence[float]) -> Percentiles:
    half, most = np.percentile(np.asarray(seconds, dtype=np.float64) * 1000, [50, 95])
    return {"p50": round(float(half), 3), "p95": round(float(most), 3)}


def _rows(report: Report) -> Iterable[tuple[str, ...]]:
    for name, dataset in report["datasets"].items():
        for arm, legs in dataset["arms"].items():
            for leg, result in legs.items():
                yield (_plain(name), _plain(arm), leg, *_figures(result, compared=arm != BASELINE))


def _figures(result: LegResult, *, compared: bool) -> tuple[str, ...]:
    versus = result["vs_none"]
    ours = f"{result['measures'][MAIN_MEASURE]:.3f}"
    none = f"{result['none'][MAIN_MEASURE]:.3f}"
    time = f"{result['ms']['rewrite']['p50'] + result['ms']['search']['p50']:.1f}"
    if not compared:
        return (str(result["queries"]), ours, none, "", "", "", "", time)
    return (
        str(result["queries"]),
        ours,
        none,
        f"{versus['delta']:+.3f}",
        f"{versus['low']:+.3f}..{versus['high']:+.3f}",
        "<.001" if versus["p_holm"] < 0.001 else f"{versus['p_holm']:.3f}",
        f"{versus['helped']}/{versus['hurt']}/{versus['tied']}",
        time,
    )


def _plain(text: str) -> str:
    """Return `text` with what would end a cell of the table escaped."""
    return re.sub(r"([|\\])", r"\\\1", text)
