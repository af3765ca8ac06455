"""Damaged index files; `python -m durability mutations` makes the long run."""

from pathlib import Path

import pytest
from durability.mutations import MUTATIONS, mutations
from durability.truth import opened

from querywright.retrieval import index_files
from querywright.retrieval.passage import Document

pytestmark = pytest.mark.usefixtures("memory")


def test_damaged_index_files_are_not_believed() -> None:
    told, faults = mutations(4 * len(MUTATIONS), seed=5)
    assert faults == []
    assert told["set aside"] + told["harmless: whole files of a true generation"] >= 4 * (len(MUTATIONS) - 1)


def test_without_the_check_wrong_answers_are_noticed(monkeypatch) -> None:
    monkeypatch.setattr(index_files.hashlib, "file_digest", lambda file, name: _Believed())
    _, faults = mutations(len(MUTATIONS), seed=5)
    assert faults


class _Believed:
    def hexdigest(self) -> object:
        return _Anything()


class _Anything:
    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None


@pytest.mark.parametrize("method", ["bytes", "array"])
def test_files_that_go_away_while_they_are_read_are_done_without(tmp_path: Path, monkeypatch, method: str) -> None:
    with opened(tmp_path / "c") as first:
        first.upsert([Document("a", "red fox"), Document("b", "blue whale")])
        first.flush()

    def gone(self, name: str) -> None:
        # Another process has written the next generation and removed this one.
        raise FileNotFoundError(2, "No such file or directory", str(self.folder / name))

    monkeypatch.setattr(index_files.IndexFiles, method, gone)
    with opened(tmp_path / "c") as second:
        assert [hit.doc_id for hit in second.search("fox", legs="lexical")] == ["a"]
