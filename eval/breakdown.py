"""Whom did it help? Queries told apart by kind, and the confidence held against the outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from ..rewrite.language import language_of
from .measures import MAIN_MEASURE, mean
from .rows import json_rows
from .significance import LEVEL, TIE, standard_error, student_quantile

Key = tuple[str, str, str]
"""Data set, arm and leg."""

BUCKETS = 5
"""Buckets of the confidence by which queries are told apart."""

CALIBRATION_BUCKETS = 10
"""Buckets of the confidence that are held against the outcome."""


class _Row(TypedDict):
    """What every row of queries.jsonl has."""

    dataset: str
    id: str
    arm: str
    leg: str
    conversation: str
    turn: int
    labels: Mapping[str, str | int | float | bool]
    decision: str
    confidence: float
    rewriter: str
    degraded: str | None
    original: str
    rewrite: str
    gold: str | None
    edits: Sequence[Mapping[str, object]]
    values: Mapping[str, float]
    none: Mapping[str, float]
    stages: Mapping[str, float]
    ms: Mapping[str, float]


class QueryRow(_Row, total=False):
    """One row of queries.jsonl: what came of one query in one arm and leg."""

    usage: Mapping[str, int | None] | None


class Group(TypedDict):
    """Queries of one kind: the means of the arm and of `none`, and how they differ.

    `low` and `high` bound the difference with 95 % confidence; queries of one conversation count as one draw.
    """

    queries: int
    mean: float
    none: float
    delta: float
    low: float
    high: float
    helped: int
    hurt: int
    tied: int


Breakdown = Mapping[str, Mapping[str, Group]]
"""What queries are told apart by → kind → its group."""


class Bucket(TypedDict):
    """Changed queries whose confidence is in `low` <= confidence < `high` (the last bucket holds 1 too)."""

    low: float
    high: float
    queries: int
    confidence: float
    helped: float
    not_hurt: float


class Errors(TypedDict):
    """Expected calibration errors, null where no query was changed."""

    helped: float | None
    not_hurt: float | None


class Calibration(TypedDict):
    """How well the confidence tells what will come of a rewrite, over the queries that the arm changed."""

    queries: int
    ece: Errors
    buckets: list[Bucket]


class Percentiles(TypedDict):
    """Milliseconds that so many of a hundred queries did not exceed."""

    p50: float
    p95: float
    p99: float


def read_queries(path: Path) -> list[QueryRow]:
    """Read queries.jsonl; raise DatasetError "FILE:LINE: FIELD: what was expected" for a row without a key."""
    rows: list[QueryRow] = []
    for row in json_rows(path):
        for name in _Row.__annotations__:
            if name not in row.data:
                raise row.error(name, "expected a row of queries.jsonl, but the key is missing")
        rows.append(cast("QueryRow", row.data))
    return rows


def by_cell(rows: Iterable[QueryRow]) -> dict[Key, list[QueryRow]]:
    """Return the rows of each data set, arm and leg, in order of appearance."""
    cells: dict[Key, list[QueryRow]] = {}
    for row in rows:
        cells.setdefault((row["dataset"], row["arm"], row["leg"]), []).append(row)
    return cells


def change(row: QueryRow, measure: str = MAIN_MEASURE) -> float:
    """Return by how much the arm changed the measure of a query; a tie is 0."""
    difference = row["values"][measure] - row["none"][measure]
    return 0.0 if abs(difference) < TIE else difference


def changed(row: QueryRow) -> bool:
    """Say whether the arm did anything to the query."""
    return row["rewrite"] != row["original"] or row["decision"] != "keep"


def breakdown(rows: Sequence[QueryRow]) -> dict[str, dict[str, Group]]:
    """Return the groups of one cell's rows: by problem, language, turn, decision, rewriter and confidence.

    Queries without a kind are left out of that split, as those without a label `problem` are; a split without
    any query is left out whole. The language is the label `lang`, or else told from the query's text.
    """
    splits = ((name, _groups(rows, kind)) for name, kind in KINDS.items())
    return {name: groups for name, groups in splits if groups}


def depth(turn: int) -> str:
    """Return the bucket of the number of user turns before a query."""
    return next((name for name, most in (("0", 0), ("1-2", 2), ("3-5", 5)) if turn <= most), "6+")


def calibration(rows: Sequence[QueryRow]) -> Calibration:
    """Hold the confidence of the queries that the arm changed against what came of them.

    The expected calibration error is the mean distance of confidence and outcome over buckets of equal width,
    weighted by their queries (Guo et al., "On calibration of modern neural networks", ICML 2017).
    """
    told = [row for row in rows if changed(row)]
    places: dict[int, list[QueryRow]] = {}
    for row in told:
        places.setdefault(_bucket(row["confidence"], CALIBRATION_BUCKETS), []).append(row)
    buckets = [_calibrated(place, places[place]) for place in sorted(places)]
    return {
        "queries": len(told),
        "ece": {
            "helped": _error((bucket["queries"], bucket["confidence"] - bucket["helped"]) for bucket in buckets),
            "not_hurt": _error((bucket["queries"], bucket["confidence"] - bucket["not_hurt"]) for bucket in buckets),
        },
        "buckets": buckets,
    }


def percentiles(milliseconds: Sequence[float]) -> Percentiles:
    """Return the percentiles of a cost, 0 where there is nothing to pay."""
    if not milliseconds:
        return {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    half, most, all_but = np.percentile(np.asarray(milliseconds, dtype=np.float64), [50, 95, 99]).tolist()
    return {"p50": round(half, 3), "p95": round(most, 3), "p99": round(all_but, 3)}


def stages(rows: Sequence[QueryRow]) -> dict[str, Percentiles]:
    """Return the cost of each stage over the queries that went through it, in order of appearance.

    A rewrite costs what making it took, also where a search got it from an earlier one.
    """
    spent: dict[str, list[float]] = {}
    for row in rows:
        for stage, milliseconds in row["stages"].items():
            made = row["ms"]["rewrite"] if stage == "rewrite" else milliseconds
            spent.setdefault(stage, []).append(made)
    return {stage: percentiles(values) for stage, values in spent.items()}


def _kind_of_problem(row: QueryRow) -> str | None:
    problem = row["labels"].get("problem")
    return None if problem is None else str(problem)


def _kind_of_language(row: QueryRow) -> str:
    return str(row["labels"].get("lang") or language_of(row["original"]))


def _kind_of_confidence(row: QueryRow) -> str | None:
    """Return the bucket of the confidence of a change: that nothing was changed is no matter of confidence."""
    if not changed(row):
        return None
    place = _bucket(row["confidence"], BUCKETS)
    return f"{place / BUCKETS:.1f}-{(place + 1) / BUCKETS:.1f}"


KINDS: Mapping[str, Callable[[QueryRow], str | None]] = {
    "problem": _kind_of_problem,
    "language": _kind_of_language,
    "turn": lambda row: depth(row["turn"]),
    "decision": itemgetter("decision"),
    "rewriter": itemgetter("rewriter"),
    "confidence": _kind_of_confidence,
}
"""What queries are told apart by, and which kind a query is of."""


def _groups(rows: Iterable[QueryRow], kind: Callable[[QueryRow], str | None]) -> dict[str, Group]:
    members: dict[str, list[QueryRow]] = {}
    for row in rows:
        name = kind(row)
        if name is not None:
            members.setdefault(name, []).append(row)
    return {name: _group(members[name]) for name in sorted(members)}


def _group(rows: Sequence[QueryRow]) -> Group:
    changes = [change(row) for row in rows]
    low, high = _interval(changes, [row["conversation"] for row in rows])
    helped, hurt = sum(one > 0 for one in changes), sum(one < 0 for one in changes)
    return {
        "queries": len(rows),
        "mean": mean([row["values"][MAIN_MEASURE] for row in rows]),
        "none": mean([row["none"][MAIN_MEASURE] for row in rows]),
        "delta": mean(changes),
        "low": low,
        "high": high,
        "helped": helped,
        "hurt": hurt,
        "tied": len(rows) - helped - hurt,
    }


def _interval(changes: Sequence[float], conversations: Sequence[str]) -> tuple[float, float]:
    """Return a 95 % interval of the mean change, from the standard error by conversation and Student's t.

    Quick enough for hundreds of groups, where flipping signs is not; what is tested has its interval from the test.
    """
    if not any(changes):
        return 0.0, 0.0
    error, freedom = standard_error(changes, conversations), len(set(conversations)) - 1
    if freedom < 1:
        return -1.0, 1.0
    centre, reach = mean(changes), _two_sided(freedom) * error
    return max(-1.0, centre - reach), min(1.0, centre + reach)


@lru_cache(maxsize=1024)
def _two_sided(freedom: int) -> float:
    return student_quantile((1 + LEVEL) / 2, freedom)


def _bucket(confidence: float, count: int) -> int:
    # A sum such as .1 + .2 must not fall short of its own bucket.
    return min(count - 1, max(0, int(confidence * count + 1e-9)))


def _calibrated(place: int, rows: Sequence[QueryRow]) -> Bucket:
    changes = [change(row) for row in rows]
    return {
        "low": place / CALIBRATION_BUCKETS,
        "high": (place + 1) / CALIBRATION_BUCKETS,
        "queries": len(rows),
        "confidence": mean([row["confidence"] for row in rows]),
        "helped": sum(one > 0 for one in changes) / len(rows),
        "not_hurt": sum(one >= 0 for one in changes) / len(rows),
    }


def _error(distances: Iterable[tuple[int, float]]) -> float | None:
    weighted = [(count, abs(distance)) for count, distance in distances]
    total = sum(count for count, _ in weighted)
    return math.fsum(count * distance for count, distance in weighted) / total if total else None
