"""What is answered where something is wrong: small problem documents (RFC 9457), without anything of the request."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from .. import (
    CatalogError,
    ConflictError,
    InputError,
    MissingExtraError,
    NotFoundError,
    QuerywrightError,
    StorageError,
    UnavailableError,
)
from ..retrieval.store import DiskFullError
from .attempts import NOT_BEGUN
from .schemas import NoDefaultError, first_problem

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[QuerywrightError], int], ...] = (
    (CatalogError, 503),  # no catalog comes with a request: it is ours that is broken
    (InputError, 422),
    (NotFoundError, 404),
    (ConflictError, 409),
    (MissingExtraError, 503),
    (UnavailableError, 503),
    (DiskFullError, 507),
    (StorageError, 503),
    (QuerywrightError, 503),
)
_TITLES = {
    400: "Bad request",
    401: "Key missing or unknown",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict",
    412: "Changed meanwhile",
    413: "Body too large",
    422: "Invalid input",
    431: "Headers too large",
    503: "Unavailable",
    507: "Storage full",
}


def answer_problems(app: FastAPI) -> None:
    """Let `app` answer whatever goes wrong with a problem document: 4xx for the caller's faults, 503 for ours."""
    app.add_exception_handler(QuerywrightError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_crash)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, *, begun: bool = True) -> Response:
    """Return an error as RFC 9457 has it: small, and without anything of the request's body.

    Where nothing was `begun` of what was asked, a 503 says so by its type: then it can be asked again, whatever it is.
    """
    sent = ({"retry-after": "1"} if status == 503 else {}) | dict(headers or {})
    body = problem_bytes(status, detail, begun=begun)
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=sent)


def problem_bytes(status: int, detail: str, *, begun: bool = True) -> bytes:
    """Return the body of a problem document."""
    kind = {"type": NOT_BEGUN} if status == 503 and not begun else {}
    return orjson.dumps(kind | {"title": _TITLES.get(status, "Error"), "status": status, "detail": detail[:1000]})


async def _on_error(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    detail = str(error)
    if status >= 500:
        _log.warning("%s: %s", type(error).__name__, error)
    if isinstance(error, DiskFullError):
        detail = "the service's disk is full: this was not written; searching and deleting go on"
    elif isinstance(error, (StorageError, UnavailableError, CatalogError)):
        detail = "what is stored cannot be read or written now; the service's log says why"  # and in which file
    elif isinstance(error, NoDefaultError):
        pass  # it names nothing of the request
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
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (400, None)
    if status in {404, 405}:
        return problem(status, "see /docs for the routes there are", headers)
    return problem(status, _TITLES.get(status, "Error"), headers)


async def _on_crash(_request: Request, error: Exception) -> Response:
    """Answer for a fault of ours as unavailable; the log has the rest."""
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return problem(503, "the request could not be answered; the service's log says why")
