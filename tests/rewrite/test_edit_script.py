"""Edit scripts: alignment against brute force, and what a script may write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.rewrite.edit_script import Connectors, Script, align, join, padded, split_units

CONNECTORS = Connectors(["of", "'s", "besides", "的"])
_WORDS = st.lists(st.sampled_from("a b c d of".split()), max_size=5)  # noqa: SIM905


def written(script: Script, query: list[str], lines: list[list[str]]) -> list[str]:
    """Apply a script to units."""
    flat = [unit for line in lines for unit in line]
    out: list[str] = []
    for gap in range(len(query) + 1):
        if gap in script.insertions:
            insertion = script.insertions[gap]
            out += CONNECTORS.texts[insertion.connectors[0]].split()
            for slot, spans in enumerate(insertion.spans):
                if spans:
                    start, end = spans[0]
                    out += flat[start : end + 1]
                out += [unit.text for unit in split_units(CONNECTORS.texts[insertion.connectors[slot + 1]])]
        if gap < len(query) and gap not in script.deleted:
            out.append(query[gap])
    return out


@given(_WORDS, _WORDS, st.lists(_WORDS, max_size=2))
def test_an_exact_script_writes_the_rewrite(query: list[str], rewrite: list[str], lines: list[list[str]]) -> None:
    script = align(query, rewrite, lines, CONNECTORS)
    if script.exact:
        assert written(script, query, lines) == rewrite


@given(_WORDS, _WORDS, st.lists(_WORDS, max_size=2))
def test_whatever_a_script_writes_stands_somewhere(
    query: list[str], rewrite: list[str], lines: list[list[str]]
) -> None:
    known = {*query, *(unit for line in lines for unit in line), "of", "besides"}
    assert set(written(align(query, rewrite, lines, CONNECTORS), query, lines)) <= known


@given(_WORDS, st.lists(_WORDS, max_size=2))
def test_a_query_that_is_its_own_rewrite_is_kept(query: list[str], lines: list[list[str]]) -> None:
    assert align(query, query, lines, CONNECTORS).keeps


def test_every_place_of_a_span_is_known() -> None:
    script = align(["its", "price"], ["x", "1", "price"], [["x", "1"], ["the", "x", "1"]], CONNECTORS)
    assert script.deleted == {0}
    assert script.insertions[0].spans[0] == ((0, 1), (3, 4))
    assert script.exact


def test_what_cannot_be_copied_is_lost_and_said_so() -> None:
    script = align(["it"], ["the", "moon"], [["the", "sun"]], CONNECTORS)
    assert not script.exact


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("iPhone15的价格？", ["iphone15", "的", "价", "格", "?"]),
        ("Zappa's  don't", ["zappa", "'", "s", "don", "'", "t"]),
        ("ＣＲＭ-3 😀", ["crm", "-", "3", "😀"]),
        ("", []),
    ],
)
def test_units(text: str, units: list[str]) -> None:
    assert [unit.text for unit in split_units(text)] == units


@given(st.text())
def test_units_cover_all_but_white_space(text: str) -> None:
    covered = "".join(text[unit.start : unit.end] for unit in split_units(text))
    assert covered == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "start", "end", "replacement", "expected"),
    [
        ("is it big?", 3, 5, "the moon", "is the moon big?"),
        ("how far?", 7, 7, "is it", "how far is it?"),
        ("价格呢", 0, 0, "CRM", "CRM价格呢"),
        ("limits", 0, 0, "CRM", "CRM limits"),
        ("(it)", 1, 3, "x", "(x)"),
    ],
)
def test_spaces_around_what_is_written(text: str, start: int, end: int, replacement: str, expected: str) -> None:
    assert text[:start] + padded(text, start, end, replacement) + text[end:] == expected


def test_join_is_tight_where_writing_is() -> None:
    assert join(["", "besides", "the", "3.5", "'s", "x", ")"]) == "besides the 3.5's x)"
    assert join(["小王", "的", "CRM", "3.5"]) == "小王的CRM 3.5"
