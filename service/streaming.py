"""The response that sends an answer's events as they come about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from contextlib import suppress

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .answer import Event
from .events import PROBLEM, event_bytes, named_bytes

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class EventStream(StreamingResponse):
    """Send `events` as they come about; what they fail with becomes the last one, a problem.

    Each is worked out in a thread when the one before it is sent: no work on the event loop, no thread that waits
    for a slow reader, no queue that grows. Where the reader goes away, the work ends with the part that is under way.
    """

    media_type = "text/event-stream"

    def __init__(self, request: Request, events: Generator[Event, None, None]) -> None:
        """Work out the first event; what that raises is raised here, before anything is sent."""
        self._request = request
        self._events = events
        super().__init__(self._sent(next(events)), headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until all is said or the reader is gone; then let go of what is under way."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with suppress(ValueError):  # a thread is in the middle of it: it is closed when that lets go of it
                self._events.close()

    async def _sent(self, first: Event) -> AsyncIterator[bytes]:
        event: Event | None = first
        try:
            while event is not None:
                yield event_bytes(event)
                event = await run_in_threadpool(next, self._events, None)
        except Exception as error:  # noqa: BLE001 # answered as it would be anywhere else, but that 200 is said already
            yield named_bytes(PROBLEM, bytes((await self._problem(error)).body))

    async def _problem(self, error: Exception) -> Response:
        """Return what the application answers where `error` is raised."""
        handlers = self._request.app.exception_handlers
        kind = next(kind for kind in type(error).__mro__ if kind in handlers)
        response: Response = await handlers[kind](self._request, error)
        return response
