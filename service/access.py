"""Who may call what: API keys with scopes; without keys, only this machine's own pages and programs."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import StorageError
from .keys import Keys
from .keys import Scope as KeyScope
from .problems import problem

KEY_NAME = "querywright.key"
"""Under this name the ASGI scope holds the name of the key that a request came with."""

_log = logging.getLogger(__name__)

READS = frozenset({"/v1/query", "/v1/query/stream", "/v1/search", "/v1/rewrite"})
"""Routes that only ask, though by POST."""

_COLLECTION = re.compile(r"/v1/collections/[^/]*/?")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LIVENESS = "/healthz"
_BASIC = re.compile(r"basic +(\S+) *", re.IGNORECASE)
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


class Rejections(Protocol):
    """Who is told of rejections, for the metrics."""

    def rejected(self, reason: str) -> None:
        """Count a request that was not taken."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    reason: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


def needed(method: str, path: str) -> KeyScope | None:
    """Return what a key must be good for to call `path`; None where none is asked for.

    >>> needed("POST", "/v1/search"), needed("POST", "/v1/collections"), needed("DELETE", "/v1/collections/demo")
    (<Scope.READ: 'read'>, <Scope.WRITE: 'write'>, <Scope.ADMIN: 'admin'>)
    """
    if path == _LIVENESS:
        return None
    if path.endswith("\n"):  # the patterns of the routes end in `$`, which lets one by
        return KeyScope.ADMIN
    if method in _SAFE or path in READS:
        return KeyScope.READ
    if path == "/v1/reload" or (method == "DELETE" and _COLLECTION.fullmatch(path)):
        return KeyScope.ADMIN
    return KeyScope.WRITE


def is_loopback(host: str) -> bool:
    """Say whether `host`, a name or an address, is this machine's own.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.com")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """Lets a request through if its key is good for what it calls, before its body is read.

    Without `keys`, for a service on loopback, none is asked for; then a web page elsewhere must not get through by a
    browser on this machine: the request must be addressed to loopback (a defence against DNS rebinding). What a browser
    sends by itself, without a key or with one that it remembers, must in either case come from a page of this service,
    or of `origins`, unless it only reads.
    """

    def __init__(self, app: ASGIApp, told: Rejections, keys: Keys | None = None, origins: Sequence[str] = ()) -> None:
        self._app = app
        self._told = told
        self._keys = keys
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        if scope["type"] != "http" or (refused := self._refused(scope)) is None:
            await self._app(scope, receive, send)
            return
        self._told.rejected(refused.reason)
        await problem(refused.status, refused.detail, refused.headers)(scope, receive, send)

    def _refused(self, scope: Scope) -> _Refusal | None:
        wanted = needed(scope["method"], scope["path"])
        if wanted is None:
            return None
        headers = Headers(scope=scope)
        given = headers.get("authorization", "")
        if not _BEARER.fullmatch(given) and scope["method"] not in _SAFE and not self._is_own(headers):
            return _Refusal(403, "origin", "origin: a page of another site may not change or ask anything here")
        if self._keys is None:
            return None if _is_local(headers.get("host", "")) else _Refusal(403, "host", _NOT_LOCAL)
        return self._refused_key(self._keys, given, wanted, scope)

    def _refused_key(self, keys: Keys, given: str, wanted: KeyScope, scope: Scope) -> _Refusal | None:
        try:
            key = keys.find(_text(given))
        except StorageError as error:
            _log.error("%s", error)
            return _Refusal(503, "key", "the keys cannot be read now; the service's log says why")
        if key is None:
            return _Refusal(401, "key", _NO_KEY, {"www-authenticate": _challenge(scope)})
        scope[KEY_NAME] = key.name
        if not key.scope.includes(wanted):
            return _Refusal(403, "scope", f"key: this needs one with the scope {wanted}, it has {key.scope}")
        return None

    def _is_own(self, headers: Headers) -> bool:
        """Say whether a request comes from no other site's page."""
        origin = headers.get("origin")
        return origin is None or origin in self._origins or origin.partition("://")[2] == headers.get("host")


_NO_KEY = "key: expected `authorization: Bearer KEY` with an API key; `querywright keys add` makes one"
_NOT_LOCAL = "host: this service answers on loopback only, as localhost or 127.0.0.1"


@lru_cache(maxsize=64)
def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)


def _text(authorization: str) -> str:
    """Return the key in a header: a bearer's, or the password of HTTP Basic, by which a browser can send it."""
    if bearer := _BEARER.fullmatch(authorization):
        return bearer[1]
    basic = _BASIC.fullmatch(authorization)
    try:
        return base64.b64decode(basic[1], validate=True).decode().partition(":")[2] if basic else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _challenge(scope: Scope) -> str:
    """Return what a key may come in; only a page itself lets the browser ask for one."""
    page = scope["method"] == "GET" and not scope["path"].startswith("/v1/")
    return 'Basic realm="Querywright: an API key as password", charset="UTF-8"' if page else "Bearer"
