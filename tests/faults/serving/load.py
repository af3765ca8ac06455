"""A load generator: HTTP/1.1 on raw asyncio, so that one core asks more than one core answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: its status, 0 where the connection failed, and when."""

    status: int
    began: float
    seconds: float
    retry_after: bool = False
    closes: bool = False
    error: str = ""


@dataclass
class Outcomes:
    """What came of all requests of a run that took `seconds`."""

    seconds: float
    all: list[Outcome] = field(default_factory=list)

    def by_status(self) -> Counter[int]:
        """Count them by status."""
        return Counter(one.status for one in self.all)

    def rate(self, status: int = 200) -> float:
        """Return how many of a status there were each second."""
        return self.by_status()[status] / self.seconds

    def quantile(self, share: float, *statuses: int) -> float:
        """Return how many seconds a share of those with a status took at most."""
        taken = sorted(one.seconds for one in self.all if one.status in (statuses or (200,)))
        return taken[min(len(taken) - 1, int(share * len(taken)))] if taken else 0.0


class _Connection(asyncio.Protocol):
    """One connection that asks one thing at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Outcome] | None = None
        self._data = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def ask(self, request: bytes) -> asyncio.Future[Outcome]:
        assert self.transport is not None
        self._data, self._began = b"", time.perf_counter()
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        fields = head.lower()
        length = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            closes = b"connection: close" in fields
            self._settle(Outcome(int(head[9:12]), self._began, self._since(), b"retry-after:" in fields, closes))
            if closes and self.transport:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(Outcome(0, self._began, self._since(), error=type(exc).__name__ if exc else "closed"))

    def _since(self) -> float:
        return time.perf_counter() - self._began

    def _settle(self, outcome: Outcome) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(outcome)
        self._answer = None


class Load:
    """Requests to one address, over connections that are kept."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes]) -> None:
        self._address = address
        self._requests: Iterator[bytes] = itertools.cycle(requests)
        self._idle: list[_Connection] = []

    async def ask(self) -> Outcome:
        """Send the next request over a connection that is free, or a new one."""
        began = time.perf_counter()
        try:
            connection = await self._connected()
        except OSError as error:
            return Outcome(0, began, time.perf_counter() - began, error=f"connect: {type(error).__name__}")
        outcome = await connection.ask(next(self._requests))
        if connection.usable:
            self._idle.append(connection)
        return outcome

    async def _connected(self) -> _Connection:
        while self._idle:
            if (connection := self._idle.pop()).usable:
                return connection
        _, protocol = await asyncio.get_running_loop().create_connection(_Connection, *self._address)
        return protocol

    def close(self) -> None:
        """Close the connections that are idle."""
        for connection in self._idle:
            if connection.transport:
                connection.transport.close()
        self._idle.clear()


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a request as it goes over the wire."""
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (fields | dict(headers or {})).items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def closed_loop(load: Load, clients: int, seconds: float) -> Outcomes:
    """Let so many clients ask, each as soon as it has its answer."""
    outcomes, until = Outcomes(seconds), time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < until:
            outcomes.all.append(await load.ask())

    await asyncio.gather(*(client() for _ in range(clients)))
    return outcomes


async def open_loop(load: Load, rate: float, seconds: float) -> Outcomes:
    """Ask so many times a second, whether answers come or not."""
    outcomes, begun = Outcomes(seconds), time.perf_counter()
    asked: set[asyncio.Task[Outcome]] = set()
    for number in range(int(rate * seconds)):
        ahead = begun + number / rate - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        elif number % 16 == 0:
            await asyncio.sleep(0)  # behind: let the answers in
        task = asyncio.ensure_future(load.ask())
        asked.add(task)
        task.add_done_callback(asked.discard)
        task.add_done_callback(lambda done: outcomes.all.append(done.result()))
    if asked:
        await asyncio.wait(asked)
    await asyncio.sleep(0)
    outcomes.seconds = time.perf_counter() - begun
    return outcomes
