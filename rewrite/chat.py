"""One question to a chat model: within a deadline, asked again when that may help, behind a circuit breaker.

Every model is asked on one event loop of its own thread, also by synchronous callers: only a task can be stopped at a
deadline whatever its server does (hang, or send a byte a second), and stopping it closes its connection.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn, Protocol, TypeVar

from pybreaker import STATE_CLOSED, CircuitBreaker, CircuitBreakerError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
)

from .chat_failures import LLMError, LLMRefusedError, LLMTimeoutError, LLMUnavailableError, failure_of
from .deadline import seconds_left, within
from .rewriter import Meter, metered

T = TypeVar("T")

ATTEMPTS = 3
"""How often a model is asked for one answer, if it fails in a way that may pass."""

FAILURES = 5
"""After so many failures in a row a model is left alone."""

REST_SECONDS = 5.0
"""For so long; then one question finds out whether it is back."""

FAIR_SECONDS = 0.25
"""A question with less time than this tells nothing of the model when it fails: its asker was in a hurry."""

_MARGIN_SECONDS = 0.02
"""An answer is worth nothing if it comes when nobody waits any longer."""

_BACKOFF = wait_exponential(multiplier=0.05, max=0.5)


class ChatModel(Protocol):
    """What this module needs of a LangChain chat model."""

    def with_structured_output(self, schema: dict[str, Any], *, include_raw: bool) -> Any:  # noqa: ANN401 # LangChain's
        """Return a runnable that gives the model's message as `raw`; raises where the model takes no schema."""
        ...

    async def ainvoke(self, input: Any) -> Any:  # noqa: A002, ANN401 # LangChain's
        """Return the model's message."""
        ...


class Chat:
    """A chat model that is asked for objects of one schema. Safe to use from several threads.

    A model whose server turns the schema down is asked without one, and from then on always.
    """

    def __init__(self, model: ChatModel, schema: Mapping[str, object], *, seconds: float) -> None:
        self._model = model
        self._structured = _structured(model, schema)
        self._seconds = seconds
        self._breaker = CircuitBreaker(
            fail_max=FAILURES, reset_timeout=REST_SECONDS, exclude=[LLMRefusedError], throw_new_error_on_trip=False
        )
        self._trial = threading.Lock()

    def ask(self, messages: Sequence[tuple[str, str]]) -> str | Mapping[str, object]:
        """Return what the model answers: the arguments of its tool call, or its text.

        It has `seconds`, or what is left until the deadline around. Each attempt is a call on the meter around.
        Raises LLMError.
        """
        left = seconds_left()
        seconds = self._seconds if left is None else min(self._seconds, left - _MARGIN_SECONDS)
        if seconds <= 0:
            raise LLMTimeoutError("no time is left to ask the chat model")
        with metered() as meter, within(seconds):
            return self._guarded(
                lambda: _wait_for(self._attempts(list(messages), meter, seconds), seconds),
                counts=seconds >= FAIR_SECONDS,
            )

    def _guarded(self, question: Callable[[], T], *, counts: bool) -> T:
        """Ask, unless the breaker is open; past its rest one question alone tries the model.

        The breaker holds its lock while it calls, so that only a trial runs inside it: of all other questions it
        is told how they went.
        """
        if self._breaker.current_state == STATE_CLOSED:
            return self._reported(question) if counts else question()
        if not self._trial.acquire(blocking=False):
            raise LLMUnavailableError("the chat model is being tried")
        try:
            return self._breaker.call(question)
        except CircuitBreakerError:
            raise LLMUnavailableError("the chat model failed repeatedly and is left alone for a while") from None
        finally:
            self._trial.release()

    def _reported(self, question: Callable[[], T]) -> T:
        try:
            answer = question()
        except LLMError as error:
            with suppress(CircuitBreakerError, LLMError):
                self._breaker.call(_fail, error)
            raise
        with suppress(CircuitBreakerError):  # opened meanwhile
            self._breaker.call(lambda: None)
        return answer

    async def _attempts(
        self, messages: list[tuple[str, str]], meter: Meter, seconds: float
    ) -> str | Mapping[str, object]:
        again = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, LLMError) and error.passing),
            wait=_pause,
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(seconds),
            reraise=True,
        )
        try:
            async with asyncio.timeout(seconds):
                return await again(self._once, messages, meter)
        except TimeoutError:
            raise LLMTimeoutError(f"the chat model did not answer within {seconds:.2f} s") from None

    async def _once(self, messages: list[tuple[str, str]], meter: Meter) -> str | Mapping[str, object]:
        """Ask with the schema where the model takes one, else without."""
        structured = self._structured
        if structured is None:
            return _content(await _call(self._model, messages, meter))
        try:
            return _content((await _call(structured, messages, meter))["raw"])
        except LLMRefusedError as error:
            if error.status not in _SCHEMA_REFUSED:
                raise
        answer = _content(await _call(self._model, messages, meter))
        self._structured = None  # it was the schema that the server refused
        return answer


_SCHEMA_REFUSED = frozenset({400, 422, 501})


def _structured(model: ChatModel, schema: Mapping[str, object]) -> Any:  # noqa: ANN401 # LangChain's runnable
    try:
        return model.with_structured_output(dict(schema), include_raw=True)
    except (NotImplementedError, ValueError, TypeError):  # the models that have no way to ask for a schema
        return None


def _fail(error: LLMError) -> NoReturn:
    raise error


def _pause(state: RetryCallState) -> float:
    """Wait for as long as the server says, else a little, longer each time."""
    error = state.outcome.exception() if state.outcome else None
    after = error.after if isinstance(error, LLMError) else None
    return _BACKOFF(state) if after is None else after


async def _call(model: Any, messages: list[tuple[str, str]], meter: Meter) -> Any:  # noqa: ANN401 # LangChain's
    meter.call()
    try:
        answer = await model.ainvoke(messages)
    except Exception as error:  # noqa: BLE001 # each provider has its own
        raise failure_of(error) from None  # its text may hold what must not be shown
    message = answer["raw"] if isinstance(answer, Mapping) else answer
    # LangChain's own name on the message; None where the server does not say.
    used = getattr(message, "usage_metadata", None)
    if used:
        meter.tokens(used["input_tokens"], used["output_tokens"])
    return answer


def _content(message: Any) -> str | Mapping[str, object]:  # noqa: ANN401 # LangChain's message
    """Return the arguments of the first tool call, the text of one that is malformed, or what was said."""
    if message.additional_kwargs.get("refusal"):
        raise LLMRefusedError("the model declined")
    if message.tool_calls:
        arguments: Mapping[str, object] = message.tool_calls[0]["args"]
        return arguments
    if message.invalid_tool_calls:
        return str(message.invalid_tool_calls[0]["args"])
    return str(message.text)


# ------------------------------------------------------------------------------------- event loop

_STARTING = threading.Lock()
_THREADS = 32
"""How many names are looked up, and models without an asynchronous client asked, at once."""


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="chat"))
    threading.Thread(target=loop.run_forever, name="chat", daemon=True).start()
    return loop


def loop() -> asyncio.AbstractEventLoop:
    """Return the event loop on which this process asks its chat models."""
    with _STARTING:
        return _started_loop()


os.register_at_fork(after_in_child=_started_loop.cache_clear)  # a fork takes no threads along


def _wait_for(question: Coroutine[Any, Any, T], seconds: float) -> T:
    future = asyncio.run_coroutine_threadsafe(question, loop())
    try:
        return future.result(seconds + _MARGIN_SECONDS)
    except (
        TimeoutError
    ):  # the loop is late; the question ends by itself: stopped twice it would not close its connection
        raise LLMTimeoutError(f"the chat model did not answer within {seconds:.2f} s") from None
