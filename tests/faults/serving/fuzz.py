"""Requests drawn from the service's own OpenAPI document, valid and not, and bodies that are no JSON at all."""

from __future__ import annotations

import gc
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode

from querywright import Client

from .processes import Serving, serving

SLOWEST_SECONDS = 1.0
LARGEST_PROBLEM = 4096
_KEPT = "kept"
_ENCODED_AT_ONCE = 10_000
"""Larger texts may take longer: their passages are encoded before they are acknowledged."""
_SHORTEST = 8
"""Shorter values could stand in a message by chance."""


class Seen:
    """What was answered, and what was wrong with it."""

    def __init__(self, known_words: str) -> None:
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0
        self.faults: list[str] = []
        self._known_words = known_words

    def check(self, name: str, status: int, body: bytes, seconds: float, given: object) -> None:
        """Count an answer; note a fault where it is one."""
        self.requests[name] += 1
        self.statuses[status] += 1
        self.slowest = max(self.slowest, seconds)
        if status >= 500 or status < 200:
            self.faults.append(f"{name}: {status} for {given!r:.300}")
        if 400 <= status < 500:
            if len(body) > LARGEST_PROBLEM or json.loads(body)["status"] != status:
                self.faults.append(f"{name}: {len(body)} bytes of {body!r:.200}")
            told = body.decode()
            if "/catalog" not in name:  # of a catalog the entry is named that is wrong: whoever wrote it must find it
                self.faults += [
                    f"{name}: tells {text!r:.99}: {told:.200}" for text in _texts(given) if self._tells(told, text)
                ]
        if seconds > SLOWEST_SECONDS and not (name.endswith("/files") and len(str(given)) > _ENCODED_AT_ONCE):
            self.faults.append(f"{name}: {seconds:.1f} s for {given!r:.300}")

    def _tells(self, told: str, text: str) -> bool:
        return len(text) >= _SHORTEST and text in told and text not in self._known_words


def _texts(given: object) -> Iterator[str]:
    """Yield every string of a request's body and parameters."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, Mapping):
        for key, value in given.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(given, list):
        for value in given:
            yield from _texts(value)


def fuzz(home: Path, examples: int = 2000, bodies: int = 300, seed: int = 1) -> dict[str, object]:
    """Send so many requests to each operation, and so many raw bodies to each that takes one."""
    with serving(home, rewrite_cache=0) as service:
        return fuzzed(service, examples, bodies, seed)


def fuzzed(service: Serving, examples: int, bodies: int, seed: int) -> dict[str, object]:
    """Fuzz a service that runs."""
    with Client(service.url) as client:
        client.create_collection(_KEPT)
        client.upsert(_KEPT, [{"doc_id": "a", "text": "green frog"}, {"doc_id": "b", "text": "客户画像"}])
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    seen = Seen(json.dumps(schema.raw_schema, ensure_ascii=False) + _KEPT)
    operations = [found.ok() for found in schema.get_all_operations()]
    with requests.Session() as session:
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _drawn(operation, mode, examples // 2, service.url, session, seen)
            gc.collect()
    for operation in operations:
        if operation.method.upper() in {"POST", "PUT"}:
            _raw(operation, bodies, service, random.Random(seed), seen)
    return {
        "operations": len(operations),
        "requests": seen.requests.total(),
        "fewest_an_operation": min(count for name, count in seen.requests.items() if not name.startswith("raw ")),
        "raw_bodies": sum(count for name, count in seen.requests.items() if name.startswith("raw ")),
        "statuses": {str(status): count for status, count in sorted(seen.statuses.items())},
        "slowest_seconds": round(seen.slowest, 2),
        "faults": len(seen.faults),
        "first_faults": seen.faults[:10],
    }


def _drawn(
    operation: Any, mode: GenerationMode, examples: int, url: str, session: requests.Session, seen: Seen
) -> None:
    """Send what hypothesis draws from the operation's schema, half of it to a collection that is there.

    Where that is soon exhausted, each request comes again with parameters that nobody knows.
    """
    name = f"{operation.method.upper()} {operation.path}"
    until = seen.requests[name] + examples

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode), st.booleans(), st.text(min_size=1), st.text())
    def send(case: Case, kept: bool, key: str, value: str) -> None:  # noqa: FBT001
        if kept and "name" in (case.path_parameters or {}) and name != "DELETE /v1/collections/{name}":
            case.path_parameters["name"] = _KEPT
        if mode is GenerationMode.POSITIVE and "GET" in name:
            case.query = {**(case.query or {}), key: value}
        begun = time.perf_counter()
        try:
            response = case.call(base_url=url, session=session, timeout=30)
        except (requests.exceptions.InvalidHeader, UnicodeError, ValueError):
            return  # no client could send this
        path = set(map(str, (case.path_parameters or {}).values()))  # a name in the path is the caller's own to read
        given = [text for text in _texts([case.body, case.query, dict(case.headers or {})]) if text not in path]
        seen.check(name, response.status_code, response.content, time.perf_counter() - begun, given)

    try:
        while seen.requests[name] < until:
            before = seen.requests[name]
            send()
            if seen.requests[name] == before:
                return
    except Unsatisfiable:  # nothing can be wrong with a request that has no parameters
        if mode is GenerationMode.NEGATIVE:
            _drawn(operation, GenerationMode.POSITIVE, examples, url, session, seen)


# ----------------------------------------------------------------------------------- raw bodies

HOSTILE: tuple[bytes, ...] = (
    b"",
    b"null",
    b"[]",
    b"0",
    b'"x"',
    b"{",
    b"\xff\xfe\x00",
    b'{"query": "\\ud800"}',
    b'{"query": "\xed\xa0\x80"}',
    b'{"query": NaN}',
    b'{"query": "x", "k": 1e999}',
    b'{"query": "x", "k": -0.0}',
    b'{"query": "x", "k": 99999999999999999999999999}',
    b'{"query": "x", "k": Infinity}',
    b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    b'{"query": "x", "filter": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
    b'{"query": "x", "query": "y"}',
    b'{"query": "\\u0000"}',
    b'{"query": "' + b"x" * 100_000 + b'"}',
    b"\x00" * 1000,
    b'\xef\xbb\xbf{"query": "x"}',
    '{"query": "x"}'.encode("utf-16"),
    b'{"query": "x", "history": [' + b'{"role":"user","text":"a"},' * 30_000 + b'{"role":"user","text":"a"}]}',
    b'{"documents": [' + b'{"doc_id":"a","text":""},' * 11_000 + b'{"doc_id":"a","text":""}]}',
    b"PK\x03\x04",
    b"GIF89a",
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>",
    b"a: &a [*a, *a]",
    b"x = [" + b"[" * 5000,
)


def _raw(operation: Any, bodies: int, service: Serving, chance: random.Random, seen: Seen) -> None:
    """Send bodies that no client library would: hostile ones, these with bytes changed, chunks that end too soon."""
    path = operation.path.replace("{name}", _KEPT) + ("?file=x.md" if operation.path.endswith("/files") else "")
    for number in range(bodies):
        body = HOSTILE[number % len(HOSTILE)]
        if number >= len(HOSTILE):
            body = _changed(body[:20_000], chance)
        begun = time.perf_counter()
        status, answer = _sent(service.address, operation.method.upper(), path, body, chance)
        if status:  # of a body that was cut off nothing comes back
            seen.check(f"raw {operation.path}", status, answer, time.perf_counter() - begun, body.decode("latin-1"))
        else:
            seen.requests[f"raw {operation.path}"] += 1


def _changed(body: bytes, chance: random.Random) -> bytes:
    found = bytearray(body or b"{}")
    for _ in range(chance.randint(1, 5)):
        found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found)


def _sent(address: tuple[str, int], method: str, path: str, body: bytes, chance: random.Random) -> tuple[int, bytes]:
    """Send a body in one of four ways; return the status, 0 for none, and what came back."""
    way = chance.choice(("whole", "chunks", "cut chunks", "cut"))
    kind = chance.choice(("application/json", "text/plain", "application/toml", "text/csv", "application/yaml", "x"))
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: {kind}\r\n".encode()
    if "chunks" in way:
        sent = head + b"transfer-encoding: chunked\r\n\r\n" + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        sent = sent if body else head + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    else:
        sent = head + b"content-length: %d\r\n\r\n" % len(body) + body
    if way.startswith("cut"):
        sent = sent[: chance.randrange(len(head), len(sent) + 1)]
    with socket.create_connection(address, timeout=15) as connection:
        try:
            connection.sendall(sent)
            if way.startswith("cut"):
                connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        except ConnectionError:
            return 0, b""
    status, _, answered = answer.partition(b"\r\n\r\n")
    return (int(status[9:12]), answered) if status else (0, b"")
