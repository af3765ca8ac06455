"""What several test files share."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from querywright import Querywright
from querywright.retrieval.collection import Collection
from querywright.retrieval.encoders import Encoder, load_encoder
from querywright.service.admission import Life
from querywright.service.app import create_app
from querywright.service.keys import Keys
from querywright.service.server import Config, Server

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores: threads of each would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("querywright", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("querywright")


class WordEncoder:
    """A real, if simple, encoder: each word is a fixed random direction, a text their normalised sum."""

    name = "words"
    dimensions = 16

    def reads(self, text: str) -> bool:
        """Read what is ASCII, so that there is something that it does not read."""
        return text.isascii() and bool(text.strip())

    def encode_documents(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return one unit vector a text."""
        sums = [sum((_direction(word) for word in text.lower().split()), np.zeros(16)) for text in texts]
        vectors = np.array(sums, dtype=np.float32).reshape(len(texts), 16)
        if progress is not None:
            progress(len(texts))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector a query."""
        return self.encode_documents(texts)


def _direction(word: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(16)


class ChatServer(ThreadingHTTPServer):
    """Speaks the protocol of OpenAI's chat completions: answers with what `reply` gives, and keeps the requests.

    A reply is a status and a body, in pieces where it is not bytes, and maybe headers. A completion that is asked for
    as a stream is sent as one.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ChatHandler)
        self.requests: list[dict[str, Any]] = []
        self.reply: Callable[[], tuple[Any, ...]] = lambda: (500, b"")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def says(self, content: str | None, *, refusal: str | None = None, tokens: tuple[int, int] | None = (1, 1)) -> None:
        """Let the model answer with `content`, or refuse."""
        body = self.completion(content, refusal, tokens)
        self.reply = lambda: (200, body)

    def proposes(self, rewrite: str, *, tokens: tuple[int, int] | None = (1, 1)) -> None:
        """Let the model propose `rewrite`; `tokens` are those read and written, if the server tells."""
        self.says(json.dumps({"rewrite": rewrite}, ensure_ascii=False), tokens=tokens)

    @staticmethod
    def completion(content: str | None, refusal: str | None = None, tokens: tuple[int, int] | None = (1, 1)) -> bytes:
        """Return the body of an answer."""
        message = {"role": "assistant", "content": content, "refusal": refusal}
        completion: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "test",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }
        if tokens is not None:
            read, written = tokens
            completion["usage"] = {
                "prompt_tokens": read,
                "completion_tokens": written,
                "total_tokens": read + written,
            }
        return json.dumps(completion).encode()

    def system(self) -> str:
        """Return what the model was told last."""
        return str(self.requests[-1]["messages"][0]["content"])

    def prompt(self) -> str:
        """Return all that the model was sent last."""
        return "\n".join(message["content"] for message in self.requests[-1]["messages"])


def _streamed(completion: dict[str, Any]) -> Iterator[bytes]:
    """Yield a completion as server-sent events, a few characters each."""
    message = completion["choices"][0].pop("message")
    text = message.pop("content") or ""
    deltas = [message, *({"content": text[at : at + 3]} for at in range(0, len(text), 3)), {}]
    chunk = completion | {"object": "chat.completion.chunk", "usage": None}
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
        yield b"data: " + json.dumps(chunk | {"choices": [choice]}).encode() + b"\n\n"
    yield b"data: " + json.dumps(chunk | {"choices": [], "usage": completion.get("usage")}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


class _ChatHandler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # the client has given up
        asked = json.loads(body)
        self.server.requests.append({**asked, "key": self.headers["Authorization"]})
        status, answer, *headers = self.server.reply()
        kind = "application/json"
        if asked.get("stream") and status == 200 and isinstance(answer, bytes):
            kind, answer = "text/event-stream", _streamed(json.loads(answer))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in {name: value for more in headers for name, value in more.items()}.items():
            self.send_header(name, value)
        if isinstance(answer, bytes):
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        for piece in [answer] if isinstance(answer, bytes) else answer:
            self.wfile.write(piece)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has given up
            super().handle()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="session")
def chat_server() -> Iterator[ChatServer]:
    """Run a server that speaks a chat model's protocol on this machine."""
    with ChatServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(chat_server: ChatServer) -> ChatServer:
    """Return the chat model's server, which has been asked nothing."""
    chat_server.requests.clear()
    return chat_server


@dataclass(frozen=True)
class Service:
    """A service that runs: where, and the object behind it."""

    url: str
    querywright: Querywright
    life: Life


@contextmanager
def _serving(querywright: Querywright, keys: Keys | None = None) -> Iterator[Service]:
    life, settings = Life(), querywright.settings
    app = create_app(querywright, keys, life)
    config = Config(
        app, port=0, log_level="error", connections=settings.connections, drain_seconds=0, told=app.state.metrics
    )
    server = Server(config, life)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield Service(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", querywright, life)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[Service]]:
    """Return what runs a service over an ephemeral port of this machine."""
    return _serving


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """Return the default encoder, MiniLM, read once for all tests."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    return load_encoder("minilm")


@pytest.fixture(scope="session")
def word_encoder() -> WordEncoder:
    """Return an encoder that costs nothing."""
    return WordEncoder()


@pytest.fixture
def collection(tmp_path: Path, word_encoder: WordEncoder) -> Iterator[Collection]:
    """Return an empty collection with the cheap encoder."""
    with Collection(tmp_path / "demo", word_encoder) as opened:
        yield opened
