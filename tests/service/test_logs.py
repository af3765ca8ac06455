"""The log: lines of JSON or of text, each with its request's id, nothing of what requests say unless asked for."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import Querywright
from querywright.rewrite.query import Query, Rewrite
from querywright.service.exchange import Exchange, working_on
from querywright.service.keys import Keys, Scope
from querywright.service.logs import ACCESS, JSONFormatter, TextFormatter

SECRET = "canary-7f3a"
ID = re.compile("[0-9a-f]{16}")


class Log:
    """What the service logged, as lines of JSON."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def rows(self, logger: str = ACCESS) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.text.splitlines()]
        return [row for row in rows if row["logger"].startswith(logger)]

    def told(self, requests: int) -> list[dict[str, Any]]:
        """Return the lines of so many requests: they are written after the answers are sent."""
        until = time.monotonic() + 10
        while len(self.rows()) < requests and time.monotonic() < until:
            time.sleep(0.005)
        return self.rows()


@contextmanager
def logged(formatter: logging.Formatter) -> Iterator[Log]:
    """Take what is logged, as `set_up` would send it to standard error."""
    log, ours, access = Log(), logging.getLogger("querywright"), logging.getLogger(ACCESS)
    log.handler.setFormatter(formatter)
    levels = ours.level, access.level
    ours.addHandler(log.handler)
    ours.setLevel(logging.WARNING)
    access.setLevel(logging.INFO)
    try:
        yield log
    finally:
        ours.removeHandler(log.handler)
        ours.setLevel(levels[0])
        access.setLevel(levels[1])


@pytest.fixture
def log() -> Iterator[Log]:
    with logged(JSONFormatter()) as taken:
        yield taken


# -------------------------------------------------------------------------------------- request ids


@pytest.mark.parametrize("given_id", ["abc", "A.b_c-9", "x" * 64])
def test_a_request_keeps_the_id_that_it_brings(service: Any, given_id: str) -> None:
    assert httpx.get(f"{service.url}/healthz", headers={"x-request-id": given_id}).headers["x-request-id"] == given_id


@pytest.mark.parametrize("given_id", ["", "a b", "x" * 65, "a;b", "é", '"', "a\tb"])
def test_an_id_that_cannot_be_one_is_replaced(service: Any, given_id: str) -> None:
    answered = httpx.get(f"{service.url}/healthz", headers={"x-request-id": given_id.encode()})
    assert ID.fullmatch(answered.headers["x-request-id"])


def test_every_answer_has_an_id_of_its_own(service: Any, log: Log) -> None:
    asked = [
        ("GET", "/readyz", b""),
        ("GET", "/no-such-page", b""),
        ("POST", "/v1/search", b"{"),
        ("DELETE", "/v1/collections/none", b""),
        ("PUT", "/v1/query", b""),
        ("POST", "/v1/query/stream", b'{"query": "frog"}'),
    ]
    ids = []
    for method, path, body in asked:
        answered = httpx.request(method, service.url + path, content=body, timeout=30)
        ids.append(answered.headers["x-request-id"])
    assert len(set(ids)) == len(asked)
    assert [row["request_id"] for row in log.told(len(ids) - 1)] == ids[1:]  # probes are not told of


def test_a_crash_is_answered_with_its_id_and_logged_once_without_its_message(
    service: Any, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(service.querywright, "search", crash)
    answered = httpx.post(f"{service.url}/v1/search", json={"query": SECRET}, headers={"x-request-id": "mine"})
    assert (answered.status_code, answered.headers["x-request-id"]) == (503, "mine")
    log.told(1)
    problem, access = log.rows("querywright")
    assert problem["level"] == "ERROR"
    assert problem["request_id"] == access["request_id"] == "mine"
    assert problem["error"][0] == "builtins.KeyError"
    assert any("in crash" in place for place in problem["error"])
    assert access["status"] == 503
    assert SECRET not in log.text


def test_warnings_of_the_rewriters_threads_name_the_request(service: Any, log: Log, monkeypatch: Any) -> None:
    threads = []

    def fail(*_: object) -> None:
        threads.append(threading.current_thread().name)
        raise RuntimeError(SECRET)

    monkeypatch.setattr("querywright.rewrite.history.HistoryRewriter.rewrite", fail)
    body = {"query": "它怎么收费", "history": [{"role": "user", "text": "客户画像功能是什么"}], "rewriter": "history"}
    for name in ("first", "second"):
        httpx.post(f"{service.url}/v1/query", json=body, headers={"x-request-id": name}, timeout=30)
    warnings = log.rows("querywright.rewrite")
    assert [row["request_id"] for row in warnings] == ["first", "second"]
    assert [row["request_id"] for row in log.told(2) if row["degraded"] == "history_failed"] == ["first", "second"]
    assert all(name.startswith("rewrite") for name in threads)
    assert SECRET not in log.text


# --------------------------------------------------------------------------------------- the access log


def test_a_line_tells_of_a_request_by_its_route(service: Any, log: Log) -> None:
    httpx.get(f"{service.url}/v1/collections/demo/documents", params={"after": SECRET})
    [row] = log.told(1)
    assert row.pop("request_id")
    assert datetime.fromisoformat(row.pop("time")).tzinfo == UTC
    assert 0 < row.pop("seconds") < 30
    assert row == {
        "level": "INFO",
        "logger": "querywright.access",
        "message": "GET /v1/collections/{name}/documents 200",
        "method": "GET",
        "route": "/v1/collections/{name}/documents",
        "status": 200,
    }


def test_a_line_tells_whose_key_a_request_came_with(tmp_path: Path, serving: Callable, log: Log) -> None:
    keys = Keys(tmp_path / "keys.json")
    secret = keys.add("phone", Scope.READ)
    with serving(Querywright(home=tmp_path, encoder="none"), keys) as service:
        for key in (secret, "qw_wrong", ""):
            httpx.get(f"{service.url}/v1/collections", headers={"authorization": f"Bearer {key}"} if key else {})
    assert [(row["status"], row.get("key")) for row in log.told(3)] == [(200, "phone"), (401, None), (401, None)]
    assert {row["route"] for row in log.rows()} == {"/v1/collections"}
    assert secret not in log.text
    assert "qw_wrong" not in log.text


def test_nothing_that_a_request_says_is_logged(service: Any, log: Log) -> None:
    turns = [{"role": "user", "text": SECRET}]
    body = {"query": f"how about {SECRET}", "history": turns, "profile": {"team": SECRET}, "id": SECRET}
    headers = {"authorization": f"Bearer {SECRET}", "cookie": SECRET, "x-request-id": f"{SECRET} {SECRET}"}
    for path in ("query", "rewrite", "query/stream"):
        httpx.post(f"{service.url}/v1/{path}", json=body, headers=headers, timeout=30)
    httpx.post(f"{service.url}/v1/search", json={"query": SECRET, "collection": [SECRET]}, headers=headers)
    httpx.get(f"{service.url}/v1/collections/{SECRET}/document", params={"doc_id": SECRET}, headers=headers)
    httpx.get(f"{service.url}/{SECRET}")
    assert len(log.told(6)) == 6
    assert SECRET not in log.text


def test_queries_are_logged_where_that_is_asked_for(tmp_path: Path, serving: Callable, log: Log) -> None:
    querywright = Querywright(home=tmp_path, encoder="none", log_queries=True)
    querywright.create_collection("demo")
    body = {"query": "last month's sales", "now": "2024-07-15T10:00:00+08:00"}
    with serving(querywright) as service:
        for path in ("query", "rewrite", "search", "query/stream"):
            httpx.post(f"{service.url}/v1/{path}", json=body if path != "search" else {"query": "frog"}, timeout=30)
    rows = log.told(4)
    assert [row["query"] for row in rows] == ["last month's sales"] * 2 + ["frog", "last month's sales"]
    assert "2024" in rows[0]["rewrite"]
    assert all(row["collections"] == ["demo"] for row in rows)


def test_a_client_that_goes_away_is_told_of(service: Any, log: Log) -> None:
    with httpx.stream("POST", f"{service.url}/v1/query/stream", json={"query": "frog"}, timeout=30) as answered:
        its_id = answered.headers["x-request-id"]
    assert [(row["request_id"], row["status"]) for row in log.told(1)] == [(its_id, 200)]


# ---------------------------------------------------------------------------------------------- lines


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    return logging.LogRecord(
        "querywright.x", logging.WARNING, "", 0, message, args, error and (type(error), error, None)
    )


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_each_record_is_one_line_of_json(message: str, name: str) -> None:
    line = JSONFormatter().format(record("%s by %s", message, name))
    assert "\n" not in line
    assert "\r" not in line
    assert json.loads(line)["message"] == f"{message} by {name}"


@given(st.text())
def test_a_message_is_one_line_of_text(message: str) -> None:
    line = TextFormatter().format(record("%s", message))
    assert line.startswith("WARNING querywright.x: ")
    assert len(line.splitlines()) == 1


def test_text_names_the_request_too() -> None:
    with working_on(Exchange("abc")):
        assert TextFormatter().format(record("it is late")) == "WARNING querywright.x: it is late [abc]"


def test_an_error_is_told_with_its_causes_and_with_messages_only_where_queries_may_be() -> None:
    def failing() -> None:
        try:
            int(f"one {SECRET}\ntwo")
        except ValueError as error:
            raise RuntimeError("three") from error

    with pytest.raises(RuntimeError) as caught:
        failing()
    told = json.loads(JSONFormatter().format(record("it failed", error=caught.value)))["error"]
    assert [line for line in told if not line.startswith("at ")] == ["builtins.RuntimeError", "builtins.ValueError"]
    assert any(line.endswith("in failing") for line in told)
    asked = json.loads(JSONFormatter(queries=True).format(record("it failed", error=caught.value)))["error"]
    assert any(line.startswith("builtins.ValueError: ") and SECRET in line for line in asked)
    text = TextFormatter().format(record("it failed", error=caught.value))
    assert SECRET not in text
    assert text.splitlines()[1] == "  builtins.RuntimeError"


def test_an_exchange_holds_its_rewrite_only_once_it_is_there() -> None:
    exchange = Exchange("1")
    exchange.rewritten(Rewrite.keep(Query("frog")), "demo")
    assert (exchange.collections, [stage.stage for stage in exchange.stages]) == (("demo",), ["rewrite"])


def test_serve_writes_json_only(built: Path, tmp_path: Path) -> None:
    home = shutil.copytree(built, tmp_path / "home")
    command = [Path(sys.executable).with_name("querywright"), "serve", "--port", "0", "--home", home]
    environment = os.environ | {"QUERYWRIGHT_LOG_FORMAT": "json"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        rows = [json.loads(process.stdout.readline()) for _ in range(2)]
        url = rows[1]["ready"]
        assert httpx.post(f"{url}/v1/search", json={"query": "frog"}, headers={"x-request-id": "mine"}).is_success
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert [json.loads(line)["request_id"] for line in errors.splitlines()] == ["mine"]


PROGRAM = """
import logging, sys, warnings
from querywright.service.logs import set_up
set_up(sys.argv[1])
logging.getLogger("querywright.service").warning("ours")
logging.getLogger("querywright.access").info("access", extra={"fields": {"status": 200}})
logging.getLogger("uvicorn.error").error("uvicorn's")
logging.getLogger("somebody").warning("theirs")
"""


@pytest.mark.parametrize(
    ("log_format", "expected"), [("json", ["ours", "access", "uvicorn's"]), ("text", ["ours", "uvicorn's"])]
)
def test_all_loggers_write_the_same_lines(log_format: str, expected: list[str]) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", PROGRAM, log_format], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    messages = [json.loads(line)["message"] if log_format == "json" else line.partition(": ")[2] for line in lines]
    assert messages == expected
