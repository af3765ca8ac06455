from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import InputError
from querywright.rewrite.query import (
    MAX_PROFILE_VALUES,
    MAX_QUERY_CHARS,
    READ_TURN_CHARS,
    READ_TURNS,
    Decision,
    Edit,
    Evidence,
    Problem,
    Query,
    Rewrite,
    Role,
    Source,
    Turn,
    apply_edits,
)

HERE = Evidence(Source.PROFILE, "profile.region", "East")


def edit(start: int, end: int, replacement: str) -> Edit:
    return Edit(Problem.VAGUE_DIMENSION, "region", start, end, replacement, HERE)


@st.composite
def texts_with_edits(draw: st.DrawFn) -> tuple[str, tuple[Edit, ...]]:
    """Draw a text and spans of it that do not overlap, some empty, some touching."""
    text = draw(st.text(max_size=30))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    return text, tuple(edit(start, end, draw(st.text(max_size=5))) for start, end in spans)


@given(texts_with_edits())
def test_edits_apply_as_slices_do_from_the_end(case: tuple[str, tuple[Edit, ...]]) -> None:
    text, edits = case
    wanted = text
    for each in reversed(edits):
        wanted = wanted[: each.start] + each.replacement + wanted[each.end :]
    assert apply_edits(text, edits) == wanted


def test_insertions_at_one_place_keep_their_order() -> None:
    assert apply_edits("sales", (edit(5, 5, " in East"), edit(5, 5, " in June"))) == "sales in East in June"


def test_an_insertion_may_touch_a_replacement() -> None:
    assert apply_edits("数据", (edit(0, 0, "6 月"), edit(0, 2, "销售额"), edit(2, 2, "(万元)"))) == "6 月销售额(万元)"


def test_positions_are_code_points() -> None:
    assert apply_edits("𠀀😀 它", (edit(3, 4, "CRM"),)) == "𠀀😀 CRM"


@pytest.mark.parametrize(
    "edits",
    [
        (edit(0, 2, "x"), edit(1, 3, "y")),
        (edit(0, 6, "x"),),
        (edit(-1, 2, "x"),),
        (edit(3, 2, "x"),),
        (edit(6, 6, "x"),),
    ],
    ids=["overlap", "past the end", "before the start", "backwards", "insertion past the end"],
)
def test_edits_that_do_not_fit_are_refused(edits: tuple[Edit, ...]) -> None:
    with pytest.raises(ValueError, match="overlaps another or lies outside"):
        apply_edits("sales", edits)


# ----------------------------------------------------------------------------------------- queries


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u3000", "\u2003\u00a0"])
def test_a_blank_query_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="query: expected some text, got only white space"):
        Query(text)


@pytest.mark.parametrize("bad", ["a\x00b", chr(0xD800), "ok " + chr(0xDFFF), chr(0xDC80)], ids=ascii)
def test_text_that_is_not_unicode_is_refused_wherever_it_stands(bad: str) -> None:
    with pytest.raises(InputError, match="query: not valid Unicode text"):
        Query(bad)
    with pytest.raises(InputError, match="history text: not valid Unicode text"):
        Turn(Role.USER, bad)
    with pytest.raises(InputError, match="profile: not valid Unicode text"):
        Query("sales", profile={"region": bad})
    with pytest.raises(InputError, match="profile: not valid Unicode text"):
        Query("sales", profile={"facts": ("fine", bad)})
    with pytest.raises(InputError, match="profile: not valid Unicode text"):
        Query("sales", profile={bad: "East"})


def test_length_is_counted_in_code_points() -> None:
    assert Query("😀" * MAX_QUERY_CHARS).query
    with pytest.raises(InputError, match="query: 4,001 characters, at most 4,000 are taken"):
        Query("😀" * (MAX_QUERY_CHARS + 1))


def test_now_needs_an_offset() -> None:
    with pytest.raises(InputError, match="now: expected ISO 8601 with an offset"):
        Query("sales", now=datetime(2024, 7, 15))  # noqa: DTZ001 # that is what is refused
    assert Query("sales", now=datetime(2024, 7, 15, tzinfo=timezone(timedelta(hours=8)))).now


def test_profile_values_are_counted_over_all_keys() -> None:
    Query("sales", profile={"facts": ("fact",) * (MAX_PROFILE_VALUES - 1), "region": "East"})
    with pytest.raises(InputError, match="profile: 201 values, at most 200 are taken"):
        Query("sales", profile={"facts": ("fact",) * MAX_PROFILE_VALUES, "region": "East"})


def test_profile_values_of_one_and_of_several() -> None:
    query = Query("sales", profile={"region": "East", "interests": ("stocks", "fruit")})
    assert query.profile_values("region") == ("East",)
    assert query.profile_values("interests") == ("stocks", "fruit")
    assert query.profile_values("role") == ()


def test_rewriters_read_the_latest_turns_under_their_own_index() -> None:
    turns = tuple(Turn(Role.USER, f"{i} " + "x" * 3000) for i in range(READ_TURNS + 10))
    recent = Query("sales", turns).recent_turns()
    assert [i for i, _ in recent] == list(range(READ_TURNS + 9, 9, -1))
    assert all(turn.text.startswith(f"{i} ") and len(turn.text) == READ_TURN_CHARS for i, turn in recent)
    assert Query("sales").recent_turns() == []


def test_keep_leaves_the_query_as_it_is() -> None:
    kept = Rewrite.keep(Query(" sales? ", now=datetime(2024, 7, 15, tzinfo=UTC), id="q1"), "catalog")
    assert (kept.original, kept.rewrite, kept.decision, kept.id) == (" sales? ", " sales? ", Decision.KEEP, "q1")
    assert (kept.edits, kept.alternatives, kept.rewriter) == ((), (), "catalog")
