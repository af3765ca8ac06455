"""SIGKILL while an evaluation runs: the next one goes on where it stopped and says the same to the last byte."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

CHILD = Path(__file__).with_name("evaluating.py")
KILLS = 10
QUERIES = 400
LONGEST = 0.05
"""Seconds that a process may go on after it has kept something new."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data set of conversations about things with numbers, each of which has a document."""
    folder = tmp_path_factory.mktemp("data") / "killed"
    folder.mkdir()
    dice = random.Random(5)
    words = [f"word{number}" for number in range(60)]
    things = [" ".join(dice.sample(words, 3)) for _ in range(QUERIES)]
    documents = (
        {"_id": f"d{n}", "text": f"{thing} {' '.join(dice.sample(words, 12))}"} for n, thing in enumerate(things)
    )
    queries = (
        {
            "_id": f"t{n // 4}<::>{n % 4}",
            "text": f"what of {thing.split()[0]}?" if n % 4 else thing,
            "history": [{"role": "user", "text": things[n - n % 4]}] if n % 4 else [],
            "rewrite": thing,
        }
        for n, thing in enumerate(things)
    )
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = (f"t{n // 4}<::>{n % 4}\td{n}\t1\n" for n in range(QUERIES))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


def without_times(data: bytes) -> bytes:
    """Return JSON without the keys that hold times."""

    def strip(value):
        if isinstance(value, dict):
            return {key: strip(member) for key, member in value.items() if key not in ("ms", "stages")}
        return [strip(member) for member in value] if isinstance(value, list) else value

    return b"\n".join(orjson.dumps(strip(orjson.loads(line))) for line in data.splitlines())


def strip_whole(data: bytes) -> bytes:
    """Return results.json without its times."""
    return without_times(orjson.dumps(orjson.loads(data)))


def kept_rows(home: Path) -> int:
    """Count the whole rows on disk."""
    return sum(path.read_bytes().count(b"\n") for path in (home / "eval-cache").rglob("*.jsonl"))


def wait_for_more(home: Path, kept: int) -> None:
    """Wait until more than `kept` rows are on disk, so that kills fall all over the work, however fast the machine."""
    end = time.monotonic() + 10
    while kept_rows(home) <= kept and time.monotonic() < end:
        time.sleep(0.002)


class Children:
    """A process that forks evaluations; each is killed a while after it has begun."""

    def __init__(self, *arguments: Path) -> None:
        command = [sys.executable, str(CHILD), *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        said = {self._line(), self._line()} - {"begun"}
        return int(said.pop())

    def ended(self) -> int:
        return int(self._line())

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.communicate(timeout=10)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def test_kill_while_evaluating(tmp_path: Path, dataset: Path) -> None:
    dice = random.Random(11)
    home, out, expected = tmp_path / "home", tmp_path / "out", tmp_path / "expected"
    with Children(tmp_path / "calm", dataset, expected) as calm:
        calm.begin()
        assert calm.ended() == 0
    kept = [0]
    with Children(home, dataset, out) as children:
        for _ in range(KILLS):
            process = children.begin()
            wait_for_more(home, kept[-1])
            time.sleep(dice.random() * LONGEST)
            os.kill(process, signal.SIGKILL)
            assert children.ended() == -signal.SIGKILL
            kept.append(kept_rows(home))
    assert kept == sorted(kept)
    assert len(set(kept)) > KILLS // 2
    assert kept[-1] < kept_rows(tmp_path / "calm")
    for path in (home / "eval-cache").rglob("*.jsonl"):
        with path.open("ab") as file:
            file.write(b'{"key": "torn in the mid')
    with Children(home, dataset, out) as children:
        children.begin()
        assert children.ended() == 0
    assert strip_whole((out / "results.json").read_bytes()) == strip_whole((expected / "results.json").read_bytes())
    assert without_times((out / "queries.jsonl").read_bytes()) == without_times(
        (expected / "queries.jsonl").read_bytes()
    )
    for path in (expected / "runs" / "killed").iterdir():
        assert (out / "runs" / "killed" / path.name).read_bytes() == path.read_bytes()
