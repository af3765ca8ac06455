"""Holidays: what they are called and the days they fall on.

A name stands for the day of the festival, save for the three that people speak of as a holiday of several days:
国庆 is 1 to 7 October, 五一 is 1 to 5 May, 春节 is New Year's Eve and the six days after it. These are the days
off of most years; the schedule that the government announces moves a day or two between years.

The lunar festivals stand in tables for 2015 to 2035. A year beyond them has no date rather than a wrong one.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from .language import Language
from .periods import Grain, Period

_FIRST_YEAR = 2015
# Month and day as one number: 219 is 19 February.
_NEW_YEAR = (
    219, 208, 128, 216, 205, 125, 212, 201, 122, 210, 129,
    217, 206, 126, 213, 203, 123, 211, 131, 219, 208,
)  # fmt: skip
_DRAGON_BOAT = (
    620, 609, 530, 618, 607, 625, 614, 603, 622, 610, 531,
    619, 609, 528, 616, 605, 624, 612, 601, 620, 610,
)  # fmt: skip
_QIXI = (
    820, 809, 828, 817, 807, 825, 814, 804, 822, 810, 829,
    819, 808, 826, 816, 805, 824, 812, 801, 820, 810,
)  # fmt: skip
_MID_AUTUMN = (
    927, 915, 1004, 924, 913, 1001, 921, 910, 929, 917, 1006,
    925, 915, 1003, 922, 912, 1001, 919, 908, 927, 916,
)  # fmt: skip
_TOMB_SWEEPING = tuple(404 if year % 4 < 2 else 405 for year in range(_FIRST_YEAR, _FIRST_YEAR + len(_NEW_YEAR)))

_Dated = Callable[[int], date]


@dataclass(frozen=True, slots=True)
class Holiday:
    """A holiday: its names, its day in a year, and the days off around it; `zh` and `en` are expressions."""

    names: tuple[str, str]
    day: _Dated
    zh: str | None = None
    en: str | None = None
    days: int = 1
    opens: int = 0
    """When the days off begin, in days from the day itself."""

    def in_year(self, year: int) -> Period:
        """Return the holiday in a calendar year; raises ValueError where the tables end."""
        first = self.day(year) + timedelta(days=self.opens)
        return Period(first, first + timedelta(days=self.days), Grain.HOLIDAY, names=self.names)

    def pattern(self, language: Language) -> str | None:
        """Return the pattern of the names in `language`, None if it has none there."""
        return self.zh if language is Language.ZH else self.en


def _on(month: int, day: int) -> _Dated:
    return lambda year: date(year, month, day)


def _weekday(month: int, weekday: int, nth: int) -> _Dated:
    """Date the `nth` weekday (0 is Monday) of a month."""

    def dated(year: int) -> date:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))

    return dated


def _last_monday_of_may(year: int) -> date:
    last = date(year, 5, 31)
    return last - timedelta(days=last.weekday())


def _lunar(table: Sequence[int]) -> _Dated:
    def dated(year: int) -> date:
        if not _FIRST_YEAR <= year < _FIRST_YEAR + len(table):
            raise ValueError(f"the lunar tables have no {year}")
        return date(year, *divmod(table[year - _FIRST_YEAR], 100))

    return dated


def _after(dated: _Dated, days: int) -> _Dated:
    return lambda year: dated(year) + timedelta(days=days)


def _easter(year: int) -> date:
    """Date Easter Sunday, by the anonymous Gregorian computus (Meeus, Astronomical Algorithms, chapter 8)."""
    century, within = divmod(year, 100)
    golden = year % 19
    leaps, leap_rest = divmod(century, 4)
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leaps - correction + 15) % 30
    quarter, quarter_rest = divmod(within, 4)
    to_sunday = (32 + 2 * leap_rest + 2 * quarter - epact - quarter_rest) % 7
    late = (golden + 11 * epact + 22 * to_sunday) // 451
    month, day = divmod(epact + to_sunday - 7 * late + 114, 31)
    return date(year, month, day + 1)


_NEW_MOON_YEAR = _lunar(_NEW_YEAR)
_THANKSGIVING = _weekday(11, calendar.THURSDAY, 4)
_OFF = "(?:节?(?:期间|长假|小长假|假期|黄金周)|节)?"

HOLIDAYS = (
    Holiday(
        ("国庆", "Golden Week"),
        _on(10, 1),
        f"国庆{_OFF}|十一(?:期间|长假|假期|黄金周)|黄金周(?!刊)",
        "golden week",
        days=7,
    ),
    Holiday(("春节", "Spring Festival"), _NEW_MOON_YEAR, f"春节{_OFF}", "spring festival", days=7, opens=-1),
    Holiday(("五一", "May Day holiday"), _on(5, 1), f"(?:五一)?劳动节{_OFF}|五一{_OFF}", "may day holiday", days=5),
    Holiday(("除夕", "Chinese New Year's Eve"), _after(_NEW_MOON_YEAR, -1), "除夕", "(?:chinese|lunar) new year's eve"),
    Holiday(("大年初一", "Chinese New Year"), _NEW_MOON_YEAR, "(?:大年|正月)初一", "(?:chinese|lunar) new year"),
    Holiday(("元宵节", "Lantern Festival"), _after(_NEW_MOON_YEAR, 14), "元宵节", "lantern festival"),
    Holiday(
        ("清明节", "Qingming Festival"),
        _lunar(_TOMB_SWEEPING),
        "清明节?",
        "(?:qingming|tomb[- ]sweeping)(?: day| festival)",
    ),
    Holiday(("端午节", "Dragon Boat Festival"), _lunar(_DRAGON_BOAT), "端午节?", "dragon[- ]boat festival"),
    Holiday(("七夕", "Qixi Festival"), _lunar(_QIXI), "七夕节?", "qixi festival"),
    Holiday(("中秋节", "Mid-Autumn Festival"), _lunar(_MID_AUTUMN), "中秋节?", "mid[- ]autumn(?: festival| day)"),
    Holiday(("元旦", "New Year's Day"), _on(1, 1), "元旦节?", r"new year'?s day|new year(?=,? (?:of )?20\d\d)"),
    Holiday(("情人节", "Valentine's Day"), _on(2, 14), "情人节", "valentine'?s day"),
    Holiday(("妇女节", "Women's Day"), _on(3, 8), "(?:三八)?妇女节", "(?:international )?women'?s day"),
    Holiday(("儿童节", "Children's Day"), _on(6, 1), "(?:六一)?儿童节(?!目)", "children'?s day"),
    Holiday(("618", "618"), _on(6, 18), r"(?<=年)618(?!\d)|(?<!\d)618(?=大促|期间|活动|购物节|促销|当[天日])"),
    Holiday(("教师节", "Teachers' Day"), _on(9, 10), "教师节", "teachers'? day"),
    Holiday(("双十一", "Singles' Day"), _on(11, 11), "双(?:十一|11)", "singles'? day|double 11"),
    Holiday(("双十二", "Double 12"), _on(12, 12), "双(?:十二|12)", "double 12"),
    Holiday(("平安夜", "Christmas Eve"), _on(12, 24), "平安夜", "christmas eve"),
    Holiday(("圣诞节", "Christmas"), _on(12, 25), "圣诞节?", "christmas(?: day)?|xmas"),
    Holiday(("节礼日", "Boxing Day"), _on(12, 26), None, "boxing day"),
    Holiday(("跨年夜", "New Year's Eve"), _on(12, 31), "跨年夜", "new year'?s eve"),
    Holiday(("母亲节", "Mother's Day"), _weekday(5, calendar.SUNDAY, 2), "母亲节", "mother'?s day"),
    Holiday(("父亲节", "Father's Day"), _weekday(6, calendar.SUNDAY, 3), "父亲节", "father'?s day"),
    Holiday(("美国阵亡将士纪念日", "Memorial Day"), _last_monday_of_may, None, "memorial day"),
    Holiday(("美国独立日", "Independence Day"), _on(7, 4), "美国独立日", "independence day"),
    Holiday(("美国劳动节", "Labor Day"), _weekday(9, calendar.MONDAY, 1), "美国劳动节", "labou?r day"),
    Holiday(("万圣节", "Halloween"), _on(10, 31), "万圣节", "halloween"),
    Holiday(("感恩节", "Thanksgiving"), _THANKSGIVING, "感恩节", "thanksgiving(?: day)?"),
    Holiday(("黑色星期五", "Black Friday"), _after(_THANKSGIVING, 1), "黑五|黑色星期五", "black friday"),
    Holiday(("网络星期一", "Cyber Monday"), _after(_THANKSGIVING, 4), "网络星期一", "cyber monday"),
    Holiday(("耶稣受难日", "Good Friday"), _after(_easter, -2), "耶稣受难日", "good friday"),
    Holiday(("复活节星期一", "Easter Monday"), _after(_easter, 1), "复活节星期一", "easter monday"),
    Holiday(("复活节", "Easter"), _easter, "复活节", "easter(?: sunday)?"),
)
"""Every holiday that `find_dates` knows; a name that begins with another stands before it."""
