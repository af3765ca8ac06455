"""What both clients say and understand alike: each of their methods as a request and how its answer is read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import orjson
from httpx_sse import ServerSentEvent
from pydantic import TypeAdapter

from .. import (
    AuthError,
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
from .answer import Answer, Event
from .catalogs import MEDIA_TYPES, CatalogInfo, StoredCatalog, catalog_bytes, check_format, check_version
from .events import PROBLEM, read_event
from .schemas import ANSWER, DOCUMENT, DOCUMENTS, INFO, INFOS, REWRITE, Info, QueryModel, to_json

DEFAULT_URL = "http://127.0.0.1:8000"
API_KEY = "QUERYWRIGHT_API_KEY"
"""The variable of the environment that holds the key, for clients that are given none."""

_URL_CHARS = 30_000
_BATCH = 1_000
_KEY = re.compile(r"[\x21-\x7e]+")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,200}")

_CATALOG_INFO = TypeAdapter(CatalogInfo)

_ERRORS: dict[int, type[QuerywrightError]] = {
    400: InputError,
    401: AuthError,
    403: AuthError,
    404: NotFoundError,
    408: UnavailableError,
    409: ConflictError,
    412: ConflictError,
    413: InputError,
    422: InputError,
    429: UnavailableError,
    431: InputError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
    507: StorageError,
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call(Generic[_T]):
    """A request, and what its answer is read with.

    `repeatable` says that doing it twice comes to the same as once, so that it may be made again where nobody knows
    whether it was done.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], _T]
    content: bytes | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True

    def request(self, http: httpx.Client | httpx.AsyncClient, seconds: float) -> httpx.Request:
        """Build the request, which gives up after `seconds` without a sign of the service."""
        headers = {"content-type": "application/json"} | dict(self.headers)
        return http.build_request(
            self.method, self.path, content=self.content, params=self.params, headers=headers, timeout=seconds
        )


def connection(url: str, api_key: str | None) -> dict[str, Any]:
    """Return what an HTTP client is made with.

    Raises InputError for an address that is none, and, without the key, for one that no header can hold.
    """
    _check_url(url)
    key = os.environ.get(API_KEY) if api_key is None else api_key
    if not key:
        return {"base_url": url}
    if not _KEY.fullmatch(key):
        raise InputError("api_key: expected printable ASCII without blanks")
    return {"base_url": url, "headers": {"authorization": f"Bearer {key}"}}


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InputError(f"url: expected an address such as {DEFAULT_URL}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InputError(f"url: expected an address that begins with http:// or https://, such as {DEFAULT_URL}")


# ------------------------------------------------------------------------------------------ asking


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


def query(row: Mapping[str, Any]) -> Call[Answer]:
    """Rewrite and search."""
    return Call("POST", "/v1/query", _read(ANSWER), _json(row))


def query_stream(row: Mapping[str, Any]) -> Call[httpx.Response]:
    """Rewrite and search; the answer is to be read while it comes, event by event (see `heard`)."""
    return Call("POST", "/v1/query/stream", lambda response: response, _json(row))


def search(row: Mapping[str, Any]) -> Call[Answer]:
    """Search with the text as it is."""
    return Call("POST", "/v1/search", _read(ANSWER), _json(row))


def rewrite(row: Mapping[str, Any]) -> Call[Rewrite]:
    """Rewrite without searching."""
    return Call("POST", "/v1/rewrite", _read(REWRITE), _json(row))


def heard(sse: ServerSentEvent, response: httpx.Response) -> Event | None:
    """Return the event that came, None for one of a kind that is not known here. Raises what a problem stands for."""
    if sse.event == PROBLEM:
        raise _error(sse.json()["status"], sse.data.encode(), response)
    return read_event(sse.event, sse.data)


# ------------------------------------------------------------------------------------- collections


def collections() -> Call[list[Info]]:
    """List the collections."""
    return Call("GET", "/v1/collections", _read(INFOS))


def create_collection(name: str) -> Call[Info]:
    """Make a collection."""
    return Call("POST", "/v1/collections", _read(INFO), _json({"name": name}), repeatable=False)


def drop_collection(name: str) -> Call[None]:
    """Drop a collection."""
    return Call("DELETE", _path(name), _nothing, repeatable=False)


def upsert(collection: str, documents: Iterable[Document | Mapping[str, Any]]) -> Call[int]:
    """Add or replace documents."""
    return Call("POST", _path(collection, "documents"), _count, _json({"documents": list(documents)}))


def add_file(collection: str, name: str, data: bytes) -> Call[int]:
    """Add the documents of one file."""
    return Call("POST", _path(collection, "files"), _count, data, {"file": name})


def document(collection: str, doc_id: str) -> Call[Document]:
    """Get one document."""
    path = _path(collection, "document")
    return Call("GET", path, _read(DOCUMENT), params={"doc_id": doc_id})


def documents(collection: str, after: str | None, limit: int) -> Call[list[Document]]:
    """List documents."""
    params = {"limit": limit} | ({"after": after} if after else {})
    path = _path(collection, "documents")
    return Call("GET", path, _read(DOCUMENTS), params=params)


def deletes(collection: str, doc_ids: Iterable[str]) -> list[Call[int]]:
    """Delete documents, in as many calls as the ids need."""
    path = _path(collection, "documents")
    return [Call("DELETE", path, _count, params={"doc_id": some}) for some in _batches(doc_ids)]


def flush(collection: str) -> Call[None]:
    """Make the index as a clean build would."""
    return Call("POST", _path(collection, "flush"), _nothing)


def catalog(collection: str) -> Call[StoredCatalog]:
    """Get a collection's own catalog."""
    return Call("GET", _path(collection, "catalog"), _stored_catalog)


def put_catalog(collection: str, text: str, format_: str, expected: str | None) -> Call[CatalogInfo]:
    """Give a collection a catalog; where a version is to be replaced, a second time it would not be there any more."""
    check_version(expected)
    headers = {"content-type": MEDIA_TYPES[check_format(format_)]}
    if expected is not None:
        headers["if-match"] = f'"{expected}"'
    return Call(
        "PUT",
        _path(collection, "catalog"),
        _read(_CATALOG_INFO),
        catalog_bytes(text),
        headers=headers,
        repeatable=expected is None,
    )


def delete_catalog(collection: str) -> Call[None]:
    """Take a collection's own catalog away."""
    return Call("DELETE", _path(collection, "catalog"), _nothing, repeatable=False)


def _path(collection: str, part: str = "") -> str:
    """Return the path of a collection; its name is checked here, so that it cannot lead elsewhere."""
    from ..retrieval.home import check_name  # noqa: PLC0415 # numpy, for a client only when needed

    return f"/v1/collections/{check_name(collection)}" + (f"/{part}" if part else "")


def _batches(doc_ids: Iterable[str]) -> list[list[str]]:
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


# ----------------------------------------------------------------------------------------- answers


def checked(response: httpx.Response) -> httpx.Response:
    """Return a response, or raise what the in-process SDK would have raised."""
    if response.is_success:
        return response
    raise _error(response.status_code, response.content, response)


def unreachable(error: httpx.TransportError) -> UnavailableError:
    """Say that the service did not answer."""
    return UnavailableError(f"the service cannot be reached: {type(error).__name__}: {error}")


def broken_off(error: httpx.TransportError | None = None) -> UnavailableError:
    """Say that a stream ended before its answer."""
    told = f": {type(error).__name__}: {error}" if error else ""
    return UnavailableError(f"the service broke off before the answer{told}")


def _error(status: int, problem: bytes, response: httpx.Response) -> QuerywrightError:
    """Return the error that a problem stands for; one whose cause is in the service's log tells the request's id."""
    kind = _ERRORS.get(status, ServiceError)
    try:
        detail = str(orjson.loads(problem)["detail"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        detail = f"HTTP {status}"
    request_id = response.headers.get("x-request-id", "")
    if (status >= 500 or kind is ServiceError) and _REQUEST_ID.fullmatch(request_id):
        detail += f" (request {request_id})"
    if status == 401:
        detail += f"; give it as api_key=, or in {API_KEY}"
    return kind(detail)


def _read(adapter: TypeAdapter[_T]) -> Callable[[httpx.Response], _T]:
    return lambda response: adapter.validate_json(response.content)


def _stored_catalog(response: httpx.Response) -> StoredCatalog:
    media_type = response.headers["content-type"].partition(";")[0]
    kind = next(kind for kind, known in MEDIA_TYPES.items() if known == media_type)
    version = response.headers["etag"].removeprefix("W/").strip('"')  # a proxy that compresses makes it weak
    return StoredCatalog(response.content.decode(), kind, version)


def _count(response: httpx.Response) -> int:
    return int(orjson.loads(response.content)["count"])


def _nothing(response: httpx.Response) -> None:
    del response


def _json(value: object) -> bytes:
    """Write a body; raises InputError for what JSON cannot hold."""
    try:
        return to_json(value)
    except TypeError as error:  # orjson's class for surrogates and for unknown types
        raise InputError(f"query: cannot be sent as JSON: {error}") from error
