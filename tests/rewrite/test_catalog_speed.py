"""A catalog of 100,000 names: how long it takes to load, and to look a query up, whether it names anything or not."""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from querywright.rewrite.catalog import Catalog

NAMES = 50_000
"""So many in each language."""

HAN = (
    "客户画像线索分配商机看板合同审批数据导入权限管理报价单邮件群发拜访签到自动化流程查重公海销售预测报表订阅登录密钥系统仓库"
    "华北南西城海山河州江湖林森石金银铜铁钢化工机电子信息网络通安全服务平台产品研发测试运营市场品牌渠道财务法人力资源行政采购"
)
SYLLABLES = ("ba", "cor", "del", "fin", "gra", "hol", "jet", "kin", "lum", "mer", "nor", "pla", "quin", "ros", "sta", "tre", "vor")  # fmt: skip
ENGLISH = (
    "where do people usually keep notes that nobody has looked at since spring began",
    "why would someone rather walk home late than wait for another slow train again",
    "could the garden behind our old house grow anything useful before winter comes back",
)
MISSPELT = tuple(
    text.replace(old, new)
    for text, old, new in zip(ENGLISH, ("people", "someone", "garden"), ("peolpe", "somoene", "gardne"), strict=True)
)
CHINESE = (
    "昨天晚上我们为什么一直没有看见他们两个人从那边的小路走回来呢",
    "如果明天早上还在下雨的话大家是不是就不用再去那么远的地方了",
    "这本书后面写的那些事情到底有多少是他自己小时候真正经历过的",
)

pytestmark = pytest.mark.xdist_group("load")


def names(seed: int) -> tuple[list[str], list[str]]:
    chance = random.Random(seed)
    words = ["".join(chance.choices(SYLLABLES, k=chance.randint(2, 4))) for _ in range(20_000)]
    english = {" ".join(chance.choices(words, k=chance.randint(1, 4))) for _ in range(2 * NAMES)}
    chinese = {"".join(chance.choices(HAN, k=chance.randint(3, 9))) for _ in range(2 * NAMES)}
    return sorted(english)[:NAMES], sorted(chinese)[:NAMES]


def as_csv(english: Sequence[str], chinese: Sequence[str]) -> str:
    rows = (f"e{i},product,{zh},{en}\n" for i, (en, zh) in enumerate(zip(english, chinese, strict=True)))
    return "id,type,name_zh,name_en\n" + "".join(rows)


def as_toml(english: Sequence[str], chinese: Sequence[str]) -> str:
    rows = (
        f'[[entities]]\nid = "e{i}"\ntype = "product"\nname = {{ zh = "{zh}", en = "{en}" }}\n'
        for i, (en, zh) in enumerate(zip(english, chinese, strict=True))
    )
    return 'name = "large"\n' + "".join(rows)


def as_yaml(english: Sequence[str], chinese: Sequence[str]) -> str:
    rows = (
        f"- id: e{i}\n  type: product\n  name: {{zh: {zh}, en: {en}}}\n"
        for i, (en, zh) in enumerate(zip(english, chinese, strict=True))
    )
    return "name: large\nentities:\n" + "".join(rows)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor's time for `work`: other processes on the machine do not count."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


@pytest.fixture(scope="module")
def large() -> Catalog:
    catalog = Catalog.loads(as_csv(*names(1)), "csv", "large.csv")
    assert len(catalog.entities) == NAMES
    return catalog


@pytest.mark.parametrize("write", [as_csv, as_toml, as_yaml])
def test_100_000_names_load_in_seconds(write: Callable[[Sequence[str], Sequence[str]], str], tmp_path: Path) -> None:
    path = tmp_path / f"large.{write.__name__.removeprefix('as_')}"
    path.write_text(write(*names(2)), encoding="utf-8")
    loaded: list[Catalog] = []

    def load() -> None:
        loaded.append(Catalog.load(path))
        assert loaded[0].named("no such name", "product") is None  # builds the table of names

    assert seconds(load) < 6  # about 1 s of CSV, 1.5 s of TOML, 2.5 s of YAML where nothing else runs
    assert len(loaded[0].entities) == NAMES


@pytest.mark.parametrize("texts", [ENGLISH, MISSPELT, CHINESE], ids=["English", "misspelt", "Chinese"])
def test_a_query_without_a_name_takes_a_millisecond(large: Catalog, texts: Sequence[str]) -> None:
    for text in texts:
        assert large.mentions(text) == []  # builds the tables that slips are found with, too
    times = [seconds(lambda text=text: large.mentions(text)) for text in texts for _ in range(50)]  # type: ignore[misc]
    assert statistics.median(times) <= 0.001


def test_a_query_with_names_takes_a_millisecond(large: Catalog) -> None:
    english, chinese = names(1)
    chance = random.Random(3)
    texts = [f"{chance.choice(chinese)}和{chance.choice(chinese)}有什么区别" for _ in range(100)]
    texts += [f"how does {chance.choice(english)} compare with {chance.choice(english)} this year" for _ in range(100)]
    assert all(len(large.mentions(text)) >= 2 for text in texts)
    times = [seconds(lambda text=text: large.mentions(text)) for text in texts]  # type: ignore[misc]
    assert statistics.median(times) <= 0.001


def test_slips_are_found_among_many(large: Catalog) -> None:
    english, chinese = names(1)
    long = next(name for name in english if " " not in name and len(name) >= 12)
    wrong = long[:4] + long[5] + long[4] + long[6:]
    found = [mention for mention in large.mentions(f"what about {wrong} now") if not mention.exact]
    assert [mention.meant for mention in found] == [long]
    assert len(large.mentions(f"{chinese[0]}怎么用")) >= 1
