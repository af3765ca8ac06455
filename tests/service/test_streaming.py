"""An answer told while it comes about: what is told, when, how it goes over the wire, and what ends it."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, aclosing, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st

from querywright import (
    Answer,
    AsyncClient,
    Client,
    EarlyHits,
    Event,
    Hit,
    InputError,
    Query,
    Querywright,
    Rewrite,
    Stage,
    StorageError,
    Turn,
    UnavailableError,
)
from querywright.rewrite.query import Decision, Role
from querywright.rewrite.rewriter import Chain
from querywright.service.events import event_bytes, named_bytes, read_event
from querywright.service.remembering import Known
from querywright.service.schemas import to_json
from querywright.service.streaming import EventStream

NOW = "2024-07-15T10:00:00+08:00"
ASKED: list[dict[str, Any]] = [
    {"query": "show me the numbers", "profile": {"region": "East China"}, "now": NOW, "k": 3},
    {"query": "苹果最新消息", "profile": {"interests": ["美股"]}, "now": NOW},
    {"query": "这个功能怎么用?", "history": [{"role": "user", "text": "听说新版上线了客户画像，是做什么的？"}], "now": NOW},
    {"query": "sales revenue East China", "legs": ["lexical"], "now": NOW, "rewriter": "none"},
    {"query": "客户画像", "legs": ["dense"], "now": NOW},
]  # fmt: skip


# ------------------------------------------------------------------------------------ what is told


@pytest.mark.parametrize("asked", ASKED)
def test_each_part_is_told_once_and_in_order(service, asked: dict[str, Any]) -> None:
    events = list(service.querywright.query_stream(**asked))
    answer = events[-1]
    assert isinstance(answer, Answer)
    assert [event for event in events if isinstance(event, Stage)] == list(answer.trace)
    assert [event for event in events if isinstance(event, Rewrite)] == [answer.rewrite]
    kinds = [type(event) for event in events]
    assert kinds[:2] == [Stage, EarlyHits]
    rewritten = kinds.index(Rewrite)
    assert {event.stage.partition(".")[0] for event in events[2:rewritten]} == {"rewrite"}
    assert events[0].stage == "search_original"
    assert [event.stage for event in events[rewritten + 1 : -1]][-1] == "fuse"


@pytest.mark.parametrize("asked", ASKED)
def test_early_hits_are_what_the_text_as_typed_finds(service, asked: dict[str, Any]) -> None:
    early = next(event for event in service.querywright.query_stream(**asked) if isinstance(event, EarlyHits))
    options = {name: asked[name] for name in ("query", "k", "legs") if name in asked}
    found = service.querywright.search(**options).hits
    assert [hit.passage_id for hit in early.hits] == [hit.passage_id for hit in found]
    assert [hit.score for hit in early.hits] == pytest.approx([hit.score for hit in found], abs=2e-6)
    assert len(early.hits) <= asked.get("k", 10)


# ---------------------------------------------------------------------------------------- the times


class Slow:
    """A rewriter that takes its time and leaves the query as it is."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name = name
        self._seconds = seconds

    def rewrite(self, query: Query) -> Rewrite:
        time.sleep(self._seconds)
        return Rewrite.keep(query, self.name)


@pytest.mark.parametrize("asked", ASKED)
def test_every_stage_tells_when_it_began(service, asked: dict[str, Any]) -> None:
    begun = time.perf_counter()
    trace = service.querywright.query(**asked).trace
    whole = time.perf_counter() - begun
    stages = {stage.stage: (stage.start, stage.start + stage.seconds) for stage in trace}
    for start, end in stages.values():
        assert 0 < start <= end < whole
    first, rewriting = stages["search_original"], stages["rewrite"]
    steps = [span for name, span in stages.items() if name.startswith("rewrite.")]
    assert all(rewriting[0] <= start and end <= rewriting[1] for start, end in steps)
    assert all(steps[i][1] <= steps[i + 1][0] for i in range(len(steps) - 1))
    assert max(first[1], rewriting[1]) <= stages.get("search_rewrite", stages["fuse"])[0]


def test_slow_rewriters_are_told_with_their_own_times(service) -> None:
    chain = Chain([Slow("one", 0.1), Slow("two", 0.2)], budget_seconds=2)
    talked = Query("what do they eat?", (Turn(Role.USER, "frogs"),))
    answer = service.querywright.pipeline.answer(talked, demo(service), rewriter=chain)
    stages = {stage.stage: stage for stage in answer.trace}
    one, two, whole = stages["rewrite.one"], stages["rewrite.two"], stages["rewrite"]
    assert stages["search_original"].start < one.start + one.seconds  # they run side by side
    assert whole.start <= one.start
    assert one.seconds >= 0.1
    assert two.seconds >= 0.2
    assert two.start >= one.start + one.seconds
    assert whole.seconds >= 0.3
    assert stages["fuse"].start >= 0.3


def test_a_late_rewriting_is_told_until_it_was_given_up(service) -> None:
    known = Known(budget_ms=50)
    answer = service.querywright.pipeline.answer(Query("frog"), demo(service), rewriter=Slow("slow", 1), known=known)
    stage = next(stage for stage in answer.trace if stage.stage == "rewrite")
    assert answer.degraded == "rewrite_timeout"
    assert 0.05 <= stage.start + stage.seconds < 1


def demo(service) -> Any:
    return service.querywright.collection_store.open("demo")


# --------------------------------------------------------------------- as it happens, and not after


@pytest.fixture
def held(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serving: Callable[..., AbstractContextManager[Any]]
) -> Iterator[tuple[Any, threading.Event]]:
    """Run a service whose model answers when it is told to."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    go_on = threading.Event()
    completion = server.completion(json.dumps({"rewrite": "green frog habitat"}))

    def reply() -> tuple[int, bytes]:
        go_on.wait(10)
        return 200, completion

    server.reply = reply
    model = {"llm": "openai:test", "llm_base_url": server.url, "budget_ms": 10_000}
    opened = Querywright(home=tmp_path, encoder="none", threads=2, **model)
    opened.create_collection("demo")
    opened.upsert("demo", [{"doc_id": "a", "text": "green frog habitat"}, {"doc_id": "b", "text": "frog"}])
    with serving(opened) as running:
        yield running, go_on
        go_on.set()


FROG = {"query": "frog habitat", "profile": {"color": "green"}, "rewriter": "llm"}


@pytest.mark.parametrize("door", ["in process", "client"])
def test_hits_come_before_the_model_has_answered(held: tuple[Any, threading.Event], door: str) -> None:
    service, go_on = held
    with Client(service.url) as client:
        events = (service.querywright if door == "in process" else client).query_stream(**FROG)
        early = [next(events), next(events)]
        assert [type(event) for event in early] == [Stage, EarlyHits]
        assert {hit.doc_id for hit in early[1].hits} == {"a", "b"}
        assert not go_on.is_set()
        go_on.set()
        rest = list(events)
    assert isinstance(rest[-1], Answer)
    assert [step.rewriter for step in rest[-1].rewrite.steps] == ["llm"]
    assert rest[-1].degraded is None


def test_hits_come_before_the_model_has_answered_awaited(held: tuple[Any, threading.Event]) -> None:
    service, go_on = held

    async def ask() -> list[Event]:
        found: list[Event] = []
        async with AsyncClient(service.url) as client:
            async for event in client.query_stream(**FROG):
                found.append(event)
                if isinstance(event, EarlyHits):
                    assert not go_on.is_set()
                    go_on.set()
        return found

    assert isinstance(asyncio.run(ask())[-1], Answer)
    assert go_on.is_set()


# ----------------------------------------------------------------------------------------- the ends


def test_closing_ends_the_work(service) -> None:
    """The thread that rewrites is soon free, a rewriting that has not begun never begins, no search follows."""
    began: list[str] = []

    class Told(Slow):
        def rewrite(self, query: Query) -> Rewrite:
            began.append(self.name)
            return super().rewrite(query)

    with Querywright(home=service.querywright.settings.home, encoder="none", threads=1) as opened:
        asked = Query("frog"), opened.collection_store.open("demo")
        one = opened.pipeline.stream(*asked, rewriter=Told("one", 0.2))
        two = opened.pipeline.stream(*asked, rewriter=Told("two", 0.2))
        for stream in (one, two):
            assert isinstance(next(stream), Stage)
            stream.close()
            assert list(stream) == []
        begun = time.perf_counter()
        opened.pipeline.rewrite(Query("frog"), rewriter=Told("three", 0.0))
        assert time.perf_counter() - begun < 1
    assert began == ["one", "three"]


def watched(querywright: Querywright, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what is set when a stream of the service has ended, one way or another."""
    ended = threading.Event()
    real = querywright.query_stream

    def query_stream(*given: Any, **named: Any) -> Iterator[Event]:
        try:
            yield from real(*given, **named)
        finally:
            ended.set()

    monkeypatch.setattr(querywright, "query_stream", query_stream)
    return ended


@pytest.mark.parametrize("awaited", [False, True])
def test_a_reader_that_goes_away_ends_the_work(
    held: tuple[Any, threading.Event], monkeypatch: pytest.MonkeyPatch, *, awaited: bool
) -> None:
    service, go_on = held
    ended = watched(service.querywright, monkeypatch)

    async def leave() -> None:
        async with AsyncClient(service.url) as client, aclosing(client.query_stream(**FROG)) as events:
            await anext(events)

    if awaited:
        asyncio.run(leave())
    else:
        with Client(service.url) as client, closing(client.query_stream(**FROG)) as events:
            next(events)
    go_on.set()
    assert ended.wait(5)
    gc.collect()
    # Both threads of the service are free again.
    with Client(service.url) as client:
        for _ in range(4):
            assert client.query(**FROG).degraded is None


def test_readers_that_go_away_leave_no_thread(service) -> None:
    with Client(service.url) as client:
        client.query("frog")
        before = threading.active_count()
        for _ in range(30):
            with closing(client.query_stream("frog")) as events:
                next(events)
        assert threading.active_count() <= before + 1


# ---------------------------------------------------------------------------------------- the wire


def sent(service, asked: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/query/stream", json=asked, timeout=60)


def test_on_the_wire(service) -> None:
    response = sent(service, ASKED[0])
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    events = [block.split("\n") for block in response.text.removesuffix("\n\n").split("\n\n")]
    assert all(len(lines) == 2 for lines in events)
    told = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]
    names = [name for name, _ in told]
    assert names[:2] == ["stage", "hits"]
    assert set(names) == {"stage", "hits", "rewrite", "answer"}
    rows = dict(told)
    assert set(rows["hits"]) == {"hits"}
    assert len(rows["hits"]["hits"]) == 3
    assert names[-1] == "answer"
    assert rows["answer"]["rewrite"] == rows["rewrite"]
    assert rows["answer"]["trace"] == [row for name, row in told if name == "stage"]


@pytest.mark.parametrize(
    ("asked", "status", "detail"),
    [
        ({"query": "x", "k": 0}, 422, "k: expected greater than or equal to 1"),
        ({"query": ""}, 422, "query: expected some text"),
        ({"query": "x", "rewriter": "best"}, 422, "rewriter: expected one of"),
        ({"query": "x", "collection": "nowhere"}, 404, "collection: there is none of that name"),
        ({"query": "x", "clarification": {"token": "x", "value": "y"}}, 422, "clarification"),
    ],
)
def test_what_is_wrong_from_the_start_is_an_ordinary_problem(
    service, asked: dict[str, Any], status: int, detail: str
) -> None:
    response = sent(service, asked)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert response.json()["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("error", "status"), [(StorageError("/secret/path: damaged"), 503), (ZeroDivisionError("secret"), 503)]
)
def test_what_fails_on_the_way_is_told_as_a_problem(
    service, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(service.querywright.pipeline, "_reranked", fail)
    with pytest.raises(type(error)):
        list(service.querywright.query_stream(**ASKED[0]))
    response = sent(service, ASKED[0])
    assert response.status_code == 200
    assert "secret" not in response.text
    last = response.text.removesuffix("\n\n").rpartition("\n\n")[2]
    name, data = last.split("\ndata: ")
    assert name == "event: problem"
    ordinary = httpx.post(f"{service.url}/v1/query", json=ASKED[0], timeout=60)
    assert (ordinary.status_code, ordinary.json()) == (status, json.loads(data))
    with Client(service.url) as client:
        events = client.query_stream(**ASKED[0])
        assert isinstance(next(events), Stage)
        with pytest.raises(UnavailableError, match="the service's log says why"):
            list(events)


def test_streamed_answers_are_counted(service) -> None:
    def count() -> float:
        lines = httpx.get(f"{service.url}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("querywright_rewrites_total"))

    before = count()
    sent(service, ASKED[0])
    assert count() == before + 1


def test_the_documentation_shows_the_events(service) -> None:
    route = httpx.get(f"{service.url}/openapi.json").json()["paths"]["/v1/query/stream"]["post"]
    assert set(route["responses"]["200"]["content"]) == {"text/event-stream"}
    shown = route["responses"]["200"]["content"]["text/event-stream"]["example"]
    names = [block.partition("\n")[0] for block in shown.removesuffix("\n\n").split("\n\n")]
    assert names == ["event: stage", "event: hits", "event: rewrite", "event: answer"]
    for example in route["requestBody"]["content"]["application/json"]["examples"].values():
        assert sent(service, example["value"]).status_code == 200


texts = st.text(st.characters(codec="utf-8"))
numbers = st.floats(allow_nan=False, allow_infinity=False)
stages = st.builds(Stage, texts, numbers, texts, numbers)
hits = st.builds(Hit, st.integers(1, 1000), numbers, texts, texts, texts, texts, st.dictionaries(texts, texts), texts)
rewrites = st.builds(
    Rewrite, original=texts, rewrite=texts, decision=st.sampled_from(list(Decision)), confidence=st.floats(0, 1)
)
answers = st.builds(Answer, st.tuples(hits), rewrites, st.none() | texts, st.tuples(stages))


def decoded(sent_bytes: bytes) -> list[ServerSentEvent]:
    response = httpx.Response(200, headers={"content-type": EventStream.media_type}, content=sent_bytes)
    return list(EventSource(response).iter_sse())


@given(stages | rewrites | answers | st.builds(EarlyHits, st.tuples(hits, hits)))
def test_whatever_an_event_holds_comes_over_the_wire(event: Event) -> None:
    (told,) = decoded(event_bytes(event))
    assert read_event(told.event, told.data) == event


def test_events_that_are_not_known_are_passed_over() -> None:
    (told,) = decoded(named_bytes("news", to_json({"a": 1})))
    assert read_event(told.event, told.data) is None


def test_a_bad_call_is_told_when_the_first_event_is_asked_for(service) -> None:
    stream = service.querywright.query_stream("x", k=0)
    with pytest.raises(InputError, match="k: expected"):
        next(stream)
