"""A real Ray cluster of two nodes: order, bounds, errors, and what is left when a node dies. See `nodes`."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("ray") is None:  # not importorskip: `nodes` says what Ray keeps to itself before it is imported
    pytest.skip("needs the extra `ray`", allow_module_level=True)

from nodes.batches import Batches, stored
from nodes.machines import Machines, machines
from ray import cloudpickle

from querywright import InputError, Querywright, UnavailableError
from querywright.service.cluster import Cluster, connected
from querywright.service.ray_cluster import AHEAD

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes have the package, not its tests


@pytest.fixture(scope="module")
def nodes() -> Iterator[Machines]:
    """Start two nodes."""
    with machines(2) as started:
        yield started


@pytest.fixture(scope="module")
def cluster(nodes: Machines) -> Iterator[Cluster]:
    """Return the cluster as the commands use it."""
    with connected(nodes.address) as made:
        assert made is not None
        yield made


class Doubling:
    """Doubles numbers, and notes each time that it is made ready."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes

    def __call__(self) -> Callable[[int], int]:
        with self._notes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return _doubled


def _doubled(number: int) -> int:
    if number == 13:
        raise InputError("shard 13: expected luck")
    return 2 * number


def test_in_order_and_no_further_ahead_than_is_allowed(cluster: Cluster, tmp_path: Path) -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            taken.append(len(taken) + 100)
            yield taken[-1]

    made = cluster.map(Doubling(tmp_path / "notes"), endless())
    for number in range(30):
        assert next(made) == 2 * (number + 100)
        assert len(taken) <= number + 1 + AHEAD * 2
    made.close()
    again = list(cluster.map(Doubling(tmp_path / "notes"), range(12)))
    assert again == [2 * number for number in range(12)]
    processes = (tmp_path / "notes").read_text().split()
    assert len(processes) == len(set(processes)) <= 2  # what is loaded once serves the next batch, too


def test_errors_come_in_their_place_and_as_they_are(cluster: Cluster, tmp_path: Path) -> None:
    def broken() -> Iterator[int]:
        yield from range(5)
        raise InputError("queries.jsonl:6: expected a query")

    for shards, before, message in ((range(20), 13, "shard 13: expected luck"), (broken(), 5, "queries.jsonl:6: ex")):
        made = cluster.map(Doubling(tmp_path / "notes"), shards)
        assert [next(made) for _ in range(before)] == [2 * number for number in range(before)]
        with pytest.raises(InputError) as raised:
            next(made)
        assert type(raised.value) is InputError
        assert str(raised.value).startswith(message)


def test_a_node_dies_while_it_encodes_and_one_while_it_rewrites(
    nodes: Machines, cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    batches = Batches.drawn(tmp_path, 4, 1, 3)
    with Querywright(tmp_path / "one", budget_ms=60_000) as querywright:
        querywright.index([batches.documents], "drawn")
        expected = list(batches.rewritten(querywright, None))
    at = random.Random(2).randint(1, 2)
    with Querywright(tmp_path / "two", budget_ms=60_000) as querywright:
        nodes.be(2)
        told: list[int] = []

        def tell(done: int) -> None:
            told.append(done)
            if len(told) == at:
                nodes.kill()

        querywright.index([batches.documents], "drawn", progress=tell, cluster=cluster)
        nodes.be(2)
        found = []
        for rows in batches.rewritten(querywright, cluster):
            found.append(rows)
            if len(found) == at:
                nodes.kill()
    assert stored(tmp_path / "two") == stored(tmp_path / "one")
    assert found == expected
    assert told == sorted(set(told))
    assert "aylet" not in "".join(capfd.readouterr())  # what becomes of nodes is not printed among results


@pytest.mark.parametrize("address", ["auto", "ray://head:10001", "head", ":6379", "head:0", "head:99999", ""])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(InputError, match="--ray: expected `local` or HOST:PORT"), connected(address):
        pass


def test_nobody_answers(unused_port: int) -> None:
    with pytest.raises(UnavailableError, match="nobody answers there"), connected(f"127.0.0.1:{unused_port}"):
        pass


@pytest.fixture
def unused_port() -> Iterator[int]:
    """Return a port that is taken, but where nobody listens."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
