"""Arms: what stands in for the query, and whether the original is searched beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from .. import DatasetError, InputError
from ..rewrite.query import Alternative, Decision, Edit, Query, Rewrite, Role, Usage
from ..rewrite.rewriter import Rewriter
from .cost import UNTOLD
from .dataset import Dataset, JudgedQuery
from .rows import Row, json_rows
from .runs import Run, read_run

_EDITS = TypeAdapter(tuple[Edit, ...])
_USAGE = TypeAdapter(Usage | None)

BASELINE = "none"
"""The arm that every other one is compared with."""

Rewrites = Mapping[str, Rewrite]
"""Query id → its rewrite."""


class KnownRewrites(Protocol):
    """Rewrites that exist before the service is asked."""

    def __call__(self, dataset: Dataset, /) -> Rewrites:
        """Return the rewrites of the queries of `dataset` that have one."""
        ...


class Knows(Protocol):
    """What can tell whether a rewriter of a name exists."""

    def rewriter(self, name: str) -> Rewriter:
        """Return the rewriter called `name`; raise InputError when there is none."""
        ...


UNSAID = 0.75
"""The confidence of a rewrite that states none: its lists get .65 of the weight beside the original."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to treat the queries: by the service's rewriter called `name`, or by `known` rewrites.

    `keep_original` fuses the original's ranked lists with the rewrite's; otherwise the rewrite is
    searched in place of the query. With a `run` nothing is searched: its documents are what was found.
    """

    name: str
    keep_original: bool = True
    known: KnownRewrites | None = None
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class KnownRewriter:
    """A rewriter that looks each query up by its id and never thinks."""

    name: str
    rewrites: Rewrites

    def rewrite(self, query: Query) -> Rewrite:
        """Return the rewrite known for `query`; raise InputError when there is none."""
        try:
            return self.rewrites[query.id or ""]
        except KeyError:
            raise InputError(f"query {query.id!r}: arm {self.name!r} has no rewrite of it") from None


def parse_arms(names: Sequence[str], service: Knows) -> tuple[Arm, ...]:
    """Return the arms called `names`, each once and `none` first.

    Raises InputError for a name that neither this page nor the service knows, and for a broken file.
    """
    wanted = dict.fromkeys((BASELINE, *(name.strip() for name in names)))
    return tuple(_parse(name, service) for name in wanted)


def gold(dataset: Dataset) -> Rewrites:
    """Return the data set's own rewrites."""
    return {judged.id: _rewritten(judged.query, judged.gold, "gold") for judged in dataset.queries if judged.gold}


def concat(dataset: Dataset) -> Rewrites:
    """Return the user turns and the query joined by blanks: the naive habit."""
    return {judged.id: _rewritten(judged.query, joined(judged.query), "concat") for judged in dataset.queries}


def unchanged(rewrite: Rewrite) -> bool:
    """Say whether a rewrite is searched just as the query would be."""
    return rewrite.rewrite == rewrite.original and not rewrite.alternatives


def joined(query: Query) -> str:
    """Return what the user has said so far, the query last."""
    said = (turn.text.strip() for turn in query.history if turn.role is Role.USER)
    return " ".join((*filter(None, said), query.query))


@dataclass(frozen=True, slots=True)
class Replay:
    """Rewrites made elsewhere: a JSONL file of Rewrite rows, matched by id and, where given, the original."""

    rows: Mapping[str, tuple[tuple[str | None, Rewrite], ...]]

    @classmethod
    def read(cls, path: Path) -> Replay:
        """Read `path`, plain or .gz; raise DatasetError "FILE:LINE: FIELD: what was expected"."""
        rows: dict[str, tuple[tuple[str | None, Rewrite], ...]] = {}
        for row in json_rows(path):
            query_id = row.identifier("id")
            original, rewrite = row.optional_string("original"), _read_rewrite(row)
            before = rows.get(query_id, ())
            if original in {given for given, _ in before} or (before and original is None):
                raise row.error("id", f"expected ids to differ, but an earlier line has {query_id[:80]!r}")
            rows[query_id] = (*before, (original, rewrite))
        if not rows:
            raise DatasetError(f"{path}:1: file: expected at least one rewrite, but it is empty")
        return cls(rows)

    def __call__(self, dataset: Dataset) -> Rewrites:
        """Return the rewrites of the queries of `dataset`; two data sets may share ids, not originals."""
        found = ((judged, self._find(judged)) for judged in dataset.queries)
        return {judged.id: rewrite for judged, rewrite in found if rewrite is not None}

    def _find(self, judged: JudgedQuery) -> Rewrite | None:
        for original, rewrite in self.rows.get(judged.id, ()):
            if original is None or original.strip() == judged.query.query.strip():
                return replace(rewrite, original=judged.query.query)
        return None


def of_run(dataset: Dataset, run: Run) -> Rewrites:
    """Return the queries of `dataset` as they are; one without a line in `run` found nothing there, and scores 0.

    None where the run has no query of the data set: it is a run on another.
    """
    if not any(judged.id in run for judged in dataset.queries):
        return {}
    return {judged.id: replace(Rewrite.keep(judged.query, "run"), usage=UNTOLD) for judged in dataset.queries}


def _parse(name: str, service: Knows) -> Arm:
    if name == "gold":
        return Arm(name, keep_original=False, known=gold)
    if name == "gold+orig":
        return Arm(name, known=gold)
    if name == "concat":
        return Arm(name, keep_original=False, known=concat)
    kind, colon, file = name.partition(":")
    if kind == "replay" and colon:
        if not file:
            raise InputError("arm 'replay:': expected replay:FILE, the path of a file of Rewrite rows")
        return Arm(name, known=Replay.read(Path(file)))
    if kind == "run" and colon:
        if not file:
            raise InputError("arm 'run:': expected run:FILE, the path of a run as TREC has them")
        ranked = read_run(Path(file))
        return Arm(name, known=partial(of_run, run=ranked), run=ranked)
    if not name:
        raise InputError("arms: expected names parted by commas, got an empty one")
    try:
        service.rewriter(name)
    except InputError as error:
        raise InputError(f"arm {name[:80]!r}: {error}; or gold, gold+orig, concat, replay:FILE, run:FILE") from error
    return Arm(name)


def _rewritten(query: Query, text: str, rewriter: str) -> Rewrite:
    decision = Decision.KEEP if text == query.query else Decision.REWRITE
    return Rewrite(query.query, text, decision, UNSAID, rewriter=rewriter, id=query.id)


def _read_rewrite(row: Row) -> Rewrite:
    """Read what retrieval needs of a Rewrite row; only `id` and `rewrite` must be there."""
    text = row.string("rewrite")
    return Rewrite(
        original=row.optional_string("original") or text,
        rewrite=text,
        decision=_decision(row),
        confidence=_number(row, "confidence", UNSAID, largest=1.0),
        edits=_edits(row),
        alternatives=_alternatives(row),
        rewriter=row.optional_string("rewriter") or "replay",
        degraded=row.optional_string("degraded"),
        seconds=_number(row, "seconds", 0.0),
        id=row.identifier("id"),
        usage=_usage(row),
    )


def _decision(row: Row) -> Decision:
    text = row.optional_string("decision") or Decision.REWRITE
    try:
        return Decision(text)
    except ValueError:
        raise row.error("decision", f"expected keep, rewrite or clarify, got {text[:40]!r}") from None


def _number(row: Row, field: str, default: float, largest: float = float("inf")) -> float:
    value = row.data.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= largest:
        ceiling = "" if largest == float("inf") else f" and at most {largest:g}"
        raise row.error(field, f"expected a number of at least 0{ceiling}, got {value!r:.40}")
    return float(value)


def _edits(row: Row) -> tuple[Edit, ...]:
    try:
        return _EDITS.validate_python(row.data.get("edits") or ())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, ("edits", *first["loc"])))
        raise row.error(field, f"expected the edits of a rewrite: {first['msg']}") from error


def _usage(row: Row) -> Usage | None:
    if "usage" not in row.data:
        return UNTOLD
    try:
        usage = _USAGE.validate_python(row.data["usage"])
    except ValidationError as error:
        expected = 'expected {"calls": ..., "input_tokens": ..., "output_tokens": ...} or null'
        raise row.error("usage", f"{expected}: {error.errors()[0]['msg']}") from error
    if usage and (usage.calls < 1 or min(usage.input_tokens or 0, usage.output_tokens or 0) < 0):
        raise row.error("usage", "expected at least one call and tokens of at least 0, or null")
    return usage


def _alternatives(row: Row) -> tuple[Alternative, ...]:
    value = row.data.get("alternatives")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise row.error("alternatives", 'expected a list of {"rewrite": ..., "weight": ...}')
    items = [Row(row.path, row.line, item) for item in value]
    return tuple(Alternative(item.string("rewrite"), _number(item, "weight", 1.0)) for item in items)
