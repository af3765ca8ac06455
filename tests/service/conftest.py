"""A real service over a real socket, and the real command line, over one built demo."""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from querywright import Querywright
from querywright.retrieval.encoders import Encoder
from querywright.service import cli, local
from querywright.service.demo import build, folder

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _one_encoder(encoder: Encoder) -> Iterator[None]:
    """Let everything in this process that asks for the default encoder have the one that is read already."""
    with pytest.MonkeyPatch.context() as patch:
        load = local.load_encoder
        patch.setattr(local, "load_encoder", lambda name: encoder if name == encoder.name else load(name))
        yield


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with the demo, built once, whichever worker comes first; it is only to be copied."""
    shared = tmp_path_factory.getbasetemp().parent
    home = shared / "built"
    with (shared / "built.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "done").exists():
            with Querywright(home=home) as querywright:
                build(querywright)
            (home / "done").touch()
    return home


@pytest.fixture(scope="session")
def demo_home(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return this worker's own home with the demo in it."""
    return Path(shutil.copytree(built, tmp_path_factory.mktemp("home") / "home"))


@pytest.fixture(scope="session")
def service(demo_home: Path, serving: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    """Run one service with the demo for all tests of a worker."""
    with serving(Querywright(home=demo_home, rewrite_cache=0)) as running:
        running.querywright.warm_up()  # whichever test is first need not wait
        yield running


@pytest.fixture(scope="session")
def queries() -> Mapping[str, Row]:
    """Return the demo's labelled queries by id."""
    lines = (folder() / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["_id"]: row for row in map(json.loads, lines)}


@pytest.fixture(scope="session")
def judged() -> Mapping[str, set[str]]:
    """Return the best passages of each of the demo's queries."""
    found: dict[str, set[str]] = {}
    for line in (folder() / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query_id, doc_id, score = line.split("\t")
        if score == "2":
            found.setdefault(query_id, set()).add(doc_id)
    return found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Ran]:
    """Return what runs the command line in this process, from its arguments to its exit code."""

    def ran(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["querywright", *map(str, arguments)])
        capsysbinary.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as done:
            code = done.code
        captured = capsysbinary.readouterr()
        return Ran(int(str(code or 0)), captured.out.decode(), captured.err.decode())

    return ran
