"""Arms: which queries each covers, and what it makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from querywright import DatasetError, InputError
from querywright.eval.arms import KnownRewriter, Replay, concat, gold, joined, parse_arms
from querywright.eval.cost import UNTOLD
from querywright.eval.dataset import Dataset
from querywright.rewrite.query import Alternative, Decision, Query, Rewrite, Role, Turn
from querywright.rewrite.rewriter import Rewriter


class OnlyCatalog:
    """A service that knows one rewriter beside its own two."""

    def rewriter(self, name: str) -> Rewriter:
        if name not in ("none", "auto", "catalog"):
            raise InputError(f"rewriter {name!r}: expected catalog")
        return KnownRewriter(name, {})


def test_none_comes_first_and_each_arm_once() -> None:
    arms = parse_arms(["auto", "gold", "none", "auto", " catalog", "gold+orig", "concat"], OnlyCatalog())
    assert [arm.name for arm in arms] == ["none", "auto", "gold", "catalog", "gold+orig", "concat"]
    assert [arm.name for arm in arms if not arm.keep_original] == ["gold", "concat"]


@pytest.mark.parametrize("name", ["nothing", "", "replay:", "run:", "Gold"])
def test_unknown_arms_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        parse_arms(["none", name], OnlyCatalog())


def test_gold_covers_what_the_data_set_rewrote(tiny: Path) -> None:
    rewrites = gold(Dataset.load(tiny))
    assert {key: rewrite.rewrite for key, rewrite in rewrites.items()} == {
        "c1<::>1": "export the customer list",
        "c1<::>2": "import contacts into the CRM",
    }
    assert [rewrite.decision for rewrite in rewrites.values()] == [Decision.KEEP, Decision.REWRITE]


def test_concat_joins_what_the_user_said(tiny: Path) -> None:
    rewrites = concat(Dataset.load(tiny))
    assert len(rewrites) == 4
    assert rewrites["c1<::>2"].rewrite == "export the customer list and the other way round?"
    silent = Query("它呢?", (Turn(Role.USER, "  "), Turn(Role.ASSISTANT, "嗯")))
    assert joined(silent) == "它呢?"


def _rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_replay_matches_by_id_and_original(tiny: Path, tmp_path: Path) -> None:
    path = _rows(
        tmp_path / "rewrites.jsonl",
        {
            "id": "c2",
            "original": "laptop warranty",
            "rewrite": "laptop warranty years",
            "confidence": 0.5,
            "decision": "rewrite",
            "alternatives": [{"rewrite": "bag", "weight": 0.2}],
            "seconds": 0.25,
        },
        {"id": "c2", "original": "笔记本保修", "rewrite": "another data set's"},
        {"id": "c 3", "rewrite": "refund"},
        {"id": "elsewhere", "rewrite": "nothing here"},
    )
    rewrites = Replay.read(path)(Dataset.load(tiny))
    assert set(rewrites) == {"c2", "c 3"}
    assert rewrites["c2"] == Rewrite(
        "laptop warranty",
        "laptop warranty years",
        Decision.REWRITE,
        0.5,
        alternatives=(Alternative("bag", 0.2),),
        rewriter="replay",
        seconds=0.25,
        id="c2",
        usage=UNTOLD,
    )
    assert rewrites["c 3"].original == "zzz qqq xyzzy"


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"rewrite": "a"}, "id"),
        ({"id": "one", "rewrite": "a"}, "id"),
        ({"id": "two"}, "rewrite"),
        ({"id": "two", "rewrite": "  "}, "rewrite"),
        ({"id": "two", "rewrite": "a", "decision": "maybe"}, "decision"),
        ({"id": "two", "rewrite": "a", "confidence": 1.5}, "confidence"),
        ({"id": "two", "rewrite": "a", "confidence": "high"}, "confidence"),
        ({"id": "two", "rewrite": "a", "seconds": -1}, "seconds"),
        ({"id": "two", "rewrite": "a", "alternatives": "b"}, "alternatives"),
        ({"id": "two", "rewrite": "a", "alternatives": [{"weight": 1}]}, "rewrite"),
        ({"id": "two", "rewrite": "a", "edits": [{"slot": "x"}]}, r"edits\.0\.problem"),
        ({"id": "two", "rewrite": "a", "edits": "none"}, "edits"),
        (["two", "a"], ""),
    ],
)
def test_broken_replays_name_the_line(tmp_path: Path, row: object, field: str) -> None:
    path = _rows(tmp_path / "rewrites.jsonl", {"id": "one", "rewrite": "a"}, row)
    with pytest.raises(DatasetError, match=rf"rewrites\.jsonl:2: .*{field}"):
        Replay.read(path)


def test_an_empty_replay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="at least one rewrite"):
        Replay.read(_rows(tmp_path / "rewrites.jsonl"))


def test_a_rewriter_of_known_rewrites_knows_no_others() -> None:
    with pytest.raises(InputError, match="'gold' has no rewrite"):
        KnownRewriter("gold", {}).rewrite(Query("what?", id="q"))
