"""Hundreds of connections that hardly move, beside clients who ask as always."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path

from querywright import Client

from .load import Load, Outcomes, closed_loop, post
from .processes import LOAD_CORE, SERVER_CORE, Serving, pin, questions, serving

_HEAD = b"POST /v1/query HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
_LIST = b"GET /v1/collections/large/documents?limit=1000 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
_NEVER_READS = "never reads"

KINDS: dict[str, tuple[bytes, bytes]] = {
    "silent": (b"", b""),
    "half a head": (_HEAD, b""),
    "head, byte by byte": (_HEAD + b"x-slow: ", b"a"),
    "half a body": (_HEAD + b'content-length: 100\r\n\r\n{"query":', b""),
    "body, byte by byte": (_HEAD + b'content-length: 1000\r\n\r\n{"query": "', b"a"),
    "chunks, byte by byte": (_HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    _NEVER_READS: (_LIST, b""),
}
"""What each kind of slow client sends at first, and then every second."""

_READERS = 25
"""One in so many asks for an answer of 8 MB and does not read it; that is more than the kernel keeps for it."""


def slow(home: Path, connections: int = 500, clients: int = 4, seconds: float = 20) -> dict[str, object]:
    """Measure `clients` alone, then beside `connections` slow ones that begin all at once."""
    with serving(home, core=SERVER_CORE, rewrite_cache=0) as service:
        pin(LOAD_CORE)
        return asyncio.run(_slowed(service, connections, clients, seconds))


async def _slowed(service: Serving, connections: int, clients: int, seconds: float) -> dict[str, object]:
    _fill(service)
    load = Load(service.address, [post("/v1/query", body) for body in questions()])
    await closed_loop(load, clients, 3.0)
    alone = await closed_loop(load, clients, seconds)
    before = _sockets(service)
    watched = asyncio.ensure_future(_watched(service, before, seconds))
    slow_ones = [asyncio.ensure_future(_slow(service, kind, seconds)) for kind in _kinds(connections)]
    beside = await closed_loop(load, clients, seconds)
    closed = await asyncio.gather(*slow_ones)
    most, left, gone_after = await watched
    load.close()
    return {
        "alone": _told(alone),
        "beside": _told(beside),
        "p99": round(beside.quantile(0.99) / alone.quantile(0.99), 2),
        "success": round(beside.by_status()[200] / len(beside.all), 5),
        "closed_within": {
            kind: round(max(one[1] for one in closed if one[0] == kind), 1) for kind in KINDS if kind != _NEVER_READS
        },
        "sockets": {"before": before, "most": most, "after": left, "back_after": gone_after},
    }


def _kinds(connections: int) -> list[str]:
    others = [kind for kind in KINDS if kind != _NEVER_READS]
    return [others[number % len(others)] if number % _READERS else _NEVER_READS for number in range(connections)]


def _fill(service: Serving) -> None:
    with Client(service.url) as client:
        client.create_collection("large")
        client.upsert("large", [{"doc_id": f"d{number}", "text": "0 " * 4000} for number in range(1000)])


async def _slow(service: Serving, kind: str, seconds: float) -> tuple[str, float]:
    """Be slow until the server ends it; return after how long it did, at most `seconds`."""
    first, then = KINDS[kind]
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    try:
        await loop.sock_connect(connection, service.address)
        await loop.sock_sendall(connection, first)
        if kind == _NEVER_READS:  # and so cannot see the end: the server's sockets tell of it
            await asyncio.sleep(seconds)
        while time.perf_counter() - began < seconds and not await _read(connection):
            if then:
                await loop.sock_sendall(connection, then)
    except OSError:
        pass  # reset: that, too, is an end
    finally:
        connection.close()
    return kind, time.perf_counter() - began


async def _read(connection: socket.socket) -> bool:
    """Wait a second for the server's end of the connection, reading what it says."""
    try:
        async with asyncio.timeout(1):
            return not await asyncio.get_running_loop().sock_recv(connection, 4096)
    except TimeoutError:
        return False


async def _watched(service: Serving, before: int, seconds: float) -> tuple[int, int, float]:
    """Watch how many sockets the server holds: return the most, those in the end, and when it was back at `before`."""
    began, most, back = time.perf_counter(), 0, 0.0
    while time.perf_counter() - began < seconds:
        await asyncio.sleep(0.25)
        now = _sockets(service)
        most = max(most, now)
        back = time.perf_counter() - began if now > before else back
    return most, _sockets(service), round(back, 1)


def _sockets(service: Serving) -> int:
    return sum(_link(file).startswith("socket:") for file in Path(f"/proc/{service.process.pid}/fd").iterdir())


def _link(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:  # closed meanwhile
        return ""


def _told(outcomes: Outcomes) -> dict[str, object]:
    milliseconds: Callable[[float], float] = lambda share: round(1000 * outcomes.quantile(share), 1)  # noqa: E731
    return {"statuses": dict(outcomes.by_status()), "p50": milliseconds(0.5), "p99": milliseconds(0.99)}
