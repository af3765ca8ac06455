"""The log of a service: one line a record, of text for people or of JSON for machines; what requests say stays out.

Every record that is written while a request is worked on names the request's id, in whichever thread. Of an unexpected
error stands where it happened and its kind, not its message, which may quote a query; unless queries may be logged.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from .exchange import Exchange, current

ACCESS = "querywright.access"
"""The logger of the requests: one record each, whose `fields` are JSON's; silent in a log of text."""

LogFormat = Literal["text", "json"]


def set_up(log_format: LogFormat, *, queries: bool = False) -> None:
    """Send what this process logs to standard error; with `queries`, texts of queries may be among it."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter(queries=queries) if log_format == "json" else TextFormatter(queries=queries))
    logging.basicConfig(handlers=[handler], level=logging.ERROR, force=True)
    logging.getLogger("querywright").setLevel(logging.WARNING)
    logging.getLogger(ACCESS).setLevel(logging.INFO if log_format == "json" else logging.WARNING)


class TextFormatter(logging.Formatter):
    """A line of text, as `WARNING querywright.service.pipeline: ... [request id]`; below it where an error happened."""

    def __init__(self, *, queries: bool = False) -> None:
        super().__init__()
        self._queries = queries

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, with a line for each place of an error."""
        message = " ".join(record.getMessage().splitlines())
        request = f" [{exchange.id}]" if (exchange := current()) else ""
        error = "".join(f"\n  {line}" for line in _error(record, queries=self._queries))
        return f"{record.levelname} {record.name}: {message}{request}{error}"


class JSONFormatter(logging.Formatter):
    """A line of JSON: time, level, logger, message, request_id where there is one, and the record's `fields`."""

    def __init__(self, *, queries: bool = False) -> None:
        super().__init__()
        self._queries = queries

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        row: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if exchange := current():
            row["request_id"] = exchange.id
        row |= getattr(record, "fields", {})
        if error := list(_error(record, queries=self._queries)):
            row["error"] = error
        return _line(row)


def _line(row: dict[str, Any]) -> str:
    try:
        return orjson.dumps(row, default=str).decode()
    except TypeError:  # a lone surrogate, as in the name of a file
        return json.dumps(row, default=str)


def _error(record: logging.LogRecord, *, queries: bool) -> Iterator[str]:
    """Yield the kind of the error that a record tells of, innermost place first, then that of its causes."""
    error = record.exc_info[1] if record.exc_info else None
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        message = f": {' '.join(str(error).splitlines())}" if queries else ""
        yield f"{type(error).__module__}.{type(error).__qualname__}{message}"
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            yield f"at {frame.filename}:{frame.lineno} in {frame.name}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def access_fields(exchange: Exchange, trace: str | None, *, queries: bool) -> dict[str, Any]:
    """Return what the log tells of a request that is done; with `queries`, the text of its query."""
    fields: dict[str, Any] = {
        "method": exchange.method,
        "route": exchange.route,
        "status": exchange.status,
        "seconds": round(exchange.seconds, 6),
    }
    optional = {
        "key": exchange.key,
        "trace_id": trace,
        "degraded": exchange.degraded,
        "collections": exchange.collections,
    }
    if queries and exchange.rewrite is not None:
        optional |= {"query": exchange.rewrite.original, "rewrite": exchange.rewrite.rewrite}
    return fields | {name: value for name, value in optional.items() if value}
