"""The server: uvicorn, with connections that must keep moving and an end that loses nothing."""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from .access import Rejections
from .admission import Life
from .problems import MEDIA_TYPE, problem_bytes

READ_SECONDS = 10.0
"""So long after its first byte, or the connection's beginning, a request must be here; bodies that come get longer."""

BODY_RATE = 8192
"""So many bytes of a body, or of an answer, a second keep it going."""

WRITE_SECONDS = 10.0
"""So long may a client leave unread what was sent to it, beyond some 64 KiB; who reads at `BODY_RATE` gets longer."""

HEAD_BYTES = 65_536
"""Request line and headers take at most so much."""

_PIPELINED = 100
"""So many requests may wait on a connection for the answers to those before them."""

_UNWANTED_BYTES = 2**20
"""So much of a body is passed over, on a connection that is kept, that belongs to a request which was refused."""

LINGER_SECONDS = 3.0
"""So long is what still comes taken and thrown away after the last answer on a connection.

A socket closed over unread bytes is reset, and the reset takes from the client the answer that it has not read yet.
"""

SHUTDOWN_SECONDS = 9.0
"""From the signal to the end."""

_SAVING_SECONDS = 2.0
"""So much of that is for saving indexes; requests that are not done by then are answered with 503."""


REASONS = {400: "malformed", 408: "slow", 431: "headers", 503: "connections"}
"""Why a connection itself is refused, by the status that says so."""


class Config(uvicorn.Config):
    """How an app is served: at most `connections` at once, the end within `SHUTDOWN_SECONDS` of a signal.

    Of what the app never hears of, because the connection itself was refused, `told` does.
    """

    def __init__(
        self,
        app: Any,  # noqa: ANN401 # uvicorn's
        *,
        connections: int,
        drain_seconds: float,
        told: Rejections | None = None,
        **options: Any,  # noqa: ANN401 # uvicorn's
    ) -> None:
        super().__init__(
            app,
            http=Protocol,
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, int(SHUTDOWN_SECONDS - drain_seconds - _SAVING_SECONDS)),
            **options,
        )
        self.connections = connections
        self.told = told
        self.drain_seconds = drain_seconds
        _allow_files(connections)


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, on connections that are closed when nothing moves.

    Uvicorn itself waits for ever for the rest of a request, and for a client that does not read its answer.
    """

    _until: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None
    _head = 0
    _in_head = True
    _fields = 0
    _begun = 0.0
    _body = 0
    _unread = 0
    _final: RequestResponseCycle | None = None
    _lingering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        most = self.config.connections if isinstance(self.config, Config) else None
        if most is not None and len(self.connections) > most:
            self._refuse(503, "there are too many connections; try again later", b"retry-after: 1\r\n")
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._until, self._writing):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingering or self.transport.is_closing():
            return
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        # A head may share its last bytes with a body; while it goes on, all that came belongs to it.
        if self._in_head and self._head > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, f"headers: at most {HEAD_BYTES:,} bytes are taken")

    def on_message_begin(self) -> None:
        if self._lingering:
            raise ValueError("the last answer has been given")
        if len(self.pipeline) >= _PIPELINED:
            raise ValueError("too many requests before the answer to the first")
        super().on_message_begin()
        self._await_request()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += len(name) + len(value)
        if self._fields > HEAD_BYTES:  # trailers, too, come here
            raise ValueError("headers: too many bytes")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head = 0
        super().on_headers_complete()
        if not self.cycle.keep_alive:  # uvicorn would close at once, over what is left of the body
            self.cycle.keep_alive, self._final = True, self.cycle

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)
        if self.cycle.response_complete and self._body > _UNWANTED_BYTES:
            self._linger()

    def on_message_complete(self) -> None:
        if self._until and not self._lingering:
            self._until.cancel()
            self._until = None
        self._in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._final and self._final.response_complete:
            (self.transport.close if self._in_head else self._linger)()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 # uvicorn's words
        """Answer what is no HTTP as all other problems are answered."""
        self._refuse(400, "the request is not valid HTTP/1.1")

    def pause_writing(self) -> None:
        # The app is not told to wait, as uvicorn's does: it would hold its slot until a slow client has read.
        self._await_reader()

    def resume_writing(self) -> None:
        if self._writing:
            self._writing.cancel()
            self._writing = None

    def _await_reader(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._writing = self.loop.call_later(WRITE_SECONDS, self._unread_still)

    def _unread_still(self) -> None:
        """Cut off a client that has not read enough meanwhile; where more was sent to it, look again."""
        read = self._unread - self.transport.get_write_buffer_size()
        if 0 <= read < WRITE_SECONDS * BODY_RATE:
            self.transport.abort()
        else:
            self._await_reader()

    def _await_request(self) -> None:
        self._begun, self._body, self._fields = self.loop.time(), 0, 0
        if self._until:
            self._until.cancel()
        self._until = self.loop.call_later(READ_SECONDS, self._late)

    def _late(self) -> None:
        """Close a connection whose request does not come; wait on where its body does, or we are the ones who wait."""
        now = self.loop.time()
        due = now + 1.0 if self.flow.read_paused else self._begun + READ_SECONDS + self._body / BODY_RATE
        if due > now:
            self._until = self.loop.call_at(due, self._late)
            return
        self._until = None
        answered = self.cycle is not None and not self._in_head and self.cycle.response_started
        if answered:
            self.transport.close()
        else:
            self._refuse(408, f"the request took over {READ_SECONDS:.0f} seconds to come")

    def _refuse(self, status: int, detail: str, headers: bytes = b"") -> None:
        """Answer for the app, which may not have heard of the request, and close."""
        if self._lingering or self.transport.is_closing():
            return
        if isinstance(self.config, Config) and self.config.told:
            self.config.told.rejected(REASONS[status])
        body = problem_bytes(status, detail, begun=False)
        length = f"content-length: {len(body)}\r\n".encode()
        kind = f"content-type: {MEDIA_TYPE}\r\n".encode()
        self.transport.write(STATUS_LINE[status] + kind + length + headers + b"connection: close\r\n\r\n" + body)
        self._linger()

    def _linger(self) -> None:
        """Say that nothing more is sent, and close once the client has, or `LINGER_SECONDS` are over."""
        self._lingering = True
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self.transport.write_eof()
        if self._until:
            self._until.cancel()
        self._until = self.loop.call_later(LINGER_SECONDS, self.transport.close)


class Server(uvicorn.Server):
    """Ends in steps: not ready but answering for `config.drain_seconds`, then taking no more, then gone."""

    def __init__(self, config: Config, life: Life) -> None:
        super().__init__(config)
        self._life = life
        self._drain_seconds = config.drain_seconds
        self._ends_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end at the first signal; a second one does not wait for the drain."""
        if self._ends_at is None:
            now = time.monotonic()
            self._life.draining, self._life.until = True, now + SHUTDOWN_SECONDS
            self._ends_at = now + self._drain_seconds
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Say whether it is time to end."""
        drained = self._ends_at is not None and time.monotonic() >= self._ends_at
        return await super().on_tick(counter) or drained


def _allow_files(connections: int) -> None:
    """Raise the limit of open files, each connection being one, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 1024
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard > 0 else wanted, hard))
