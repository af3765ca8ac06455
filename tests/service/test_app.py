"""The HTTP service itself: health, documentation, problems, load, and answers when parts fail."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from querywright import CatalogError, Client, InputError, NotFoundError, Querywright, StorageError, UnavailableError
from querywright.retrieval.home import Collections
from querywright.service.access import needed
from querywright.service.metrics import REWRITERS

LAKE = {"query": "frog habitat", "profile": {"team": "lake"}}
"""What the embedded rewriters leave as it is, so that a configured model is asked."""

FROGS = [
    {"doc_id": "a", "text": "green frog"},
    {"doc_id": "b", "text": "grey heron"},
    {"doc_id": "c", "text": "客户画像"},
]


@pytest.fixture
def small(tmp_path: Path, serving) -> Iterator[Callable]:
    """Return what starts a service over a small collection, with settings of its own."""
    running = []

    def start(home: Path | None = None, **settings: object):
        querywright = Querywright(home=home or tmp_path / "home", **{"encoder": "none"} | settings)
        querywright.create_collection("demo")
        querywright.upsert("demo", FROGS)
        context = serving(querywright)
        running.append(context)
        return context.__enter__()

    yield start
    for context in running:
        context.__exit__(None, None, None)


# ------------------------------------------------------------------------- health and documentation


def test_health(service) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        response = httpx.get(service.url + path)
        assert (response.status_code, response.json()) == (200, {"status": status})


def test_probes_may_ask_by_head(service) -> None:
    for path in ("/healthz", "/readyz"):
        response = httpx.head(service.url + path)
        assert (response.status_code, response.content) == (200, b"")
    assert httpx.head(f"{service.url}/v1/search").status_code == 405


def test_no_collection_named_and_no_default_one_is_said(tmp_path: Path, serving) -> None:
    with Querywright(home=tmp_path, encoder="none") as querywright, serving(querywright) as running:
        for door in (querywright, Client(running.url)):
            says = (
                r"^collection: none was named, and there is no default collection \(QUERYWRIGHT_DEFAULT_COLLECTION\)$"
            )
            with pytest.raises(NotFoundError, match=says):
                door.query("frog")
            with pytest.raises(NotFoundError, match=says):
                next(door.query_stream("frog"))
            with pytest.raises(NotFoundError, match="there is none of that name"):
                door.search("frog", collection="demo")


@pytest.fixture(scope="module")
def openapi(service) -> dict:
    response = httpx.get(f"{service.url}/openapi.json")
    assert response.status_code == 200
    return response.json()


def test_every_route_is_documented(openapi: dict) -> None:
    routes = [(path, method) for path, methods in openapi["paths"].items() for method in methods]
    assert len(routes) == 20
    for path, method in routes:
        route = openapi["paths"][path][method]
        assert route["summary"]
        if "requestBody" in route:
            for content in route["requestBody"]["content"].values():
                shown = content.get("examples") or content.get("example") or content["schema"].get("examples")
                assert shown, path
        asked = needed(method.upper(), path.replace("{name}", "demo")) is not None
        assert {status for status in ("401", "403") if status in route["responses"]} == (
            {"401", "403"} if asked else set()
        )
        problem = route["responses"]["4XX"]["content"]["application/problem+json"]["schema"]
        assert set(problem["properties"]) == {"title", "status", "detail"}
        assert "422" not in route["responses"]


def test_every_field_that_a_request_may_hold_is_described(openapi: dict) -> None:
    schemas = openapi["components"]["schemas"]
    for name in ("QueryRequest", "SearchRequest", "RewriteRequest", "DocumentModel", "CollectionRequest"):
        for field, schema in schemas[name]["properties"].items():
            assert any(one.get("description") for one in (schema, *schema.get("anyOf", ()))), f"{name}.{field}"
    told = schemas["QueryRequest"]["properties"]["rewriter"]["description"]
    assert all(f"`{name}`" in told for name in ("auto", *REWRITERS))
    full = {
        (method, path)
        for path, methods in openapi["paths"].items()
        for method, route in methods.items()
        if "507" in route["responses"]
    }
    collection = "/v1/collections/{name}"
    assert full == {
        ("post", "/v1/collections"),
        ("post", f"{collection}/documents"),
        ("post", f"{collection}/files"),
        ("post", f"{collection}/flush"),
        ("put", f"{collection}/catalog"),
    }


def test_examples_of_the_documentation_work(service, openapi: dict) -> None:
    """What the page offers to try out can be tried out."""
    content = openapi["paths"]["/v1/query"]["post"]["requestBody"]["content"]["application/json"]
    assert set(content["examples"]) == {"missing_entity", "vague_dimension", "ambiguity"}
    for problem, example in content["examples"].items():
        response = httpx.post(f"{service.url}/v1/query", json=example["value"], timeout=60)
        assert response.status_code == 200, response.text
        rewrite = response.json()["rewrite"]
        assert rewrite["decision"] == "rewrite"
        assert problem in {edit["problem"] for edit in rewrite["edits"]}
    for path in ("/v1/search", "/v1/rewrite"):
        schema = openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in schema.get("examples") or schema["schema"]["examples"]:
            assert httpx.post(service.url + path, json=example, timeout=60).status_code == 200


def test_answer_has_the_shape_of_the_contract(service) -> None:
    body = {"query": "苹果最新消息", "profile": {"interests": ["美股"]}, "now": "2024-07-15T10:00:00+08:00", "id": "7"}
    answer = httpx.post(f"{service.url}/v1/query", json=body, timeout=60).json()
    assert set(answer) == {"hits", "rewrite", "degraded", "trace"}
    keys = {"rank", "score", "doc_id", "passage_id", "title", "text", "metadata", "collection"}
    assert set(answer["hits"][0]) == keys
    assert set(answer["rewrite"]) == {
        "id", "original", "rewrite", "decision", "confidence", "edits", "alternatives",
        "clarification", "rewriter", "degraded", "truncated", "seconds", "usage", "dropped", "steps",
    }  # fmt: skip
    assert answer["rewrite"]["id"] == "7"
    edit = answer["rewrite"]["edits"][0]
    assert set(edit) == {"problem", "slot", "start", "end", "replacement", "evidence", "confidence", "interval"}
    assert set(edit["evidence"]) == {"source", "where", "text"}
    assert [stage["stage"] for stage in answer["trace"]] == [
        "search_original", "rewrite", "rewrite.catalog", "search_rewrite", "fuse",
    ]  # fmt: skip
    assert all(stage["seconds"] >= 0 for stage in answer["trace"])


# ---------------------------------------------------------------------------------------- problems


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/query", 405), ("PUT", "/v1/collections", 405), ("DELETE", "/healthz", 405)],
)
def test_no_such_route(service, method: str, path: str, status: int) -> None:
    response = httpx.request(method, service.url + path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] == "see /docs for the routes there are"


def test_body_limit_counts_what_comes_in(small: Callable) -> None:
    """Chunked, so that no header says how much there will be."""
    service = small(max_body_mb=1)

    def chunks(number: int) -> Iterator[bytes]:
        yield b'{"query": "frog", "id": "'
        yield from (b"x" * 10_000 for _ in range(number))
        yield b'"}'

    for number, status in ((2, 200), (103, 200), (106, 413), (2_000, 413)):
        connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=30)
        connection.putrequest("POST", "/v1/query")
        connection.putheader("content-type", "application/json")
        connection.putheader("transfer-encoding", "chunked")
        connection.endheaders()
        try:
            for chunk in chunks(number):
                connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            connection.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            assert status == 413  # it need not listen to the end
        if number < 2_000:
            response = connection.getresponse()
            assert response.status == status
            body = json.loads(response.read())
            assert status == 200 or body["detail"] == "body: at most 1,048,576 bytes are taken"
        connection.close()
    assert httpx.get(f"{service.url}/healthz").status_code == 200


def test_what_is_no_http_at_all(service) -> None:
    for sent in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET /\xff HTTP/9\r\n\r\n", b"frog\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", urlsplit(service.url).port), timeout=10) as connection:
            connection.sendall(sent)
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 400")
        assert len(answer) <= 4096
    assert httpx.get(f"{service.url}/healthz").status_code == 200


def test_broken_storage_is_no_fault_of_the_asker(small: Callable, tmp_path: Path) -> None:
    """The log has the details, the answer keeps the server's paths to itself."""
    service = small()
    (tmp_path / "home" / "broken").mkdir()
    (tmp_path / "home" / "broken" / "documents.sqlite").write_bytes(b"no database " * 1000)
    response = httpx.post(f"{service.url}/v1/query", json={"query": "frog", "collection": "broken"}, timeout=60)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert str(tmp_path) not in response.text
    with Client(service.url) as client, pytest.raises(UnavailableError, match="cannot be read or written now"):
        client.search("frog", collection="broken")
    with pytest.raises(StorageError, match=r"documents\.sqlite: damaged"):
        service.querywright.search("frog", collection="broken")
    assert httpx.post(f"{service.url}/v1/query", json={"query": "frog"}, timeout=60).status_code == 200


def test_broken_catalog_is_no_fault_of_the_asker(small: Callable, tmp_path: Path) -> None:
    service = small()
    (tmp_path / "home" / "demo" / "catalog.toml").write_text("= 1", encoding="utf-8")
    assert httpx.post(f"{service.url}/v1/query", json={"query": "frog"}, timeout=60).status_code == 503
    with pytest.raises(CatalogError, match=r"catalog\.toml:1: not valid TOML"):
        service.querywright.query("frog")


def test_crash_is_a_small_problem_too(small: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    service = small()
    monkeypatch.setattr(service.querywright, "query", lambda *_given, **_named: 1 / 0)
    response = httpx.post(f"{service.url}/v1/query", json={"query": "frog"}, timeout=60)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert "ZeroDivisionError" not in response.text


# -------------------------------------------------------------------------------------------- load


def test_many_ask_while_one_writes(small: Callable) -> None:
    service = small(threads=4)
    written = threading.Event()
    limits = httpx.Limits(max_connections=40)

    with httpx.Client(base_url=service.url, timeout=60, limits=limits) as http, ThreadPoolExecutor(33) as pool:

        def write() -> list[int]:
            found = []
            for number in range(20):
                body = {"documents": [{"doc_id": f"new{number}", "text": f"frog number {number}"}]}
                found.append(http.post("/v1/collections/demo/documents", json=body).status_code)
            written.set()
            return found

        def ask(number: int) -> list[tuple[int, bool]]:
            found = []
            while len(found) < 8 or (not written.is_set() and len(found) < 200):
                answer = http.post("/v1/query", json={"query": "frog", "id": str(number), "k": 1000})
                hits = {hit["doc_id"] for hit in answer.json()["hits"]} if answer.status_code == 200 else set()
                own = answer.status_code == 200 and answer.json()["rewrite"]["id"] == str(number)
                # Whatever was acknowledged before stays found: documents are only added here.
                found.append((answer.status_code, own and {"a"} <= hits))
            return found

        writing = pool.submit(write)
        asking = [pool.submit(ask, number) for number in range(32)]
        assert set(writing.result()) == {200}
        for future in asking:
            assert set(future.result()) == {(200, True)}
        assert len(http.post("/v1/query", json={"query": "frog", "k": 1000}).json()["hits"]) == 21


def test_asking_does_not_stop_the_event_loop(small: Callable) -> None:
    """While every worker thread is taken, the process still says that it is alive."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "none")
        port = silent.getsockname()[1]
        service = small(threads=2, llm="openai:gpt-5-mini", llm_base_url=f"http://127.0.0.1:{port}/v1", budget_ms=1500)
        with ThreadPoolExecutor(6) as pool:
            slow = [pool.submit(httpx.post, f"{service.url}/v1/query", json=LAKE, timeout=60) for _ in range(6)]
            assert httpx.get(f"{service.url}/healthz", timeout=1).status_code == 200
            assert {future.result().status_code for future in slow} == {200}


# ---------------------------------------------------------------------------------------- degraded


def hits_of(answer: dict) -> list[str]:
    return [hit["doc_id"] for hit in answer["hits"]]


def test_a_model_that_never_answers(small: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        service = small(llm="openai:gpt-5-mini", llm_base_url=f"http://127.0.0.1:{port}/v1", budget_ms=200)
        for _ in range(3):
            response = httpx.post(f"{service.url}/v1/query", json=LAKE, timeout=60)
            answer = response.json()
            assert response.status_code == 200
            assert answer["degraded"] == answer["rewrite"]["degraded"] in {"rewrite_timeout", "llm_timeout"}
            assert answer["rewrite"]["decision"] == "keep"
            assert hits_of(answer) == ["a"]
            assert 0.15 < answer["rewrite"]["seconds"] < 3
        rewrite = httpx.post(f"{service.url}/v1/rewrite", json=LAKE, timeout=60)
        assert rewrite.status_code == 200
        assert rewrite.json()["degraded"] in {"rewrite_timeout", "llm_timeout"}
        assert rewrite.json()["rewrite"] == LAKE["query"]


def test_a_model_that_is_not_there(small: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    service = small(llm="openai:gpt-5-mini", llm_base_url="http://127.0.0.1:1/v1", budget_ms=60_000)
    response = httpx.post(f"{service.url}/v1/query", json=LAKE, timeout=90)
    assert response.status_code == 200
    assert response.json()["degraded"] == response.json()["rewrite"]["degraded"] in {"llm_unavailable", "llm_timeout"}
    assert hits_of(response.json()) == ["a"]
    alone = httpx.post(f"{service.url}/v1/query", json={**LAKE, "rewriter": "llm"}, timeout=90)
    assert (alone.status_code, alone.json()["degraded"]) == (200, "llm_unavailable")


class Tired:
    """An encoder that encodes documents but no query any more."""

    name = "tired"
    dimensions = 2

    def reads(self, text: str) -> bool:
        return True

    def encode_documents(self, texts: Sequence[str], progress: object = None) -> NDArray[np.float32]:
        return np.tile(np.array([1, 0], np.float32), (len(texts), 1))

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise RuntimeError("out of memory")


def test_an_encoder_that_fails(tmp_path: Path, serving) -> None:
    querywright = Querywright(home=tmp_path)
    querywright.collection_store = Collections(tmp_path, Tired)
    querywright.create_collection("demo")
    querywright.upsert("demo", FROGS)
    with serving(querywright) as service:
        response = httpx.post(f"{service.url}/v1/query", json={"query": "frog"}, timeout=60)
        assert (response.status_code, response.json()["degraded"]) == (200, "dense_failed")
        assert hits_of(response.json()) == ["a"]
        alone = httpx.post(f"{service.url}/v1/query", json={"query": "frog", "legs": ["dense"]}, timeout=60)
        assert (alone.status_code, alone.json()["degraded"], alone.json()["hits"]) == (200, "dense_failed", [])
        lexical = httpx.post(f"{service.url}/v1/query", json={"query": "frog", "legs": ["lexical"]}, timeout=60)
        assert (lexical.json()["degraded"], hits_of(lexical.json())) == (None, ["a"])


@pytest.mark.parametrize("error", [InputError("no such model"), StorageError("weights: damaged")])
def test_a_model_that_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_given: object) -> None:
        raise error

    with Querywright(home=tmp_path) as querywright:
        querywright.collection_store = Collections(tmp_path, Tired)
        querywright.create_collection("demo")
        querywright.upsert("demo", FROGS)
        monkeypatch.setattr(Tired, "encode_queries", fail)
        answer = querywright.search("frog")
        assert (answer.degraded, answer.hits[0].doc_id) == ("dense_failed", "a")
        for legs in (["dense", "dense"], "dense"):
            alone = querywright.search("frog", legs=legs)
            assert (alone.degraded, alone.hits) == ("dense_failed", ())
        with pytest.raises(InputError, match="filter"):
            querywright.search("frog", filter={"a": None})  # type: ignore[dict-item]


def test_the_trace_says_which_legs_read(service) -> None:
    said = {}
    for text in ("客户画像", "customer data", "which of the"):
        trace = service.querywright.search(text).trace
        said[text] = next(stage.note for stage in trace if stage.stage == "search_original")
    assert said["客户画像"].endswith("read by lexical+dense")
    assert said["which of the"].endswith("read by dense")
    assert said["customer data"].endswith("read by lexical+dense")


def test_a_damaged_collection_does_not_hide_the_others(small: Callable, tmp_path: Path) -> None:
    service = small()
    (tmp_path / "home" / "broken").mkdir()
    (tmp_path / "home" / "broken" / "documents.sqlite").write_bytes(b"no database " * 1000)
    with Client(service.url) as client:
        assert [(info.name, info.documents) for info in client.collections()] == [("broken", None), ("demo", 3)]


def test_rewriting_and_asking_use_one_catalog(service) -> None:
    asked = {"query": "苹果最新消息", "profile": {"interests": ["美股"]}, "now": "2024-07-15T10:00:00+08:00"}
    over_http = httpx.post(f"{service.url}/v1/rewrite", json=asked, timeout=60).json()
    answer = httpx.post(f"{service.url}/v1/query", json=asked, timeout=60).json()
    assert over_http["rewrite"] == answer["rewrite"]["rewrite"] != asked["query"]


@pytest.mark.parametrize("legs", ["lexical", "hybrid", ["lexical", "lexical", "dense"]])
def test_legs_in_a_word(service, legs: object) -> None:
    response = httpx.post(f"{service.url}/v1/search", json={"query": "customer data", "legs": legs}, timeout=60)
    with Client(service.url) as client:
        assert client.search("customer data", legs=legs).hits
    assert (response.status_code, response.json()["degraded"]) == (200, None)


def test_no_leg_reads_the_query(small: Callable) -> None:
    service = small()
    response = httpx.post(f"{service.url}/v1/query", json={"query": "?!"}, timeout=60)
    assert (response.status_code, response.json()["degraded"]) == (200, "no_leg_reads_query")
    assert response.json()["hits"] == []
