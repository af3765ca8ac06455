"""The calendar: ranges of days, what they are called, and the fiscal year that quarters and years follow.

A week is Monday to Sunday. A fiscal year is named by the calendar year it ends in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from .language import Language

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
"""The English names of the months, in lower case."""


class Grain(StrEnum):
    """What a range of days is called by."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    HALF = "half"
    YEAR = "year"
    HOLIDAY = "holiday"
    RANGE = "range"


@dataclass(frozen=True, slots=True)
class Calendar:
    """Today, and the month in which the fiscal year starts (1 for the calendar year)."""

    today: date
    fiscal_month: int = 1

    def fiscal_year(self, day: date) -> int:
        """Return the fiscal year that holds `day`, named by the calendar year in which it ends."""
        return day.year + (1 if self.fiscal_month > 1 and day.month >= self.fiscal_month else 0)

    def year_start(self, fiscal_year: int) -> date:
        """Return the first day of `fiscal_year`."""
        return date(fiscal_year - (1 if self.fiscal_month > 1 else 0), self.fiscal_month, 1)

    def year(self, fiscal_year: int) -> Period:
        """Return the whole fiscal year."""
        return Period(self.year_start(fiscal_year), self.year_start(fiscal_year + 1), Grain.YEAR, fiscal_year)

    def quarter(self, fiscal_year: int, number: int) -> Period:
        """Return the quarter `number` (1 to 4) of `fiscal_year`."""
        first = add_months(self.year_start(fiscal_year), 3 * (number - 1))
        return Period(first, add_months(first, 3), Grain.QUARTER, fiscal_year, number)

    def half(self, fiscal_year: int, number: int) -> Period:
        """Return the half `number` (1 or 2) of `fiscal_year`."""
        first = add_months(self.year_start(fiscal_year), 6 * (number - 1))
        return Period(first, add_months(first, 6), Grain.HALF, fiscal_year, number)

    def quarter_of(self, day: date) -> Period:
        """Return the quarter that holds `day`."""
        return self.quarter(self.fiscal_year(day), (day.month - self.fiscal_month) % 12 // 3 + 1)

    def month(self, offset: int = 0) -> Period:
        """Return the calendar month `offset` months from today's."""
        return month_of(add_months(self.today, offset))

    def week(self, offset: int = 0) -> Period:
        """Return the week, Monday to Sunday, `offset` weeks from today's."""
        first = self.today - timedelta(days=self.today.weekday()) + timedelta(weeks=offset)
        return Period(first, first + timedelta(days=7), Grain.WEEK)

    def day(self, offset: int = 0) -> Period:
        """Return the day `offset` days from today."""
        return day_of(self.today + timedelta(days=offset))

    def shifted(self, grain: Grain, offset: int) -> Period:
        """Return the day, week, month, quarter or year that is `offset` of its kind from today's."""
        match grain:
            case Grain.DAY:
                return self.day(offset)
            case Grain.WEEK:
                return self.week(offset)
            case Grain.MONTH:
                return self.month(offset)
            case Grain.QUARTER:
                return self.quarter_of(add_months(self.today, 3 * offset))
        return self.year(self.fiscal_year(self.today) + offset)


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `first` up to, but not including, `end`."""

    first: date
    end: date
    grain: Grain
    fiscal_year: int | None = None
    number: int | None = None
    names: tuple[str, str] | None = None
    """What a holiday is called, in Chinese and in English."""

    def label(self, language: Language) -> str:
        """Write the range as a person would.

        >>> Period(date(2024, 6, 1), date(2024, 7, 1), Grain.MONTH).label(Language.ZH)
        '2024 年 6 月'
        """
        if self.names:
            zh, en = self.names
            return f"{self.first.year} 年{zh}" if language is Language.ZH else f"{en} {self.first.year}"
        return _label_zh(self) if language is Language.ZH else _label_en(self)


def add_months(day: date, months: int) -> date:
    """Return the first day of the month that is `months` after `day`'s."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def same_day(day: date, months: int) -> date:
    """Return `day` moved by `months`; the last day of a month that is too short for it."""
    month = add_months(day, months)
    last = (add_months(month, 1) - timedelta(days=1)).day
    return month.replace(day=min(day.day, last))


def day_of(day: date) -> Period:
    """Return `day` as a range."""
    return Period(day, day + timedelta(days=1), Grain.DAY)


def month_of(day: date) -> Period:
    """Return the calendar month that holds `day`."""
    return Period(day.replace(day=1), add_months(day, 1), Grain.MONTH)


def a_year_earlier(period: Period) -> Period | None:
    """Return the same months of the year before; None for days and weeks, which move between years."""
    if period.first.day != 1 or period.end.day != 1:
        return None
    year = None if period.fiscal_year is None else period.fiscal_year - 1
    return Period(add_months(period.first, -12), add_months(period.end, -12), period.grain, year, period.number)


def _label_zh(period: Period) -> str:
    first, last = period.first, period.end - timedelta(days=1)
    match period.grain:
        case Grain.DAY:
            return f"{first.year} 年 {first.month} 月 {first.day} 日"
        case Grain.MONTH:
            return f"{first.year} 年 {first.month} 月"
        case Grain.QUARTER:
            return f"{period.fiscal_year} 年 Q{period.number}"
        case Grain.HALF:
            return f"{period.fiscal_year} 年{'上' if period.number == 1 else '下'}半年"
        case Grain.YEAR:
            return f"{period.fiscal_year} 年"
    until = f"{last.month} 月 {last.day} 日" if last.year == first.year else _label_zh_day(last)
    return f"{_label_zh_day(first)}至 {until}"


def _label_zh_day(day: date) -> str:
    return f"{day.year} 年 {day.month} 月 {day.day} 日"


def _label_en(period: Period) -> str:
    first, last = period.first, period.end - timedelta(days=1)
    match period.grain:
        case Grain.DAY:
            return f"{_month_en(first)} {first.day}, {first.year}"
        case Grain.MONTH:
            return f"{_month_en(first)} {first.year}"
        case Grain.QUARTER:
            return f"Q{period.number} {period.fiscal_year}"
        case Grain.HALF:
            return f"{'first' if period.number == 1 else 'second'} half of {period.fiscal_year}"
        case Grain.YEAR:
            return f"{period.fiscal_year}"
    start = f"{_month_en(first)} {first.day}" + ("" if first.year == last.year else f", {first.year}")
    return f"{start} to {_month_en(last)} {last.day}, {last.year}"


def _month_en(day: date) -> str:
    return MONTHS[day.month - 1].capitalize()


def named_period(name: str, calendar: Calendar) -> Period | None:
    """Return the period that a catalog calls by `name` (`last_month`, `last_fiscal_quarter`, ...), if it is one."""
    make = _NAMED.get(name)
    try:
        return make(calendar) if make else None
    except (ValueError, OverflowError):  # the clock stands at the edge of what a date can hold
        return None


_NAMED: dict[str, Callable[[Calendar], Period]] = {
    "today": lambda calendar: calendar.day(),
    "yesterday": lambda calendar: calendar.day(-1),
    "this_week": lambda calendar: calendar.week(),
    "last_week": lambda calendar: calendar.week(-1),
    "this_month": lambda calendar: calendar.month(),
    "last_month": lambda calendar: calendar.month(-1),
    "this_quarter": lambda calendar: calendar.shifted(Grain.QUARTER, 0),
    "last_quarter": lambda calendar: calendar.shifted(Grain.QUARTER, -1),
    "last_fiscal_quarter": lambda calendar: calendar.shifted(Grain.QUARTER, -1),
    "this_year": lambda calendar: calendar.shifted(Grain.YEAR, 0),
    "last_year": lambda calendar: calendar.shifted(Grain.YEAR, -1),
}
PERIOD_NAMES = frozenset(_NAMED)
"""The names that a catalog may give as a default period."""
