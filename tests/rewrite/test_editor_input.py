"""What the editor reads of a conversation, and whether it says that something was left out."""

from __future__ import annotations

import pytest

from querywright.rewrite.editor_input import BUDGET, FACTS, Vocabulary, read_pieces
from querywright.rewrite.editor_weights import base_folder
from querywright.rewrite.query import Query, Role, Turn

VOCABULARY = Vocabulary(base_folder())


def turns(*words: int) -> tuple[Turn, ...]:
    """Return turns of so many pieces each, the latest first; each takes one more for the mark behind it."""
    return tuple(Turn(Role.USER, "tea " * count) for count in reversed(words))


FULL = (40, 40, 40, 40, 40, 40, 40, 26)
"""With the six of the query they take all that is read."""

FACTS_TOO = (40, 40, 40, 40, 40, 2)
"""They leave as much as facts can reserve, a third of all: four of the longest facts, and one of five pieces."""


def read(history: tuple[Turn, ...] = (), facts: tuple[str, ...] = ()) -> tuple[int, bool]:
    """Return how many lines are read, and whether anything was left out."""
    pieces = read_pieces(Query("how much is it", history, {"facts": facts}), VOCABULARY)
    assert len(pieces.ids) <= BUDGET
    return len(pieces.lines), pieces.truncated


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (("likes tea",) * FACTS, (FACTS, False)),
        (("likes tea",) * (FACTS + 1), (FACTS, True)),
        (("likes tea",) * FACTS + (" ", ""), (FACTS, False)),
    ],
)
def test_it_is_said_that_facts_are_too_many(facts: tuple[str, ...], expected: tuple[int, bool]) -> None:
    assert read((), facts) == expected


@pytest.mark.parametrize(("more", "expected"), [((), False), (("tea",), True), ((" ",), False)])
def test_it_is_said_that_a_fact_has_no_room(more: tuple[str, ...], *, expected: bool) -> None:
    facts = ("tea " * 24,) * 4 + ("tea " * 5,)
    assert read(turns(*FACTS_TOO), facts + more) == (len(FACTS_TOO) + len(facts), expected)


@pytest.mark.parametrize(
    ("older", "expected"), [((), False), ((0,), False), ((1,), True), ((0, 0, 1), True), ((0, 0, 0), False)]
)
def test_it_is_said_that_a_turn_has_no_room_but_not_of_an_empty_one(older: tuple[int, ...], *, expected: bool) -> None:
    assert read(turns(*FULL, *older)) == (len(FULL), expected)
