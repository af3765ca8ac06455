"""The HTTP service: the routes, and what stands around them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio.to_thread
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import QuerywrightError, __version__
from .local import Querywright
from .problems import TooLargeError, answer_problems
from .routes import routes


def create_app(querywright: Querywright) -> FastAPI:
    """Return the service over `querywright`, which it closes at shutdown."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # All work runs in this one bounded pool, never on the event loop.
        anyio.to_thread.current_default_thread_limiter().total_tokens = querywright.settings.threads
        threading.Thread(target=querywright.catch_up, name="catch up", daemon=True).start()
        yield
        with suppress(QuerywrightError):  # the next start builds what was not saved
            querywright.collection_store.flush()
        querywright.close()

    app = FastAPI(
        title="Querywright",
        version=__version__,
        summary="Rewrites what people type into queries that a search engine can answer, and retrieves with them.",
        lifespan=lifespan,
    )
    app.include_router(routes(querywright))
    app.add_middleware(_BodyLimit, limit=querywright.settings.max_body_mb * 2**20)
    answer_problems(app)
    return app


class _BodyLimit:
    """Refuse a body over `limit` bytes, counted as they come in, whatever its headers say."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, self._counted(receive) if scope["type"] == "http" else receive, send)

    def _counted(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise TooLargeError(self._limit)
            return message

        return counted
