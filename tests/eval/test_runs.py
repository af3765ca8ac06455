"""Runs: scores that no tool can order otherwise, and files that survive the way there and back."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import DatasetError, InputError
from querywright.eval.runs import DEPTH, decreasing, file_name, ranking, read_run, run_path, write_run


@given(st.lists(st.floats(), max_size=150))
def test_scores_fall_strictly_in_float32(scores: list[float]) -> None:
    fallen = np.array(decreasing(scores), dtype=np.float32)
    assert len(fallen) == len(scores)
    assert np.isfinite(fallen).all()
    assert (fallen[1:] < fallen[:-1]).all()


@given(st.lists(st.floats(), max_size=150))
def test_scores_survive_text(scores: list[float]) -> None:
    fallen = decreasing(scores)
    assert [float(np.float32(f"{score:.9g}")) for score in fallen] == fallen


def test_scores_that_differ_stay_as_they_are() -> None:
    assert decreasing([3.0, 2.5, 0.0, -1.0]) == [3.0, 2.5, 0.0, -1.0]
    assert decreasing([0.1]) == [float(np.float32(0.1))]


def test_ties_and_scores_that_rise_keep_the_order_given() -> None:
    fallen = decreasing([1.0, 1.0, 1.0 + 1e-9, 0.5, 7.0])
    assert fallen[0] == 1.0
    assert fallen == sorted(set(fallen), reverse=True)
    assert fallen[2] > 0.999


def test_a_document_counts_once_and_a_hundred_are_kept() -> None:
    found = ranking([("a", 9.0), ("a", 8.0), *((f"d{number}", 1.0) for number in range(200))])
    assert len(found) == DEPTH
    assert list(found)[:3] == ["a", "d0", "d1"]
    assert found["a"] == 9.0


def test_round_trip(tmp_path: Path) -> None:
    chance = random.Random(7)
    ids = ["plain", "with blank", "中文\u3000空格", "a\u00a0b", "50%", "x%zz y", "<::>1"]
    run = {
        query: ranking(
            (f"{doc} {number}" if number % 2 else f"{doc}{number}", chance.random())
            for doc in ids
            for number in range(20)
        )
        for query in ids
    }
    path = tmp_path / "runs" / "set" / "auto.hybrid.trec"
    write_run(path, run, "auto.hybrid")
    back = read_run(path)
    assert back == run
    assert [list(documents) for documents in back.values()] == [list(documents) for documents in run.values()]
    for line in path.read_text(encoding="utf-8").splitlines():
        assert len(line.split()) == 6
    assert not list(path.parent.glob(".*"))


def test_reads_runs_of_others(tmp_path: Path) -> None:
    path = tmp_path / "theirs.trec"
    path.write_text("q1 Q0 b 2 1.5e0 tag\n\nq1\tQ0\ta\t1\t2\ttag\n")
    assert list(read_run(path)["q1"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "field"),
    [("q Q0 d 1 0.5", "columns"), ("q Q0 d 1 high tag", "score"), ("q Q0 d 1 nan tag", "score")],
)
def test_broken_runs_name_the_line(tmp_path: Path, line: str, field: str) -> None:
    path = tmp_path / "broken.trec"
    path.write_text(f"q Q0 a 1 2.0 tag\n{line}\n")
    with pytest.raises(DatasetError, match=rf"broken\.trec:2: {field}"):
        read_run(path)


def test_file_names_hold_what_the_contract_allows(tmp_path: Path) -> None:
    assert file_name("gold+orig") == "gold+orig"
    assert file_name("replay:my file~.jsonl") == "replay%3Amy%20file%7E.jsonl"
    assert run_path(tmp_path, "数据", "a/b", "dense") == tmp_path / "runs" / "%E6%95%B0%E6%8D%AE" / "a%2Fb.dense.trec"
    with pytest.raises(InputError, match="too long"):
        file_name("replay:" + "目录/" * 60)


def test_denormal_scores_do_not_depend_on_the_processor() -> None:
    fallen = decreasing([1e-44, 5e-45, 0.0, -1e-44])
    assert all(score == 0 or abs(score) >= 1e-30 or math.isclose(abs(score), 1e-30, rel_tol=1e-6) for score in fallen)
