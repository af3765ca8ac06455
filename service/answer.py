"""What a query is answered with: hits, the rewrite, and a trace of every stage."""

from __future__ import annotations

from dataclasses import dataclass

from ..retrieval.passage import Hit
from ..rewrite.query import Rewrite


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of answering: how long it took, in a few words what it did, and how long after the query came it began.

    Stages that run side by side overlap: `rewrite`, and in it a `rewrite.NAME` for each rewriter, runs beside the first
    search.
    """

    stage: str
    seconds: float
    note: str = ""
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits, best first; `degraded` says which part failed or came too late, if one did."""

    hits: tuple[Hit, ...]
    rewrite: Rewrite
    degraded: str | None = None
    trace: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class EarlyHits:
    """What the query as it was typed has found, before its rewrite is known."""

    hits: tuple[Hit, ...]


Event = Stage | EarlyHits | Rewrite | Answer
"""What a stream tells as an answer comes about: each stage when its outcome is known, the early hits, the rewrite, and
last the answer."""
