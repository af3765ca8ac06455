"""The HTTP service: routes as thin translations of `Querywright`'s methods."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, Body, Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import (
    CatalogError,
    ConflictError,
    InputError,
    MissingExtraError,
    NotFoundError,
    QuerywrightError,
    StorageError,
    UnavailableError,
    __version__,
)
from ..retrieval.passage import Document
from ..rewrite.query import Rewrite
from .answer import Answer
from .catalogs import MEDIA_TYPES, CatalogInfo, StoredCatalog
from .local import Querywright
from .metrics import CONTENT_TYPE, Metrics
from .schemas import (
    CollectionRequest,
    Count,
    DocumentsRequest,
    Info,
    Problem,
    QueryRequest,
    RewriteRequest,
    SearchRequest,
    first_problem,
    to_json,
)

_log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[QuerywrightError], int], ...] = (
    (CatalogError, 503),  # no catalog comes with a request: it is ours that is broken
    (InputError, 422),
    (NotFoundError, 404),
    (ConflictError, 409),
    (MissingExtraError, 503),
    (UnavailableError, 503),
    (StorageError, 503),
    (QuerywrightError, 503),
)
_TITLES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Changed meanwhile",
    413: "Body too large",
    422: "Invalid input",
    503: "Unavailable",
    507: "Storage full",
}
_EXAMPLES: Any = {
    "missing_entity": {
        "summary": "这个功能怎么用?",
        "value": {
            "query": "这个功能怎么用?",
            "history": [{"role": "user", "text": "听说新版上线了客户画像，是做什么的？"}],
            "profile": {"product": "CRM 系统"},
            "now": "2024-07-15T10:00:00+08:00",
        },
    },
    "vague_dimension": {
        "summary": "show me the numbers",
        "value": {
            "query": "show me the numbers",
            "profile": {"region": "East China"},
            "now": "2024-07-15T10:00:00+08:00",
        },
    },
    "ambiguity": {
        "summary": "苹果最新消息",
        "value": {
            "query": "苹果最新消息",
            "profile": {"interests": ["美股", "科技股"], "fiscal_year_start": "10-01"},
            "now": "2024-07-15T10:00:00+08:00",
        },
    },
}

_PROBLEM: Any = {"application/problem+json": {"schema": Problem.model_json_schema()}}
_PROBLEMS: Any = {
    "4XX": {"description": "Something in the request is wrong: what and where", "content": _PROBLEM},
    "503": {"description": "Busy, or a part is down: try again later", "content": _PROBLEM},
}


class _StrictRequest(Request):
    """A request whose JSON is read strictly: no NaN, no lone surrogates, no bottomless nesting."""

    async def json(self) -> Any:  # noqa: ANN401 # as the class above has it
        """Read the body as JSON; what is wrong with it raises ValueError, which FastAPI answers with 422."""
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class _StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return strict


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
    app.include_router(_routes(querywright))
    app.add_middleware(_BodyLimit, limit=querywright.settings.max_body_mb * 2**20)
    app.add_exception_handler(QuerywrightError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_crash)
    return app


def _routes(querywright: Querywright) -> APIRouter:
    router = APIRouter(route_class=_StrictRoute, responses=_PROBLEMS)
    metrics = Metrics()
    _asking(router, querywright, metrics)
    _collections(router, querywright)
    _documents(router, querywright)
    _catalogs(router, querywright)

    @router.get("/healthz", summary="Is the process alive?")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/metrics", summary="What it did, for Prometheus", response_class=PlainTextResponse)
    async def numbers() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @router.get("/readyz", summary="Can it answer?")
    def readyz() -> dict[str, str]:
        querywright.collection_store.names()
        return {"status": "ready"}

    return router


def _asking(router: APIRouter, querywright: Querywright, metrics: Metrics) -> None:
    @router.post("/v1/query", response_model=Answer, summary="Rewrite and search")
    def query(body: Annotated[QueryRequest, Body(openapi_examples=_EXAMPLES)]) -> Response:
        answer = querywright.query(
            body.to_query(),
            collection=body.collection,
            k=body.k,
            legs=body.legs,
            filter=body.filter,
            rewriter=body.rewriter,
            budget_ms=body.budget_ms,
        )
        metrics.answered(answer)
        return _json(answer)

    @router.post("/v1/search", response_model=Answer, summary="Search with the text as it is")
    def search(
        body: Annotated[SearchRequest, Body(examples=[{"query": "客户画像 操作指南", "k": 5}])],
    ) -> Response:
        found = querywright.search(body.query, collection=body.collection, k=body.k, legs=body.legs, filter=body.filter)
        metrics.answered(found)
        return _json(found)

    @router.post("/v1/rewrite", response_model=Rewrite, summary="Rewrite without searching")
    def rewrite(
        body: Annotated[RewriteRequest, Body(examples=[_EXAMPLES["ambiguity"]["value"] | {"collection": "demo"}])],
    ) -> Response:
        made = querywright.rewrite(
            body.to_query(), collection=body.collection, rewriter=body.rewriter, budget_ms=body.budget_ms
        )
        metrics.rewritten(made)
        return _json(made)


def _collections(router: APIRouter, querywright: Querywright) -> None:
    @router.get("/v1/collections", response_model=list[Info], summary="List the collections")
    def collections() -> Response:
        return _json(querywright.collections())

    @router.post("/v1/collections", response_model=Info, status_code=201, summary="Make a collection")
    def create(body: Annotated[CollectionRequest, Body(examples=[{"name": "handbook"}])]) -> Response:
        return _json(querywright.create_collection(body.name), status=201)

    @router.delete("/v1/collections/{name}", status_code=204, summary="Drop a collection")
    def drop(name: str) -> Response:
        querywright.drop_collection(name)
        return Response(status_code=204)


def _documents(router: APIRouter, querywright: Querywright) -> None:
    path = "/v1/collections/{name}/documents"

    @router.post(path, response_model=Count, summary="Add or replace documents")
    def upsert(
        name: str,
        body: Annotated[
            DocumentsRequest,
            Body(examples=[{"documents": [{"doc_id": "guide", "title": "操作指南", "text": "打开客户列表。"}]}]),
        ],
    ) -> Response:
        documents = [_document(model, i) for i, model in enumerate(body.documents)]
        return _json(Count(count=querywright.upsert(name, documents)).model_dump())

    @router.get(path, response_model=list[Document], summary="List documents by id")
    def documents(name: str, after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        return _json(querywright.documents(name, after=after, limit=limit))

    @router.get("/v1/collections/{name}/document", response_model=Document, summary="Get one document")
    def document(name: str, doc_id: str) -> Response:
        return _json(querywright.document(name, doc_id))

    @router.delete(path, response_model=Count, summary="Delete documents by id")
    def delete(name: str, doc_id: Annotated[list[str], Query(max_length=1000)]) -> Response:
        return _json(Count(count=querywright.delete(name, doc_id)).model_dump())

    @router.post(
        "/v1/collections/{name}/flush",
        status_code=204,
        response_class=Response,
        summary="Make the index as a clean build would, and save it",
    )
    def flush(name: str) -> None:
        querywright.flush(name)


_CATALOG_EXAMPLES = {
    "toml": 'name = "shop"\n\n[[entities]]\nid = "crm"\ntype = "product"\nname = "CRM"\naliases = ["客户系统"]\n',
    "yaml": "name: shop\nentities:\n  - {id: crm, type: product, name: CRM, aliases: [客户系统]}\n",
    "csv": "id,type,name,aliases\ncrm,product,CRM,客户系统\n",
}
_CATALOG: Any = {
    media_type: {"schema": {"type": "string"}, "example": _CATALOG_EXAMPLES[kind]}
    for kind, media_type in MEDIA_TYPES.items()
}
_VERSIONED: Any = {"ETag": {"description": "the version, in quotes", "schema": {"type": "string"}}}


def _catalogs(router: APIRouter, querywright: Querywright) -> None:
    path = "/v1/collections/{name}/catalog"

    @router.get(
        path,
        response_class=Response,
        responses={200: {"description": "As it was written", "content": _CATALOG, "headers": _VERSIONED}},
        summary="Get a collection's own catalog",
    )
    def catalog(name: str) -> Response:
        stored = querywright.catalog(name)
        return _versioned(Response(stored.text, media_type=MEDIA_TYPES[stored.format]), stored)

    @router.put(
        path,
        response_model=CatalogInfo,
        openapi_extra={"requestBody": {"required": True, "content": _CATALOG}},
        summary="Give a collection a catalog of its own, in place of the one it has",
    )
    def put_catalog(
        name: str,
        text: Annotated[str, Depends(_text)],
        content_type: Annotated[str, Header(include_in_schema=False)] = "",
        if_match: Annotated[str | None, Header(description="the version that is to be replaced, in quotes")] = None,
    ) -> Response:
        expected = None if if_match is None else if_match.removeprefix("W/").strip('"')
        try:
            put = querywright.put_catalog(name, text, _format(content_type), expected)
        except CatalogError as error:
            return problem(422, str(error))  # which line is wrong, and what stands there
        except ConflictError as error:
            return problem(412, str(error))
        return _versioned(_json(put), put)

    @router.delete(path, status_code=204, response_class=Response, summary="Take a collection's own catalog away")
    def delete_catalog(name: str) -> None:
        querywright.delete_catalog(name)


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"body: byte {error.start}: expected UTF-8 text") from error


def _format(content_type: str) -> str:
    media_type = content_type.partition(";")[0].strip().lower()
    found = next((name for name, known in MEDIA_TYPES.items() if known == media_type), None)
    if found is None:
        raise InputError(f"content-type: expected one of {', '.join(MEDIA_TYPES.values())}")
    return found


def _versioned(response: Response, catalog: StoredCatalog | CatalogInfo) -> Response:
    response.headers["etag"] = f'"{catalog.version}"'
    return response


def _document(model: Any, index: int) -> Document:  # noqa: ANN401 # DocumentModel
    try:
        document: Document = model.to_document()
    except InputError as error:
        raise InputError(f"documents[{index}]: {error}") from error
    return document


def _json(value: object, status: int = 200) -> Response:
    return Response(to_json(value), status_code=status, media_type="application/json")


# --------------------------------------------------------------------------------------- problems


def problem(status: int, detail: str) -> Response:
    """Return an error as RFC 9457 has it: small, and without anything of the request's body."""
    body = {"title": _TITLES.get(status, "Error"), "status": status, "detail": detail[:1000]}
    headers = {"retry-after": "1"} if status == 503 else {}
    return Response(orjson.dumps(body), status_code=status, media_type="application/problem+json", headers=headers)


async def _on_error(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    detail = str(error)
    if status >= 500:
        _log.warning("%s: %s", type(error).__name__, error)
    if isinstance(error, StorageError) and "disk is full" in detail:
        status = 507
    if isinstance(error, (StorageError, UnavailableError, CatalogError)):
        detail = "what is stored cannot be read or written now; the service's log says why"  # and in which file
    elif isinstance(error, (NotFoundError, ConflictError)) and not request.path_params:
        # The name came in the body, of which nothing goes back; a name in the path is the caller's own.
        found = isinstance(error, ConflictError)
        detail = f"collection: there is {'one already, or another folder,' if found else 'none'} of that name"
    return problem(status, detail)


async def _on_invalid(_request: Request, error: Exception) -> Response:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    if errors[0]["type"] == "json_invalid":
        return problem(422, "body: expected valid JSON in UTF-8")
    if errors[0]["loc"] == ("body",):
        return problem(422, "body: expected a JSON object, sent as content-type: application/json")
    # Each place begins with where in the request it is: body, query, path.
    return problem(422, first_problem([{**one, "loc": one["loc"][1:]} for one in errors], remote=True))


async def _on_http(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    if status in {404, 405}:
        return problem(status, "see /docs for the routes there are")
    return problem(status, error.detail if isinstance(error, _TooLarge) else _TITLES.get(status, "Error"))


async def _on_crash(_request: Request, error: Exception) -> Response:
    """Answer for a fault of ours as unavailable; the log has the rest."""
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return problem(503, "the request could not be answered; the service's log says why")


class _TooLarge(HTTPException):  # FastAPI passes this class on, others it takes for broken JSON
    def __init__(self, limit: int) -> None:
        super().__init__(413, f"body: at most {limit:,} bytes are taken")


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
                raise _TooLarge(self._limit)
            return message

        return counted
