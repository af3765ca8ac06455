"""Whom it helped: groups, calibration and the ends, checked by hand."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from querywright import DatasetError
from querywright.eval.breakdown import (
    QueryRow,
    breakdown,
    by_cell,
    calibration,
    change,
    depth,
    percentiles,
    read_queries,
    stages,
)
from querywright.eval.extremes import extremes
from querywright.eval.runs import ranking, run_path, write_run


def _row(name: str, ours: float, none: float = 0.5, **more: object) -> QueryRow:
    row: dict[str, object] = {
        "dataset": "tiny",
        "id": name,
        "arm": "auto",
        "leg": "lexical",
        "conversation": name,
        "turn": 0,
        "labels": {},
        "decision": "rewrite",
        "confidence": 0.9,
        "rewriter": "catalog",
        "degraded": None,
        "original": "and this?",
        "rewrite": "and this export?",
        "gold": None,
        "edits": [],
        "values": {"nDCG@5": ours},
        "none": {"nDCG@5": none},
        "stages": {"search": 2.0},
        "ms": {"rewrite": 1.0, "search": 2.0},
        "usage": None,
    }
    return row | more  # type: ignore[return-value]


KEPT = {"decision": "keep", "rewrite": "and this?", "rewriter": "none", "confidence": 1.0}


def test_groups_count_and_average() -> None:
    rows = [
        _row("a", 1.0, labels={"problem": "vague", "lang": "zh"}),
        _row("b", 0.25, labels={"problem": "vague", "lang": "en"}),
        _row("c", 0.5 + 1e-12, labels={"problem": "missing", "lang": "en"}),
        _row("d", 0.5, **KEPT),
    ]
    found = breakdown(rows)
    assert list(found) == ["problem", "language", "turn", "decision", "rewriter", "confidence"]
    vague = found["problem"]["vague"]
    assert (vague["queries"], vague["mean"], vague["none"], vague["delta"]) == (2, 0.625, 0.5, 0.125)
    assert (vague["helped"], vague["hurt"], vague["tied"]) == (1, 1, 0)
    assert found["problem"]["missing"]["tied"] == 1
    assert sum(group["queries"] for group in found["problem"].values()) == 3, "d has no such label"
    assert sum(group["queries"] for group in found["language"].values()) == 4, "a language can be told"
    assert found["decision"]["keep"]["tied"] == 1
    assert {name: group["queries"] for name, group in found["confidence"].items()} == {"0.8-1.0": 3}


def test_without_labels_a_split_is_left_out_and_the_language_is_told() -> None:
    found = breakdown([_row("a", 1.0, original="这个怎么用"), _row("b", 1.0)])
    assert "problem" not in found
    assert set(found["language"]) == {"zh", "en"}


@pytest.mark.parametrize(
    ("turn", "name"), [(0, "0"), (1, "1-2"), (2, "1-2"), (3, "3-5"), (5, "3-5"), (6, "6+"), (60, "6+")]
)
def test_depths(turn: int, name: str) -> None:
    assert depth(turn) == name


@pytest.mark.parametrize(
    ("confidence", "name"),
    [
        (0.0, "0.0-0.2"),
        (0.1 + 0.2, "0.2-0.4"),
        (0.6, "0.6-0.8"),
        (3 * 0.2, "0.6-0.8"),
        (0.8, "0.8-1.0"),
        (1, "0.8-1.0"),
    ],
)
def test_buckets_of_confidence(confidence: float, name: str) -> None:
    assert list(breakdown([_row("a", 1.0, confidence=confidence)])["confidence"]) == [name]


def test_intervals_widen_with_doubt() -> None:
    changes = [0.0, 0.1, 0.3, 0.2, 0.1, 0.5, -0.1, 0.0]
    group = breakdown([_row(str(place), 0.5 + one) for place, one in enumerate(changes)])["turn"]["0"]
    # Student's t for 7 degrees of freedom, two-sided at .05.
    reach = 2.364624 * statistics.stdev(changes) / len(changes) ** 0.5
    assert group["delta"] - group["low"] == pytest.approx(reach, rel=1e-4)
    assert group["high"] - group["delta"] == pytest.approx(reach, rel=1e-4)
    talk = [_row(str(place), 0.5 + one, conversation=str(place // 4)) for place, one in enumerate(changes)]
    wider = breakdown(talk)["turn"]["0"]
    assert (wider["low"], wider["high"]) != (group["low"], group["high"])
    alone = breakdown([_row("a", 1.0)])["turn"]["0"]
    assert (alone["low"], alone["high"]) == (-1.0, 1.0)
    same = breakdown([_row("a", 0.5), _row("b", 0.5)])["turn"]["0"]
    assert (same["low"], same["high"]) == (0.0, 0.0)


def test_calibration_by_hand() -> None:
    rows = [
        _row("a", 1.0, confidence=0.9),
        _row("b", 0.25, confidence=0.9),
        _row("c", 0.5, confidence=0.55),
        _row("d", 0.5, **KEPT),
    ]
    found = calibration(rows)
    assert found["queries"] == 3
    first, last = found["buckets"]
    assert (first["low"], first["high"], first["queries"], first["confidence"]) == (0.5, 0.6, 1, 0.55)
    assert (first["helped"], first["not_hurt"]) == (0.0, 1.0)
    assert (last["low"], last["high"], last["queries"]) == (0.9, 1.0, 2)
    assert (last["helped"], last["not_hurt"]) == (0.5, 0.5)
    assert found["ece"]["helped"] == pytest.approx((0.55 + 2 * 0.4) / 3)
    assert found["ece"]["not_hurt"] == pytest.approx((0.45 + 2 * 0.4) / 3)


def test_nothing_changed_nothing_to_calibrate() -> None:
    assert calibration([_row("d", 0.5, **KEPT)]) == {
        "queries": 0,
        "ece": {"helped": None, "not_hurt": None},
        "buckets": [],
    }


def test_costs() -> None:
    assert percentiles([]) == {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    assert percentiles([float(number) for number in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    found = stages([_row("a", 1.0), _row("b", 1.0, stages={"search": 4.0, "rewrite": 0.0, "fuse": 1.0})])
    assert list(found) == ["search", "rewrite", "fuse"]
    assert (found["search"]["p50"], found["fuse"]["p50"]) == (3.0, 1.0)
    assert found["rewrite"]["p50"] == 1.0, "what making it took, not looking it up"


def _extremes(tiny: Path, out: Path, rows: list[QueryRow]):
    none = {"c1<::>2": ranking([("export", 2.0), ("laptop bag", 1.0)]), "c2": ranking([("warranty", 2.0)])}
    ours = {"c1<::>2": ranking([("import", 2.0), ("export", 1.0)]), "c2": ranking([("weather", 2.0)]), "c 3": {}}
    write_run(run_path(out, "tiny", "none", "lexical"), none, "none")
    write_run(run_path(out, "tiny", "auto", "lexical"), ours, "auto")
    return extremes(rows, out, {"tiny": tiny})["tiny", "auto", "lexical"]


def test_the_ends_show_both_rankings(tiny: Path, tmp_path: Path) -> None:
    rows = [_row("c1<::>2", 1.0, 0.0), _row("c2", 0.0, 1.0), _row("c1<::>1", 0.5), _row("c 3", 0.0, 0.1)]
    found = _extremes(tiny, tmp_path / "out", rows)
    assert [example.row["id"] for example in found.worst] == ["c2", "c 3"]
    assert [example.row["id"] for example in found.best] == ["c1<::>2"], "a tie is at neither end"
    best = found.best[0]
    assert [(doc.doc_id, doc.title, doc.grade) for doc in best.ours or ()] == [
        ("import", "Import", 2),
        ("export", "Export", None),
    ]
    assert [doc.doc_id for doc in best.none or ()] == ["export", "laptop bag"], "ids with blanks are read back"
    assert best.missed == ()
    worst = found.worst[0]
    assert [(doc.doc_id, doc.grade) for doc in worst.none or ()] == [("warranty", 1)]
    nothing = found.worst[1]
    assert nothing.ours == ()
    assert [doc.title for doc in nothing.missed] == ["Refunds"]


def test_the_judgments_kept_by_the_evaluation_come_first(tiny: Path, tmp_path: Path) -> None:
    kept = tmp_path / "out" / "qrels" / "tiny.tsv"
    kept.parent.mkdir(parents=True)
    kept.write_text("query-id\tcorpus-id\tscore\nc1<::>2\texport\t3\n")
    found = _extremes(tiny, tmp_path / "out", [_row("c1<::>2", 1.0, 0.0)])
    assert {doc.doc_id: doc.grade for doc in found.best[0].ours or ()} == {"import": None, "export": 3}


def test_without_runs_and_folder_the_ends_are_there_still(tmp_path: Path) -> None:
    found = extremes([_row("c2", 0.0)], tmp_path, {})["tiny", "auto", "lexical"]
    assert [(example.row["id"], example.ours, example.none) for example in found.worst] == [("c2", None, None)]


def test_equal_changes_come_in_the_order_of_ids(tmp_path: Path) -> None:
    rows = [_row(name, 1.0) for name in "gfedcba"] + [_row(name, 0.0) for name in "zyxwvu"]
    found = extremes(rows, tmp_path, {})["tiny", "auto", "lexical"]
    assert [example.row["id"] for example in found.best] == list("abcde")
    assert [example.row["id"] for example in found.worst] == list("uvwxy")


def test_rows_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    rows = [_row("a", 1.0), _row("b", 0.0, arm="none")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_queries(path) == rows
    assert list(by_cell(rows)) == [("tiny", "auto", "lexical"), ("tiny", "none", "lexical")]
    assert [change(row) for row in rows] == [0.5, -0.5]
    del rows[1]["turn"]  # type: ignore[misc]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DatasetError, match=r"queries\.jsonl:2: turn: expected"):
        read_queries(path)


def test_a_folder_without_a_corpus_goes_by_ids(write_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "tiny")
    (folder / "corpus.jsonl").unlink()
    found = _extremes(folder, tmp_path / "out", [_row("c2", 0.0, 1.0)])
    assert [(doc.doc_id, doc.title, doc.grade) for doc in found.worst[0].none or ()] == [("warranty", "", 1)]
