import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.rewrite.catalog import Catalog
from querywright.rewrite.history import HistoryRewriter
from querywright.rewrite.language import fold
from querywright.rewrite.query import Decision, Query, Role, Source, Turn, apply_edits
from querywright.service.pipeline import rewrite_share

TOWER = ("tell me about the Eiffel Tower", "The Eiffel Tower is in Paris.")
TURM = ("介绍一下埃菲尔铁塔", "埃菲尔铁塔在巴黎。")


def talk(*texts: str) -> tuple[Turn, ...]:
    """Return turns that the asker and the assistant take in turn."""
    return tuple(Turn(Role.ASSISTANT if i % 2 else Role.USER, text) for i, text in enumerate(texts))


def rewritten(text: str, history: tuple[str, ...], catalog: Catalog | None = None) -> str:
    return HistoryRewriter(catalog).rewrite(Query(text, talk(*history))).rewrite


@pytest.mark.parametrize(
    ("text", "history", "wanted"),
    [
        ("how tall is it?", TOWER, "how tall is Eiffel Tower?"),
        ("how much does it cost?", TOWER, "how much does Eiffel Tower cost?"),
        ("what does it mean", TOWER, "what does Eiffel Tower mean"),
        ("who built this?", TOWER, "who built Eiffel Tower?"),
        ("how old is that?", TOWER, "how old is Eiffel Tower?"),
        ("what are its opening hours?", TOWER, "what are Eiffel Tower's opening hours?"),
        ("Their price", TOWER, "Eiffel Tower's price"),
        ("it", TOWER, "Eiffel Tower"),
        ("does this feature cost extra?", ("do you know customer profiles?",), "does customer profiles cost extra?"),
        ("what about the price?", TOWER, "what about the price of Eiffel Tower?"),
        ("anything else?", TOWER, "anything else for Eiffel Tower?"),
        ("它多少钱", TURM, "埃菲尔铁塔多少钱"),
        ("它", TURM, "埃菲尔铁塔"),
        ("这个地方几点开门", TURM, "埃菲尔铁塔几点开门"),
        ("那价格呢?", TURM, "那埃菲尔铁塔价格呢?"),
        ("还有门票呢", TURM, "还有埃菲尔铁塔门票呢"),
        ("这部电影是谁导演的", ("《流浪地球》好看吗", "《流浪地球》评分很高"), "流浪地球是谁导演的"),
        ("它的价格", TOWER, "Eiffel Tower的价格"),
        ("它怎么收费", ("Kubernetes 是什么",), "Kubernetes怎么收费"),
    ],
)
def test_what_points_back_is_replaced(text: str, history: tuple[str, ...], wanted: str) -> None:
    assert rewritten(text, history) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "is it possible to pay by card?", "it takes 45 days", "it is better to wait", "how long does it take to get in",
        "what does it mean to be late", "it's important to book", "IT support", 'what does "it" mean',
        "“它”是什么意思", "《它》好看吗", "这个时候去合适吗", "这个月有活动吗", "和 ERR-4012 有关吗", "and ERR-4012?",
        "Eiffel Tower, how tall is it?", "the Louvre and the Seine in Paris, are they close?",
        "how do I bake bread", "怎么烤面包",
    ],
)  # fmt: skip
def test_what_does_not_point_back_stays(text: str) -> None:
    for history in (TOWER, TURM):
        assert rewritten(text, history) == text


@pytest.mark.parametrize("text", ["how does it work", "what about that?", "它怎么用", "那价格呢", "and then?"])
@pytest.mark.parametrize("history", [(), ("",), ("", ""), ("   ", "？"), ("it is", "they are"), ("是吗", "好的")])
def test_without_a_topic_nothing_changes(text: str, history: tuple[str, ...]) -> None:
    made = HistoryRewriter().rewrite(Query(text, talk(*history)))
    assert (made.rewrite, made.decision, made.edits) == (text, Decision.KEEP, ())


def test_an_english_query_takes_no_chinese_topic() -> None:
    assert rewritten("how much is it", TURM) == "how much is it"


@pytest.mark.parametrize(
    ("text", "history", "wanted", "where", "said"),
    [
        ("它要另外收费吗", ("客户画像是什么",), "客户画像功能要另外收费吗", 0, "客户画像"),
        ("有数量限制吗", ("想群发邮件通知展会", "可以用邮件群发功能"), "邮件群发功能有数量限制吗", 0, "群发邮件"),
        ("有数量限制吗", ("你好", "可以用邮件群发功能"), "邮件群发功能有数量限制吗", 1, "邮件群发功能"),
        ("does it cost extra?", ("what is SSO?", "Single sign-on."), "does single sign-on cost extra?", 0, "SSO"),
        ("does it cost extra?", ("客户画像是什么",), "does customer profiles cost extra?", 0, "客户画像"),
        ("它呢", ("数据导入怎么用", "好的", "那权限管理"), "权限管理功能呢", 2, "权限管理"),
        ("它呢", ("数据导入", "用权限管理可以"), "数据导入功能呢", 0, "数据导入"),
    ],
)
def test_an_entity_of_the_catalog_is_the_topic(
    catalog: Catalog, text: str, history: tuple[str, ...], wanted: str, where: int, said: str
) -> None:
    made = HistoryRewriter(catalog).rewrite(Query(text, talk(*history)))
    assert made.rewrite == wanted
    evidence = made.edits[0].evidence
    assert (evidence.source, evidence.where, evidence.text) == (Source.HISTORY, f"history[{where}]", said)


def test_a_query_that_names_an_entity_stays(catalog: Catalog) -> None:
    assert rewritten("它和数据导入有什么区别", ("客户画像是什么",), catalog) == "它和数据导入有什么区别"


def test_a_pronoun_is_surer_than_silence(catalog: Catalog) -> None:
    def confidence(text: str) -> float:
        return HistoryRewriter(catalog).rewrite(Query(text, talk("客户画像是什么"))).confidence

    assert confidence("它要钱吗") > confidence("那价格呢") > confidence("有数量限制吗")


@pytest.mark.parametrize("text", ["它怎么样", "那价格呢", "how does it work", "what about the limits?", "有数量限制吗"])
@pytest.mark.parametrize("turn", ["客户画像会把资料汇总到一页", "the garden is green and the weather is fine", "你好"])
def test_a_long_history_takes_no_longer_than_its_latest_turns(catalog: Catalog, text: str, turn: str) -> None:
    query = Query(text, talk(*[turn] * 10_000))
    begun = time.perf_counter()
    HistoryRewriter(catalog).rewrite(query)
    assert time.perf_counter() - begun < 2


# ---------------------------------------------------------------------------------- any conversation

pieces = st.sampled_from(
    [
        "it",
        "its",
        "this",
        "that",
        "它",
        "这个功能",
        "他们",
        "那",
        "呢",
        "the",
        "a",
        "Eiffel",
        "Tower",
        "CRM",
        "客户画像",
        "埃菲尔铁塔",
        "《流浪地球》",
        "“它”",
        '"it"',
        "what",
        "about",
        "how",
        "does",
        "work",
        "价格",
        "怎么",
        "and",
        "else",
        "?",
        "。",
        ",",
        "ERR-4012",
        "ü",
        "😀",
        "𠀀",
        "'s",
        "İ",
    ]
)
sentences = st.lists(st.tuples(pieces, st.sampled_from(["", " "])), max_size=8).map(
    lambda pairs: "".join(word + gap for word, gap in pairs)
)
queries = st.builds(
    Query,
    sentences.filter(str.strip),
    st.lists(st.builds(Turn, st.sampled_from(Role), sentences), max_size=5).map(tuple),
)


@given(queries)
def test_only_words_of_the_history_are_written(query: Query) -> None:
    made = HistoryRewriter().rewrite(query)
    assert apply_edits(query.query, made.edits) == made.rewrite
    for edit in made.edits:
        written = edit.replacement.strip()
        index = int(edit.evidence.where.removeprefix("history[").removesuffix("]"))
        assert edit.evidence.text in query.history[index].text
        assert written.removeprefix("for ").removeprefix("of ").removeprefix("in ") in {
            edit.evidence.text,
            f"{edit.evidence.text}'s",
        }


@given(queries)
def test_with_a_catalog_its_names_may_be_written(catalog: Catalog, query: Query) -> None:
    made = HistoryRewriter(catalog).rewrite(query)
    names = {name for entity in catalog.entities for name in entity.name.values()}
    for edit in made.edits:
        written = (
            edit.replacement.strip().removesuffix("'s").removeprefix("for ").removeprefix("of ").removeprefix("in ")
        )
        assert written in names or any(fold(written) in fold(turn.text) for turn in query.history)


@pytest.mark.parametrize(
    "text",
    [
        "thanks!", "ok", "help", "hello", "谢谢", "好的", "嗯嗯", "我要投诉", "提交工单", "what about the first two?", "第五个",
        "what about the third one?", "the 5th one", "What is the first step to file taxes in France?",
    ],
)  # fmt: skip
def test_small_talk_and_what_points_nowhere_is_kept(catalog: Catalog, text: str) -> None:
    said = (
        Turn(Role.USER, "客户画像是什么? what are customer profiles?"),
        Turn(Role.ASSISTANT, "There are two parts: tags and a timeline."),
    )
    assert HistoryRewriter(catalog).rewrite(Query(text, said)).decision is Decision.KEEP


def test_a_guess_at_a_silent_topic_weighs_less_than_the_original(catalog: Catalog) -> None:
    found = HistoryRewriter(catalog).rewrite(Query("怎么请假", (Turn(Role.USER, "客户画像是什么"),)))
    assert rewrite_share(found.confidence) < 0.5


def test_they_are_not_one_thing(catalog: Catalog) -> None:
    said = (Turn(Role.USER, "what is contract approval"),)
    assert HistoryRewriter(catalog).rewrite(Query("can they bring a guest?", said)).decision is Decision.KEEP
