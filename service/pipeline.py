"""From a query to an answer: rewrite while the original is searched, search the rewrite, fuse.

REST, the SDK, the command line and the evaluation all come through here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Self

from .. import InputError, QuerywrightError, StorageError
from ..retrieval.analysis import is_chinese
from ..retrieval.collection import Filter, Leg, check_k, check_legs
from ..retrieval.filters import check_filter
from ..retrieval.fitting import Fusion
from ..retrieval.fusion import Ranking, fuse
from ..retrieval.joined import AnyCollection, AnySnapshot
from ..retrieval.rerank import Reranking, load_reranker
from ..retrieval.snapshot import DEPTH, shares
from ..rewrite.catalog import Catalog
from ..rewrite.deadline import within
from ..rewrite.editor import BilingualEditor
from ..rewrite.gate import Gate, Signs
from ..rewrite.history import HistoryRewriter
from ..rewrite.language import Language
from ..rewrite.llm import DEFAULT_PROMPT, LLMRewriter, load_chat_model, load_prompt
from ..rewrite.query import Decision, Query, Rewrite
from ..rewrite.rewriter import Chain, Keep, Meter, Rewriter, metered, reason_of
from ..rewrite.slots import CatalogRewriter
from .answer import Answer, EarlyHits, Event, Stage
from .clarifying import Questions
from .remembering import NOTHING, Known, RewriteCache
from .schemas import MAX_BUDGET_MS
from .settings import Settings

BOTH_LEGS = (Leg.LEXICAL, Leg.DENSE)

CHEAP = ("catalog", "history", "editor")
"""The rewriters of the default chain, in its order, without the LLM, which comes last where there is one."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Trace:
    """The stages so far; the first thing that went wrong is what the answer is marked with."""

    stages: list[Stage] = field(default_factory=list)
    degraded: str | None = None
    begun: float = field(default_factory=time.perf_counter)
    _told: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Time a stage; notes that are put in the list go with it."""
        begun = time.perf_counter()
        notes: list[str] = []
        try:
            yield notes
        finally:
            self.stages.append(Stage(name, time.perf_counter() - begun, "; ".join(notes), begun - self.begun))

    def rewritten(self, rewrite: Rewrite, began: float) -> None:
        """Add the stages of a rewriting that began at `began`, on a clock of its own beside the others."""
        start = began - self.begun
        note = f"{rewrite.rewriter}; {rewrite.decision}"
        self.stages.append(Stage("rewrite", rewrite.seconds, note, start))
        self.stages += [
            Stage(f"rewrite.{step.rewriter}", step.seconds, step.note, start + step.start) for step in rewrite.steps
        ]
        if rewrite.degraded:
            self.degrade(rewrite.degraded)

    def news(self) -> list[Stage]:
        """Return the stages since it was last asked."""
        told, self._told = self._told, len(self.stages)
        return self.stages[told:]

    def degrade(self, reason: str) -> None:
        self.degraded = self.degraded or reason


class Pipeline:
    """Rewrites and searches. Safe to use from several threads; of a query nothing is kept but its rewrite."""

    def __init__(self, settings: Settings, catalog: Catalog | None = None) -> None:
        self._settings = settings
        self._catalog = catalog or (Catalog.load(settings.catalog) if settings.catalog else None)
        self._editor = _editor(settings.editor)
        self._questions = Questions(settings.home, settings.secret_text, settings.clarification_seconds)
        self._known = RewriteCache(settings.rewrite_cache)
        self._prompt = load_prompt(settings.llm_prompt) if settings.llm_prompt else DEFAULT_PROMPT
        self._executor = ThreadPoolExecutor(settings.threads, thread_name_prefix="rewrite")
        self._fusion = Fusion(settings.fusion, settings.lexical_weight)
        self._reranking = _reranking(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop taking rewrites; one that hangs does not hold up the caller."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._reranking is not None:
            self._reranking.close()

    def share(self, other: Pipeline) -> None:
        """Use the editors that `other` has loaded, if the settings name the same ones."""
        if other._settings.editor == self._settings.editor:  # one of us
            self._editor = other._editor

    @property
    def remembered(self) -> RewriteCache:
        """The rewrites that are remembered."""
        return self._known

    # ---------------------------------------------------------------------------------- rewriters

    def rewriter(self, name: str, known: Known = NOTHING, editor: Rewriter | None = None) -> Rewriter:
        """Return the rewriter called `name`: none, auto, catalog, history, editor or llm.

        `editor` stands in for the editor. Raises InputError for another name, or for `llm` when no model is configured;
        StorageError or MissingExtraError for `editor` when it cannot be loaded. In `auto` that only degrades.
        """
        if name == "none":
            return Keep()
        catalog = self.catalog(known)
        makers: dict[str, Callable[[], Rewriter]] = {
            "catalog": lambda: CatalogRewriter(catalog or Catalog("empty"), known.corpus),
            "history": lambda: HistoryRewriter(catalog),
            "editor": lambda: editor or self._loaded_editor(),
            "llm": self._llm,
        }
        if name in makers:
            return self._chain(name, known, [makers[name]()])
        if name != "auto":
            raise InputError(f"rewriter: expected one of none, auto, {', '.join(makers)}")
        makers["editor"] = lambda: editor or self._editor
        members = [makers[member]() for member in CHEAP]
        return self._chain(name, known, [*members, _Lazy("llm", self._llm)] if self._settings.llm else members)

    def _chain(self, name: str, known: Known, rewriters: Sequence[Rewriter]) -> Chain:
        """Return a chain even of one: what it brings is grounded and gated like any other."""
        return Chain(
            rewriters,
            name=name,
            catalog=self.catalog(known),
            gate=Gate(self._settings.min_confidence),
            budget_seconds=self._budget(known),
            signs=known.signs,
        )

    def _budget(self, known: Known) -> float:
        """Return how long rewriting may take, in seconds."""
        return (known.budget_ms or self._settings.budget_ms) / 1000

    def _loaded_editor(self) -> Rewriter:
        self._editor.load()
        return self._editor

    def _llm(self) -> Rewriter:
        if not self._settings.llm:
            raise InputError("rewriter: llm: no model is configured; set QUERYWRIGHT_LLM, e.g. openai:gpt-5-mini")
        return self._llm_rewriter

    @cached_property
    def _llm_rewriter(self) -> LLMRewriter:
        options = {"base_url": self._settings.llm_base_url} if self._settings.llm_base_url else {}
        # Each question has its own budget: the chain's deadline bounds it.
        model = load_chat_model(str(self._settings.llm), timeout_seconds=MAX_BUDGET_MS / 1000, **options)
        return LLMRewriter(model, self._prompt, seconds=MAX_BUDGET_MS / 1000)

    # ---------------------------------------------------------------------------------- rewriting

    def rewrite(self, query: Query, *, rewriter: str | Rewriter = "auto", known: Known = NOTHING) -> Rewrite:
        """Rewrite `query` within the budget; past it the query comes back as it is, marked `degraded`.

        Raises InputError for an unknown rewriter, or an answer to a question that cannot be taken.
        """
        query = self._questions.resumed(query)
        return self._questions.signed(self._finish(self._begin(query, rewriter, known), query), query)

    def rewrite_all(self, queries: Sequence[Query], *, rewriter: str = "auto", known: Known = NOTHING) -> list[Rewrite]:
        """Rewrite several queries as `rewrite` does, with the editor reading them all at once.

        `seconds` holds a query's share of that reading.
        """
        queries = [self.resumed(query) for query in queries]
        read = self.read_ahead(queries, rewriter)
        return [
            self.rewrite_read(query, one, rewriter=rewriter, known=known)
            for query, one in zip(queries, read, strict=True)
        ]

    def rewrite_read(self, query: Query, read: Rewrite | None, *, rewriter: str, known: Known) -> Rewrite:
        """Rewrite a query of which the editor has made `read` already, unless that is None; `seconds` tells both."""
        chosen = self.rewriter(rewriter, known, _Known("editor", read) if read else None)
        made = self.rewrite(query, rewriter=chosen, known=known)
        return replace(made, seconds=made.seconds + read.seconds) if read else made

    def resumed(self, query: Query) -> Query:
        """Return `query` with the answer to a question that it brings; raises InputError where none can be taken."""
        return self._questions.resumed(query)

    def signed(self, rewrite: Rewrite, query: Query) -> Rewrite:
        """Return the rewrite of `query` with a token for its question, if it asks one."""
        return self._questions.signed(rewrite, query)

    def catalog(self, known: Known) -> Catalog | None:
        """Return the catalog that is used: the collection's, else the one that is set."""
        return known.catalog or self._catalog

    def read_ahead(self, queries: Sequence[Query], rewriter: str) -> Sequence[Rewrite | None]:
        """Return what the editor makes of all queries at once; None where `rewriter` does not ask it, or it failed."""
        if rewriter not in {"auto", "editor"}:
            return [None] * len(queries)
        try:
            return self._editor.rewrite_all(queries)
        except QuerywrightError:
            pass  # it cannot be loaded: logged where that was found, and told with every query
        except Exception as error:  # noqa: BLE001 # asked one by one, only the query at fault fails
            _log.warning("editor failed on %d queries at once: %s", len(queries), type(error).__name__)
        return [None] * len(queries)

    def _begin(self, query: Query, rewriter: str | Rewriter, known: Known) -> _Running:
        """Start rewriting; what is remembered of the same query is not worked out again."""
        begun, budget = time.perf_counter(), self._budget(known)
        chosen = self.rewriter(rewriter, known) if isinstance(rewriter, str) else rewriter
        running = _Running(chosen.name, begun, budget)
        if isinstance(chosen, Keep):  # no thread is needed for nothing
            running.future.set_result(chosen.rewrite(query))
            return running
        key = self._known.key(query, rewriter, known) if isinstance(rewriter, str) else None
        if key and (remembered := self._known.get(key)):
            running.future.set_result(replace(remembered, id=query.id, seconds=time.perf_counter() - begun))
            return running
        # With its context: what is logged there names the request, too.
        running.future = self._executor.submit(copy_context().run, _timed, chosen, query, running)
        if key:
            running.future.add_done_callback(partial(self._known.put, key))
        return running

    def _finish(self, running: _Running, query: Query) -> Rewrite:
        left = running.budget - (time.perf_counter() - running.begun)
        try:
            return running.future.result(timeout=max(left, 0.001))
        except TimeoutError:
            running.future.cancel()
            reason = "rewrite_timeout"
        except Exception as error:  # whatever fails around a search only degrades it
            told = reason_of(error)
            if isinstance(error, QuerywrightError) and not told:
                raise
            _log.warning("rewriter %s failed: %s", running.name, type(error).__name__)
            reason = told or f"{running.name}_failed"
        seconds = time.perf_counter() - running.began
        kept = Rewrite.keep(query, running.name)
        return replace(kept, degraded=reason, seconds=seconds, usage=running.meter.usage)

    # ---------------------------------------------------------------------------------- answering

    def answer(  # what a search can say; all but the first two are named
        self,
        query: Query,
        collection: AnyCollection,
        *,
        k: int = 10,
        legs: Sequence[Leg | str] = BOTH_LEGS,
        rewriter: str | Rewriter = "auto",
        keep_original: bool = True,
        filter: Filter | None = None,  # noqa: A002 # the word of the field
        known: Known = NOTHING,
    ) -> Answer:
        """Rewrite `query` and search `collection` with it, the original in a first batch, the rewrite in a second.

        All ranked lists are fused, weighted by the rewrite's confidence. Without `keep_original` the rewrite is
        searched in place of the query. Raises InputError for a bad k, leg, filter or rewriter.
        """
        events = self.stream(
            query,
            collection,
            k=k,
            legs=legs,
            rewriter=rewriter,
            keep_original=keep_original,
            filter=filter,
            known=known,
            early_hits=False,
        )
        return next(event for event in events if isinstance(event, Answer))

    def stream(  # as `answer`
        self,
        query: Query,
        collection: AnyCollection,
        *,
        k: int = 10,
        legs: Sequence[Leg | str] = BOTH_LEGS,
        rewriter: str | Rewriter = "auto",
        keep_original: bool = True,
        filter: Filter | None = None,  # noqa: A002 # the word of the field
        known: Known = NOTHING,
        early_hits: bool = True,
    ) -> Generator[Event, None, None]:
        """Do as `answer` does, and tell of each part as soon as it is there.

        The work goes on as events are asked for: one who stops asking stops it. `early_hits` cost a look-up.
        """
        trace = _Trace()
        check_k(k)
        wanted = check_legs(legs)
        check_filter(filter)
        query = self._questions.resumed(query)
        signs: Future[Signs | None] = Future()
        snapshot = collection.snapshot()
        if isinstance(rewriter, str) and rewriter != "none":
            known = about(known, collection, snapshot)
            known = replace(known, signs=partial(_waited, signs, self._budget(known)) if keep_original else None)
        running = self._begin(query, rewriter, known)
        try:
            fusion = self._fusion_of(collection, trace)
            search = _Search(snapshot, wanted, max(k, DEPTH), filter, trace, fusion)
            lists = search.batch([(query.query, 1.0)], "search_original", signs) if keep_original else []
            yield from trace.news()
            if keep_original and early_hits:
                yield EarlyHits(tuple(snapshot.hits(search.fused(lists), k)))
            rewrite = self._questions.signed(self._finish(running, query), query)
        finally:  # also where nobody asks for the next event
            running.future.cancel()
            if not signs.done():
                signs.set_result(None)
        trace.rewritten(rewrite, running.began)
        yield from trace.news()
        yield rewrite
        if not keep_original:
            lists = search.batch([(rewrite.rewrite, 1.0)], "search_rewrite")
        elif texts := _second_batch(rewrite, self._share(rewrite)):
            share = 1 - sum(weight for _, weight in texts)
            lists = [(ranking, weight * share) for ranking, weight in lists]
            lists += search.batch(texts, "search_rewrite")
        yield from trace.news()
        with trace.stage("fuse") as notes:
            fused = search.fused(lists)
            notes.append(f"{len(lists)} lists")
        fused = self._reranked(rewrite.rewrite, fused, snapshot, trace)
        if not lists:
            trace.degrade("no_leg_reads_query")
        hits = tuple(snapshot.hits(fused, k))
        yield from trace.news()
        yield Answer(hits, rewrite, trace.degraded, tuple(trace.stages))

    def _fusion_of(self, collection: AnyCollection, trace: _Trace) -> Fusion:
        """Return what was fitted for the collection, else what is set."""
        try:
            return collection.fusion() or self._fusion
        except StorageError as error:
            _log.warning("fusion: %s", error)
            trace.degrade("fusion_failed")
            return self._fusion

    def _reranked(self, text: str, fused: Ranking, snapshot: AnySnapshot, trace: _Trace) -> Ranking:
        """Return `fused` in the order that the reranker gives its best, as it is where there is none or it fails."""
        if self._reranking is None or not len(fused):
            return fused
        with trace.stage("rerank"):
            try:
                return self._reranking(text, fused, lambda position: snapshot.passage(position).indexed_text)
            except Exception as error:  # noqa: BLE001 # a model that is not there, is late, or of another kind
                _log.warning("reranker failed: %s", _without_texts(error))
                trace.degrade("rerank_failed")
                return fused

    def _share(self, rewrite: Rewrite) -> float:
        base, slope = self._settings.rewrite_share_base, self._settings.rewrite_share_slope
        return rewrite_share(rewrite.confidence, base, slope)


@dataclass(slots=True)
class _Running:
    """A rewriter that was asked at `begun`, what comes of it, and what it spends meanwhile."""

    name: str
    begun: float
    budget: float
    future: Future[Rewrite] = field(default_factory=Future)
    meter: Meter = field(default_factory=Meter)
    taken: float | None = None
    """When a thread took it up; None where it was remembered, or no thread has been free so far."""

    @property
    def began(self) -> float:
        """When the work began, as far as is known."""
        return self.begun if self.taken is None else self.taken


@dataclass(frozen=True, slots=True)
class _Lazy:
    """A rewriter that is made when first asked, so that its failing to load is a failure of its own."""

    name: str
    make: Callable[[], Rewriter]

    def rewrite(self, query: Query) -> Rewrite:
        """Make the rewriter and ask it."""
        return self.make().rewrite(query)


@dataclass(frozen=True, slots=True)
class _Known:
    """A rewriter that has already read its query."""

    name: str
    known: Rewrite

    def rewrite(self, query: Query) -> Rewrite:  # noqa: ARG002 # the only query it is given
        """Return what is known."""
        return self.known


@dataclass(frozen=True, slots=True)
class _Search:
    """What every batch of one answer has in common."""

    snapshot: AnySnapshot
    legs: tuple[Leg, ...]
    depth: int
    filter: Filter | None
    trace: _Trace
    fusion: Fusion

    def batch(
        self, texts: Sequence[tuple[str, float]], stage: str, signs: Future[Signs | None] | None = None
    ) -> list[tuple[Ranking, float]]:
        """Search weighted texts at once; return every leg's ranking with its weight, and tell `signs` of the first."""
        with self.trace.stage(stage) as notes:
            found = self._rank([text for text, _ in texts])
            if signs:
                signs.set_result(signs_of(self.snapshot, texts[0][0], found[0]))
            notes.append(f"{len(texts)} texts, {sum(map(len, found))} lists")
            notes.append("read by " + ", ".join("+".join(by_leg) or "no leg" for by_leg in found))
        return [
            (by_leg[leg], weight * share)
            for by_leg, (_, weight) in zip(found, texts, strict=True)
            for leg, share in shares(by_leg, self.fusion.lexical_weight).items()
        ]

    def fused(self, lists: Sequence[tuple[Ranking, float]]) -> Ranking:
        """Return the one ranking that weighted lists make."""
        return fuse([ranking for ranking, _ in lists], [weight for _, weight in lists], self.fusion.method)

    def _rank(self, texts: Sequence[str]) -> list[dict[Leg, Ranking]]:
        """Search by every leg; where the dense one fails, whatever the reason, the other's lists are kept."""
        found: list[dict[Leg, Ranking]] = [{} for _ in texts]
        if Leg.LEXICAL in self.legs:
            found = self.snapshot.rank(texts, (Leg.LEXICAL,), self.depth, self.filter)
        if Leg.DENSE in self.legs:
            try:
                dense = self.snapshot.rank(texts, (Leg.DENSE,), self.depth, self.filter)
            except Exception as error:  # noqa: BLE001 # damaged weights, an unknown model, no memory
                _log.warning("dense leg failed: %s", _without_texts(error))
                self.trace.degrade("dense_failed")
            else:
                found = [lists | more for lists, more in zip(found, dense, strict=True)]
                if self.snapshot.degraded:
                    self.trace.degrade("dense_on_cpu")
        return found


_READ, _COMPARED = 5, 10
"""How many of the best hits are read for the words of a query, and how many of both legs are compared."""


def signs_of(snapshot: AnySnapshot, text: str, found: Mapping[Leg, Ranking]) -> Signs | None:
    """Return what the rankings of `text` say of it; None unless both legs read it, and of Chinese.

    What they are worth was learnt from English queries, with the English encoder.
    """
    if Leg.LEXICAL not in found or Leg.DENSE not in found or is_chinese(text):
        return None
    dense = found[Leg.DENSE].head(_COMPARED).positions.tolist()
    lexical = found[Leg.LEXICAL].head(_COMPARED).positions.tolist()
    agreement = len(set(dense).intersection(lexical)) / _COMPARED
    return Signs(snapshot.coverage(text, dense[:_READ]), agreement)


def _waited(signs: Future[Signs | None], seconds: float) -> Signs | None:
    """Return the signs when the first search is done; without them where it takes longer than the budget."""
    try:
        return signs.result(timeout=seconds)
    except TimeoutError:
        return None


def about(known: Known, collection: AnyCollection, snapshot: AnySnapshot) -> Known:
    """Add to what is known the collection that is asked about, as it is in `snapshot`."""
    return replace(known, corpus=snapshot, state=f"{collection.token} {snapshot.generation}")


def _editor(given: Path | None) -> BilingualEditor:
    if given is not None and not any((given / language).is_dir() for language in Language):
        raise InputError(f"setting editor: {given}: expected a folder with trained editors, zh/ or en/ or both")
    return BilingualEditor(given)


def _timed(rewriter: Rewriter, query: Query, running: _Running) -> Rewrite:
    running.taken = begun = time.perf_counter()
    with metered(running.meter), within(running.begun + running.budget - begun):
        rewrite = rewriter.rewrite(query)
    return replace(rewrite, id=query.id, seconds=time.perf_counter() - begun)


INTERPRETATIONS = 0.7
"""What all interpretations of an ambiguous query weigh together; the original keeps the rest."""


def _second_batch(rewrite: Rewrite, share: float) -> list[tuple[str, float]]:
    """Return the texts to search besides the original, each with its share of the whole weight."""
    texts: dict[str, float] = {}
    if rewrite.decision is not Decision.KEEP:
        if rewrite.rewrite != rewrite.original:
            texts[rewrite.rewrite] = share
        elif rewrite.alternatives:
            total = sum(alternative.weight for alternative in rewrite.alternatives)
            for alternative in rewrite.alternatives:
                texts[alternative.rewrite] = INTERPRETATIONS * alternative.weight / total
    return [(text, weight) for text, weight in texts.items() if text.strip()]


def rewrite_share(confidence: float, base: float = 0.2, slope: float = 0.6) -> float:
    """Return the weight of a rewrite's ranked lists beside the original's: more, the surer it is.

    >>> [round(rewrite_share(confidence), 2) for confidence in (0.5, 0.8, 0.95)]
    [0.5, 0.68, 0.77]
    """
    return min(0.95, max(0.01, base + slope * confidence))


def _without_texts(error: Exception) -> str:
    """Return what may stand in a log of an error: other people's messages may quote a query."""
    return str(error) if isinstance(error, QuerywrightError) else type(error).__name__


def _reranking(settings: Settings) -> Reranking | None:
    if settings.rerank_model is None:
        return None
    return Reranking(load_reranker(settings.rerank_model), settings.rerank_depth, settings.rerank_ms / 1000)
