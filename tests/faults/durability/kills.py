"""SIGKILL at seeded random points of upserts, deletes, flushes and merges in the background.

A child is forked for each kill. It tells through a pipe what was acknowledged; what it does follows from the seed.
"""

import itertools
import os
import random
import select
import shutil
import signal
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .interception import Call, Handler, Real, intercepted
from .truth import Reopen, Truth, differing, merged_above, opened, operations, perform, steps

KILLS_IN_A_FOLDER = 20
LONGEST = 5.0
"""A child that has not come to its point by then is killed where it is."""

_write = os.write


@dataclass(frozen=True)
class Point:
    """Where a child dies: `layer` is `sqlite` or `index` for the call `number` of it, else at any time."""

    layer: str
    number: int
    half: bool
    acknowledged: int
    delay: float

    @classmethod
    def drawn(cls, dice: random.Random) -> "Point":
        """Draw one."""
        layer = dice.choice(("any", "sqlite", "index"))
        number = dice.randrange(1, 150 if layer == "sqlite" else 300)
        return cls(layer, number, dice.random() < 0.5, dice.randrange(0, 12), dice.random() * 0.02)


def kills(count: int, seed: int, at_once: int = 3) -> tuple[Counter[str], list[str]]:
    """Kill `count` times; return how often at which kind of point, and all that was not as it must be."""
    told: Counter[str] = Counter()
    faults: list[str] = []
    scratch = Path(tempfile.mkdtemp(prefix="kills-"))
    folder = scratch / "0"
    truth: Truth = {}
    for number in range(count):
        if number % KILLS_IN_A_FOLDER == 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder, truth = scratch / str(number), {}
        dice = random.Random(f"{seed} {number}")
        point = Point.drawn(dice)
        acknowledged = _killed(folder, f"{seed} {number} work", point, at_once)
        told["transactions acknowledged"] += acknowledged
        told[f"killed: {point.layer}"] += 1
        told["while index files were written"] += _holds(folder, ".unfinished-index-")
        told["with index files to read"] += _holds(folder, "index-")
        with opened(folder) as collection:
            truth, found = differing(collection, _candidates(truth, f"{seed} {number} work", acknowledged))
        faults += [f"kill {number} ({point}): {fault}" for fault in found]
    shutil.rmtree(scratch)
    return told, faults


def _holds(folder: Path, prefix: str) -> bool:
    return folder.exists() and any(path.name.startswith(prefix) for path in folder.iterdir())


def _candidates(truth: Truth, seed: str, acknowledged: int) -> list[Truth]:
    """Return what may be stored: all that was acknowledged, perhaps with the one step after that."""
    every = (step for operation in operations(seed) for step in steps(operation))
    for step in itertools.islice(every, acknowledged):
        truth = step(truth)
    return [truth, next(every)(truth)]


def _killed(folder: Path, seed: str, point: Point, at_once: int) -> int:
    """Run a child until it is killed; return how many steps were acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(folder, seed, point, at_once, writing)
    os.close(writing)
    acknowledged = _listen(reading, point)
    if point.layer == "any":
        time.sleep(point.delay)
    os.kill(child, signal.SIGKILL)
    while told := os.read(reading, 4096):
        acknowledged += len(told)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        raise AssertionError(f"the child ended by itself: {status}, {point}")
    return acknowledged


def _listen(reading: int, point: Point) -> int:
    """Count acknowledgements until it is time to kill, or the child has killed itself."""
    acknowledged = 0
    until = time.monotonic() + LONGEST
    while point.layer != "any" or acknowledged < point.acknowledged:
        if not select.select([reading], [], [], max(0, until - time.monotonic()))[0]:
            break
        told = os.read(reading, 1)
        if not told:
            break
        acknowledged += 1
    return acknowledged


def _child(folder: Path, seed: str, point: Point, at_once: int, writing: int) -> NoReturn:
    try:
        watched = intercepted(_dying(point), folder) if point.layer != "any" else nullcontext()
        with merged_above(at_once), watched:
            _work(folder, seed, writing)
    finally:
        os._exit(3)


def _work(folder: Path, seed: str, writing: int) -> None:
    def acknowledged() -> None:
        _write(writing, b".")

    collection = opened(folder)
    for operation in operations(seed):
        if isinstance(operation, Reopen):
            collection.close()
            collection = opened(folder)
        else:
            perform(collection, operation, acknowledged)


def _dying(point: Point) -> Handler:
    """Return a handler that kills the process at its call, perhaps after half a write."""
    left = itertools.count(1)

    def handle(call: Call, real: Real) -> Any:
        written = call.name == "write"
        if call.layer == point.layer and call.name != "read" and next(left) == point.number:
            if point.half and written:
                real(call.data[: len(call.data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(call.data) if written else real()

    return handle
