import itertools
import json
import re
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from querywright import CatalogError
from querywright.rewrite.catalog import Catalog, Entity, Value, fiscal_month, parse_pattern
from querywright.rewrite.language import Language, fold
from querywright.rewrite.toml_lines import toml_lines

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
    "not TOML": ("name = \n", "catalog.toml:1: not valid TOML: Invalid value (at line 1"),
    "a key twice": ('name = "a"\nname = "b"\n', "catalog.toml:2: not valid TOML: Cannot overwrite a value"),
    "nested too deeply": ("name = " + "[" * 5000, "catalog.toml: not valid TOML: nested too deeply"),
    "not UTF-8": (HEAD.encode() + "# 苹果".encode("gbk"), "catalog.toml:2: byte 18: expected UTF-8 text"),
    "UTF-16": (HEAD.encode("utf-16"), "catalog.toml:1: byte 0: expected UTF-8 text"),
    "no name": ("", "catalog.toml:1: top level: name: expected text, got None"),
    "a blank name": ('name = " "', "catalog.toml:1: top level: name: expected text, got ' '"),
    "an unknown key": (
        HEAD + "colour = 1",
        "catalog.toml:2: top level: unknown key 'colour'; known are dimensions, entities, intents, locked, name",
    ),
    "one entity in place of a list": (HEAD + "[entities]\n", "catalog.toml:2: entities: expected [[entities]] tables"),
    "entities of numbers": (HEAD + "entities = [1]\n", "catalog.toml:2: entities[0]: expected a table"),
    "no id": (
        HEAD + CRM + '[[entities]]\ntype = "product"\n',
        "catalog.toml:7: entities[1]: id: expected text, got None",
    ),
    "an id twice": (HEAD + CRM + CRM, "catalog.toml:8: entities[1]: id: 'crm' is used twice"),
    "an id that is a number": (
        HEAD + "[[entities]]\nid = 7\n",
        "catalog.toml:3: entities[0]: id: expected text, got 7",
    ),
    "no type": (
        HEAD + '[[entities]]\nid = "crm"\nname = "the CRM"\n',
        "catalog.toml:2: entities[0] (crm): type: expected text, got None",
    ),
    "an unknown key of an entity": (
        HEAD + CRM + "alias = []\n",
        "catalog.toml:7: entities[0] (crm): unknown key 'alias'; known are aliases, cues, fiscal_year_start, id, name, type",
    ),
    "an alias twice": (
        HEAD + CRM.replace('["CRM"]', '["CRM", "ＣＲＭ"]'),
        "catalog.toml:6: entities[0] (crm): aliases: lists 'CRM' twice (case and width do not count)",
    ),
    "aliases that are one text": (
        HEAD + CRM.replace('["CRM"]', '"CRM"'),
        "catalog.toml:6: entities[0] (crm): aliases: expected a list of texts, got 'CRM'",
    ),
    "a blank alias": (
        HEAD + CRM.replace('["CRM"]', '["CRM", ""]'),
        "catalog.toml:6: entities[0] (crm): aliases: expected a list of texts, got ['CRM', '']",
    ),
    "no display name": (
        HEAD + CRM.replace('name = "the CRM"\n', ""),
        'catalog.toml:2: entities[0] (crm): name: expected a text or { zh = "…", en = "…" }, got None',
    ),
    "a display name that is a list": (
        HEAD + CRM.replace('"the CRM"', "[]"),
        "catalog.toml:5: entities[0] (crm): name: expected a table, got []",
    ),
    "an unknown language": (
        HEAD + CRM.replace('"the CRM"', '{ fr = "le CRM" }'),
        "catalog.toml:5: entities[0] (crm): unknown language 'fr'; known are zh and en",
    ),
    "a fiscal year from the middle of a month": (
        HEAD + CRM + 'fiscal_year_start = "10-15"\n',
        "catalog.toml:7: entities[0] (crm): fiscal_year_start: expected a first of a month like \"10-01\", got '10-15'",
    ),
    "a fiscal year that is a number": (
        HEAD + CRM + "fiscal_year_start = 10\n",
        'catalog.toml:7: entities[0] (crm): fiscal_year_start: expected a first of a month like "10-01", got 10',
    ),
    "a dimension twice": (
        HEAD + METRIC + '[[dimensions]]\nname = "metric"\n',
        "catalog.toml:8: dimensions[1]: name: 'metric' is used twice",
    ),
    "a value twice": (
        HEAD + METRIC + '[[dimensions.values]]\nid = "sales"\nname = "x"\n',
        "catalog.toml:8: dimensions[0] (metric): values[1]: id: 'sales' is used twice",
    ),
    "an unknown key of a value": (
        HEAD + METRIC + "units = 1\n",
        "catalog.toml:7: dimensions[0] (metric): values[0] (sales): unknown key 'units'; known are id, name, parent, synonyms, unit",
    ),
    "a parent that is no value": (
        HEAD + METRIC + 'parent = "profit"\n',
        "catalog.toml:7: dimensions[0] (metric): values[0] (sales): parent: 'profit' is none of sales",
    ),
    "a parent of its own": (
        HEAD + METRIC + 'parent = "sales"\n',
        "catalog.toml:7: dimensions[0] (metric): values[0] (sales): parent: 'sales' would be a part of itself",
    ),
    "parents in a circle": (
        HEAD + METRIC + 'parent = "b"\n[[dimensions.values]]\nid = "b"\nname = "b"\nparent = "sales"\n',
        "catalog.toml:7: dimensions[0] (metric): values[0] (sales): parent: 'sales' would be a part of itself",
    ),
    "a synonym twice": (
        HEAD + METRIC + 'synonyms = [\n  "x",\n  "X",\n]\n',
        "catalog.toml:9: dimensions[0] (metric): values[0] (sales): synonyms: lists 'x' twice",
    ),
    "an unknown kind": (
        HEAD + '[[dimensions]]\nname = "metric"\nkind = "words"\n',
        'catalog.toml:4: dimensions[0] (metric): kind: expected "values" or "calendar", got \'words\'',
    ),
    "a kind that is a list": (
        HEAD + '[[dimensions]]\nname = "metric"\nkind = []\n',
        'catalog.toml:4: dimensions[0] (metric): kind: expected "values" or "calendar", got []',
    ),
    "a calendar of another name": (
        HEAD + '[[dimensions]]\nname = "when"\nkind = "calendar"\n',
        'catalog.toml:2: dimensions[0] (when): a dimension with kind = "calendar" is called "period", and no other is',
    ),
    "a period that is no calendar": (
        HEAD + '[[dimensions]]\nname = "period"\n',
        'catalog.toml:2: dimensions[0] (period): a dimension with kind = "calendar" is called "period", and no other is',
    ),
    "a calendar with values": (
        HEAD + PERIOD + '[[dimensions.values]]\nid = "may"\nname = "May"\n',
        "catalog.toml:5: dimensions[0] (period): values: a calendar has none, its values are dates",
    ),
    "a default that is no value": (
        HEAD + METRIC.replace('name = "metric"\n', 'name = "metric"\ndefault = "profit"\n'),
        "catalog.toml:4: dimensions[0] (metric): default: 'profit' is none of sales",
    ),
    "a default that is a list": (
        HEAD + METRIC.replace('name = "metric"\n', 'name = "metric"\ndefault = ["sales"]\n'),
        "catalog.toml:4: dimensions[0] (metric): default: ['sales'] is none of sales",
    ),
    "a default that is no period": (
        HEAD + PERIOD + 'default = "someday"\n',
        (
            "catalog.toml:5: dimensions[0] (period): default: 'someday' is none of last_fiscal_quarter, last_month, "
            "last_quarter, last_week, last_year, this_month, this_quarter, this_week, this_year, today, yesterday"
        ),
    ),
    "vague words without a language": (
        HEAD + '[[dimensions]]\nname = "metric"\nvague = ["data"]\n',
        "catalog.toml:4: dimensions[0] (metric): vague: expected a table, got ['data']",
    ),
    "a head that is nothing": (
        HEAD + METRIC + INTENT.replace("metric", "mood") + EN,
        "catalog.toml:9: intents[0] (lookup): head: 'mood' is no entity type and no dimension of this catalog",
    ),
    "the unit as head": (
        HEAD + METRIC + INTENT.replace("metric", "unit") + EN,
        "catalog.toml:9: intents[0] (lookup): head: 'unit' is no entity type and no dimension of this catalog",
    ),
    "an intent in no language": (
        HEAD + METRIC + INTENT,
        "catalog.toml:7: intents[0] (lookup): expected a table for zh, en or both",
    ),
    "an intent's period that is a date": (
        HEAD + METRIC + INTENT + "period = 2024-07-15\n" + EN,
        "catalog.toml:10: intents[0] (lookup): period: datetime.date(2024, 7, 15) is none of last_fiscal_quarter, ",
    ),
    "a slot of the pattern that is nothing": (
        HEAD + METRIC + INTENT + EN.replace("{trigger}", "{mood}"),
        "catalog.toml:11: intents[0] (lookup): en: pattern: {mood} is no entity type and no dimension here",
    ),
    "a pattern without the head": (
        HEAD + METRIC + INTENT + EN.replace(" {metric}", ""),
        "catalog.toml:11: intents[0] (lookup): en: pattern: lacks the head {metric}",
    ),
    "a pattern with a slot twice": (
        HEAD + METRIC + INTENT + EN.replace("{trigger}", "{metric}"),
        "catalog.toml:11: intents[0] (lookup): en: pattern: has a slot twice: '{metric} {metric}'",
    ),
    "a slot that cannot be read": (
        HEAD + METRIC + INTENT + EN.replace("{trigger}", "{Trigger}"),
        (
            "catalog.toml:11: intents[0] (lookup): en: pattern: expected {slots} with text only between them, "
            "got '{Trigger} {metric}'"
        ),
    ),
    "text behind the last slot": (
        HEAD + METRIC + INTENT + EN.replace("{metric}", "{metric} report"),
        "catalog.toml:11: intents[0] (lookup): en: pattern: expected {slots} with text only between them",
    ),
    "no pattern": (
        HEAD + METRIC + INTENT + "[intents.en]\n",
        "catalog.toml:10: intents[0] (lookup): en: pattern: expected text, got None",
    ),
    "triggers that are one text": (
        HEAD + METRIC + INTENT + EN + 'triggers = "show me"\n',
        "catalog.toml:12: intents[0] (lookup): en: triggers: expected a list of [what is typed, what is written]",
    ),
    "a trigger without what is written": (
        HEAD + METRIC + INTENT + EN + 'triggers = [["show me", "show"], ["give me"]]\n',
        "catalog.toml:12: intents[0] (lookup): en: triggers[1]: expected [what is typed, what is written], got ['give me']",
    ),
    "a trigger of numbers": (
        HEAD + METRIC + INTENT + EN + "triggers = [[1, 2]]\n",
        "catalog.toml:12: intents[0] (lookup): en: triggers[0]: expected [what is typed, what is written], got [1, 2]",
    ),
    "a trigger with a gap on one side": (
        HEAD + METRIC + INTENT + EN + 'triggers = [["how … work", "guide"]]\n',
        (
            "catalog.toml:12: intents[0] (lookup): en: triggers[0]: both phrases need the same parts around each …, "
            "got ['how … work', 'guide']"
        ),
    ),
    "a trigger of nothing": (
        HEAD + METRIC + INTENT + EN + 'triggers = [["", "show"]]\n',
        "catalog.toml:12: intents[0] (lookup): en: triggers[0]: both phrases need the same parts around each …",
    ),
    "a pattern that is no regular expression": (
        HEAD + "locked = ['[A-Z']\n",
        "catalog.toml:2: locked: '[A-Z' is not a regular expression: unterminated character set",
    ),
    "a repetition past all bounds": (
        HEAD + "locked = ['A{99999999999}']\n",
        "catalog.toml:2: locked: 'A{99999999999}' is not a regular expression: the repetition number is too large",
    ),
    "a pattern that locks everything": (
        HEAD + "locked = ['[A-Z]*']\n",
        "catalog.toml:2: locked: '[A-Z]*' matches the empty text, so it would lock every query",
    ),
    "locked patterns that are one text": (
        HEAD + "locked = 'ERR'\n",
        "catalog.toml:2: top level: locked: expected a list of texts, got 'ERR'",
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


# ----------------------------------------------------------------------------------------- formats

YAML_CATALOG = """\
# the same as the TOML below
name: shop
locked: ['[A-Z]{2}-\\d+']
entities:
  - {id: crm, type: product, name: {zh: CRM 系统, en: the CRM}, aliases: [CRM], cues: &cues [sales, 销售]}
  - id: erp
    type: product
    name: ERP
    cues: *cues
    fiscal_year_start: 04-01
dimensions:
  - name: region
    default: all
    vague: {en: [somewhere]}
    values:
      - {id: all, name: all regions}
      - {id: east, name: {zh: 华东, en: East China}, parent: all}
      - {id: shanghai, name: Shanghai, synonyms: [上海], parent: east, unit: "%"}
intents:
  - name: where
    head: region
    en: {triggers: [[where is, location of]], pattern: "{trigger} {region}"}
"""
TOML_CATALOG = """\
name = "shop"
locked = ['[A-Z]{2}-\\d+']
[[entities]]
id = "crm"
type = "product"
name = { zh = "CRM 系统", en = "the CRM" }
aliases = ["CRM"]
cues = ["sales", "销售"]
[[entities]]
id = "erp"
type = "product"
name = "ERP"
cues = ["sales", "销售"]
fiscal_year_start = "04-01"
[[dimensions]]
name = "region"
default = "all"
vague = { en = ["somewhere"] }
values = [
  { id = "all", name = "all regions" },
  { id = "east", name = { zh = "华东", en = "East China" }, parent = "all" },
  { id = "shanghai", name = "Shanghai", synonyms = ["上海"], parent = "east", unit = "%" },
]
[[intents]]
name = "where"
head = "region"
[intents.en]
triggers = [["where is", "location of"]]
pattern = "{trigger} {region}"
"""
CSV_CATALOG = """\
id,type,name_zh,name_en,aliases,cues,fiscal_year_start
crm,product,CRM 系统,the CRM,CRM | "the one" ,sales|销售,
erp,product,ERP,,,,04-01
"""


def test_toml_and_yaml_say_the_same() -> None:
    toml, yaml = Catalog.loads(TOML_CATALOG, "toml"), Catalog.loads(YAML_CATALOG, "yaml")
    assert toml.version != yaml.version
    assert replace(toml, version="") == replace(yaml, version="")


def test_a_table_of_entities_comes_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_bytes(b"\xef\xbb\xbf" + CSV_CATALOG.replace('"the one"', "the one").replace("\n", "\r\n").encode())
    shop, other = Catalog.load(path), Catalog.loads(TOML_CATALOG, "toml")
    assert shop.name == "shop"
    assert [e.aliases for e in shop.entities] == [("CRM", "the one"), ()]
    assert [replace(e, aliases=()) for e in shop.entities] == [
        replace(e, aliases=(), cues=e.cues if e.id == "crm" else ()) for e in other.entities
    ]


def test_a_file_s_ending_tells_its_format(tmp_path: Path) -> None:
    for name, text in (("a.toml", TOML_CATALOG), ("b.yaml", YAML_CATALOG), ("c.YML", YAML_CATALOG), ("d.csv", "id\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert Catalog.load(tmp_path / name).name == ("d" if name == "d.csv" else "shop")
    (tmp_path / "catalog.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CatalogError, match=r"catalog\.json: expected a catalog in toml, yaml, csv, got 'json'"):
        Catalog.load(tmp_path / "catalog.json")


def test_a_version_changes_with_the_text_only(tmp_path: Path) -> None:
    version = Catalog.loads(TOML_CATALOG, "toml").version
    assert re.fullmatch("[0-9a-f]{16}", version)
    assert load(tmp_path, b"\xef\xbb\xbf" + TOML_CATALOG.encode()).version == version
    assert Catalog.loads(TOML_CATALOG.encode(), "toml", "other.toml").version == version
    assert Catalog.loads(TOML_CATALOG + "\n", "toml").version != version


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)
BROKEN_ELSEWHERE: dict[str, tuple[str, str, str]] = {
    "no YAML": ("yaml", "name: x\nlocked: [", "catalog.yaml:3: not valid YAML: "),
    "a tab": ("yaml", "name: x\n\tlocked: []\n", "catalog.yaml:2: not valid YAML: "),
    "a control character": ("yaml", "name: x\nlocked: [\x07]\n", "catalog.yaml:2: not valid YAML: "),
    "nothing": ("yaml", "", "catalog.yaml:1: top level: expected a table, got None"),
    "a list": ("yaml", "- a", "catalog.yaml:1: top level: expected a table, got ['a']"),
    "two documents": ("yaml", "name: x\n---\nname: y\n", "catalog.yaml:2: not valid YAML: expected one document"),
    "a key twice": ("yaml", "name: x\nname: y", "catalog.yaml:2: not valid YAML: the key 'name' stands there twice"),
    "a key that is a list": ("yaml", "name: x\n? [a]\n: b", "catalog.yaml:2: not valid YAML: expected a key that is one"),
    "an object": ("yaml", "name: !!python/name:os.system x", "catalog.yaml:1: not valid YAML: expected no tag, got"),
    "no such day": ("yaml", "name: x\nlocked: 2024-99-99", "catalog.yaml:2: not valid YAML: month must be in 1..12"),
    "an alias of nothing": ("yaml", "name: x\nlocked: *y", "catalog.yaml:2: not valid YAML: *y stands for nothing above"),
    "an alias of itself": ("yaml", "name: x\nlocked: &y [*y]", "catalog.yaml:2: not valid YAML: *y stands for nothing"),
    "a bomb of aliases": ("yaml", LAUGHS, "catalog.yaml:5: not valid YAML: aliases repeat more than 100,000 parts"),
    "deep YAML": ("yaml", "name: " + "[" * 3000, "catalog.yaml:1: not valid YAML: nested too deeply"),
    "deep blocks": ("yaml", "name: x\nlocked: " + "- " * 300_000, "catalog.yaml:2: not valid YAML: "),
    "an unknown key of a value": (
        "yaml",
        YAML_CATALOG.replace("{id: all, name", "{id: all, units: [a], name"),
        "catalog.yaml:16: dimensions[0] (region): values[0] (all): unknown key 'units'; known are id, name, parent,",
    ),
    "an id twice": (
        "yaml",
        YAML_CATALOG.replace("id: erp", "id: crm"),
        "catalog.yaml:6: entities[1]: id: 'crm' is used twice, first in line 5",
    ),
    "a merge": ("yaml", "name: x\n<<: {locked: []}", "catalog.yaml:2: top level: unknown key '<<'; known are"),
    "no columns": ("csv", "\n\n", "catalog.csv:1: expected a line with the names of the columns: id, type, name,"),
    "an unknown column": ("csv", "id,type,label\n", "catalog.csv:1: unknown column 'label'; known are id, type, name,"),
    "a column twice": ("csv", "id,id\n", "catalog.csv:1: column 'id' stands there twice"),
    "two kinds of names": ("csv", "id,name,name_en\n", "catalog.csv:1: expected a column name, or name_zh and name_en"),
    "too many cells": ("csv", "id,type,name\na,b,c,d\n", "catalog.csv:2: expected 3 cells as above, got 4"),
    "an open quote": ("csv", 'id,type,name\na,b,c\nd,e,"f\n', "catalog.csv:3: not valid CSV: unexpected end of data"),
    "no type in a row": ("csv", "id,type,name\na,b,c\n\nd,,e\n", "catalog.csv:4: entities[1] (d): type: expected text"),
    "a row over two lines": ("csv", 'id,type,name\na,b,"c\nd"\na,b,c\n', "catalog.csv:4: entities[1]: id: 'a' is used twice"),
    "a blank alias": ("csv", "id,type,name,aliases\na,b,c,x||y\n", "catalog.csv:2: entities[0] (a): aliases: expected a list"),
    "a lone surrogate": ("yaml", "name: \ud800", "catalog.yaml: expected Unicode text, without lone surrogates"),
    "another format": ("json", "{}", "catalog.json: expected a catalog in toml, yaml, csv, got 'json'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_ELSEWHERE)
def test_broken_yaml_and_csv_are_refused_with_file_line_and_expectation(case: str) -> None:
    kind, text, message = BROKEN_ELSEWHERE[case]
    with pytest.raises(CatalogError) as refused:
        Catalog.loads(text, kind, f"catalog.{kind}")
    assert str(refused.value).startswith(message)


def test_a_complaint_shows_only_the_beginning_of_what_it_got() -> None:
    with pytest.raises(CatalogError) as refused:
        Catalog.loads(f'name = ["{"x" * 100_000}"]', "toml")
    assert len(str(refused.value)) < 200


def test_the_lines_of_toml_are_found_however_it_is_written() -> None:
    text = '''# a comment with [brackets] and "quotes"
name = """
[[entities]]
\\"""not the end" """
"locked" = [ # ]
  'a', "b]", \'\'\'
c\'\'\',
]

[[entities]]
id.x = 1.5
[ entities . "na.me" ]
zh = 2024-07-15 10:00:00
en = {a = [1,
  {b = "}"}], c.d = true}
[[dimensions]]
[[dimensions.values]]
[[dimensions.values]]
id = "z"
[[entities]]
'''
    lines = toml_lines(text)
    data = tomllib.loads(text)
    told = {
        ("name",): 2, ("locked",): 5, ("locked", 0): 6, ("locked", 2): 6, ("entities", 0): 10, ("entities", 0, "id", "x"): 11,
        ("entities", 0, "na.me"): 12, ("entities", 0, "na.me", "en", "a", 1, "b"): 15,
        ("entities", 0, "na.me", "en", "c", "d"): 15, ("dimensions", 0, "values", 1, "id"): 19, ("entities", 1): 20,
    }  # fmt: skip
    assert told.items() <= lines.items()
    for steps in lines:
        part: Any = data
        for step in steps:
            part = part[step]


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
value_rows = st.fixed_dictionaries(
    {"id": trees, "name": trees}, optional={"synonyms": trees, "unit": trees, "parent": trees}
)
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
    assert not refusal or re.match(r"catalog\.toml:\d+: ", refusal)


@given(tables)
def test_yaml_is_judged_like_toml(table: dict[str, Any]) -> None:
    def outcome(text: str, kind: str) -> object:
        try:
            return replace(Catalog.loads(text, kind, "catalog"), version="")
        except CatalogError as refused:
            return re.sub(r"line \d+", "line N", str(refused).partition(": ")[2])  # JSON is all on one line

    text = "".join(f"{key} = {toml(value)}\n" for key, value in table.items())
    assert outcome(text, "toml") == outcome(json.dumps(table, ensure_ascii=False), "yaml")


@given(
    st.text(st.sampled_from("a:-[]{}&*!|>'\"#%@` \n\t,?1x\ufeff\x85"), max_size=40),
    st.sampled_from(["yaml", "csv", "toml"]),
)
def test_any_text_loads_or_is_refused(text: str, kind: str) -> None:
    refusal = ""
    try:
        Catalog.loads(text, kind, "catalog").mentions("a")
    except CatalogError as refused:
        refusal = str(refused)
    assert not refusal or refusal.startswith("catalog:")


def test_toml_that_nests_as_deep_as_can_be_read_is_refused_all_the_same() -> None:
    for depth in range(200, 1200, 3):
        with pytest.raises(CatalogError, match=r"catalog\.toml:(1:)? "):
            Catalog.loads("name = " + "[" * depth + "]" * depth, "toml")


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


def test_ancestors_are_told_from_the_nearest_on() -> None:
    catalog = Catalog.loads(YAML_CATALOG, "yaml")
    shanghai, east, everywhere = (catalog.value("region", name) for name in ("shanghai", "east", "all"))
    assert shanghai
    assert east
    assert everywhere
    assert catalog.ancestors(shanghai) == (east, everywhere)
    assert catalog.ancestors(everywhere) == ()
    assert catalog.value("region", "nowhere") is None


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
