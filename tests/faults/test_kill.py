"""SIGKILL while documents are written, deleted, flushed and merged; `python -m durability kills` makes the long run."""

import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from durability import kills as module
from durability.truth import Truth, document

FAULTS = Path(__file__).parent


@pytest.mark.usefixtures("memory")
def test_kills_lose_nothing() -> None:
    # In a process of its own: children are forked, and other tests may have left threads.
    command = [sys.executable, "-m", "durability", "kills", "--kills", "20", "--seed", "2"]
    environment = {**os.environ, "PYTHONPATH": str(FAULTS), "TMPDIR": tempfile.gettempdir()}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    counts = {name: int(count) for count, name in re.findall(r"^ +(\d+)  (.*)$", ran.stdout, re.MULTILINE)}
    assert counts["transactions acknowledged"] > 20
    assert counts["killed: any"] + counts["killed: index"] + counts["killed: sqlite"] == 20


def test_what_was_not_acknowledged_is_one_step_at_most() -> None:
    dice = random.Random(1)
    begun: Truth = {"d0": document(0, dice)}
    with_all, with_next = module._candidates(begun, "seed", 5)
    again, _ = module._candidates(begun, "seed", 6)
    assert with_next == again
    assert with_all != begun
