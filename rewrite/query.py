"""What flows through rewriting: queries in, rewrites out. Frozen, typed, serialisable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum

from .. import InputError

MAX_QUERY_CHARS = 4_000
"""A longer query is refused: it is a document, not a query."""

MAX_PROFILE_VALUES = 200
"""More profile values than this are refused."""

READ_TURNS = 50
"""Rewriters read this many of the latest turns, so that a long conversation costs no more than a short one."""

READ_TURN_CHARS = 2_000
"""Of each turn they read this much from its beginning."""


class Role(StrEnum):
    """Who said a turn."""

    USER = "user"
    ASSISTANT = "assistant"


class Problem(StrEnum):
    """What kind of gap an edit fills."""

    MISSING_ENTITY = "missing_entity"
    VAGUE_DIMENSION = "vague_dimension"
    AMBIGUITY = "ambiguity"


class Source(StrEnum):
    """Where an edit's value comes from."""

    HISTORY = "history"
    PROFILE = "profile"
    CATALOG = "catalog"
    CLOCK = "clock"
    DEFAULT = "default"


class Decision(StrEnum):
    """What the gate and the rewriters made of a query."""

    KEEP = "keep"
    REWRITE = "rewrite"
    CLARIFY = "clarify"


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier turn of the conversation; its text may be empty."""

    role: Role
    text: str

    def __post_init__(self) -> None:
        _check_text("history text", self.text)


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a question back: its token, and the value (or the label) of the option that was chosen."""

    token: str
    value: str


@dataclass(frozen=True, slots=True)
class Query:
    """What the asker typed, with all that a rewriter may look at.

    `history` is oldest first and does not hold the query itself. `profile` maps a key to a string or
    to several; the key `facts` holds sentences that are known about the asker. `now` carries an offset.
    `clarification` answers a question that came back when the same query was asked before; `chosen` is the value of the
    option that it named, once that has been checked.

    Raises InputError when the query is empty, over `MAX_QUERY_CHARS`, not valid Unicode, or when `now`
    has no offset.
    """

    query: str
    history: tuple[Turn, ...] = ()
    profile: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    now: datetime | None = None
    id: str | None = None
    clarification: Answered | None = None
    chosen: str | None = None

    def __post_init__(self) -> None:
        _check_text("query", self.query)
        if not self.query.strip():
            raise InputError("query: expected some text, got only white space")
        if len(self.query) > MAX_QUERY_CHARS:
            raise InputError(f"query: {len(self.query):,} characters, at most {MAX_QUERY_CHARS:,} are taken")
        if self.now is not None and self.now.utcoffset() is None:
            raise InputError("now: expected ISO 8601 with an offset, e.g. 2024-07-15T09:00:00+08:00")
        count = 0
        for key, value in self.profile.items():
            values = (value,) if isinstance(value, str) else value
            count += len(values)
            for text in (key, *values):
                _check_text("profile", text)
        if count > MAX_PROFILE_VALUES:
            raise InputError(f"profile: {count} values, at most {MAX_PROFILE_VALUES} are taken")

    def recent_turns(self) -> list[tuple[int, Turn]]:
        """Return what rewriters read of the history, the latest first, each with its index there."""
        first = max(0, len(self.history) - READ_TURNS)
        recent = list(enumerate(self.history[first:], first))[::-1]
        return [(i, replace(turn, text=turn.text[:READ_TURN_CHARS])) for i, turn in recent]

    @property
    def truncated(self) -> bool:
        """Say whether rewriters read less than the whole history."""
        first = max(0, len(self.history) - READ_TURNS)
        return first > 0 or any(len(turn.text) > READ_TURN_CHARS for turn in self.history)

    def profile_values(self, key: str) -> tuple[str, ...]:
        """Return the profile's values under `key`, none if it has no such key."""
        value = self.profile.get(key, ())
        return (value,) if isinstance(value, str) else tuple(value)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where an edit's value was found: `text` is what stands at `where` (`history[2]`, `profile.region`)."""

    source: Source
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Interval:
    """The days from `first` up to, but not including, `end`."""

    first: date
    end: date


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace code points `start:end` of the original by `replacement`; an insertion where they are equal.

    `interval` holds the days that the replacement names, where it names any.
    """

    problem: Problem
    slot: str
    start: int
    end: int
    replacement: str
    evidence: Evidence
    confidence: float = 1.0
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class DroppedEdit:
    """An edit that a rewriter proposed and that was not made, and why."""

    slot: str
    replacement: str
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one rewriter did for a query: how long it took, and in a few words what it brought or why it did not.

    `start` is how many seconds after the rewriting it began.
    """

    rewriter: str
    seconds: float
    note: str = ""
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another reading of the query, with the weight that its ranked lists get."""

    rewrite: str
    weight: float


@dataclass(frozen=True, slots=True)
class Option:
    """One answer that a clarification offers."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Clarification:
    """A question back to the asker; `token` resumes where it stopped."""

    question: str
    options: tuple[Option, ...]
    token: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What asking LLMs cost: calls, and the tokens read and written; None where a server did not say how many.

    >>> Usage(1, 120, 9) + Usage(1, 80, 7)
    Usage(calls=2, input_tokens=200, output_tokens=16)
    >>> Usage(1, 120, 9) + Usage(1)
    Usage(calls=2, input_tokens=None, output_tokens=None)
    """

    calls: int
    input_tokens: int | None = None
    output_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What became of a query. `rewrite` is the original where nothing was changed; `seconds` the time it took.

    `usage` is what all LLMs that were asked cost, also those whose rewrite was not taken; None where none was asked.
    `dropped` lists the edits that were proposed without evidence, `steps` the rewriters that were asked, in order.
    """

    original: str
    rewrite: str
    decision: Decision
    confidence: float
    edits: tuple[Edit, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    clarification: Clarification | None = None
    rewriter: str = "none"
    degraded: str | None = None
    truncated: bool = False
    seconds: float = 0.0
    id: str | None = None
    usage: Usage | None = None
    dropped: tuple[DroppedEdit, ...] = ()
    steps: tuple[Step, ...] = ()

    @classmethod
    def keep(cls, query: Query, rewriter: str = "none", confidence: float = 1.0) -> Rewrite:
        """Return the rewrite that leaves `query` as it is."""
        return cls(query.query, query.query, Decision.KEEP, confidence, rewriter=rewriter, id=query.id)


def apply_edits(original: str, edits: tuple[Edit, ...]) -> str:
    """Return `original` with `edits` applied; edits at one position apply in their order.

    Raises ValueError when two edits overlap or one lies outside the text.

    >>> here = Evidence(Source.PROFILE, "profile.region", "East")
    >>> apply_edits("sales?", (Edit(Problem.VAGUE_DIMENSION, "region", 5, 5, " in East", here),))
    'sales in East?'
    """
    parts: list[str] = []
    position = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if not position <= edit.start <= edit.end <= len(original):
            raise ValueError(f"edit {edit.start}:{edit.end} overlaps another or lies outside")
        parts += original[position : edit.start], edit.replacement
        position = edit.end
    return "".join(parts) + original[position:]


_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


def _check_text(name: str, text: str) -> None:
    """Refuse what cannot be stored or sent: lone surrogates and NUL."""
    if _NOT_TEXT.search(text):
        raise InputError(f"{name}: not valid Unicode text (a lone surrogate or NUL)")
