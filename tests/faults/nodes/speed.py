"""Encode and rewrite by one node and by two, in turns, beside what the machine gives two processes at that time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import cloudpickle

from querywright import Querywright
from querywright.retrieval.sources import read_source
from querywright.service.cluster import Begin, Cluster, connected
from querywright.service.sharding import encoding_on

from .batches import Batches
from .machines import machines

WORDS = 40
"""Words of a document, on average."""


def speed(shards: int, rounds: int, seed: int) -> dict[str, object]:
    """Return the seconds of each round, and by how much two nodes are faster over all of them.

    The first round, in which models are loaded, is not told. `machine` is the same for work without Ray. `busy` is the
    share of the time that a node had a shard to work on, `cpu` what all its shards took of a core: where others use the
    cores, these say what the cluster itself costs.
    """
    seconds: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="nodes-") as place, machines(2) as nodes, connected(nodes.address) as cluster:
        batches = Batches.drawn(Path(place), shards, seed, WORDS)
        for turn in range(rounds + 1):
            for count in (1, 2) if turn % 2 else (2, 1):
                with _only(count):
                    watched = _Watched(cluster, count)
                    found = {"machine": _spun(count)} | _timed(Path(place) / f"{turn}-{count}", batches, watched)
                for what, taken in found.items():
                    if turn:
                        seconds.setdefault(f"{what} {count}", []).append(round(taken, 2))
    whats = ("encoding", "rewriting", "machine")
    ratios = {what: round(sum(seconds[f"{what} 1"]) / sum(seconds[f"{what} 2"]), 2) for what in whats}
    return {"seconds": seconds, "one by two": ratios, "load": os.getloadavg(), "cores": os.cpu_count()}


@ray.remote(num_cpus=1)
class _Occupant:
    """Takes a node's CPU and does nothing."""

    def there(self) -> bool:
        """Say that it has begun."""
        return True


@contextmanager
def _only(count: int) -> Iterator[None]:
    """Leave so many of the two nodes free; nothing is loaded anew when the other comes back."""
    occupants = [_Occupant.remote() for _ in range(2 - count)]
    ray.get([one.there.remote() for one in occupants])
    try:
        yield
    finally:
        for one in occupants:
            ray.kill(one)


class _Watched:
    """A cluster of so many nodes, and how long each shard was worked on."""

    def __init__(self, cluster: Cluster, nodes: int) -> None:
        self._cluster, self._nodes = cluster, nodes
        self._spent: list[tuple[float, float]] = []

    def map(self, begin: Begin[Any, Any], shards: Iterable[Any]) -> Iterator[Any]:
        """Yield what the cluster makes."""
        for made, seconds, cpu in self._cluster.map(_Timing(begin), shards):
            self._spent.append((seconds, cpu))
            yield made

    def told(self, seconds: float, what: str) -> dict[str, float]:
        """Return how long `what` took, how busy the nodes were, and what they spent, since this was last asked."""
        worked, cpu = (sum(column) for column in zip(*self._spent, strict=True))
        self._spent.clear()
        return {what: seconds, f"{what}: busy": worked / seconds / self._nodes, f"{what}: cpu": cpu}


@dataclass(frozen=True)
class _Timing:
    """Work, and how long it took."""

    begin: Begin[Any, Any]

    def __call__(self) -> Callable[[Any], tuple[Any, float, float]]:
        work = self.begin()

        def timed(shard: Any) -> tuple[Any, float, float]:
            begun, cpu = time.monotonic(), time.process_time()
            made = work(shard)
            return made, time.monotonic() - begun, time.process_time() - cpu

        return timed


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes have the package, not its tests


def _timed(home: Path, batches: Batches, cluster: _Watched) -> dict[str, float]:
    """Return how long encoding takes, until all is on disk, and rewriting."""
    with Querywright(home, budget_ms=60_000) as querywright:
        stored = querywright.collection_store.create("drawn")
        begun = time.monotonic()
        stored.upsert(read_source(batches.documents), encode=encoding_on(cluster, querywright.settings.encoder))
        encoded = time.monotonic()
        spent = cluster.told(encoded - begun, "encoding")
        for _ in batches.rewritten(querywright, cluster):
            pass
        return spent | cluster.told(time.monotonic() - encoded, "rewriting")


def _spun(processes: int) -> float:
    """Return how long so many processes take together for a piece of work that needs nothing but a core."""
    begun = time.monotonic()
    command = [sys.executable, "-c", f"sum(range({100_000_000 // processes}))"]
    for child in [subprocess.Popen(command) for _ in range(processes)]:
        child.wait()
    return time.monotonic() - begun
