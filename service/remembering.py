"""What is known around a query, and rewrites that are remembered by all that they hang on."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

import orjson
from cachetools import LRUCache

from ..rewrite.catalog import Catalog
from ..rewrite.gate import Signs
from ..rewrite.query import Query, Rewrite, Step
from ..rewrite.rewriter import NOT_ASKED
from ..rewrite.senses import CorpusStatistics


@dataclass(frozen=True, slots=True)
class Known:
    """What a rewrite may look at besides the query, and how long it may take.

    `state` names the collection as it is now. `signs` waits for what the first search says of the query.
    """

    catalog: Catalog | None = None
    corpus: CorpusStatistics | None = None
    state: str = ""
    budget_ms: int | None = None
    signs: Callable[[], Signs | None] | None = None


NOTHING = Known()


class RewriteCache:
    """Remembers the latest `size` rewrites. Safe to use from several threads.

    A rewrite hangs on the query, its conversation, the profile, the day, the catalog, the collection and the
    rewriter. One that failed is not remembered, nor one for which the first search held the LLM back.
    """

    def __init__(self, size: int) -> None:
        self._known: LRUCache[str, Rewrite] = LRUCache(max(size, 1))
        self._lock = threading.Lock()
        self._off = size == 0
        self.hits = 0
        """How often a rewrite was remembered that was looked up."""
        self.misses = 0
        """How often it was not."""

    def __len__(self) -> int:
        return len(self._known)

    def key(self, query: Query, rewriter: str, known: Known) -> str | None:
        """Return what `query` is remembered by, None where nothing is."""
        if self._off or (known.catalog is not None and not known.catalog.version):
            return None  # a catalog made by hand has no version
        turns = [[turn.role, turn.text] for turn in query.history]
        profile = {key: query.profile_values(key) for key in sorted(query.profile)}
        clock = [query.now.date().isoformat(), str(query.now.tzinfo)] if query.now else None
        catalog = known.catalog.version if known.catalog else None
        whole = orjson.dumps([query.query, turns, profile, clock, rewriter, catalog, known.state])
        return hashlib.sha256(whole).hexdigest()

    def get(self, key: str) -> Rewrite | None:
        """Return the rewrite under `key`, its one step saying that it was remembered, or None."""
        with self._lock:
            found = self._known.get(key)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
        return found and replace(found, usage=None, steps=(Step(found.rewriter, 0.0, "remembered"),))

    def put(self, key: str, done: Future[Rewrite]) -> None:
        """Remember what came of `done`."""
        if done.cancelled() or done.exception() is not None:
            return
        made = done.result()
        held_back = any(step.note.startswith(NOT_ASKED) for step in made.steps)
        if made.degraded is None and not held_back:
            with self._lock:
                self._known[key] = made
