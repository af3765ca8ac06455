"""Traces for OpenTelemetry: a span for each request, in it one for each stage of its answer.

On where the standard variables name an endpoint and the extra `otel` is installed. Spans are made once a request is
done, from what is known then, so that nothing of what it says gets into them unasked: FastAPI's own hold URLs and
messages of errors.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.trace import SpanKind, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import __version__
from .exchange import Exchange
from .metrics import OTHER

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_CLOSE_SECONDS = 2.0
"""So long the end of a service waits for the last spans to be taken."""

_CONTEXT = frozenset({b"traceparent", b"tracestate"})
_Attribute = str | int | list[str]
_log = logging.getLogger(__name__)


class Traces:
    """Sends what is recorded to a collector, in the background. Safe to use from several threads.

    With `queries`, spans hold the texts of queries.
    """

    def __init__(self, provider: TracerProvider, *, queries: bool = False) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("querywright", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._queries = queries

    @classmethod
    def from_environment(cls, *, queries: bool = False) -> Self | None:
        """Return what sends traces where the environment says to; None, with a line in the log, where it cannot."""
        off = (
            os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
            or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
        )
        if off or not _set("ENDPOINT"):
            return None
        if (protocol := _set("PROTOCOL") or "http/protobuf") != "http/protobuf":
            _log.warning("no traces are sent: OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf, got %r", protocol)
            return None
        if not _installed():
            _log.warning("no traces are sent: OTEL_EXPORTER_OTLP_ENDPOINT is set, but querywright[otel] not installed")
            return None
        try:
            return cls(_provider(), queries=queries)
        except Exception as error:  # noqa: BLE001 # whatever a variable's value makes of it: the service goes on
            _log.warning("no traces are sent: %s: %s", type(error).__name__, error)
            return None

    def record(self, exchange: Exchange, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Record a request that is done, as part of the trace that its headers name; return the trace's id."""
        given = {name.decode(): value.decode("latin-1") for name, value in headers if name in _CONTEXT}
        known = exchange.route != OTHER
        span = self._tracer.start_span(
            f"{exchange.method} {exchange.route}" if known else exchange.method,
            self._propagator.extract(given),
            SpanKind.SERVER,
            dict(self._attributes(exchange)),
            start_time=exchange.began_ns,
        )
        if exchange.status >= 500:
            span.set_status(StatusCode.ERROR)
        inside = set_span_in_context(span)
        for name, start, end in _stages(exchange) if span.is_recording() else ():
            self._tracer.start_span(name, inside, start_time=start).end(end)
        span.end(exchange.began_ns + _ns(exchange.seconds))
        return format_trace_id(span.get_span_context().trace_id)

    def _attributes(self, exchange: Exchange) -> Iterator[tuple[str, _Attribute]]:
        yield "http.request.method", exchange.method
        yield "http.response.status_code", exchange.status
        yield "querywright.request_id", exchange.id
        if exchange.route != OTHER:
            yield "http.route", exchange.route
        if exchange.status >= 500:
            yield "error.type", str(exchange.status)
        if exchange.key is not None:
            yield "querywright.key", exchange.key
        if exchange.rewrite is not None:
            yield "querywright.collections", list(exchange.collections)
            yield "querywright.rewriter", exchange.rewrite.rewriter
            yield "querywright.decision", exchange.rewrite.decision.value
            if self._queries:
                yield "querywright.query", exchange.rewrite.original
                yield "querywright.rewrite", exchange.rewrite.rewrite
        if exchange.k is not None:
            yield "querywright.k", exchange.k
        if exchange.degraded is not None:
            yield "querywright.degraded", exchange.degraded

    def close(self) -> None:
        """Send what is left, as far as there is time."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


def _stages(exchange: Exchange) -> Iterator[tuple[str, int, int]]:
    """Yield name, start and end of each stage; the last one ended when the answer was there."""
    began = exchange.answered_ns - _ns(max((stage.start + stage.seconds for stage in exchange.stages), default=0.0))
    for stage in exchange.stages:
        start = began + _ns(stage.start)
        yield stage.stage, start, start + _ns(stage.seconds)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _set(what: str) -> str | None:
    """Return a variable's value, that for traces before that for everything."""
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{what}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{what}")


def _installed() -> bool:
    try:
        return all(map(find_spec, ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")))
    except ModuleNotFoundError:
        return False


def _provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 # an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    about: dict[str, Any] = {"service.version": __version__}
    found = Resource.create(about)
    if str(found.attributes["service.name"]).startswith("unknown_service"):
        found = Resource.create(about | {"service.name": "querywright"})
    provider = TracerProvider(resource=found, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
