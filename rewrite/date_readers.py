"""What date expressions mean: a reader takes the named groups of a match and returns the days that they say.

Groups in use: `year` 2024, `short_year` 24, `said_year` 去年; `month`, `day`, `until`; `q`, `half`, `part` 上旬;
`which` 上上, `unit` 周, `n` 三; `weekday`; `holiday`, `side`. A reader returns None for what only looks like a date.

Conventions. A month, a day, a quarter or a holiday without its year is the latest one that has begun. 上旬 and
"early" are the days 1 to 10 of a month, 中旬 and "mid" 11 to 20, 下旬 and "late" the rest; 月初 and "the beginning"
are its first five days, 月底 and "the end" its last five. "Early", "mid" and "late" of a year are four months each;
its beginning and its end one month. "The past n" days, weeks, months and years end today; n quarters are the last
full ones; n hours reach back a day for every full 24. "Last Wednesday" is the latest before today, "next Monday"
the first after it; 上周三 and "Wednesday last week" belong to that week.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta

from .holidays import HOLIDAYS, Holiday
from .language import Language
from .periods import MONTHS, Calendar, Grain, Period, add_months, day_of, month_of, same_day

Reader = Callable[[re.Match[str], Calendar], "Period | None"]

_ZH_DIGITS = {
    "零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9,
}  # fmt: skip
EN_NUMBERS = {
    "couple of": 2, "a couple of": 2, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6,
    "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
}  # fmt: skip
"""English numbers as they are said; one that begins with another stands before it."""
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "final": 4, "last": 4, "最后": 4}
_OFFSETS = {
    "大前": -3, "大上": -2, "上上": -2, "前": -2, "上": -1, "去": -1, "昨": -1, "本": 0, "这": 0, "当": 0, "今": 0,
    "下": 1, "明": 1, "下下": 2, "后": 2, "大后": 3,
    "last": -1, "previous": -1, "prior": -1, "this": 0, "current": 0, "the": 0, "next": 1, "coming": 1,
    "": 0, "before last": -2, "after next": 2,
}  # fmt: skip
_UNITS = {
    "天": Grain.DAY, "日": Grain.DAY, "day": Grain.DAY,
    "周": Grain.WEEK, "星期": Grain.WEEK, "礼拜": Grain.WEEK, "week": Grain.WEEK,
    "月": Grain.MONTH, "month": Grain.MONTH,
    "季": Grain.QUARTER, "季度": Grain.QUARTER, "quarter": Grain.QUARTER,
    "年": Grain.YEAR, "财年": Grain.YEAR, "年度": Grain.YEAR, "year": Grain.YEAR,
}  # fmt: skip
_MULTIPLES = {"fortnight": (2, Grain.WEEK), "decade": (10, Grain.YEAR)}
_HALVES = {Grain.YEAR: (6, Grain.MONTH), Grain.MONTH: (15, Grain.DAY)}
_WEEKDAYS_ZH = "一二三四五六日"
_WEEKDAYS_EN = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TO_DATE = {"w": Grain.WEEK, "m": Grain.MONTH, "q": Grain.QUARTER, "y": Grain.YEAR}


# -------------------------------------------------------------------------------- patterns and numbers


def expression(pattern: str) -> re.Pattern[str]:
    """Compile a pattern in which a blank is one to three white-space characters and `~` none to three.

    >>> bool(expression("3~月").fullmatch("3  月")), bool(expression("last[- ]year").fullmatch("last   year"))
    (True, True)
    """
    return re.compile(pattern.replace("[- ]", "(?:-| )").replace("~", r"\s{0,3}").replace(" ", r"\s{1,3}"))


def _group(match: re.Match[str], name: str) -> str | None:
    """Return what a group holds, each run of white space as one blank; None if there is no such group or nothing."""
    said = match[name] if name in match.re.groupindex else None
    return " ".join(said.split()) if said else None


def _said(match: re.Match[str], name: str) -> str:
    return _group(match, name) or ""


def _count(text: str) -> int:
    """Read a number in digits or words; 0 for what is none.

    >>> _count("12"), _count("三十"), _count("十二"), _count("two")
    (12, 30, 12, 2)
    """
    if text.isdecimal():
        return int(text)
    if text in EN_NUMBERS:
        return EN_NUMBERS[text]
    tens, ten, ones = text.rpartition("十")
    if not ten:
        return _ZH_DIGITS.get(text, 0)
    return 10 * (_ZH_DIGITS.get(tens, 1) if tens else 1) + (_ZH_DIGITS.get(ones, 0) if ones else 0)


def _offset(said: str) -> int:
    return _OFFSETS[said.removesuffix("一个").removesuffix("一").removesuffix("个")]


def _unit(said: str) -> tuple[int, Grain]:
    """Return how many of which grain a unit is: a decade is ten years."""
    name = said.removeprefix("个").rstrip("s")
    return _MULTIPLES.get(name) or (1, _UNITS[name])


def _amount(match: re.Match[str]) -> tuple[int, Grain]:
    """Read "n units" as a number of a grain; half a year is six months, half a month fifteen days."""
    times, grain = _unit(_said(match, "unit"))
    said = _said(match, "n") or "a"
    if said[0] in "半h":
        return _HALVES.get(grain, (0, grain))
    return times * _count(said), grain


# ------------------------------------------------------------------------------------------- years


def _year_of(match: re.Match[str], this_year: int) -> int | None:
    """Return the year that is said, if any; 去年 counts from `this_year`."""
    year, short, said = (_group(match, name) for name in ("year", "short_year", "said_year"))
    if year:
        return int("".join(str(_ZH_DIGITS.get(digit, digit)) for digit in year))
    if short:
        return 2000 + int(short)
    if not said:
        return None
    word = said.split()[0] if said.isascii() else re.sub(r"[一个]|财?年度?", "", said)
    return this_year + _OFFSETS[word]


def says_year(match: re.Match[str]) -> bool:
    """Say whether an expression tells its year."""
    return any(_group(match, name) for name in ("year", "short_year", "said_year", "which"))


def names_year(match: re.Match[str]) -> bool:
    """Say whether an expression tells its year by number."""
    return any(_group(match, name) for name in ("year", "short_year", "decade"))


def _fiscal_year_of(match: re.Match[str], calendar: Calendar) -> int | None:
    return _year_of(match, calendar.fiscal_year(calendar.today))


def read_year(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read a fiscal year, or a calendar year called so."""
    if "calendar" in match[0]:
        calendar = Calendar(calendar.today)
    year = _fiscal_year_of(match, calendar)
    return None if year is None else calendar.year(year)


def read_years(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "2021 to 2023"."""
    begun, last = int(match["year"]), int(match["until"])
    return Period(calendar.year_start(begun), calendar.year_start(last + 1), Grain.RANGE) if begun < last else None


def read_decade(match: re.Match[str], _calendar: Calendar) -> Period | None:
    """Read "the 2010s", 90年代: two digits below 30 belong to this century."""
    said = _count(match["decade"])
    if said < 100:
        century = _group(match, "century")
        said += 2000 if century in {"本", "21", "二十一"} or (century is None and said < 30) else 1900
    return Period(date(said, 1, 1), date(said + 10, 1, 1), Grain.RANGE)


def read_year_part(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read the beginning or the end of a year, or "early", "mid" and "late" in it; without a year, of this one."""
    year = _fiscal_year_of(match, calendar)
    first = calendar.year_start(calendar.fiscal_year(calendar.today) if year is None else year)
    begin, end = {
        "early": (0, 4), "mid": (4, 8), "middle of": (4, 8), "late": (8, 12),
    }.get(_said(match, "part"), (0, 1) if _said(match, "part") in _BEGINNING else (11, 12))  # fmt: skip
    if end == begin + 1:
        return month_of(add_months(first, begin))
    return Period(add_months(first, begin), add_months(first, end), Grain.RANGE)


# ------------------------------------------------------------------------------------ months and days

_BEGINNING = frozenset({"初", "beginning of", "start of"})
_PARTS: dict[str, tuple[int, int | None]] = {
    "上旬": (1, 10), "中旬": (11, 20), "下旬": (21, None), "初": (1, 5), "底": (-5, None), "末": (-5, None),
    "early": (1, 10), "mid": (11, 20), "middle of": (11, 20), "late": (21, None),
    "beginning of": (1, 5), "start of": (1, 5), "end of": (-5, None),
    "first half of": (1, 15), "second half of": (16, None), "first week of": (1, 7), "第一周": (1, 7),
}  # fmt: skip
"""The first and the last day of a part of a month; negative: so many days before its end."""


_MONTH_NUMBERS = {name[:3]: number for number, name in enumerate(MONTHS, 1)}


def _month_number(said: str) -> int:
    return _MONTH_NUMBERS.get(said[:3]) or _count(said)


def read_month(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read a month, or the month that is said to be last, this or next."""
    said = _group(match, "month")
    which = _group(match, "which")
    if not said:
        return calendar.month(_offset(which) if which else 0)
    number = _month_number(said)
    if not 1 <= number <= 12:
        return None
    year = _year_of(match, calendar.today.year)
    return month_of(date(_near(number, which, calendar) if year is None else year, number, 1))


def _near(month: int, which: str | None, calendar: Calendar) -> int:
    """Return the year of the latest `month` that has begun, or of the one that `which` points to."""
    today = calendar.today
    match which:
        case "this":
            return today.year
        case "next":
            return today.year + (month <= today.month)
        case "last" | "this past":
            return today.year - (month >= today.month)
    return today.year - (month > today.month)


def read_months(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "1-6月" or "from June to August"; a year belongs to the month that it stands beside."""
    begun = read_month(match, calendar)
    until = _month_number(match["until"])
    if begun is None or not 1 <= until <= 12 or until == begun.first.month:
        return None
    year_last = _group(match, "year") and match.start("year") > match.start("until")
    first = add_months(begun.first, -12) if year_last and until < begun.first.month else begun.first
    months = (until - first.month) % 12 + 1
    over = 12 if _group(match, "following") and until > first.month else 0
    return Period(first, add_months(first, months + over), Grain.RANGE)


def read_month_part(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read 上旬, 月初, "mid-May"."""
    month = read_month(match, calendar)
    if month is None:
        return None
    begin, last = _PARTS[_said(match, "part")]
    first = month.first + timedelta(days=begin - 1) if begin > 0 else month.end + timedelta(days=begin)
    return Period(first, month.first + timedelta(days=last) if last else month.end, Grain.RANGE)


def read_day(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read a day of a month."""
    month = read_month(match, calendar)
    return month and day_of(month.first.replace(day=_count(match["day"])))


def read_days(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "March 1-15"."""
    first = read_day(match, calendar)
    if first is None:
        return None
    end = first.first.replace(day=_count(match["until"])) + timedelta(days=1)
    return Period(first.first, end, Grain.RANGE) if end > first.end else None


def read_iso(match: re.Match[str], _calendar: Calendar) -> Period | None:
    """Read a date, or a month, in digits; 2007-08 may as well be two years, and is neither."""
    year = int(match["year"]) if match["year"] else 2000 + int(match["short_year"])
    day, month = _group(match, "day"), int(match["m"])
    if day:
        return day_of(date(year, month, int(day)))
    return None if month == year % 100 + 1 else month_of(date(year, month, 1))


def read_edge(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read the first or the last n units of a month or a year."""
    whole = read_year(match, calendar) if not _monthly(match) else read_month(match, calendar)
    if whole is None:
        return None
    count, grain = _amount(match)
    if _said(match, "edge") in {"前", "头", "first"}:
        return _within(whole, whole.first, _moved(whole.first, count, grain))
    return _within(whole, _moved(whole.end, -count, grain), whole.end)


def _monthly(match: re.Match[str]) -> bool:
    return bool(_group(match, "month") or _group(match, "which"))


def _within(whole: Period, first: date, end: date) -> Period | None:
    return Period(first, end, Grain.RANGE) if whole.first <= first < end <= whole.end else None


def read_numbered_week(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "week 46 of 2025", by ISO 8601."""
    year = _year_of(match, calendar.today.year)
    return None if year is None else Calendar(date.fromisocalendar(year, int(match["week"]), 1)).week()


def read_week_of(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "the week of March 3": the week that holds that day."""
    day = read_day(match, calendar)
    return day and Calendar(day.first).week()


# ------------------------------------------------------------------------------- quarters and halves


def read_quarter(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read a quarter of the fiscal year."""
    number = _ORDINALS.get(_said(match, "q")) or _count(_said(match, "q")[0])
    if not 1 <= number <= 4:
        return None
    year = _fiscal_year_of(match, calendar)
    if year is not None:
        return calendar.quarter(year, number)
    current = calendar.quarter_of(calendar.today)
    return calendar.quarter(calendar.fiscal_year(calendar.today) - (number > (current.number or 4)), number)


def read_quarter_part(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read the beginning or the end of a quarter: its first or its last month."""
    if _group(match, "q"):
        quarter = read_quarter(match, calendar)
    else:
        quarter = calendar.shifted(Grain.QUARTER, _offset(_said(match, "which")))
    return quarter and month_of(quarter.first if _said(match, "part") in _BEGINNING else add_months(quarter.end, -1))


def read_first_quarters(match: re.Match[str], calendar: Calendar) -> Period:
    """Read 前三季度: the first quarters of a year, together; without a year, of this one."""
    year = _fiscal_year_of(match, calendar)
    first = calendar.year_start(calendar.fiscal_year(calendar.today) if year is None else year)
    return Period(first, add_months(first, 3 * _count(_said(match, "n"))), Grain.RANGE)


def read_half(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read half of a year; without a year, of this one."""
    year = _fiscal_year_of(match, calendar)
    number = 1 if _said(match, "half") in {"上", "first", "1"} else 2
    return calendar.half(calendar.fiscal_year(calendar.today) if year is None else year, number)


# -------------------------------------------------------------------------------- counted from today


def shifted(grain: Grain, offset: int) -> Reader:
    """Make a reader for the day, week or month that is `offset` of its kind from today's."""
    return lambda _match, calendar: calendar.shifted(grain, offset)


def read_shifted(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read 上周, 下个月, "next quarter"."""
    times, grain = _unit(_said(match, "unit"))
    return calendar.shifted(grain, times * _offset(_said(match, "which")))


def read_recent(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "the past n units"."""
    end = calendar.today + timedelta(days=1)
    if _said(match, "unit") in {"小时", "个小时"} or _said(match, "unit").startswith("hour"):
        return Period(calendar.today - timedelta(days=_count(_said(match, "n")) // 24), end, Grain.RANGE)
    count, grain = _amount(match)
    if grain is Grain.QUARTER:
        first, end = calendar.shifted(grain, -count).first, calendar.shifted(grain, 0).first
    else:
        first = _moved(end, -count, grain)
    return Period(first, end, Grain.RANGE) if first < end else None


def read_coming(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "the next n units": from tomorrow on."""
    count, grain = _amount(match)
    first = calendar.today + timedelta(days=1)
    end = _moved(first, count, grain)
    return Period(first, end, Grain.RANGE) if first < end else None


def _moved(day: date, count: int, grain: Grain) -> date:
    match grain:
        case Grain.DAY:
            return day + timedelta(days=count)
        case Grain.WEEK:
            return day + timedelta(weeks=count)
    return same_day(day, count * {Grain.MONTH: 1, Grain.QUARTER: 3}.get(grain, 12))


def read_ago(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "n units ago": the unit that held that day."""
    if _said(match, "unit").startswith("hour"):
        return calendar.day(-(_count(_said(match, "n")) // 24))
    count, grain = _amount(match)
    return calendar.shifted(grain, -count)


def read_later(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "n units from now"."""
    count, grain = _amount(match)
    return calendar.shifted(grain, count)


def read_to_date(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read "year to date": from the beginning of the unit that holds today until today."""
    first = calendar.shifted(_TO_DATE[_said(match, "unit")[0]], 0).first
    return Period(first, calendar.today + timedelta(days=1), Grain.RANGE)


def read_a_year_ago(_match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read 去年今天, "this day last year"."""
    return day_of(same_day(calendar.today, -12))


def read_same_period(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read 去年同期: the month, or the quarter, like the last full one, a year earlier."""
    quarter = "quarter" in match[0] or "季" in match[0]
    return calendar.shifted(Grain.QUARTER, -5) if quarter else calendar.month(-13)


# ------------------------------------------------------------------------------ weekdays and weekends


def _weekday(said: str) -> int:
    return _WEEKDAYS_EN.index(said[:3]) if said.isascii() else _WEEKDAYS_ZH.index(said.replace("天", "日"))


def read_weekday_of_week(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read 上周三, "Wednesday last week"."""
    week = calendar.week(_offset(_said(match, "which")))
    return day_of(week.first + timedelta(days=_weekday(match["weekday"])))


def read_weekday(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read a weekday by itself, the latest one that has begun, or "last", "this", "next" and "before last"."""
    back = (calendar.today.weekday() - _weekday(match["weekday"])) % 7
    match _group(match, "which"):
        case "last" | "this past" | "past":
            return calendar.day(-(back or 7))
        case "this" | "this coming":
            return day_of(calendar.week().first + timedelta(days=_weekday(match["weekday"])))
        case "next" | "coming":
            return calendar.day(7 - back)
        case "before last":
            return calendar.day(-(back or 7) - 7)
    return calendar.day(-back)


def read_weekend(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read a weekend, Saturday and Sunday; "the weekend" in English is the latest one that has begun."""
    which = _said(match, "which")
    weeks = -(calendar.today.weekday() < 5) if which == "over the" else _offset(which)
    first = calendar.week(weeks).first + timedelta(days=5)
    return Period(first, first + timedelta(days=2), Grain.RANGE)


# ------------------------------------------------------------------------------------------ holidays

_NAMED = [
    (expression(pattern), holiday)
    for holiday in HOLIDAYS
    for pattern in (holiday.zh, holiday.en)
    if pattern is not None
]


def holiday_names(language: Language) -> str:
    """Return the pattern of every holiday's name in `language`."""
    return "|".join(pattern for holiday in HOLIDAYS if (pattern := holiday.pattern(language)))


def _holiday(match: re.Match[str]) -> Holiday:
    start, end = match.span("holiday")
    # On the whole text: a name may look at what follows it.
    found = ((pattern.match(match.string, start), holiday) for pattern, holiday in _NAMED)
    return next(holiday for name, holiday in found if name and name.end() == end)


def read_holiday(match: re.Match[str], calendar: Calendar) -> Period | None:
    """Read a holiday, its day proper (国庆当天), or the days and weeks just before or after it."""
    holiday = _holiday(match)
    period = _near_holiday(match, holiday, calendar)
    if _group(match, "itself"):
        return day_of(holiday.day(period.first.year))
    side = _group(match, "side")
    if side is None:
        return period
    count, grain = _amount(match)
    if side in {"前", "before"}:
        return _span(_moved(period.first, -count, grain), period.first)
    return _span(period.end, _moved(period.end, count, grain))


def _span(first: date, end: date) -> Period | None:
    if first >= end:
        return None
    return day_of(first) if end - first == timedelta(days=1) else Period(first, end, Grain.RANGE)


def _near_holiday(match: re.Match[str], holiday: Holiday, calendar: Calendar) -> Period:
    """Return the holiday of the year that is said, the latest that has begun, or the next one."""
    today = calendar.today
    year = _year_of(match, today.year)
    which = _group(match, "which")
    if year is not None or which == "this":
        return holiday.in_year(today.year if year is None else year)
    if which in {"next", "下"}:
        return next(p for p in (holiday.in_year(today.year), holiday.in_year(today.year + 1)) if p.first > today)
    period = holiday.in_year(today.year)
    begun = period.end if which in {"last", "上"} else period.first
    return period if begun <= today else holiday.in_year(today.year - 1)
