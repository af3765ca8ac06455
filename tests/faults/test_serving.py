"""Short versions of the proofs about a service under load; the long ones: `python -m serving`, docs/reliability.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving.overhead import overhead
from serving.overload import overload
from serving.reloads import reloads
from serving.shutdown import shutdown
from serving.slow import slow

pytestmark = pytest.mark.xdist_group("load")


def test_overload(tmp_path: Path) -> None:
    found = overload(tmp_path, seconds=2)
    assert set(found["statuses"]) <= {200, 503}
    assert (found["errors"], found["without_retry_after"]) == ([], 0)
    assert found["goodput"] > 0.3  # other tests use the same cores


def test_slow_clients(tmp_path: Path) -> None:
    found = slow(tmp_path, connections=100, seconds=13)
    assert found["success"] >= 0.99
    assert max(found["closed_within"].values()) <= 12.5
    assert found["sockets"]["most"] >= 100
    assert found["sockets"]["after"] <= found["sockets"]["before"] + 1


def test_shutdown_under_load(tmp_path: Path) -> None:
    found = shutdown(tmp_path, times=2)
    assert found["lost"] == 0
    assert found["answered"] > 0
    assert found["slowest_not_ready"] <= 1.5
    assert found["slowest_exit"] <= 10
    assert found["codes"] == [0]


def test_reloads_under_load(tmp_path: Path) -> None:
    found = reloads(tmp_path, times=20)
    assert found["reloads"] == {"done": 18, "refused": 2}
    assert set(found["answers"]) == {"whole"}


def test_overhead(tmp_path: Path) -> None:
    found = overhead(tmp_path, seconds=1, rounds=1)
    assert set(found["statuses"]) <= {200, 503}
    assert found["share_of_bare"]["bare def"] > 0.2  # other tests use the same cores


def test_fuzz() -> None:
    """In a process of its own: hypothesis and pytest both have their ways with the stack."""
    command = [sys.executable, "-m", "serving", "fuzz", "--examples", "10", "--bodies", "10"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONSAFEPATH": "1"}
    found = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert found["operations"] >= 20
    assert [fault for fault in found["first_faults"] if " s for " not in fault] == []


@pytest.fixture(autouse=True)
def _own_cores() -> Iterator[None]:
    """Give this process its cores back, which a proof takes from it."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)
