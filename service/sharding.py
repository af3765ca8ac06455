"""Encoding and rewriting as work on shards: what each process of a cluster makes ready, and what it does.

Both do to a shard what one process does to the same texts together, so that no bit of what comes of it depends on
where that was. Neither needs the home: documents are written, questions signed, collections and chat models asked by
the process that runs the command.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, tee
from pathlib import Path

from pydantic import SecretStr

from .. import QuerywrightError
from ..retrieval.collection import Encode
from ..retrieval.encoders import load_encoder
from ..retrieval.spaces import Vector, load_spaces
from ..rewrite.catalog import Catalog
from ..rewrite.query import Query, Rewrite
from .cluster import Cluster
from .pipeline import Pipeline
from .remembering import Known
from .settings import Settings

AT_ONCE = 256
"""Queries that are rewritten together."""

_FEW = 16
"""Queries that are rewritten one by one, sent out together: a wait too short to be noticed, a message worth sending."""

_LLM_ASKED = frozenset({"auto", "llm"})


@dataclass(frozen=True, slots=True)
class Encoding:
    """Encodes groups of texts with the encoders that `name` names, on one thread a process."""

    name: str

    def __call__(self) -> Callable[[Sequence[str]], list[dict[str, Vector]]]:
        """Return what encodes a group."""
        return load_spaces(self.name, partial(load_encoder, threads=1)).encode_documents


def encoding_on(cluster: Cluster, name: str) -> Encode:
    """Return what has `cluster` encode for a collection."""
    return partial(cluster.map, Encoding(name))


@dataclass(frozen=True, slots=True)
class Part:
    """What became of a query elsewhere: `made`, or None where it has to be rewritten here, from what the editor `read`.

    Nothing is made elsewhere where an LLM may be asked, or the collection was.
    """

    made: Rewrite | None
    read: Rewrite | None


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Rewrites groups of queries. With `together`, the editor reads each group at once, else query by query."""

    settings: Settings
    rewriter: str
    catalog: Catalog | None
    has_corpus: bool
    together: bool

    @classmethod
    def by(
        cls, pipeline: Pipeline, settings: Settings, rewriter: str, known: Known, *, together: bool = True
    ) -> Rewriting:
        """Return how `pipeline`, which has these `settings`, rewrites with what is `known`."""
        catalog = pipeline.catalog(known)
        # Without the tables that look-ups have made: some hold hashes, which each process draws anew.
        catalog = replace(catalog) if catalog else None
        return cls(_sent(settings), rewriter, catalog, known.corpus is not None, together)

    def __call__(self) -> Callable[[Sequence[Query]], list[Part]]:
        """Return what rewrites a group; the models that it needs are loaded."""
        # Questions are signed by the process that has the home; here nobody answers any.
        here = {"home": Path("nowhere"), "llm": None, "secret": SecretStr(secrets.token_hex(32))}
        pipeline = Pipeline(self.settings.model_copy(update=here))
        if self.rewriter in {"auto", "editor"}:
            with suppress(QuerywrightError):  # told with each query
                pipeline.rewriter("editor")
        return partial(self._rewritten, pipeline)

    def _rewritten(self, pipeline: Pipeline, queries: Sequence[Query]) -> list[Part]:
        nothing: Sequence[Rewrite | None] = [None] * len(queries)
        read = pipeline.read_ahead(queries, self.rewriter) if self.together else nothing
        if self.settings.llm is not None and self.rewriter in _LLM_ASKED:
            return [Part(None, one) for one in read]
        return [self._part(pipeline, query, one) for query, one in zip(queries, read, strict=True)]

    def _part(self, pipeline: Pipeline, query: Query, read: Rewrite | None) -> Part:
        corpus = _Elsewhere() if self.has_corpus else None
        made = pipeline.rewrite_read(query, read, rewriter=self.rewriter, known=Known(self.catalog, corpus))
        return Part(None, read) if corpus and corpus.asked else Part(made, None)


@dataclass(slots=True)
class _Elsewhere:
    """Stands for the collection where that is not, and notes whether a rewrite hangs on it."""

    asked: bool = False

    def holding(self, *_: str) -> int:
        """Say that no passage holds anything."""
        self.asked = True
        return 0


def _sent(settings: Settings) -> Settings:
    """Return what of `settings` rewriting hangs on: no secret goes to another machine, no file is looked for there."""
    kept = ("editor", "llm", "budget_ms", "min_confidence", "threads")
    return Settings(rewrite_cache=0, **{name: getattr(settings, name) for name in kept})


def rewritten_on(
    cluster: Cluster, pipeline: Pipeline, settings: Settings, queries: Iterable[Query], rewriter: str, known: Known
) -> Iterator[list[Rewrite]]:
    """Yield the rewrites of `queries` in order, group by group, as `Pipeline.rewrite_all` makes them of each group."""
    work = Rewriting.by(pipeline, settings, rewriter, known)
    sent, kept = tee(groups(map(pipeline.resumed, queries), AT_ONCE))
    for parts, group in zip(cluster.map(work, sent), kept, strict=False):  # what raises is asked first
        yield [
            pipeline.signed(part.made, query)
            if part.made
            else pipeline.rewrite_read(query, part.read, rewriter=rewriter, known=known)
            for part, query in zip(parts, group, strict=True)
        ]


def parts_on(
    cluster: Cluster, pipeline: Pipeline, settings: Settings, queries: Sequence[Query], rewriter: str, known: Known
) -> Iterator[Rewrite | None]:
    """Yield what `Pipeline.rewrite` makes of each query, in order; None where that has to be done here."""
    work = Rewriting.by(pipeline, settings, rewriter, known, together=False)
    asked = [pipeline.resumed(query) for query in queries]
    for parts, group in zip(cluster.map(work, groups(asked, _FEW)), groups(asked, _FEW), strict=False):
        yield from (part.made and pipeline.signed(part.made, query) for part, query in zip(parts, group, strict=True))


def groups(queries: Iterable[Query], size: int = AT_ONCE) -> Iterator[list[Query]]:
    """Yield queries in groups, by default those that are rewritten together."""
    source = iter(queries)
    while group := list(islice(source, size)):
        yield group
