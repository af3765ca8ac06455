"""What a model answers is repaired or rejected, whatever it is."""

import json
import string
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.rewrite.chat_failures import LLMInvalidError, LLMRefusedError
from querywright.rewrite.proposal import MAX_CHARS, SCHEMA, Proposal, read

EN = "how do I use it?"
ZH = "这个功能怎么用?"
GOOD = "how do I use customer profiles?"
GUT = "客户画像功能怎么用?"
OBJECT = json.dumps({"rewrite": GOOD})


@pytest.mark.parametrize(
    "text",
    [
        OBJECT,
        f"```json\n{OBJECT}\n```",
        f"```\n{OBJECT}",
        f"Sure! Here is it:\n\n{OBJECT}\n\nLet me know if I can't help.",
        f'The form is {{"rewrite": "..."}}, so:\n{OBJECT}',
        f"<think>I should write {{'rewrite': 'x'}}.</think>{OBJECT}",
        f"I think so.\n</think>\n\n{OBJECT}",
        f"{OBJECT}\n<think>was that right? It",
        f"<Reasoning>hm</Reasoning> {OBJECT}",
        f"[{OBJECT}]",
        json.dumps([GOOD]),
        json.dumps(GOOD),
        f'{{"rewrite": "{GOOD}",}}',
        f'{{"rewrite": "{GOOD}", "options": ["a", ],\n}}',
        f"{{'rewrite': '{GOOD}'}}",
        f"{{'rewrite': '{GOOD}', 'question': None, 'options': [], 'interpretations': []}}",
        '{"rewrite": "how do I use\n customer profiles?"}',
        f'{{"name": "Proposal", "arguments": {OBJECT}}}',
        f'{{"rewrite": "\\u0000{GOOD}\\ud800"}}',
        f'{{"rewrite": "Rewritten query: {GOOD}"}}',
        f'{{"rewrite": "“{GOOD}”"}}',
        f'{{"rewrite": "{GOOD}", "question": 7, "options": "a", "interpretations": {{}}}}',
        GOOD,
        f'"{GOOD}"',
        f"`{GOOD}`",
        f"  {GOOD}\x00\n",
        f"Rewritten query: {GOOD}",
        f"**Rewritten Query:** {GOOD}",
        f"Standalone question: “{GOOD}”",
        f"Here is the rewritten query:\n\n{GOOD}",
        f"Sure! Here's the standalone version of it: {GOOD}\n\nIt names what was meant.",
        f"```\n{GOOD}\n```",
        f"<think>\nwhat is it?\n</think>\n\n{GOOD}",
    ],
)
def test_what_can_be_repaired(text: str) -> None:
    assert read(text, EN).rewrite == GOOD


@pytest.mark.parametrize(
    "text",
    [
        f"改写：{GUT}",
        f"改写后的查询：{GUT}",
        f"好的，以下是改写后的查询：\n{GUT}",
        f"改写结果为: “{GUT}”",
        f"「{GUT}」",
        f"{{'rewrite': '{GUT}'}}",
        f'```json\n{{"rewrite": "改写后的问题：{GUT}",}}\n```',
    ],
)
def test_what_can_be_repaired_in_chinese(text: str) -> None:
    assert read(text, ZH).rewrite == GUT


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "```\n```",
        "<think>how do I",
        "[]",
        "{}",
        "7",
        '{"query": "how do I use customer profiles?"}',
        '{"rewrite": 7}',
        '{"rewrite": null}',
        '{"rewrite": ["how do I"]}',
        '{"rewrite": "how do I',
        '["a", "b"]',
        "Customer profiles are pages.\nOpen one from the list.",
        "x" * (MAX_CHARS + 1),
        "{" * MAX_CHARS,
        "[" * MAX_CHARS,
        "'" * MAX_CHARS,
        '{"rewrite": ' * 5_000,
        "<think>" * 9_000,
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_proposal(text: str) -> None:
    begun = time.perf_counter()
    if text == "7" or text.startswith("'"):
        assert not any(map(str.isalpha, read(text, EN).rewrite))
    else:
        with pytest.raises(LLMInvalidError):
            read(text, EN)
    assert time.perf_counter() - begun < 0.5


def test_an_answer_of_a_megabyte_is_not_searched() -> None:
    begun = time.perf_counter()
    for text in ("x " * 500_000, json.dumps({"rewrite": "x" * 1_000_000})):
        with pytest.raises(LLMInvalidError, match=r"has 1,0\d\d,\d\d\d characters"):
            read(text, EN)
    assert len(read({"rewrite": "x" * 1_000_000}, EN).rewrite) == MAX_CHARS
    assert time.perf_counter() - begun < 0.1


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I am sorry. I cannot assist.",
        "Sorry, I am not able to do that.",
        "I can't help with this request.",
        "I cannot answer this.\nPlease ask something else.",
        "As an AI language model, I have no access to it.",
        "Unfortunately, I don't know.",
        "抱歉，我无法回答这个问题。",
        "很抱歉，无法提供。",
        "对不起，我不能协助您。",
        "我无法为您提供这些信息。",
        "作为一个AI，我没有这些数据。",
        '{"rewrite": "I\'m sorry, but I can\'t help with that."}',
        '{"rewrite": "抱歉，我无法回答。"}',
    ],
)
def test_refusals(text: str) -> None:
    for asked in (EN, ZH):
        with pytest.raises(LLMRefusedError):
            read(text, asked)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("sorry, I meant last month", "sorry, I meant sales of last month"),
        ("抱歉，我说的是上个月", "抱歉，我说的是上个月的销售额"),
        ("why can't I log in", "why can't I log in to the CRM"),
        ("无法完成怎么办", "订单无法完成怎么办"),
        ("我无法登录", "我无法登录 CRM 系统"),
    ],
)
def test_what_sounds_like_a_refusal(asked: str, text: str) -> None:
    assert read(text, asked).rewrite == text


def test_all_that_a_proposal_may_hold() -> None:
    said = {"rewrite": EN, "question": " Which\none? ", "options": ["a", "", 7, "b"], "interpretations": list("abcde")}
    expected = Proposal(rewrite=EN, question="Which one?", options=["a", "b"], interpretations=["a", "b", "c"])
    assert read(said, EN) == read(json.dumps(said), EN) == expected
    assert SCHEMA["required"] == list(said)


@given(st.text(max_size=200) | st.text(alphabet="{}[]\"':,\\rewite \n`<>/thnk改写：", max_size=200))
def test_whatever_is_said_is_a_proposal_or_one_error(text: str) -> None:
    with suppress(LLMInvalidError, LLMRefusedError):
        rewrite = read(text, EN).rewrite
        assert "\x00" not in rewrite.encode().decode()
        assert rewrite == " ".join(rewrite.split())


PLAIN = st.text(alphabet=string.ascii_letters + "客户画像 ?-'\"\\", min_size=1, max_size=60).map(
    lambda text: f"q {text} z"
)


@given(
    PLAIN,
    st.lists(PLAIN, max_size=3),
    st.sampled_from(["{}", "```json\n{}\n```", "<think>a</think>{}", "Well: {} ok?"]),
)
def test_what_is_written_is_read(rewrite: str, interpretations: list[str], around: str) -> None:
    said = {"rewrite": rewrite, "interpretations": interpretations}
    expected = [" ".join(each.split()) for each in (rewrite, *interpretations)]
    for spelled in (json.dumps(said), json.dumps(said, ensure_ascii=False), json.dumps(said, indent=1)):
        found = read(around.replace("{}", spelled), EN)
        assert [found.rewrite, *found.interpretations] == expected
