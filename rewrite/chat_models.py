"""Chat models by name: LangChain's, from any provider, and models in a folder of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from .. import InputError, MissingExtraError
from .chat import ChatModel
from .chat_failures import LLMInvalidError

MAX_BODY_BYTES = 512 * 1024
"""Of a longer body the rest is not read, and nothing is taken of it."""

MAX_STREAM_BYTES = 8 * MAX_BODY_BYTES
"""Likewise of one that comes in pieces, each in a frame of its own."""

MAX_TOKENS = 4_096
"""How much a model of a server of one's own writes at most, thinking included: nobody else stops it."""

_LATER_SECONDS = 1.0
"""A client's own timeout comes so much later: a request that is stopped twice at once leaves its connection open."""

_EXPECTED = "expected PROVIDER:MODEL, e.g. openai:gpt-5-mini, ollama:qwen3:4b or local:FOLDER"


def load_chat_model(name: str, *, timeout_seconds: float = 2.0, **options: Any) -> ChatModel:  # noqa: ANN401
    """Return the chat model called `name` as LangChain's init_chat_model takes it ("openai:gpt-5-mini").

    `local:FOLDER` is a causal language model in a folder (see `local_model`). Raises MissingExtraError when the
    provider's package is not installed, InputError for an unknown name.
    """
    from langchain.chat_models import init_chat_model  # noqa: PLC0415 # two seconds of imports, only when used

    provider, _, rest = name.strip().partition(":")
    if not name.strip() or name.strip().endswith(":"):
        raise InputError(f"chat model {name!r}: {_EXPECTED}")
    if provider == "local":
        from .local_model import load_local_model  # noqa: PLC0415 # likewise

        return load_local_model(Path(rest).expanduser())
    try:
        bounds = _client_options(provider, timeout_seconds, str(options.get("base_url", "")))
        model: ChatModel = init_chat_model(name, **bounds, **options)
    except ImportError as error:
        package = f"langchain-{provider.replace('_', '-')}"
        hint = "pip install 'querywright[llm]'" if provider == "openai" else f"pip install {package}"
        raise MissingExtraError(f"chat model {name!r}: its package is not installed: {hint}") from error
    except ValueError as error:
        raise InputError(f"chat model {name!r}: {_EXPECTED}") from error
    except Exception as error:  # each provider has its own; its text may hold what must not be shown
        hint = "its key or endpoint is missing in the environment (OPENAI_API_KEY for openai)"
        raise InputError(f"chat model {name!r}: {type(error).__name__}: {hint}") from error
    return model


def _client_options(provider: str, seconds: float, base_url: str) -> dict[str, Any]:
    """Return what keeps a client in bounds: we ask again ourselves, read only so much, and stop first at a deadline."""
    seconds += _LATER_SECONDS
    if provider == "openai":
        # A connection without TLS is made anew in no time, and none is left open when the model goes.
        kept = 0 if base_url.startswith("http://") else 20
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=kept)
        client = httpx.AsyncClient(timeout=seconds, limits=limits, **_BOUNDS)
        return {"temperature": 0, "timeout": seconds, "max_retries": 0, "http_async_client": client}
    if provider == "ollama":
        return {"temperature": 0, "num_predict": MAX_TOKENS, "async_client_kwargs": {"timeout": seconds, **_BOUNDS}}
    return {"temperature": 0, "timeout": seconds, "max_retries": 0}


async def _bound(response: httpx.Response) -> None:
    """Let no more of a body be read than a proposal can have."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    most = MAX_BODY_BYTES if kind == "application/json" else MAX_STREAM_BYTES
    response.stream = _Bounded(response.stream, most)


class _Bounded(httpx.AsyncByteStream):
    """The first bytes of a stream; one that has more is an error."""

    def __init__(self, stream: Any, most: int) -> None:  # noqa: ANN401 # httpx types it for both of its clients
        self._stream, self._most = stream, most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._stream:
            read += len(chunk)
            if read > self._most:
                raise LLMInvalidError(f"the chat model's server sent more than {self._most:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()


_BOUNDS: dict[str, Any] = {
    "event_hooks": {"response": [_bound]},
    "headers": {"Accept-Encoding": "identity"},  # what is counted is what is read
}
