"""Two evaluations, before and after a change: what got better or worse, and whether that passes the gate."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from .. import DatasetError, InputError
from .breakdown import Key
from .rows import Row, json_rows, kind
from .significance import TIE, Comparison, holm, seed_for
from .significance import compare as compare_differences

MEASURE = "nDCG@10"
"""The measure that is compared where no gate names another."""

ROWS = "queries.jsonl"
"""The file of an evaluation's folder that holds a row for each data set, arm, leg and query."""

_WORST = 3
"""Queries shown for each row that fails the gate."""

_GATE = re.compile(r"(?P<measure>[^\s:]+):(?P<least>[+-]?(?:\d+\.?\d*|\.\d+))(?:@p<(?P<p>\d*\.?\d+))?")
_GATE_FORM = "expected MEASURE:-DROP@p<ALPHA or MEASURE:-DROP, e.g. nDCG@10:-0.01@p<.05"


@dataclass(frozen=True, slots=True)
class Gate:
    """What may not happen: the mean of `measure` falling by more than `drop`, significantly where `alpha` says so.

    Significance is by the Holm-adjusted p of the randomisation test.
    """

    measure: str = MEASURE
    drop: float = 0.0
    alpha: float | None = 0.05

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read MEASURE:-DROP@p<ALPHA; without `@p<ALPHA` any fall beyond DROP fails.

        Raises InputError that says what was expected.

        >>> Gate.parse("nDCG@10:-0.01@p<.05")
        Gate(measure='nDCG@10', drop=0.01, alpha=0.05)
        """
        match = _GATE.fullmatch(text.strip())
        if match is None:
            raise InputError(f"gate {text[:60]!r}: {_GATE_FORM}")
        least, alpha = float(match["least"]), None if match["p"] is None else float(match["p"])
        if not -1 <= least <= 0:
            raise InputError(f"gate {text[:60]!r}: expected a drop from -1 to 0, got {match['least']}")
        if alpha is not None and not 0 < alpha < 1:
            raise InputError(f"gate {text[:60]!r}: expected p between 0 and 1, got {match['p']}")
        return cls(match["measure"], abs(least), alpha)

    def __str__(self) -> str:
        significance = "" if self.alpha is None else f"@p<{self.alpha:g}"
        return f"{self.measure}:{0 - self.drop:g}{significance}"

    def fails(self, delta: float, p_holm: float) -> bool:
        """Say whether a change by `delta` is what may not happen."""
        return delta < -self.drop - TIE and (self.alpha is None or p_holm < self.alpha)


@dataclass(frozen=True, slots=True)
class QueryChange:
    """One query before and after."""

    id: str
    original: str
    rewrite_before: str
    rewrite_after: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Change:
    """One data set, arm and leg in both evaluations, on the queries that both hold, as `gate` looks at it.

    `left_out` counts the queries of either that the other lacks or has with another text; `before` and `after`
    are means. `comparison` is of after - before; `worst` the queries that lost most.
    """

    dataset: str
    arm: str
    leg: str
    gate: Gate
    queries: int
    left_out: int
    before: float
    after: float
    comparison: Comparison
    p_holm: float
    failed: bool
    worst: tuple[QueryChange, ...]


class ChangeRow(TypedDict):
    """A `Change` as JSON."""

    dataset: str
    arm: str
    leg: str
    measure: str
    gate: str
    queries: int
    left_out: int
    before: float
    after: float
    delta: float
    low: float
    high: float
    p: float
    p_holm: float
    p_t: float
    effect: float
    detectable: float
    helped: int
    hurt: int
    tied: int
    failed: bool
    worst: list[dict[str, object]]


class ChangesObject(TypedDict):
    """`Changes` as JSON."""

    format: int
    before: str
    after: str
    measure: str
    gate: str
    gates: list[str]
    failed: bool
    missing: int
    only_before: list[str]
    only_after: list[str]
    changes: list[ChangeRow]


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed between two evaluations; `only_before` and `only_after` name what the other lacks.

    Each of `gates` has a change for each data set, arm and leg, and all must hold. `missing` counts the results of
    the first that the second lacks; they fail the gate unless `allow_missing`, so that dropping an arm or hard
    queries does not pass for an improvement.
    """

    before: str
    after: str
    gates: tuple[Gate, ...]
    changes: tuple[Change, ...]
    only_before: tuple[str, ...] = field(default=())
    only_after: tuple[str, ...] = field(default=())
    missing: int = 0
    allow_missing: bool = False

    @property
    def failed(self) -> bool:
        """Say whether anything failed the gate: exit code 1."""
        return any(change.failed for change in self.changes) or self._lacks

    @property
    def _lacks(self) -> bool:
        return bool(self.missing) and not self.allow_missing

    def to_object(self) -> ChangesObject:
        """Return what `--json` prints."""
        return {
            "format": 1,
            "before": self.before,
            "after": self.after,
            "measure": ", ".join(_measures(self.gates)),
            "gate": ", ".join(map(str, self.gates)),
            "gates": [str(gate) for gate in self.gates],
            "failed": self.failed,
            "missing": self.missing,
            "only_before": list(self.only_before),
            "only_after": list(self.only_after),
            "changes": [_row_object(change) for change in self.changes],
        }

    def markdown(self) -> str:
        """Return a table for each gate, with a row for each data set, arm and leg, and what failed below them."""
        tables = "\n".join(map(self._table, self.gates))
        return tables + "".join(f"\n{paragraph}\n" for paragraph in self._notes())

    def _table(self, gate: Gate) -> str:
        head = (
            "set", "arm", "leg", "queries", f"{gate.measure} before", "after", "delta", "low..high",
            "p", "p_holm", "helped/hurt/tied", "gate",
        )  # fmt: skip
        lines = [head, tuple("---" if name in {*head[:3], "gate"} else "---:" for name in head)]
        lines += [_cells(change) for change in self._of(gate)]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def _of(self, gate: Gate) -> list[Change]:
        return [change for change in self.changes if change.gate == gate]

    def _notes(self) -> list[str]:
        """Return what is to be said below the table."""
        notes = [f"Before: {_plain(self.before)}; after: {_plain(self.after)}."]
        left_out = sum(change.left_out for change in self._of(self.gates[0]))
        if left_out:
            notes.append(f"Left out: {left_out} results of queries that only one side has, or has with another text.")
        if self._lacks:
            notes.append(f"Failed: {self.missing} results of the first evaluation are missing in the second.")
        for side, names in (("before", self.only_before), ("after", self.only_after)):
            if names:
                notes.append(f"Only {side}: {_plain(', '.join(names))}.")
        for gate in self.gates:
            changes = self._of(gate)
            failed = [change for change in changes if change.failed]
            verdict = f"failed by {len(failed)} of {len(changes)} rows" if failed else "passed"
            notes += [f"Gate {gate}: {verdict}.", *map(_worst, failed)]
        return notes


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a row says of one query."""

    original: str
    rewrite: str
    conversation: str
    values: Mapping[str, float]


_Cells = Mapping[Key, Mapping[str, _Measured]]


def compare(
    before: Path,
    after: Path,
    gates: Sequence[str] = (),
    *,
    measure: str | None = None,
    seed: int = 0,
    allow_missing: bool = False,
) -> Changes:
    """Compare the evaluations in the folders `before` and `after`, as `evaluate --out` left them.

    Each data set, arm and leg that both hold is compared on the queries that both hold with the same text; p
    is adjusted over all that could differ by Holm (see `_adjusted`). A gate is MEASURE:-DROP@p<ALPHA, and of
    several all must hold; without any it fails what is significantly worse at .05 on `measure` (nDCG@10). Raises
    InputError for a gate that cannot be read, a folder without queries.jsonl, a measure that was not measured, or
    evaluations with nothing in common.
    """
    wanted = tuple(dict.fromkeys(map(Gate.parse, gates))) or (Gate(measure or MEASURE),)
    for gate in wanted:
        if measure is not None and gate.measure != measure:
            raise InputError(f"measure: the gate is on {gate.measure}, not on {measure[:40]}; leave one of them out")
    ours, theirs = _read(before), _read(after)
    pairs = {key: _common(ours[key], theirs[key]) for key in ours if key in theirs}
    pairs = {key: ids for key, ids in pairs.items() if ids}
    if not pairs:
        raise InputError(
            f"{before} and {after}: nothing in common: expected a data set, arm, leg and query that both hold"
        )
    measures = _measures(wanted)
    for folder, cells in ((before, ours), (after, theirs)):
        for name in measures:
            _check_measured(folder, name, [cells[key][query] for key, ids in pairs.items() for query in ids])
    found = {
        (name, key): _difference(key, ids, ours[key], theirs[key], name, seed)
        for name in measures
        for key, ids in pairs.items()
    }
    adjusted = _adjusted(found)
    return Changes(
        str(before),
        str(after),
        wanted,
        tuple(
            _change(key, ids, ours[key], theirs[key], gate, found[gate.measure, key], adjusted[gate.measure, key])
            for gate in wanted
            for key, ids in pairs.items()
        ),
        tuple("/".join(key) for key in ours if key not in pairs),
        tuple("/".join(key) for key in theirs if key not in pairs),
        missing=sum(len(cell.keys() - theirs.get(key, {}).keys()) for key, cell in ours.items()),
        allow_missing=allow_missing,
    )


def _measures(gates: Sequence[Gate]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(gate.measure for gate in gates))


def _adjusted(found: Mapping[tuple[str, Key], Comparison]) -> dict[tuple[str, Key], float]:
    """Return p adjusted by Holm over the comparisons that could reject: on every measure that a gate looks at.

    Where no query differs, flipping signs changes nothing and no test can reject: such a comparison (of `none` when
    only a rewriter changed, of `gold`) is not in the family (Tarone, Biometrics 1990). A run made elsewhere is the
    same on each leg: it is tested once.
    """
    family = {
        (measure, _tested(key)): comparison.p
        for (measure, key), comparison in found.items()
        if comparison.helped or comparison.hurt
    }
    adjusted = dict(zip(family, holm(tuple(family.values())), strict=True))
    return {(measure, key): adjusted.get((measure, _tested(key)), 1.0) for measure, key in found}


def _tested(key: Key) -> Key:
    """Return what the comparison of a data set, arm and leg is a test of: a run is the same on each leg."""
    dataset, arm, leg = key
    return (dataset, arm, "") if arm.startswith("run:") else (dataset, arm, leg)


def _common(ours: Mapping[str, _Measured], theirs: Mapping[str, _Measured]) -> tuple[str, ...]:
    return tuple(query for query in ours if query in theirs and ours[query].original == theirs[query].original)


def _difference(
    key: Key,
    ids: Sequence[str],
    ours: Mapping[str, _Measured],
    theirs: Mapping[str, _Measured],
    measure: str,
    seed: int,
) -> Comparison:
    differences = [theirs[query].values[measure] - ours[query].values[measure] for query in ids]
    return compare_differences(differences, [ours[query].conversation for query in ids], seed_for(seed, *_tested(key)))


def _change(
    key: Key,
    ids: Sequence[str],
    ours: Mapping[str, _Measured],
    theirs: Mapping[str, _Measured],
    gate: Gate,
    comparison: Comparison,
    p_holm: float,
) -> Change:
    queries = [
        QueryChange(
            query,
            ours[query].original,
            ours[query].rewrite,
            theirs[query].rewrite,
            ours[query].values[gate.measure],
            theirs[query].values[gate.measure],
        )
        for query in ids
    ]
    lost = sorted((one for one in queries if one.after < one.before - TIE), key=lambda one: one.after - one.before)
    return Change(
        *key,
        gate=gate,
        queries=len(ids),
        left_out=len(ours.keys() | theirs.keys()) - len(ids),
        before=math.fsum(one.before for one in queries) / len(ids),
        after=math.fsum(one.after for one in queries) / len(ids),
        comparison=comparison,
        p_holm=p_holm,
        failed=gate.fails(comparison.delta, p_holm),
        worst=tuple(lost[:_WORST]),
    )


# --------------------------------------------------------------------------------------- reading


def _read(folder: Path) -> _Cells:
    path = folder / ROWS
    if not path.is_file():
        raise InputError(f"{folder}: expected the folder of an evaluation, but it holds no {ROWS}; run evaluate again")
    cells: dict[Key, dict[str, _Measured]] = {}
    for row in json_rows(path):
        key = row.string("dataset"), row.string("arm"), row.string("leg")
        cell, query = cells.setdefault(key, {}), row.identifier("id")
        if query in cell:
            raise row.error("id", f"expected each query once for {'/'.join(key)}, but {query[:80]!r} comes twice")
        conversation = row.text("conversation")
        cell[query] = _Measured(row.text("original"), row.text("rewrite"), conversation, _values(row))
    if not cells:
        raise DatasetError(f"{path}:1: file: expected at least one row, but it is empty")
    return cells


def _values(row: Row) -> dict[str, float]:
    values = row.data.get("values")
    if not isinstance(values, dict):
        raise row.error("values", f"expected an object of numbers, got {kind(values)}")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise row.error(f"values.{name}", f"expected a number, got {kind(value)}")
    return {str(name): float(value) for name, value in values.items()}


def _check_measured(folder: Path, measure: str, rows: Sequence[_Measured]) -> None:
    for row in rows:
        if measure not in row.values:
            raise InputError(f"{folder}: {measure[:40]} was not measured; expected one of {', '.join(row.values)}")


# --------------------------------------------------------------------------------------- writing


def _row_object(change: Change) -> ChangeRow:
    found = change.comparison
    return {
        "dataset": change.dataset,
        "arm": change.arm,
        "leg": change.leg,
        "measure": change.gate.measure,
        "gate": str(change.gate),
        "queries": change.queries,
        "left_out": change.left_out,
        "before": change.before,
        "after": change.after,
        "delta": found.delta,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "p_holm": change.p_holm,
        "p_t": found.p_t,
        "effect": found.effect,
        "detectable": found.detectable,
        "helped": found.helped,
        "hurt": found.hurt,
        "tied": found.tied,
        "failed": change.failed,
        "worst": [
            {
                "id": one.id,
                "original": one.original,
                "rewrite_before": one.rewrite_before,
                "rewrite_after": one.rewrite_after,
                "before": one.before,
                "after": one.after,
            }
            for one in change.worst
        ],
    }


def _cells(change: Change) -> tuple[str, ...]:
    found = change.comparison
    return (
        _plain(change.dataset),
        _plain(change.arm),
        change.leg,
        str(change.queries),
        f"{change.before:.3f}",
        f"{change.after:.3f}",
        f"{found.delta:+.3f}",
        f"{found.low:+.3f}..{found.high:+.3f}",
        _p(found.p),
        _p(change.p_holm),
        f"{found.helped}/{found.hurt}/{found.tied}",
        "FAILED" if change.failed else "passed",
    )


def _worst(change: Change) -> str:
    name = _plain(f"{change.dataset}/{change.arm}/{change.leg}")
    return f"{name} lost most on:\n\n" + "\n".join(
        f"- {_plain(one.id)} ({one.before:.3f} to {one.after:.3f}): {_plain(one.original)}: "
        f"before “{_plain(one.rewrite_before)}”, after “{_plain(one.rewrite_after)}”"
        for one in change.worst
    )


def _p(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}"


def _plain(text: str) -> str:
    """Return `text` on one line, with what would end a cell of the table or be read as HTML escaped."""
    return re.sub(r"([|\\<`*_])", r"\\\1", " ".join(text.split()))
