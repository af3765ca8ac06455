"""The editor as it is shipped: it copies, it keeps, it survives anything, and it never needs torch."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querywright.eval.dataset import Dataset
from querywright.rewrite.edit_script import split_units
from querywright.rewrite.editor import MODELS, BilingualEditor
from querywright.rewrite.editor_weights import load_model
from querywright.rewrite.grounding import ground
from querywright.rewrite.language import Language, language_of
from querywright.rewrite.query import Decision, Query, Role, Turn, apply_edits

EDITOR = BilingualEditor()


def conversation(query: str, *turns: str, facts: tuple[str, ...] = ()) -> Query:
    """Return a query after `turns`, the asker's first."""
    history = tuple(Turn(Role.USER if i % 2 == 0 else Role.ASSISTANT, text) for i, text in enumerate(turns))
    return Query(query, history, {"facts": facts} if facts else {})


@cache
def connectors(language: Language) -> frozenset[str]:
    """Return the units that the editor of a language may write of its own."""
    description, _, _ = load_model(MODELS / language)
    return frozenset(unit.text for text in description.connectors for unit in split_units(text))


def invented(query: Query, rewrite: str) -> set[str]:
    """Return the units of a rewrite that stand neither in the conversation nor in the list of connectors."""
    texts = [query.query, *(turn.text for turn in query.history), *query.profile_values("facts")]
    known = {unit.text for text in texts for unit in split_units(text)}
    return {unit.text for unit in split_units(rewrite)} - known - connectors(language_of(query.query))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (conversation("How tall is it?", "Where is the Eiffel Tower?", "In Paris."), "Eiffel Tower"),
        (
            conversation("What are its side effects?", "What is melatonin?", "A hormone that regulates sleep."),
            "melatonin",
        ),
        (conversation("它的导演是谁", "你看过流浪地球吗", "看过，很好看"), "流浪地球"),
        (conversation("他多大了", "你喜欢周杰伦吗", "喜欢周杰伦的歌"), "周杰伦"),
    ],
)
def test_what_a_pronoun_stands_for_is_filled_in(query: Query, expected: str) -> None:
    result = EDITOR.rewrite(query)
    assert result.decision is Decision.REWRITE
    assert expected.lower() in result.rewrite.lower()
    assert not any("does not stand" in each.reason for each in ground(query, result.edits, None)[1])
    assert apply_edits(query.query, result.edits) == result.rewrite


@pytest.mark.parametrize(
    "query",
    [
        Query("How tall is it?"),
        conversation("Who wrote Hamlet?", "What is melatonin?", "A hormone that regulates sleep."),
        conversation("What is the capital of Peru?", "Thanks a lot!", "You are welcome."),
        conversation("北京大学的校训是什么", "今天晚上吃什么好", "火锅吧"),
    ],
)
def test_a_query_that_needs_nothing_is_kept(query: Query) -> None:
    result = EDITOR.rewrite(query)
    assert result.decision is Decision.KEEP
    assert result.rewrite == query.query
    assert not result.edits


_TEXT = st.text(
    st.one_of(
        st.sampled_from("the it its of what 它 的 什么 那 价格 北京 😀 ①ＡＢｃ１２ \t\n`{}()[]?!。，'’\"-_/\\"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=60,
)


@given(_TEXT.filter(str.strip), st.lists(_TEXT, max_size=5), st.lists(_TEXT.filter(str.strip), max_size=2))
@settings(max_examples=150, deadline=None)
def test_whatever_is_said_nothing_is_invented(query: str, turns: list[str], facts: list[str]) -> None:
    asked = conversation(query, *turns, facts=tuple(facts))
    result = EDITOR.rewrite(asked)
    assert not invented(asked, result.rewrite)
    assert apply_edits(query, result.edits) == result.rewrite
    assert not any("does not stand" in each.reason for each in ground(asked, result.edits, None)[1])


def test_several_at_once_are_rewritten_as_one_by_one() -> None:
    queries = [
        conversation("它的导演是谁", "你看过流浪地球吗", "看过，很好看"),
        Query("hello"),
        conversation("How tall is it?", "Where is the Eiffel Tower?", "In Paris.", "Nice.", "Indeed. " * 30),
        conversation("那上海呢", "北京今天天气怎么样", "晴天"),
        conversation("And him?", "", "", ""),
    ] * 5
    together = EDITOR.rewrite_all(queries)
    alone = [EDITOR.rewrite(query) for query in queries]
    assert [one.rewrite for one in together] == [one.rewrite for one in alone]
    assert [one.confidence for one in together] == pytest.approx([one.confidence for one in alone], abs=2e-4)


@pytest.mark.parametrize(
    "turns",
    [
        ["", " ", "\n"],
        ["😀" * 300, "👩‍👩‍👧", "ok 👍"],
        ["```python\nfor i in range(10):\n    print(i)\n```", "x = {'a': [1, 2]}"],
        ["Ｆｕｌｌ　ｗｉｄｔｈ　１２３", "半角とカタカナ ﾊﾝｶｸ", "עברית العربية हिन्दी"],
        ["a" * 5000, "中" * 5000],
    ],
)
@pytest.mark.parametrize("query", ["what about it?", "它呢？", "x" * 3999, "它" * 3999, "🤷"])
def test_odd_conversations_are_read(query: str, turns: list[str]) -> None:
    asked = conversation(query, *turns)
    assert not invented(asked, EDITOR.rewrite(asked).rewrite)


def test_of_ten_thousand_turns_the_newest_are_read_and_it_says_so() -> None:
    old = [f"turn number {i} about nothing much" for i in range(9_998)]
    asked = conversation("How tall is it?", *old, "Where is the Eiffel Tower?", "In Paris.")
    result = EDITOR.rewrite(asked)
    assert result.truncated
    assert "Eiffel Tower" in result.rewrite
    assert not EDITOR.rewrite(conversation("How tall is it?", "Where is the Eiffel Tower?")).truncated


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from querywright.rewrite.editor import BilingualEditor;"
        "from querywright.rewrite.query import *;"
        "BilingualEditor().rewrite(Query('it?', (Turn(Role.USER, 'the moon'),)));"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_demo_conversations_lose_nothing() -> None:
    for judged in Dataset.load(MODELS.parent.parent / "demo").queries:
        assert not invented(judged.query, EDITOR.rewrite(judged.query).rewrite)
