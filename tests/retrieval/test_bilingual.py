"""A collection in two languages, by the real encoders: neither language crowds out the other."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import querywright
from querywright.retrieval.analysis import is_chinese
from querywright.retrieval.chinese_encoder import ChineseEncoder
from querywright.retrieval.collection import Collection
from querywright.retrieval.passage import Document
from querywright.retrieval.spaces import Spaces

DEMO = Path(querywright.__file__).parent / "data" / "demo"


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (DEMO / name).read_text(encoding="utf-8").splitlines()]


def language(text: str) -> str:
    return "zh" if is_chinese(text) else "en"


@pytest.fixture(scope="module")
def collections(tmp_path_factory, encoder) -> Iterator[dict[str, Collection]]:
    """Return the demo's passages as one collection, and those of each language as one of their own."""
    spaces = Spaces(encoder, ChineseEncoder())
    documents = [Document(row["_id"], row["text"], row.get("title", "")) for row in rows("corpus.jsonl")]
    made = {}
    for name in ("both", "en", "zh"):
        made[name] = Collection(tmp_path_factory.mktemp("bilingual") / name, spaces)
        made[name].upsert(one for one in documents if name in ("both", language(f"{one.title}\n{one.text}")))
    yield made
    for opened in made.values():
        opened.close()


@pytest.fixture(scope="module")
def judged() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (DEMO / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query_id, doc_id, score = line.split("\t")
        if score == "2":
            found.setdefault(query_id, set()).add(doc_id)
    return found


@pytest.mark.parametrize("asked", ["en", "zh"])
@pytest.mark.parametrize("legs", ["lexical", "dense", "hybrid"])
def test_a_query_finds_among_both_what_it_finds_in_its_own_language(collections, judged, asked: str, legs: str) -> None:
    queries = [row for row in rows("queries.jsonl") if row["lang"] == asked and row.get("rewrite")][:60]
    together, alone, own = 0, 0, 0
    for row in queries:
        relevant = judged.get(row["_id"], set())
        hits = collections["both"].search(row["rewrite"], 10, legs)
        together += bool(relevant & {hit.doc_id for hit in hits[:3]})
        alone += bool(relevant & {hit.doc_id for hit in collections[asked].search(row["rewrite"], 3, legs)})
        own += sum(language(f"{hit.title}\n{hit.text}") == asked for hit in hits) / len(hits)
    assert alone > len(queries) / 2
    assert together >= alone - len(queries) / 20
    assert own / len(queries) > 0.85


def test_a_code_is_found_in_either_language(collections) -> None:
    both = collections["both"]
    both.upsert(
        [
            Document("zh-code", "错误代码 E-4711 表示打印机缺纸。"),
            Document("en-code", "The printer shows E-4712 when its tray is open."),
        ]
    )
    try:
        assert both.search("E-4711", 1)[0].doc_id == "zh-code"
        assert "zh-code" in {hit.doc_id for hit in both.search("error E-4711", 2)}
        assert both.search("printer E-4712", 1)[0].doc_id == "en-code"
        assert "en-code" in {hit.doc_id for hit in both.search("打印机 E-4712", 2)}
    finally:
        both.delete(["zh-code", "en-code"])
