"""The request that is being worked on, and what those who work on it say of it: for the log and the traces."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from ..rewrite.query import Rewrite
from .answer import Answer, Stage


@dataclass(slots=True)
class Exchange:
    """A request, and what came of it once that is known.

    Nothing in it comes from the request as it is: `id` was checked, `method` and `route` are among those that there
    are, `collections` exist, `key` is a name. `status` is 0 where there was no answer. Times that end in `ns` are the
    system clock's.
    """

    id: str
    method: str = ""
    route: str = ""
    key: str | None = None
    status: int = 0
    seconds: float = 0.0
    began_ns: int = field(default_factory=time.time_ns)
    collections: tuple[str, ...] = ()
    k: int | None = None
    rewrite: Rewrite | None = None
    degraded: str | None = None
    stages: Sequence[Stage] = ()
    answered_ns: int = 0

    def answered(self, answer: Answer, collection: str | Sequence[str], k: int) -> None:
        """Note an answer of up to `k` hits from what `collection` names."""
        self._note(answer.rewrite, answer.degraded, collection)
        self.k, self.stages = k, answer.trace

    def rewritten(self, rewrite: Rewrite, collection: str) -> None:
        """Note a rewrite that was asked for by itself."""
        self._note(rewrite, rewrite.degraded, collection)
        steps = (Stage(f"rewrite.{step.rewriter}", step.seconds, step.note, step.start) for step in rewrite.steps)
        self.stages = (Stage("rewrite", rewrite.seconds), *steps)

    def _note(self, rewrite: Rewrite, degraded: str | None, collection: str | Sequence[str]) -> None:
        self.answered_ns = time.time_ns()
        self.rewrite, self.degraded = rewrite, degraded
        self.collections = (collection,) if isinstance(collection, str) else tuple(collection)


_CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def current() -> Exchange | None:
    """Return the request that is being worked on here; None where it is none's work."""
    return _CURRENT.get()


@contextmanager
def working_on(exchange: Exchange) -> Iterator[None]:
    """Make `exchange` the current one inside, also in threads that are given a copy of the context."""
    token = _CURRENT.set(exchange)
    try:
        yield
    finally:
        _CURRENT.reset(token)
