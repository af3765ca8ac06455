"""The routes for those who run the service: is it alive, is it ready, what did it do, read the settings anew."""

from __future__ import annotations

from typing import Any

import anyio
from fastapi import APIRouter, Response
from starlette.responses import PlainTextResponse

from .. import CatalogError
from .admission import Life
from .metrics import CONTENT_TYPE, Metrics
from .problems import problem
from .routes import KEYED, PROBLEMS
from .schemas import Reloaded
from .serving import Serving


def operations(serving: Serving, metrics: Metrics, life: Life) -> APIRouter:
    """Return the routes; but for the last, none of them waits for a slot."""
    router = APIRouter(responses=PROBLEMS)
    asked_for_keys: Any = {"responses": KEYED}
    # Readiness has a thread of its own: a service whose threads are all at work is ready.
    looking = anyio.CapacityLimiter(1)

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", summary="Is the process alive?")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.head("/readyz", response_model=None, include_in_schema=False)
    @router.get("/readyz", response_model=dict[str, str], summary="Can it answer?", **asked_for_keys)
    async def readyz() -> Response | dict[str, str]:
        if life.draining:
            return problem(503, "the service is about to end")
        await anyio.to_thread.run_sync(serving.now.collection_store.names, limiter=looking)
        return {"status": "ready"}

    @router.get("/metrics", summary="What it did, for Prometheus", response_class=PlainTextResponse, **asked_for_keys)
    async def numbers() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @router.post(
        "/v1/reload", response_model=Reloaded, summary="Read settings, prompts and catalogs anew", **asked_for_keys
    )
    def reload() -> Reloaded | Response:
        try:
            problems = serving.reload()
        except CatalogError as error:
            return problem(422, str(error))  # whoever administers the service may read its paths
        return Reloaded(problems=problems)

    return router
