"""Edit scripts: alignment against brute force, what a unit is, and where blanks stand."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.rewrite.edit_script import Connectors, Script, align, padded, split_units
from querywright.rewrite.language import fold

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


_PLAIN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]|(?:(?![\u3400-\u4dbf\u4e00-\u9fff])[^\\W_])+|\\S")


@given(st.text(st.characters(categories=["L", "N", "P", "Z", "Sc", "Sm"], exclude_characters="\uff9e\uff9f")))
def test_units_of_plain_text_are_those_that_models_were_trained_on(text: str) -> None:
    folded = fold(re.sub("[\U00020000-\U000323af]", "", text))
    assert [(unit.text, unit.start) for unit in split_units(folded)] == [
        (match[0], match.start()) for match in _PLAIN.finditer(folded)
    ]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("cafe\u0301 prices", ["cafe\u0301", "prices"]),
        ("re\u0301sume\u0301s?", ["re\u0301sume\u0301s", "?"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("葛\U000e0100城", ["葛\U000e0100", "城"]),
        ("👩\u200d💻 jobs", ["👩\u200d💻", "jobs"]),
        ("🏳️\u200d🌈👍🏽👍", ["🏳️\u200d🌈", "👍🏽", "👍"]),
        ("🇩🇪🇫🇷🇮", ["🇩🇪", "🇫🇷", "🇮"]),
        ("5️⃣ a\u200d😀", ["5️⃣", "a\u200d", "😀"]),
        ("\u0301a \u200d😀", ["\u0301", "a", "\u200d", "😀"]),
    ],
)
def test_what_is_seen_as_one_character_is_not_cut(text: str, units: list[str]) -> None:
    found = split_units(text)
    assert [unit.text for unit in found] == units
    assert [text[unit.start : unit.end] for unit in found] == units


@pytest.mark.parametrize(
    ("text", "start", "end", "replacement", "expected"),
    [
        ("is it big?", 3, 5, "the moon", "is the moon big?"),
        ("how far?", 7, 7, "is it", "how far is it?"),
        ("价格呢", 0, 0, "CRM", "CRM价格呢"),
        ("limits", 0, 0, "CRM", "CRM limits"),
        ("(it)", 1, 3, "x", "(x)"),
        ('what is "Save as"', 17, 17, "Acme", 'what is "Save as" Acme'),
        ('what is "it"?', 9, 11, "Acme", 'what is "Acme"?'),
        ('price of "foo"', 9, 9, "Acme", 'price of Acme "foo"'),
        ("price of 'foo'", 9, 9, "Acme", "price of Acme 'foo'"),
        ("price of 'foo'", 14, 14, "Acme", "price of 'foo' Acme"),
        ("price of 'foo'", 10, 13, "Acme", "price of 'Acme'"),
        ("how about (beta)?", 10, 10, "Acme", "how about Acme (beta)?"),
        ("price $5", 6, 6, "Acme", "price Acme $5"),
        ("price $5", 7, 8, "6", "price $6"),
        ("那，怎么用", 2, 2, "CRM", "那，CRM怎么用"),
        ("《使用手册》", 1, 1, "CRM", "《CRM使用手册》"),
        ("CRM，手册", 3, 3, "Acme", "CRM Acme，手册"),
        ("it's price", 0, 2, "Acme", "Acme's price"),
        ("it/them", 0, 2, "Acme", "Acme/them"),
        ("and/it", 4, 6, "Acme", "and/Acme"),
        ("its-price", 0, 3, "Acme", "Acme-price"),
        ("open /home", 5, 5, "Acme", "open Acme /home"),
        (".NET price", 0, 0, "Acme", "Acme .NET price"),
        ("C#", 2, 2, "Acme", "C# Acme"),
        ("cafe\u0301", 5, 5, "prices", "cafe\u0301 prices"),
        ("葛\U000e0100", 2, 2, "CRM", "葛\U000e0100CRM"),
        ("jobs😀", 4, 4, "Acme", "jobs Acme 😀"),
        ("🇩", 1, 1, "🇫🇷", "🇩 🇫🇷"),
    ],
)
def test_blanks_around_what_is_written(text: str, start: int, end: int, replacement: str, expected: str) -> None:
    assert text[:start] + "".join(padded(text, start, end, [replacement])) + text[end:] == expected


def test_of_several_parts_each_brings_its_own_blank() -> None:
    assert padded("who?", 3, 3, ["wrote", "the moon", "'s", "song"]) == [" wrote", " the moon", "'s", " song"]
    assert padded("limits", 0, 0, ["Acme", "CRM"]) == ["Acme", " CRM "]
    assert padded("limits", 0, 0, []) == []


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["besides", "the", "3.5", "'s", "x", ")"], "besides the 3.5's x)"),
        (["小王", "的", "CRM", "3.5"], "小王的CRM 3.5"),
        (["of", "'Thriller'", "'s", "singer"], "of 'Thriller''s singer"),
        (["of", '"Save as"', "x"], 'of "Save as" x'),
        (['the World"', "shot"], 'the World" shot'),
        (["“The", 'World,"', "shot"], '“The World," shot'),
        (["the", "World", '" tour'], 'the World" tour'),
        (["of", '6"', '"foo"', "x"], 'of 6" "foo" x'),
        (["说", '"', "CRM", '"', "手册"], '说"CRM"手册'),
        (["the", "dogs'", "price"], "the dogs' price"),
        (["of", ".NET", "."], "of .NET."),
        (["那", "“手册”", "，", "CRM"], "那“手册”，CRM"),
    ],
)
def test_parts_are_joined_as_they_would_be_written(parts: list[str], text: str) -> None:
    assert "".join(padded("", 0, 0, parts)) == text
