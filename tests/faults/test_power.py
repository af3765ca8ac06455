"""Power cuts on a model of the disk; `python -m durability power` makes the long run."""

import random
from pathlib import Path

import pytest
from durability.interception import Call, intercepted
from durability.power import Disk, power

from querywright.retrieval.home import Collections
from querywright.retrieval.passage import Document

pytestmark = pytest.mark.usefixtures("memory")


def test_what_was_acknowledged_is_on_disk() -> None:
    told, faults = power(30, seed=3)
    assert faults == []
    assert told["power cuts"] == 30
    assert told["index files whole"] > 0


def test_a_disk_that_ignores_syncs_is_noticed() -> None:
    _, faults = power(20, seed=1, deaf=True)
    assert any("acknowledged, but lost" in fault for fault in faults)


def test_what_was_not_forced_to_disk_may_be_gone(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "root")
    file = str(tmp_path / "root" / "f")
    for call in (
        Call("index", "create", file),
        Call("index", "write", file, b"kept"),
        Call("index", "sync", file),
        Call("index", "sync_folder", str(tmp_path / "root")),
        Call("index", "write", file, b"lost", 4),
    ):
        disk.follow(call)
    left = set()
    for number in range(40):
        disk.after_cut(tmp_path / str(number), random.Random(number))
        left.add((tmp_path / str(number) / "f").read_bytes())
    assert left == {b"kept", b"keptlost", b"kept\0\0\0\0"}


def test_a_collection_that_was_dropped_does_not_come_back(tmp_path: Path) -> None:
    root = tmp_path.resolve() / "home"
    root.mkdir()
    disk = Disk(root)

    def follow(call, real):
        result = real(call.data) if call.name == "write" else real()
        disk.follow(call)
        return result

    with intercepted(follow, root):
        home = Collections(root)
        home.create("notes").upsert([Document("a", "red fox")])
        home.drop("notes")
        home.close()
    for number in range(20):
        disk.after_cut(tmp_path / str(number), random.Random(number))
        assert Collections(tmp_path / str(number)).names() == []
