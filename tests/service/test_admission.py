"""Slots, queue, bodies and deadlines; connections that hardly move; the end of a service. All over real sockets."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from querywright import Querywright, Settings
from querywright.service import cli, server
from querywright.service.admission import Admission, Life
from querywright.service.attempts import NOT_BEGUN
from querywright.service.server import Config, Server

TIMEOUT = 20


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.waits: list[float] = []

    def rejected(self, reason: str) -> None:
        self.reasons.append(reason)

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def watch_queue(self, length: Callable[[], int]) -> None:
        self.length = length


class Work:
    """An app whose every answer waits until it is let go; it knows how many it works on, and the most it ever did."""

    def __init__(self) -> None:
        self.now = self.most = self.begun = 0
        self.bodies: list[int] = []
        self.free = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.now += 1
        self.begun += 1
        self.most = max(self.most, self.now)
        body = b""
        try:
            message = await receive()
            body = message["body"]
            self.bodies.append(len(body))
            await asyncio.to_thread(self.free.wait, TIMEOUT)
        finally:
            self.now -= 1
        await PlainTextResponse(f"{len(body)}")(scope, receive, send)


@contextmanager
def running(app: object, **options: float) -> Iterator[tuple[str, int]]:
    graceful = options.pop("graceful", 3)
    given = {"connections": 100, "drain_seconds": 0} | options
    config = Config(app, port=0, log_level="critical", lifespan="off", **given)
    config.timeout_graceful_shutdown = int(graceful)
    running = Server(config, Life())
    thread = threading.Thread(target=running.run)
    thread.start()
    until = time.monotonic() + TIMEOUT
    while not running.started:
        assert time.monotonic() < until
        time.sleep(0.005)
    try:
        yield running.servers[0].sockets[0].getsockname()[:2]
    finally:
        running.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.free.set()


def admission(work: Work, told: Told, **settings: object) -> Admission:
    fixed = Settings(**settings)
    return Admission(work, lambda: fixed, Life(), told)


def post(address: tuple[str, int], body: bytes = b"{}", path: str = "/v1/query", **headers: str) -> httpx.Response:
    url = f"http://127.0.0.1:{address[1]}{path}"
    return httpx.post(url, content=body, headers={k.replace("_", "-"): v for k, v in headers.items()}, timeout=TIMEOUT)


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_no_more_than_the_slots_and_the_queue_hold(work: Work) -> None:
    told = Told()
    app = admission(work, told, threads=2, queue=3)
    with running(app) as address, ThreadPoolExecutor(20) as pool:
        taken = [pool.submit(post, address) for _ in range(5)]
        until(lambda: work.now == 2 and app.queued == 3)
        refused = [post(address) for _ in range(4)]
        assert {one.status_code for one in refused} == {503}
        assert {one.headers["retry-after"] for one in refused} == {"1"}
        assert "queue is full" in refused[0].json()["detail"]
        assert refused[0].json()["type"] == NOT_BEGUN
        # What needs no slot is answered all the same.
        assert (app.working, told.reasons, told.length()) == (2, ["queue"] * 4, 3)
        work.free.set()
        assert {one.result().status_code for one in taken} == {200}
    assert (work.most, work.begun) == (2, 5)
    assert (app.working, app.queued) == (0, 0)
    assert len(told.waits) == 5


def test_the_first_to_come_is_the_first_to_go(work: Work) -> None:
    app = admission(work, Told(), threads=1, queue=9)
    with running(app) as address, ThreadPoolExecutor(9) as pool:
        for number in range(1, 7):
            pool.submit(post, address, b"x" * number)
            until(lambda taken=number: app.working + app.queued == taken)
        work.free.set()
    assert work.bodies == [1, 2, 3, 4, 5, 6]


def test_nobody_waits_longer_than_is_set(work: Work) -> None:
    told = Told()
    app = admission(work, told, threads=1, queue=9, queue_ms=200)
    with running(app) as address, ThreadPoolExecutor(9) as pool:
        first = pool.submit(post, address)
        until(lambda: work.now == 1)
        begun = time.monotonic()
        late = post(address)
        assert late.json()["type"] == NOT_BEGUN
        assert 0.15 < time.monotonic() - begun < 5
        assert (late.status_code, told.reasons) == (503, ["waited"])
        work.free.set()
        assert first.result().status_code == 200
    assert work.begun == 1


def test_who_has_gone_is_not_worked_for(work: Work) -> None:
    app = admission(work, Told(), threads=1, queue=9)
    with running(app) as address, ThreadPoolExecutor(9) as pool:
        first = pool.submit(post, address)
        until(lambda: work.now == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"http://127.0.0.1:{address[1]}/v1/query", content=b"{}", timeout=0.1)
        until(lambda: app.queued == 0)
        work.free.set()
        assert first.result().status_code == 200
        assert post(address).status_code == 200
    assert work.begun == 2


@pytest.mark.parametrize(
    ("settings", "headers"),
    [({"request_seconds": 0.2}, {}), ({}, {"x_timeout_ms": "200"}), ({"request_seconds": 9}, {"x_timeout_ms": "200"})],
)
def test_a_deadline_is_kept_and_its_slot_stays_taken(work: Work, settings: dict, headers: dict) -> None:
    app = admission(work, told := Told(), threads=1, **settings)
    with running(app) as address:
        begun = time.monotonic()
        late = post(address, **headers)
        assert 0.15 < time.monotonic() - begun < 5
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert "deadline" in late.json()["detail"]
        assert "type" not in late.json()  # something may have been done
        assert (app.working, told.reasons) == (1, ["late"])  # its thread is still at work
        work.free.set()
        until(lambda: app.working == 0)
        assert post(address).status_code == 200


def test_what_crashed_is_not_late_as_well() -> None:
    async def crash(*_: object) -> None:
        raise ZeroDivisionError

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ask(sent: list[object]) -> None:
        async def send(message: object) -> None:
            sent.append(message)

        with pytest.raises(ZeroDivisionError):
            await app({"type": "http", "method": "POST", "path": "/v1/query", "headers": []}, receive, send)
        await asyncio.sleep(0.1)

    told, sent = Told(), []
    app = Admission(crash, lambda: Settings(request_seconds=0.05), Life(), told)
    asyncio.run(ask(sent))
    assert (told.reasons, sent, app.working) == ([], [], 0)


def test_more_slots_are_used_while_many_wait(work: Work) -> None:
    settings = [Settings(threads=1, queue=9)]
    app = Admission(work, lambda: settings[-1], Life(), Told())
    with running(app) as address, ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(post, address) for _ in range(6)]
        until(lambda: app.queued == 5)
        settings.append(Settings(threads=3, queue=9))
        work.free.set()
        assert {one.result().status_code for one in asked} == {200}
    assert work.most == 3


def test_changes_have_no_deadline_but_the_callers(work: Work) -> None:
    app = admission(work, Told(), request_seconds=0.1)
    with running(app) as address, ThreadPoolExecutor(1) as pool:
        change = pool.submit(post, address, b"{}", "/v1/collections/demo/documents")
        time.sleep(0.3)
        assert not change.done()
        assert post(address, path="/v1/collections/demo/documents", x_timeout_ms="100").status_code == 503
        work.free.set()
        assert change.result().status_code == 200
        for wrong in ("0", "-1", "x", "1.5", "9" * 40, "²"):
            url = f"http://127.0.0.1:{address[1]}/v1/query"
            response = httpx.post(url, content=b"{}", headers={"x-timeout-ms": wrong.encode("latin-1", "replace")})
            assert (response.status_code, response.json()["detail"][:12]) == (422, "x-timeout-ms")


def test_bodies_are_counted_as_they_come(work: Work) -> None:
    app = admission(work, told := Told(), max_body_mb=1)
    work.free.set()

    def pieces() -> Iterator[bytes]:
        yield from (b"x" * 65_536 for _ in range(17))

    with running(app) as address:
        url = f"http://127.0.0.1:{address[1]}/v1/query"
        assert post(address, b"x" * 2**20).text == str(2**20)
        for body in (b"x" * (2**20 + 1), pieces()):
            response = httpx.post(url, content=body, timeout=TIMEOUT)
            assert (response.status_code, response.json()["detail"]) == (413, "body: at most 1,048,576 bytes are taken")
    assert told.reasons == ["body", "body"]
    assert work.begun == 1


def test_bodies_together_take_bounded_memory(work: Work) -> None:
    app = admission(work, told := Told(), max_body_mb=1)
    work.free.set()
    head = b"POST /v1/query HTTP/1.1\r\nhost: x\r\ncontent-length: 1048576\r\n\r\n"
    with running(app) as address:
        slow = [socket.create_connection(address, timeout=TIMEOUT) for _ in range(5)]
        try:
            for connection in slow:
                connection.sendall(head + b"x" * 900_000)
            answered = next(one for one in _readable(slow) if one.recv(100).startswith(b"HTTP/1.1 503 "))
            slow.remove(answered)
            answered.close()
            assert told.reasons == ["bodies"]
            for connection in slow:
                connection.sendall(b"x" * (2**20 - 900_000))
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        finally:
            for connection in slow:
                connection.close()


def test_bodies_that_wait_are_counted_too(work: Work) -> None:
    app = admission(work, told := Told(), threads=1, queue=9, max_body_mb=1)
    with running(app) as address, ThreadPoolExecutor(9) as pool:
        first = pool.submit(post, address)
        until(lambda: work.now == 1)
        waiting = [pool.submit(post, address, b"x" * 1_000_000) for _ in range(5)]
        until(lambda: app.queued == 4 and told.reasons == ["bodies"])
        work.free.set()
        assert first.result().status_code == 200
        assert sorted(one.result().status_code for one in waiting) == [200, 200, 200, 200, 503]
        assert post(address, b"x" * 1_000_000).status_code == 200


def _readable(connections: list[socket.socket]) -> list[socket.socket]:
    return select.select(connections, [], [], TIMEOUT)[0]


# --------------------------------------------------------------------- connections that hardly move


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READ_SECONDS", 0.5)
    monkeypatch.setattr(server, "WRITE_SECONDS", 0.5)


HEAD = b"POST /v1/query HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "drop", "status"),
    [
        (b"", b"", 408),
        (b"GET /hea", b"", 408),
        (HEAD + b"x-slow: ", b"a", 408),
        (HEAD + b"content-length: 100\r\n\r\n{", b"", 408),
        (HEAD + b"content-length: 100\r\n\r\n{", b"a", 408),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n", 408),
        (HEAD + b"x-long: " + b"a" * 70_000, b"", 431),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\nx-long: " + b"a" * 70_000 + b"\r\n\r\n", b"", 400),
        (b"\x16\x03\x01\x02\x00\x01", b"", 400),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_does_not_move_is_closed(work: Work, sent: bytes, drop: bytes, status: int) -> None:
    work.free.set()
    with running(admission(work, Told())) as address, socket.create_connection(address, timeout=TIMEOUT) as slow:
        slow.settimeout(0.05)
        slow.sendall(sent)
        begun, got = time.monotonic(), b""
        while True:
            assert time.monotonic() - begun < 10
            try:
                piece = slow.recv(4096)
            except TimeoutError:
                slow.sendall(drop)
                continue
            except ConnectionError:
                break
            if not piece:
                break
            got += piece
        assert got.startswith(f"HTTP/1.1 {status} ".encode()), got
        assert json.loads(got.partition(b"\r\n\r\n")[2])["status"] == status
    assert work.begun == 0 or status == 400


@pytest.mark.parametrize("close", [b"", b"connection: close\r\n"])
@pytest.mark.parametrize("megabytes", [1, 30])
def test_an_early_answer_reaches_who_is_still_sending(close: bytes, megabytes: int) -> None:
    """The socket must not be reset: that takes an answer away which the client has not read."""
    size = megabytes * 1_000_000
    refusing = PlainTextResponse(b"too large", status_code=413)
    with running(refusing) as address, socket.create_connection(address, timeout=TIMEOUT) as sending:
        sending.sendall(HEAD + close + f"content-length: {size}\r\n\r\n".encode())
        for _ in range(megabytes):
            sending.sendall(b"x" * 1_000_000)
            time.sleep(0.01)
        assert sending.recv(4096).startswith(b"HTTP/1.1 413 ")
        if close or megabytes > 1:
            assert sending.recv(4096) == b""
        else:
            sending.sendall(HEAD + b"content-length: 0\r\n\r\n")
            assert sending.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_nobody_lingers_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.3)
    refusing = PlainTextResponse(b"too large", status_code=413)
    with running(refusing) as address, socket.create_connection(address, timeout=TIMEOUT) as sending:
        sending.sendall(HEAD + b"content-length: 1000000000\r\n\r\n")
        begun = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - begun < TIMEOUT:
                sending.sendall(b"x" * 100_000)
                time.sleep(0.001)
        assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("quick")
def test_a_body_that_keeps_coming_is_waited_for(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_RATE", 1000)
    work.free.set()
    with running(admission(work, Told())) as address, socket.create_connection(address, timeout=TIMEOUT) as slow:
        slow.sendall(HEAD + b"content-length: 3000\r\n\r\n")
        for _ in range(10):
            time.sleep(0.1)
            slow.sendall(b"x" * 300)
        assert b" 200 OK" in slow.recv(4096)


@pytest.mark.usefixtures("quick")
def test_who_does_not_read_is_cut_off() -> None:
    ended = threading.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await PlainTextResponse(b"x" * 20_000_000)(scope, receive, send)
            await receive()
        finally:
            ended.set()

    with running(large) as address, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(address)
        slow.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert ended.wait(10)


@pytest.mark.usefixtures("quick")
def test_who_reads_on_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_RATE", 1000)
    with running(PlainTextResponse(b"x" * 8_000_000)) as address, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        slow.settimeout(TIMEOUT)
        slow.connect(address)
        slow.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        begun, got = time.monotonic(), 0
        while piece := slow.recv(131_072):
            got += len(piece)
            time.sleep(0.02)
        assert got > 8_000_000
        assert time.monotonic() - begun > 2 * server.WRITE_SECONDS


def test_so_many_requests_wait_on_a_connection(work: Work) -> None:
    with running(admission(work, Told())) as address, socket.create_connection(address, timeout=TIMEOUT) as eager:
        eager.sendall(HEAD + b"content-length: 0\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n" * 200)
        assert eager.recv(4096).startswith(b"HTTP/1.1 400 ")
        work.free.set()


def test_there_are_so_many_connections(work: Work) -> None:
    work.free.set()
    with running(admission(work, Told()), connections=3) as address:
        held = [socket.create_connection(address, timeout=TIMEOUT) for _ in range(3)]
        with socket.create_connection(address, timeout=TIMEOUT) as more:
            answer = more.recv(4096)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in answer
        held.pop().close()
        time.sleep(0.1)
        assert post(address).status_code == 200
        for connection in held:
            connection.close()


def test_answers_are_not_held_back() -> None:
    """Asyncio sets TCP_NODELAY only where the protocol is named; without it each answer takes 40 ms longer."""
    with cli._bound("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


# ------------------------------------------------------------------------------ the end of a service


def test_a_service_that_ends_says_so_and_answers(tmp_path: Path, serving) -> None:
    querywright = Querywright(home=tmp_path, encoder="none")
    querywright.create_collection("demo")
    with serving(querywright) as running, httpx.Client(base_url=running.url) as http:
        assert http.get("/readyz").json() == {"status": "ready"}
        running.life.draining = True
        response = http.get("/readyz")
        assert (response.status_code, response.headers["connection"]) == (503, "close")
        search = http.post("/v1/search", json={"query": "frog"})
        assert (search.status_code, search.headers["connection"]) == (200, "close")
        assert http.get("/healthz").status_code == 200


def test_saving_does_not_hold_up_the_end(tmp_path: Path, serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querywright.service.app._FLUSH_SECONDS", 0.2)
    querywright = Querywright(home=tmp_path, encoder="none")
    slow, begun = threading.Event(), time.monotonic()
    with serving(querywright) as running:
        querywright.create_collection("demo")
        monkeypatch.setattr(running.querywright.collection_store, "flush", lambda: slow.wait(TIMEOUT))
    assert time.monotonic() - begun < 10
    slow.set()


def test_what_cannot_be_waited_for_is_told_so(work: Work) -> None:
    """Past its time a service that ends answers what it works on, what waits and what still comes."""
    app = admission(work, Told(), threads=1)
    with ThreadPoolExecutor(3) as pool:
        with running(app, drain_seconds=0, graceful=1) as address:
            asked = [pool.submit(post, address)]
            until(lambda: work.now == 1)
            asked.append(pool.submit(post, address))
            until(lambda: app.queued == 1)
        for response in (one.result() for one in asked):
            assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
            assert "the service ends" in response.json()["detail"]
    work.free.set()


def test_signals() -> None:
    """The first signal lets it answer on for a while; a second one does not wait."""
    config = Config(PlainTextResponse("x"), connections=10, drain_seconds=8, log_level="critical", lifespan="off")
    life = Life()
    ending = Server(config, life)
    ending.handle_exit(signal.SIGTERM, None)
    assert life.draining
    assert not ending.should_exit
    assert not asyncio.run(ending.on_tick(0))
    ending.handle_exit(signal.SIGTERM, None)
    assert asyncio.run(ending.on_tick(0))
