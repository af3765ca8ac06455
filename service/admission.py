"""How much is worked on at once: slots, a bounded queue, bodies within bounds, deadlines.

Everything is decided on the event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import READS, Rejections
from .problems import problem
from .settings import Settings

_WORK = "/v1/"
"""Routes under this work in threads; the others answer at once."""

_BODIES = 4
"""Bodies that are being read or wait may take so many times the largest one's memory."""


class Told(Rejections, Protocol):
    """Who is told of rejections and of waiting, for the metrics."""

    def waited(self, seconds: float) -> None:
        """Count how long one waited for its slot."""

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Ask `length` how many wait, whenever that is wanted."""


@dataclass(slots=True)
class Life:
    """Where a service is between its start and its end."""

    draining: bool = False
    """It still answers, but tells balancers and clients to go elsewhere."""
    until: float | None = None
    """When it must be gone, by the monotonic clock; None while nobody told it to end."""


class _Refused(Exception):  # noqa: N818 # nothing is wrong
    def __init__(self, status: int, reason: str, detail: str) -> None:
        self.status = status
        self.reason = reason
        self.detail = detail


class Admission:
    """Admits as many requests as there are slots; so many more wait, in the order in which they came.

    A body is read before a slot is taken, so that a slow sender holds nobody up. Past a request's deadline, the
    setting's or what `x-timeout-ms` says if that is sooner, it is answered with 503; its slot is free when its work has
    ended, as a thread cannot be stopped.
    """

    def __init__(self, app: ASGIApp, settings: Callable[[], Settings], life: Life, told: Told) -> None:
        self._app = app
        self._settings = settings
        self._life = life
        self._told = told
        self._working = 0
        self._reading = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        told.watch_queue(lambda: self.queued)

    @property
    def working(self) -> int:
        """How many requests are worked on."""
        return self._working

    @property
    def queued(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or tell it to come again."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._life.draining:
            send = _closing(send)
        if not scope["path"].startswith(_WORK):
            await self._app(scope, receive, send)
            return
        answering = _Answering(send, self._told)
        try:
            await self._admitted(scope, receive, answering)
        except _Refused as refused:
            self._told.rejected(refused.reason)
            await problem(refused.status, refused.detail, begun=False)(scope, receive, send)
        except asyncio.CancelledError:
            if answering.started:
                raise
            # The service ends and cannot wait for it any longer.
            self._told.rejected("late")
            await problem(503, "the service ends; a change that was not acknowledged may or may not be there")(
                scope, receive, send
            )

    async def _admitted(self, scope: Scope, receive: Receive, answering: _Answering) -> None:
        settings, loop = self._settings(), asyncio.get_running_loop()
        begun = loop.time()
        seconds = _seconds(scope, settings)
        self._check_queue(settings)
        body = await self._body(scope, receive, settings)
        if body is None:
            return  # whoever asked has gone
        until = None if seconds is None else begun + seconds
        try:
            if not await self._slot(settings, receive, until):
                return
        finally:
            self._reading -= len(body)  # bodies that wait take memory, too
        late = loop.call_at(until, answering.late) if until else None
        try:
            await self._app(scope, _replayed(body, receive), answering)
        finally:
            if late:
                late.cancel()
            self._release()

    # ------------------------------------------------------------------------------------ bodies

    async def _body(self, scope: Scope, receive: Receive, settings: Settings) -> bytes | None:
        """Read the body, which stays counted; None where the client goes away meanwhile."""
        most = settings.max_body_mb * 2**20
        told = Headers(scope=scope).get("content-length", "")
        if told.isdecimal() and int(told) > most:
            raise _too_large(most)
        pieces: list[bytes] = []
        taken = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                piece = message.get("body", b"")
                pieces.append(piece)
                taken += len(piece)
                self._reading += len(piece)
                if taken > most:
                    raise _too_large(most)
                if self._reading > _BODIES * most:
                    raise _Refused(503, "bodies", "the service holds too many large bodies already; try again later")
                if not message.get("more_body", False):
                    taken = 0
                    return b"".join(pieces)
        finally:
            self._reading -= taken

    # ------------------------------------------------------------------------------------- slots

    def _check_queue(self, settings: Settings) -> None:
        if self._working >= settings.threads and len(self._waiting) >= settings.queue:
            raise _Refused(503, "queue", "the service is busy and its queue is full; try again later")

    async def _slot(self, settings: Settings, receive: Receive, until: float | None) -> bool:
        """Take a slot, after waiting for one if need be; False where the client goes away meanwhile."""
        self._check_queue(settings)
        if self._working < settings.threads and not self._waiting:
            self._working += 1
            self._told.waited(0.0)
            return True
        loop = asyncio.get_running_loop()
        begun, longest = loop.time(), loop.time() + settings.queue_ms / 1000
        mine: asyncio.Future[None] = loop.create_future()
        gone = asyncio.ensure_future(receive())  # the body is read: all that can come is that the client has gone
        self._waiting.append(mine)
        try:
            left = min(longest, until or longest) - begun
            await asyncio.wait((mine, gone), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            had = mine.done() and not mine.cancelled()
            if not had:
                mine.cancel()
                self._waiting.remove(mine)
        self._told.waited(loop.time() - begun)
        if not had and not gone.done():
            raise _Refused(503, "waited", "the service is busy: no one could take the request in time; try again later")
        if had and gone.done() and not gone.cancelled():
            self._release()
            had = False
        return had

    def _release(self) -> None:
        """Free a slot; whoever has waited longest gets it, and others where there are more slots than before."""
        self._working -= 1
        while self._waiting and self._working < self._settings().threads:
            mine = self._waiting.popleft()
            if not mine.done():
                mine.set_result(None)
                self._working += 1


class _Answering:
    """Sends what the app answers, or that it is too late; never both."""

    def __init__(self, send: Send, told: Told) -> None:
        self._send = send
        self._told = told
        self.started = False
        self._late: asyncio.Task[None] | None = None

    async def __call__(self, message: Message) -> None:
        if self._late is None:
            self.started = True
            await self._send(message)

    def late(self) -> None:
        """Answer that the deadline has passed, unless an answer has begun."""
        if not self.started:
            self._told.rejected("late")
            told = problem(503, "the deadline of the request has passed")
            self._late = asyncio.ensure_future(told({"type": "http"}, _nothing, self._send))


async def _nothing() -> Message:
    raise RuntimeError("nothing is to be received")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives the body that was read, then what comes after it."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _closing(send: Send) -> Send:
    """Return a `send` whose answers end their connections."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["connection"] = "close"
        await send(message)

    return closing


def _seconds(scope: Scope, settings: Settings) -> float | None:
    """Return how long a request may take; a change may take as long as it needs unless the caller says otherwise."""
    told = Headers(scope=scope).get("x-timeout-ms")
    asks = scope["method"] == "GET" or scope["path"] in READS
    seconds = settings.request_seconds if asks else None
    if told is None:
        return seconds
    if not re.fullmatch("[1-9][0-9]{0,8}", told):
        raise _Refused(422, "header", "x-timeout-ms: expected a whole number of milliseconds")
    return min(seconds, int(told) / 1000) if seconds else int(told) / 1000


def _too_large(most: int) -> _Refused:
    return _Refused(413, "body", f"body: at most {most:,} bytes are taken")
