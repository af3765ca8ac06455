"""The routes of the HTTP service: thin translations of `Querywright`'s methods."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextlib import closing
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from fastapi.routing import APIRoute

from .. import CatalogError, ConflictError, InputError
from ..retrieval.passage import Document
from ..rewrite.query import Rewrite
from .answer import Answer, Event
from .catalogs import MEDIA_TYPES, CatalogInfo, StoredCatalog
from .exchange import current
from .local import Querywright
from .metrics import Metrics
from .problems import problem
from .schemas import (
    CollectionRequest,
    Count,
    DocumentsRequest,
    Info,
    Problem,
    QueryRequest,
    RewriteRequest,
    SearchOptions,
    SearchRequest,
    to_json,
)
from .serving import Serving
from .streaming import EventStream

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

_STREAM = """Server-sent events: a `stage` for each stage (a Stage), `hits` (`{"hits": [Hit]}`, what the query as it was
typed has found, early), `rewrite` (the Rewrite) and last `answer` (the Answer, as `POST /v1/query` gives it), or in its
place `problem` (a Problem), if something fails on the way. The data of each is JSON of one line."""
_EVENTS: Any = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'event: stage\ndata: {"stage":"search_original","seconds":0.004,"note":"2 lists","start":0.0}\n\n'
        'event: hits\ndata: {"hits":[]}\n\n'
        'event: rewrite\ndata: {"original":"这个功能怎么用?","rewrite":"客户画像怎么用?","decision":"rewrite"}\n\n'
        'event: answer\ndata: {"hits":[],"rewrite":{},"degraded":null,"trace":[]}\n\n',
    }
}

_PROBLEM: Any = {"application/problem+json": {"schema": Problem.model_json_schema()}}
PROBLEMS: Any = {
    "4XX": {"description": "Something in the request is wrong: what and where", "content": _PROBLEM},
    "503": {"description": "Busy, or a part is down: try again later", "content": _PROBLEM},
}
KEYED: Any = PROBLEMS | {
    "401": {"description": "The key is missing or unknown", "content": _PROBLEM},
    "403": {"description": "The key is not good for this, or another site's page asks", "content": _PROBLEM},
}
_WRITING: Any = {"507": {"description": "The disk is full: searching and deleting go on", "content": _PROBLEM}}


_FILE: Any = {
    "application/octet-stream": {
        "schema": {"type": "string", "format": "binary"},
        "example": "# 操作指南\n\n打开客户列表。",
    }
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


def routes(serving: Serving, metrics: Metrics) -> APIRouter:
    """Return the routes over what `serving` holds, which tell `metrics` of what they answered."""
    router = APIRouter(route_class=_StrictRoute, responses=KEYED)
    _asking(router, serving, metrics)
    _collections(router, serving)
    _documents(router, serving)
    _catalogs(router, serving)

    return router


def _asking(router: APIRouter, serving: Serving, metrics: Metrics) -> None:
    def tell(answer: Answer, body: SearchOptions, asked: Querywright) -> None:
        metrics.answered(answer)
        if exchange := current():
            exchange.answered(answer, body.collection or asked.settings.default_collection, body.k)

    @router.post("/v1/query", response_model=Answer, summary="Rewrite and search")
    def query(body: Annotated[QueryRequest, Body(openapi_examples=_EXAMPLES)]) -> Response:
        asked = serving.now
        answer = asked.query(body.to_query(), **_options(body))
        tell(answer, body, asked)
        return _json(answer)

    @router.post(
        "/v1/query/stream",
        status_code=200,
        response_class=EventStream,
        responses={200: {"description": _STREAM, "content": _EVENTS}},
        summary="Rewrite and search, and tell of each part as soon as it is there",
    )
    def query_stream(request: Request, body: Annotated[QueryRequest, Body(openapi_examples=_EXAMPLES)]) -> EventStream:
        asked = serving.now
        events = asked.query_stream(body.to_query(), **_options(body))
        return EventStream(request, _told(events, partial(tell, body=body, asked=asked)))

    @router.post("/v1/search", response_model=Answer, summary="Search with the text as it is")
    def search(
        body: Annotated[SearchRequest, Body(examples=[{"query": "客户画像 操作指南", "k": 5}])],
    ) -> Response:
        asked = serving.now
        found = asked.search(body.query, collection=body.collection, k=body.k, legs=body.legs, filter=body.filter)
        tell(found, body, asked)
        return _json(found)

    @router.post("/v1/rewrite", response_model=Rewrite, summary="Rewrite without searching")
    def rewrite(
        body: Annotated[RewriteRequest, Body(examples=[_EXAMPLES["ambiguity"]["value"] | {"collection": "demo"}])],
    ) -> Response:
        asked = serving.now
        made = asked.rewrite(
            body.to_query(), collection=body.collection, rewriter=body.rewriter, budget_ms=body.budget_ms
        )
        metrics.rewritten(made)
        if exchange := current():
            exchange.rewritten(made, body.collection or asked.settings.default_collection)
        return _json(made)


def _options(body: QueryRequest) -> dict[str, Any]:
    """Return what a query says besides itself, by the names that `Querywright.query` has for it."""
    return body.model_dump(include={"collection", "k", "legs", "filter", "rewriter", "budget_ms"})


def _told(events: Generator[Event, None, None], tell: Callable[[Answer], None]) -> Generator[Event, None, None]:
    """Pass events on, and `tell` the answer."""
    with closing(events):
        for event in events:
            if isinstance(event, Answer):
                tell(event)
            yield event


def _collections(router: APIRouter, serving: Serving) -> None:
    @router.get("/v1/collections", response_model=list[Info], summary="List the collections")
    def collections() -> Response:
        return _json(serving.now.collections())

    @router.post(
        "/v1/collections", response_model=Info, status_code=201, responses=_WRITING, summary="Make a collection"
    )
    def create(body: Annotated[CollectionRequest, Body(examples=[{"name": "handbook"}])]) -> Response:
        return _json(serving.now.create_collection(body.name), status=201)

    @router.delete("/v1/collections/{name}", status_code=204, summary="Drop a collection")
    def drop(name: str) -> Response:
        serving.now.drop_collection(name)
        return Response(status_code=204)


def _documents(router: APIRouter, serving: Serving) -> None:
    path = "/v1/collections/{name}/documents"

    @router.post(path, response_model=Count, responses=_WRITING, summary="Add or replace documents")
    def upsert(
        name: str,
        body: Annotated[
            DocumentsRequest,
            Body(examples=[{"documents": [{"doc_id": "guide", "title": "操作指南", "text": "打开客户列表。"}]}]),
        ],
    ) -> Response:
        documents = [_document(model, i) for i, model in enumerate(body.documents)]
        return _json(Count(count=serving.now.upsert(name, documents)).model_dump())

    @router.post(
        "/v1/collections/{name}/files",
        response_model=Count,
        openapi_extra={"requestBody": {"required": True, "content": _FILE}},
        responses=_WRITING,
        summary="Add the documents of one file",
    )
    def add_file(
        name: str,
        data: Annotated[bytes, Depends(_bytes)],
        file: Annotated[str, Query(description="its name: .md, .markdown, .txt or .jsonl, perhaps with folders")],
    ) -> Response:
        return _json(Count(count=serving.now.add_file(name, file, data)).model_dump())

    @router.get(path, response_model=list[Document], summary="List documents by id")
    def documents(name: str, after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        return _json(serving.now.documents(name, after=after, limit=limit))

    @router.get("/v1/collections/{name}/document", response_model=Document, summary="Get one document")
    def document(name: str, doc_id: str) -> Response:
        return _json(serving.now.document(name, doc_id))

    @router.delete(path, response_model=Count, summary="Delete documents by id")
    def delete(name: str, doc_id: Annotated[list[str], Query(max_length=1000)]) -> Response:
        return _json(Count(count=serving.now.delete(name, doc_id)).model_dump())

    @router.post(
        "/v1/collections/{name}/flush",
        status_code=204,
        response_class=Response,
        responses=_WRITING,
        summary="Make the index as a clean build would, and save it",
    )
    def flush(name: str) -> None:
        serving.now.flush(name)


async def _bytes(request: Request) -> bytes:
    return await request.body()


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


def _catalogs(router: APIRouter, serving: Serving) -> None:
    path = "/v1/collections/{name}/catalog"

    @router.get(
        path,
        response_class=Response,
        responses={200: {"description": "As it was written", "content": _CATALOG, "headers": _VERSIONED}},
        summary="Get a collection's own catalog",
    )
    def catalog(name: str) -> Response:
        stored = serving.now.catalog(name)
        return _versioned(Response(stored.text, media_type=MEDIA_TYPES[stored.format]), stored)

    @router.put(
        path,
        response_model=CatalogInfo,
        openapi_extra={"requestBody": {"required": True, "content": _CATALOG}},
        responses=_WRITING,
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
            put = serving.now.put_catalog(name, text, _format(content_type), expected)
        except CatalogError as error:
            return problem(422, str(error))  # which line is wrong, and what stands there
        except ConflictError as error:
            return problem(412, str(error))
        return _versioned(_json(put), put)

    @router.delete(path, status_code=204, response_class=Response, summary="Take a collection's own catalog away")
    def delete_catalog(name: str) -> None:
        serving.now.delete_catalog(name)


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
