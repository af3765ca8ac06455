"""The SDK over HTTP: the same methods, types and errors as in process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import orjson

from .. import (
    ConflictError,
    InputError,
    NotFoundError,
    QuerywrightError,
    ServiceError,
    StorageError,
    UnavailableError,
)
from ..retrieval.passage import Document, check_doc_id
from ..rewrite.query import Answered, Query, Rewrite, Turn
from .answer import Answer
from .catalogs import MEDIA_TYPES, CatalogInfo, StoredCatalog, catalog_bytes, check_format, check_version
from .schemas import ANSWER, DOCUMENT, DOCUMENTS, INFOS, REWRITE, Info, QueryModel, to_json

DEFAULT_URL = "http://127.0.0.1:8000"

_URL_CHARS = 30_000
_BATCH = 1_000

_ERRORS: dict[int, type[QuerywrightError]] = {
    400: InputError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    413: InputError,
    422: InputError,
    429: UnavailableError,
    503: UnavailableError,
    507: StorageError,
}


class Client:
    """Talk to a Querywright service. Use as a context manager, or call `close`.

    Raises what the in-process SDK raises; UnavailableError when the service cannot be reached.
    """

    def __init__(self, url: str = DEFAULT_URL, *, timeout: float = 60.0) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def query(  # as Querywright.query
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | Sequence[str] | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Answer:
        """Rewrite and search: the original at once, the rewrite after it, both fused; one collection or several."""
        body = query_row(query, history, profile, now, clarification)
        body |= search_row(collection, k, legs, filter) | {"rewriter": rewriter, "budget_ms": budget_ms}
        return ANSWER.validate_json(self._send("POST", "/v1/query", body))

    def search(
        self,
        query: str,
        *,
        collection: str | Sequence[str] | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
    ) -> Answer:
        """Search with the text as it is, one collection or several."""
        body = {"query": query} | search_row(collection, k, legs, filter)
        return ANSWER.validate_json(self._send("POST", "/v1/search", body))

    def rewrite(  # as Querywright.rewrite
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Rewrite:
        """Rewrite without searching, with the catalog of `collection`, else of the default one if it is there."""
        body = query_row(query, history, profile, now, clarification)
        body |= {"collection": collection, "rewriter": rewriter, "budget_ms": budget_ms}
        return REWRITE.validate_json(self._send("POST", "/v1/rewrite", body))

    def collections(self) -> list[Info]:
        """Return every collection with the number of its documents, by name; None where it cannot be read."""
        return INFOS.validate_json(self._send("GET", "/v1/collections"))

    def create_collection(self, name: str) -> Info:
        """Make an empty collection. Raises ConflictError when there is one of that name."""
        return Info(**orjson.loads(self._send("POST", "/v1/collections", {"name": name})))

    def drop_collection(self, name: str) -> None:
        """Delete a collection and all its documents. Raises NotFoundError when there is none."""
        self._send("DELETE", collection_path(name))

    def upsert(self, collection: str, documents: Iterable[Document | Mapping[str, Any]]) -> int:
        """Add or replace documents; return how many. When it returns, they are on disk and findable."""
        body = {"documents": list(documents)}
        return count_of(self._send("POST", collection_path(collection) + "/documents", body))

    def add_file(self, collection: str, name: str, data: bytes) -> int:
        """Add the documents of one file; return how many. When it returns, they are on disk and findable.

        `name` says what it is, .md, .markdown, .txt or .jsonl; that of a text, folders and all, becomes its doc_id.
        Raises InputError that begins with the file's name and the line that is wrong.
        """
        path, params = collection_path(collection) + "/files", {"file": name}
        return count_of(self._send("POST", path, data, params))

    def document(self, collection: str, doc_id: str) -> Document:
        """Return one document. Raises NotFoundError when there is none of that id."""
        path = collection_path(collection) + "/document"
        return DOCUMENT.validate_json(self._send("GET", path, params={"doc_id": doc_id}))

    def documents(self, collection: str, *, after: str | None = None, limit: int = 100) -> list[Document]:
        """Return documents in the order of their ids, those after the id `after`."""
        params = {"limit": limit} | ({"after": after} if after else {})
        path = collection_path(collection) + "/documents"
        return DOCUMENTS.validate_json(self._send("GET", path, params=params))

    def delete(self, collection: str, doc_ids: Iterable[str]) -> int:
        """Delete documents by id; return how many there were."""
        path = collection_path(collection) + "/documents"
        return sum(count_of(self._send("DELETE", path, params={"doc_id": some})) for some in batches(doc_ids))

    def flush(self, collection: str) -> None:
        """Make a collection's index as a clean build would, and save it; searches go on meanwhile."""
        self._send("POST", collection_path(collection) + "/flush")

    def catalog(self, collection: str) -> StoredCatalog:
        """Return a collection's own catalog as it was written. Raises NotFoundError when it has none."""
        return stored_catalog(self._answered("GET", collection_path(collection) + "/catalog"))

    def put_catalog(
        self,
        collection: str,
        text: str,
        format: str = "toml",  # noqa: A002 # the word of the field
        expected: str | None = None,
    ) -> CatalogInfo:
        """Give a collection a catalog of its own, written as toml, yaml or csv; the next query uses it.

        Raises InputError that names the line and entry that is wrong, and then nothing changes; ConflictError when
        `expected` is given and the catalog in place has another version, or there is none.
        """
        path, headers = collection_path(collection) + "/catalog", catalog_headers(format, expected)
        answer = self._answered("PUT", path, catalog_bytes(text), headers=headers)
        return CatalogInfo(**orjson.loads(answer.content))

    def delete_catalog(self, collection: str) -> None:
        """Take a collection's own catalog away. Raises NotFoundError when it has none."""
        self._send("DELETE", collection_path(collection) + "/catalog")

    def _send(self, method: str, path: str, body: object = None, params: Mapping[str, Any] | None = None) -> bytes:
        return self._answered(method, path, body, params).content

    def _answered(
        self,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return checked(self._http.send(request(self._http, method, path, body, params, headers)))
        except httpx.TransportError as error:
            raise unreachable(error) from error


class AsyncClient:
    """`Client` for asyncio: the same methods, awaited."""

    def __init__(self, url: str = DEFAULT_URL, *, timeout: float = 60.0) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def query(  # as Querywright.query
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | Sequence[str] | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Answer:
        """Rewrite and search: the original at once, the rewrite after it, both fused; one collection or several."""
        body = query_row(query, history, profile, now, clarification)
        body |= search_row(collection, k, legs, filter) | {"rewriter": rewriter, "budget_ms": budget_ms}
        return ANSWER.validate_json(await self._send("POST", "/v1/query", body))

    async def search(
        self,
        query: str,
        *,
        collection: str | Sequence[str] | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
    ) -> Answer:
        """Search with the text as it is, one collection or several."""
        body = {"query": query} | search_row(collection, k, legs, filter)
        return ANSWER.validate_json(await self._send("POST", "/v1/search", body))

    async def rewrite(  # as Querywright.rewrite
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Rewrite:
        """Rewrite without searching, with the catalog of `collection`, else of the default one if it is there."""
        body = query_row(query, history, profile, now, clarification)
        body |= {"collection": collection, "rewriter": rewriter, "budget_ms": budget_ms}
        return REWRITE.validate_json(await self._send("POST", "/v1/rewrite", body))

    async def collections(self) -> list[Info]:
        """Return every collection with the number of its documents, by name; None where it cannot be read."""
        return INFOS.validate_json(await self._send("GET", "/v1/collections"))

    async def create_collection(self, name: str) -> Info:
        """Make an empty collection. Raises ConflictError when there is one of that name."""
        return Info(**orjson.loads(await self._send("POST", "/v1/collections", {"name": name})))

    async def drop_collection(self, name: str) -> None:
        """Delete a collection and all its documents. Raises NotFoundError when there is none."""
        await self._send("DELETE", collection_path(name))

    async def upsert(self, collection: str, documents: Iterable[Document | Mapping[str, Any]]) -> int:
        """Add or replace documents; return how many. When it returns, they are on disk and findable."""
        body = {"documents": list(documents)}
        return count_of(await self._send("POST", collection_path(collection) + "/documents", body))

    async def add_file(self, collection: str, name: str, data: bytes) -> int:
        """Add the documents of one file; return how many. When it returns, they are on disk and findable.

        `name` says what it is, .md, .markdown, .txt or .jsonl; that of a text, folders and all, becomes its doc_id.
        Raises InputError that begins with the file's name and the line that is wrong.
        """
        path, params = collection_path(collection) + "/files", {"file": name}
        return count_of(await self._send("POST", path, data, params))

    async def document(self, collection: str, doc_id: str) -> Document:
        """Return one document. Raises NotFoundError when there is none of that id."""
        path = collection_path(collection) + "/document"
        return DOCUMENT.validate_json(await self._send("GET", path, params={"doc_id": doc_id}))

    async def documents(self, collection: str, *, after: str | None = None, limit: int = 100) -> list[Document]:
        """Return documents in the order of their ids, those after the id `after`."""
        params = {"limit": limit} | ({"after": after} if after else {})
        path = collection_path(collection) + "/documents"
        return DOCUMENTS.validate_json(await self._send("GET", path, params=params))

    async def delete(self, collection: str, doc_ids: Iterable[str]) -> int:
        """Delete documents by id; return how many there were."""
        path = collection_path(collection) + "/documents"
        return sum([count_of(await self._send("DELETE", path, params={"doc_id": some})) for some in batches(doc_ids)])

    async def flush(self, collection: str) -> None:
        """Make a collection's index as a clean build would, and save it; searches go on meanwhile."""
        await self._send("POST", collection_path(collection) + "/flush")

    async def catalog(self, collection: str) -> StoredCatalog:
        """Return a collection's own catalog as it was written. Raises NotFoundError when it has none."""
        return stored_catalog(await self._answered("GET", collection_path(collection) + "/catalog"))

    async def put_catalog(
        self,
        collection: str,
        text: str,
        format: str = "toml",  # noqa: A002 # the word of the field
        expected: str | None = None,
    ) -> CatalogInfo:
        """Give a collection a catalog of its own, written as toml, yaml or csv; the next query uses it.

        Raises InputError that names the line and entry that is wrong, and then nothing changes; ConflictError when
        `expected` is given and the catalog in place has another version, or there is none.
        """
        path, headers = collection_path(collection) + "/catalog", catalog_headers(format, expected)
        answer = await self._answered("PUT", path, catalog_bytes(text), headers=headers)
        return CatalogInfo(**orjson.loads(answer.content))

    async def delete_catalog(self, collection: str) -> None:
        """Take a collection's own catalog away. Raises NotFoundError when it has none."""
        await self._send("DELETE", collection_path(collection) + "/catalog")

    async def _send(
        self, method: str, path: str, body: object = None, params: Mapping[str, Any] | None = None
    ) -> bytes:
        return (await self._answered(method, path, body, params)).content

    async def _answered(
        self,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return checked(await self._http.send(request(self._http, method, path, body, params, headers)))
        except httpx.TransportError as error:
            raise unreachable(error) from error


# ------------------------------------------------------- what both clients say and understand alike


def query_row(
    query: str | Query | Mapping[str, Any],
    history: Sequence[Any] | None,
    profile: Mapping[str, Any] | None,
    now: datetime | str | None,
    clarification: Answered | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a query as JSON has it."""
    if isinstance(query, Query):
        row: dict[str, Any] = {
            "query": query.query,
            "history": query.history,
            "profile": query.profile,
            "now": query.now,
            "id": query.id,
            "clarification": query.clarification,
        }
    else:
        row = dict(query) if isinstance(query, Mapping) else {"query": query}
        row = {key: value for key, value in row.items() if key in QueryModel.model_fields}  # others are ignored
    given = {"history": history, "profile": profile, "now": now, "clarification": clarification}
    row |= {key: value for key, value in given.items() if value is not None}
    if isinstance(row.get("clarification"), Answered):
        row["clarification"] = asdict(row["clarification"])
    if isinstance(row.get("now"), datetime):
        row["now"] = row["now"].isoformat()
    if isinstance(row.get("history"), Sequence) and not isinstance(row["history"], str):
        row["history"] = [
            {"role": turn.role, "text": turn.text} if isinstance(turn, Turn) else turn for turn in row["history"]
        ]
    return row


def search_row(
    collection: str | Sequence[str] | None, k: int, legs: Sequence[str], filter_: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the options of a search as JSON has them."""
    return {"collection": collection, "k": k, "legs": legs if isinstance(legs, str) else list(legs), "filter": filter_}


def collection_path(name: str) -> str:
    """Return the path of a collection; its name is checked here, so that it cannot lead elsewhere."""
    from ..retrieval.home import check_name  # noqa: PLC0415 # numpy, for a client only when needed

    return f"/v1/collections/{check_name(name)}"


def catalog_headers(format_: str, expected: str | None) -> dict[str, str]:
    """Return what is said of a catalog that is sent: how it is written, and which version it is to replace."""
    check_version(expected)
    matched = {"if-match": f'"{expected}"'} if expected is not None else {}
    return {"content-type": MEDIA_TYPES[check_format(format_)]} | matched


def stored_catalog(response: httpx.Response) -> StoredCatalog:
    """Return the catalog that was answered with."""
    media_type = response.headers["content-type"].partition(";")[0]
    kind = next(kind for kind, known in MEDIA_TYPES.items() if known == media_type)
    version = response.headers["etag"].removeprefix("W/").strip('"')  # a proxy that compresses makes it weak
    return StoredCatalog(response.content.decode(), kind, version)


def batches(doc_ids: Iterable[str]) -> list[list[str]]:
    """Return ids, all of them checked, in lists that fit into a URL."""
    checked_ids = [doc_ids] if isinstance(doc_ids, str) else list(doc_ids)
    for doc_id in checked_ids:
        check_doc_id(doc_id)
    found: list[list[str]] = []
    room = 0
    for doc_id in checked_ids:
        size = len("doc_id=&") + len(quote(doc_id, safe=""))
        if size > room or len(found[-1]) == _BATCH:
            found.append([])
            room = _URL_CHARS
        found[-1].append(doc_id)
        room -= size
    return found


def request(
    http: httpx.Client | httpx.AsyncClient,
    method: str,
    path: str,
    body: object,
    params: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Request:
    """Build a request of JSON, or of bytes as they are; raises InputError for what JSON cannot hold."""
    try:
        content = body if body is None or isinstance(body, bytes) else to_json(body)
    except TypeError as error:  # orjson's class for surrogates and for unknown types
        raise InputError(f"query: cannot be sent as JSON: {error}") from error
    sent = {"content-type": "application/json"} | dict(headers or {})
    return http.build_request(method, path, content=content, params=params, headers=sent)


def checked(response: httpx.Response) -> httpx.Response:
    """Return a response, or raise what the in-process SDK would have raised."""
    if response.is_success:
        return response
    try:
        detail = str(orjson.loads(response.content)["detail"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        detail = f"HTTP {response.status_code}"
    raise _ERRORS.get(response.status_code, ServiceError)(detail)


def unreachable(error: httpx.TransportError) -> UnavailableError:
    """Say that the service did not answer."""
    return UnavailableError(f"the service cannot be reached: {type(error).__name__}: {error}")


def count_of(body: bytes) -> int:
    """Return the count that a call answered with."""
    return int(orjson.loads(body)["count"])
