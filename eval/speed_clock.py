"""Timing and weighing: contestants take turns, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

Made = TypeVar("Made")
Item = TypeVar("Item")


def say(text: str) -> None:
    """Tell on standard error what is being done."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def timed(work: Callable[[], Made]) -> tuple[Made, float]:
    """Return what `work` makes, and the seconds that took."""
    start = time.perf_counter()
    made = work()
    return made, time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of a turn, for one query: by the clock; by the processor, which others hardly slow down."""

    wall: float
    cpu: float


def spent(work: Callable[[], object], count: int = 1) -> Spent:
    """Return the time that `work` takes, by each of the `count` queries that it answers."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Spent((time.perf_counter() - wall) / count, (time.process_time() - cpu) / count)


def typical(turns: Sequence[Spent]) -> Spent:
    """Return the medians."""
    return Spent(median(one.wall for one in turns), median(one.cpu for one in turns))


def weighed(make: Callable[[], Made]) -> tuple[Made, dict[str, float | None]]:
    """Return what `make` makes, and what that took.

    That is `index_s`, by the clock; `index_cpu_s`, by the processor, of all threads; `resident_mb`, by how much the
    process has grown.
    """
    memory, work = _resident_mb(), time.process_time()
    made, seconds = timed(make)
    work = time.process_time() - work
    after = _resident_mb()
    grown = None if memory is None or after is None else max(after - memory, 0.0)
    return made, {"index_s": seconds, "index_cpu_s": work, "resident_mb": grown}


def take_turns(names: Sequence[str], rounds: int, turn: Callable[[str, int], Sequence[Made]]) -> dict[str, list[Made]]:
    """Return the figures that `turn` gave for each of `names` in all rounds.

    Everybody does the first round, then the second, and so on; who begins changes from round to round. The first is
    done once before, which is not counted.
    """
    for name in names:
        turn(name, 0)
    figures: dict[str, list[Made]] = {name: [] for name in names}
    for number in range(rounds):
        begin = number % len(names)
        for name in (*names[begin:], *names[:begin]):
            figures[name] += turn(name, number)
    return figures


def slices(items: Sequence[Item], parts: int) -> list[Sequence[Item]]:
    """Cut `items` into `parts` runs of about one length, fewer where there are not as many."""
    parts = min(parts, len(items))
    return [items[part * len(items) // parts : (part + 1) * len(items) // parts] for part in range(parts)]


def milliseconds(seconds: Sequence[float], percent: float) -> float:
    """Return a percentile of times in milliseconds."""
    return float(np.percentile(seconds, percent)) * 1_000


def _resident_mb() -> float | None:
    """Return how much memory this process holds after giving back what it can; None where that cannot be read."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except (AttributeError, OSError, TypeError):
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), None)
