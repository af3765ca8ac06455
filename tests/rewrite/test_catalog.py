import itertools
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from querywright import CatalogError
from querywright.rewrite.catalog import Catalog, Entity, Value, fiscal_month, parse_pattern
from querywright.rewrite.language import Language, fold

HEAD = 'name = "test"\n'
CRM = '[[entities]]\nid = "crm"\ntype = "product"\nname = "the CRM"\naliases = ["CRM"]\n'
METRIC = '[[dimensions]]\nname = "metric"\n[[dimensions.values]]\nid = "sales"\nname = "sales"\n'
PERIOD = '[[dimensions]]\nname = "period"\nkind = "calendar"\n'
INTENT = '[[intents]]\nname = "lookup"\nhead = "metric"\n'
EN = '[intents.en]\npattern = "{trigger} {metric}"\n'


def load(tmp_path: Path, text: str | bytes) -> Catalog:
    path = tmp_path / "catalog.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Catalog.load(path)


def test_the_demo_catalog_loads(catalog: Catalog) -> None:
    assert catalog.name == "demo"
    assert len(catalog.entities) == 30
    assert set(catalog.dimensions) == {"metric", "region", "period"}
    assert [intent.name for intent in catalog.intents] == ["how_to", "lookup", "company_news", "crop_news"]
    assert all(set(intent.grammars) == set(Language) for intent in catalog.intents)
    apple = next(entity for entity in catalog.entities if entity.id == "apple-inc")
    assert (apple.fiscal_month, apple.slot, apple.where) == (10, "company", "entities.apple-inc")
    sales = catalog.value("metric", "sales")
    assert sales
    assert sales.unit == {Language.ZH: "万元", Language.EN: "CNY 10,000"}
    assert (sales.slot, sales.where) == ("metric", "dimensions.metric.sales")


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + HEAD.encode()).name == "test"


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "not TOML": ("name = \n", "catalog.toml: not valid TOML: Invalid value (at line 1"),
    "a key twice": ('name = "a"\nname = "b"\n', "catalog.toml: not valid TOML: Cannot overwrite a value"),
    "nested too deeply": ("name = " + "[" * 5000, "catalog.toml: not valid TOML: nested too deeply"),
    "not UTF-8": (HEAD.encode() + "# 苹果".encode("gbk"), "catalog.toml: byte 18: expected UTF-8 text"),
    "UTF-16": (HEAD.encode("utf-16"), "catalog.toml: byte 0: expected UTF-8 text"),
    "no name": ("", "catalog.toml: top level: name: expected text, got None"),
    "a blank name": ('name = " "', "catalog.toml: top level: name: expected text, got ' '"),
    "an unknown key": (
        HEAD + "colour = 1",
        "catalog.toml: top level: unknown key 'colour'; known are dimensions, entities, intents, locked, name",
    ),
    "one entity in place of a list": (HEAD + "[entities]\n", "catalog.toml: entities: expected [[entities]] tables"),
    "entities of numbers": (HEAD + "entities = [1]\n", "catalog.toml: entities[0]: expected a table"),
    "no id": (
        HEAD + CRM + '[[entities]]\ntype = "product"\n',
        "catalog.toml: entities[1]: id: expected text, got None",
    ),
    "an id twice": (HEAD + CRM + CRM, "catalog.toml: entities[1]: id: 'crm' is used twice"),
    "an id that is a number": (HEAD + "[[entities]]\nid = 7\n", "catalog.toml: entities[0]: id: expected text, got 7"),
    "no type": (
        HEAD + '[[entities]]\nid = "crm"\nname = "the CRM"\n',
        "catalog.toml: entities[0] (crm): type: expected text, got None",
    ),
    "an unknown key of an entity": (
        HEAD + CRM + "alias = []\n",
        "catalog.toml: entities[0] (crm): unknown key 'alias'; known are aliases, cues, fiscal_year_start, id, name, type",
    ),
    "an alias twice": (
        HEAD + CRM.replace('["CRM"]', '["CRM", "ＣＲＭ"]'),
        "catalog.toml: entities[0] (crm): aliases: lists 'CRM' twice (case and width do not count)",
    ),
    "aliases that are one text": (
        HEAD + CRM.replace('["CRM"]', '"CRM"'),
        "catalog.toml: entities[0] (crm): aliases: expected a list of texts, got 'CRM'",
    ),
    "a blank alias": (
        HEAD + CRM.replace('["CRM"]', '["CRM", ""]'),
        "catalog.toml: entities[0] (crm): aliases: expected a list of texts, got ['CRM', '']",
    ),
    "no display name": (
        HEAD + CRM.replace('name = "the CRM"\n', ""),
        'catalog.toml: entities[0] (crm): name: expected a text or { zh = "…", en = "…" }, got None',
    ),
    "a display name that is a list": (
        HEAD + CRM.replace('"the CRM"', "[]"),
        "catalog.toml: entities[0] (crm): name: expected a table, got []",
    ),
    "an unknown language": (
        HEAD + CRM.replace('"the CRM"', '{ fr = "le CRM" }'),
        "catalog.toml: entities[0] (crm): unknown language 'fr'; known are zh and en",
    ),
    "a fiscal year from the middle of a month": (
        HEAD + CRM + 'fiscal_year_start = "10-15"\n',
        "catalog.toml: entities[0] (crm): fiscal_year_start: expected a first of a month like \"10-01\", got '10-15'",
    ),
    "a fiscal year that is a number": (
        HEAD + CRM + "fiscal_year_start = 10\n",
        'catalog.toml: entities[0] (crm): fiscal_year_start: expected a first of a month like "10-01", got 10',
    ),
    "a dimension twice": (
        HEAD + METRIC + '[[dimensions]]\nname = "metric"\n',
        "catalog.toml: dimensions[1]: name: 'metric' is used twice",
    ),
    "a value twice": (
        HEAD + METRIC + '[[dimensions.values]]\nid = "sales"\nname = "x"\n',
        "catalog.toml: dimensions[0] (metric): values[1]: id: 'sales' is used twice",
    ),
    "an unknown key of a value": (
        HEAD + METRIC + "units = 1\n",
        "catalog.toml: dimensions[0] (metric): values[0] (sales): unknown key 'units'; known are id, name, synonyms, unit",
    ),
    "an unknown kind": (
        HEAD + '[[dimensions]]\nname = "metric"\nkind = "words"\n',
        'catalog.toml: dimensions[0] (metric): kind: expected "values" or "calendar", got \'words\'',
    ),
    "a kind that is a list": (
        HEAD + '[[dimensions]]\nname = "metric"\nkind = []\n',
        'catalog.toml: dimensions[0] (metric): kind: expected "values" or "calendar", got []',
    ),
    "a calendar of another name": (
        HEAD + '[[dimensions]]\nname = "when"\nkind = "calendar"\n',
        'catalog.toml: dimensions[0] (when): a dimension with kind = "calendar" is called "period", and no other is',
    ),
    "a period that is no calendar": (
        HEAD + '[[dimensions]]\nname = "period"\n',
        'catalog.toml: dimensions[0] (period): a dimension with kind = "calendar" is called "period", and no other is',
    ),
    "a calendar with values": (
        HEAD + PERIOD + '[[dimensions.values]]\nid = "may"\nname = "May"\n',
        "catalog.toml: dimensions[0] (period): values: a calendar has none, its values are dates",
    ),
    "a default that is no value": (
        HEAD + METRIC.replace('name = "metric"\n', 'name = "metric"\ndefault = "profit"\n'),
        "catalog.toml: dimensions[0] (metric): default: 'profit' is none of sales",
    ),
    "a default that is a list": (
        HEAD + METRIC.replace('name = "metric"\n', 'name = "metric"\ndefault = ["sales"]\n'),
        "catalog.toml: dimensions[0] (metric): default: ['sales'] is none of sales",
    ),
    "a default that is no period": (
        HEAD + PERIOD + 'default = "someday"\n',
        (
            "catalog.toml: dimensions[0] (period): default: 'someday' is none of last_fiscal_quarter, last_month, "
            "last_quarter, last_week, last_year, this_month, this_quarter, this_week, this_year, today, yesterday"
        ),
    ),
    "vague words without a language": (
        HEAD + '[[dimensions]]\nname = "metric"\nvague = ["data"]\n',
        "catalog.toml: dimensions[0] (metric): vague: expected a table, got ['data']",
    ),
    "a head that is nothing": (
        HEAD + METRIC + INTENT.replace("metric", "mood") + EN,
        "catalog.toml: intents[0] (lookup): head: 'mood' is no entity type and no dimension of this catalog",
    ),
    "the unit as head": (
        HEAD + METRIC + INTENT.replace("metric", "unit") + EN,
        "catalog.toml: intents[0] (lookup): head: 'unit' is no entity type and no dimension of this catalog",
    ),
    "an intent in no language": (
        HEAD + METRIC + INTENT,
        "catalog.toml: intents[0] (lookup): expected a table for zh, en or both",
    ),
    "an intent's period that is a date": (
        HEAD + METRIC + INTENT + "period = 2024-07-15\n" + EN,
        "catalog.toml: intents[0] (lookup): period: datetime.date(2024, 7, 15) is none of last_fiscal_quarter, ",
    ),
    "a slot of the pattern that is nothing": (
        HEAD + METRIC + INTENT + EN.replace("{trigger}", "{mood}"),
        "catalog.toml: intents[0] (lookup): en: pattern: {mood} is no entity type and no dimension here",
    ),
    "a pattern without the head": (
        HEAD + METRIC + INTENT + EN.replace(" {metric}", ""),
        "catalog.toml: intents[0] (lookup): en: pattern: lacks the head {metric}",
    ),
    "a pattern with a slot twice": (
        HEAD + METRIC + INTENT + EN.replace("{trigger}", "{metric}"),
        "catalog.toml: intents[0] (lookup): en: pattern: has a slot twice: '{metric} {metric}'",
    ),
    "a slot that cannot be read": (
        HEAD + METRIC + INTENT + EN.replace("{trigger}", "{Trigger}"),
        (
            "catalog.toml: intents[0] (lookup): en: pattern: expected {slots} with text only between them, "
            "got '{Trigger} {metric}'"
        ),
    ),
    "text behind the last slot": (
        HEAD + METRIC + INTENT + EN.replace("{metric}", "{metric} report"),
        "catalog.toml: intents[0] (lookup): en: pattern: expected {slots} with text only between them",
    ),
    "no pattern": (
        HEAD + METRIC + INTENT + "[intents.en]\n",
        "catalog.toml: intents[0] (lookup): en: pattern: expected text, got None",
    ),
    "triggers that are one text": (
        HEAD + METRIC + INTENT + EN + 'triggers = "show me"\n',
        "catalog.toml: intents[0] (lookup): en: triggers: expected a list of [what is typed, what is written]",
    ),
    "a trigger without what is written": (
        HEAD + METRIC + INTENT + EN + 'triggers = [["show me", "show"], ["give me"]]\n',
        "catalog.toml: intents[0] (lookup): en: triggers[1]: expected [what is typed, what is written], got ['give me']",
    ),
    "a trigger of numbers": (
        HEAD + METRIC + INTENT + EN + "triggers = [[1, 2]]\n",
        "catalog.toml: intents[0] (lookup): en: triggers[0]: expected [what is typed, what is written], got [1, 2]",
    ),
    "a trigger with a gap on one side": (
        HEAD + METRIC + INTENT + EN + 'triggers = [["how … work", "guide"]]\n',
        (
            "catalog.toml: intents[0] (lookup): en: triggers[0]: both phrases need the same parts around each …, "
            "got ['how … work', 'guide']"
        ),
    ),
    "a trigger of nothing": (
        HEAD + METRIC + INTENT + EN + 'triggers = [["", "show"]]\n',
        "catalog.toml: intents[0] (lookup): en: triggers[0]: both phrases need the same parts around each …",
    ),
    "a pattern that is no regular expression": (
        HEAD + "locked = ['[A-Z']\n",
        "catalog.toml: locked: '[A-Z' is not a regular expression: unterminated character set",
    ),
    "a repetition past all bounds": (
        HEAD + "locked = ['A{99999999999}']\n",
        "catalog.toml: locked: 'A{99999999999}' is not a regular expression: the repetition number is too large",
    ),
    "a pattern that locks everything": (
        HEAD + "locked = ['[A-Z]*']\n",
        "catalog.toml: locked: '[A-Z]*' matches the empty text, so it would lock every query",
    ),
    "locked patterns that are one text": (
        HEAD + "locked = 'ERR'\n",
        "catalog.toml: top level: locked: expected a list of texts, got 'ERR'",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_catalog_is_refused_with_file_entry_and_expectation(case: str, tmp_path: Path) -> None:
    text, message = BROKEN[case]
    with pytest.raises(CatalogError) as refused:
        load(tmp_path, text)
    assert message in str(refused.value)


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.toml: cannot be read: No such file or directory"):
        Catalog.load(tmp_path / "none.toml")
    with pytest.raises(CatalogError, match="cannot be read: Is a directory"):
        Catalog.load(tmp_path)


# --------------------------------------------------------------------------------- anything at all

leaves = st.one_of(
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "crm", "metric", "period", "{metric}", "calendar", "zh", "10-01", "a … b", "[", "苹果"]),
)
keys = st.sampled_from(
    [
        "name",
        "locked",
        "entities",
        "dimensions",
        "intents",
        "id",
        "type",
        "aliases",
        "cues",
        "fiscal_year_start",
        "kind",
        "profile",
        "default",
        "vague",
        "values",
        "synonyms",
        "unit",
        "head",
        "period",
        "zh",
        "en",
        "triggers",
        "pattern",
        "x",
    ]
)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=25
)
entity_rows = st.fixed_dictionaries(
    {"id": trees, "type": trees, "name": trees}, optional={"aliases": trees, "cues": trees, "fiscal_year_start": trees}
)
value_rows = st.fixed_dictionaries({"id": trees, "name": trees}, optional={"synonyms": trees, "unit": trees})
dimension_rows = st.fixed_dictionaries(
    {"name": st.just("metric") | trees},
    optional={
        "kind": trees, "default": trees, "vague": trees, "profile": trees,
        "values": st.lists(value_rows, max_size=2) | trees,
    },
)  # fmt: skip
grammars = st.fixed_dictionaries(
    {"pattern": st.just("{metric}") | trees},
    optional={"triggers": trees, "vague": trees},
)
intent_rows = st.fixed_dictionaries(
    {"name": trees, "head": st.just("metric") | trees},
    optional={"period": trees, "zh": grammars | trees, "en": grammars | trees},
)
tables = st.fixed_dictionaries(
    {"name": st.just("test") | trees},
    optional={
        "locked": trees,
        "entities": st.lists(entity_rows, max_size=3) | trees,
        "dimensions": st.lists(dimension_rows, max_size=3) | trees,
        "intents": st.lists(intent_rows, max_size=2) | trees,
    },
)


def toml(value: Any) -> str:
    """Write a value as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return '"' + value + '"' if isinstance(value, str) else repr(value)


@given(tables)
@example({"name": "test", "dimensions": [{"name": "metric", "default": []}]})
@example({"name": "test", "dimensions": [{"name": "metric", "kind": {}}]})
@example(
    {"name": "test", "dimensions": [{"name": "metric"}], "intents": [{"name": "x", "head": "metric", "period": []}]}
)
def test_whatever_a_file_holds_it_loads_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("any") / "catalog.toml"
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in table.items()), encoding="utf-8")
    refusal = ""
    try:
        Catalog.load(path).mentions("crm 苹果 metric")
    except CatalogError as refused:
        refusal = str(refused)
    assert not refusal or refusal.startswith((str(path), "catalog.toml: "))


# ---------------------------------------------------------------------------------------- mentions


def found(catalog: Catalog, text: str) -> list[tuple[str, list[str]]]:
    return [(text[m.start : m.end], sorted(name.id for name in m.candidates)) for m in catalog.mentions(text)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("CRM系统怎么用", [("CRM系统", ["crm"])]),
        ("CRM 系统怎么用", [("CRM 系统", ["crm"])]),
        ("ＣＲＭ系统", [("ＣＲＭ系统", ["crm"])]),
        ("crm", [("crm", ["crm"])]),
        ("how does the Crm work", [("the Crm", ["crm"])]),
        ("CRMs", []),
        ("xCRM", []),
        ("CRM2", []),
        ("用CRM查客户画像", [("CRM", ["crm"]), ("客户画像", ["customer-profile"])]),
        ("客户画像功能", [("客户画像功能", ["customer-profile"])]),
        ("Customer Profiles", [("Customer Profiles", ["customer-profile"])]),
        ("customer profile", [("customer profile", ["customer-profile"])]),
        ("API密钥和API 密钥", [("API密钥", ["api-keys"]), ("API 密钥", ["api-keys"])]),
        ("苹果", [("苹果", ["apple-fruit", "apple-inc"])]),
        ("苹果公司", [("苹果公司", ["apple-inc"])]),
        ("苹果水果", [("苹果水果", ["apple-fruit"])]),
        ("apples", [("apples", ["apple-fruit"])]),
        ("pineapple", []),
        ("Apple's news", [("Apple", ["apple-fruit", "apple-inc"])]),
        ("华东地区的销售额", [("华东地区", ["east"]), ("销售额", ["sales"])]),
        ("gross profit margin", [("gross profit margin", ["margin"])]),
        ("sales", [("sales", ["sales"])]),
        ("salesman", []),
        ("", []),
        ("nothing that it knows", []),
    ],
)  # fmt: skip
def test_mentions(catalog: Catalog, text: str, wanted: list[tuple[str, list[str]]]) -> None:
    assert found(catalog, text) == wanted


@given(
    st.lists(
        st.sampled_from(["CRM", "系统", " ", "苹果", "Apple", "s", "客户", "画像", "the", "ſ", "İ", "ﬁ", "。"]),
        max_size=8,
    ).map("".join)
)
def test_mentions_stand_where_they_say_and_never_overlap(catalog: Catalog, text: str) -> None:
    mentions = catalog.mentions(text)
    assert all(0 <= m.start < m.end <= len(text) and m.candidates for m in mentions)
    assert all(left.end <= right.start for left, right in itertools.pairwise(mentions))


def test_a_name_is_looked_up_within_its_slot(catalog: Catalog) -> None:
    assert catalog.named(" crm系统 ", "product") == catalog.entities[0]
    assert catalog.named("苹果", "company") != catalog.named("苹果", "crop")
    assert catalog.named("苹果", "product") is None
    by_id, by_name = catalog.named("east", "region"), catalog.named("华东", "region")
    assert isinstance(by_id, Value)
    assert by_id == by_name


def one_of_many(size: int) -> Catalog:
    def entity(i: int) -> Entity:
        name = f"product {i:x}"
        return Entity(f"e{i}", "product", dict.fromkeys(Language, name), (name, f"产品{i}号", f"p{i:x}"))

    return Catalog("many", tuple(entity(i) for i in range(size)))


def test_looking_up_takes_no_longer_in_a_large_catalog() -> None:
    text = "我想了解产品7号和 product 3 的区别, and how does p5 compare with the others? " * 5
    best = {}
    for size in (17, 17_000):
        many = one_of_many(size)
        assert len(many.mentions(text)) == 15  # builds the index, too

        def once(catalog: Catalog = many) -> float:
            begun = time.perf_counter()
            catalog.mentions(text)
            return time.perf_counter() - begun

        best[size] = min(once() for _ in range(30))
    assert best[17_000] <= 5 * best[17]


# ------------------------------------------------------------------------------------ small things


@pytest.mark.parametrize(
    ("start", "month"),
    [
        ("10-01", 10),
        ("1-1", 1),
        ("04-1", 4),
        ("12", 12),
        (" 7 ", 7),
        ("13-01", None),
        ("0", None),
        ("10-02", None),
        ("", None),
    ],
)
def test_fiscal_month(start: str, month: int | None) -> None:
    assert fiscal_month(start) == month


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("{a}{b}", [("", "a", ""), ("", "b", "")]),
        ("{a}中{b}", [("", "a", ""), ("中", "b", "")]),
        ("{a} ({b}) for {c}", [("", "a", ""), (" (", "b", ")"), (" for ", "c", "")]),
        ("{a}（{b}）", [("", "a", ""), ("（", "b", "）")]),
    ],
)
def test_parse_pattern(pattern: str, places: list[tuple[str, str, str]]) -> None:
    assert [(place.gap, place.slot, place.suffix) for place in parse_pattern(pattern)] == places


@given(st.text())
def test_folding_keeps_every_position(text: str) -> None:
    assert len(fold(text)) == len(text)


@pytest.mark.parametrize("text", ["ERR-4012", "the RPT-205 report"])
def test_the_demo_locks_its_codes(catalog: Catalog, text: str) -> None:
    assert any(re.search(pattern, text) for pattern in catalog.locked)
