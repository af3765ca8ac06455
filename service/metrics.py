"""What the service did, in numbers that Prometheus reads: which stages ran, how long, what became of the queries.

Labels are few and their values known beforehand; no text of a query is among them.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from ..rewrite.query import Rewrite
from .answer import Answer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The numbers of one service. Safe to use from several threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "querywright_stage_seconds",
            "How long each stage of a query took.",
            ["stage"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._rewrites = self._counter(
            "rewrites", "Queries by who rewrote them and what was decided.", "rewriter", "decision"
        )
        self._edits = self._counter(
            "edits", "Edits that were made, by the gap that they fill and their source.", "problem", "source"
        )
        self._dropped = self._counter("edits_dropped", "Edits that were proposed without evidence.")
        self._degraded = self._counter("degraded", "Answers that something failed or came too late for.", "reason")

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"querywright_{name}", help_, labels, registry=self._registry)

    def answered(self, answer: Answer) -> None:
        """Count an answer, its stages and its rewrite."""
        for stage in answer.trace:
            self._seconds.labels(stage.stage).observe(stage.seconds)
        self._count(answer.rewrite, answer.degraded)

    def rewritten(self, rewrite: Rewrite) -> None:
        """Count a rewrite that was asked for by itself."""
        self._seconds.labels("rewrite").observe(rewrite.seconds)
        for step in rewrite.steps:
            self._seconds.labels(f"rewrite.{step.rewriter}").observe(step.seconds)
        self._count(rewrite, rewrite.degraded)

    def _count(self, rewrite: Rewrite, degraded: str | None) -> None:
        self._rewrites.labels(rewrite.rewriter, rewrite.decision.value).inc()
        for edit in rewrite.edits:
            self._edits.labels(edit.problem.value, edit.evidence.source.value).inc()
        self._dropped.inc(len(rewrite.dropped))
        if degraded:
            self._degraded.labels(degraded).inc()

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)
