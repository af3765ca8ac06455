"""Dates as people say them, made absolute against a given clock.

`find_dates` reads the common Chinese and English expressions: 上月, 去年同期, 近 7 天, Q3, 第三季度, 去年国庆,
3 月以来, "last quarter", "the past 7 days", "in May", "from March to May 2023", "Black Friday". Every result is a
half-open range of days with a label in either language. A quarter or a year follows the fiscal calendar when one is
given.
What comes back ("May", "Monday", "Christmas") is the latest that has begun, or the next where the words point ahead.
What is left outside a mention: 前, 后, 截至, "before", "until", "by" say no first day, so the date alone is read.

The rules are in date_rules.py, what they mean in date_readers.py; here two dates are joined to a range, and "since"
reaches from a date to today.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta

from .date_readers import expression, names_year, says_year
from .date_rules import RULES, Cycle, Rule
from .language import Language, fold
from .periods import PERIOD_NAMES, Calendar, Grain, Period, a_year_earlier, named_period, same_day

__all__ = [
    "PERIOD_NAMES",
    "SAME_PERIOD",
    "Calendar",
    "DateMention",
    "Grain",
    "Period",
    "a_year_earlier",
    "find_dates",
    "named_period",
]

SAME_PERIOD = re.compile(
    r"[去上]年同(?:期|一?个?季度)|"
    r"(?:the )?same (?:period|month|quarter|time) (?:of |in )?(?:last year|the (?:previous|prior) year)"
)
"""Expressions for a period a year before another that the conversation may have named."""


@dataclass(frozen=True, slots=True)
class DateMention:
    """A date expression at `start:end` of a text; `absolute` when it already names its year."""

    start: int
    end: int
    period: Period
    absolute: bool


@dataclass(frozen=True, slots=True)
class _Found(DateMention):
    """A mention; with a cycle it could as well be a week or a year earlier or later."""

    cycle: Cycle | None = None

    def after(self, day: date) -> tuple[date, date]:
        """Return the first day and the end of the first period of the cycle that begins on `day` or later."""
        return self._turn(next(n for n in self._turns(day) if self._turned(self.period.first, n) >= day))

    def before(self, day: date) -> tuple[date, date]:
        """Return the first day and the end of the last period of the cycle that begins on `day` or earlier."""
        return self._turn(next(n for n in reversed(self._turns(day)) if self._turned(self.period.first, n) <= day))

    def _turns(self, day: date) -> range:
        """Return how many weeks or years bring the period near `day`."""
        first = self.period.first
        turns = (day - first).days // 7 if self.cycle is Cycle.WEEK else day.year - first.year
        return range(turns - 1, turns + 2)

    def _turn(self, turns: int) -> tuple[date, date]:
        return self._turned(self.period.first, turns), self._turned(self.period.end, turns)

    def _turned(self, day: date, turns: int) -> date:
        return day + timedelta(weeks=turns) if self.cycle is Cycle.WEEK else same_day(day, 12 * turns)


_BETWEEN = {
    Language.ZH: expression(r"~(?:[-\x7e–—]|至|到)~"),
    Language.EN: expression(r"~[-\x7e–—]~| (?:to|through|thru|until|till) "),
}
_AND = expression(" and ")
_OPENING = {
    Language.ZH: expression("(?:从|自从?)\\Z"),
    Language.EN: expression(r"\b(?:from|between) \Z"),
}
_SINCE = {Language.ZH: expression(r"(?!)"), Language.EN: expression(r"\bsince (?:the )?\Z")}
_UNTIL_NOW = {
    Language.ZH: expression("~(?:以来|至今|迄今|起至今|到现在|到目前|开始|起(?![飞床草源义诉]))"),
    Language.EN: expression(r" (?:until now|till now|to now|to date|until today|onwards?)\b"),
}
_FUTURE = re.compile(r"\b(?:will|won't|going to|upcoming|forecast)\b|'ll\b|即将|将要|将会|会不会|预计|预测|预报|打算")
_LONGEST_OPENING = 16  # characters before a date in which an opening word is looked for


def find_dates(text: str, language: Language, calendar: Calendar) -> list[DateMention]:
    """Find the date expressions of `text`, by position; of two that overlap the more specific rule wins.

    >>> found = find_dates("上个月的订单", Language.ZH, Calendar(date(2024, 7, 15)))
    >>> [(mention.start, mention.end, mention.period.label(Language.ZH)) for mention in found]
    [(0, 3, '2024 年 6 月')]
    """
    folded = fold(text)
    found = _joined(_scanned(folded, language, calendar), folded, language)
    return [_until_now(each, folded, language, calendar) for each in found]


def _scanned(folded: str, language: Language, calendar: Calendar) -> list[_Found]:
    """Return what single rules find."""
    ahead = bool(_FUTURE.search(folded))
    taken = bytearray(len(folded))
    found: list[_Found] = []
    for rule in RULES[language]:
        for match in rule.pattern.finditer(folded):
            each = None if any(taken[match.start() : match.end()]) else _read(rule, match, calendar, ahead=ahead)
            if each:
                found.append(each)
                taken[each.start : each.end] = b"\x01" * (each.end - each.start)
    return sorted(found, key=lambda mention: mention.start)


def _read(rule: Rule, match: re.Match[str], calendar: Calendar, *, ahead: bool) -> _Found | None:
    comes_back = rule.cycle is not None and not says_year(match)
    try:
        period = rule.read(match, calendar)
        if period and ahead and comes_back and period.end <= calendar.today:
            period = rule.read(match, _a_cycle_on(calendar, rule.cycle))
    except (ValueError, OverflowError):  # a day or a year that no calendar has
        return None
    if period is None:
        return None
    start, end = match.span("core" if "core" in match.re.groupindex else 0)
    end = start + len(match.string[start:end].rstrip())
    cyclic = comes_back and period.grain is not Grain.HOLIDAY  # Easter is no whole number of years from Easter
    return _Found(start, end, period, names_year(match), rule.cycle if cyclic else None)


def _a_cycle_on(calendar: Calendar, cycle: Cycle | None) -> Calendar:
    """Return a clock by which what comes next is what has begun last."""
    return replace(calendar, today=calendar.today + timedelta(days=6 if cycle is Cycle.WEEK else 364))


def _joined(found: list[_Found], folded: str, language: Language) -> list[_Found]:
    """Make one range of two dates with "to" between them."""
    joined: list[_Found] = []
    for right in found:
        period = _range(joined[-1], right, folded, language) if joined else None
        if period is None:
            joined.append(right)
            continue
        left = joined.pop()
        if left.cycle is right.cycle is Cycle.WEEK:  # opening hours
            continue
        opening = _OPENING[language].search(folded, max(0, left.start - _LONGEST_OPENING), left.start)
        sides = (left, right)
        absolute = any(side.absolute for side in sides) and all(side.absolute or side.cycle for side in sides)
        joined.append(_Found(opening.start() if opening else left.start, right.end, period, absolute))
    return joined


def _range(left: _Found, right: _Found, folded: str, language: Language) -> Period | None:
    gap = folded[left.end : right.start]
    between = folded.startswith("between ", max(0, left.start - 8)) and _AND.fullmatch(gap)
    if not (between or _BETWEEN[language].fullmatch(gap)):
        return None
    try:
        first, end = _ends(left, right)
    except (ValueError, OverflowError):  # the edge of time
        return None
    return Period(first, end, Grain.RANGE) if first < end else None


def _ends(left: _Found, right: _Found) -> tuple[date, date]:
    """Return the first day and the end: a date that does not say its year takes it from the other."""
    begun, last = left.period, right.period
    if right.cycle:
        return begun.first, right.after(begun.first)[1]
    return (left.before(last.first)[0] if left.cycle else begun.first), last.end


def _until_now(found: _Found, folded: str, language: Language, calendar: Calendar) -> DateMention:
    """Let "since" reach from the first day of a date, or a range's, until today."""
    before = max(0, found.start - _LONGEST_OPENING)
    since = _SINCE[language].search(folded, before, found.start)
    until = None if since else _UNTIL_NOW[language].match(folded, found.end)
    if not (since or until) or not found.period.first <= calendar.today < date.max:
        return DateMention(found.start, found.end, found.period, found.absolute)
    opening = since or _OPENING[language].search(folded, before, found.start)
    if until and until[0] == "开始" and not opening:  # 上周开始的项目 began then
        return DateMention(found.start, found.end, found.period, found.absolute)
    period = Period(found.period.first, calendar.today + timedelta(days=1), Grain.RANGE)
    start, end = opening.start() if opening else found.start, until.end() if until else found.end
    return DateMention(start, end, period, found.absolute)
