"""Pools: what arms and legs find, judged by hand, read back as judgments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from querywright import DatasetError, InputError
from querywright.eval.bench import Bench
from querywright.eval.pool import COLUMNS, Pooled, pool
from querywright.eval.specs import load_dataset
from querywright.retrieval.home import Collections
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings(home=tmp_path / "home", encoder="none")
    pipeline, collections = Pipeline(settings), Collections(settings.home)
    yield Bench(pipeline, collections, encoder="none", settings=settings)
    pipeline.close()
    collections.close()


def _pool(bench: Bench, tiny: Path, out: Path, *arms: str, depth: int = 2) -> Pooled:
    return pool(tiny / "queries.jsonl", tiny / "corpus.jsonl", ["none", *arms], ["lexical"], bench, out, depth)


def _rows(path: Path) -> list[dict[str, str]]:
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_a_pool_is_judged_grows_and_becomes_a_data_set(bench: Bench, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "pool.tsv"
    first = _pool(bench, tiny, out)
    rows = _rows(out)
    assert tuple(rows[0]) == COLUMNS
    assert (first.queries, first.pairs, first.judged) == (6, len(rows), 0)
    assert all(row["score"] == "" for row in rows)
    pairs = [(row["query-id"], row["corpus-id"]) for row in rows]
    assert len(set(pairs)) == len(pairs)
    assert max(sum(query == pair[0] for pair in pairs) for query, _ in pairs) <= 2
    # Judge the first two, as a spreadsheet would write it.
    lines = out.read_text(encoding="utf-8").splitlines()
    for number in (1, 2):
        columns = lines[number].split("\t")
        columns[2] = str(number)
        lines[number] = "\t".join(columns)
    out.write_bytes("\r\n".join([*lines, ""]).encode())
    grown = _pool(bench, tiny, out, "gold", "concat", depth=3)
    assert grown.pairs > first.pairs
    assert grown.judged == 2
    judged = {(row["query-id"], row["corpus-id"]): row["score"] for row in _rows(out)}
    assert [judged[pair] for pair in pairs[:2]] == ["1", "2"]
    spec = f"files:queries={tiny / 'queries.jsonl'},qrels={out},corpus={tiny / 'corpus.jsonl'}"
    found = load_dataset(spec).qrels
    assert {(query, doc): str(grade) for query, grades in found.items() for doc, grade in grades.items()} == {
        pair: judged[pair] for pair in pairs[:2]
    }


def test_json_lines_hold_history_and_text(bench: Bench, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "pool.jsonl"
    _pool(bench, tiny, out, "gold")
    rows = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    follow_up = next(row for row in rows if row["query-id"] == "c1<::>2")
    assert follow_up["history"] == ["export the customer list"]
    assert follow_up["score"] is None
    assert {row["corpus-id"]: row["text"] for row in rows}["warranty"].startswith("The laptop warranty")
    rows[0]["score"] = 3
    out.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    spec = f"files:queries={tiny / 'queries.jsonl'},qrels={out},corpus={tiny / 'corpus.jsonl'}"
    assert load_dataset(spec).qrels == {rows[0]["query-id"]: {rows[0]["corpus-id"]: 3}}
    rows[0]["score"] = "3"
    out.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DatasetError, match=r"pool\.jsonl:1: score: expected a whole number or null"):
        load_dataset(spec)


def test_a_collection_may_be_pooled(bench: Bench, tiny: Path, tmp_path: Path) -> None:
    by_file = _pool(bench, tiny, tmp_path / "a.tsv")
    name = bench.collections.names()[0]
    by_name = pool(tiny / "queries.jsonl", name, ["none"], ["lexical"], bench, tmp_path / "b.tsv", 2)
    assert by_name == by_file
    assert (tmp_path / "a.tsv").read_bytes() == (tmp_path / "b.tsv").read_bytes()


@pytest.mark.parametrize(("name", "depth"), [("pool.txt", 2), ("pool.tsv", 0), ("pool.tsv", 101)])
def test_what_is_wrong_is_said_first(bench: Bench, tiny: Path, tmp_path: Path, name: str, depth: int) -> None:
    with pytest.raises(InputError, match=r"pool\.txt|depth"):
        _pool(bench, tiny, tmp_path / name, depth=depth)
    assert bench.collections.names() == []
