"""Questions back: asked where nothing settles what is meant, with answers that can be told apart."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import querywright
from querywright.rewrite.catalog import Catalog
from querywright.rewrite.language import Language, language_of
from querywright.rewrite.query import Decision, Query, Role, Turn
from querywright.rewrite.questions import MOST_OPTIONS, answered, asks_for_anything
from querywright.rewrite.slots import CatalogRewriter

DOCTORS = """
name = "clinic"
[[entities]]
id = "a"
type = "doctor"
name = "张伟医生"
aliases = ["张医生"]
[[entities]]
id = "b"
type = "doctor"
name = "张伟医生"
aliases = ["张医生"]
"""


@pytest.fixture(scope="module")
def demo() -> Catalog:
    return Catalog.load(Path(querywright.__file__).parent / "data/demo/catalog.toml")


@pytest.mark.parametrize(
    "text",
    [
        "苹果最新消息",
        "介绍下甲骨文",
        "tell me about orange",
        "这个功能怎么用?",
        "那个功能咋用啊",
        "how do I use this feature?",
    ],
)
def test_asked_in_the_language_of_the_query(demo: Catalog, text: str) -> None:
    made = CatalogRewriter(demo).rewrite(Query(text))
    assert (made.decision, made.rewrite) == (Decision.CLARIFY, text)
    asked = made.clarification
    assert asked is not None
    assert language_of(asked.question) is language_of(text)
    assert 2 <= len(asked.options) <= MOST_OPTIONS
    assert len({option.label for option in asked.options}) == len(asked.options)


@pytest.mark.parametrize(
    "text",
    [
        "is it raining in Beijing",
        "这家公司靠谱吗",
        "她的老公是谁",
        "苹果手机保修多久",
        "how to peel an orange in one piece",
        "它山之石可以攻玉",
    ],
)
def test_not_asked_where_a_search_can_tell(demo: Catalog, text: str) -> None:
    assert CatalogRewriter(demo).rewrite(Query(text)).decision is Decision.KEEP


@pytest.mark.parametrize("chosen", ["entities.a", "entities.b"])
def test_the_one_that_was_chosen_is_meant_even_of_two_with_one_name(chosen: str) -> None:
    rewriter = CatalogRewriter(Catalog.loads(DOCTORS, "toml"))
    query = Query("张医生周几在")
    asked = rewriter.rewrite(query).clarification
    assert asked is not None
    assert len({option.label for option in asked.options}) == 2
    option = next(each for each in asked.options if each.value == chosen)
    again = rewriter.rewrite(answered(query, asked.question, option))
    assert again.decision is not Decision.CLARIFY
    assert again.edits[0].evidence.where == "history[1]"


def test_a_collection_that_knows_one_sense_only_is_not_asked_about(demo: Catalog) -> None:
    fruit = SimpleNamespace(holding=lambda *phrases: 20 if "水果" in phrases else 0)
    made = CatalogRewriter(demo, fruit).rewrite(Query("苹果最新消息", (Turn(Role.USER, "在吗"),)))
    assert made.decision is Decision.REWRITE
    best = max(made.alternatives, key=lambda each: each.weight)
    assert best.rewrite.startswith("苹果水果")
    assert best.weight > 0.75
    assert sum(each.weight for each in made.alternatives) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize(
    ("text", "anything"),
    [("有什么新消息吗", True), ("怎么削皮", False), ("any news on", True), ("peel", False), ("", True)],
)
def test_what_asks_for_anything(text: str, *, anything: bool) -> None:
    assert asks_for_anything(text, language_of(text) if text else Language.EN) is anything
