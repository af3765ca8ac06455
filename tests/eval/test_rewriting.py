"""Rewriting measures: known answers by hand, and what holds for any texts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import DatasetError
from querywright.eval.rewriting import (
    Counts,
    Rewritten,
    bleu,
    edit_slots,
    exact_match,
    gold_slots,
    normalise,
    restored,
    rouge_l,
    score,
    slot_counts,
    tokens,
)

TEXTS = st.text(st.sampled_from("ab cC，。数据ＡＢ3.5-#\u3000"), max_size=20) | st.text(max_size=12)
SLOTS = st.lists(
    st.tuples(st.sampled_from(["region", "period"]), st.sampled_from(["a", "b", "a b", "", "A"])), max_size=6
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("CRM 系统中客户画像功能的操作指南", "ＣＲＭ系统中 客户画像功能的操作指南。", True),
        ("Sales, in the East region?", "sales in the east region", True),
        ("C# guide", "C guide", False),
        ("3.5", "35", False),
        ("3.5。", "3.5", True),
        ("2024-07", "2024 07", False),
        ("1,200 orders", "1200 orders", True),
        ("Straße", "STRASSE", True),
        ("sales", "sale", False),
        ("", "?!", True),
    ],
)
def test_exact_match(one: str, other: str, *, same: bool) -> None:
    assert exact_match(one, other) == exact_match(other, one) == float(same)


def test_tokens() -> None:
    assert tokens("ＣＲＭ 系统的 API-v2, don't_go") == ["crm", "系", "统", "的", "api", "v2", "don", "t", "go"]
    assert tokens("。 ?") == []


def test_bleu_by_hand() -> None:
    # Unigrams 3/4; pairs (1+1)/(3+1), triples (0+1)/(2+1), fours (0+1)/(1+1); as long as gold.
    expected = (3 / 4 * 2 / 4 * 1 / 3 * 1 / 2) ** 0.25
    assert bleu("the sales east report", "the sales of east") == pytest.approx(expected)
    # Short of gold by four tokens: e^(1 - 6/2).
    assert bleu("the cat", "the cat sat on the mat") == pytest.approx(math.exp(-2))
    # A repeated word counts as often as gold has it: 1/2 and (0+1)/(1+1), then nothing to count.
    assert bleu("the the", "the cat") == pytest.approx((1 / 2 * 1 / 2) ** 0.25)
    assert bleu("上月的销售", "上月销售") == pytest.approx((4 / 5 * 3 / 5 * 1 / 4 * 1 / 3) ** 0.25)


@pytest.mark.parametrize(
    ("rewrite", "gold", "expected"), [("", "", 1.0), ("", "a", 0.0), ("a", "", 0.0), ("a", "b", 0.0)]
)
def test_overlap_of_next_to_nothing(rewrite: str, gold: str, expected: float) -> None:
    assert bleu(rewrite, gold) == rouge_l(rewrite, gold) == expected


def test_rouge_l_by_hand() -> None:
    # The longest common subsequence of "a b c d" and "a c b d" has three tokens.
    assert rouge_l("a b c d", "a c b d") == pytest.approx(0.75)
    assert rouge_l("销售额", "东区销售额") == pytest.approx(2 * 3 / (3 + 5))


def test_restored_terms() -> None:
    counts = restored("sales?", "sales in the East region", "East region sales in May")
    assert counts == Counts(agreed=2, given=2, wanted=3)
    assert (counts.precision, counts.recall, counts.f1) == (1.0, pytest.approx(2 / 3), pytest.approx(0.8))
    assert restored("sales", "sales", "sales").f1 == 1.0
    assert restored("sales", "sales of laptops", "sales") == Counts(0, 1, 0)


def test_a_value_may_stand_within_the_replacement() -> None:
    gold = [("product", "CRM 系统"), ("intent", "操作指南"), ("region", "华东区")]
    given_ = [("product", "CRM系统中"), ("intent", "的操作指南"), ("unit", "华东区")]
    assert slot_counts(given_, gold) == Counts(2, 3, 3)


def test_an_edit_stands_for_one_gold_edit() -> None:
    # The first edit could stand for either; only if it leaves "a" to the second do both count.
    assert slot_counts([("x", "a b"), ("x", "a")], [("x", "a"), ("x", "b")]).agreed == 2
    assert slot_counts([("x", "a b")], [("x", "a"), ("x", "b")]).agreed == 1
    assert slot_counts([("x", "a"), ("x", "a")], [("x", "a")]) == Counts(1, 2, 1)
    assert slot_counts([("x", "whatever")], [("x", "")]).agreed == 0


def test_scores_of_several_queries() -> None:
    items = [
        Rewritten("sales?", "East sales", "East sales", (("region", "East"),), (("region", "East"),)),
        Rewritten("and costs?", "and costs?", "East costs", (), (("region", "East"),)),
        Rewritten("hello", "hello", "Hello!"),
    ]
    found = score(items)
    assert found["queries"] == 3
    assert found["exact_match"] == pytest.approx(2 / 3)
    assert found["restored"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert found["slots"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert score([items[2]])["slots"] is None
    assert score([])["queries"] == 0


def test_gold_slots_of_a_data_set(tiny: Path) -> None:
    assert gold_slots(tiny) == {}
    row = {"_id": "q", "text": "x", "edits": [{"slot": "region", "value": "East", "source": "history"}]}
    (tiny / "queries.jsonl").write_text(json.dumps(row) + "\n")
    assert gold_slots(tiny) == {"q": (("region", "East"),)}
    assert edit_slots([{"slot": "region", "replacement": " East", "start": 3}]) == (("region", " East"),)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ("East", "edits: expected a list"),
        (["East"], "edits[0]: expected"),
        ([{"slot": "a"}], "edits[0].value: expected a string, but"),
        ([{"slot": "a", "value": 3}], "edits[0].value: expected a string, got a number"),
    ],
)
def test_broken_gold_edits(write_dataset: Callable[..., Path], tmp_path: Path, edits: object, message: str) -> None:
    folder = write_dataset(tmp_path / "broken", queries=[{"_id": "q", "text": "x", "edits": edits}], qrels=[])
    with pytest.raises(DatasetError) as caught:
        gold_slots(folder)
    assert f"queries.jsonl:1: {message}" in str(caught.value)


@given(TEXTS, TEXTS)
def test_text_measures_are_in_bounds_and_1_for_the_same(one: str, other: str) -> None:
    for measure in (exact_match, bleu, rouge_l):
        assert 0 <= measure(one, other) <= 1 + 1e-12
        assert measure(one, one) == 1.0
    assert rouge_l(one, other) == pytest.approx(rouge_l(other, one))
    assert exact_match(one, f" {one.upper()} 。") == exact_match(one, one.upper())


@given(TEXTS, TEXTS, TEXTS)
def test_restored_terms_are_in_bounds(original: str, rewrite: str, gold: str) -> None:
    counts = restored(original, rewrite, gold)
    assert 0 <= counts.agreed <= min(counts.given, counts.wanted)
    assert restored(original, original, gold).given == 0
    assert restored(original, gold, gold).f1 == 1.0
    assert restored(original, gold, rewrite) == Counts(counts.agreed, counts.wanted, counts.given)


@given(SLOTS, SLOTS)
def test_slots_pair_once(slots: list[tuple[str, str]], gold: list[tuple[str, str]]) -> None:
    counts = slot_counts(slots, gold)
    assert 0 <= counts.agreed <= min(len(slots), len(gold))
    assert counts.agreed == slot_counts(slots[::-1], gold[::-1]).agreed
    assert slot_counts(gold, gold).f1 == 1.0
    assert normalise("") == ""
