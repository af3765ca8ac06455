"""The clients against a service that fails: what is tried again, for how long, and what is told in the end."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState, Retrying, wait_random_exponential

from querywright import (
    Answer,
    AsyncClient,
    AuthError,
    Client,
    InputError,
    NotFoundError,
    Querywright,
    QuerywrightError,
    Rewrite,
    ServiceError,
    StorageError,
    UnavailableError,
)
from querywright.rewrite.query import Decision
from querywright.service import attempts
from querywright.service.events import event_bytes
from querywright.service.keys import Keys, Scope
from querywright.service.schemas import to_json

PAUSE = attempts._PAUSE
ANSWER = Answer((), Rewrite("x", "x", Decision.KEEP, 0.0))
INFO = {"name": "pond", "documents": 0}

Reply = bytes | None
"""The bytes of a response; None cuts the connection instead."""


class Scripted(socketserver.ThreadingTCPServer):
    """A service that answers one request after the other with what was written for it, the last for all that follow."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.replies: list[Reply] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.pause = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class _Handler(socketserver.StreamRequestHandler):
    server: Scripted

    def handle(self) -> None:
        line = self.rfile.readline().decode().strip()
        if not line:
            return
        headers = {}
        while header := self.rfile.readline().decode().strip():
            name, _, value = header.partition(": ")
            headers[name.lower()] = value
        self.rfile.read(int(headers.get("content-length", 0)))
        self.server.requests.append((line.rpartition(" ")[0], headers))
        time.sleep(self.server.pause)
        reply = self.server.next_reply()
        if reply is not None:
            self.wfile.write(reply)


def says(status: int, body: object = b"", kind: str = "application/json", **headers: str) -> bytes:
    """Return a response as it is sent."""
    content = body if isinstance(body, bytes) else to_json(body)
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(content)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def problem(status: int, detail: str = "told", **headers: str) -> bytes:
    body = {"title": "x", "status": status, "detail": detail}
    return says(status, body, "application/problem+json", **headers)


NOT_BEGUN = says(
    503, {"type": attempts.NOT_BEGUN, "title": "x", "status": 503, "detail": "told"}, "application/problem+json"
)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_PAUSE", wait_random_exponential(multiplier=0.001, max=0.02))


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server
        server.shutdown()


class Awaited:
    """An AsyncClient whose calls are awaited, and whose iterators are gone through."""

    def __init__(self, url: str, **options: Any) -> None:
        self._url, self._options = url, options

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*given: Any, **named: Any) -> Any:
            async with AsyncClient(self._url, **self._options) as client:
                called = getattr(client, name)(*given, **named)
                if inspect.isasyncgen(called):
                    return [item async for item in called]
                return await called

        return lambda *given, **named: asyncio.run(call(*given, **named))


both = pytest.mark.parametrize("kind", [Client, Awaited])

CALLS: dict[str, tuple[tuple[Any, ...], bytes, bool]] = {
    "query": (("x",), says(200, ANSWER), True),
    "query_stream": (("x",), says(200, event_bytes(ANSWER), "text/event-stream"), True),
    "search": (("x",), says(200, ANSWER), True),
    "rewrite": (("x",), says(200, ANSWER.rewrite), True),
    "collections": ((), says(200, [INFO]), True),
    "create_collection": (("pond",), says(201, INFO), False),
    "drop_collection": (("pond",), says(204), False),
    "upsert": (("pond", []), says(200, {"count": 0}), True),
    "add_file": (("pond", "a.md", b"x"), says(200, {"count": 1}), True),
    "document": (("pond", "a"), says(200, {"doc_id": "a", "text": ""}), True),
    "documents": (("pond",), says(200, []), True),
    "iter_documents": (("pond",), says(200, []), True),
    "delete": (("pond", ["a"]), says(200, {"count": 1}), True),
    "flush": (("pond",), says(204), True),
    "catalog": (("pond",), says(200, b"name = 'x'", "application/toml", etag='"0123456789abcdef"'), True),
    "put_catalog": (
        ("pond", "name = 'x'"), says(200, {"version": "0123456789abcdef", "entities": 0, "dimensions": 0, "intents": 0}), True,
    ),
    "delete_catalog": (("pond",), says(204), False),
}  # fmt: skip
"""Each method: what it is called with, a good answer, and whether it may be made again where nobody knows what it did."""


def done(client: Any, name: str, given: Sequence[Any], **named: Any) -> Any:
    """Call a method, and go through what it iterates over."""
    called = getattr(client, name)(*given, **named)
    return list(called) if inspect.isgenerator(called) else called


def test_every_method_is_here() -> None:
    assert CALLS.keys() == {name for name in vars(Client) if not name.startswith("_")} - {"close"}


# ------------------------------------------------------------------------------ what is tried again


@both
@pytest.mark.parametrize("name", CALLS)
def test_a_busy_service_is_asked_again(scripted: Scripted, kind: Any, name: str) -> None:
    given, good, _ = CALLS[name]
    scripted.replies = [NOT_BEGUN, problem(429), good]
    with kind(scripted.url) as client:
        done(client, name, given)
    assert len({line for line, _ in scripted.requests}) == 1
    assert len(scripted.requests) == 3


@both
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("loss", [None, b"HTTP/1.1 200 OK\r\ncontent-le", problem(502), problem(503)])
def test_what_was_lost_is_only_repeated_where_that_is_safe(
    scripted: Scripted, kind: Any, name: str, loss: Reply
) -> None:
    given, good, repeatable = CALLS[name]
    scripted.replies = [loss, good]
    with kind(scripted.url) as client:
        if repeatable:
            done(client, name, given)
        else:
            with pytest.raises(UnavailableError):
                done(client, name, given)
    assert len(scripted.requests) == 1 + repeatable


@both
def test_a_catalog_in_place_of_a_version_is_put_once(scripted: Scripted, kind: Any) -> None:
    scripted.replies = [None]
    with kind(scripted.url) as client, pytest.raises(UnavailableError):
        client.put_catalog("pond", "name = 'x'", expected="0123456789abcdef")
    assert len(scripted.requests) == 1


@both
@pytest.mark.parametrize("name", ["query", "create_collection", "query_stream"])
def test_a_service_that_comes_up_late(kind: Any, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given, good, _ = CALLS[name]
    opened: list[Scripted] = []

    def start() -> None:
        opened.append(Scripted(port))
        opened[0].replies = [good]
        opened[0].serve_forever(0.01)

    starting = threading.Timer(0.2, start)
    starting.start()
    try:
        with kind(f"http://127.0.0.1:{port}", retries=1000, timeout=10) as client:
            done(client, name, given)
    finally:
        starting.join(0.5)
        opened[0].shutdown()
        opened[0].server_close()
    assert len(opened[0].requests) == 1


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 501, 507])
def test_what_will_not_change_is_asked_once(scripted: Scripted, kind: Any, status: int) -> None:
    scripted.replies = [problem(status)]
    with kind(scripted.url) as client, pytest.raises(QuerywrightError, match="told"):
        client.query("x")
    assert len(scripted.requests) == 1


@both
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_it_ends_after_as_many_as_were_allowed(scripted: Scripted, kind: Any, retries: int) -> None:
    for reply, says_ in ((problem(503, "busy"), "^busy$"), (None, "cannot be reached")):
        scripted.replies = [reply]
        scripted.requests.clear()
        with kind(scripted.url, retries=retries) as client, pytest.raises(UnavailableError, match=says_):
            client.query("x")
        assert len(scripted.requests) == retries + 1


# --------------------------------------------------------------------------------- for how long


@given(st.integers(2, 10**6))
def test_when_to_come_again_as_a_date(seconds: int) -> None:
    told = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    assert seconds - 1.5 < attempts.retry_after(told) <= seconds


@given(st.text())
def test_when_to_come_again_is_a_time_to_come(told: str) -> None:
    assert attempts.retry_after(told) >= 0


def test_pauses_grow_and_differ() -> None:
    state = RetryCallState(Retrying(), None, (), {})
    for attempt in range(1, 12):
        state.attempt_number = attempt
        bound = min(5, 0.2 * 2 ** (attempt - 1))
        drawn = [PAUSE(state) for _ in range(200)]
        assert 0 <= min(drawn) < bound / 4 < bound * 3 / 4 < max(drawn) <= bound


@both
def test_the_service_says_when_to_come_again(scripted: Scripted, kind: Any) -> None:
    scripted.replies = [problem(503, retry_after="1"), says(200, ANSWER)]
    begun = time.monotonic()
    with kind(scripted.url) as client:
        client.query("x")
    assert 0.9 < time.monotonic() - begun < 5
    assert len(scripted.requests) == 2


@both
def test_nobody_waits_longer_than_the_timeout(scripted: Scripted, kind: Any) -> None:
    scripted.replies = [problem(503, "busy for long", retry_after="30")]
    begun = time.monotonic()
    with kind(scripted.url, timeout=10) as client, pytest.raises(UnavailableError, match="busy for long"):
        client.query("x")
    assert time.monotonic() - begun < 5
    assert len(scripted.requests) == 1
    scripted.pause = 0.4
    scripted.replies = [problem(503), None]
    begun = time.monotonic()
    with kind(scripted.url, timeout=1, retries=50) as client, pytest.raises(UnavailableError):
        client.query("x")
    assert time.monotonic() - begun < 2.5


# ---------------------------------------------------------------------------------- what is told


CANARY = "canary-7f3a9c"


@both
def test_the_key_goes_with_every_request_and_nowhere_else(
    scripted: Scripted, kind: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    scripted.replies = [problem(503), None, problem(401, "key: unknown")]
    with kind(scripted.url, api_key=CANARY) as client, pytest.raises(AuthError, match="key: unknown") as caught:
        client.query("x")
    assert [headers.get("authorization") for _, headers in scripted.requests] == [f"Bearer {CANARY}"] * 3
    opened = Client(scripted.url, api_key=CANARY)
    assert CANARY not in f"{caught.value!r} {caught.value} {caplog.text} {opened!r} {vars(opened)}"
    opened.close()
    monkeypatch.setenv("QUERYWRIGHT_API_KEY", "from-the-environment")
    scripted.replies = [says(200, ANSWER)]
    for options, told in (
        ({}, "Bearer from-the-environment"),
        ({"api_key": CANARY}, f"Bearer {CANARY}"),
        ({"api_key": ""}, None),
    ):
        with kind(scripted.url, **options) as client:
            client.query("x")
        assert scripted.requests[-1][1].get("authorization") == told


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("key", ["a b", "钥匙", "a\nb", "a\r\nx: y", " "])
def test_a_key_that_cannot_be_sent(kind: Any, key: str) -> None:
    with pytest.raises(InputError, match="api_key: expected printable ASCII") as caught:
        kind(api_key=f"{CANARY}{key}")
    assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


@both
def test_the_key_does_not_follow_a_redirect(scripted: Scripted, kind: Any) -> None:
    with Scripted() as elsewhere:
        scripted.replies = [says(307, location=elsewhere.url + "/v1/query")]
        with kind(scripted.url, api_key=CANARY) as client, pytest.raises(ServiceError, match="HTTP 307"):
            client.query("x")
        assert elsewhere.requests == []


@both
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthError), (403, AuthError), (404, NotFoundError), (408, UnavailableError), (418, ServiceError),
        (431, InputError), (500, ServiceError), (502, UnavailableError), (503, UnavailableError), (507, StorageError),
    ],
)  # fmt: skip
def test_each_status_has_its_class(scripted: Scripted, kind: Any, status: int, error: type[Exception]) -> None:
    scripted.replies = [problem(status, "this and that", x_request_id="0b1c-2d")]
    named = " (request 0b1c-2d)" if status >= 500 or status == 418 else ""
    hint = "; give it as api_key=, or in QUERYWRIGHT_API_KEY" if status == 401 else ""
    with kind(scripted.url, retries=0) as client, pytest.raises(error) as caught:
        client.query("x")
    assert type(caught.value) is error
    assert str(caught.value) == f"this and that{named or hint}"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "url", ["localhost:8000", "127.0.0.1:8000", "ftp://localhost", "http://", "", "http://a\nb", 5]
)
def test_an_address_that_is_none_is_refused_at_once(kind: Any, url: Any) -> None:
    with pytest.raises(InputError, match=r"^url: expected an address .*http://127\.0\.0\.1:8000"):
        kind(url)


@both
@pytest.mark.parametrize("request_id", ["x" * 201, "a b", ""])
def test_a_request_id_that_is_none(scripted: Scripted, kind: Any, request_id: str) -> None:
    scripted.replies = [says(500, b"<html>oh</html>", "text/html", x_request_id=request_id)]
    with kind(scripted.url) as client, pytest.raises(ServiceError, match=r"^HTTP 500$"):
        client.query("x")


@both
def test_a_newer_service_may_say_more(scripted: Scripted, kind: Any) -> None:
    with kind(scripted.url) as client:
        scripted.replies = [says(200, [INFO | {"color": "green"}])]
        assert client.collections()[0].name == "pond"
        scripted.replies = [says(201, INFO | {"color": "green"})]
        assert client.create_collection("pond").documents == 0
        scripted.replies = [says(200, json.loads(to_json(ANSWER)) | {"color": "green"})]
        assert client.query("x") == ANSWER


# --------------------------------------------------------------------------------------- streams


def stream(*events: bytes) -> bytes:
    return says(200, b"".join(events), "text/event-stream", x_request_id="0b1c-2d")


REWRITTEN = event_bytes(ANSWER.rewrite)


@both
@pytest.mark.parametrize(
    "cut", [stream(REWRITTEN), stream(REWRITTEN, event_bytes(ANSWER))[:-40], stream(REWRITTEN)[:-5]]
)
def test_a_stream_that_breaks_off_is_not_begun_anew(scripted: Scripted, kind: Any, cut: bytes) -> None:
    scripted.replies = [cut, stream(event_bytes(ANSWER))]
    with kind(scripted.url) as client, pytest.raises(UnavailableError, match="broke off before the answer"):
        done(client, "query_stream", ["x"])
    assert len(scripted.requests) == 1


@both
def test_problems_in_a_stream_are_raised(scripted: Scripted, kind: Any) -> None:
    body = to_json({"title": "x", "status": 507, "detail": "the disk is full"})
    scripted.replies = [stream(REWRITTEN, b"event: problem\ndata: " + body + b"\n\n")]
    with kind(scripted.url) as client, pytest.raises(StorageError, match=r"^the disk is full \(request 0b1c-2d\)$"):
        done(client, "query_stream", ["x"])


@both
def test_unknown_events_are_passed_over(scripted: Scripted, kind: Any) -> None:
    news = b"event: news\ndata: {}\n\n"
    scripted.replies = [stream(b": hello\n\n", news, REWRITTEN, event_bytes(ANSWER), news)]
    with kind(scripted.url) as client:
        assert done(client, "query_stream", ["x"]) == [ANSWER.rewrite, ANSWER]


@both
def test_what_is_no_stream_is_refused(scripted: Scripted, kind: Any) -> None:
    scripted.replies = [says(200, ANSWER)]
    with kind(scripted.url) as client, pytest.raises(UnavailableError, match="text/event-stream"):
        done(client, "query_stream", ["x"])


# ------------------------------------------------------------------------------- a service with keys


@both
def test_a_service_with_keys(tmp_path: Path, serving: Callable[..., Any], kind: Any) -> None:
    keys = Keys(tmp_path / "keys.json")
    reader, writer = keys.add("reader", Scope.READ), keys.add("writer", Scope.WRITE)
    opened = Querywright(home=tmp_path, encoder="none")
    opened.create_collection("pond")
    with serving(opened, keys) as service:
        with kind(service.url, api_key=writer) as client:
            assert client.upsert("pond", [{"doc_id": "a", "text": "frog"}]) == 1
        with kind(service.url, api_key=reader) as client:
            assert client.search("frog", collection="pond").hits[0].doc_id == "a"
            assert isinstance(list(client.query_stream("frog", collection="pond"))[-1], Answer)
            assert len(list(client.iter_documents("pond"))) == 1
            with pytest.raises(AuthError):
                client.upsert("pond", [])
        for key in ("", writer[:-1] + "?"):
            with kind(service.url, api_key=key) as client:
                for name in ("collections", "query", "query_stream"):
                    with pytest.raises(AuthError) as caught:
                        done(client, name, CALLS[name][0])
                    assert not key or key not in str(caught.value)
