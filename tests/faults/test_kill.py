"""SIGKILL while documents are written: what was acknowledged is there whole, and no half of another."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from querywright.retrieval.collection import Collection
from querywright.retrieval.passage import Document, split

CHILD = Path(__file__).with_name("upserting.py")
KILLS = 24
"""Over both parameters."""


def text(number: int) -> str:
    """Say again what the child writes."""
    return "\n\n".join(f"document {number} part {part} " + "words " * 190 for part in range(2 + number % 3))


def run_until_killed(folder: Path, first: int, dice: random.Random) -> list[list[str]]:
    """Kill a child a random while after a random number of acknowledgements; return all that it printed."""
    command = [sys.executable, str(CHILD), str(folder), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(dice.randrange(1, 5))]
        time.sleep(dice.random() * 0.02)
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [line.split() for line in lines if line.endswith("\n")]


@pytest.mark.parametrize("seed", [1, 2])
def test_kill_while_upserting(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    folder = tmp_path / "killed"
    acknowledged = 0
    replaced: set[int] = set()
    for _ in range(KILLS // 2):
        for line in run_until_killed(folder, acknowledged, dice):
            acknowledged = int(line[0])
            replaced |= set(range(acknowledged - 5, acknowledged)) if line[1:] else set()
        check(folder, acknowledged, replaced)
    assert acknowledged >= KILLS // 2


def check(folder: Path, acknowledged: int, replaced: set[int]) -> None:
    with Collection(folder) as collection:
        stored: dict[str, Document] = {}
        while page := collection.documents(max(stored, default=None), 1_000):
            stored |= {document.doc_id: document for document in page}
        # At most one batch can be on disk without its acknowledgement.
        assert acknowledged <= len(stored) <= acknowledged + 5
        assert set(stored) == {f"d{number}" for number in range(len(stored))}
        snapshot = collection.snapshot()
        found: dict[str, list[str]] = {}
        for position in range(len(snapshot)):
            passage = snapshot.passage(position)
            found.setdefault(passage.doc_id, []).append(passage.text)
        for number in range(len(stored)):
            document = stored[f"d{number}"]
            assert document.text == text(number)
            assert document.title in (("again",) if number in replaced else ("", "again"))
            expected = [passage.text for passage in split(document)]
            assert len(expected) > 1
            assert found[document.doc_id] == expected
