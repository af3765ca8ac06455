import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.retrieval.analysis import analyze, is_chinese


def test_english_words_become_stems_without_stop_words() -> None:
    assert analyze("The customers were running their reports") == ["custom", "run", "report"]


def test_both_sides_meet_in_one_stem() -> None:
    assert analyze("reports") == analyze("Reporting") == analyze("REPORTED")


def test_contractions_and_possessives() -> None:
    assert analyze("don't") == analyze("don’t") == []
    assert analyze("customer's") == analyze("customer’s") == ["custom"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("iPhone15", ["iphone15", "iphon", "15"]),
        ("A-1032", ["a-1032", "a1032", "1032"]),
        ("A1032B", ["a1032b", "1032"]),
        ("ERR-4012", ["err-4012", "err4012", "err", "4012"]),
        ("ISO-9001:2015", ["iso-9001:2015", "iso-9001", "iso9001", "iso", "9001", "2015"]),
        ("3.5mm", ["3.5mm", "3.5", "mm"]),
        ("12:30", ["12:30", "12", "30"]),
        ("note:this", ["note"]),
        ("10-20", ["10-20", "10", "20"]),
        ("v2.3.1", ["v2.3.1", "2.3.1"]),
        ("GPT-4", ["gpt-4", "gpt4", "gpt", "4"]),
        ("Q3", ["q3"]),
        ("C++", ["c++"]),
        ("C#", ["c#"]),
        ("2024-07-15", ["2024-07-15", "2024", "07", "15"]),
        ("1,200.50", ["1200.50"]),
        ("3.5%", ["3.5"]),
        ("1,2,3", ["1", "2", "3"]),
        ("U.S.A.", ["usa"]),
        ("state-of-the-art", ["state", "art"]),
        ("snake_case_7", ["snake_case_7", "snakecase7", "snake", "case", "7"]),
    ],
)
def test_codes_stay_whole_with_their_parts(text: str, terms: list[str]) -> None:
    assert analyze(text) == terms


@pytest.mark.parametrize(
    "code", ["iPhone15", "A-1032", "A1032B", "ERR-4012", "v2.3.1", "ISO-9001:2015", "C++", "3.5mm", "5G"]
)
def test_a_code_is_found_inside_chinese_and_full_width(code: str) -> None:
    full_width = "".join(chr(ord(char) + 0xFEE0) for char in code)
    assert analyze(code)[0] in analyze(f"如何处理{code}的问题")
    assert analyze(code)[0] in analyze(f"如何处理{full_width}的问题")


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("iPhone15", "iPhone 15"),
        ("iPhone15", "iphone-15"),
        ("A-1032", "A1032"),
        ("A-1032", "A 1032"),
        ("COVID-19", "covid19"),
        ("ISO-9001:2015", "ISO 9001"),
        ("ISO-9001:2015", "iso9001"),
        ("3.5mm", "3.5 mm"),
        ("5G手机", "5g 手机"),
        ("F-16", "F16"),
    ],
)
def test_a_code_is_found_however_it_is_spaced(written: str, asked: str) -> None:
    """From either side, and better than another code of the kind."""
    other = written.translate({ord(digit): str((int(digit) + 3) % 10) for digit in "0123456789"})
    for text, query in ((written, asked), (asked, written)):
        terms = set(analyze(query))
        assert len(terms & set(analyze(text))) > len(terms & set(analyze(other)))


def test_chinese_runs_give_bigrams_words_and_characters() -> None:
    assert sorted(analyze("客户画像")) == sorted(["客户", "户画", "画像", "客户", "画像", "客", "户", "画", "像"])
    terms = analyze("上市公司财务报告")
    assert {"上市", "公司", "财务", "报告", "上市公司", "财务报告"} <= set(terms)
    # Words of two characters weigh more than characters that meet.
    assert terms.count("公司") == 2
    assert terms.count("司财") == 1


def test_runs_of_chinese_do_not_join() -> None:
    assert not {"公司", "财报"} & set(analyze("上市公,司财A报"))
    assert "公司" in analyze("公司, 财A报")


def test_a_run_of_one_character_is_itself() -> None:
    assert analyze("税") == ["税"]
    assert sorted(analyze("6 月")) == ["6", "6月", "月"]
    assert analyze("的") == ["的"]


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [
        ("計算機軟體的價格", "计算机软体的价格"),
        ("銷售額與營業額", "销售额与营业额"),
        ("頭髮發現乾燥後面", "头发发现干燥后面"),
        ("臺灣電視臺採訪", "台湾电视台采访"),
        ("ＡＢＣ１２３客戶", "ABC123客户"),
    ],
)
def test_traditional_characters_are_folded_to_simplified(traditional: str, simplified: str) -> None:
    assert analyze(traditional) == analyze(simplified)


@given(
    st.text(alphabet="銷售額營業電腦軟體頭髮乾後裡", max_size=12),
    st.text(alphabet="銷售額營業電腦軟體頭髮乾後裡", max_size=12),
)
def test_folding_goes_character_by_character(left: str, right: str) -> None:
    """Whatever stands beside a character: opencc's phrases would fold one side otherwise than the other."""
    characters = [term for term in analyze(f"{left} x {right}") if len(term) == 1 and term != "x"]
    alone = [term for char in left + right for term in set(analyze(char))]
    assert sorted(set(characters)) == sorted(set(alone))


def test_english_alone_reads_no_chinese_dictionary() -> None:
    code = (
        "import sys; from querywright.retrieval.analysis import analyze; analyze('The café’s customers paid 15 €');"
        "print(sorted({'rjieba', 'opencc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_query_of_function_words_alone_still_has_terms_in_chinese() -> None:
    assert analyze("这个怎么") != []


def test_other_scripts_are_words() -> None:
    assert analyze("Привет мир") == ["привет", "мир"]
    assert analyze("café") == ["café"]


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_never_raises_whatever_the_string(text: str) -> None:
    assert all(isinstance(term, str) and term for term in analyze(text))
    is_chinese(text)


@given(st.text(alphabet="aB1-._,'’+#苹果的〇 \ud800\n", max_size=40))
def test_never_raises_on_what_looks_like_codes(text: str) -> None:
    assert analyze(text) == analyze(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Apple 公司 2024 年 Q3 财报", True),
        ("这个功能怎么用?", True),
        ("Kubernetes Deployment 怎么滚动更新", True),
        ("iPhone15 价格", True),
        ("查询 2024 年 6 月华东区销售额(万元)", True),
        ("How does it work?", False),
        ("The handbook calls this feature 客户画像 and explains how sales teams use it every day.", False),
        ("2024-06", False),
        ("", False),
        ("Привет, мир", False),
    ],
)
def test_is_chinese(text: str, *, expected: bool) -> None:
    assert is_chinese(text) is expected


def test_threads_share_the_analyzer() -> None:
    texts = [f"customers{number % 97} running reported{number}" for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(analyze, texts)) == [analyze(text) for text in texts]
