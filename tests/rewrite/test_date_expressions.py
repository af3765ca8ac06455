"""What people say for a date, read as they mean it; several hundred expressions a language, and what is none.

dates_zh.tsv and dates_en.tsv: the clock, the fiscal year's first month, an expression or a sentence that holds one
date, and its half-open range. no_dates_zh.txt and no_dates_en.txt: texts that hold none. The ranges were written from
usage and worked out apart from the code. date_readers.py tells the conventions, holidays.py those of holidays.
"""

import itertools
import re
import time
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.rewrite.dates import Calendar, find_dates
from querywright.rewrite.holidays import HOLIDAYS, Holiday
from querywright.rewrite.language import Language

MONDAY = Calendar(date(2024, 7, 15))


class Row(NamedTuple):
    calendar: Calendar
    said: str
    days: tuple[str, str]


def rows(language: Language) -> list[Row]:
    lines = data(f"dates_{language}.tsv")[1:]
    cells = (line.split("\t") for line in lines)
    return [
        Row(Calendar(date.fromisoformat(today), int(fiscal)), said, (first, end))
        for today, fiscal, said, first, end in cells
    ]


def data(name: str) -> list[str]:
    return (Path(__file__).parent / name).read_text("utf-8").splitlines()


def days(text: str, language: Language, calendar: Calendar) -> list[tuple[str, str]]:
    return [(str(m.period.first), str(m.period.end)) for m in find_dates(text, language, calendar)]


CARRIERS = {
    Language.ZH: ["{}", "请问{}的销售额是多少", "【{}】"],
    Language.EN: ["{}", "show revenue {}, by region", "({})"],
}

# What is read wrongly and why. An entry that is read rightly after all fails the test.
KNOWN_FAILURES = {
    Language.ZH: {},
    Language.EN: {
        "in three days": "a duration as often as a date: 'delivered in three days'",
        "in two weeks": "likewise",
        "2024 revenue": "a bare number without a word before it is no year: 'error 2024', 'room 2024'",
        "Singles' Day sales last year": "the year stands apart from the holiday: two dates are read",
    },
}
KNOWN_FALSE_ALARMS = {
    Language.ZH: {"周一鸣": "a person's name; telling it from 周一 takes a list of names"},
    Language.EN: {},
}


@pytest.mark.parametrize("language", Language)
def test_expressions_mean_what_people_mean(language: Language) -> None:
    wrong = {
        row.said
        for row in rows(language)
        if any(days(carrier.format(row.said), language, row.calendar) != [row.days] for carrier in CARRIERS[language])
    }
    assert wrong == set(KNOWN_FAILURES[language])


@pytest.mark.parametrize("language", Language)
def test_there_are_enough_expressions_and_few_known_failures(language: Language) -> None:
    all_rows = rows(language)
    assert len({(row.calendar, row.said) for row in all_rows}) == len(all_rows) >= 320
    assert len({row.calendar for row in all_rows}) >= 7
    assert len(KNOWN_FAILURES[language]) <= 0.01 * len(all_rows)
    traps = data(f"no_dates_{language}.txt")
    assert len(set(traps)) == len(traps) >= 60
    assert len(KNOWN_FALSE_ALARMS[language]) <= 0.01 * len(traps)


@pytest.mark.parametrize("language", Language)
def test_what_holds_no_date(language: Language) -> None:
    found = {text for text in data(f"no_dates_{language}.txt") if days(text, language, MONDAY)}
    assert found == set(KNOWN_FALSE_ALARMS[language])


@pytest.mark.parametrize("language", Language)
def test_the_words_of_a_date_are_all_of_it(language: Language) -> None:
    """A mention covers a bare expression whole, save for the words around it that are none of the date's."""
    around = {
        Language.ZH: r"从|截[至止]|[上下]午|夜里|[晚早]|大促|期间",
        Language.EN: r"(?:on|in|for|until|before|by|through|during|over|within|the|calendar|whole|of|week) |'s|"
        r" (?:morning|afternoon|evening|night)",
    }[language]
    for row in rows(language):
        found = find_dates(row.said, language, row.calendar)
        if len(row.said) < 16 and row.said not in KNOWN_FAILURES[language] and row.calendar == MONDAY:
            rest = row.said[: found[0].start] + row.said[found[0].end :]
            assert re.sub(around, "", rest + " ").strip() == "", (row.said, rest)


# ------------------------------------------------------------------------------------------- holidays


def holiday(name: str) -> Holiday:
    return next(each for each in HOLIDAYS if name in each.names)


@pytest.mark.parametrize(
    ("name", "months", "day"), [("端午节", (4, 5), 5), ("七夕", (6, 7), 7), ("中秋节", (7, 8), 15)]
)
def test_the_lunar_tables_keep_step_with_the_moon(name: str, months: tuple[int, int], day: int) -> None:
    """From New Year to the first of a lunar month it is a whole number of lunations, one more in some leap years."""
    for year in range(2015, 2036):
        new_year = holiday("大年初一").day(year)
        first = holiday(name).day(year) - timedelta(days=day - 1)
        lunations = (first - new_year).days / 29.530588
        assert round(lunations) in months
        assert abs(lunations - round(lunations)) * 29.53 < 1.5


def test_new_years_are_whole_lunations_apart() -> None:
    dates = [holiday("大年初一").day(year) for year in range(2015, 2036)]
    for before, after in itertools.pairwise(dates):
        assert (after - before).days in {354, 355, 383, 384, 385}
    assert all(date(day.year, 1, 21) <= day <= date(day.year, 2, 20) for day in dates)


def test_easter_and_the_american_weekdays() -> None:
    easter = [date(2019, 4, 21), date(2023, 4, 9), date(2024, 3, 31), date(2025, 4, 20), date(2038, 4, 25)]
    assert [holiday("Easter").day(day.year) for day in easter] == easter
    assert holiday("Thanksgiving").day(2022) == date(2022, 11, 24)
    assert holiday("Cyber Monday").day(2024) == date(2024, 12, 2)
    assert holiday("Memorial Day").day(2023) == date(2023, 5, 29)
    assert holiday("Mother's Day").day(2023) == date(2023, 5, 14)


def test_a_lunar_festival_beyond_the_tables_is_no_date() -> None:
    assert days("2036年春节", Language.ZH, MONDAY) == [("2036-01-01", "2037-01-01")]  # the year alone
    assert days("春节", Language.ZH, Calendar(date(2040, 7, 1))) == []
    assert days("国庆", Language.ZH, Calendar(date(2040, 7, 1))) == [("2039-10-01", "2039-10-08")]


@pytest.mark.parametrize(
    ("said", "language", "label"),
    [
        ("去年国庆", Language.ZH, "2023 年国庆"),
        ("春节", Language.ZH, "2024 年春节"),
        ("last Christmas", Language.EN, "Christmas 2023"),
        ("国庆当天", Language.ZH, "2023 年 10 月 1 日"),
        ("the week before Christmas", Language.EN, "December 18 to December 24, 2023"),
    ],
)
def test_a_holiday_keeps_its_name(said: str, language: Language, label: str) -> None:
    assert [m.period.label(language) for m in find_dates(said, language, MONDAY)] == [label]


@pytest.mark.parametrize("language", Language)
def test_the_label_of_a_holiday_is_read_back(language: Language) -> None:
    for each in HOLIDAYS:
        period = each.in_year(2022)
        if each.pattern(language):
            assert days(period.label(language), language, MONDAY) == [(str(period.first), str(period.end))], each.names


# --------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("said", "language", "absolute"),
    [
        ("2021年至2023年", Language.ZH, True),
        ("2023年Q1到Q3", Language.ZH, True),
        ("去年10月到2024年2月", Language.ZH, False),
        ("3月到5月", Language.ZH, False),
        ("2023年以来", Language.ZH, True),
        ("since March", Language.EN, False),
        ("from March to May 2023", Language.EN, True),
        ("24年3月", Language.ZH, True),
        ("10年前", Language.ZH, False),
    ],
)
def test_a_range_is_absolute_when_both_ends_are(said: str, language: Language, *, absolute: bool) -> None:
    assert [m.absolute for m in find_dates(said, language, MONDAY)] == [absolute]


def test_since_a_day_to_come_is_that_day() -> None:
    assert days("下周一开始", Language.ZH, MONDAY) == [("2024-07-22", "2024-07-23")]


words = sorted({row.said for language in Language for row in rows(language) if len(row.said) < 24})
joints = st.sampled_from(
    ["到", "至今", "以来", "前", "-", " to ", " and ", "since ", "between ", "从", " ", "\t\n ", "年"]
)
texts = st.lists(st.sampled_from(words) | joints, min_size=1, max_size=6).map("".join)
clocks = st.builds(Calendar, st.dates(date(2000, 1, 1), date(2060, 12, 31)), st.integers(1, 12))


@given(texts, st.sampled_from(Language), clocks)
def test_whatever_is_joined(text: str, language: Language, calendar: Calendar) -> None:
    found = find_dates(text, language, calendar)
    for mention in found:
        assert 0 <= mention.start < mention.end <= len(text)
        assert mention.period.first < mention.period.end
    assert all(left.end <= right.start for left, right in itertools.pairwise(found))


@given(st.sampled_from(words), st.sampled_from(Language), clocks, st.integers(1, 3))
def test_wide_white_space_changes_nothing(said: str, language: Language, calendar: Calendar, wide: int) -> None:
    assert days(said.replace(" ", " " * wide), language, calendar) == days(said, language, calendar)


# --------------------------------------------------------------------------------------------- hostile

HOSTILE = [
    "1", "12 ", "年", "月", " ", " \t", "前", "近", "上", "下", "今天", "2024年", "2024", "1-", "1/", "/12", "2024-01-01", "十", "3月到",
    "1月1日至", "国庆前", "去年", "今天到", "4天", "前三", "周一到", "三", "q1 ", "last ", "the ", "may ", "from ", "january ",
    "march 1 to ", "a ", "half a ", "first ", "3 days ", "the last two ", "between 2021 and ", "since ", "' ", "of the ", "mon, ",
    "Monday to ", "three weeks before ", " - ", "20", "new year ",
]  # fmt: skip


@pytest.mark.parametrize("language", Language)
def test_a_hostile_text_takes_little_time(language: Language) -> None:
    for said in HOSTILE:
        text = (said * 4_000)[:4_000]
        assert any(spent(text, language) < 0.05 for _ in range(5)), said


def spent(text: str, language: Language) -> float:
    began = time.process_time()
    find_dates(text, language, MONDAY)
    return time.process_time() - began
