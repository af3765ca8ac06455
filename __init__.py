"""Querywright: rewrite what people type into queries that a search engine can answer.

Three doors lead to the same answers: `Querywright` in process, `Client` and `AsyncClient` over HTTP.

Errors, all with a message that says what was wrong, where, and what to do:

    QuerywrightError
    ├── InputError              something given is wrong: a query, a file, an option  (exit 2, HTTP 422)
    │   ├── CatalogError        a catalog file
    │   └── DatasetError        an evaluation data set
    ├── NotFoundError           no such collection or document                        (exit 2, HTTP 404)
    ├── ConflictError           a collection of that name exists                      (exit 2, HTTP 409)
    ├── AuthError               the service does not know the API key, or it may not  (exit 1, HTTP 401 or 403)
    ├── UnavailableError        busy, or a part is down: try again later              (exit 1, HTTP 429 or 503)
    ├── StorageError            what is stored cannot be read or written              (exit 1, HTTP 503 or 507)
    ├── MissingExtraError       an optional package is not installed                  (exit 2, HTTP 503)
    └── ServiceError            the remote service answered with an error of its own
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .retrieval.passage import Document, Hit, Passage
    from .rewrite.query import (
        Alternative,
        Clarification,
        Edit,
        Evidence,
        Option,
        Query,
        Rewrite,
        Turn,
        Usage,
    )
    from .service.answer import Answer, EarlyHits, Event, Stage
    from .service.client import AsyncClient, Client
    from .service.local import Querywright
    from .service.settings import Settings

# ONNX Runtime reports its use to its makers unless told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "Alternative",
    "Answer",
    "AsyncClient",
    "AuthError",
    "CatalogError",
    "Clarification",
    "Client",
    "ConflictError",
    "DatasetError",
    "Document",
    "EarlyHits",
    "Edit",
    "Event",
    "Evidence",
    "Hit",
    "InputError",
    "MissingExtraError",
    "NotFoundError",
    "Option",
    "Passage",
    "Query",
    "Querywright",
    "QuerywrightError",
    "Rewrite",
    "ServiceError",
    "Settings",
    "Stage",
    "StorageError",
    "Turn",
    "UnavailableError",
    "Usage",
]


class QuerywrightError(Exception):
    """Every error that this package raises on purpose."""


class InputError(QuerywrightError):
    """Something given is wrong; the message names the file, line or field and what was expected."""


class CatalogError(InputError):
    """A catalog file is wrong."""


class DatasetError(InputError):
    """An evaluation data set is wrong."""


class NotFoundError(QuerywrightError):
    """No such collection or document."""


class ConflictError(QuerywrightError):
    """A collection of that name exists already."""


class AuthError(QuerywrightError):
    """The service asks for an API key, does not know the one that came, or it is not good for such a call."""


class UnavailableError(QuerywrightError):
    """The service is busy or one of its parts is down; the same call may succeed later."""


class StorageError(QuerywrightError):
    """What is stored cannot be read or written: a damaged file, a full disk."""


class MissingExtraError(QuerywrightError):
    """An optional package is not installed; the message names the extra that brings it."""


class ServiceError(QuerywrightError):
    """The remote service answered with an error that has no class of its own."""


# Where each public name lives. Resolved on first use, so that `import querywright` costs no torch,
# no faiss and no fastapi.
_HOMES = {
    **dict.fromkeys(
        (
            "Alternative",
            "Clarification",
            "Edit",
            "Evidence",
            "Option",
            "Query",
            "Rewrite",
            "Turn",
            "Usage",
        ),
        ".rewrite.query",
    ),
    **dict.fromkeys(("Document", "Hit", "Passage"), ".retrieval.passage"),
    **dict.fromkeys(("Answer", "EarlyHits", "Event", "Stage"), ".service.answer"),
    **dict.fromkeys(("Client", "AsyncClient"), ".service.client"),
    "Querywright": ".service.local",
    "Settings": ".service.settings",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home, __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
