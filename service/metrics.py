"""What the service did, in numbers that Prometheus reads: requests, stages, what became of the queries, what is open.

Labels are few and their values known beforehand; no text of a query is among them. What is not known is counted as
`(other)`, whatever a request says.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .. import __version__
from ..rewrite.chat_failures import LLMError
from ..rewrite.query import Rewrite
from ..rewrite.rewriter import LLM
from .answer import Answer
from .exchange import Exchange
from .local import Querywright
from .pipeline import CHEAP
from .server import REASONS as CONNECTION
from .serving import Serving

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OTHER = "(other)"
"""The label of all that is not known beforehand; no collection and no route can have that name."""

MOST_COLLECTIONS = 100
"""So many collections have figures of their own, the first by name; the others are summed."""

REWRITERS = frozenset({"none", "auto", *CHEAP, LLM})

DEGRADED = frozenset(
    {"rewrite_timeout", "dense_failed", "dense_on_cpu", "fusion_failed", "rerank_failed", "no_leg_reads_query"}
    | {f"{rewriter}_failed" for rewriter in REWRITERS}
    | {LLMError.reason, *(kind.reason for kind in LLMError.__subclasses__())}
)
"""Why an answer may be degraded."""

REJECTIONS = frozenset(
    {"queue", "waited", "bodies", "body", "header", "late", "key", "scope", "origin", "host", *CONNECTION.values()}
)
"""Why a request may not be taken."""

_STAGES = frozenset(
    {"search_original", "rewrite", "search_rewrite", "fuse", "rerank"}
    | {f"rewrite.{rewriter}" for rewriter in REWRITERS}
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The numbers of one service. Safe to use from several threads."""

    def __init__(self, serving: Serving) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter(
            "http_requests", "Requests by route, method and class of the status.", "route", "method", "status"
        )
        self._answering = self._histogram("http_seconds", "From a request's arrival to the end of its answer.", "route")
        self._in_flight = Gauge("querywright_http_in_flight", "Requests under way.", registry=self._registry)
        self._rejected = self._counter("rejected", "Requests that were not taken.", "reason")
        self._waited = self._histogram("queue_seconds", "How long requests waited for their turn.")
        self._queue = Gauge("querywright_queue_length", "Requests that wait for their turn.", registry=self._registry)
        self._seconds = self._histogram("stage_seconds", "How long each stage of a query took.", "stage")
        self._rewrites = self._counter(
            "rewrites", "Queries by who rewrote them and what was decided.", "rewriter", "decision"
        )
        self._edits = self._counter(
            "edits", "Edits that were made, by the gap that they fill and their source.", "problem", "source"
        )
        self._dropped = self._counter("edits_dropped", "Edits that were proposed without evidence.")
        self._degraded = self._counter("degraded", "Answers that something failed or came too late for.", "reason")
        build = Info("querywright_build", "What runs.", registry=self._registry)
        build.info({"version": __version__, "python": platform.python_version()})
        self._registry.register(_Kept(serving))
        ProcessCollector(registry=self._registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"querywright_{name}", help_, labels, registry=self._registry)

    def _histogram(self, name: str, help_: str, *labels: str) -> Histogram:
        return Histogram(f"querywright_{name}", help_, labels, registry=self._registry, buckets=_SECONDS)

    # ------------------------------------------------------------------------------------ requests

    def began(self) -> None:
        """Count a request that has come."""
        self._in_flight.inc()

    def ended(self, exchange: Exchange) -> None:
        """Count a request that is done."""
        status = f"{exchange.status // 100}xx" if exchange.status else "none"
        self._in_flight.dec()
        self._requests.labels(exchange.route, exchange.method, status).inc()
        self._answering.labels(exchange.route).observe(exchange.seconds)

    def rejected(self, reason: str) -> None:
        """Count a request that was not taken, for one of `REJECTIONS`."""
        self._rejected.labels(_one_of(REJECTIONS, reason)).inc()

    def waited(self, seconds: float) -> None:
        """Count how long a request waited for its turn."""
        self._waited.observe(seconds)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Ask `length` how many requests wait, whenever the numbers are read."""
        self._queue.set_function(length)

    # ------------------------------------------------------------------------------------- queries

    def answered(self, answer: Answer) -> None:
        """Count an answer, its stages and its rewrite."""
        for stage in answer.trace:
            self._took(stage.stage, stage.seconds)
        self._count(answer.rewrite, answer.degraded)

    def rewritten(self, rewrite: Rewrite) -> None:
        """Count a rewrite that was asked for by itself."""
        self._took("rewrite", rewrite.seconds)
        for step in rewrite.steps:
            self._took(f"rewrite.{step.rewriter}", step.seconds)
        self._count(rewrite, rewrite.degraded)

    def _took(self, stage: str, seconds: float) -> None:
        self._seconds.labels(_one_of(_STAGES, stage)).observe(seconds)

    def _count(self, rewrite: Rewrite, degraded: str | None) -> None:
        self._rewrites.labels(_one_of(REWRITERS, rewrite.rewriter), rewrite.decision.value).inc()
        for edit in rewrite.edits:
            self._edits.labels(edit.problem.value, edit.evidence.source.value).inc()
        self._dropped.inc(len(rewrite.dropped))
        if degraded:
            self._degraded.labels(_one_of(DEGRADED, degraded)).inc()

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)


class _Kept(Collector):
    """What is looked up when the numbers are read: the collections that are open, the rewrites that are remembered.

    Nothing is opened for it, and nothing counted: a collection is told of as its last search saw it.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield the numbers as they are now."""
        yield from self._collections()
        cache = self._serving.now.pipeline.remembered
        asked = CounterMetricFamily("querywright_rewrite_cache", "Rewrites looked up, by outcome.", labels=["outcome"])
        asked.add_metric(["hit"], cache.hits)
        asked.add_metric(["miss"], cache.misses)
        yield asked
        yield GaugeMetricFamily("querywright_rewrite_cache_size", "Rewrites that are remembered.", len(cache))

    def _collections(self) -> Iterator[GaugeMetricFamily]:
        generation = _by_collection("generation", "The generation of an open collection that was searched last.")
        documents = _by_collection("documents", "Documents of an open collection.")
        passages = _by_collection("passages", "Passages of an open collection.")
        rest = [0, 0]
        for place, (name, its_generation, *sizes) in enumerate(sorted(_open(self._serving.now))):
            if place < MOST_COLLECTIONS:
                generation.add_metric([name], its_generation)
                documents.add_metric([name], sizes[0])
                passages.add_metric([name], sizes[1])
            else:
                rest = [sum(pair) for pair in zip(rest, sizes, strict=True)]
        if any(rest):
            documents.add_metric([OTHER], rest[0])
            passages.add_metric([OTHER], rest[1])
        yield from (generation, documents, passages)


def _open(querywright: Querywright) -> Iterator[tuple[str, int, int, int]]:
    """Yield name, generation, documents and passages of the collections that are open and were searched."""
    for collection in querywright.collection_store.opened():
        if collection.figures is not None:
            yield collection.name, *collection.figures


def _by_collection(name: str, help_: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"querywright_collection_{name}", help_, labels=["collection"])


def _one_of(known: Collection[str], value: str) -> str:
    return value if value in known else OTHER
