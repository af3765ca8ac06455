"""Bad input of every kind: one clear error that names file, line or field, no traceback, and nothing lost."""

from __future__ import annotations

import gzip
import http.client
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from querywright import InputError, Querywright

CANARY = "kanarienvogel-4711"
DOCUMENTS = "/v1/collections/kept/documents"
JSON = "application/json"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad") / "home"


@pytest.fixture(scope="module")
def kept(home: Path, serving) -> Iterator[str]:
    """Run a service with a collection that must come through everything; return its address."""
    querywright = Querywright(home=home, encoder="none", max_body_mb=2, default_collection="kept")
    querywright.create_collection("kept")
    querywright.upsert("kept", [{"doc_id": "a", "text": "green frog"}, {"doc_id": "b", "text": "客户画像"}])
    with serving(querywright) as running:
        yield running.url


@pytest.fixture(autouse=True)
def _nothing_lost(kept: str) -> Iterator[None]:
    """After each bad input the service answers, and the collection holds what it held."""
    yield
    status, _, body = asked(kept, "GET", "/v1/collections", b"", {})
    assert (status, json.loads(body)) == (200, [{"name": "kept", "documents": 2}])
    status, _, body = asked(kept, "POST", "/v1/query", b'{"query": "frog"}', {"content-type": JSON})
    assert status == 200
    assert [hit["text"] for hit in json.loads(body)["hits"]] == ["green frog"]


def asked(url: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
    """Send what no well-behaved client would; return status, content type and body."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        return response.status, response.headers.get("content-type", ""), response.read()
    finally:
        connection.close()


# ------------------------------------------------------------------------------------------ over HTTP


@dataclass(frozen=True)
class Request:
    """A bad request, the status it deserves, and what the answer must say."""

    name: str
    says: str
    body: object = None
    path: str = "/v1/query"
    method: str = "POST"
    status: int = 422
    raw: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": JSON})

    def bytes(self) -> bytes:
        return self.raw or (b"" if self.body is None else json.dumps(self.body, ensure_ascii=False).encode())


def query(**fields: object) -> dict[str, object]:
    """Return a query that holds the canary, with `fields`."""
    return {"query": f"frog {CANARY}", **fields}


def document(**fields: object) -> dict[str, object]:
    return {"documents": [{"doc_id": "c", "text": CANARY, **fields}]}


_LEGS = "legs: expected lexical, dense or hybrid, or a list of one or both of lexical, dense"

BODIES = [
    # what is no JSON at all
    Request("empty body", "body: expected a JSON object|body: required"),
    Request("not JSON", "body: expected valid JSON", raw=CANARY.encode()),
    Request("cut off", "body: expected valid JSON", raw=b'{"query": "' + CANARY.encode()),
    Request("trailing text", "body: expected valid JSON", raw=b'{"query": "x"} ' + CANARY.encode()),
    Request("single quotes", "body: expected valid JSON", raw=f"{{'query': '{CANARY}'}}".encode()),
    Request("NaN", "body: expected valid JSON", raw=b'{"query": "x", "k": NaN}'),
    Request("Infinity", "body: expected valid JSON", raw=b'{"query": "x", "k": -Infinity}'),
    Request("1e999", "k: |body: expected valid JSON", raw=b'{"query": "x", "k": 1e999}'),
    Request("lone surrogate", "body: expected valid JSON", raw=b'{"query": "\\ud800 kanarienvogel-4711"}'),
    Request("raw surrogate", "body: expected valid JSON", raw=b'{"query": "\xed\xa0\x80"}'),
    Request("UTF-16", "body: expected valid JSON", raw=json.dumps(query()).encode("utf-16")),
    Request("latin-1", "body: expected valid JSON", raw='{"query": "Müller"}'.encode("latin-1")),
    Request("NUL byte", "body: expected valid JSON", raw=b'{"query": "x\x00"}'),
    Request("nested lists", "body: expected valid JSON", raw=b"[" * 100_000),
    Request("nested objects", "body: expected valid JSON", raw=b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    Request("a list", "body: expected a JSON object", body=[CANARY]),
    Request("a string", "body: expected a JSON object", body=CANARY),
    Request("null", "body: ", raw=b"null"),
    Request("gzip", "body: expected valid JSON", raw=gzip.compress(json.dumps(query()).encode())),
    Request("text/plain", "content-type: application/json", query(), headers={"content-type": "text/plain"}),
    Request("no content type", "content-type: application/json", query(), headers={}),
    Request(
        "form", "content-type: application/json", raw=b"query=x", headers={"content-type": "multipart/form-data"}
    ),
    Request("broken content type", "content-type: application/json", query(), headers={"content-type": ";;;"}),
    Request("3 MB", "body: at most 2,097,152 bytes", query(id="x" * 3_000_000), status=413),
    # queries
    Request("no query", "query: required", {"history": []}),
    Request("query a number", "query: expected a valid string", query(query=5)),
    Request("query null", "query: expected a valid string", query(query=None)),
    Request("query empty", "query: expected some text", query(query="", id=CANARY)),
    Request("query blank", "query: expected some text", query(query=" \n\t\u3000", id=CANARY)),
    Request("query NUL", "query: not valid Unicode", query(query=f"\0{CANARY}")),
    Request("query 1 MB", "query: .*at most 4,000", query(query=CANARY * 60_000)),
    Request("unknown field", "^body: unknown field; expected one of collection, k, .*, history, .*, budget_ms$", query(
        **{CANARY: 1}
    )),
    Request("a field misspelt", r"^body: unknown field; did you mean collection\?$", query(collections=CANARY)),
    Request("a field in capitals", r"^body: unknown field; did you mean filter\?$", query(FILTER=CANARY)),
    Request("a field of 1 MB", "^body: unknown field; expected one of collection, ", query(**{CANARY * 60_000: 1})),
    Request("turn without a role", r"history\[0\]\.role: required", query(
        history=[{CANARY: 1, "text": CANARY}]
    )),
    Request("history a string", "history: expected a valid list", query(history=CANARY)),
    Request("history of strings", r"history\[0\]: expected an object", query(history=[CANARY])),
    Request("bad role", r"history\[1\]\.role: expected 'user' or 'assistant'", query(
        history=[{"role": "user", "text": "x"}, {"role": CANARY, "text": "x"}]
    )),
    Request("turn without text", r"history\[0\]\.text: required", query(history=[{"role": "user"}])),
    Request("turn with a number", r"history\[0\]\.text: expected a valid string", query(
        history=[{"role": "user", "text": 4711}]
    )),
    Request("turn with NUL", "history text: not valid Unicode", query(
        history=[{"role": "user", "text": f"\0{CANARY}"}]
    )),
    Request("history too long", "history: list should have at most 20000", query(
        history=[{"role": "user", "text": ""}] * 20_001
    )),
    Request("profile a list", "profile: expected", query(profile=[CANARY])),
    Request("profile of numbers", "profile: expected a valid string or a valid list", query(profile={CANARY: 5})),
    Request("profile of objects", "profile: expected", query(profile={"facts": [{CANARY: 1}]})),
    Request("profile with an empty key", "profile: string should have at least 1", query(profile={"": CANARY})),
    Request("profile with a long key", "profile: string should have at most 100", query(profile={CANARY * 9: "x"})),
    Request("profile with NUL", "profile: not valid Unicode", query(profile={"a": f"\0{CANARY}"})),
    Request("profile too large", "profile: 300 values, at most 200", query(profile={"facts": [CANARY] * 300})),
    Request("now without an offset", "now: expected ISO 8601 with an offset", query(now="2024-07-15T10:00:00")),
    Request("now a date", "now: expected ISO 8601 with an offset", query(now="2024-07-15")),
    Request("now nonsense", "now: expected ISO 8601 with an offset", query(now=CANARY)),
    Request("now impossible", "now: expected ISO 8601 with an offset", query(now="2024-02-30T00:00:00Z")),
    Request("now a number", "now: expected a valid string", query(now=1720000000)),
    Request("id a number", "id: expected a valid string", query(id=4711)),
    # options of a search
    Request("k 0", "k: expected greater than or equal to 1", query(k=0)),
    Request("k -1", "k: expected greater than or equal to 1", query(k=-1)),
    Request("k 1001", "k: expected less than or equal to 1000", query(k=1001)),
    Request("k a string", "k: expected a valid integer", query(k="5")),
    Request("k true", "k: expected a valid integer", query(k=True)),
    Request("k 2.5", "k: expected a valid integer", query(k=2.5)),
    Request("k huge", "body: expected valid JSON", raw=b'{"query": "x", "k": ' + b"9" * 400 + b"}"),
    Request("k null", "k: expected a valid integer", query(k=None)),
    Request("legs unknown", _LEGS, query(legs=[CANARY])),
    Request("legs empty", _LEGS, query(legs=[])),
    Request("legs a string", _LEGS, query(legs=CANARY)),
    Request("legs hybrid in a list", _LEGS, query(legs=["hybrid"])),
    Request("legs of numbers", _LEGS, query(legs=[1])),
    Request("legs of nothing", _LEGS, query(legs=None)),
    Request("legs an object", _LEGS, query(legs={"lexical": 1})),
    Request("filter a string", "filter: expected", query(filter=CANARY)),
    Request("filter of objects", "filter: a range: expected one or more of gte", query(filter={CANARY: {CANARY: 1}})),
    Request("filter of nulls", "filter: expected a string, number", query(filter={CANARY: None})),
    Request("filter of lists in lists", "filter: expected a string, number", query(filter={CANARY: [[CANARY]]})),
    Request("filter, an empty range", "filter: a range: expected one or more of gte", query(filter={CANARY: {}})),
    Request("filter, a bound too many", "filter: a range: ", query(filter={"a": {"gte": 1, CANARY: 1}})),
    Request("filter, a bound of nothing", "filter: a range: expected strings", query(filter={CANARY: {"gte": None}})),
    Request("filter, bounds of two kinds", "all numbers or all", query(filter={CANARY: {"gte": 1, "lt": CANARY}})),
    Request("filter with an empty key", "filter: string should have at least 1", query(filter={"": CANARY})),
    Request("rewriter unknown", "rewriter: expected one of none, auto", query(rewriter=CANARY)),
    Request("rewriter not configured", "rewriter: llm: no model is configured", query(rewriter="llm")),
    Request("rewriter a number", "rewriter: expected a valid string", query(rewriter=1)),
    Request("no such collection", "there is none of that name", query(collection=CANARY), status=404),
    Request("collection climbs", "collection: expected a name", query(collection=f"../{CANARY}")),
    Request("collection empty in search", "collection: expected a name", query(collection=f"{CANARY}/", k=1)),
    Request("collection a number", "collection: expected a valid string", query(collection=1)),
    Request(
        "search: unknown field",
        "^history: unknown field; expected one of collection, k, legs, filter, query$",
        query(history=[]),
        path="/v1/search",
    ),
    Request("search: empty", "query: expected some text", {"query": ""}, path="/v1/search"),
    Request("rewrite: unknown field", "unknown field", query(k=5), path="/v1/rewrite"),
    Request("rewrite: no such collection", "none of that name", query(collection=CANARY), "/v1/rewrite", status=404),
    Request("rewrite: collection climbs", "collection: expected a name", query(collection="../kept"), "/v1/rewrite"),
    Request("rewrite: collection with NUL", "collection: expected a name", query(collection="a\0"), "/v1/rewrite"),
    # collections and documents
    *[
        Request(f"create {name[:20]!r}", "collection: expected a name", {"name": name}, "/v1/collections")
        for name in ("../x", "a/b", "", "x" * 65, "A", "é", "\0", "a b", ".", "a\n", f"{CANARY}!")
    ],
    Request("create without a name", "name: required", {}, "/v1/collections"),
    Request("create with more", "^body: unknown field; expected one of name$", {"name": "x", CANARY: 1}, "/v1/collections"),
    Request("create again", "there is one already", {"name": "kept"}, "/v1/collections", status=409),
    Request("documents missing", "documents: required", {}, DOCUMENTS),
    Request("documents an object", "documents: expected a valid list", {"documents": {CANARY: 1}}, DOCUMENTS),
    Request("document a string", r"documents\[0\]: expected an object", {"documents": [CANARY]}, DOCUMENTS),
    Request("document without an id", r"documents\[0\]\.doc_id: required", {"documents": [{"text": CANARY}]}, DOCUMENTS),
    Request("document without a text", r"documents\[0\]\.text: required", {"documents": [{"doc_id": CANARY}]}, DOCUMENTS),
    Request("document id a number", r"documents\[0\]\.doc_id: expected a valid string", document(doc_id=5), DOCUMENTS),
    Request("document id empty", r"documents\[0\]: doc_id: expected 1 to 512", document(doc_id=""), DOCUMENTS),
    Request("document id with a tab", r"documents\[0\]: doc_id: expected 1 to 512", document(
        doc_id=f"{CANARY}\t"
    ), DOCUMENTS),
    Request("document id too long", r"documents\[0\]: doc_id: expected 1 to 512", document(
        doc_id=CANARY * 50
    ), DOCUMENTS),
    Request("document id with NUL", r"documents\[0\]: doc_id: not valid Unicode", document(
        doc_id=f"{CANARY}\0"
    ), DOCUMENTS),
    Request("text with NUL", r"documents\[0\]: text: not valid Unicode", document(text=f"{CANARY}\0"), DOCUMENTS),
    Request("title with NUL", r"documents\[0\]: title: not valid Unicode", document(title=f"{CANARY}\0"), DOCUMENTS),
    Request("title a list", r"documents\[0\]\.title: expected a valid string", document(title=[CANARY]), DOCUMENTS),
    Request("metadata nested", r"documents\[0\]\.metadata: expected", document(metadata={CANARY: {"a": 1}}), DOCUMENTS),
    Request("metadata with NUL", r"documents\[0\]: metadata: not valid Unicode", document(
        metadata={CANARY: "\0"}
    ), DOCUMENTS),
    Request("metadata key with NUL", r"documents\[0\]: metadata: not valid Unicode", document(
        metadata={f"{CANARY}\0": "x"}
    ), DOCUMENTS),
    Request("document with more", r"documents\[0\]: unknown field; expected one of doc_id, text, title, metadata$", document(
        **{CANARY: 1}
    ), DOCUMENTS),
    Request("document's field misspelt", r"^documents\[0\]: unknown field; did you mean title\?$", document(
        titel=CANARY
    ), DOCUMENTS),
    Request("good then bad", r"documents\[1\]: doc_id", {
        "documents": [{"doc_id": "new", "text": "x"}, {"doc_id": "", "text": CANARY}]
    }, DOCUMENTS),
    Request("upsert to nowhere", "there is none of that name", document(), "/v1/collections/none/documents", status=404),
]  # fmt: skip

PATHS = [
    *[
        Request(f"path {name[:20]}", "collection: expected a name", None, f"/v1/collections/{name}", "DELETE")
        for name in (
            "A",
            "%C3%A9",
            "%00",
            "x" * 65,
            "%ff%fe",
            "a%20b",
            "%zz",
            "a%0Ab",
            "..%5Cx",
            "%2e%2e",
            f"{CANARY}!",
        )
    ],
    Request("path climbs", "see /docs", None, "/v1/collections/../../etc/passwd", "GET", 404),
    Request("path with a slash", "see /docs", None, "/v1/collections/a%2Fb", "DELETE", 404),
    Request("path ends", "see /docs", None, "/v1/collections//documents", "GET", 404),
    Request("drop nothing", "collection 'none': there is none", None, "/v1/collections/none", "DELETE", 404),
    Request("get nothing", "has no document of that id", None, f"{DOCUMENTS[:-1]}?doc_id={CANARY}", "GET", 404),
    Request("get without an id", "doc_id: required", None, DOCUMENTS[:-1], "GET"),
    Request("get with a tab", "doc_id: expected 1 to 512", None, f"{DOCUMENTS[:-1]}?doc_id={CANARY}%09", "GET"),
    Request("list none", "limit: expected greater than or equal to 1", None, f"{DOCUMENTS}?limit=0", "GET"),
    Request("list too many", "limit: expected less than or equal to 1000", None, f"{DOCUMENTS}?limit=1001", "GET"),
    Request("list words", "limit: expected a valid integer", None, f"{DOCUMENTS}?limit={CANARY}", "GET"),
    Request("list after NUL", "doc_id: not valid Unicode", None, f"{DOCUMENTS}?after={CANARY}%00", "GET"),
    Request("delete without ids", "doc_id: required", None, DOCUMENTS, "DELETE"),
    Request("delete an empty id", "doc_id: expected 1 to 512", None, f"{DOCUMENTS}?doc_id=a&doc_id=", "DELETE"),
    Request("delete from nowhere", "there is none", None, "/v1/collections/none/documents?doc_id=a", "DELETE", 404),
    Request("no such route", "see /docs", None, f"/{CANARY}", "GET", 404),
    Request("wrong method", "see /docs", None, "/v1/query", "GET", 405),
    Request("unknown method", "not valid HTTP", None, "/v1/query", "FROB", 400),
]


@pytest.mark.parametrize("request_", [pytest.param(request, id=request.name) for request in BODIES + PATHS])
def test_over_http(kept: str, request_: Request) -> None:
    status, kind, body = asked(kept, request_.method, request_.path, request_.bytes(), request_.headers)
    assert status == request_.status, body
    assert kind == "application/problem+json"
    problem = json.loads(body)
    assert set(problem) == {"title", "status", "detail"}
    assert problem["status"] == status
    assert re.search(request_.says, problem["detail"]), problem
    assert "\n" not in problem["detail"]
    assert len(body) <= 4096
    assert CANARY not in body.decode()
    assert "Traceback" not in body.decode()


# --------------------------------------------------------------------------------- on the command line


@dataclass(frozen=True)
class Command:
    """Files that are laid out, a command over them, and what its one line must say; {d} is their folder."""

    name: str
    line: str
    says: str
    files: dict[str, bytes] = field(default_factory=dict)


GOOD_ROW = b'{"_id": "c", "text": "x"}\n'
GOOD_QUERY = b'{"id": "1", "query": "frog"}\n'
GOOD_SET = {
    "corpus.jsonl": GOOD_ROW,
    "queries.jsonl": b'{"_id": "q", "text": "x"}\n',
    "qrels.tsv": b"query-id\tcorpus-id\tscore\nq\tc\t1\n",
}
INDEX = "index {d}/in.jsonl --collection kept"
REWRITE = "rewrite --in {d}/in.jsonl --out {d}/out.jsonl"
SEARCH = "search frog --collection kept"
EVALUATE = "evaluate {d} --out {d}/results --legs lexical"


def rows(name: str, says: str, second: bytes, first: bytes = GOOD_ROW, line: str = INDEX) -> Command:
    """Return a command over a file whose second row is bad."""
    return Command(name, line, rf"in\.jsonl:2: {says}", {"in.jsonl": first + second})


def queries(name: str, says: str, second: bytes) -> Command:
    return rows(f"rewrite: {name}", says, second, GOOD_QUERY, REWRITE)


def catalog(name: str, says: str, content: bytes) -> Command:
    return Command(
        f"catalog: {name}", "rewrite frog --catalog {d}/c.toml", rf"c\.toml:(?:\d+:)? .*{says}", {"c.toml": content}
    )


def evaluated(name: str, says: str, **files: bytes) -> Command:
    """Return an evaluation of a good data set with one file replaced; `says` begins with the file."""
    named = {file.replace("_", "."): content for file, content in files.items()}
    return Command(f"evaluate: {name}", EVALUATE, says, GOOD_SET | named)


COMMANDS = [
    # documents
    Command("index: no such file", "index {d}/none.jsonl --collection kept", r"none\.jsonl: cannot be read"),
    Command("index: no such folder", "index {d}/none --collection kept", "no such file or folder"),
    Command("index: unknown kind", "index {d}/x.pdf --collection kept", r"x\.pdf: expected a BEIR", {"x.pdf": b"%PDF"}),
    Command("index: empty folder", "index {d} --collection kept", "expected corpus.jsonl"),
    Command("index: broken gzip", "index {d}/x.jsonl.gz --collection kept", r"gz:1: .*gzip", {"x.jsonl.gz": b"no"}),
    Command("index: cut gzip", "index {d}/x.jsonl.gz --collection kept", r"gz:\d+: ", {
        "x.jsonl.gz": gzip.compress(GOOD_ROW)[:-9]
    }),
    Command("index: UTF-16", INDEX, r"in\.jsonl:1: not UTF-8", {"in.jsonl": GOOD_ROW.decode().encode("utf-16")}),
    Command("index: latin-1 Markdown", "index {d}/x.md --collection kept", r"x\.md:2: not UTF-8", {
        "x.md": "# x\nMüller".encode("latin-1")
    }),
    Command("index: bad name", "index {d}/in.jsonl --collection ../x", "collection: expected a name", {
        "in.jsonl": GOOD_ROW
    }),
    Command("index: bad catalog", f"{INDEX} --catalog {{d}}/c.toml", r"c\.toml:1: not valid TOML", {
        "in.jsonl": GOOD_ROW, "c.toml": b"= 1"
    }),
    rows("index: not JSON", "not JSON", b"{'_id': 'd'}"),
    rows("index: NaN", "not JSON", b'{"_id": "d", "text": "x", "n": NaN}'),
    rows("index: a list", "expected a JSON object, got a list", b"[]"),
    rows("index: deep", "not JSON", b"[" * 100_000),
    rows("index: no id", "field '_id': missing", b'{"text": "x"}'),
    rows("index: no text", "field 'text': expected a string", b'{"_id": "d"}'),
    rows("index: id a number", "field '_id': expected a string, got a number", b'{"_id": 7, "text": "x"}'),
    rows("index: empty id", "doc_id: expected 1 to 512", b'{"_id": "", "text": "x"}'),
    rows("index: id with a tab", "doc_id: expected 1 to 512", b'{"_id": "a\\tb", "text": "x"}'),
    rows("index: NUL", "text: not valid Unicode", b'{"_id": "d", "text": "\\u0000"}'),
    rows("index: surrogate", "not JSON", b'{"_id": "d", "text": "\\udc00"}'),
    rows("index: latin-1", "not UTF-8", '{"_id": "d", "text": "Müller"}'.encode("latin-1")),
    rows("index: metadata", "field 'metadata': 'k': expected", b'{"_id": "d", "text": "x", "metadata": {"k": {}}}'),
    rows("index: the same id", "the id of line 1 again", GOOD_ROW),
    # queries
    Command("rewrite: no such file", REWRITE, r"in\.jsonl: cannot be read"),
    Command("rewrite: nowhere to write", "rewrite --in {d}/in.jsonl --out {d}/no/out.jsonl", "cannot be written", {
        "in.jsonl": GOOD_QUERY
    }),
    Command("rewrite: onto a folder", "rewrite --in {d}/in.jsonl --out {d}", "cannot be written", {
        "in.jsonl": GOOD_QUERY
    }),
    Command("rewrite: UTF-16", REWRITE, r"in\.jsonl:1: not UTF-8", {"in.jsonl": GOOD_QUERY.decode().encode("utf-16")}),
    queries("not JSON", "not JSON", b"frog"),
    queries("a string", "expected a JSON object", b'"frog"'),
    queries("no query", "query: required", b'{"id": "2"}'),
    queries("query a number", "query: expected a valid string", b'{"query": 5}'),
    queries("empty", "query: expected some text", b'{"query": ""}'),
    queries("id a number", "id: expected a valid string", b'{"id": 2, "query": "x"}'),
    queries("bad role", r"history\[0\]\.role: expected 'user' or 'assistant'", (
        b'{"query": "x", "history": [{"role": "bot", "text": "x"}]}'
    )),
    queries("profile", r"profile\.region: expected a valid string or a valid list", (
        b'{"query": "x", "profile": {"region": 5}}'
    )),
    queries("now", "now: expected ISO 8601 with an offset", b'{"query": "x", "now": "2024-07-15T10:00"}'),
    queries("too long", "query: .*at most 4,000", b'{"query": "' + b"x" * 5000 + b'"}'),
    # files of options
    Command("history: no file", f"{SEARCH} --history {{d}}/h.json", r"h\.json: cannot be read"),
    Command("history: not JSON", f"{SEARCH} --history {{d}}/h.json", r"h\.json:2: not valid JSON", {
        "h.json": b"[\n{]"
    }),
    Command("history: an object", f"{SEARCH} --history {{d}}/h.json", r"h\.json: expected a list", {"h.json": b"{}"}),
    Command("history: bad role", f"{SEARCH} --history {{d}}/h.json", r"h\.json: \[1\]\.role: expected 'user'", {
        "h.json": b'[{"role": "user", "text": "x"}, {"role": "bot", "text": "x"}]'
    }),
    Command("history: UTF-16", f"{SEARCH} --history {{d}}/h.json", r"h\.json:1: not valid JSON", {
        "h.json": "[]".encode("utf-16")
    }),
    Command("history: NUL", f"{SEARCH} --history {{d}}/h.json", r"history text: not valid Unicode", {
        "h.json": b'[{"role": "user", "text": "\\u0000"}]'
    }),
    Command("profile: neither", f"{SEARCH} --profile region", "--profile: expected KEY=VALUE or a JSON file"),
    Command("profile: no key", f"{SEARCH} --profile =x", "--profile: expected KEY=VALUE"),
    Command("profile: a list", f"{SEARCH} --profile {{d}}/p.json", r"p\.json: expected a JSON object", {
        "p.json": b"[]"
    }),
    Command("profile: numbers", f"{SEARCH} --profile {{d}}/p.json", r"p\.json: profile\.region: expected", {
        "p.json": b'{"region": 5}'
    }),
    Command("profile: latin-1", f"{SEARCH} --profile {{d}}/p.json", r"p\.json:1: not valid JSON", {
        "p.json": '{"region": "Müller"}'.encode("latin-1")
    }),
    Command("profile: a folder", f"{SEARCH} --profile {{d}}", "cannot be read"),
    # catalogs
    Command("catalog: no file", "rewrite frog --catalog {d}/c.toml", r"c\.toml: cannot be read"),
    catalog("not TOML", "not valid TOML", b"[["),
    catalog("UTF-16", "expected UTF-8", 'name = "x"'.encode("utf-16")),
    catalog("no name", "name: expected text", b""),
    catalog("unknown key", "unknown key 'entity'", b'name = "x"\nentity = 1'),
    catalog("entity without a type", r"entities\[0\] \(a\): type: expected text", (
        b'name = "x"\n[[entities]]\nid = "a"\nname = "A"'
    )),
    catalog("the same alias", "aliases: lists 'b' twice", (
        b'name = "x"\n[[entities]]\nid = "a"\ntype = "t"\nname = "A"\naliases = ["b", "B"]'
    )),
    catalog("bad pattern", "is not a regular expression", b'name = "x"\nlocked = ["("]'),
    catalog("entities a table", "entities: expected", b'name = "x"\n[entities]\na = 1'),
    # data sets
    Command("evaluate: no folder", "evaluate {d}/none", "folder: expected the folder of a data set"),
    Command("evaluate: no corpus", "evaluate {d}", r"corpus\.jsonl: expected", {"queries.jsonl": b""}),
    evaluated("bad corpus", r"corpus\.jsonl:1: text: expected", corpus_jsonl=b'{"_id": "c"}'),
    evaluated("bad query", r"queries\.jsonl:1: text: expected", queries_jsonl=b'{"_id": "q", "text": 5}'),
    evaluated("bad now", r"queries\.jsonl:1: now: expected", queries_jsonl=b'{"_id": "q", "text": "x", "now": "x"}'),
    evaluated("no header", r"qrels\.tsv:1: header: expected", qrels_tsv=b"q\tc\t1\n"),
    evaluated("bad score", r"qrels\.tsv:2: score: expected", qrels_tsv=GOOD_SET["qrels.tsv"].replace(b"\t1", b"\tx")),
    evaluated("unknown id", r"qrels\.tsv:2: corpus-id: expected", qrels_tsv=(
        GOOD_SET["qrels.tsv"].replace(b"q\tc", b"q\td")
    )),
    Command("evaluate: bad arm", f"{EVALUATE} --arms none,best", "best", GOOD_SET),
    Command("evaluate: bad leg", "evaluate {d} --legs sparse", "leg", GOOD_SET),
    Command("evaluate: bad seed", f"{EVALUATE} --seed x", "seed", GOOD_SET),
    # options
    Command("k 0", f"{SEARCH} -k 0", "k: expected a whole number from 1 to 1000"),
    Command("k a word", f"{SEARCH} -k ten", "Invalid value for .-k.: .*integer"),
    Command("legs", f"{SEARCH} --legs sparse", "legs: expected lexical, dense or hybrid"),
    Command("filter", f"{SEARCH} --filter lang", "--filter: expected KEY=VALUE"),
    Command("filter without a key", f"{SEARCH} --filter >=3", "--filter: expected KEY=VALUE"),
    Command("filter, value and range", f"{SEARCH} --filter a=1 --filter a>2", "'a' has both a value and a range"),
    Command("filter, two bounds alike", f"{SEARCH} --filter a>1 --filter a>2", "'a' has two values after >"),
    Command("now", f"{SEARCH} --now 2024-07-15", "now: expected ISO 8601 with an offset"),
    Command("rewriter", f"{SEARCH} --rewriter best", "rewriter: expected one of none, auto"),
    Command("rewriter not configured", f"{SEARCH} --rewriter llm", "no model is configured"),
    Command("no such collection", "search frog --collection none", "collection 'none': there is none"),
    Command("bad collection", "search frog --collection A/B", "collection: expected a name"),
    Command("no collection", "search frog", "--collection"),
    Command("empty text", "search  --collection kept", "query: expected some text"),
    Command("unknown option", f"{SEARCH} --frob", "--frob"),
    Command("unknown command", "frob", "frob"),
    Command("text and file", f"{REWRITE} frog", "expected either a TEXT, or both --in"),
    Command("neither text nor file", "rewrite", "expected either a TEXT, or both --in"),
    Command("in without out", "rewrite --in {d}/in.jsonl", "expected either a TEXT, or both --in"),
    Command("rewrite: no such collection", "rewrite frog --collection none", "collection 'none': there is none"),
    Command("port", "serve --port 70000", "Invalid value for .--port.: .*65535"),
    Command("host", "serve --host 203.0.113.1 --port 0", "--host, --port: cannot listen"),
]  # fmt: skip


@pytest.mark.parametrize("command", [pytest.param(command, id=command.name) for command in COMMANDS])
def test_on_the_command_line(
    command: Command, tmp_path: Path, home: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUERYWRIGHT_ENCODER", "none")
    for name, content in command.files.items():
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.iterdir())
    arguments = [argument.replace("{d}", str(tmp_path)) for argument in command.line.split(" ")]
    ran = run(*arguments, *([] if arguments[0] == "frob" else ["--home", home]))
    assert ran.code == 2, ran
    assert ran.out == ""
    assert ran.err.startswith("querywright: ")
    assert ran.err.endswith("\n")
    assert ran.err.count("\n") == 1, ran.err
    assert len(ran.err) <= 4096
    assert re.search(command.says, ran.err), ran.err
    assert "Traceback" not in ran.err
    if "evaluate" not in command.line:
        assert sorted(tmp_path.iterdir()) == before


def test_there_are_many() -> None:
    assert len(BODIES) + len(PATHS) + len(COMMANDS) >= 200
    for cases in (BODIES, PATHS, COMMANDS):
        names = [case.name for case in cases]
        assert len(names) == len(set(names))


def test_in_process_an_unknown_field_is_named_too(home: Path) -> None:
    with Querywright(home=home.parent / "own", encoder="none") as querywright:
        querywright.create_collection("kept")
        with pytest.raises(InputError, match=r"^documents\[0\]: titel: unknown field; did you mean title\?$"):
            querywright.upsert("kept", [{"doc_id": "a", "text": "x", "titel": "y"}])


def test_what_is_missing_in_an_address_is_named(kept: str) -> None:
    """Each parameter that a route must have."""
    _, _, body = asked(kept, "GET", "/openapi.json", b"", {})
    required = [
        (path.replace("{name}", "kept"), method.upper(), parameter["name"])
        for path, methods in json.loads(body)["paths"].items()
        for method, route in methods.items()
        for parameter in route.get("parameters", ())
        if parameter["in"] == "query" and parameter["required"]
    ]
    assert {name for _, _, name in required} == {"doc_id", "file"}
    for path, method, name in required:
        status, _, body = asked(kept, method, path, CANARY.encode(), {})
        assert (status, json.loads(body)["detail"]) == (422, f"{name}: required, but missing")
