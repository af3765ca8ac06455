"""Damaged index files; `python -m durability mutations` makes the long run."""

import shutil
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from durability.mutations import MUTATIONS, mutations
from durability.truth import opened, rankings

from querywright.retrieval import collection, index_files
from querywright.retrieval.passage import Document

pytestmark = pytest.mark.usefixtures("memory")


def test_damaged_index_files_are_not_believed() -> None:
    told, faults = mutations(4 * len(MUTATIONS), seed=5)
    assert faults == []
    assert told["set aside"] + told["harmless: whole files of a true generation"] >= 4 * (len(MUTATIONS) - 1)


def test_without_the_check_wrong_answers_are_noticed(monkeypatch) -> None:
    # What a file is read for; its writing, and the manifest, go on as they are.
    believing = SimpleNamespace(sha256=lambda of=b"": _Believed() if isinstance(of, memoryview) else sha256(of))
    monkeypatch.setattr(index_files, "hashlib", believing)
    _, faults = mutations(len(MUTATIONS), seed=5)
    assert faults


class _Believed:
    def hexdigest(self) -> object:
        return _Anything()


class _Anything:
    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None


def test_files_that_go_away_while_they_are_read_are_read_all_the_same(tmp_path: Path, monkeypatch) -> None:
    with opened(tmp_path / "c") as first:
        first.upsert([Document("a", "red fox"), Document("b", "blue whale")])
        first.flush()
        expected = rankings(first)

    def removed(folder: Path, about: object) -> object:
        found = real(folder, about)
        # Another process writes the next generation, and removes this one.
        shutil.rmtree(next(folder.glob("index-*")))
        return found

    real = collection.read_segment
    monkeypatch.setattr(collection, "read_segment", removed)
    with opened(tmp_path / "c") as second:
        assert rankings(second) == expected
