"""Backups and reloads, shortly; `python -m durability backups` and `reloads` make the long runs."""

import os
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from durability import backups as module
from durability.backups import MUTATIONS, _failing, _mutated
from durability.reloads import _wrong, documents
from durability.truth import merged_above

from querywright import Document
from querywright.retrieval import restoring
from querywright.retrieval.archive import Archive
from querywright.retrieval.passage import Hit
from querywright.rewrite.query import Query, Rewrite
from querywright.service.answer import Answer

FAULTS = Path(__file__).parent

pytestmark = pytest.mark.usefixtures("memory")


def proof(name: str, runs: int) -> Counter[str]:
    """Run a proof in a process of its own: it forks; return what it did."""
    command = [sys.executable, "-m", "durability", name, "--runs", str(runs), "--seed", "5"]
    environment = {**os.environ, "PYTHONPATH": str(FAULTS), "TMPDIR": tempfile.gettempdir()}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return Counter({name: int(count) for count, name in re.findall(r"^ +(\d+)  (.*)$", ran.stdout, re.MULTILINE)})


def test_backups_hold_one_state_whatever_happens() -> None:
    told = proof("backups", 12)
    assert sum(count for name, count in told.items() if name.startswith("run: ")) == 12
    assert told["transactions acknowledged"] > 0
    assert sum(count for name, count in told.items() if name.startswith("mutation: ")) == 20


def test_searches_see_one_generation_while_others_are_restored() -> None:
    told = proof("reloads", 20)
    assert sum(count for name, count in told.items() if name.startswith("restored by")) == 18
    assert sum(count for name, count in told.items() if name.startswith("refused by")) == 2
    assert sum(count for name, count in told.items() if name.startswith(("search, ", "query, "))) >= 200


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_kind_of_damage_is_refused(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.setattr(module, "MUTATIONS", {name: MUTATIONS[name]})
    with merged_above(3):
        assert _mutated(tmp_path.resolve(), random.Random(name), Counter()) == []


# ------------------------------------------------------------------------------------------- the proofs themselves


class _Anything(str):
    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


def test_without_checksums_damage_is_noticed(tmp_path: Path, monkeypatch) -> None:
    copied = Archive._copied
    monkeypatch.setattr(Archive, "_copied", lambda *given: _Anything(copied(*given)))
    monkeypatch.setattr(module, "MUTATIONS", {"bit flipped": _in_the_last_member})
    faults = _mutated(tmp_path.resolve(), random.Random(1), Counter())
    assert any("believed" in fault for fault in faults)


def _in_the_last_member(data: bytes, _: random.Random) -> bytes:
    """Change a digit of the fusion's weight."""
    place = data.index(b"0.3")
    return data[:place] + b"0.4" + data[place + 3 :]


def test_files_of_another_state_are_noticed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(restoring, "_place", lambda *_: None)
    found = []
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        found += _failing((tmp_path / str(number)).resolve(), random.Random(number), Counter())
    assert any("beside the documents of another state" in fault for fault in found)


def answer(some: list[Document]) -> Answer:
    hits = tuple(
        Hit(rank, 1.0, one.doc_id, f"{one.doc_id}#0", "", one.text, one.metadata) for rank, one in enumerate(some, 1)
    )
    return Answer(hits, Rewrite.keep(Query("common"), "none"), None, ())


def test_mixed_lacking_and_late_answers_are_noticed() -> None:
    first, second = (documents(number) for number in (0, 1))
    assert _wrong(answer(list(first.values())), [first, second]) is None
    assert _wrong(answer(list(second.values())), [first, second]) is None
    assert _wrong(answer(list(first.values())[1:]), [first, second])
    assert _wrong(answer([*list(first.values())[1:], second["d1"]]), [first, second])
    assert _wrong(answer([*first.values(), *first.values()]), [first])
    assert _wrong(answer(list(first.values())), [second])
