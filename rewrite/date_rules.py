"""Which words are date expressions: one list of rules a language, the more specific before the general.

In the patterns a blank stands for one to three white-space characters and `~` for none to three: every run is
bounded, so a hostile text takes linear time. Texts are folded before they are matched: no capitals, no full-width
forms. A group `core` marks what to replace where a rule needs words around it ("in May").
"""

# ruff: noqa: E501 -- a table of patterns, one a line
from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from .date_readers import (
    EN_NUMBERS,
    Reader,
    expression,
    holiday_names,
    read_a_year_ago,
    read_ago,
    read_coming,
    read_day,
    read_days,
    read_decade,
    read_edge,
    read_first_quarters,
    read_half,
    read_holiday,
    read_iso,
    read_later,
    read_month,
    read_month_part,
    read_months,
    read_numbered_week,
    read_quarter,
    read_quarter_part,
    read_recent,
    read_same_period,
    read_shifted,
    read_to_date,
    read_week_of,
    read_weekday,
    read_weekday_of_week,
    read_weekend,
    read_year,
    read_year_part,
    read_years,
    shifted,
)
from .language import Language
from .periods import MONTHS, Grain


class Cycle(StrEnum):
    """What an expression comes back with unless it says which one it means: "Monday" every week."""

    WEEK = "week"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern over folded text, what it means, and how it comes back."""

    pattern: re.Pattern[str]
    read: Reader
    cycle: Cycle | None = None


def _rule(pattern: str, read: Reader, cycle: Cycle | None = None) -> Rule:
    return Rule(expression(pattern), read, cycle)


# ---------------------------------------------------------------------------------------- both languages

_NO_CODE_BEFORE = r"(?<![a-z0-9_./-])"  # 2024-03-15 within SKU-2024-03-15 is no date
_NO_CODE_AFTER = r"(?![a-z0-9_]|[./-][a-z0-9])"
_CENTURY_YEAR = r"(?P<year>(?<!\d)(?:19|20)\d{2})"
_QUARTER_YEAR = rf"(?:{_CENTURY_YEAR}|(?P<short_year>\d{{2}}))"
_ORDER_NUMBER = r"(?<!order\x20)(?<![单号])(?<![#:])"

_IN_DIGITS = [
    _rule(rf"{_NO_CODE_BEFORE}{_CENTURY_YEAR}(?P<sep>[-/.])(?P<m>\d{{1,2}})(?P=sep)(?P<day>\d{{1,2}}){_NO_CODE_AFTER}", read_iso),
    _rule(rf"{_NO_CODE_BEFORE}(?P<m>\d{{1,2}})/(?P<day>\d{{1,2}})/{_QUARTER_YEAR}{_NO_CODE_AFTER}", read_iso),
    _rule(rf"{_NO_CODE_BEFORE}{_ORDER_NUMBER}(?P<year>20\d{{2}})(?P<m>\d{{2}})(?P<day>\d{{2}}){_NO_CODE_AFTER}", read_iso),
    _rule(rf"{_NO_CODE_BEFORE}{_CENTURY_YEAR}[-/](?P<m>0[1-9]|1[0-2]){_NO_CODE_AFTER}(?!~年)", read_iso),
    _rule(rf"(?<![a-z0-9])q(?P<q>[1-4])~fy~{_QUARTER_YEAR}(?!\d)", read_quarter),
    _rule(rf"(?<![a-z0-9])fy~{_QUARTER_YEAR}~q(?P<q>[1-4])(?![0-9a-z])", read_quarter),
]  # fmt: skip


# ---------------------------------------------------------------------------------------------- Chinese

_N_ZH = r"(?<![\d一二两三四五六七八九十])(?P<n>\d{1,3}|[一二两三四五六七八九十]{1,3}|半)"
_UNIT_ZH = "个?小时|天|日|周|个?星期|个?礼拜|个月|个?季度|年"
_TO_ZH = r"~(?:[-\x7e–—至到])~"
_UP = "(?<![线网晚早马加以之身])上"  # not the end of 线上, 早上, 加上
_DOWN = "(?<![一线以之地乡])下"  # not the end of 一下, 线下, 以下
_THIS = "(?<![日基样版])本"  # not the end of 日本, 版本
_SAID_ZH = (
    rf"(?P<said_year>[今去]年|{_THIS}年度?|{_UP}一?年度?|(?<![目以之从])大?前年(?![龄轻])|明年|(?<![以之然])后年)"
)
_FISCAL_ZH = "(?P<said_year>[本上下]一?个?财年)"
_YEAR_ZH = r"(?P<year>(?<!\d)(?:19|20)\d{2}|(?:一九|二[零〇])[零〇一二三四五六七八九]{2})"
_SHORT_ZH = r"(?P<short_year>(?<!\d)\d{2})"
_YEAR_SAID = rf"(?:{_SAID_ZH}的?|(?:{_YEAR_ZH}|{_SHORT_ZH})~财?年度?的?)~"
_YEAR_BY_NUMBER = rf"(?:{_SAID_ZH}的?|{_YEAR_ZH}~(?:财?年度?)?的?|{_SHORT_ZH}~财?年度?的?)~"
_OF_YEAR_ZH = rf"(?<![\d年十上每])(?<!\d-)(?:{_YEAR_SAID})?"
_OF_NUMBER_ZH = rf"(?<![\d年十上每])(?<!\d-)(?:{_YEAR_BY_NUMBER})?"
_MONTHS_ZH = "1[0-2]|0?[1-9]|十[一二]?|[一二三四五六七八九]"
_MONTH_ZH = rf"(?P<month>{_MONTHS_ZH})~月"
_DAYS_ZH = r"\d{1,2}|[一二三]?十[一二三四五六七八九]?|[一二三四五六七八九]"
_DAY_END_ZH = "(?:日|号(?![线楼店机桌门院台]))"
_DAY_ZH = rf"(?P<day>{_DAYS_ZH})~{_DAY_END_ZH}"
_WHICH = rf"(?P<which>{_UP}上|大上|{_DOWN}下|{_UP}|{_DOWN}|{_THIS}|这)一?个?"
_WEEK_ZH = "(?:周|星期|礼拜)"
_PART_OF_DAY = r"(?=[晚早夜晨](?![期清]))"
# 5月花, 三月兔: names that begin like a month.
_NO_MONTH = r"(?!~\d+(?![\d\s]*月)|天演|花(?![费销了掉])|雪|兔|桂花|怀胎|不知|[球亮饼经刊牙])"
# 上周期, 上周转率, but not 上周转化率
_NO_WEEK = r"(?![边期岁年围]|刊(?![登发])|转(?![化发账入出正介让单运]))"
_NO_DURATION = "(?!可|能|无|不|未|免|退|换|送|到|发|完成|有效|必|需|的?质保)"
_SURNAME = "(?<![李张王刘陈杨赵黄吴徐孙马朱胡郭林罗郑梁谢])(?<!每年)"
_NO_FESTIVAL = "(?![路街道村镇桥]|广场|联欢|晚会|快乐|习俗|由来|传统|起源|祝福|贺卡)"

_ZH = [
    _rule(rf"{_OF_YEAR_ZH}(?P<month>{_MONTHS_ZH})~月?份?{_TO_ZH}(?P<following>[次来]年)?(?P<until>{_MONTHS_ZH})~月份?(?!~\d)", read_months),
    _rule(rf"{_OF_YEAR_ZH}{_MONTH_ZH}~{_DAY_ZH}{_TO_ZH}(?P<until>{_DAYS_ZH})~{_DAY_END_ZH}", read_days),
    _rule(rf"{_OF_YEAR_ZH}{_MONTH_ZH}~{_DAY_ZH}(?:~[(]?{_WEEK_ZH}[一二三四五六日天][)]?)?", read_day, Cycle.YEAR),
    _rule(rf"{_WHICH}月的?~{_DAY_ZH}", read_day),
    _rule(rf"{_OF_YEAR_ZH}{_MONTH_ZH}份?的?(?P<part>[上中下]旬|[初底末]|第一周)(?![刊薪])", read_month_part),
    _rule(rf"{_WHICH}月份?的?(?P<part>[上中下]旬|[初底末])(?![刊薪])", read_month_part),
    _rule(r"(?<![\d一二两三四五六七八九十每个])月(?P<part>[初底末])(?!薪)", read_month_part),
    _rule(r"(?<![每月])(?P<part>[上中下]旬)(?!刊)", read_month_part),
    _rule(rf"(?:{_YEAR_SAID})?{_MONTH_ZH}份?的?(?P<edge>前|头|最后){_N_ZH}~(?P<unit>天|周|个?星期)", read_edge),
    _rule(rf"(?:{_SAID_ZH}|{_YEAR_ZH}~年)的?(?P<edge>前|头|最后){_N_ZH}~(?P<unit>天|周|个?星期|个月)(?!前|后)", read_edge),
    _rule(rf"(?:最近|近|过去)的?~{_N_ZH}~(?P<unit>{_UNIT_ZH}|月(?!份))(?:[以之]?内)?", read_recent),
    _rule(rf"{_N_ZH}~(?P<unit>天|周|个?星期|个月|年)[以之]?内{_NO_DURATION}", read_recent),
    _rule(rf"(?:未来|接下来|今后)的?~{_N_ZH}~(?P<unit>天|周|个?星期|个?礼拜|个月|个?季度|年)", read_coming),
    _rule(rf"{_N_ZH}~(?P<unit>天|周|个?星期|个?礼拜|个月|年)以?前", read_ago),
    _rule(rf"(?<![单款收到买用册货署效期满]){_N_ZH}~(?P<unit>天|周|个?星期)以?后{_NO_DURATION}", read_later),
    _rule(rf"(?:{_YEAR_SAID}|(?P<which>[上下])一?个)?{_SURNAME}(?P<holiday>{holiday_names(Language.ZH)}){_NO_FESTIVAL}"
          rf"(?:(?P<itself>当[天日])|(?P<side>[前后])~{_N_ZH}~(?P<unit>[天日周]|个?星期))?", read_holiday, Cycle.YEAR),
    _rule(rf"{_OF_YEAR_ZH}{_MONTH_ZH}份?{_NO_MONTH}", read_month, Cycle.YEAR),
    _rule(rf"{_OF_YEAR_ZH}前~(?P<n>[二三两23])~个?季度", read_first_quarters),
    _rule(rf"{_YEAR_BY_NUMBER}(?P<q>最后)一?个季度", read_quarter),
    _rule(rf"{_OF_NUMBER_ZH}第~(?P<q>[一二三四1-4])~个?季度", read_quarter, Cycle.YEAR),
    _rule(rf"{_OF_YEAR_ZH}(?<![前近去每上下这])(?P<q>[一二三四1-4])~季度(?!假)", read_quarter, Cycle.YEAR),
    _rule(rf"(?<![a-z0-9])(?:{_YEAR_BY_NUMBER})?q(?P<q>[1-4])(?![0-9a-z])", read_quarter, Cycle.YEAR),
    _rule(rf"(?<![a-z0-9]){_YEAR_BY_NUMBER}h(?P<half>[12])(?![0-9a-z])", read_half),
    _rule(rf"(?:{_YEAR_BY_NUMBER})?(?P<half>[上下])半年", read_half),
    _rule(rf"(?<![a-z0-9])fy~{_QUARTER_YEAR}~(?P<half>[上下])半年", read_half),
    _rule(r"[去上]年同期", read_same_period),
    _rule(r"[去上]年同一?个?季度", read_same_period),
    _rule(r"去年(?:今[天日]|的?(?:这个时候|此时))", read_a_year_ago),
    _rule(rf"{_WHICH}{_WEEK_ZH}(?P<weekday>[一二三四五六日天])", read_weekday_of_week),
    _rule(rf"{_WHICH}周末", read_weekend),
    _rule(rf"(?<![每双半\d一二两三四五六七八九十几逢]){_WEEK_ZH}(?P<weekday>[一二三四五六日天])(?![次回期遍福年])", read_weekday, Cycle.WEEK),
    _rule(r"(?<![每逢])(?P<which>)周末(?!版|开门|营业|休息|上班|愉快|快乐)", read_weekend),
    _rule(r"前个(?P<unit>月)", shifted(Grain.MONTH, -2)),
    _rule(rf"{_WHICH}(?P<unit>{_WEEK_ZH}){_NO_WEEK}", read_shifted),
    _rule(rf"{_WHICH}(?P<unit>月)份?(?![球亮饼经刊牙])", read_shifted),
    _rule(r"(?P<which>当)(?P<unit>[周月]|季度?)(?![节年])", read_shifted),
    _rule(rf"{_WHICH}季度?(?P<part>[初底末])", read_quarter_part),
    _rule(rf"{_WHICH}(?P<unit>季度?)(?!节)", read_shifted),
    _rule(rf"{_YEAR_ZH}~年第(?P<week>\d{{1,2}})周", read_numbered_week),
    _rule(_FISCAL_ZH, read_year),
    _rule(rf"{_CENTURY_YEAR}~年?{_TO_ZH}(?P<until>(?:19|20)\d{{2}})~财?年度?(?!~\d{{1,2}}(?!\d))", read_years),
    _rule(r"(?:(?P<century>[上本]|20|21|二十|二十一)世纪|(?<![\d一二三四五六七八九十]))(?P<decade>(?:19|20)?\d0|[二三四五六七八九]?十)年代", read_decade),
    _rule(rf"(?:{_SAID_ZH}年?|{_YEAR_ZH}~年|(?<![\d一二两三四五六七八九十几每])年)(?P<part>[初底末])", read_year_part),
    _rule(rf"{_SAID_ZH}(?:全年)?(?![轮华])", read_year),
    _rule(rf"{_YEAR_ZH}~财?年度?(?:全年)?(?!~\d{{1,2}}(?!\d)|代)", read_year),
    _rule(r"大后[天日]", shifted(Grain.DAY, 3)),
    _rule(r"大前[天日]", shifted(Grain.DAY, -3)),
    _rule(r"(?<![以之目\d日周月])前(?:天(?![线窗鹅]|气(?!温))|(?=晚(?!期)))", shifted(Grain.DAY, -2)),
    _rule(r"(?<![以之然今天日周月年])后天(?![性养生]|气(?!温))", shifted(Grain.DAY, 2)),
    _rule(rf"昨(?:[天日]|{_PART_OF_DAY})", shifted(Grain.DAY, -1)),
    _rule(rf"今(?:[天日](?!头条)|{_PART_OF_DAY})", shifted(Grain.DAY, 0)),
    _rule(rf"明(?:[天日](?![系启])|{_PART_OF_DAY})", shifted(Grain.DAY, 1)),
]  # fmt: skip


# ---------------------------------------------------------------------------------------------- English

_N_EN = rf"(?P<n>\d{{1,3}}|half an?|half|{'|'.join(EN_NUMBERS)})"
_UNITS_EN = "days?|weeks?|fortnights?|months?|quarters?|years?|decades?"
_MONTHS_EN = "|".join(f"{name[:3]}(?:{name[3:]})?" for name in MONTHS if name != "september") + "|sept?(?:ember)?"
_DOT = r"(?:\.(?=\s{0,3}[\d,–-]))?"  # "Mar. 15", but not the end of a sentence
_MONTH_EN = rf"(?P<month>{_MONTHS_EN})\b{_DOT}"
_UNTIL_EN = rf"(?P<until>{_MONTHS_EN})\b{_DOT}"
_DAY_EN = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_WEEKDAYS_EN = "(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_WEEKDAY_EN = rf"(?P<weekday>{_WEEKDAYS_EN}|mon|tues?|weds?|thu(?:rs?)?|fri|sat|sun)\b"
_ON_WEEKDAY = rf"(?:(?:{_WEEKDAYS_EN}|mon|tue|wed|thu|fri|sat|sun),? )?"
_SAID_EN = "(?:the )?(?P<said_year>(?:last|previous|prior|this|current|next|coming) (?:fiscal |calendar )?year)"
_SHORT_EN = r"(?:fy~|')(?P<short_year>\d{2})"
_YEAR_EN = rf"(?:(?:fy~|fiscal (?:year )?)?{_CENTURY_YEAR}|{_SHORT_EN}|{_SAID_EN})\b"
_OF_YEAR_EN = rf",?~(?:(?:of|in) )?{_YEAR_EN}"
_OF_THE_YEAR = rf"(?:{_OF_YEAR_EN}| of the year\b|(?! of\b))"  # not half of a page
_AMOUNT_EN = rf"{_N_EN}[- ](?:fiscal )?(?P<unit>{_UNITS_EN})\b"
_HOURS_EN = rf"{_N_EN}[- ](?:fiscal )?(?P<unit>hours?|{_UNITS_EN})\b"
_PAST_EN = "(?:the )?(?:last|past|previous|prior|trailing|recent)"
_TO_EN = r"(?:~[-\x7e–—]~| (?:to|through|thru|until|till) )"
_QUARTERS_EN = "first|second|third|fourth|final|1st|2nd|3rd|4th"
_NO_VERB = r"(?! (?:i|we|you|he|she|it|they|be|have|not|madness)\b)"  # "in march i lost"
_BEFORE_MONTH = "in|for|of|since|during|about|by|until|till|through|before|after|from"
_CLEAR_MONTHS = "january|february|july|september|october|november|december"  # neither a verb nor a first name
_PART_EN = "early|mid|middle of|late|(?:beginning|start|end) of"
_SAME_YEAR = "(?:of |in )?(?:last year|the (?:previous|prior) year)"
_NO_FEAST = r"(?!-| (?:eggs?|trees?|turkey|costumes?|resolutions?|cards?|carols?|parade|bunny|recipes?|songs?)\b)"

_EN = [
    _rule(rf"\bweek (?P<week>\d{{1,2}})(?: of|,)? {_CENTURY_YEAR}\b", read_numbered_week),
    _rule(rf"\b{_CENTURY_YEAR}-?w(?P<week>\d{{2}})\b", read_numbered_week),
    _rule(rf"\b(?:the )?week of {_MONTH_EN} {_DAY_EN}\b(?:{_OF_YEAR_EN})?", read_week_of),
    _rule(rf"\b{_ON_WEEKDAY}{_MONTH_EN} {_DAY_EN}{_OF_YEAR_EN}", read_day),
    _rule(rf"\b(?:the )?{_DAY_EN}[- ](?:of )?{_MONTH_EN}(?:-|,?~(?:(?:of|in) )?){_YEAR_EN}", read_day),
    _rule(rf"\b{_MONTH_EN} {_DAY_EN}{_TO_EN}(?P<until>\d{{1,2}})(?:st|nd|rd|th)?\b(?! (?:{_MONTHS_EN})\b)(?:{_OF_YEAR_EN})?", read_days),
    _rule(rf"\b(?:from|between) {_MONTH_EN}(?:{_TO_EN}| and ){_UNTIL_EN}(?! \d{{1,2}}\b)(?:{_OF_YEAR_EN})?", read_months),
    _rule(rf"\b{_MONTH_EN}{_TO_EN}{_UNTIL_EN}(?! \d{{1,2}}\b)(?:{_OF_YEAR_EN})?", read_months),
    _rule(rf"\b{_ON_WEEKDAY}(?!may\b){_MONTH_EN} {_DAY_EN}\b(?![:%/]|[.]\d)", read_day, Cycle.YEAR),
    _rule(r"\b(?:on|since|from|until|by|before|after|to|and) (?P<core>(?P<month>may) (?P<day>\d{1,2})(?:st|nd|rd|th)?)\b", read_day, Cycle.YEAR),
    _rule(r"\b(?P<month>may) (?P<day>\d{1,2})(?:st|nd|rd|th)\b", read_day, Cycle.YEAR),
    _rule(rf"\b(?:the )?(?P<day>\d{{1,2}})(?:(?:st|nd|rd|th) (?:of )?|(?! (?:may|mar|sat|sun)\b) ){_MONTH_EN}", read_day, Cycle.YEAR),
    _rule(rf"\b(?:the )?{_DAY_EN} of (?P<which>last|this|next|the) month\b", read_day),
    _rule(rf"\b(?:the )?(?P<edge>first|last|final) {_AMOUNT_EN} (?:of|in) (?:{_MONTH_EN}(?:{_OF_YEAR_EN})?|(?:the )?(?P<which>last|this) month\b)", read_edge),
    _rule(rf"\b(?:the )?(?P<edge>first|last|final) {_AMOUNT_EN} (?:of|in) {_YEAR_EN}", read_edge),
    _rule(rf"\b(?:the )?(?P<part>(?:beginning|start|end) of) (?:q(?P<q>[1-4])\b(?:{_OF_YEAR_EN})?|(?:the )?(?:(?P<which>last|this|next) )?quarter\b)", read_quarter_part),
    _rule(rf"\b(?:the )?(?P<part>{_PART_EN}|(?:first|second) half of|first week of)[- ](?:the )?(?:{_MONTH_EN}(?:{_OF_YEAR_EN})?|(?:(?P<which>last|previous|this|next) )?month\b)", read_month_part),
    _rule(rf"\b(?:the )?(?P<part>{_PART_EN})[- ](?:in )?(?:the )?(?:{_YEAR_EN}|(?<!-)year\b)", read_year_part),
    _rule(rf"\b{_SAID_EN},? in {_MONTH_EN}", read_month),
    _rule(rf"\b{_MONTH_EN}{_OF_YEAR_EN}", read_month),
    _rule(rf"\b{_MONTH_EN}-(?P<short_year>\d{{2}})\b", read_month),
    _rule(rf"\b(?P<which>last|this past|this|next) {_MONTH_EN}{_NO_VERB}", read_month),
    _rule(rf"\b(?:{_BEFORE_MONTH}|and(?! (?:mar|may))) (?P<core>{_MONTH_EN}){_NO_VERB}", read_month, Cycle.YEAR),
    _rule(rf"\b(?P<month>{_CLEAR_MONTHS})\b(?! \d)", read_month, Cycle.YEAR),
    _rule(rf"\b{_CENTURY_YEAR}[- ]?q(?P<q>[1-4])\b", read_quarter),
    _rule(rf"\b{_SAID_EN}(?:'s)? (?:q(?=[1-4]))?(?P<q>[1-4]|{_QUARTERS_EN})(?: quarter|(?<=q[1-4]))\b", read_quarter),
    _rule(rf"\bq(?P<q>[1-4])\b(?:{_OF_YEAR_EN})?", read_quarter, Cycle.YEAR),
    _rule(rf"\b(?P<q>[1-4])q~{_QUARTER_YEAR}\b", read_quarter),
    _rule(rf"\b(?:the )?(?P<q>last) quarter{_OF_YEAR_EN}", read_quarter),
    _rule(rf"\b(?:the )?(?P<q>{_QUARTERS_EN}) quarter\b{_OF_THE_YEAR}", read_quarter, Cycle.YEAR),
    _rule(rf"\b(?:the )?first (?P<n>two|three|[23]) quarters\b{_OF_THE_YEAR}", read_first_quarters),
    _rule(rf"\b(?:the )?(?P<half>first|second) half\b(?!-){_OF_THE_YEAR}", read_half),
    _rule(rf"\bh(?P<half>[12]){_OF_YEAR_EN}", read_half),
    _rule(rf"\b(?P<half>[12])h~{_QUARTER_YEAR}\b", read_half),
    _rule(rf"\b{_CENTURY_YEAR}[- ]?h(?P<half>[12])\b", read_half),
    _rule(rf"\b(?:the )?same (?:period|month|time|quarter) {_SAME_YEAR}\b", read_same_period),
    _rule(r"\bthis (?:day|time) last year\b", read_a_year_ago),
    _rule(rf"\bthe (?:{_N_EN} )?(?:(?P<unit>days?|weeks?) (?P<side>before|after) )(?:the )?(?P<holiday>{holiday_names(Language.EN)})\b(?:{_OF_YEAR_EN})?", read_holiday),
    _rule(rf"\b{_SAID_EN}'s (?P<holiday>{holiday_names(Language.EN)})\b", read_holiday),
    _rule(rf"\b(?:(?P<which>last|this|next) )?(?P<holiday>{holiday_names(Language.EN)})\b{_NO_FEAST}(?:{_OF_YEAR_EN})?", read_holiday, Cycle.YEAR),
    _rule(rf"\b(?P<weekday>{_WEEKDAYS_EN})(?: of)? (?P<which>last|this|next) week\b", read_weekday_of_week),
    _rule(rf"\b(?P<which>last|this|next) week(?:'s)?(?: on)? {_WEEKDAY_EN}", read_weekday_of_week),
    _rule(rf"\bthe {_WEEKDAY_EN} (?P<which>before last)\b", read_weekday),
    _rule(rf"\b(?P<which>last|past|this past|this coming|this|next|coming) {_WEEKDAY_EN}", read_weekday),
    _rule(rf"\b(?P<weekday>{_WEEKDAYS_EN})(?={_TO_EN}{_WEEKDAYS_EN} (?:of )?(?:last|this|next) week\b)", read_weekday, Cycle.WEEK),
    _rule(rf"\b(?:on|since|from|until|by|before|after|to|through) (?P<core>(?P<weekday>{_WEEKDAYS_EN}))\b", read_weekday, Cycle.WEEK),
    _rule(r"\bthe weekend (?P<which>before last)\b", read_weekend),
    _rule(r"\b(?P<which>last|previous|this|next|over the) weekend\b", read_weekend),
    _rule(rf"\b{_PAST_EN} {_HOURS_EN}", read_recent),
    _rule(r"\b(?:the )?past(?P<n>) (?P<unit>day|week|month|quarter|year|fortnight|decade)\b", read_recent),
    _rule(rf"\b(?:the )?(?:next|coming|following) {_AMOUNT_EN}", read_coming),
    _rule(r"\bthe coming(?P<n>) (?P<unit>week|month|quarter|year)\b", read_coming),
    _rule(rf"\b{_AMOUNT_EN} from now\b", read_later),
    _rule(rf"\b{_HOURS_EN} ago\b", read_ago),
    _rule(r"\b(?P<unit>[ymqw])td\b", read_to_date),
    _rule(r"\b(?P<unit>year|quarter|month|week)[- ]to[- ]date\b", read_to_date),
    _rule(r"\b(?:so far|earlier) this (?P<unit>year|quarter|month|week)\b", read_to_date),
    _rule(r"\bthis (?P<unit>year|quarter|month|week) so far\b", read_to_date),
    _rule(r"\bthe (?P<unit>week|month|quarter|year) (?P<which>before last|after next)\b", read_shifted),
    _rule(r"\b(?:the )?(?P<which>last|previous|prior|this|current|next) (?:fiscal )?(?P<unit>week|month|quarter)\b", read_shifted),
    _rule(rf"\b{_SAID_EN}\b", read_year),
    _rule(rf"\b(?:the whole of |the year |calendar year |fiscal (?:year )?){_CENTURY_YEAR}\b", read_year),
    _rule(rf"\b(?:(?:from|between) )?{_CENTURY_YEAR}{_TO_EN}(?P<until>(?:19|20)\d{{2}})\b", read_years),
    _rule(rf"\bbetween {_CENTURY_YEAR} and (?P<until>(?:19|20)\d{{2}})\b", read_years),
    _rule(r"\b(?:the '?|')(?P<decade>[1-9]0)s\b", read_decade),
    _rule(r"\b(?:the )?(?P<decade>(?:19|20)\d0)s\b", read_decade),
    _rule(r"\b(?:the )?day before yesterday\b", shifted(Grain.DAY, -2)),
    _rule(r"\b(?:the )?day after tomorrow\b", shifted(Grain.DAY, 2)),
    _rule(r"\b(?:yesterday|last(?= night\b))\b", shifted(Grain.DAY, -1)),
    _rule(r"\b(?:(?<!usa\x20)today(?! show)|tonight|this(?= (?:morning|afternoon|evening)\b))\b", shifted(Grain.DAY, 0)),
    _rule(r"\btomorrow\b", shifted(Grain.DAY, 1)),
    _rule(rf"\b(?:in|for|of|since|during|by|until|before|after|through|throughout) (?P<core>{_CENTURY_YEAR})\b(?![-/.]\w)", read_year),
]  # fmt: skip

_FISCAL = _rule(rf"(?<![a-z0-9])fy~{_QUARTER_YEAR}(?![0-9a-z])", read_year)

RULES = {Language.ZH: [*_IN_DIGITS, *_ZH, _FISCAL], Language.EN: [*_IN_DIGITS, *_EN, _FISCAL]}
"""What find_dates tries, in this order; the first rule that takes a stretch of text keeps it."""
