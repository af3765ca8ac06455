"""Copied names are the catalog's, and bring along what belongs to them."""

from pathlib import Path

import pytest

import querywright
from querywright.rewrite.catalog import Catalog
from querywright.rewrite.naming import named
from querywright.rewrite.query import Edit, Evidence, Problem, Query, Role, Source, Turn, apply_edits


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(Path(querywright.__file__).parent / "data/demo/catalog.toml")


def copied(query: Query, start: int, end: int, text: str, said: str | None = None) -> Edit:
    turn = next(i for i, turn in enumerate(query.history) if (said or text.strip()) in turn.text)
    evidence = Evidence(Source.HISTORY, f"history[{turn}]", said or text.strip())
    return Edit(Problem.MISSING_ENTITY, "topic", start, end, text, evidence, 0.6)


@pytest.mark.parametrize(
    ("text", "turn", "profile", "span", "written", "wanted"),
    [
        ("它怎么收费", "客户画像是什么", {"product": "CRM 系统"}, (0, 1), "客户画像", "CRM 系统客户画像功能怎么收费"),
        ("它怎么收费", "客户画像是什么", {}, (0, 1), "客户画像", "客户画像功能怎么收费"),
        ("它怎么收费", "客户画像是什么", {}, (0, 1), "户画像", "客户画像功能怎么收费"),
        ("CRM 里它怎么收费", "客户画像是什么", {"product": "CRM 系统"}, (5, 6), "客户画像", "CRM 里客户画像功能怎么收费"),
        ("is it free", "what is lead routing", {"product": "the CRM"}, (3, 5), "lead routing", "is lead assignment in the CRM free"),
        ("any limits", "what is lead routing", {"product": "the CRM"}, (10, 10), " for lead routing", "any limits for lead assignment in the CRM"),
        ("is it free", "the canteen has soup", {"product": "the CRM"}, (3, 5), "the canteen", "is the canteen free"),
    ],
)  # fmt: skip
def test_names_and_companions(
    catalog: Catalog, text: str, turn: str, profile: dict[str, str], span: tuple[int, int], written: str, wanted: str
) -> None:
    query = Query(text, (Turn(Role.USER, turn),), profile)
    said = written.strip().removeprefix("for ")
    edits = named(query, (copied(query, *span, written, said),), catalog)
    assert apply_edits(text, edits) == wanted
    slots = [edit.slot for edit in edits]
    assert len(slots) == len(set(slots)), "each slot once"


def test_what_does_not_come_from_the_conversation_stays(catalog: Catalog) -> None:
    query = Query("怎么用", (), {"product": "CRM 系统"})
    edit = Edit(Problem.MISSING_ENTITY, "feature", 0, 0, "客户画像", Evidence(Source.CATALOG, "entities.x", "客户画像"))
    assert named(query, (edit,), catalog) == (edit,)
