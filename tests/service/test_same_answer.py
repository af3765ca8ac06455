"""One question, every door: REST, SDK, both clients, the command line and LangChain give one answer."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from querywright import (
    Answer,
    AsyncClient,
    Client,
    ConflictError,
    Document,
    Event,
    InputError,
    NotFoundError,
    Query,
    Querywright,
    UnavailableError,
)
from querywright.retrieval.sources import read_source
from querywright.rewrite.query import Role, Turn
from querywright.service.demo import folder
from querywright.service.langchain import QuerywrightRetriever, turn_rows
from querywright.service.schemas import to_json

NOW = "2024-07-15T10:00:00+08:00"
HISTORY_ZH = [
    {"role": "user", "text": "听说新版上线了客户画像，是做什么的？"},
    {"role": "assistant", "text": "客户画像会把一位客户的资料、交易和拜访记录汇总到一页。"},
]
HISTORY_EN = [
    {"role": "user", "text": "I heard the new version has customer profiles. What are they for?"},
    {"role": "assistant", "text": "Customer profiles bring together everything known about one account."},
]
QUESTIONS: dict[str, dict[str, Any]] = {
    "zh": {"query": "客户画像怎么导出", "now": NOW},
    "zh history and profile": {
        "query": "这个功能怎么用?", "history": HISTORY_ZH, "profile": {"product": "CRM 系统"}, "now": NOW,
    },
    "zh clock, k": {"query": "帮我查下数据", "profile": {"region": "华东区"}, "now": NOW, "k": 3},
    "zh list in the profile": {
        "query": "苹果最新消息", "profile": {"interests": ["美股", "科技股"], "fiscal_year_start": "10-01"}, "now": NOW,
    },
    "en": {"query": "latest Apple news", "profile": {"interests": ["US stocks", "tech stocks"]}, "now": NOW, "k": 5},
    "en history": {"query": "How do I use this feature?", "history": HISTORY_EN, "profile": {"product": "the CRM"}, "now": NOW},
    "en lexical, filter": {"query": "sales revenue East China", "legs": ["lexical"], "filter": {"lang": ["en"]}, "now": NOW},
    "en dense, deep": {"query": "who may see a customer's data?", "legs": ["dense"], "k": 200, "now": NOW},
    "zh dense reads nothing": {"query": "客户画像", "legs": ["dense"], "now": NOW},
    "filter of both": {"query": "Apple 财报", "filter": {"lang": ["zh", "en"], "kind": ["news"]}, "k": 7, "now": NOW},
    "filter finds nothing": {"query": "客户画像", "filter": {"kind": ["never"]}, "now": NOW},
    "filter by a range": {"query": "Apple 财报", "filter": {"lang": {"gte": "f", "lt": "zz"}, "kind": ["news"]}, "now": NOW},
    "not rewritten": {"query": "show me the numbers", "rewriter": "none", "now": NOW},
    "two collections": {"query": "Apple 财报", "collection": ["demo", "annex"], "now": NOW, "k": 100},
    "one rewriter": {"query": "这个功能怎么用?", "history": HISTORY_ZH, "rewriter": "history", "now": NOW},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _annex(service) -> Iterator[None]:
    """Give the service a second collection."""
    service.querywright.create_collection("annex")
    service.querywright.upsert(
        "annex", [Document("note", "Apple 财报的读法"), Document("other", "how to read a report")]
    )
    yield
    service.querywright.drop_collection("annex")


def untimed(rewrite: dict[str, Any]) -> dict[str, Any]:
    """Return a rewrite without its times."""
    steps = [step | {"seconds": 0, "start": 0} for step in rewrite["steps"]]
    return rewrite | {"seconds": 0, "steps": steps}


def plain(answer: object) -> dict[str, Any]:
    """Return an answer as JSON has it, without what is measured.

    Scores are compared to the sixth decimal: torch's threads do not add up in the same order every time.
    """
    row: dict[str, Any] = json.loads(answer if isinstance(answer, (bytes, str)) else to_json(answer))
    row["rewrite"] = untimed(row["rewrite"])
    for stage in row["trace"]:
        del stage["seconds"], stage["start"]
    for hit in row["hits"]:
        hit["score"] = pytest.approx(hit["score"], abs=2e-6)
    return row


def in_process(service, question: dict[str, Any]) -> dict[str, Any]:
    return plain(service.querywright.query(**question))


def over_rest(service, question: dict[str, Any]) -> dict[str, Any]:
    response = httpx.post(f"{service.url}/v1/query", json=question, timeout=60)
    assert response.status_code == 200, response.text
    return plain(response.content)


def by_client(service, question: dict[str, Any]) -> dict[str, Any]:
    with Client(service.url) as client:
        return plain(client.query(**question))


def by_async_client(service, question: dict[str, Any]) -> dict[str, Any]:
    async def ask() -> object:
        async with AsyncClient(service.url) as client:
            return await client.query(**question)

    return plain(asyncio.run(ask()))


def by_query_object(service, question: dict[str, Any]) -> dict[str, Any]:
    """Ask with the types instead of rows."""
    rest = dict(question)
    turns = tuple(Turn(Role(turn["role"]), turn["text"]) for turn in rest.pop("history", ()))
    profile = {key: tuple(v) if isinstance(v, list) else v for key, v in rest.pop("profile", {}).items()}
    query = Query(rest.pop("query"), turns, profile, datetime.fromisoformat(rest.pop("now")))
    with Client(service.url) as client:
        answer = plain(client.query(query, **rest))
    assert plain(service.querywright.query(query, **rest)) == answer
    return answer


def streamed_in_process(service, question: dict[str, Any]) -> dict[str, Any]:
    return plain(last(service.querywright.query_stream(**question)))


def streamed_over_rest(service, question: dict[str, Any]) -> dict[str, Any]:
    response = httpx.post(f"{service.url}/v1/query/stream", json=question, timeout=60)
    name, data = response.text.removesuffix("\n\n").rpartition("event: ")[2].split("\ndata: ")
    assert name == "answer"
    return plain(data)


def streamed_by_client(service, question: dict[str, Any]) -> dict[str, Any]:
    with Client(service.url) as client:
        return plain(last(client.query_stream(**question)))


def streamed_by_async_client(service, question: dict[str, Any]) -> dict[str, Any]:
    async def ask() -> list[Event]:
        async with AsyncClient(service.url) as client:
            return [event async for event in client.query_stream(**question)]

    return plain(last(asyncio.run(ask())))


def last(events: Iterable[Event]) -> Event:
    """Return the last of the events, the only one that is an answer."""
    *before, answer = events
    assert isinstance(answer, Answer)
    assert not any(isinstance(event, Answer) for event in before)
    return answer


DOORS = [
    over_rest,
    by_client,
    by_async_client,
    by_query_object,
    streamed_in_process,
    streamed_over_rest,
    streamed_by_client,
    streamed_by_async_client,
]


def test_hits_of_several_collections_name_theirs(service) -> None:
    found = in_process(service, QUESTIONS["two collections"])["hits"]
    assert {hit["collection"] for hit in found} == {"demo", "annex"}
    assert {hit["collection"] for hit in in_process(service, QUESTIONS["zh"])["hits"]} == {None}


@pytest.mark.parametrize("question", list(QUESTIONS))
@pytest.mark.parametrize("door", DOORS)
def test_over_http(service, door: Callable[..., dict[str, Any]], question: str) -> None:
    assert door(service, QUESTIONS[question]) == in_process(service, QUESTIONS[question])


def options(question: dict[str, Any], folder_: Path) -> list[str]:
    """Return a question as arguments of `querywright search`."""
    arguments = ["search", question["query"], "--json", "--now", question["now"]]
    arguments += [part for name in question.get("collection", ["demo"]) for part in ("--collection", name)]
    if "history" in question:
        (folder_ / "history.json").write_text(json.dumps(question["history"]), encoding="utf-8")
        arguments += ["--history", str(folder_ / "history.json")]
    for key, value in question.get("profile", {}).items():
        if isinstance(value, list):
            (folder_ / "profile.json").write_text(json.dumps({key: value}), encoding="utf-8")
            arguments += ["--profile", str(folder_ / "profile.json")]
        else:
            arguments += ["--profile", f"{key}={value}"]
    for key, wanted in question.get("filter", {}).items():
        signs = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}
        several = [f"{signs[name]}{bound}" for name, bound in wanted.items()] if isinstance(wanted, dict) else []
        several += [] if isinstance(wanted, dict) else [f"={value}" for value in wanted]
        arguments += [part for condition in several for part in ("--filter", f"{key}{condition}")]
    if "legs" in question:
        arguments += ["--legs", ",".join(question["legs"])]
    return [*arguments, "-k", str(question.get("k", 10)), "--rewriter", question.get("rewriter", "auto")]


@pytest.mark.parametrize("question", list(QUESTIONS))
def test_command_line(service, demo_home: Path, tmp_path: Path, run, question: str) -> None:
    ran = run(*options(QUESTIONS[question], tmp_path), "--home", demo_home)
    assert (ran.code, ran.err) == (0, "")
    assert plain(ran.out) == in_process(service, QUESTIONS[question])


def test_command_line_in_a_process_of_its_own(service, demo_home: Path, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("querywright")
    question = QUESTIONS["en history"]
    arguments = [str(command), *options(question, tmp_path), "--home", str(demo_home)]
    done = subprocess.run(
        arguments, capture_output=True, check=False, timeout=120, env=os.environ | {"PYTHONSAFEPATH": "1"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert plain(done.stdout) == in_process(service, question)


@pytest.mark.parametrize("question", list(QUESTIONS))
@pytest.mark.parametrize("backend", ["in process", "client", "async client"])
def test_langchain(service, backend: str, question: str) -> None:
    asked = dict(QUESTIONS[question])
    expected = in_process(service, asked)
    text = asked.pop("query")
    if "history" in asked:  # as LangChain has it
        kinds = {"user": HumanMessage, "assistant": AIMessage}
        asked["history"] = [kinds[turn["role"]](turn["text"]) for turn in asked["history"]]
    if backend == "async client":
        found = asyncio.run(_ainvoke(service.url, text, asked))
    elif backend == "client":
        with Client(service.url) as client:
            found = QuerywrightRetriever(backend=client, **asked).invoke(text)
    else:
        found = QuerywrightRetriever(backend=service.querywright, **asked).invoke(text)
    hits = []
    for document in found:
        metadata = dict(document.metadata)
        rewrite = json.loads(orjson.dumps(metadata.pop("rewrite")))
        assert untimed(rewrite) == untimed(expected["rewrite"])
        assert metadata.pop("degraded") == expected["degraded"]
        assert document.id == metadata["passage_id"]
        own = {key: metadata.pop(key) for key in ("rank", "score", "doc_id", "passage_id", "title", "collection")}
        hits.append(own | {"text": document.page_content, "metadata": metadata})
    assert hits == expected["hits"]


async def _ainvoke(url: str, text: str, asked: dict[str, Any]) -> list[Any]:
    async with AsyncClient(url) as client:
        retriever = QuerywrightRetriever(backend=client, **asked)
        with pytest.raises(TypeError, match="ainvoke"):
            retriever.invoke(text)
        return await retriever.ainvoke(text)


def test_langchain_keeps_no_conversation(service) -> None:
    retriever = QuerywrightRetriever(backend=service.querywright, now=NOW, k=1)
    talking = retriever.with_history(HISTORY_EN)
    assert talking.invoke("How do I use this feature?")[0].metadata["rewrite"]["decision"] == "rewrite"
    assert retriever.history == ()
    awaited = asyncio.run(talking.ainvoke("How do I use this feature?"))
    assert [document.id for document in awaited] == [
        document.id for document in talking.invoke("How do I use this feature?")
    ]


def test_langchain_takes_options_for_one_call(service) -> None:
    retriever = QuerywrightRetriever(backend=service.querywright, k=3)
    history = [SystemMessage("Be terse."), *(HumanMessage(turn["text"]) for turn in HISTORY_EN[:1]), AIMessage("")]
    options = {"history": history, "now": NOW, "filter": {"lang": "en"}}
    found = retriever.invoke("How do I use this feature?", **options)
    assert found[0].metadata["rewrite"]["decision"] == "rewrite"
    assert {document.metadata["lang"] for document in found} == {"en"}
    awaited = asyncio.run(retriever.ainvoke("How do I use this feature?", **options))
    assert [document.id for document in awaited] == [document.id for document in found]
    assert (retriever.history, retriever.filter) == ((), None)
    with pytest.raises(TypeError, match="legs"):
        retriever.invoke("frog", legs="dense")


def test_langchain_messages_of_others_are_no_turns() -> None:
    messages = [
        SystemMessage("Be terse."),
        HumanMessage([{"type": "text", "text": "hello"}]),
        AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}]),
        ToolMessage("42", tool_call_id="1"),
        AIMessage("hi"),
        {"role": "user", "text": "x"},
    ]
    assert turn_rows(messages) == [
        {"role": "user", "text": "hello"},
        {"role": "assistant", "text": "hi"},
        {"role": "user", "text": "x"},
    ]


# ------------------------------------------------------------------ rewriting and searching by themselves


@pytest.mark.parametrize("question", ["zh history and profile", "en", "zh clock, k"])
def test_rewriting_alone(service, demo_home: Path, tmp_path: Path, run, question: str) -> None:
    asked = {key: value for key, value in QUESTIONS[question].items() if key != "k"}
    with Client(service.url) as client:
        over_http = client.rewrite(**asked, collection="demo")
    line = [argument for argument in options(asked, tmp_path) if argument != "search"]
    ran = run("rewrite", *line[: line.index("-k")], "--home", demo_home)
    told = [
        json.loads(to_json(service.querywright.rewrite(**asked, collection="demo"))),
        json.loads(to_json(over_http)),
        json.loads(ran.out),
        in_process(service, asked)["rewrite"],
    ]
    told = [untimed(row) for row in told]
    assert told[0] == told[1] == told[2] == told[3]
    assert told[0]["decision"] == "rewrite"


@pytest.mark.parametrize("question", ["zh", "en lexical, filter", "filter of both"])
def test_searching_alone(service, question: str) -> None:
    asked = {key: value for key, value in QUESTIONS[question].items() if key in {"query", "k", "legs", "filter"}}
    response = httpx.post(f"{service.url}/v1/search", json=asked, timeout=60)
    with Client(service.url) as client:
        over_http = plain(client.search(**asked))
    assert plain(response.content) == over_http == plain(service.querywright.search(**asked))
    assert over_http["rewrite"]["rewrite"] == asked["query"]
    assert over_http["rewrite"]["decision"] == "keep"


# ------------------------------------------------------------------------------------- signatures

IN_PROCESS_ONLY = {
    "backup",
    "catch_up",
    "index",
    "local_collections",
    "pipeline",
    "restore",
    "reloaded",
    "rewrite_all",
    "rewrite_batches",
    "stop_catching_up",
    "warm_up",
}


def methods(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_same_methods() -> None:
    assert methods(Querywright) - IN_PROCESS_ONLY == methods(Client) == methods(AsyncClient)


@pytest.mark.parametrize("name", sorted(methods(Client)))
def test_same_signatures(name: str) -> None:
    own, remote, awaited = (getattr(kind, name) for kind in (Querywright, Client, AsyncClient))
    assert inspect.iscoroutinefunction(awaited) or inspect.isasyncgenfunction(awaited)
    assert inspect.isgeneratorfunction(remote) == inspect.isasyncgenfunction(awaited)
    assert inspect.signature(remote).parameters == inspect.signature(awaited).parameters
    iterates = inspect.isgeneratorfunction(remote)
    assert iterates or inspect.signature(remote) == inspect.signature(awaited)  # else awaited is an AsyncIterator
    assert inspect.cleandoc(remote.__doc__).partition("\n\n>>>")[0] == inspect.cleandoc(awaited.__doc__)
    parameters = [p for p in inspect.signature(own).parameters.values() if p.name != "catalog"]
    expected = [(p.name, p.kind, p.default) for p in parameters]
    assert [(p.name, p.kind, p.default) for p in inspect.signature(remote).parameters.values()] == expected
    assert inspect.signature(own).return_annotation == inspect.signature(remote).return_annotation


# -------------------------------------------------------------------------------------- documents


class Rest:
    """The methods of the SDK, as anybody would write them with an HTTP client."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)

    def close(self) -> None:
        self._http.close()

    def _sent(self, method: str, path: str, **options: Any) -> Any:
        response = self._http.request(method, path, **options)
        errors = {404: NotFoundError, 409: ConflictError, 422: InputError}
        if response.status_code in errors:
            raise errors[response.status_code](response.json()["detail"])
        assert response.is_success
        return response.json() if response.content else None

    def collections(self) -> Any:
        return self._sent("GET", "/v1/collections")

    def create_collection(self, name: str) -> Any:
        return self._sent("POST", "/v1/collections", json={"name": name})

    def drop_collection(self, name: str) -> Any:
        return self._sent("DELETE", f"/v1/collections/{name}")

    def upsert(self, name: str, documents: list[Any]) -> Any:
        content = to_json({"documents": documents})
        headers = {"content-type": "application/json"}
        return self._sent("POST", f"/v1/collections/{name}/documents", content=content, headers=headers)["count"]

    def flush(self, name: str) -> Any:
        return self._sent("POST", f"/v1/collections/{name}/flush")

    def add_file(self, name: str, file: str, data: bytes) -> Any:
        return self._sent("POST", f"/v1/collections/{name}/files", content=data, params={"file": file})["count"]

    def document(self, name: str, doc_id: str) -> Any:
        return self._sent("GET", f"/v1/collections/{name}/document", params={"doc_id": doc_id})

    def documents(self, name: str, after: str | None = None, limit: int = 100) -> Any:
        params = {"limit": limit} | ({"after": after} if after else {})
        return self._sent("GET", f"/v1/collections/{name}/documents", params=params)

    def delete(self, name: str, doc_ids: list[str]) -> Any:
        return self._sent("DELETE", f"/v1/collections/{name}/documents", params={"doc_id": doc_ids})["count"]


class Awaited:
    """An AsyncClient whose every call is awaited."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(url)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if inspect.isasyncgenfunction(method):
            return lambda *given, **named: self._each(method(*given, **named))
        return lambda *given, **named: self._loop.run_until_complete(method(*given, **named))

    def _each(self, items: Any) -> Iterator[Any]:
        with suppress(StopAsyncIteration):
            while True:
                yield self._loop.run_until_complete(anext(items))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(params=["rest", "in process", "client", "async client"])
def door(request: pytest.FixtureRequest, service) -> Iterator[Any]:
    if request.param == "in process":
        yield service.querywright
        return
    opened = {"rest": Rest, "client": Client, "async client": Awaited}[request.param](service.url)
    yield opened
    opened.close()


def row(value: object) -> Any:
    return json.loads(to_json(value))


DOCUMENTS: list[Any] = [
    {"doc_id": "b/ä #1?&", "text": "Die Äpfel", "title": "Obst", "metadata": {"tags": ["x", "y"], "n": 1.5, "ok": True}},
    {"doc_id": "甲", "text": "客户画像"},
    Document("a", "green frog", metadata={"tags": ("x",)}),
]  # fmt: skip


def test_documents_come_and_go(door) -> None:
    assert row(door.create_collection("pond")) == {"name": "pond", "documents": 0}
    try:
        with pytest.raises(ConflictError, match="there is one already"):
            door.create_collection("pond")
        assert door.upsert("pond", DOCUMENTS) == 3
        assert door.upsert("pond", DOCUMENTS[:1]) == 1
        assert {"name": "pond", "documents": 3} in row(door.collections())
        stored = row(door.documents("pond"))
        assert [document["doc_id"] for document in stored] == ["a", "b/ä #1?&", "甲"]
        assert stored[1]["metadata"] == {"n": 1.5, "ok": True, "tags": ["x", "y"]}
        assert [row(door.document("pond", document["doc_id"])) for document in stored] == stored
        assert row(door.documents("pond", after="a", limit=1)) == stored[1:2]
        assert door.flush("pond") is None
        assert door.delete("pond", ["a", "never there"]) == 1
        with pytest.raises(NotFoundError, match="no document of that id"):
            door.document("pond", "a")
        assert row(door.documents("pond")) == stored[1:]
        with pytest.raises(InputError, match=r"documents\[1\]: doc_id: expected 1 to 512"):
            door.upsert("pond", [{"doc_id": "new", "text": "x"}, {"doc_id": "a\tb", "text": "x"}])
        with pytest.raises(InputError, match="limit: expected"):
            door.documents("pond", limit=0)
        assert row(door.documents("pond")) == stored[1:]
    finally:
        door.drop_collection("pond")
    with pytest.raises(NotFoundError, match="collection 'pond': there is none of that name"):
        door.documents("pond")
    with pytest.raises(NotFoundError, match="collection 'pond': there is none of that name"):
        door.flush("pond")
    with pytest.raises(NotFoundError, match="there is none of that name"):
        door.drop_collection("pond")


def test_documents_can_be_gone_through(service) -> None:
    """All of them come once each, also those after a page's end, and none is read before it is asked for."""
    ids = sorted(f"d{number}" for number in range(25))
    service.querywright.create_collection("pond")
    opened: list[Any] = [service.querywright, Client(service.url), Awaited(service.url)]
    try:
        for door in opened:
            service.querywright.upsert("pond", [{"doc_id": doc_id, "text": ""} for doc_id in ids])
            for page in (1, 10, 25, 1000):
                assert [document.doc_id for document in door.iter_documents("pond", page=page)] == ids
            documents = iter(door.iter_documents("pond", page=10))
            assert [next(documents).doc_id for _ in range(10)] == ids[:10]
            service.querywright.delete("pond", ids[9:12])
            service.querywright.upsert("pond", [{"doc_id": "a", "text": ""}, {"doc_id": "d99", "text": ""}])
            assert [document.doc_id for document in documents] == [*ids[12:], "d99"]
            service.querywright.delete("pond", ["a", "d99"])
            with pytest.raises(InputError, match="limit: expected"):
                next(iter(door.iter_documents("pond", page=0)))
    finally:
        for client in opened[1:]:
            client.close()
        service.querywright.drop_collection("pond")


def test_files_come_over_the_wire(door) -> None:
    door.create_collection("pond")
    try:
        assert door.add_file("pond", "手册/画像.md", "# 客户画像\n\n打开客户列表。".encode()) == 1
        assert door.add_file("pond", "rows.jsonl", b'{"_id": "a", "text": "frog"}\n{"_id": "b", "text": "toad"}\n') == 2
        stored = row(door.documents("pond"))
        assert [(document["doc_id"], document["title"]) for document in stored] == [
            ("a", ""),
            ("b", ""),
            ("手册/画像.md", "客户画像"),
        ]
        for name, data, says in [
            ("rows.jsonl", b'{"_id": "c", "text": "x"}\n{"_id": 5}', "^rows.jsonl:2: field '_id': expected a string"),
            ("notes.txt", b"caf\xe9", "^notes.txt:1: not UTF-8"),
            ("../up.md", b"x", "^file: expected a file's name"),
            (".hidden.md", b"x", "^file: expected a file's name"),
            ("notes.pdf", b"x", "^file: expected a name that ends in .md"),
        ]:
            with pytest.raises(InputError, match=says):
                door.add_file("pond", name, data)
        assert row(door.documents("pond")) == stored
    finally:
        door.drop_collection("pond")


def test_what_is_written_is_found_at_once(door, service) -> None:
    door.create_collection("pond")
    try:
        for number in range(5):
            door.upsert("pond", [{"doc_id": f"d{number}", "text": f"unheard{number}"}])
            hits = service.querywright.search(f"unheard{number}", collection="pond").hits
            assert hits[0].doc_id == f"d{number}"
    finally:
        door.drop_collection("pond")


@pytest.mark.parametrize("kind", ["in process", "client", "async client"])
def test_more_ids_than_an_address_holds(service, kind: str) -> None:
    opened = {"in process": lambda _: service.querywright, "client": Client, "async client": Awaited}[kind](service.url)
    ids = [f"{number} {'客' * 40}" for number in range(1_500)]
    opened.create_collection("pond")
    try:
        opened.upsert("pond", [{"doc_id": doc_id, "text": ""} for doc_id in ids])
        with pytest.raises(InputError, match="doc_id: expected 1 to 512"):
            opened.delete("pond", [*ids, ""])
        assert opened.delete("pond", ids[0]) == 1
        assert opened.delete("pond", []) == 0
        assert opened.delete("pond", iter(ids)) == 1_499
        assert opened.documents("pond") == []
    finally:
        opened.drop_collection("pond")
        if kind != "in process":
            opened.close()


def test_command_line_indexes_what_the_others_read(service, demo_home: Path, tmp_path: Path, run) -> None:
    lines = [to_json({"_id": f"row {i}", "text": f"frog {i}", "lang": "en"}) for i in range(3)]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "notes.md").write_text("# 笔记\n\n客户画像", encoding="utf-8")
    sources = [tmp_path / "rows.jsonl", tmp_path / "notes.md"]
    ran = run("index", *sources, "--collection", "notes", "--json", "--home", demo_home)
    assert json.loads(ran.out) == {"collection": "notes", "indexed": 4, "documents": 4}
    assert ran.err == ""
    with Client(service.url) as client:
        try:
            assert client.documents("notes") == [*read_source(sources[1]), *read_source(sources[0])]
            assert client.search("frog 2", collection="notes", k=1).hits[0].doc_id == "row 2"
        finally:
            client.drop_collection("notes")


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"query": ""}, InputError, "query: expected some text"),
    ({"query": "x", "k": 0}, InputError, "k: expected"),
    ({"query": "x", "k": "5"}, InputError, "k: expected"),
    ({"query": "x", "legs": ["sparse"]}, InputError, "legs: expected"),
    ({"query": "x", "now": "2024-07-15"}, InputError, "now: expected ISO 8601"),
    ({"query": "x", "history": 5}, InputError, "history: expected a valid list"),
    ({"query": "x", "history": [{"role": "bot", "text": ""}]}, InputError, r"history\[0\]\.role: expected 'user'"),
    ({"query": "x", "profile": {"a": 5}}, InputError, r"profile.*: expected a valid string or a valid list"),
    ({"query": "x", "filter": {"a": None}}, InputError, "filter.*: expected"),
    ({"query": "x", "rewriter": "best"}, InputError, "rewriter: expected one of none, auto"),
    ({"query": "x", "collection": "none"}, NotFoundError, "there is none of that name"),
    ({"query": "x", "collection": "../x"}, InputError, "collection: expected a name"),
]


@pytest.mark.parametrize(("asked", "error", "says"), BAD)
def test_same_errors(service, asked: dict[str, Any], error: type[Exception], says: str) -> None:
    with Client(service.url) as client:
        for door in (client, service.querywright):
            with pytest.raises(error, match=says):
                door.query(**asked)
            with pytest.raises(error, match=says):
                next(door.query_stream(**asked))


def test_rows_may_hold_more(service) -> None:
    """A row of a data set can be asked as it is."""
    asked = {"query": "客户画像怎么导出", "now": NOW, "lang": "zh", "problem": "none", "id": "7"}
    with Client(service.url) as client:
        answer = client.query(asked)
    assert plain(answer) == plain(service.querywright.query(asked))
    assert answer.rewrite.id == "7"


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:1", timeout=1) as client, pytest.raises(UnavailableError, match="cannot be reached"):
        client.collections()


def test_what_json_cannot_hold(service) -> None:
    with Client(service.url) as client, pytest.raises(InputError, match="cannot be sent as JSON"):
        client.query("lone \ud800")
    with pytest.raises(InputError, match="not valid Unicode"):
        service.querywright.query("lone \ud800")


def test_demo_is_what_the_package_brings(service) -> None:
    total = sum(1 for _ in read_source(folder()))
    assert {"name": "demo", "documents": total} in row(service.querywright.collections())
