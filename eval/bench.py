"""What evaluations run on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..retrieval.collection import Collection, Leg
from ..retrieval.home import Collections
from ..retrieval.spaces import DEFAULT_ENCODER
from ..rewrite.query import Query, Rewrite
from ..rewrite.rewriter import Rewriter
from ..service.answer import Answer
from ..service.cluster import Cluster
from ..service.remembering import NOTHING, Known
from ..service.settings import Settings
from .cache import Cache

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def silent(task: str, done: int, total: int) -> None:
    """Show no progress."""


class Service(Protocol):
    """What an evaluation needs of the service: `Pipeline` is one."""

    def rewriter(self, name: str) -> Rewriter:
        """Return the rewriter called `name`; raise InputError when there is none."""
        ...

    def rewrite(self, query: Query, *, rewriter: str | Rewriter, known: Known = NOTHING) -> Rewrite:
        """Rewrite alone, with what is `known` of the collection."""
        ...

    def answer(
        self,
        query: Query,
        collection: Collection,
        *,
        k: int,
        legs: Sequence[Leg],
        rewriter: str | Rewriter,
        keep_original: bool,
    ) -> Answer:
        """Rewrite and search."""
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """The service, its collections, and where results and earlier work lie.

    `encoder` is the name of the encoder of `collections`. `settings` are those of `service`; without them, what its
    rewriters make is not kept in `cache`, since nobody could tell what it depends on. Nothing is written without
    `out`. Where a model far away rewrites, `jobs` queries wait for it at a time. Corpora are encoded and queries
    rewritten on `cluster`, if there is one.
    """

    service: Service
    collections: Collections
    out: Path | None = None
    progress: Progress = silent
    encoder: str = DEFAULT_ENCODER
    settings: Settings | None = None
    cache: Cache = field(default_factory=lambda: Cache(None))
    jobs: int = 1
    cluster: Cluster | None = None
