"""Scripts as edits: what they write, the line that each span was copied from, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querywright.rewrite.edit_script import Connectors, Insertion, Script, split_units
from querywright.rewrite.editor_decoding import confidence, to_edits
from querywright.rewrite.editor_input import Pieces, Vocabulary, read_pieces
from querywright.rewrite.editor_weights import base_folder
from querywright.rewrite.query import Edit, Query, Role, Source, Turn, apply_edits

VOCABULARY = Vocabulary(base_folder(), "它的")
TEXTS = ["of", "'s", "besides", "的", "'", "("]
CONNECTORS = Connectors(TEXTS)
OF, POSSESSIVE, BESIDES, APOSTROPHE = 1, 2, 3, 5
ACME, PRICE, BOLT = 2, 0, 1
"""Units of the context of `conversation`, the latest turn first."""


def conversation(query: str) -> Query:
    """Return a query after two turns: `price`, `bolt` and `Acme` may be copied."""
    return Query(query, (Turn(Role.USER, "Acme"), Turn(Role.ASSISTANT, "price bolt")))


def edited(query: Query, deleted: set[int], insertions: Mapping[int, Insertion]) -> tuple[str, tuple[Edit, ...]]:
    """Return what a script makes of a query, and its edits."""
    pieces = read_pieces(query, VOCABULARY)
    edits = to_edits(pieces, Script(frozenset(deleted), insertions), CONNECTORS, query.query, 0.5)
    return apply_edits(query.query, edits), edits


def spans(*units: int, connectors: tuple[int, int, int] = (0, 0, 0)) -> Insertion:
    """Return an insertion of one or two units of the context."""
    first, second = (*(((unit, unit),) for unit in units), (), ())[:2]
    return Insertion(connectors, (first, second))


@pytest.mark.parametrize(
    ("query", "deleted", "insertions", "expected"),
    [
        ("tell me it ", {2}, {3: spans(ACME)}, "tell me Acme "),
        ("it's price", {0}, {1: spans(ACME)}, "Acme's price"),
        ("how far", {0, 1}, {0: spans(ACME), 1: spans(BOLT), 2: spans(PRICE)}, "Acme bolt price"),
        ("its", {0}, {0: spans(ACME, PRICE, connectors=(0, APOSTROPHE, 0))}, "Acme' price"),
        ("the price", set(), {1: spans(ACME), 2: Insertion((POSSESSIVE, 0, 0))}, "the Acme price's"),
        ("the company price", set(), {0: spans(ACME), 2: Insertion((POSSESSIVE, 0, 0))}, "Acme the company's price"),
        ("CRM的API怎么用", {1}, {0: spans(ACME)}, "Acme CRM API怎么用"),
        ("and/or it", {1}, {0: spans(ACME)}, "Acme and or it"),
        ("tell me about it", {3}, {0: spans(ACME)}, "Acme tell me about"),
        ("how about it?", {2}, {0: spans(ACME)}, "Acme how about?"),
        ("how about it？", {2}, {0: spans(ACME)}, "Acme how about？"),
        ('say "for it" now', {3}, {0: spans(ACME)}, 'Acme say "for" now'),
        ("and it too", {1}, {3: spans(ACME)}, "and too Acme"),
        ("it, too", {0}, {3: spans(ACME)}, ", too Acme"),
        ("cafe\u0301 prices", set(), {1: spans(ACME)}, "cafe\u0301 Acme prices"),
        ("👩\u200d💻 jobs", set(), {1: spans(ACME)}, "👩\u200d💻 Acme jobs"),
        ("how", set(), {0: Insertion(), 1: spans(ACME)}, "how Acme"),
    ],
)
def test_what_a_script_writes(query: str, deleted: set[int], insertions: dict[int, Insertion], expected: str) -> None:
    assert edited(conversation(query), deleted, insertions)[0] == expected


def test_each_span_has_its_own_evidence_and_connectors_go_with_a_span() -> None:
    insertion = spans(ACME, BOLT, connectors=(BESIDES, POSSESSIVE, OF))
    text, edits = edited(conversation("how is it?"), {2}, {2: insertion})
    assert text == "how is besides Acme's bolt of?"
    assert [(edit.start, edit.end, edit.replacement, edit.evidence.where, edit.evidence.text) for edit in edits] == [
        (7, 9, "besides Acme", "history[0]", "Acme"),
        (9, 9, "'s bolt of", "history[1]", "bolt"),
    ]


def test_what_copies_nothing_goes_with_the_first_span() -> None:
    insertions = {1: Insertion((OF, 0, 0)), 2: spans(BOLT), 4: spans(ACME)}
    text, edits = edited(conversation("so what is it then"), {3}, insertions)
    assert text == "so of what bolt is Acme then"
    assert [edit.evidence.text for edit in edits] == ["bolt", "bolt", "Acme"]


@pytest.mark.parametrize("insertions", [{}, {1: Insertion((OF, 0, 0))}])
def test_a_script_that_copies_nothing_has_no_edits(insertions: dict[int, Insertion]) -> None:
    assert edited(conversation("how is it?"), {2}, insertions) == ("how is it?", ())


def test_a_fact_is_evidence_too() -> None:
    _, edits = edited(Query("how", profile={"facts": ("likes tea",)}), set(), {1: spans(1)})
    assert (edits[0].evidence.source, edits[0].evidence.where) == (Source.PROFILE, "profile.facts[0]")


_PARTS = [
    "it",
    "CRM",
    "价",
    "的",
    "，",
    "。",
    "《",
    "》",
    "“",
    "”",
    "?",
    "(",
    ")",
    "'",
    "'s",
    '"',
    "$5",
    "/",
    "-",
    "_",
    ".",
    ",",
]
_ODD = [
    "😀",
    "👩\u200d💻",
    "👍🏽",
    "🇩",
    "🇪",
    "\u200d",
    "\u0301",
    "e\u0301",
    "नि",
    "①",
    "Ａ",
    "ⓐ",
    "ﾞ",
    "\u3000",
    "\t",
    "\n",
]
_TEXT = st.lists(st.sampled_from([*_PARTS, *_ODD, " ", " ", "  "]), min_size=1, max_size=14).map("".join)
_QUERY = st.one_of(_TEXT, st.tuples(_TEXT, st.sampled_from([60, 130])).map(lambda some: some[0] * some[1]))


@st.composite
def asked(draw: st.DrawFn) -> tuple[Query, Pieces, Script]:
    """Draw a conversation and any script over it."""
    turns = [Turn(Role.USER, text) for text in draw(st.lists(_TEXT, min_size=1, max_size=3))]
    query = Query(draw(_QUERY.filter(str.strip)), tuple(turns), {"facts": tuple(draw(st.lists(_TEXT, max_size=1)))})
    pieces = read_pieces(query, VOCABULARY)
    count = len(pieces.query)
    near = st.one_of(st.integers(0, min(4, count)), st.integers(max(0, count - 3), count))
    deleted = draw(st.sets(near.filter(lambda unit: unit < count), max_size=6)) if count else set()
    return query, pieces, Script(frozenset(deleted), draw(st.dictionaries(near, _insertions(pieces), max_size=5)))


def _insertions(pieces: Pieces) -> st.SearchStrategy[Insertion]:
    ends: dict[int, int] = {int(line): unit for unit, line in enumerate(pieces.line_of)}
    span = st.just(())
    if ends:
        start = st.integers(0, len(pieces.line_of) - 1)
        whole = start.flatmap(lambda at: st.tuples(st.just(at), st.integers(at, ends[int(pieces.line_of[at])])))
        span = st.one_of(span, st.tuples(whole))
    connector = st.integers(0, len(TEXTS))
    return st.builds(Insertion, st.tuples(connector, connector, connector), st.tuples(span, span))


@given(asked())
@settings(max_examples=400, deadline=None)
def test_any_script_gives_edits_that_apply_and_invent_nothing(case: tuple[Query, Pieces, Script]) -> None:
    query, pieces, script = case
    edits = to_edits(pieces, script, CONNECTORS, query.query, 0.5)
    assert list(edits) == sorted(edits, key=lambda edit: (edit.start, edit.end))
    assert all(one.end <= other.start for one, other in pairwise(edits))
    rewrite = apply_edits(query.query, edits)
    texts = [query.query, *(turn.text for turn in query.history), *query.profile_values("facts"), *TEXTS]
    known = {unit.text for text in texts for unit in split_units(text)}
    assert {unit.text for unit in split_units(rewrite)} <= known
    places = {f"history[{i}]": turn.text for i, turn in enumerate(query.history)}
    places |= {f"profile.facts[{i}]": fact for i, fact in enumerate(query.profile_values("facts"))}
    assert all(edit.evidence.text in places[edit.evidence.where] for edit in edits)
    copied = sum(bool(spans) for insertion in script.insertions.values() for spans in insertion.spans)
    assert not copied or copied <= len(edits)


def test_confidence_is_logistic_and_never_overflows() -> None:
    row = np.array([1, 2], dtype=np.float32)
    assert confidence(row, 0.5, (1, -0.25)) == pytest.approx(1 / (1 + math.exp(-1)))
    assert confidence(row, -1e6, (0, 0)) == 0
    assert confidence(row, 1e6, (0, 0)) == 1
