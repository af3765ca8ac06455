"""What goes wrong with a chat model, and what each provider's client calls it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime

from .. import UnavailableError


class LLMError(UnavailableError):
    """A chat model gave no usable answer. `reason` is what a rewrite is marked with.

    `status` is HTTP's where there is one, `passing` says that the same question may succeed in `after` seconds. The
    message holds nothing that a server said: it may repeat a key, or a query.
    """

    reason = "llm_unavailable"

    def __init__(
        self, message: str, *, status: int | None = None, passing: bool = False, after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.passing, self.after = status, passing, after


class LLMTimeoutError(LLMError):
    """It did not answer in time."""

    reason = "llm_timeout"


class LLMUnavailableError(LLMError):
    """It cannot be reached, is broken, or lets us not in."""


class LLMOverloadedError(LLMError):
    """It has too much to do, or we asked too often."""

    reason = "llm_overloaded"


class LLMRefusedError(LLMError):
    """It, or its server, declines to answer this question."""

    reason = "llm_refused"


class LLMInvalidError(LLMError):
    """Its answer holds nothing that can be used."""

    reason = "llm_invalid"


_TIMEOUTS = frozenset({"TimeoutError", "TimeoutException", "APITimeoutError", "ModelTimeoutError"})
_CONNECTIONS = frozenset({"ConnectionError", "TransportError", "APIConnectionError", "ModelConnectionError"})


def failure_of(error: BaseException) -> LLMError:
    """Tell from what a provider's client raises what went wrong: by HTTP's status, then by the names of its classes."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, LLMError):
            return cause
    for cause in causes:
        status = getattr(cause, "status_code", None)
        if isinstance(status, int) and status >= 400:
            return _of_status(status, _retry_after(cause))
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    if names & _TIMEOUTS:
        return LLMTimeoutError("the chat model's server did not answer in time", passing=True)
    if names & _CONNECTIONS:
        return LLMUnavailableError("the chat model cannot be reached", passing=True)
    return LLMInvalidError(f"the chat model's answer cannot be read: {type(error).__name__}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_status(status: int, after: float | None) -> LLMError:
    message = f"the chat model's server answered HTTP {status}"
    if status in {429, 529}:
        return LLMOverloadedError(message, status=status, passing=True, after=after)
    if status in {400, 413, 422, 451, 501}:
        return LLMRefusedError(message, status=status)
    return LLMUnavailableError(message, status=status, passing=status >= 500 or status == 408, after=after)


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds that the header Retry-After names, as a number or as a date."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    said = headers.get("retry-after")
    if said is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(said))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return None
