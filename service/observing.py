"""What is seen of each request from outside: its id, the numbers, the line in the log, the trace.

It stands around everything else, so that it sees rejections and crashes as well.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Collection

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import KEY_NAME
from .exchange import Exchange, working_on
from .logs import ACCESS, access_fields
from .metrics import METHODS, OTHER, Metrics
from .traces import Traces

REQUEST_ID = b"x-request-id"

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Whoever asks these asks all the time: they are counted, but not told of."""

_log = logging.getLogger(ACCESS)


def observe(app: FastAPI, metrics: Metrics, traces: Traces | None = None, *, queries: bool = False) -> None:
    """Put the observer around all of `app`, to which no middleware can be added after that.

    With `queries`, the log tells the texts of queries.
    """
    # Not by `add_middleware`: that would not see what is answered where something crashes.
    plain = {str(found.path) for found in iter_route_contexts(app.routes) if "{" not in str(found.path)}
    app.middleware_stack = _Observing(app.build_middleware_stack(), frozenset(plain), metrics, traces, queries=queries)


class _Observing:
    """Passes requests on, and tells of each once it is done."""

    def __init__(
        self, app: ASGIApp, plain: Collection[str], metrics: Metrics, traces: Traces | None, *, queries: bool
    ) -> None:
        self._app = app
        self._plain = plain
        self._metrics = metrics
        self._traces = traces
        self._queries = queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(_request_id(scope))
        sent = _Sent(send, exchange.id)
        self._metrics.began()
        with working_on(exchange):
            try:
                await self._app(scope, receive, sent)
            except Exception:
                if not sent.ended:
                    raise  # else it was answered, and logged
            finally:
                self._tell(scope, exchange, sent)

    def _tell(self, scope: Scope, exchange: Exchange, sent: _Sent) -> None:
        method = scope["method"]
        exchange.method = method if method in METHODS else OTHER
        exchange.route = self._route(scope)
        exchange.key = scope.get(KEY_NAME)
        exchange.status = sent.status
        exchange.seconds = (sent.ended or time.perf_counter()) - sent.began
        self._metrics.ended(exchange)
        if exchange.route in _PROBES:
            return
        trace = self._traces.record(exchange, scope["headers"]) if self._traces else None
        if _log.isEnabledFor(logging.INFO):
            fields = access_fields(exchange, trace, queries=self._queries)
            _log.info("%s %s %d", exchange.method, exchange.route, exchange.status, extra={"fields": fields})

    def _route(self, scope: Scope) -> str:
        """Return the template of the route; where none was found or nobody looked, the path if there is one such."""
        found: str | None = getattr(scope.get("route"), "path_format", None)
        return found or (scope["path"] if scope["path"] in self._plain else OTHER)


class _Sent:
    """Sends an answer on with the request's id; notes its status, and when it had ended."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._id = request_id.encode()
        self.began = time.perf_counter()
        self.ended: float | None = None
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), (REQUEST_ID, self._id)]}
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.ended = time.perf_counter()


def _request_id(scope: Scope) -> str:
    """Return the id that the request brings, if it can be one, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(8)
