"""The chat model's rewriter through langchain-openai, against a server on this machine that speaks its protocol."""

import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querywright import InputError, MissingExtraError
from querywright.rewrite.grounding import ungrounded
from querywright.rewrite.history import HistoryRewriter
from querywright.rewrite.llm import DEFAULT_PROMPT, LLMRewriter, Proposal, load_chat_model, load_prompt
from querywright.rewrite.query import Decision, Query, Rewrite, Role, Turn, Usage, apply_edits
from querywright.rewrite.rewriter import Chain, metered
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

KEY = "sk-very-secret-0123456789"
NOW = datetime(2024, 7, 15, 10, tzinfo=UTC)
EN = Query(
    "how do I use it?",
    (Turn(Role.USER, "what are customer profiles?"), Turn(Role.ASSISTANT, "A page about one account.")),
    {"product": "the CRM"},
    NOW,
    "en",
)
ZH = Query(
    "这个功能怎么用?",
    (Turn(Role.USER, "客户画像是做什么的？"), Turn(Role.ASSISTANT, "汇总一位客户的资料。")),
    {"product": "CRM 系统"},
    NOW,
    "zh",
)


@pytest.fixture(scope="module")
def model(chat_server) -> Any:
    return load_chat_model("openai:test", timeout_seconds=0.5, base_url=chat_server.url, api_key=KEY)


@pytest.fixture(scope="module")
def rewriter(model: Any) -> LLMRewriter:
    return LLMRewriter(model)


def check_kept(made: Rewrite, query: Query) -> None:
    assert (made.rewrite, made.decision, made.edits) == (query.query, Decision.KEEP, ())


# ---------------------------------------------------------------------------------------- good ones


@pytest.mark.parametrize(
    ("query", "proposed", "sources"),
    [
        (EN, "how do I use customer profiles?", ["history[0]"]),
        (EN, "how do I use customer profiles in the CRM?", ["history[0]", "profile.product"]),
        (EN, "In the CRM, how do I use customer profiles?", ["profile.product", "history[0]"]),
        (EN, "how do I use it for one account?", ["history[1]"]),
        (ZH, "客户画像功能怎么用?", ["history[0]"]),
        (ZH, "CRM 系统客户画像功能怎么用?", ["profile.product", "history[0]"]),
        (ZH, "CRM 系统中客户画像的这个功能怎么用?", ["profile.product", "history[0]"]),
    ],
)
def test_a_good_rewrite_is_taken_with_its_evidence(
    server, rewriter: LLMRewriter, query: Query, proposed: str, sources: list[str]
) -> None:
    server.proposes(proposed)
    made = Chain([rewriter]).rewrite(query)
    assert (made.rewrite, made.rewriter, made.degraded, made.id) == (proposed, "llm", None, query.id)
    assert apply_edits(query.query, made.edits) == made.rewrite
    assert [edit.evidence.where for edit in made.edits] == sources


def test_white_space_of_the_model_is_not_copied(server, rewriter: LLMRewriter) -> None:
    server.proposes("  how do I use customer\n\nprofiles?\n")
    assert rewriter.rewrite(EN).rewrite == "how do I use customer profiles?"


@pytest.mark.parametrize("proposed", ["how do I use it?", "HOW do I use it?", "how do I use?", "  how do I use it?\n"])
def test_nothing_new_is_nothing_changed(server, rewriter: LLMRewriter, proposed: str) -> None:
    server.proposes(proposed)
    check_kept(rewriter.rewrite(EN), EN)


# ----------------------------------------------------------------------------------------- bad ones


@pytest.mark.parametrize(
    ("query", "proposed", "invented"),
    [
        (EN, "how do I use Salesforce Einstein?", "Salesforce"),
        (EN, "in Berlin, how do I use customer profiles?", "Berlin"),
        (ZH, "钉钉考勤怎么用?", "钉钉"),
        (ZH, "客户画像怎么用? 蓝鲸版", "蓝鲸"),
    ],
)
def test_what_is_invented_is_dropped(server, rewriter: LLMRewriter, query: Query, proposed: str, invented: str) -> None:
    server.proposes(proposed)
    made = rewriter.rewrite(query)
    assert invented not in made.rewrite
    assert apply_edits(query.query, made.edits) == made.rewrite


@pytest.mark.parametrize(
    ("query", "proposed"),
    [
        (EN, "客户画像怎么用?"),
        (ZH, "how do I use customer profiles?"),
        (EN, "how do I use customer profiles? " + "customer profiles " * 60),
        (EN, ""),
        (EN, " \n"),
    ],
    ids=["Chinese for English", "English for Chinese", "too long", "empty", "blank"],
)
def test_what_is_no_rewrite_is_not_taken(server, rewriter: LLMRewriter, query: Query, proposed: str) -> None:
    server.proposes(proposed)
    check_kept(rewriter.rewrite(query), query)


def fails(server, rewriter: LLMRewriter, query: Query = EN) -> None:
    made = Chain([rewriter]).rewrite(query)
    check_kept(made, query)
    assert made.degraded == "llm_failed"
    assert len(server.requests) == 1, "the client must not retry on its own"


def test_a_refusal(server, rewriter: LLMRewriter) -> None:
    server.says(None, refusal="I'm sorry, I can't help with that.")
    fails(server, rewriter)


@pytest.mark.parametrize(
    "content",
    [
        "I'm sorry, I can't help with that.",
        "how do I use customer profiles?",
        '{"query": "how do I use customer profiles?"}',
        '{"rewrite": 7}',
        '{"rewrite": "how do I',
        "[]",
        "",
    ],
)
def test_what_is_not_the_schema(server, rewriter: LLMRewriter, content: str) -> None:
    server.says(content)
    fails(server, rewriter)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_an_error_of_the_server(server, rewriter: LLMRewriter, status: int) -> None:
    server.reply = lambda: (status, b'{"error": {"message": "no"}}')
    fails(server, rewriter)


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b"{}", b'{"choices": []}', b"\xff\xfe", b"null"])
def test_a_body_that_is_no_completion(server, rewriter: LLMRewriter, body: bytes) -> None:
    server.reply = lambda: (200, body)
    fails(server, rewriter)


def test_a_server_that_hangs(server, rewriter: LLMRewriter) -> None:
    def hang() -> tuple[int, bytes]:
        time.sleep(1.5)
        return 500, b""

    server.reply = hang
    begun = time.perf_counter()
    fails(server, rewriter)
    assert time.perf_counter() - begun < 1.4


def test_a_server_that_is_not_there() -> None:
    gone = LLMRewriter(
        load_chat_model("openai:test", timeout_seconds=0.5, base_url="http://127.0.0.1:9/v1", api_key=KEY)
    )
    made = Chain([gone]).rewrite(EN)
    check_kept(made, EN)
    assert made.degraded == "llm_failed"


class Proposing:
    """A chat model that proposes one text; for what the text may be, not for how it comes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def with_structured_output(self, schema: type[Any], *, include_raw: bool) -> "Proposing":
        return self

    def invoke(self, _messages: object) -> dict[str, Any]:
        return {"raw": None, "parsed": Proposal(rewrite=self._text), "parsing_error": None}


words = st.sampled_from(
    [
        "how",
        "do",
        "I",
        "use",
        "it",
        "CRM",
        "客户",
        "画像",
        "系统",
        "的",
        "the",
        "in",
        "中",
        "怎么",
        "用",
        "?",
        ",",
        ".",
        "“",
        "😀",
        "ü",
        "7",
        "ERR-4012",
        "it's",
        "customer-profiles",
        "a_b",
        "İ",
        "ＣＲＭ",
    ]
)
sentences = st.lists(st.tuples(words, st.sampled_from(["", " ", "\n"])), min_size=1, max_size=8).map(
    lambda pairs: "".join(word + gap for word, gap in pairs)
)
histories = st.lists(st.builds(Turn, st.sampled_from(Role), sentences), max_size=3).map(tuple)


@settings(max_examples=300)
@given(sentences, histories, st.sampled_from([{}, {"product": "the CRM", "facts": ("客户 画像", "")}]), sentences)
def test_whatever_is_proposed_only_what_is_grounded_is_taken(
    text: str, history: tuple[Turn, ...], profile: dict[str, Any], proposed: str
) -> None:
    query = Query(text, history, profile)
    made = LLMRewriter(Proposing(proposed)).rewrite(query)
    assert apply_edits(text, made.edits) == made.rewrite
    assert list(ungrounded(query, made.edits)) == []


# ----------------------------------------------------------------------------------------- requests


def test_the_request_asks_for_the_schema(server, rewriter: LLMRewriter) -> None:
    server.proposes("how do I use it?")
    rewriter.rewrite(EN)
    sent = server.requests[-1]
    assert sent["response_format"]["type"] == "json_schema"
    assert "rewrite" in sent["response_format"]["json_schema"]["schema"]["properties"]
    assert (sent["model"], sent["temperature"], sent["key"]) == ("test", 0, f"Bearer {KEY}")


def test_the_prompt_is_in_the_language_of_the_query(server, rewriter: LLMRewriter) -> None:
    server.proposes("x")
    rewriter.rewrite(EN)
    assert server.prompt().isascii()
    assert "self-contained" in server.prompt()
    rewriter.rewrite(ZH)
    assert "请把用户的最后一个查询改写成" in server.prompt()
    assert "Conversation" not in server.prompt()


def test_the_prompt_holds_the_query_its_conversation_and_nothing_else(server, rewriter: LLMRewriter) -> None:
    server.proposes("x")
    rewriter.rewrite(EN)
    asked = server.requests[-1]["messages"][-1]["content"]
    assert asked.splitlines() == [
        "## Conversation",
        "user: what are customer profiles?",
        "assistant: A page about one account.",
        "## Profile",
        "product: the CRM",
        "## Date",
        "2024-07-15",
        "## Query",
        "how do I use it?",
    ]


def test_the_prompt_stays_short(server, rewriter: LLMRewriter) -> None:
    turns = tuple(Turn(Role.USER, f"turn {i} " + "x" * 10_000) for i in range(1_000))
    server.proposes("x")
    rewriter.rewrite(Query("how do I use it?", turns))
    assert "turn 999 " in server.prompt()
    assert "turn 991 " not in server.prompt()
    assert len(server.prompt()) < 10_000


def test_nothing_secret_is_logged(
    server, rewriter: LLMRewriter, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="querywright"):
        server.reply = lambda: (401, json.dumps({"error": {"message": f"wrong key {KEY}"}}).encode())
        Chain([rewriter]).rewrite(EN)
        server.says(KEY)
        Chain([rewriter]).rewrite(EN)
    shown = caplog.text + "".join(capfd.readouterr())
    assert "rewriter llm failed" in shown
    assert KEY not in shown
    assert "customer profiles" not in shown


# ------------------------------------------------------------------------------------------ loading


@pytest.mark.parametrize("name", ["", " ", "foo", "nosuch:model", ":", "openai:"])
def test_a_name_that_is_no_model(name: str) -> None:
    with pytest.raises(InputError, match=r"expected PROVIDER:MODEL, e\.g\. openai:gpt-5-mini"):
        load_chat_model(name)


def test_a_provider_that_is_not_installed() -> None:
    with pytest.raises(MissingExtraError, match=r"chat model 'ollama:x': its package is not installed: pip install"):
        load_chat_model("ollama:x")


def test_a_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="chat model 'openai:gpt-5-mini': OpenAIError: its key or endpoint is missing"):
        load_chat_model("openai:gpt-5-mini")


def test_the_client_neither_retries_nor_waits_for_long(model: Any) -> None:
    assert (model.max_retries, model.request_timeout) == (0, 0.5)


# --------------------------------------------------------------------------------------------- cost


def test_a_rewrite_says_what_it_cost(server, rewriter: LLMRewriter) -> None:
    server.proposes("how do I use customer profiles?", tokens=(120, 9))
    assert rewriter.rewrite(EN).usage == Usage(1, 120, 9)
    assert Chain([rewriter]).rewrite(EN).usage == Usage(1, 120, 9)


def test_what_was_not_asked_cost_nothing(server, rewriter: LLMRewriter) -> None:
    assert Chain([HistoryRewriter(None)]).rewrite(EN).usage is None
    assert Chain([rewriter]).rewrite(Query("how do I use it?", now=NOW)).usage is None
    assert not server.requests


def test_tokens_that_the_server_does_not_tell_are_unknown_and_not_0(server, rewriter: LLMRewriter) -> None:
    server.proposes("how do I use customer profiles?", tokens=None)
    assert Chain([rewriter]).rewrite(EN).usage == Usage(1, None, None)
    server.proposes("how do I use customer profiles?", tokens=(0, 0))
    assert Chain([rewriter]).rewrite(EN).usage == Usage(1, 0, 0)


@pytest.mark.parametrize("proposed", ["how do I use it?", "how do I use Salesforce?", "客户画像怎么用?", ""])
def test_what_is_not_taken_cost_as_much(server, rewriter: LLMRewriter, proposed: str) -> None:
    server.proposes(proposed, tokens=(120, 9))
    made = Chain([rewriter]).rewrite(EN)
    check_kept(made, EN)
    assert made.usage == Usage(1, 120, 9)


def test_a_refusal_cost_as_much(server, rewriter: LLMRewriter) -> None:
    server.says(None, refusal="No.", tokens=(120, 9))
    made = Chain([rewriter]).rewrite(EN)
    assert (made.degraded, made.usage) == ("llm_failed", Usage(1, 120, 9))


def test_of_an_answer_that_the_client_throws_away_the_tokens_are_unknown(server, rewriter: LLMRewriter) -> None:
    server.says("I'm sorry", tokens=(120, 9))
    made = Chain([rewriter]).rewrite(EN)
    assert (made.degraded, made.usage) == ("llm_failed", Usage(1, None, None))


def test_calls_add_up_over_the_chain_whoever_wins(server, model: Any) -> None:
    class Surer:
        """Asks the model, and is sure of what another one finds."""

        name = "surer"

        def rewrite(self, query: Query) -> Rewrite:
            LLMRewriter(model).rewrite(query)
            return HistoryRewriter(None).rewrite(query)

    server.proposes("how do I use customer profiles?", tokens=(100, 10))
    assert Chain([LLMRewriter(model), Surer()]).rewrite(EN).usage == Usage(1, 100, 10)  # the first was sure
    server.proposes("how do I use it?", tokens=(100, 10))
    assert Chain([LLMRewriter(model), Surer()]).rewrite(EN).usage == Usage(2, 200, 20)


def test_a_call_that_fails_is_a_call(server, rewriter: LLMRewriter) -> None:
    server.reply = lambda: (500, b"")
    made = Chain([rewriter, rewriter]).rewrite(EN)
    assert (made.degraded, made.usage) == ("llm_failed", Usage(2, None, None))


def test_a_call_that_nobody_waits_for_is_a_call(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang() -> tuple[int, bytes]:
        time.sleep(1)
        return 500, b""

    server.reply = hang
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    settings = Settings(home=tmp_path, llm="openai:test", llm_base_url=server.url, budget_ms=400)
    with Pipeline(settings) as pipeline:
        pipeline.rewriter("llm").rewrite(EN)  # its imports take longer than the budget
        made = pipeline.rewrite(EN, rewriter="llm")
    assert made.degraded in {"rewrite_timeout", "llm_failed"}
    assert made.usage == Usage(1, None, None)


def test_a_meter_joins_the_one_around_it() -> None:
    with metered() as outer, metered() as inner:
        inner.call()
        inner.tokens(3, 4)
    assert inner is outer
    with metered() as other:
        assert other.usage is None
    assert outer.usage == Usage(1, 3, 4)


# ------------------------------------------------------------------------------------------ prompts


def test_a_text_is_the_prompt_for_every_language(server, model: Any, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("\ufeffRewrite it. 请改写。\n", encoding="utf-8")
    rewriter = LLMRewriter(model, load_prompt(path))
    server.proposes("x")
    for query in (EN, ZH):
        rewriter.rewrite(query)
        assert server.system() == "Rewrite it. 请改写。"


def test_toml_has_a_prompt_for_each_language(server, model: Any, tmp_path: Path) -> None:
    path = tmp_path / "prompt.toml"
    path.write_text('zh = "请改写。"\n', encoding="utf-8")
    rewriter = LLMRewriter(model, load_prompt(path))
    server.proposes("x")
    rewriter.rewrite(ZH)
    assert server.system() == "请改写。"
    rewriter.rewrite(EN)
    assert server.system() == DEFAULT_PROMPT["en"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("p.txt", None, "cannot be read: No such file"),
        ("p.txt", b" \n", "expected what the model is told"),
        ("p.txt", b"\xff\xfe", "not UTF-8 text"),
        ("p.txt", b"x" * 20_001, "20,001 characters, at most 20,000"),
        ("p.toml", b"en = ", "not valid TOML"),
        ("p.toml", b"", "expected the keys zh and en"),
        ("p.toml", b'fr = "x"', "expected the keys zh and en"),
        ("p.toml", b"en = 7", "expected the keys zh and en"),
        ("p.toml", b'en = ""', "expected what the model is told"),
    ],
)
def test_a_bad_prompt_is_one_error(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        Pipeline(Settings(home=tmp_path, llm_prompt=path))
    assert str(caught.value).startswith(f"{path}: prompt: ")
    assert len(str(caught.value).splitlines()) == 1
