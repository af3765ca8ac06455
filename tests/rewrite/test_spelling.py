"""Names that are misspelt: what is found, and what must be left alone."""

import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import querywright
from querywright.rewrite import english_words, homophones
from querywright.rewrite.catalog import SLIP_CHARS, Catalog, Entity
from querywright.rewrite.english_words import is_word
from querywright.rewrite.language import Language
from querywright.rewrite.query import Decision, Query, Role, Source, Turn
from querywright.rewrite.rewriter import Chain
from querywright.rewrite.slots import CatalogRewriter

NOW = datetime(2024, 7, 15, 10, tzinfo=UTC)


def made_of(*names: str) -> Catalog:
    return Catalog(
        "made", tuple(Entity(f"e{i}", "thing", dict.fromkeys(Language, n), (n,)) for i, n in enumerate(names))
    )


def slips(catalog: Catalog, text: str) -> list[tuple[str, str]]:
    return [(text[m.start : m.end], str(m.meant)) for m in catalog.mentions(text) if not m.exact]


@pytest.mark.parametrize(
    ("text", "typed", "meant"),
    [
        ("customer profle怎么用", "customer profle", "customer profile"),  # missing
        ("where are custommer profiles", "custommer profiles", "customer profiles"),  # extra
        ("custemer profiles", "custemer profiles", "customer profiles"),  # wrong
        ("cutsomer profiles", "cutsomer profiles", "customer profiles"),  # transposed
        ("Permision Management", "Permision Management", "permission management"),
        ("report subscritpoins", "report subscritpoins", "report subscriptions"),  # two in a long word
        ("xiaome", "xiaome", "Xiaomi"),
        ("our sales warehuse", "sales warehuse", "sales warehouse"),  # "sales" alone is a name, too
        ("visit chekc-in", "visit chekc-in", "visit check-in"),
        ("客户画象怎么用", "客户画象", "客户画像"),
        ("客户画象是什么", "客户画象", "客户画像"),  # 象是 is a word, too
        ("线锁分配给谁", "线锁分配", "线索分配"),
        ("单点登陆失败", "单点登陆", "单点登录"),
        ("華東地区的退货律", "退货律", "退货率"),
        ("客戶畫像", "客戶畫像", "客户画像"),
        ("报表订月", "报表订月", "报表订阅"),
        ("拜访签道", "拜访签道", "拜访签到"),
        ("商鸡看板", "商鸡看板", "商机看板"),
        ("外勤前到", "外勤前到", "外勤签到"),
        ("报表汀阅", "报表汀阅", "报表订阅"),  # sounds otherwise, looks alike
        ("批量导人", "批量导人", "批量导入"),
        ("kehuhuaxiang怎么用", "kehuhuaxiang", "客户画像"),
        ("ke hu hua xiang zenme yong", "ke hu hua xiang", "客户画像"),
        ("Kehu Huaxiang", "Kehu Huaxiang", "客户画像"),
    ],
)  # fmt: skip
def test_a_slip_is_found(catalog: Catalog, text: str, typed: str, meant: str) -> None:
    assert (typed, meant) in slips(catalog, text)


@pytest.mark.parametrize(
    "text",
    [
        "contact approval",  # an ordinary word
        "contract approvals",  # in the catalog
        "customers profile", "the custom profile", "quotas", "permission", "oranges and sage", "salesman",
        "ORCALE", "AAPLL",  # capitals are codes
        "profle_v2", "mail custmer@profle.com", "custmer.profle", "the /customer/profle page",
        "api kyes", "the crn", "aplle",  # short, short, two senses
        "xylophone",
        "数据导出", "销售预算", "合同审核", "权限管控", "用户画家", "客户关怀", "商机看好",  # words that mean something else
        "工海", "小迷", "查虫",  # two characters, other tones
        "客户的画像", "线索", "分配",
        "kehu", "gonghai", "ke hu", "hua xiang", "kehuhuaxian g",
    ],
)  # fmt: skip
def test_what_may_be_meant_as_it_is_stays(catalog: Catalog, text: str) -> None:
    assert slips(catalog, text) == []


def test_what_may_be_two_names_is_neither() -> None:
    assert slips(made_of("marlon", "merlin"), "merlon") == []
    assert slips(made_of("marlon"), "merlon") == [("merlon", "marlon")]
    assert slips(made_of("张晓明", "章小明"), "张小明") == []
    assert slips(made_of("客户画像", "客户话像"), "kehuhuaxiang") == []
    assert slips(made_of("公海"), "公嗨") == []


def test_the_longest_then_the_nearest_name_is_meant() -> None:
    assert slips(made_of("gadget", "gadget panel"), "gadgte panel") == [("gadgte panel", "gadget panel")]
    assert slips(made_of("quotation", "quotationer"), "quotatiom") == [("quotatiom", "quotation")]


def test_a_syllable_keeps_its_character_however_often_it_is_read() -> None:
    names = made_of("客户画像")
    for _ in range(20_000):
        homophones._char_for("hua4")
    assert len(set(homophones._CHARS.values())) == len(homophones._CHARS)
    assert next(homophones._CODES) < 0xF0000 + 20_000
    assert slips(names, "客户画象") == [("客户画象", "客户画像")]


def test_two_characters_need_the_same_tones() -> None:
    one = made_of("权限")
    assert slips(one, "劝线") == []
    assert slips(made_of("查重"), "察重") == []
    assert slips(made_of("拜访"), "败访") == [("败访", "拜访")]


def test_words_of_the_query_that_are_names_exactly_are_not_touched(catalog: Catalog) -> None:
    (found,) = catalog.mentions("客户画像")
    assert found.exact
    assert found.meant is None
    assert slips(made_of("公海", "公害池"), "公海池") == []


def test_a_locked_span_stays() -> None:
    plain = made_of("customer profile")
    kept = Catalog("made", plain.entities, locked=(re.compile("profle"),))
    assert slips(plain, "customer profle")
    assert slips(kept, "customer profle") == []


def test_a_long_text_is_searched_for_exact_names_only(catalog: Catalog) -> None:
    text = "customer profle and CRM "
    assert slips(catalog, text)
    long = text + "x" * SLIP_CHARS
    assert slips(catalog, long) == []
    assert [long[m.start : m.end] for m in catalog.mentions(long)] == ["CRM"]


def test_without_known_words_no_english_word_is_taken_for_a_slip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(english_words, "_PACKAGE", "no_such_package")
    english_words._vocabulary.cache_clear()
    try:
        names = made_of("customer profile", "客户画像")
        assert slips(names, "customer profle") == []
        assert slips(names, "kehuhuaxiang") == [("kehuhuaxiang", "客户画像")]
    finally:
        english_words._vocabulary.cache_clear()


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("contact", True), ("mailings", True), ("timezone", True), ("merging", True), ("planning", True), ("quotas", True),
        ("companies", True), ("theoretic", True), ("unpublished", True), ("schema", True),
        ("profle", False), ("custmer", False), ("permision", False), ("approvla", False), ("recieve", False),
    ],
)  # fmt: skip
def test_is_word(word: str, known: bool) -> None:  # noqa: FBT001 # a table
    assert is_word(word) is known


@given(st.text(st.sampled_from("客户画像象线锁索分配的 customer prfile'-_.ſİ\n0苹果𠮷"), max_size=40))
def test_mentions_never_overlap_and_a_slip_means_one_entry(catalog: Catalog, text: str) -> None:
    mentions = catalog.mentions(text)
    assert all(0 <= m.start < m.end <= len(text) for m in mentions)
    assert all(left.end <= right.start for left, right in itertools.pairwise(mentions))
    assert all(len(m.candidates) == 1 for m in mentions if not m.exact)


def test_a_found_slip_is_no_spelling_of_the_catalog(catalog: Catalog) -> None:
    for entry in catalog.entities:
        for name in (*entry.aliases, *entry.name.values()):
            assert slips(catalog, name) == []


# --------------------------------------------------------------------------------------- rewriting


@pytest.mark.parametrize(
    ("text", "rewrite"),
    [
        ("客户画象怎么用", "客户画像功能的操作指南"),
        ("kehuhuaxiang怎么用", "客户画像功能的操作指南"),
        ("how do i use customer profle", "user guide for customer profiles"),
        ("客户画象怎么关闭", "客户画像怎么关闭"),
        ("where is our sales warehuse hosted", "where is our sales warehouse hosted"),
    ],
)
def test_a_slip_is_mended_in_place_or_by_the_intent(catalog: Catalog, text: str, rewrite: str) -> None:
    made = Chain([CatalogRewriter(catalog)], catalog=catalog).rewrite(Query(text, now=NOW))
    assert made.rewrite == rewrite
    edit = next(edit for edit in made.edits if edit.problem == "ambiguity")
    (mention,) = (m for m in catalog.mentions(text) if not m.exact)
    assert (edit.start, edit.end, edit.slot) == (mention.start, mention.end, mention.candidates[0].slot)
    assert edit.evidence.source is Source.CATALOG
    assert (edit.evidence.where, edit.evidence.text) == (mention.candidates[0].where, mention.meant)


def test_a_mended_name_is_less_certain(catalog: Catalog) -> None:
    rewriter = CatalogRewriter(catalog)
    exact = rewriter.rewrite(Query("客户画像怎么用"))
    mended = rewriter.rewrite(Query("客户画象怎么用"))
    assert mended.rewrite == exact.rewrite
    assert mended.confidence == pytest.approx(0.8 * exact.confidence)


def test_a_name_misspelt_in_the_conversation_fills_a_slot(catalog: Catalog) -> None:
    made = CatalogRewriter(catalog).rewrite(Query("怎么用", (Turn(Role.USER, "客户画象是什么"),)))
    assert made.rewrite == "客户画像功能的操作指南"
    assert {edit.evidence.text for edit in made.edits if edit.slot == "feature"} == {"客户画象"}


def test_quotes_stay(catalog: Catalog) -> None:
    made = CatalogRewriter(catalog).rewrite(Query("“客户画象”怎么关闭", now=NOW))
    assert made.decision is Decision.KEEP


def test_the_demo_s_queries_are_touched_only_where_they_are_misspelt(catalog: Catalog) -> None:
    path = Path(querywright.__file__).parent / "data/demo/queries.jsonl"
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    touched = {slip for text in texts for slip in slips(catalog, text)}
    assert touched <= {("the norht", "the north"), ("消售额", "销售额"), ("退货律", "退货率"), ("revnue", "revenue")}
