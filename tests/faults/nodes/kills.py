"""Index and rewrite on two nodes, of which one is killed at a random point; compare with one process."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from querywright import Querywright
from querywright.service.cluster import Cluster, connected

from .batches import Batches, stored
from .machines import Machines, machines

Made = tuple[list[tuple[object, ...]], list[bytes]]
"""What was stored and what was rewritten."""


def made(batches: Batches, home: Path, cluster: Cluster | None = None, tell: Callable[[], None] = lambda: None) -> Made:
    """Index the documents into a new home, then rewrite the queries; `tell` hears the beginning, and of each shard."""
    tell()
    rows: list[bytes] = []
    with Querywright(home, budget_ms=60_000) as querywright:
        querywright.index([batches.documents], "drawn", cluster=cluster, progress=lambda _: tell())
        for some in batches.rewritten(querywright, cluster):
            rows += some
            tell()
    return stored(home), rows


def kills(runs: int, seed: int, shards: int) -> tuple[Counter[str], list[str]]:
    """Kill a node in each run, at a drawn point of encoding or rewriting; tell what was done, and what is wrong."""
    told: Counter[str] = Counter()
    faults: list[str] = []
    with TemporaryDirectory(prefix="nodes-") as place, machines(2) as nodes:
        batches = Batches.drawn(Path(place), shards, seed, 12)
        expected = made(batches, Path(place) / "one")
        with connected(nodes.address) as cluster:
            for run in range(runs):
                nodes.be(2)
                drawn = random.Random(f"{seed} {run}")
                killing = _Killing(nodes, drawn.randrange(2 * shards - 1), drawn.random())
                found = made(batches, Path(place) / f"run{run}", cluster, killing)
                told["runs"] += 1
                told["nodes killed while the work went on"] += killing.settled()
                for name, ours, theirs in zip(("stored", "rewritten"), found, expected, strict=True):
                    told[f"rows {name}"] += len(theirs)
                    if ours != theirs:
                        different = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
                        first = "; ".join(map(str, different[0])) if different else ""
                        faults.append(f"run {run}: {name}: {len(different)} of {len(theirs)}, got {len(ours)}: {first}")
    return told, faults


class _Killing:
    """Kills a node a moment after so many shards are done."""

    def __init__(self, nodes: Machines, shards: int, seconds: float) -> None:
        self.done = False
        self._nodes, self._left = nodes, shards
        self._timer = threading.Timer(seconds, self._kill)

    def __call__(self) -> None:
        """Hear that a shard is done, or that the work begins."""
        if self._left == 0:
            self._timer.start()
        self._left -= 1

    def settled(self) -> bool:
        """Say whether it was done while the work went on; the node is dead in any case."""
        in_time = self.done
        self._timer.join()
        return in_time

    def _kill(self) -> None:
        self._nodes.kill()
        self.done = True
