"""Dates as people say them, made absolute against a given clock.

`find_dates` reads the common Chinese and English expressions: 上月, 去年同期, 近 7 天, Q3, 第三季度, "last quarter",
"the past 7 days", "in May". Every result is a half-open range of days with a label in either language. A quarter
or a year follows the fiscal calendar when one is given; a fiscal year is named by the calendar year it ends in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from .language import Language, fold

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_ZH_DIGITS = {
    "零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9,
}  # fmt: skip
_EN_NUMBERS = {
    "a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6,
    "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
}  # fmt: skip


class Grain(StrEnum):
    """What a range of days is called by."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    HALF = "half"
    YEAR = "year"
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
        first = add_months(self.today.replace(day=1), offset)
        return Period(first, add_months(first, 1), Grain.MONTH)

    def week(self, offset: int = 0) -> Period:
        """Return the week, Monday to Sunday, `offset` weeks from today's."""
        first = self.today - timedelta(days=self.today.weekday()) + timedelta(weeks=offset)
        return Period(first, first + timedelta(days=7), Grain.WEEK)

    def day(self, offset: int = 0) -> Period:
        """Return the day `offset` days from today."""
        first = self.today + timedelta(days=offset)
        return Period(first, first + timedelta(days=1), Grain.DAY)


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `first` up to, but not including, `end`."""

    first: date
    end: date
    grain: Grain
    fiscal_year: int | None = None
    number: int | None = None

    def label(self, language: Language) -> str:
        """Write the range as a person would.

        >>> Period(date(2024, 6, 1), date(2024, 7, 1), Grain.MONTH).label(Language.ZH)
        '2024 年 6 月'
        """
        return _label_zh(self) if language is Language.ZH else _label_en(self)


@dataclass(frozen=True, slots=True)
class DateMention:
    """A date expression at `start:end` of a text; `absolute` when it already names its year."""

    start: int
    end: int
    period: Period
    absolute: bool


def add_months(day: date, months: int) -> date:
    """Return the first day of the month that is `months` after `day`'s."""
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


SAME_PERIOD = re.compile(r"[去上]年同期|(?:the )?same (?:period|month|time) last year")
"""Expressions for a period a year before another that the conversation may have named."""


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
    return _MONTHS[day.month - 1].capitalize()


def named_period(name: str, calendar: Calendar) -> Period | None:
    """Return the period that a catalog calls by `name` (`last_month`, `last_fiscal_quarter`, ...), if it is one."""
    make = _NAMED.get(name)
    try:
        return make(calendar) if make else None
    except (ValueError, OverflowError):  # the clock stands at the edge of what a date can hold
        return None


def _last_quarter(calendar: Calendar) -> Period:
    return calendar.quarter_of(calendar.quarter_of(calendar.today).first - timedelta(days=1))


_NAMED: dict[str, Callable[[Calendar], Period]] = {
    "today": lambda calendar: calendar.day(),
    "yesterday": lambda calendar: calendar.day(-1),
    "this_week": lambda calendar: calendar.week(),
    "last_week": lambda calendar: calendar.week(-1),
    "this_month": lambda calendar: calendar.month(),
    "last_month": lambda calendar: calendar.month(-1),
    "this_quarter": lambda calendar: calendar.quarter_of(calendar.today),
    "last_quarter": _last_quarter,
    "last_fiscal_quarter": _last_quarter,
    "this_year": lambda calendar: calendar.year(calendar.fiscal_year(calendar.today)),
    "last_year": lambda calendar: calendar.year(calendar.fiscal_year(calendar.today) - 1),
}
PERIOD_NAMES = frozenset(_NAMED)
"""The names that a catalog may give as a default period."""


# --------------------------------------------------------------------------------------- expressions
# Each rule is a pattern over folded text and a reader. A reader returns None for what only looks like a date.

_Reader = Callable[[re.Match[str], Calendar], "Period | None"]
_NUMBER = r"(?<![\d一二两三四五六七八九十])(?P<n>\d{1,3}|[一二两三四五六七八九十]{1,3})"
_NUMBER_EN = rf"(?P<n>\d{{1,3}}|{'|'.join(_EN_NUMBERS)})"
_YEAR = r"(?P<year>(?<!\d)(?:19|20)\d{2})"
_MONTHS_EN = "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS) + "|sept"
_MONTH_EN = rf"(?P<month>{_MONTHS_EN})\.?"
_UNTIL_EN = rf"(?P<until>{_MONTHS_EN})\.?"


def _count(text: str) -> int:
    if text.isdecimal():
        return int(text)
    if text in _EN_NUMBERS:
        return _EN_NUMBERS[text]
    tens, _, ones = text.rpartition("十")
    if "十" not in text:
        return _ZH_DIGITS.get(text, 0)
    return 10 * (_ZH_DIGITS.get(tens, 1) if tens else 1) + (_ZH_DIGITS.get(ones, 0) if ones else 0)


def _year_of(match: re.Match[str], calendar: Calendar) -> int | None:
    groups = match.groupdict()
    if groups.get("year"):
        return int("".join(str(_ZH_DIGITS.get(digit, digit)) for digit in groups["year"]))
    if groups.get("short_year"):
        return 2000 + int(groups["short_year"])
    offset = {
        "今年": 0,
        "本年": 0,
        "本年度": 0,
        "去年": -1,
        "上一年": -1,
        "上年度": -1,
        "前年": -2,
        "明年": 1,
        "last year": -1,
        "this year": 0,
        "next year": 1,
    }
    said = groups.get("said_year")
    return calendar.fiscal_year(calendar.today) + offset[said.replace(" fiscal", "")] if said else None


def _fixed(name: str) -> _Reader:
    return lambda _match, calendar: named_period(name, calendar)


def _shifted(grain: str, offset: int) -> _Reader:
    return lambda _match, calendar: getattr(calendar, grain)(offset)


def _read_year(match: re.Match[str], calendar: Calendar) -> Period | None:
    year = _year_of(match, calendar)
    return None if year is None else calendar.year(year)


def _read_month(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read a month; without its year it is the latest one that has begun."""
    number = _month_number(match["month"])
    if not 1 <= number <= 12:
        return None
    year = _year_of(match, calendar)
    if year is None:
        year = calendar.today.year - (number > calendar.today.month)
    elif match.groupdict().get("said_year"):
        year += calendar.today.year - calendar.fiscal_year(calendar.today)
    first = date(year, number, 1)
    return Period(first, add_months(first, 1), Grain.MONTH)


def _month_number(said: str) -> int:
    return next((i for i, name in enumerate(_MONTHS, 1) if name.startswith(said[:3])), 0) or _count(said)


def _read_months(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "1-6月" or "from June to August"; a year belongs to the month that it stands beside."""
    begun = _read_month(match, calendar)
    until = _month_number(match["until"])
    if begun is None or not 1 <= until <= 12 or until == begun.first.month:
        return None
    year_last = match.groupdict().get("year") and match.start("year") > match.start("until")
    first = add_months(begun.first, -12) if year_last and until < begun.first.month else begun.first
    return Period(first, add_months(first, (until - first.month) % 12 + 1), Grain.RANGE)


def _read_day(match: re.Match[str], calendar: Calendar) -> Period | None:
    month = _read_month(match, calendar)
    if month is None:
        return None
    try:
        first = month.first.replace(day=_count(match["day"]))
    except ValueError:
        return None
    return Period(first, first + timedelta(days=1), Grain.DAY)


def _read_iso(match: re.Match[str], _calendar: Calendar) -> Period | None:
    try:
        first = date(int(match["year"]), int(match["m"]), int(match["day"]))
    except ValueError:
        return None
    return Period(first, first + timedelta(days=1), Grain.DAY)


def _read_quarter(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read a quarter; without its year it is the latest one that has begun."""
    words = {"first": 1, "second": 2, "third": 3, "fourth": 4}
    number = words.get(match["q"]) or _count(match["q"])
    if not 1 <= number <= 4:
        return None
    year = _year_of(match, calendar)
    if year is not None:
        return calendar.quarter(year, number)
    current = calendar.quarter_of(calendar.today)
    return calendar.quarter(calendar.fiscal_year(calendar.today) - (number > (current.number or 4)), number)


def _read_first_quarters(match: re.Match[str], calendar: Calendar) -> Period:
    """Read 前三季度: the first quarters of a year, together."""
    year = _year_of(match, calendar)
    first = calendar.year_start(calendar.fiscal_year(calendar.today) if year is None else year)
    return Period(first, add_months(first, 3 * _count(match["n"])), Grain.RANGE)


def _read_half(match: re.Match[str], calendar: Calendar) -> Period | None:
    year = _year_of(match, calendar)
    number = 1 if match["half"] in {"上", "first", "h1", "1"} else 2
    return calendar.half(calendar.fiscal_year(calendar.today) if year is None else year, number)


def _read_recent(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "the past n days": the n days, weeks or months that end today."""
    said = match["n"] or "a"
    count, unit = (6, "月") if said == "半" else (_count(said), match["unit"].rstrip("s"))
    if not count:
        return None
    end = calendar.today + timedelta(days=1)
    if unit in {"月", "个月", "month"}:
        return Period(_months_back(end, count), end, Grain.RANGE)
    if unit in {"年", "year"}:
        return Period(_months_back(end, 12 * count), end, Grain.RANGE)
    days = count * (7 if unit in {"周", "星期", "week"} else 1)
    return Period(end - timedelta(days=days), end, Grain.RANGE)


def _months_back(day: date, months: int) -> date:
    month = add_months(day, -months)
    last = (add_months(month, 1) - timedelta(days=1)).day
    return month.replace(day=min(day.day, last))


def _read_ago(match: re.Match[str], calendar: Calendar) -> Period | None:
    count = _count(match["n"])
    unit = match["unit"].rstrip("s")
    if unit in {"天", "day"}:
        return calendar.day(-count)
    if unit in {"周", "星期", "week"}:
        return calendar.week(-count)
    if unit in {"个月", "month"}:
        return calendar.month(-count)
    return calendar.year(calendar.fiscal_year(calendar.today) - count)


def _read_weekday(match: re.Match[str], calendar: Calendar) -> Period | None:
    named = {"一": 0, "二": 1, "三": 2, "四": 3, "五": 4, "六": 5, "日": 6, "天": 6}
    weeks = {"本": 0, "这": 0, "上": -1, "上上": -2, "下": 1}[match["which"]]
    first = calendar.week(weeks).first + timedelta(days=named[match["weekday"]])
    return Period(first, first + timedelta(days=1), Grain.DAY)


def _read_year_to_date(_match: re.Match[str], calendar: Calendar) -> Period | None:
    first = calendar.year_start(calendar.fiscal_year(calendar.today))
    return Period(first, calendar.today + timedelta(days=1), Grain.RANGE)


def _read_same_period(_match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read 去年同期: the month like the last full one, a year earlier."""
    return calendar.month(-13)


_SAID_ZH = r"(?P<said_year>今年|本年度?|去年|上一年|上年度|前年|明年)"
_YEAR_ZH = r"(?P<year>(?<!\d)(?:19|20)\d{2}|(?:一九|二[零〇])[零〇一二三四五六七八九]{2})"
_ZH_YEAR_SAID = rf"(?<![\d年十上每])(?<!\d-)(?:(?:{_SAID_ZH}的?|{_YEAR_ZH}\s*(?:财?年度?)?的?)\s*)?"
_MONTHS_ZH = "1[0-2]|0?[1-9]|十[一二]?|[一二三四五六七八九]"
_ZH_MONTH = rf"(?P<month>{_MONTHS_ZH})\s*月"
_ZH_DAY = r"(?P<day>\d{1,2}|[一二三]?十[一二三四五六七八九]?|[一二三四五六七八九])\s*[日号]"
_LAST_ZH = "(?<![线网晚早马加以之身])上"  # not the end of 线上, 早上, 加上
_THIS_ZH = "(?<!日)本"  # not the end of 日本

_SAID_EN = "(?P<said_year>(?:last|this|next) (?:fiscal )?year)"
_OF_YEAR = rf"(?:\s+(?:of\s+)?(?:{_YEAR}|{_SAID_EN})|\s+of\s+the\s+year|(?!\s+of\b))"  # not half of a page

_RULES: dict[Language, list[tuple[str, _Reader]]] = {
    Language.ZH: [
        (_YEAR_ZH + r"(?P<sep>[-/])(?P<m>\d{1,2})(?P=sep)(?P<day>\d{1,2})(?!\d)", _read_iso),
        (_ZH_YEAR_SAID + rf"(?P<month>{_MONTHS_ZH})\s*月?份?\s*[-~–—至到]\s*(?P<until>{_MONTHS_ZH})\s*月份?(?!\s*\d)", _read_months),
        (_ZH_YEAR_SAID + _ZH_MONTH + r"\s*" + _ZH_DAY, _read_day),
        (r"(?:最近|近|过去)\s*" + _NUMBER + r"\s*(?P<unit>天|日|周|星期|个月|月(?!份)|年)", _read_recent),
        (r"(?:最近|近|过去)(?P<n>半)(?P<unit>年)", _read_recent),
        (_ZH_YEAR_SAID + _ZH_MONTH + r"份?(?!\s*\d+(?![\d\s]*月))", _read_month),
        (_ZH_YEAR_SAID + r"前\s*(?P<n>[二三两23])\s*个?季度", _read_first_quarters),
        (_ZH_YEAR_SAID + r"第\s*(?P<q>[一二三四1-4])\s*个?季度", _read_quarter),
        (_ZH_YEAR_SAID + r"(?<![前近去每上下这])(?P<q>[一二三四1-4])\s*季度(?!假)", _read_quarter),
        (rf"(?<![a-z0-9])q(?P<q>[1-4])\s*(?:fy\s?)(?:{_YEAR}|(?P<short_year>\d{{2}}))(?!\d)", _read_quarter),
        (r"(?<![a-z0-9])fy\s?(?:20)?(?P<short_year>\d{2})\s*q(?P<q>[1-4])(?![0-9a-z])", _read_quarter),
        (rf"(?<![a-z0-9])(?:{_SAID_ZH}的?|{_YEAR_ZH}\s*(?:财?年)?\s*)?q(?P<q>[1-4])(?![0-9a-z])", _read_quarter),
        (rf"(?:{_SAID_ZH}的?|{_YEAR_ZH}\s*年)?(?P<half>[上下])半年", _read_half),
        (r"(?:去年|上年)同期", _read_same_period),
        (rf"(?:{_LAST_ZH}上个?月|前个月)", _shifted("month", -2)),
        (rf"{_LAST_ZH}一?个?月份?", _fixed("last_month")),
        (rf"(?:{_THIS_ZH}月|这个月|当月)", _fixed("this_month")),
        (rf"(?P<which>{_LAST_ZH}上|{_LAST_ZH}|{_THIS_ZH}|这|下)(?:周|星期|礼拜)(?P<weekday>[一二三四五六日天])", _read_weekday),
        (rf"{_LAST_ZH}上(?:周|个?星期)", _shifted("week", -2)),
        (rf"{_LAST_ZH}(?:一?周|一?个?星期|一?个?礼拜)", _fixed("last_week")),
        (rf"(?:{_THIS_ZH}周|这周|这个?星期)", _fixed("this_week")),
        (rf"{_LAST_ZH}一?个?季度?(?![节])", _fixed("last_quarter")),
        (rf"(?:{_THIS_ZH}季度?|这一?个?季度|当季)(?![节])", _fixed("this_quarter")),
        (_NUMBER + r"\s*(?P<unit>天|周|星期|个月|年)(?:以?前)", _read_ago),
        (r"(?:今年以来|年初至今|年初到现在)", _read_year_to_date),
        (_SAID_ZH, _read_year),
        (_YEAR_ZH + r"\s*财?年度?(?!\s*\d{1,2}(?!\d))", _read_year),
        (r"大?前天", lambda match, calendar: calendar.day(-3 if match[0][0] == "大" else -2)),
        (r"昨[天日]", _fixed("yesterday")),
        (r"今[天日](?!头条)", _fixed("today")),
    ],
    Language.EN: [
        (r"\b" + _YEAR + r"(?P<sep>[-/])(?P<m>\d{1,2})(?P=sep)(?P<day>\d{1,2})\b", _read_iso),
        (r"\b" + _MONTH_EN + r"\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?,?\s+" + _YEAR + r"\b", _read_day),
        (r"\b(?P<day>\d{1,2})(?:st|nd|rd|th)?\s+(?:of\s+)?" + _MONTH_EN + r",?\s+" + _YEAR + r"\b", _read_day),
        (r"(?<=\bon )" + _MONTH_EN + r"\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?\b", _read_day),
        (rf"\b(?:from|between)\s+{_MONTH_EN}\s+(?:to|through|until|till|and)\s+{_UNTIL_EN}(?:,?\s+(?:of\s+)?(?:{_YEAR}|{_SAID_EN}))?\b", _read_months),
        (rf"\b{_MONTH_EN}\s?[-–—]\s?{_UNTIL_EN}(?:,?\s+(?:of\s+)?(?:{_YEAR}|{_SAID_EN}))?\b", _read_months),
        (r"\b" + _MONTH_EN + r",?\s+(?:of\s+)?(?:" + _YEAR + "|" + _SAID_EN + r")\b", _read_month),
        (r"(?:(?<=\bin )|(?<=\bfor )|(?<=\bof )|(?<=\bsince )|(?<=\bduring )|(?<=\babout )|(?<=\blast )|(?<=\band )(?!mar|may))"
         + _MONTH_EN + r"\b(?!\s+(?:i|we|you|he|she|it|they|be|have|not)\b)", _read_month),
        (r"\b" + _YEAR + r"\s?q(?P<q>[1-4])\b", _read_quarter),
        (rf"\bfy\s?(?:{_YEAR}|(?P<short_year>\d{{2}}))\s?q(?P<q>[1-4])\b", _read_quarter),
        (rf"\b(?:fy\s?)?q(?P<q>[1-4])(?:,?\s+(?:of\s+)?(?:fy)?\s?(?:{_YEAR}|{_SAID_EN}|(?P<short_year>\d{{2}})))?\b", _read_quarter),
        (rf"\b(?P<q>first|second|third|fourth) quarter{_OF_YEAR}\b", _read_quarter),
        (rf"\b(?P<half>first|second) half{_OF_YEAR}\b", _read_half),
        (rf"\b(?P<half>h[12])\s+(?:of\s+)?(?:fy\s?)?(?:{_YEAR}|{_SAID_EN})\b", _read_half),
        (rf"\b{_YEAR}\s+(?P<half>h[12])\b", _read_half),
        (r"\b(?:fy|fiscal(?: year)?)\s?(?:" + _YEAR + r"|(?P<short_year>\d{2}))\b", _read_year),
        (r"\b(?:the )?same (?:period|month|time) last year\b", _read_same_period),
        (r"\bthe month before last\b", _shifted("month", -2)),
        (r"\b(?:last|previous|prior) month\b", _fixed("last_month")),
        (r"\b(?:this|current) month\b", _fixed("this_month")),
        (r"\b(?:last|previous|prior) week\b", _fixed("last_week")),
        (r"\b(?:this|current) week\b", _fixed("this_week")),
        (r"\b(?:last|previous|prior) (?:fiscal )?quarter\b", _fixed("last_quarter")),
        (r"\b(?:this|current) (?:fiscal )?quarter\b", _fixed("this_quarter")),
        (r"\b(?:the )?(?:last|past|previous) " + _NUMBER_EN + r" (?P<unit>days?|weeks?|months?|years?)\b", _read_recent),
        (r"\b(?:the )?past(?P<n>) (?P<unit>week|month|year)\b", _read_recent),
        (r"\b" + _NUMBER_EN + r" (?P<unit>days?|weeks?|months?|years?) ago\b", _read_ago),
        (r"\b(?:ytd|year[ -]to[ -]date|so far this year)\b", _read_year_to_date),
        (rf"\b{_SAID_EN}\b", _read_year),
        (r"\b(?:the )?day before yesterday\b", _shifted("day", -2)),
        (r"\byesterday\b", _fixed("yesterday")),
        (r"\btoday\b", _fixed("today")),
        (r"(?:(?<=\bin )|(?<=\bfor )|(?<=\bof )|(?<=\bsince ))" + _YEAR + r"\b", _read_year),
    ],
}  # fmt: skip


def _bounded(pattern: str) -> str:
    """Bound every run of white space: two unbounded ones in a row take quadratic time."""
    return pattern.replace(r"\s*", r"\s{0,3}").replace(r"\s+", r"\s{1,3}")


_COMPILED = {
    language: [(re.compile(_bounded(pattern)), reader) for pattern, reader in rules]
    for language, rules in _RULES.items()
}
_NAMES_ITS_YEAR = re.compile(r"(?:19|20)\d{2}|(?:一九|二[零〇])[零〇一二三四五六七八九]{2}|fy\s?\d{2}")


def find_dates(text: str, language: Language, calendar: Calendar) -> list[DateMention]:
    """Find the date expressions of `text`, by position; of two that overlap the more specific rule wins.

    >>> found = find_dates("上个月的订单", Language.ZH, Calendar(date(2024, 7, 15)))
    >>> [(mention.start, mention.end, mention.period.label(Language.ZH)) for mention in found]
    [(0, 3, '2024 年 6 月')]
    """
    folded = fold(text)
    taken: list[DateMention] = []
    for pattern, reader in _COMPILED[language]:
        for match in pattern.finditer(folded):
            start, end = match.span()
            end -= len(match[0]) - len(match[0].rstrip())
            if any(start < other.end and other.start < end for other in taken):
                continue
            try:
                period = reader(match, calendar)
            except (ValueError, OverflowError):  # a year that no calendar has
                continue
            if period is not None:
                absolute = bool(_NAMES_ITS_YEAR.search(match[0]))
                taken.append(DateMention(start, end, period, absolute))
    return sorted(taken, key=lambda mention: mention.start)
