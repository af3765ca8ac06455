"""The events of a streamed answer as they go over the wire (server-sent events, WHATWG HTML, section 9.2)."""

from __future__ import annotations

from pydantic import TypeAdapter

from ..rewrite.query import Rewrite
from .answer import Answer, EarlyHits, Event, Stage
from .schemas import to_json

PROBLEM = "problem"
"""The name of the event that comes in place of all that cannot be told any more."""

_NAMES: dict[type[Event], str] = {Stage: "stage", EarlyHits: "hits", Rewrite: "rewrite", Answer: "answer"}
_READERS: dict[str, TypeAdapter[Event]] = {name: TypeAdapter(kind) for kind, name in _NAMES.items()}


def event_bytes(event: Event) -> bytes:
    """Return an event as it is sent."""
    return named_bytes(_NAMES[type(event)], to_json(event))


def named_bytes(name: str, data: bytes) -> bytes:
    """Return an event of any name as it is sent; `data` is JSON of one line."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


def read_event(name: str, data: str) -> Event | None:
    """Return the event that was sent, None for one of a kind that is not known here."""
    reader = _READERS.get(name)
    return reader and reader.validate_json(data)
