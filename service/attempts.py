"""When a call over HTTP is made again, and after what pause."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson
from tenacity import RetryCallState, stop_after_attempt, stop_any, stop_before_delay, wait_random_exponential

NOT_BEGUN = "urn:querywright:not-begun"
"""The type of a problem that came before anything was done."""

_UNSURE = frozenset({502, 503, 504})
"""Answers of a service that could not, or of a proxy that got none: something may have been done."""

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)

_PAUSE = wait_random_exponential(multiplier=0.2, max=5)
"""Seconds, drawn evenly from 0 to a bound that doubles with each attempt, so that clients spread out."""


def policy(*, repeatable: bool, retries: int, seconds: float) -> dict[str, Any]:
    """Return how tenacity is to call what sends a request: up to `retries` times more, in `seconds` altogether.

    What was not done is done again; what may have been done only where it is `repeatable`. In the end comes what the
    last attempt came to, a response or an error.
    """

    def again(state: RetryCallState) -> bool:
        response, error = _outcome(state)
        if response is not None:
            return _not_begun(response) or (repeatable and response.status_code in _UNSURE)
        return isinstance(error, _NOT_SENT) or (repeatable and isinstance(error, _LOST))

    return {
        "retry": again,
        "wait": _pause,
        "stop": stop_any(stop_after_attempt(retries + 1), stop_before_delay(seconds)),
        "retry_error_callback": lambda state: state.outcome.result(),
    }


def _not_begun(response: httpx.Response) -> bool:
    """Say whether an answer tells that nothing was done."""
    if response.status_code != 503:
        return response.status_code == 429
    try:
        return bool(orjson.loads(response.content)["type"] == NOT_BEGUN)
    except (orjson.JSONDecodeError, KeyError, TypeError, httpx.ResponseNotRead):
        return False


def _outcome(state: RetryCallState) -> tuple[httpx.Response | None, BaseException | None]:
    """Return what an attempt came to, a response or an error."""
    if state.outcome is None:  # tenacity asks after an attempt only
        return None, None
    error = state.outcome.exception()
    return (None, error) if error else (state.outcome.result(), None)


def _pause(state: RetryCallState) -> float:
    """Return how many seconds to wait: no less than the service asks for."""
    response, _ = _outcome(state)
    told = response.headers.get("retry-after", "") if response is not None else ""
    return _PAUSE(state) + retry_after(told)


def retry_after(told: str) -> float:
    """Return the seconds that a Retry-After header asks for, as a number or a date (RFC 9110, section 10.2.3).

    >>> retry_after("3"), retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), retry_after("soon")
    (3.0, 0.0, 0.0)
    """
    if told.isdecimal() and told.isascii():
        return float(told)
    try:
        until = parsedate_to_datetime(told)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
