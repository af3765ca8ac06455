"""Traces, as a collector on this machine receives them over OTLP."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from querywright import Querywright
from querywright.service.traces import Traces

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra `otel`")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SECRET = "canary-7f3a"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
QUERY = {"query": "帮我查下上月华东的订单量", "now": "2024-07-15T10:00:00+08:00", "k": 3}


class Collector(ThreadingHTTPServer):
    """Takes spans, as OpenTelemetry's own collector does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}
        self.bodies = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, body: bytes) -> None:
        self.bodies += body
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = {pair.key: pair.value.string_value for pair in sent.resource.attributes}
            self.spans += [span for scope in sent.scope_spans for span in scope.spans]

    def servers(self) -> list[Span]:
        return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        self.server.take(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def attributes(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server
        server.shutdown()


@pytest.fixture
def traced(collector: Collector, demo_home: Path, serving: Callable) -> Callable[..., Collector]:
    """Return what asks a service that sends traces and returns the collector that has them all."""

    def ask(*requests: tuple[str, dict[str, Any]], headers: dict[str, str] | None = None, **settings: Any) -> Collector:
        with serving(Querywright(home=demo_home, encoder="none", **settings)) as service:
            for path, body in requests:
                httpx.post(f"{service.url}{path}", json=body, headers=headers, timeout=30)
                httpx.get(f"{service.url}/healthz")
        return collector

    return ask


def test_a_query_is_a_span_with_one_for_each_stage(traced: Callable[..., Collector]) -> None:
    before = time.time_ns()
    collector = traced(("/v1/query", QUERY), headers={"x-request-id": "mine"})
    [server] = collector.servers()
    assert server.name == "POST /v1/query"
    told = attributes(server)
    assert told == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/query",
        "querywright.request_id": "mine",
        "querywright.collections": ["demo"],
        "querywright.rewriter": "catalog",
        "querywright.decision": "rewrite",
        "querywright.k": 3,
    }
    stages = [span for span in collector.spans if span is not server]
    names = {span.name for span in stages}
    assert names >= {"search_original", "rewrite", "rewrite.catalog", "search_rewrite", "fuse"}
    assert before <= server.start_time_unix_nano
    assert server.end_time_unix_nano <= time.time_ns()
    for span in stages:
        assert (span.trace_id, span.parent_span_id) == (server.trace_id, server.span_id)
        assert server.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= server.end_time_unix_nano
    begun = {span.name: span.start_time_unix_nano for span in stages}
    assert begun["search_original"] < begun["search_rewrite"] < begun["fuse"]
    assert begun["rewrite"] <= begun["rewrite.catalog"] < begun["search_rewrite"]
    assert collector.resource["service.name"] == "querywright"


def test_a_trace_goes_on_where_the_caller_began_it(traced: Callable[..., Collector]) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
    [server] = traced(("/v1/search", {"query": "frog"}), headers=headers).servers()
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, PARENT)


def test_what_the_caller_does_not_sample_is_not_sent(traced: Callable[..., Collector]) -> None:
    assert not traced(("/v1/search", {"query": "frog"}), headers={"traceparent": f"00-{TRACE}-{PARENT}-00"}).spans


def test_nothing_that_a_request_says_is_in_a_trace(traced: Callable[..., Collector]) -> None:
    body = {"query": SECRET, "profile": {"team": SECRET}, "id": SECRET, "now": QUERY["now"]}
    headers = {"authorization": f"Bearer {SECRET}", "user-agent": SECRET, "traceparent": SECRET, "baggage": SECRET}
    collector = traced(
        ("/v1/query", body),
        ("/v1/rewrite", body),
        (f"/v1/search?key={SECRET}", {"query": SECRET, "collection": SECRET}),
        (f"/{SECRET}", {}),
        headers=headers,
    )
    assert [span.name for span in collector.servers()] == [
        "POST /v1/query",
        "POST /v1/rewrite",
        "POST /v1/search",
        "POST",
    ]
    assert SECRET.encode() not in collector.bodies


def test_queries_are_told_where_that_is_asked_for(traced: Callable[..., Collector]) -> None:
    [server] = traced(("/v1/rewrite", {"query": QUERY["query"], "now": QUERY["now"]}), log_queries=True).servers()
    told = attributes(server)
    assert told["querywright.query"] == QUERY["query"]
    assert "2024" in told["querywright.rewrite"]


def test_what_fails_is_marked(traced: Callable[..., Collector], monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(Querywright, "search", crash)
    collector = traced(("/v1/search", {"query": "frog"}))
    [server] = collector.servers()
    assert server.status.code == 2
    assert attributes(server)["error.type"] == "503"
    assert SECRET.encode() not in collector.bodies


def test_a_collector_that_is_gone_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, demo_home: Path, serving: Callable
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    begun = time.monotonic()
    with serving(Querywright(home=demo_home, encoder="none")) as service:
        assert httpx.post(f"{service.url}/v1/search", json={"query": "frog"}, timeout=30).status_code == 200
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, None),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "no traces are sent: OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf, got 'grpc'",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
            "no traces are sent: ValueError: max_queue_size must be a positive integer.",
        ),
    ],
)
def test_without_an_endpoint_or_with_a_wrong_one_the_service_goes_on(
    variables: dict[str, str], said: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING):
        assert Traces.from_environment() is None
    assert [record.getMessage() for record in caplog.records] == ([said] if said else [])


def test_a_missing_extra_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("opentelemetry.sdk", "opentelemetry.sdk.trace"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert Traces.from_environment() is None
    [record] = caplog.records
    assert "querywright[otel]" in record.getMessage()
