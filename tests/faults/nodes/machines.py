"""A real Ray cluster on this machine: a head that does no work, and nodes of one CPU that come and die."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

from ray.cluster_utils import Cluster

MEMORY = 100 * 2**20

os.environ.setdefault("RAY_worker_niceness", "0")  # else whatever else runs on this machine goes first


class Machines:
    """The nodes of one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nodes = []

    @property
    def address(self) -> str:
        """Where the head listens."""
        return self._cluster.address

    def be(self, count: int) -> None:
        """Start or kill nodes until there are `count`, all known to the head."""
        while len(self._nodes) > count:
            self.kill(self._nodes[-1])
        while len(self._nodes) < count:
            self._nodes.append(self._cluster.add_node(num_cpus=1, object_store_memory=MEMORY, wait=True))

    def kill(self, node: object = None) -> None:
        """Kill a node, by default any: its processes get SIGKILL, with whatever they hold."""
        node = node or random.choice(self._nodes)
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)


@contextmanager
def machines(count: int) -> Iterator[Machines]:
    """Start a cluster of `count` nodes, and end it."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY},
    )
    try:
        found = Machines(cluster)
        found.be(count)
        yield found
    finally:
        cluster.shutdown()
