"""The moment until which an answer is waited for, known to all that works on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_UNTIL: ContextVar[float | None] = ContextVar("until", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give what runs inside `seconds` at most, or what is left of the time that it has already.

    >>> with within(5), within(60):
    ...     seconds_left() <= 5
    True
    """
    until, around = time.monotonic() + seconds, _UNTIL.get()
    token = _UNTIL.set(until if around is None else min(until, around))
    try:
        yield
    finally:
        _UNTIL.reset(token)


def seconds_left() -> float | None:
    """Return the seconds until the deadline, below 0 past it; None where there is none.

    >>> seconds_left() is None
    True
    """
    until = _UNTIL.get()
    return None if until is None else until - time.monotonic()
