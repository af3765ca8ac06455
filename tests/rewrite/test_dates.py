"""Dates as people say them. The clock of the tables is Monday, 15 July 2024."""

import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.rewrite.dates import PERIOD_NAMES, Calendar, Grain, Period, find_dates, named_period
from querywright.rewrite.language import Language

TODAY = Calendar(date(2024, 7, 15))
FISCAL = Calendar(date(2024, 7, 15), fiscal_month=10)

# expression | first day | first day after | label
ZH = """
今天 | 2024-07-15 | 2024-07-16 | 2024 年 7 月 15 日
今日 | 2024-07-15 | 2024-07-16 | 2024 年 7 月 15 日
昨天 | 2024-07-14 | 2024-07-15 | 2024 年 7 月 14 日
昨日 | 2024-07-14 | 2024-07-15 | 2024 年 7 月 14 日
前天 | 2024-07-13 | 2024-07-14 | 2024 年 7 月 13 日
大前天 | 2024-07-12 | 2024-07-13 | 2024 年 7 月 12 日
3天前 | 2024-07-12 | 2024-07-13 | 2024 年 7 月 12 日
三天前 | 2024-07-12 | 2024-07-13 | 2024 年 7 月 12 日
十天以前 | 2024-07-05 | 2024-07-06 | 2024 年 7 月 5 日
本周 | 2024-07-15 | 2024-07-22 | 2024 年 7 月 15 日至 7 月 21 日
这周 | 2024-07-15 | 2024-07-22 | 2024 年 7 月 15 日至 7 月 21 日
这个星期 | 2024-07-15 | 2024-07-22 | 2024 年 7 月 15 日至 7 月 21 日
上周 | 2024-07-08 | 2024-07-15 | 2024 年 7 月 8 日至 7 月 14 日
上一周 | 2024-07-08 | 2024-07-15 | 2024 年 7 月 8 日至 7 月 14 日
上星期 | 2024-07-08 | 2024-07-15 | 2024 年 7 月 8 日至 7 月 14 日
上个礼拜 | 2024-07-08 | 2024-07-15 | 2024 年 7 月 8 日至 7 月 14 日
上上周 | 2024-07-01 | 2024-07-08 | 2024 年 7 月 1 日至 7 月 7 日
上上个星期 | 2024-07-01 | 2024-07-08 | 2024 年 7 月 1 日至 7 月 7 日
两周前 | 2024-07-01 | 2024-07-08 | 2024 年 7 月 1 日至 7 月 7 日
上周三 | 2024-07-10 | 2024-07-11 | 2024 年 7 月 10 日
上上周三 | 2024-07-03 | 2024-07-04 | 2024 年 7 月 3 日
本周五 | 2024-07-19 | 2024-07-20 | 2024 年 7 月 19 日
下周二 | 2024-07-23 | 2024-07-24 | 2024 年 7 月 23 日
上星期天 | 2024-07-14 | 2024-07-15 | 2024 年 7 月 14 日
上礼拜六 | 2024-07-13 | 2024-07-14 | 2024 年 7 月 13 日
本月 | 2024-07-01 | 2024-08-01 | 2024 年 7 月
这个月 | 2024-07-01 | 2024-08-01 | 2024 年 7 月
当月 | 2024-07-01 | 2024-08-01 | 2024 年 7 月
上月 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
上个月 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
上一个月 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
上月份 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
上上个月 | 2024-05-01 | 2024-06-01 | 2024 年 5 月
前个月 | 2024-05-01 | 2024-06-01 | 2024 年 5 月
2个月前 | 2024-05-01 | 2024-06-01 | 2024 年 5 月
十二个月前 | 2023-07-01 | 2023-08-01 | 2023 年 7 月
6月 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
六月份 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
7月 | 2024-07-01 | 2024-08-01 | 2024 年 7 月
9月 | 2023-09-01 | 2023-10-01 | 2023 年 9 月
十二月 | 2023-12-01 | 2024-01-01 | 2023 年 12 月
2024年6月 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
2024 年 06 月份 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
２０２４年６月 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
二零二三年六月 | 2023-06-01 | 2023-07-01 | 2023 年 6 月
去年6月 | 2023-06-01 | 2023-07-01 | 2023 年 6 月
今年的3月 | 2024-03-01 | 2024-04-01 | 2024 年 3 月
前年五月 | 2022-05-01 | 2022-06-01 | 2022 年 5 月
明年1月 | 2025-01-01 | 2025-02-01 | 2025 年 1 月
6月30日 | 2024-06-30 | 2024-07-01 | 2024 年 6 月 30 日
6 月 30 号 | 2024-06-30 | 2024-07-01 | 2024 年 6 月 30 日
十月一日 | 2023-10-01 | 2023-10-02 | 2023 年 10 月 1 日
2月29日 | 2024-02-29 | 2024-03-01 | 2024 年 2 月 29 日
去年12月31日 | 2023-12-31 | 2024-01-01 | 2023 年 12 月 31 日
2024年6月30日 | 2024-06-30 | 2024-07-01 | 2024 年 6 月 30 日
2024-06-30 | 2024-06-30 | 2024-07-01 | 2024 年 6 月 30 日
2024/6/3 | 2024-06-03 | 2024-06-04 | 2024 年 6 月 3 日
1-6月 | 2024-01-01 | 2024-07-01 | 2024 年 1 月 1 日至 6 月 30 日
1～3月份 | 2024-01-01 | 2024-04-01 | 2024 年 1 月 1 日至 3 月 31 日
6月到8月 | 2024-06-01 | 2024-09-01 | 2024 年 6 月 1 日至 8 月 31 日
2022年1月至3月 | 2022-01-01 | 2022-04-01 | 2022 年 1 月 1 日至 3 月 31 日
去年11月至2月 | 2023-11-01 | 2024-03-01 | 2023 年 11 月 1 日至 2024 年 2 月 29 日
一季度 | 2024-01-01 | 2024-04-01 | 2024 年 Q1
第二季度 | 2024-04-01 | 2024-07-01 | 2024 年 Q2
第3季度 | 2024-07-01 | 2024-10-01 | 2024 年 Q3
第四个季度 | 2023-10-01 | 2024-01-01 | 2023 年 Q4
去年四季度 | 2023-10-01 | 2024-01-01 | 2023 年 Q4
2023年第三季度 | 2023-07-01 | 2023-10-01 | 2023 年 Q3
Q1 | 2024-01-01 | 2024-04-01 | 2024 年 Q1
q4 | 2023-10-01 | 2024-01-01 | 2023 年 Q4
2023Q3 | 2023-07-01 | 2023-10-01 | 2023 年 Q3
2023 Q3 | 2023-07-01 | 2023-10-01 | 2023 年 Q3
去年Q4 | 2023-10-01 | 2024-01-01 | 2023 年 Q4
Q3 FY23 | 2023-07-01 | 2023-10-01 | 2023 年 Q3
FY2023 Q3 | 2023-07-01 | 2023-10-01 | 2023 年 Q3
上季度 | 2024-04-01 | 2024-07-01 | 2024 年 Q2
上一季度 | 2024-04-01 | 2024-07-01 | 2024 年 Q2
上个季度 | 2024-04-01 | 2024-07-01 | 2024 年 Q2
本季度 | 2024-07-01 | 2024-10-01 | 2024 年 Q3
这个季度 | 2024-07-01 | 2024-10-01 | 2024 年 Q3
前三季度 | 2024-01-01 | 2024-10-01 | 2024 年 1 月 1 日至 9 月 30 日
去年前两个季度 | 2023-01-01 | 2023-07-01 | 2023 年 1 月 1 日至 6 月 30 日
上半年 | 2024-01-01 | 2024-07-01 | 2024 年上半年
去年下半年 | 2023-07-01 | 2024-01-01 | 2023 年下半年
2023年下半年 | 2023-07-01 | 2024-01-01 | 2023 年下半年
今年 | 2024-01-01 | 2025-01-01 | 2024 年
去年 | 2023-01-01 | 2024-01-01 | 2023 年
前年 | 2022-01-01 | 2023-01-01 | 2022 年
上一年 | 2023-01-01 | 2024-01-01 | 2023 年
2022年 | 2022-01-01 | 2023-01-01 | 2022 年
二〇二二年 | 2022-01-01 | 2023-01-01 | 2022 年
3年前 | 2021-01-01 | 2022-01-01 | 2021 年
去年同期 | 2023-06-01 | 2023-07-01 | 2023 年 6 月
近7天 | 2024-07-09 | 2024-07-16 | 2024 年 7 月 9 日至 7 月 15 日
近 7 天 | 2024-07-09 | 2024-07-16 | 2024 年 7 月 9 日至 7 月 15 日
最近三十天 | 2024-06-16 | 2024-07-16 | 2024 年 6 月 16 日至 7 月 15 日
过去两周 | 2024-07-02 | 2024-07-16 | 2024 年 7 月 2 日至 7 月 15 日
近三个月 | 2024-04-16 | 2024-07-16 | 2024 年 4 月 16 日至 7 月 15 日
近三月 | 2024-04-16 | 2024-07-16 | 2024 年 4 月 16 日至 7 月 15 日
近半年 | 2024-01-16 | 2024-07-16 | 2024 年 1 月 16 日至 7 月 15 日
近一年 | 2023-07-16 | 2024-07-16 | 2023 年 7 月 16 日至 2024 年 7 月 15 日
今年以来 | 2024-01-01 | 2024-07-16 | 2024 年 1 月 1 日至 7 月 15 日
年初至今 | 2024-01-01 | 2024-07-16 | 2024 年 1 月 1 日至 7 月 15 日
"""

ZH_FISCAL = """
上季度 | 2024-04-01 | 2024-07-01 | 2024 年 Q3
本季度 | 2024-07-01 | 2024-10-01 | 2024 年 Q4
Q1 | 2023-10-01 | 2024-01-01 | 2024 年 Q1
一季度 | 2023-10-01 | 2024-01-01 | 2024 年 Q1
2023财年第三季度 | 2023-04-01 | 2023-07-01 | 2023 年 Q3
去年四季度 | 2023-07-01 | 2023-10-01 | 2023 年 Q4
上半年 | 2023-10-01 | 2024-04-01 | 2024 年上半年
前三季度 | 2023-10-01 | 2024-07-01 | 2023 年 10 月 1 日至 2024 年 6 月 30 日
今年 | 2023-10-01 | 2024-10-01 | 2024 年
2024财年 | 2023-10-01 | 2024-10-01 | 2024 年
年初至今 | 2023-10-01 | 2024-07-16 | 2023 年 10 月 1 日至 2024 年 7 月 15 日
上月 | 2024-06-01 | 2024-07-01 | 2024 年 6 月
去年6月 | 2023-06-01 | 2023-07-01 | 2023 年 6 月
近7天 | 2024-07-09 | 2024-07-16 | 2024 年 7 月 9 日至 7 月 15 日
"""

EN = """
today | 2024-07-15 | 2024-07-16 | July 15, 2024
yesterday | 2024-07-14 | 2024-07-15 | July 14, 2024
the day before yesterday | 2024-07-13 | 2024-07-14 | July 13, 2024
3 days ago | 2024-07-12 | 2024-07-13 | July 12, 2024
a day ago | 2024-07-14 | 2024-07-15 | July 14, 2024
this week | 2024-07-15 | 2024-07-22 | July 15 to July 21, 2024
current week | 2024-07-15 | 2024-07-22 | July 15 to July 21, 2024
last week | 2024-07-08 | 2024-07-15 | July 8 to July 14, 2024
previous week | 2024-07-08 | 2024-07-15 | July 8 to July 14, 2024
two weeks ago | 2024-07-01 | 2024-07-08 | July 1 to July 7, 2024
this month | 2024-07-01 | 2024-08-01 | July 2024
last month | 2024-06-01 | 2024-07-01 | June 2024
LAST MONTH | 2024-06-01 | 2024-07-01 | June 2024
prior month | 2024-06-01 | 2024-07-01 | June 2024
the month before last | 2024-05-01 | 2024-06-01 | May 2024
two months ago | 2024-05-01 | 2024-06-01 | May 2024
13 months ago | 2023-06-01 | 2023-07-01 | June 2023
June 2024 | 2024-06-01 | 2024-07-01 | June 2024
june, 2024 | 2024-06-01 | 2024-07-01 | June 2024
june of 2024 | 2024-06-01 | 2024-07-01 | June 2024
Jun 2024 | 2024-06-01 | 2024-07-01 | June 2024
jun. 2024 | 2024-06-01 | 2024-07-01 | June 2024
sept 2023 | 2023-09-01 | 2023-10-01 | September 2023
may 2024 | 2024-05-01 | 2024-06-01 | May 2024
december last year | 2023-12-01 | 2024-01-01 | December 2023
june of last year | 2023-06-01 | 2023-07-01 | June 2023
june this year | 2024-06-01 | 2024-07-01 | June 2024
june 30, 2024 | 2024-06-30 | 2024-07-01 | June 30, 2024
June 30th, 2024 | 2024-06-30 | 2024-07-01 | June 30, 2024
june 1st 2024 | 2024-06-01 | 2024-06-02 | June 1, 2024
30 June 2023 | 2023-06-30 | 2023-07-01 | June 30, 2023
30th of June 2023 | 2023-06-30 | 2023-07-01 | June 30, 2023
feb 29 2024 | 2024-02-29 | 2024-03-01 | February 29, 2024
2024-06-30 | 2024-06-30 | 2024-07-01 | June 30, 2024
2024/6/3 | 2024-06-03 | 2024-06-04 | June 3, 2024
from june to august 2024 | 2024-06-01 | 2024-09-01 | June 1 to August 31, 2024
between june and august | 2024-06-01 | 2024-09-01 | June 1 to August 31, 2024
from november to february 2024 | 2023-11-01 | 2024-03-01 | November 1, 2023 to February 29, 2024
jan-mar 2024 | 2024-01-01 | 2024-04-01 | January 1 to March 31, 2024
q1 | 2024-01-01 | 2024-04-01 | Q1 2024
Q2 | 2024-04-01 | 2024-07-01 | Q2 2024
q3 | 2024-07-01 | 2024-10-01 | Q3 2024
q4 | 2023-10-01 | 2024-01-01 | Q4 2023
Q3 2023 | 2023-07-01 | 2023-10-01 | Q3 2023
q3, 2023 | 2023-07-01 | 2023-10-01 | Q3 2023
Q3 of 2023 | 2023-07-01 | 2023-10-01 | Q3 2023
2023 Q3 | 2023-07-01 | 2023-10-01 | Q3 2023
2023Q3 | 2023-07-01 | 2023-10-01 | Q3 2023
q3 fy23 | 2023-07-01 | 2023-10-01 | Q3 2023
Q3 FY2023 | 2023-07-01 | 2023-10-01 | Q3 2023
FY23 Q3 | 2023-07-01 | 2023-10-01 | Q3 2023
q4 last year | 2023-10-01 | 2024-01-01 | Q4 2023
q1 this year | 2024-01-01 | 2024-04-01 | Q1 2024
first quarter | 2024-01-01 | 2024-04-01 | Q1 2024
fourth quarter | 2023-10-01 | 2024-01-01 | Q4 2023
third quarter of 2023 | 2023-07-01 | 2023-10-01 | Q3 2023
third quarter of last year | 2023-07-01 | 2023-10-01 | Q3 2023
second quarter of the year | 2024-04-01 | 2024-07-01 | Q2 2024
this quarter | 2024-07-01 | 2024-10-01 | Q3 2024
last quarter | 2024-04-01 | 2024-07-01 | Q2 2024
last fiscal quarter | 2024-04-01 | 2024-07-01 | Q2 2024
first half | 2024-01-01 | 2024-07-01 | first half of 2024
first half of the year | 2024-01-01 | 2024-07-01 | first half of 2024
second half of 2023 | 2023-07-01 | 2024-01-01 | second half of 2023
second half of last year | 2023-07-01 | 2024-01-01 | second half of 2023
H1 2024 | 2024-01-01 | 2024-07-01 | first half of 2024
2023 H2 | 2023-07-01 | 2024-01-01 | second half of 2023
this year | 2024-01-01 | 2025-01-01 | 2024
last year | 2023-01-01 | 2024-01-01 | 2023
next year | 2025-01-01 | 2026-01-01 | 2025
3 years ago | 2021-01-01 | 2022-01-01 | 2021
a year ago | 2023-01-01 | 2024-01-01 | 2023
fy23 | 2023-01-01 | 2024-01-01 | 2023
fiscal year 2023 | 2023-01-01 | 2024-01-01 | 2023
last fiscal year | 2023-01-01 | 2024-01-01 | 2023
same period last year | 2023-06-01 | 2023-07-01 | June 2023
the same month last year | 2023-06-01 | 2023-07-01 | June 2023
last 7 days | 2024-07-09 | 2024-07-16 | July 9 to July 15, 2024
the past 30 days | 2024-06-16 | 2024-07-16 | June 16 to July 15, 2024
past seven days | 2024-07-09 | 2024-07-16 | July 9 to July 15, 2024
previous 2 weeks | 2024-07-02 | 2024-07-16 | July 2 to July 15, 2024
last three months | 2024-04-16 | 2024-07-16 | April 16 to July 15, 2024
the last 12 months | 2023-07-16 | 2024-07-16 | July 16, 2023 to July 15, 2024
past year | 2023-07-16 | 2024-07-16 | July 16, 2023 to July 15, 2024
the past week | 2024-07-09 | 2024-07-16 | July 9 to July 15, 2024
ytd | 2024-01-01 | 2024-07-16 | January 1 to July 15, 2024
year to date | 2024-01-01 | 2024-07-16 | January 1 to July 15, 2024
so far this year | 2024-01-01 | 2024-07-16 | January 1 to July 15, 2024
"""

EN_FISCAL = """
last quarter | 2024-04-01 | 2024-07-01 | Q3 2024
this quarter | 2024-07-01 | 2024-10-01 | Q4 2024
q1 | 2023-10-01 | 2024-01-01 | Q1 2024
q3 fy24 | 2024-04-01 | 2024-07-01 | Q3 2024
fy24 q4 | 2024-07-01 | 2024-10-01 | Q4 2024
first half of 2024 | 2023-10-01 | 2024-04-01 | first half of 2024
last fiscal year | 2022-10-01 | 2023-10-01 | 2023
fy2024 | 2023-10-01 | 2024-10-01 | 2024
ytd | 2023-10-01 | 2024-07-16 | October 1, 2023 to July 15, 2024
last month | 2024-06-01 | 2024-07-01 | June 2024
december last year | 2023-12-01 | 2024-01-01 | December 2023
the last 7 days | 2024-07-09 | 2024-07-16 | July 9 to July 15, 2024
"""


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def check(row: list[str], language: Language, calendar: Calendar) -> None:
    said, first, end, label = row
    found = find_dates(said, language, calendar)
    assert [(f.start, f.end) for f in found] == [(0, len(said))]
    period = found[0].period
    assert (str(period.first), str(period.end), period.label(language)) == (first, end, label)


@pytest.mark.parametrize("row", rows(ZH), ids=lambda row: row[0])
def test_chinese(row: list[str]) -> None:
    check(row, Language.ZH, TODAY)


@pytest.mark.parametrize("row", rows(ZH_FISCAL), ids=lambda row: row[0])
def test_chinese_with_a_fiscal_year_from_october(row: list[str]) -> None:
    check(row, Language.ZH, FISCAL)


@pytest.mark.parametrize("row", rows(EN), ids=lambda row: row[0])
def test_english(row: list[str]) -> None:
    check(row, Language.EN, TODAY)


@pytest.mark.parametrize("row", rows(EN_FISCAL), ids=lambda row: row[0])
def test_english_with_a_fiscal_year_from_october(row: list[str]) -> None:
    check(row, Language.EN, FISCAL)


def test_the_tables_are_long_enough() -> None:
    assert min(len(rows(ZH)), len(rows(EN))) >= 80


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ("how were sales in June", Language.EN, ["June"]),
        ("what about june and july", Language.EN, ["june", "july"]),
        ("orders for may", Language.EN, ["may"]),
        ("on june 30th", Language.EN, ["june 30th"]),
        ("revenue since 2022", Language.EN, ["since 2022"]),
        ("compare Q1 with Q2 2024", Language.EN, ["Q1", "Q2 2024"]),
        ("6月7月数据", Language.ZH, ["6月", "7月"]),
        ("6月1日至6月30日", Language.ZH, ["6月1日至6月30日"]),
        ("2023年11月到2024年2月", Language.ZH, ["2023年11月到2024年2月"]),
        ("2023年2024年对比", Language.ZH, ["2023年", "2024年"]),
        ("查一下上个月华东的订单", Language.ZH, ["上个月"]),
        ("华东 6 月 销售额", Language.ZH, ["6 月"]),
        ("2024年度计划", Language.ZH, ["2024年度"]),
        ("2024年前的数据", Language.ZH, ["2024年"]),
    ],
)  # fmt: skip
def test_dates_within_a_sentence(text: str, language: Language, said: list[str]) -> None:
    assert [text[found.start : found.end] for found in find_dates(text, language, TODAY)] == said


NO_DATES = {
    Language.EN: [
        "you may go", "may I ask", "March on", "it may be", "and may I go", "in march i lost", "the march of time",
        "August company", "april showers", "v2024", "v2024-06-30", "model 2024", "order 12024", "1024 plan", "q5",
        "faq3", "second half of the page", "first quarter of the game", "h1", "decision in sepia", "june 31, 2024",
        "february 30 2024", "2024-13-01", "last 0 days", "in the past", "weekly", "todays",
    ],
    Language.ZH: [
        "第一", "第一名", "三星", "三星手机", "上海", "上个", "一个月", "三个月", "三个季度", "半年", "上季节",
        "四季如春", "四季度假村", "每一季度", "13月", "十三月", "零月", "1024年度计划", "1024年6月", "2024年2月30日", "v2024", "FAQ3",
        "线上月销售额", "线上周报", "加上一个月", "日本月饼", "今日头条", "近0天", "近1000天", "订单12024年", "2024", "月份",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("language", "text"), [(key, text) for key, texts in NO_DATES.items() for text in texts])
def test_what_is_no_date(language: Language, text: str) -> None:
    assert find_dates(text, language, TODAY) == []


@pytest.mark.parametrize(
    ("text", "absolute"),
    [("2024年6月", True), ("二零二四年六月", True), ("Q3 FY24", True), ("去年6月", False), ("上月", False), ("1-6月", False)],
)  # fmt: skip
def test_absolute_dates_name_their_year(text: str, *, absolute: bool) -> None:
    assert [found.absolute for found in find_dates(text, Language.ZH, TODAY)] == [absolute]


def test_the_last_day_of_a_month_is_kept_short() -> None:
    """31 March, the past month: February has no 31."""
    found = find_dates("the past month", Language.EN, Calendar(date(2024, 3, 30)))
    assert (found[0].period.first, found[0].period.end) == (date(2024, 2, 29), date(2024, 3, 31))


# ------------------------------------------------------------------------------------- any clock

days = st.dates(date(1990, 1, 1), date(2090, 12, 31))
calendars = st.builds(Calendar, days, st.integers(1, 12))
words = [row[0] for table in (ZH, EN) for row in rows(table)] + [*NO_DATES[Language.ZH], *NO_DATES[Language.EN]]
texts = st.lists(
    st.sampled_from([*words, " ", "年", "月", "日", "q", "20", "24", "in ", "的", "－", "　", "ü", "\n"])
    | st.text(max_size=4),
    max_size=8,
).map("".join)


@given(texts, st.sampled_from(Language), calendars)
def test_whatever_the_text_and_the_clock(text: str, language: Language, calendar: Calendar) -> None:
    found = find_dates(text, language, calendar)
    for mention in found:
        assert 0 <= mention.start < mention.end <= len(text)
        assert not text[mention.start].isspace()
        assert not text[mention.end - 1].isspace()
        assert mention.period.first < mention.period.end
        assert mention.period.label(language).strip()
    assert all(left.end <= right.start for left, right in itertools.pairwise(found))


@given(calendars)
def test_every_named_period_is_a_range_beside_today(calendar: Calendar) -> None:
    for name in PERIOD_NAMES:
        period = named_period(name, calendar)
        assert period
        assert period.first < period.end
        inside = period.first <= calendar.today < period.end
        assert inside == (name == "today" or name.startswith("this_"))
        assert inside or period.end <= calendar.today


@given(calendars)
def test_four_quarters_make_a_year(calendar: Calendar) -> None:
    year = calendar.year(calendar.fiscal_year(calendar.today))
    quarters = [calendar.quarter(year.fiscal_year or 0, number) for number in (1, 2, 3, 4)]
    assert [quarter.first for quarter in quarters] + [year.end] == [year.first] + [quarter.end for quarter in quarters]
    assert calendar.quarter_of(calendar.today) in quarters
    assert (calendar.half(year.fiscal_year or 0, 1).end, calendar.half(year.fiscal_year or 0, 2).end) == (
        quarters[1].end,
        year.end,
    )


@given(days, st.sampled_from([Grain.DAY, Grain.MONTH]))
def test_a_label_is_read_back_as_the_same_range(day: date, grain: Grain) -> None:
    first = day if grain is Grain.DAY else day.replace(day=1)
    end = day + timedelta(days=1) if grain is Grain.DAY else (first + timedelta(days=32)).replace(day=1)
    period = Period(first, end, grain)
    for language in Language:
        assert [found.period for found in find_dates(period.label(language), language, TODAY)] == [period]


@pytest.mark.parametrize("today", [date.min, date.max])
def test_the_edge_of_time_is_no_error(today: date) -> None:
    for row in rows(ZH) + rows(EN):
        find_dates(row[0], Language.ZH, Calendar(today, 10))
        find_dates(row[0], Language.EN, Calendar(today, 10))
    for name in PERIOD_NAMES:
        named_period(name, Calendar(today, 10))


def test_a_name_that_no_catalog_may_give_is_no_period() -> None:
    assert named_period("someday", TODAY) is None
