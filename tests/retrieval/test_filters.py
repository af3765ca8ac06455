import operator
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import InputError
from querywright.retrieval.filters import BOUNDS, MetadataIndex, check_filter

COMPARE = {"gte": operator.ge, "gt": operator.gt, "lte": operator.le, "lt": operator.lt}

words = st.sampled_from(
    ["", "a", "b", "ba", "é", "甲", "乙", "true", "1", "1.5", "-3", "2020", "2024-01-01", "2024-03-05"]
)
numbers = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([2020, 2**53, 2**53 + 1, -(2**63), 2**63 - 1]),
    st.sampled_from([0.5, -0.0, 1.0, 1.5, 1e300, -1e-300, float(2**53)]),
)
values = st.one_of(words, numbers, st.booleans(), st.lists(words, max_size=3).map(tuple))
metadata = st.dictionaries(st.sampled_from(["year", "lang"]), values)
bounds = st.one_of(
    st.dictionaries(st.sampled_from(BOUNDS), words, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(BOUNDS), numbers, min_size=1, max_size=3),
)
conditions = st.one_of(words, numbers, st.booleans(), st.lists(st.one_of(words, numbers), max_size=3), bounds)
filters = st.dictionaries(st.sampled_from(["year", "lang", "none"]), conditions, max_size=2)


def matches(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Say whether a row matches, value by value, without an index."""
    return all(
        key in row and any(meets(one, condition) for one in several(row[key])) for key, condition in wanted.items()
    )


def several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def meets(value: Any, condition: Any) -> bool:
    if isinstance(condition, dict):
        return all(compares(value, name, bound) for name, bound in condition.items())
    if isinstance(condition, list):
        return any(meets(value, one) for one in condition)
    return as_text(value) == as_text(condition)


def compares(value: Any, name: str, bound: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return isinstance(bound, str) and COMPARE[name](value, bound)
    try:
        return bool(COMPARE[name](Fraction(value), Fraction(bound)))
    except ValueError:  # a bound that is a word
        return False


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)


@given(rows=st.lists(metadata, max_size=12), wanted=filters)
def test_a_mask_equals_brute_force(rows: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    assert MetadataIndex(rows).mask(wanted).tolist() == [matches(row, wanted) for row in rows]


@given(rows=st.lists(metadata, max_size=12), one=filters, other=filters)
def test_filters_of_different_fields_narrow_each_other(rows, one, other) -> None:
    index = MetadataIndex(rows)
    apart = {key: condition for key, condition in other.items() if key not in one}
    assert (index.mask(one | apart) == (index.mask(one) & index.mask(apart))).all()


YEARS: list[dict[str, Any]] = [{"year": 2019}, {"year": 2020}, {"year": 2022.5}, {"year": 2024}, {"year": "2021"}, {}]
DAYS: list[dict[str, Any]] = [{"day": "2023-12-31"}, {"day": "2024-01-01"}, {"day": "2024-07-15T09:00:00+08:00"}]


@pytest.mark.parametrize(
    ("rows", "wanted", "found"),
    [
        (YEARS, {"year": {"gte": 2020, "lt": 2024}}, [1, 2]),
        (YEARS, {"year": {"gt": 2020, "lte": 2024}}, [2, 3]),
        (YEARS, {"year": {"gte": "2020", "lt": "2024"}}, [1, 2, 4]),  # as a command line has it: both kinds
        (YEARS, {"year": {"gt": 2024}}, []),
        (YEARS, {"year": {"gte": 2024, "lt": 2020}}, []),
        (YEARS, {"year": [2019, "2021"]}, [0, 4]),
        (YEARS, {"year": "2020"}, [1]),
        (YEARS, {"year": []}, []),
        (YEARS, {}, [0, 1, 2, 3, 4, 5]),
        (DAYS, {"day": {"gte": "2024-01-01", "lt": "2025"}}, [1, 2]),
        (DAYS, {"day": {"lt": "2024"}}, [0]),
        ([{"tag": ("a", "z")}, {"tag": ("m",)}, {"tag": ()}], {"tag": {"gte": "b", "lt": "n"}}, [1]),
        ([{"on": True}, {"on": 1}, {"on": False}], {"on": {"gte": 0}}, [1]),
        ([{"on": True}, {"on": 1}, {"on": "true"}], {"on": True}, [0, 2]),
        ([{"n": 2**53}, {"n": 2**53 + 1}], {"n": {"gt": 2**53}}, [1]),
        ([{"n": 7}], {"other": {"gte": 0}}, []),
    ],
)
def test_what_a_filter_finds(rows: list[dict[str, Any]], wanted: dict[str, Any], found: list[int]) -> None:
    assert np.flatnonzero(MetadataIndex(rows).mask(wanted)).tolist() == found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("year=2020", "filter: expected an object"),
        ({1: "a"}, "filter: expected strings as the names"),
        ({"year": None}, "filter: expected a string, number, boolean, several of them, or a range"),
        ({"year": [None]}, "filter: expected a string, number"),
        ({"year": [{"gte": 1}]}, "filter: expected a string, number"),
        ({"year": {}}, "one or more of gte, gt, lte and lt"),
        ({"year": {"from": 2020}}, "one or more of gte, gt, lte and lt"),
        ({"year": {"gte": True}}, "strings or finite numbers as its bounds"),
        ({"year": {"gte": float("inf")}}, "strings or finite numbers as its bounds"),
        ({"year": {"gte": [2020]}}, "strings or finite numbers as its bounds"),
        ({"year": {"gte": 2020, "lt": "2024-01-01"}}, "all numbers or all strings"),
    ],
)
def test_what_no_metadata_can_hold_is_refused(wanted: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_filter(wanted)
    with pytest.raises(InputError, match=message):
        MetadataIndex([{"year": 2020}]).mask(wanted)


def test_a_message_never_repeats_what_came_in() -> None:
    for wanted in ({"Canary": None}, {"Canary": {"Canary": 1}}, {"year": {"gte": 1, "lt": "Canary"}}):
        with pytest.raises(InputError) as caught:
            check_filter(wanted)
        assert "Canary" not in str(caught.value)


def test_no_filter_is_fine() -> None:
    check_filter(None)
    check_filter({})


def test_threads_that_ask_first_all_get_the_same() -> None:
    index = MetadataIndex([{"year": 2000 + place % 30} for place in range(3_000)])
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(int(index.mask({"year": {"gte": 2010}}).sum()))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [2_000] * 8


def test_a_filter_on_too_many_fields_is_refused() -> None:
    with pytest.raises(InputError, match="at most 32 fields, got 33"):
        check_filter({f"field{number}": 1 for number in range(33)})
    assert MetadataIndex([{"n": 1}]).mask({f"field{number}": 1 for number in range(32)}).tolist() == [False]
