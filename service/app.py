"""The HTTP service: the routes, and what stands around them."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from .. import QuerywrightError, __version__
from .access import Access
from .admission import Admission, Life
from .keys import Keys
from .local import Querywright
from .metrics import Metrics
from .observing import observe
from .operations import operations
from .playground import router as pages
from .problems import answer_problems
from .routes import routes
from .serving import Serving
from .settings import MOST_THREADS
from .traces import Traces

_FLUSH_SECONDS = 5.0
"""So long the end of a service that was told no time waits for indexes to be saved; the next start makes the others."""


def create_app(querywright: Querywright, keys: Keys | None = None, life: Life | None = None) -> FastAPI:
    """Return the service over `querywright`, which it closes at shutdown.

    Without `keys` whoever can reach the service may do everything: listen on loopback only. `life` is told when the
    end begins; `app.state.serving` reads the settings anew, `app.state.metrics` counts.
    """
    life = life or Life()
    serving = Serving(querywright)
    metrics = Metrics(serving)
    settings = querywright.settings
    traces = Traces.from_environment(queries=settings.log_queries)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # All work runs in this pool, never on the event loop; how much of it at once, `Admission` says.
        anyio.to_thread.current_default_thread_limiter().total_tokens = MOST_THREADS
        serving.catch_up()
        yield
        _end(serving.now, traces, life)

    app = (FastAPI if keys is None else _Guarded)(
        title="Querywright",
        version=__version__,
        summary="Rewrites what people type into queries that a search engine can answer, and retrieves with them.",
        lifespan=lifespan,
        docs_url=None,  # `pages` has one that fetches nothing from elsewhere
        redoc_url=None,
        # `Traces` tells less of requests.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in (routes(serving, metrics), operations(serving, metrics, life), pages()):
        app.router.routes += router.routes  # `include_router` would look in each of them for every request
    # The last one added is the first that a request meets.
    app.add_middleware(Admission, settings=lambda: serving.now.settings, life=life, told=metrics)
    app.add_middleware(Access, told=metrics, keys=keys, origins=settings.cors_origins)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["etag", "retry-after", "x-request-id"],
        )
    answer_problems(app)
    app.state.serving, app.state.metrics = serving, metrics
    observe(app, metrics, traces, queries=settings.log_queries)  # last: around everything
    return app


class _Guarded(FastAPI):
    """A service whose documentation says that it asks for keys; `Access` is what asks."""

    def openapi(self) -> dict[str, Any]:
        schema = super().openapi()
        schema.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        return schema | {"security": [{"key": []}]}


def _end(querywright: Querywright, traces: Traces | None, life: Life) -> None:
    """Save what can be saved in time, and close."""
    left = _FLUSH_SECONDS if life.until is None else max(0.1, life.until - time.monotonic())
    closing = threading.Thread(target=_close, args=(querywright, traces), name="close", daemon=True)
    closing.start()
    closing.join(left)


def _close(querywright: Querywright, traces: Traces | None) -> None:
    with suppress(QuerywrightError):
        querywright.collection_store.flush()
    querywright.close()
    if traces:
        traces.close()
