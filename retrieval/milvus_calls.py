"""Calls to Milvus: connected when first needed, each within a deadline, failures as errors of this package."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .. import InputError, MissingExtraError, NotFoundError, UnavailableError

SECONDS = 10.0
"""How long a call may take, where nothing else is said."""

_AT_ONCE = 64
"""So many reads are under way at once; more wait for their turn, and their deadline runs."""

_PAUSE = 0.5
"""After Milvus could not be reached, further calls fail at once for so many seconds: they would queue up."""

_READS = frozenset({"get", "query", "query_iterator", "search"})

_MISSING, _NOT_LOADED = 100, 101

_log = logging.getLogger(__name__)


class Milvus:
    """One Milvus, or a file of milvus-lite; safe to use from several threads.

    A client of pymilvus is made when it is first needed, again where that failed, and finds back by itself to a
    server that was away. Raises UnavailableError for whatever may go better later, MissingExtraError without pymilvus.
    """

    def __init__(self, uri: str, token: str = "", seconds: float = SECONDS) -> None:
        self._uri = uri
        self._token = token
        self._seconds = seconds
        self._client: Any = None
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="milvus")

    def close(self) -> None:
        """Close the connection; a call under way may fail."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def read(self, name: str, **arguments: Any) -> Any:  # noqa: ANN401 - as pymilvus has it
        """Return what the client's method `name` returns; late answers are given up."""
        return self._late(self._started(name, arguments))

    def read_all(self, name: str, several: Iterable[dict[str, Any]]) -> list[Any]:
        """Make several calls at once; return what each returns."""
        started = [self._started(name, arguments) for arguments in several]
        return [self._late(one) for one in started]

    def write(self, name: str, **arguments: Any) -> Any:  # noqa: ANN401 - as pymilvus has it
        """Return what the client's method `name` returns: by then Milvus has acknowledged it.

        It runs in the caller's thread: were it given up and went on, it might undo what was written after it.
        """
        return self._call(name, arguments)

    def rows(
        self, collection: str, wanted: str, fields: list[str], batch: int = 1000
    ) -> Iterable[list[dict[str, Any]]]:
        """Yield the rows that match `wanted` in batches, in the order of their ids."""
        arguments = {"collection_name": collection, "filter": wanted, "output_fields": fields, "batch_size": batch}
        found = self._call("query_iterator", arguments)
        try:
            while some := self._told(collection, found.next):
                yield [dict(row) for row in some]
        finally:
            found.close()

    def _started(self, name: str, arguments: dict[str, Any]) -> Future[Any]:
        try:
            return self._threads.submit(self._call, name, arguments)
        except RuntimeError as error:
            raise UnavailableError("Milvus: the connection is closed") from error

    def _late(self, running: Future[Any]) -> Any:  # noqa: ANN401 - as pymilvus has it
        try:
            return running.result(self._seconds)
        except TimeoutError as error:
            running.cancel()
            raise UnavailableError(f"Milvus: no answer within {self._seconds:g} s") from error

    def _call(self, name: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - as pymilvus has it
        if time.monotonic() < self._away_until:
            raise UnavailableError("Milvus: it could not be reached just now")
        collection = str(arguments.get("collection_name", ""))
        try:
            return self._told(collection, lambda: self._asked(name, arguments))
        except _NotLoadedError:  # as after a restart
            self._told(collection, lambda: self._asked("load_collection", {"collection_name": collection}))
            return self._told(collection, lambda: self._asked(name, arguments))

    def _asked(self, name: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - as pymilvus has it
        if name in _READS:
            arguments = arguments | {"consistency_level": "Strong"}
        # The client tries again until its timeout, then waits for the last try: half the time keeps within it.
        return getattr(self._connected(), name)(**arguments, timeout=self._seconds / 2)

    def _told(self, collection: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - as pymilvus has it
        """Return what `call` returns; turn what pymilvus raises into our errors."""
        try:
            return call()
        except _errors() as error:
            raise self._error(error, collection) from error

    def _error(self, error: Exception, collection: str) -> Exception:
        code, text = getattr(error, "code", None), getattr(error, "message", "") or type(error).__name__
        if code == _MISSING:
            return NotFoundError(f"collection {collection!r}: Milvus has none of that name")
        if code == _NOT_LOADED:
            return _NotLoadedError(f"Milvus: collection {collection!r} is not loaded")
        self._away_until = time.monotonic() + _PAUSE if _unreachable(error) else 0.0
        return UnavailableError(f"Milvus: {text}")

    def _connected(self) -> Any:  # noqa: ANN401 - pymilvus is loaded when needed
        with self._lock:
            if self._client is None:
                options = {"token": self._token} if self._token else {}
                try:
                    self._client = _pymilvus().MilvusClient(
                        self._uri, timeout=self._seconds / 2, dedicated=True, **options
                    )
                except _config_error() as error:
                    raise InputError(f"setting milvus_uri: {error.message}") from error
            return self._client


class _NotLoadedError(UnavailableError):
    """The collection is there, but Milvus has not loaded it."""


def _unreachable(error: Exception) -> bool:
    """Say whether it was not Milvus that answered."""
    known: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in known:  # pymilvus raises errors from themselves
        known.append(cause)
        cause = cause.__cause__ or cause.__context__
    return any(isinstance(one, import_module("grpc").RpcError) for one in known)


@cache
def _pymilvus() -> Any:  # noqa: ANN401 - loaded when needed
    if find_spec("pymilvus") is None:
        raise MissingExtraError("engine milvus: pymilvus is not installed: pip install 'querywright[milvus]'")
    loaded = import_module("pymilvus")
    # Errors are raised; its own log of them holds parts of requests.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return loaded


def data_types() -> Any:  # noqa: ANN401 - pymilvus is loaded when needed
    """Return pymilvus's names of the types of fields."""
    return _pymilvus().DataType


def client_class() -> Any:  # noqa: ANN401 - pymilvus is loaded when needed
    """Return pymilvus's client, whose static methods make schemas and index parameters."""
    return _pymilvus().MilvusClient


@cache
def _errors() -> tuple[type[Exception], ...]:
    return (_pymilvus().MilvusException, import_module("grpc").RpcError, import_module("grpc").FutureTimeoutError)


@cache
def _config_error() -> Any:  # noqa: ANN401 - pymilvus is loaded when needed
    _pymilvus()
    return import_module("pymilvus.exceptions").ConnectionConfigException
