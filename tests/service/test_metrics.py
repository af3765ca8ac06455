"""The numbers for Prometheus, over a real socket: what ran is counted, no text of a request is told."""

from __future__ import annotations

import http.client
import re
import socket
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from inspect import getsource
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from querywright import Client, Querywright, __version__
from querywright.rewrite.query import Query, Rewrite, Step
from querywright.service import admission, pipeline
from querywright.service.answer import Answer, Stage
from querywright.service.metrics import DEGRADED, MOST_COLLECTIONS, OTHER, REJECTIONS, REWRITERS, Metrics
from querywright.service.serving import Serving

Labels = tuple[tuple[str, str], ...]


def read(text: str) -> dict[tuple[str, Labels], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def numbers(url: str) -> dict[tuple[str, Labels], float]:
    with urllib.request.urlopen(f"{url}/metrics") as response:
        text = response.read().decode()
    assert "苹果" not in text
    return read(text)


def grown(url: str, before: dict[Any, float]) -> dict[Any, float]:
    return {key: value - before.get(key, 0) for key, value in numbers(url).items() if value != before.get(key, 0)}


def values(found: dict[tuple[str, Labels], float], label: str) -> set[str]:
    return {value for _, labels in found for name, value in labels if name == label}


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory):
    with Querywright(home=tmp_path_factory.mktemp("metrics"), encoder="none") as querywright:
        yield Metrics(Serving(querywright))


# ---------------------------------------------------------------------------------------- queries


def test_each_request_is_counted_by_what_it_did(service: Any) -> None:
    now = "2024-07-15T10:00:00+08:00"
    before = numbers(service.url)
    with Client(service.url) as client:
        answer = client.query("帮我查下上月华东的订单量", collection="demo", now=now)
        client.rewrite("苹果最新消息", collection="demo", now=now)
    more = grown(service.url, before)
    assert more["querywright_rewrites_total", (("decision", "rewrite"), ("rewriter", "catalog"))] == 1
    assert more["querywright_rewrites_total", (("decision", "clarify"), ("rewriter", "catalog"))] == 1
    made = sum(value for (name, _), value in more.items() if name == "querywright_edits_total")
    assert made == len(answer.rewrite.edits) > 0
    stages = {dict(labels)["stage"] for (name, labels) in more if name == "querywright_stage_seconds_count"}
    assert stages >= {"search_original", "rewrite", "rewrite.catalog", "search_rewrite", "fuse"}


def test_the_trace_says_which_rewriter_ran_why_and_what_it_changed(service: Any) -> None:
    with Client(service.url) as client:
        answer = client.query("它怎么收费", collection="demo", history=[{"role": "user", "text": "客户画像功能是什么"}])
    notes = {stage.stage: stage.note for stage in answer.trace}
    steps = [stage for stage in notes if stage.startswith("rewrite.")]
    assert steps[:2] == ["rewrite.catalog", "rewrite.history"]
    assert all(notes.values())
    assert sum(stage.seconds for stage in answer.trace if stage.stage.startswith("rewrite.")) > 0
    assert [step.rewriter for step in answer.rewrite.steps] == [name.removeprefix("rewrite.") for name in steps]


# --------------------------------------------------------------------------------------- requests


def test_requests_are_counted_by_route_method_and_status(service: Any) -> None:
    before = numbers(service.url)
    httpx.post(f"{service.url}/v1/search", json={"query": "frog"}, timeout=30)
    httpx.post(f"{service.url}/v1/search", json={"query": "frog", "k": 0})
    httpx.get(f"{service.url}/v1/collections/demo/documents", params={"limit": 1})
    httpx.put(f"{service.url}/v1/search")
    httpx.get(f"{service.url}/no/such/page")
    more: dict[str, dict[tuple[str, str], float]] = {}
    for (name, labels), value in grown(service.url, before).items():
        if name == "querywright_http_requests_total":
            named = dict(labels)
            more.setdefault(named["route"], {})[named["method"], named["status"]] = value
    assert more["/v1/search"] == {("POST", "2xx"): 1, ("POST", "4xx"): 1, ("PUT", "4xx"): 1}
    assert more["/v1/collections/{name}/documents"] == {("GET", "2xx"): 1}
    assert more[OTHER] == {("GET", "4xx"): 1}
    took = grown(service.url, before)["querywright_http_seconds_count", (("route", "/v1/search"),)]
    assert took == 3


def test_a_request_is_in_flight_until_it_is_done(tmp_path: Path, serving: Callable) -> None:
    querywright = Querywright(home=tmp_path, encoder="none")
    querywright.create_collection("demo")
    with serving(querywright) as service:
        address = urlsplit(service.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        connection.putrequest("POST", "/v1/search")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", "17")
        connection.endheaders(b"{")
        assert in_flight(service.url, 2)  # this one, and the one that asks
        connection.send(b'"query": "frog"}')
        assert connection.getresponse().status == 200
        assert in_flight(service.url, 1)
        connection.close()


def in_flight(url: str, expected: int) -> bool:
    """Wait for so many requests to be under way."""
    until = time.monotonic() + 10
    while numbers(url)["querywright_http_in_flight", ()] != expected:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def hostile(url: str) -> None:
    """Send what would make a label of its own, were it taken as it is."""
    address = urlsplit(url)
    for method, path in [
        ("PROPFIND", "/v1/search"),
        ("GET", "/v1/collections/evil-name/documents"),
        ("GET", "/v1/collections/..%2f..%2fevil/catalog"),
        ("DELETE", "/v1/collections/%00evil%0a"),
        ("GET", "/evil?evil=evil"),
        ("GET", "//evil//"),
        ("HEAD", "/v1/search/evil"),
    ]:
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        connection.request(method, path, headers={"x-request-id": "evil", "user-agent": "evil"})
        connection.getresponse().read()
        connection.close()
    for body in (
        {"query": "evil", "rewriter": "evil"},
        {"query": "evil", "rewriter": "auto", "collection": "evil"},
        {"query": "evil", "collection": ["demo", "evil"]},
        {"query": "evil", "legs": "evil"},
        {"query": "evil", "profile": {"evil": "evil"}, "now": "2024-07-15T10:00:00+08:00"},
    ):
        for path in ("query/stream", "query", "rewrite", "search"):
            httpx.post(f"{url}/v1/{path}", json=body, timeout=30)


def test_no_request_makes_a_label(service: Any) -> None:
    hostile(service.url)
    known = numbers(service.url)
    hostile(service.url)
    assert set(numbers(service.url)) == set(known)
    assert not any("evil" in value for _, labels in known for _, value in labels)
    routes = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    files = {route for route in values(known, "route") if route.startswith("/page/")}
    assert values(known, "route") <= {*routes, *files, OTHER, "/", "/docs", "/openapi.json"}
    assert values(known, "method") <= {"GET", "HEAD", "POST", "PUT", "DELETE", OTHER}
    assert values(known, "status") <= {"2xx", "3xx", "4xx", "5xx", "none"}


@given(st.text(), st.text(), st.text())
def test_what_a_rewriter_says_of_itself_makes_no_label(metrics: Metrics, name: str, reason: str, stage: str) -> None:
    """Rewriters may be anybody's, and so may the reasons of their errors."""
    kept = replace(Rewrite.keep(Query("x"), name), steps=(Step(name, 0.1),), degraded=reason)
    metrics.rewritten(kept)
    metrics.answered(Answer((), kept, reason, (Stage(stage, 0.1),)))
    metrics.rejected(reason)
    found = read(metrics.text().decode())
    assert values(found, "rewriter") <= {*REWRITERS, OTHER}
    reasons = {dict(labels)["reason"] for metric, labels in found if metric == "querywright_degraded_total"}
    assert reasons <= {*DEGRADED, OTHER}
    assert {dict(labels)["reason"] for metric, labels in found if "rejected_total" in metric} <= {*REJECTIONS, OTHER}
    assert all(value in {"rewrite", OTHER} or value.startswith("rewrite.") for value in values(found, "stage"))


def test_every_reason_that_the_code_gives_is_known() -> None:
    """A new one must be added to the labels, or would be counted as another."""
    degraded = set(re.findall(r'degrade\("(\w+)"\)|reason = "(\w+)"', getsource(pipeline)))
    assert {one or other for one, other in degraded} <= DEGRADED
    assert set(re.findall(r'_Refused\(\d+, "(\w+)"', getsource(admission))) <= REJECTIONS
    assert degraded


def test_refused_connections_are_counted(serving, tmp_path: Path) -> None:
    with serving(Querywright(home=tmp_path, encoder="none")) as running:
        address = urlsplit(running.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(b"no HTTP\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
            counted = numbers(running.url)
    assert counted["querywright_rejected_total", (("reason", "malformed"),)] == 1


def test_rejections_and_waiting(metrics: Metrics) -> None:
    waiting = [3]
    metrics.watch_queue(lambda: waiting[0])
    before = read(metrics.text().decode())
    metrics.rejected("queue")
    metrics.waited(0.2)
    waiting[0] = 4
    after = read(metrics.text().decode())
    assert after["querywright_rejected_total", (("reason", "queue"),)] == 1
    assert after["querywright_queue_seconds_sum", ()] == pytest.approx(0.2)
    assert (before["querywright_queue_length", ()], after["querywright_queue_length", ()]) == (3, 4)


# ------------------------------------------------------------------------------------ what is kept


def test_remembered_rewrites_are_counted(tmp_path: Path, serving: Callable) -> None:
    querywright = Querywright(home=tmp_path, encoder="none")
    querywright.create_collection("demo")
    with serving(querywright) as service:
        for text in ("frog", "frog", "heron"):
            httpx.post(f"{service.url}/v1/rewrite", json={"query": text, "now": "2024-07-15T10:00:00Z"}, timeout=30)
        found = numbers(service.url)
    assert found["querywright_rewrite_cache_total", (("outcome", "hit"),)] == 1
    assert found["querywright_rewrite_cache_total", (("outcome", "miss"),)] == 2
    assert found["querywright_rewrite_cache_size", ()] == 2


def test_collections_are_told_of_without_being_opened(tmp_path: Path) -> None:
    with Querywright(home=tmp_path, encoder="none") as querywright:
        for name in ("one", "two"):
            querywright.create_collection(name)
            querywright.upsert(name, [{"doc_id": str(i), "text": "green frog"} for i in range(3)])
    with Querywright(home=tmp_path, encoder="none") as querywright:
        metrics = Metrics(Serving(querywright))
        assert not values(read(metrics.text().decode()), "collection")
        querywright.search("frog", collection="two")
        querywright.upsert("two", [{"doc_id": "0", "text": "grey heron"}])
        before = read(metrics.text().decode())
        assert values(before, "collection") == {"two"}
        assert before["querywright_collection_documents", (("collection", "two"),)] == 3
        assert before["querywright_collection_passages", (("collection", "two"),)] == 3
        querywright.search("frog", collection="two")
        after = read(metrics.text().decode())
        generation = ("querywright_collection_generation", (("collection", "two"),))
        assert after[generation] > before[generation]


def test_more_collections_than_that_are_summed(tmp_path: Path) -> None:
    with Querywright(home=tmp_path, encoder="none") as querywright:
        names = [f"c{number:03}" for number in range(MOST_COLLECTIONS + 2)]
        for name in names:
            querywright.create_collection(name)
        for name in names[-3:]:
            querywright.upsert(name, [{"doc_id": "a", "text": "frog"}, {"doc_id": "b", "text": "heron"}])
        querywright.search("frog", collection=names[:100])
        querywright.search("frog", collection=names[100:])
        found = read(Metrics(Serving(querywright)).text().decode())
    assert values(found, "collection") == {*names[:MOST_COLLECTIONS], OTHER}
    assert found["querywright_collection_documents", (("collection", OTHER),)] == 4
    assert found["querywright_collection_documents", (("collection", names[99]),)] == 2


def test_what_runs_and_what_it_takes(service: Any) -> None:
    found = numbers(service.url)
    build = next(dict(labels) for name, labels in found if name == "querywright_build_info")
    assert build["version"] == __version__
    assert found["process_resident_memory_bytes", ()] > 10_000_000
    assert found["process_open_fds", ()] > 0
