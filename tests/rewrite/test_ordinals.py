"""Ordinals point to what the latest listing turn lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.rewrite.catalog import Catalog
from querywright.rewrite.language import language_of
from querywright.rewrite.ordinals import resolve_ordinal
from querywright.rewrite.query import Role, Turn

EMPTY = Catalog("empty")
EDITIONS = "There are two editions: Standard and Enterprise."
WAYS = "1. Use the wizard: it asks step by step.\n2. Use the API.\n3. Write to support."
LOGINS = "登录方式有两种：一是密码加短信验证码，二是单点登录。"
PLANS = "有三种方案：按月付费、按年付费和一次买断。"


@pytest.mark.parametrize(
    ("query", "said", "item"),
    [
        ("what about the second one?", EDITIONS, "Enterprise"),
        ("how much is the first option", EDITIONS, "Standard"),
        ("and the latter?", EDITIONS, "Enterprise"),
        ("the former one, please", EDITIONS, "Standard"),
        ("is the other one cheaper", EDITIONS, "Enterprise"),
        ("tell me about the third way", WAYS, "Write to support"),
        ("the 2nd step fails", WAYS, "Use the API"),
        ("explain the last option", WAYS, "Write to support"),
        ("第二个怎么设置？", LOGINS, "单点登录"),
        ("前者安全吗", LOGINS, "密码加短信验证码"),
        ("第3种方案多少钱", PLANS, "一次买断"),
        ("那最后一种呢", PLANS, "一次买断"),
        ("后者呢", PLANS, "一次买断"),
    ],
)
def test_the_item_that_is_meant(query: str, said: str, item: str) -> None:
    found = resolve_ordinal(query, language_of(query), [(0, Turn(Role.ASSISTANT, said))], EMPTY)
    assert found is not None
    assert found.item == item
    assert found.turn == 0


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("what about the third one?", EDITIONS),
        ("第四个呢", PLANS),
        ("what about the second one?", "I like it, and the weather too."),
        ("the second quarter", EDITIONS),
        ("第二季度销售额", PLANS),
        ("one more thing", WAYS),
    ],
)
def test_nothing_where_no_item_is_meant(query: str, said: str) -> None:
    assert resolve_ordinal(query, language_of(query), [(0, Turn(Role.ASSISTANT, said))], EMPTY) is None


def test_the_latest_listing_turn_counts() -> None:
    history = (Turn(Role.ASSISTANT, EDITIONS), Turn(Role.ASSISTANT, WAYS), Turn(Role.USER, "ok"))
    found = resolve_ordinal("the first one", language_of("the"), list(enumerate(history))[::-1], EMPTY)
    assert found is not None
    assert (found.turn, found.item) == (1, "Use the wizard")


@given(
    st.sampled_from(["the second one", "第二个呢", "the latter", "最后一个"]),
    st.lists(st.text("ab,;:：、和1.2 \n一二是", max_size=60), max_size=4),
)
def test_items_are_copied(query: str, said: list[str]) -> None:
    history = tuple(Turn(Role.ASSISTANT, text) for text in said)
    found = resolve_ordinal(query, language_of(query), list(enumerate(history))[::-1], EMPTY)
    if found is not None:
        assert found.item in history[found.turn].text
        assert 0 <= found.start < found.end <= len(query)
