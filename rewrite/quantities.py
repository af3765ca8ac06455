"""Numbers and amounts as people write them, made comparable: 1,200 = 1.2k = 一千二百; 5 GB = 5120 MB; 90 分钟 = 1.5 h.

The tables are small and closed; what they do not know is compared as it is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from .language import fold

_DIGITS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_TENS = {"十": 10, "百": 100, "千": 1_000}
_MYRIADS = {"亿": 10**8, "万": 10**4}
_SCALES = {
    "万亿": 10**12, "亿": 10**8, "万": 10**4, "千": 1_000, "百": 100,
    "k": 1_000, "thousand": 1_000, "million": 10**6, "billion": 10**9, "bn": 10**9,
}  # fmt: skip

_UNITS: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(factor))
    for dimension, units in {
        "length": {"mm 毫米": "1/1000", "cm 厘米": "1/100", "m 米 metre meter metres meters": "1",
                   "km 公里 千米 kilometre kilometer kilometres kilometers": "1000"},
        "mass": {"g 克 gram grams": "1", "斤": "500", "kg 公斤 千克 kilogram kilograms": "1000",
                 "吨 ton tons": "1000000"},
        "time": {"秒 秒钟 second seconds sec": "1", "分钟 minute minutes min mins": "60",
                 "小时 钟头 hour hours hr hrs h": "3600", "天 日 day days": "86400", "周 星期 week weeks": "604800"},
        "money": {"元 块 块钱 yuan rmb cny": "1"},
        "share": {"% percent": "1"},
    }.items()
    for names, factor in units.items()
    for name in names.split()
}  # fmt: skip
_BYTES = {"kb": 1, "mb": 2, "gb": 3, "tb": 4, "pb": 5}
"""Powers of 1,000 or of 1,024: people mean either."""

_ZH_NUMBER = "[零〇一二两三四五六七八九十百千万亿]+(?:点[零〇一二三四五六七八九]+)?"


def _any_of(words: object) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))  # type: ignore[call-overload]


_LATIN = r"[a-z]"
_QUANTITY = re.compile(
    rf"(?<![a-z0-9.,_])(?<![a-z][-/])(?P<share>百分之\s?)?"
    rf"(?:(?P<plain>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)|(?P<zh>{_ZH_NUMBER}))"
    rf"(?:\s?(?P<scale>{_any_of(_SCALES)})(?!{_LATIN}))?"
    rf"(?:[\s-]?(?P<unit>{_any_of([*_UNITS, *_BYTES])})(?!{_LATIN}))?"
    rf"(?![.,]?[\da-z_])"
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number at `start:end` of a text; `amounts` are its value in base units, empty where no known unit follows."""

    start: int
    end: int
    number: Fraction
    unit: str | None
    amounts: frozenset[tuple[str, Fraction]]

    def same(self, other: Quantity) -> bool:
        """Say whether both are the same amount, or the same bare number where this one has no unit."""
        return bool(self.amounts & other.amounts) if self.unit else self.number == other.number


def quantities(text: str) -> list[Quantity]:
    """Find the numbers of `text`, with the units that follow them.

    >>> [str(found.number) for found in quantities("1,200 or 一千二百 or 1.2k")]
    ['1200', '1200', '1200']
    """
    return [_quantity(match) for match in _QUANTITY.finditer(fold(text)) if _is_number(match)]


def _is_number(match: re.Match[str]) -> bool:
    """Tell 一千二百 and 三天 from 一下 and 万一: Chinese digits count in runs, or before a unit."""
    said = match["zh"]
    return said is None or bool(
        match["unit"] or match["share"] or (len(said) > 1 and said[0] not in _MYRIADS and said != "千万")
    )


def _quantity(match: re.Match[str]) -> Quantity:
    number = Fraction(match["plain"].replace(",", "")) if match["plain"] else _read_zh(match["zh"])
    number *= _SCALES.get(match["scale"] or "", 1)
    unit = "%" if match["share"] else match["unit"]
    return Quantity(*match.span(), number, unit, frozenset(_amounts(number, unit)))


def _amounts(number: Fraction, unit: str | None) -> list[tuple[str, Fraction]]:
    if unit in _BYTES:
        power = _BYTES[unit]
        return [("bytes of 1000", number * 1000**power), ("bytes of 1024", number * 1024**power)]
    if unit is None:
        return []
    dimension, factor = _UNITS[unit]
    return [(dimension, number * factor)]


def _read_zh(said: str) -> Fraction:
    """Read a Chinese numeral: 一千二百, 二〇二四, 三点五."""
    whole, _, decimals = said.partition("点")
    value = Fraction(_read_whole(whole))
    return value + sum(Fraction(_DIGITS[digit], 10 ** (i + 1)) for i, digit in enumerate(decimals))


def _read_whole(said: str) -> int:
    if all(char in _DIGITS for char in said):
        return int("0" + "".join(str(_DIGITS[char]) for char in said))
    for char, factor in _MYRIADS.items():
        before, found, after = said.rpartition(char)
        if found:
            return (_read_whole(before) or 1) * factor + _read_whole(after)
    section = digit = 0
    for char in said:
        section += (digit or 1) * _TENS[char] if char in _TENS else 0
        digit = _DIGITS.get(char, 0)
    return section + digit
