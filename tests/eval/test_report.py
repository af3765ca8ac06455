"""The report: what stands in results.json, and the table made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from querywright.eval.breakdown import QueryRow, read_queries
from querywright.eval.evaluation import search
from querywright.eval.experiment import Cell, DatasetResults, Results
from querywright.eval.headline import Verdict, headline, p_value, signed
from querywright.eval.measures import MEASURES
from querywright.eval.report import Report, document, markdown, report, to_json, write
from querywright.eval.rewriting import gold_slots
from querywright.eval.significance import holm
from querywright.retrieval.encoders import Encoder
from querywright.retrieval.home import Collections
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

IDS = tuple(f"q{number}" for number in range(30))


def _cell(arm: str, leg: str, gain: float) -> Cell:
    none = {name: dict.fromkeys(IDS, 0.25) for name in MEASURES}
    ours = {name: {query: 0.25 + gain * (place % 3 != 0) for place, query in enumerate(IDS)} for name in MEASURES}
    talks = tuple(f"t{place // 2}" for place in range(len(IDS)))
    return Cell(arm, leg, IDS, talks, ours, none, (0.001,) * 30, (0.002,) * 30, 20, 1)


def _results(seed: int = 7) -> Results:
    cells = tuple(
        _cell(arm, leg, gain)
        for arm, gain in (("none", 0), ("auto", 0.25), ("a|b", -0.1))
        for leg in ("lexical", "dense")
    )
    return Results(seed, (DatasetResults("set", 30, 2, cells), DatasetResults("other", 30, 0, cells[:3])))


def test_holds_what_the_contract_says() -> None:
    found = orjson.loads(to_json(report(_results())))
    assert (found["format"], found["seed"], list(found["datasets"])) == (1, 7, ["other", "set"])
    dataset = found["datasets"]["set"]
    assert (dataset["queries"], dataset["skipped"]) == (30, 2)
    assert set(dataset["arms"]) == {"none", "auto", "a|b"}
    entry = dataset["arms"]["auto"]["dense"]
    assert entry["queries"] == 30
    assert set(entry["measures"]) == set(entry["none"]) == set(MEASURES)
    assert entry["measures"]["nDCG@5"] == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert entry["none"]["R@100"] == 0.25
    versus = entry["vs_none"]
    assert versus["measure"] == "nDCG@5"
    assert versus["delta"] == pytest.approx(1 / 6)
    assert versus["low"] < versus["delta"] < versus["high"]
    assert versus["p"] <= versus["p_holm"] < 0.01
    assert (versus["helped"], versus["hurt"], versus["tied"]) == (20, 0, 10)
    assert entry["ms"] == {
        "rewrite": {"p50": 1.0, "p95": 1.0, "p99": 1.0},
        "search": {"p50": 2.0, "p95": 2.0, "p99": 2.0},
    }


def test_none_is_compared_with_itself() -> None:
    versus = report(_results())["datasets"]["set"]["arms"]["none"]["lexical"]["vs_none"]
    assert (versus["delta"], versus["low"], versus["high"], versus["p"], versus["p_holm"]) == (0, 0, 0, 1, 1)
    assert versus["tied"] == 30


def test_holm_covers_every_comparison_of_the_run() -> None:
    found = report(_results())
    compared = [
        leg["vs_none"]
        for dataset in found["datasets"].values()
        for arm, legs in dataset["arms"].items()
        for leg in legs.values()
        if arm != "none"
    ]
    assert len(compared) == 5
    assert [versus["p_holm"] for versus in compared] == holm([versus["p"] for versus in compared])


def test_same_results_same_bytes() -> None:
    assert to_json(report(_results())) == to_json(report(_results()))
    slower = replace(
        _results(),
        datasets=tuple(
            replace(dataset, cells=tuple(replace(cell, search_seconds=(9.0,) * 30) for cell in dataset.cells))
            for dataset in _results().datasets
        ),
    )
    entry = report(slower)["datasets"]["set"]["arms"]["auto"]["lexical"]
    assert entry["vs_none"] == report(_results())["datasets"]["set"]["arms"]["auto"]["lexical"]["vs_none"]


def test_the_table_has_a_row_for_each_cell(tmp_path: Path) -> None:
    found = report(_results())
    lines = markdown(found).splitlines()
    assert lines[0].startswith("| set | arm | leg | queries | nDCG@5 | none | delta | low..high | p_holm |")
    assert lines[0].endswith("| helped/hurt/tied | ms p50 |")
    assert len(lines) == 2 + 6 + 3
    assert lines[2] == "| set | none | lexical | 30 | 0.250 | 0.250 |  |  |  |  | 3.0 |"
    assert lines[4].startswith("| set | auto | lexical | 30 | 0.417 | 0.250 | +0.167 | +0.")
    assert "20/0/10" in lines[4]
    assert r"a\|b" in lines[6]
    write(found, tmp_path / "new" / "out")
    assert orjson.loads((tmp_path / "new" / "out" / "results.json").read_bytes())["format"] == 1
    assert (tmp_path / "new" / "out" / "results.md").read_text(encoding="utf-8") == document(found)
    assert markdown(found) in document(found)


def _row(query: str, arm: str, leg: str, ours: float, **more: object) -> QueryRow:
    row: dict[str, object] = {
        "dataset": "set",
        "id": query,
        "arm": arm,
        "leg": leg,
        "conversation": query,
        "turn": 1,
        "labels": {"problem": "missing|entity"},
        "decision": "rewrite",
        "confidence": 0.75,
        "rewriter": "catalog",
        "degraded": None,
        "original": "and this?",
        "rewrite": "and this export?",
        "gold": "and this export?",
        "edits": [{"slot": "feature", "replacement": "export"}],
        "values": {"nDCG@5": ours},
        "none": {"nDCG@5": 0.25},
        "stages": {"search": 2.0},
        "ms": {"rewrite": 1.0, "search": 2.0},
        "usage": None,
    }
    return row | more  # type: ignore[return-value]


def test_rows_add_what_they_tell() -> None:
    rows = [_row("q1", "auto", "dense", 0.5), _row("q2", "auto", "dense", 0.25)]
    found = report(_results(), rows, {"set": {"q1": (("feature", "export"),)}})["datasets"]["set"]["arms"]
    entry = found["auto"]["dense"]
    assert entry["breakdown"]["turn"]["1-2"]["helped"] == 1
    assert entry["calibration"]["queries"] == 2
    assert entry["stages"] == {"search": {"p50": 2.0, "p95": 2.0, "p99": 2.0}}
    assert entry["rewriting"]["exact_match"] == 1.0
    assert entry["rewriting"]["slots"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert "breakdown" not in found["auto"]["lexical"], "no rows, nothing to tell"
    told = document(report(_results(), [_row(row["id"], "auto", "lexical", row["values"]["nDCG@5"]) for row in rows]))
    assert r"| problem | missing\|entity | 2 | 0.375 | 0.250 | +0.125 |" in told
    assert "| 0.7-0.8 | 2 | 0.750 | 1.000 | 0.500 |" in told
    assert "| auto | lexical | search | 2.0 | 2.0 | 2.0 |" in told


def test_the_answer_in_a_sentence() -> None:
    found = report(_results())["datasets"]["set"]
    top = headline(found)
    assert top is not None
    assert (top.arm, top.leg, top.verdict) == ("auto", "lexical", Verdict.YES)
    assert top.sentence.startswith(
        "auto on lexical finds better documents than the query as typed: nDCG@5 went from 0.250"
    )
    assert top.sentence.endswith("Of 30 queries, 20 were helped, 0 hurt and 10 left as good as before.")
    del found["arms"]["auto"]
    worse = headline(found)
    assert worse is not None
    assert (worse.arm, worse.verdict) == ("a|b", Verdict.NO)
    worse.result["vs_none"]["p_holm"] = 0.2
    worse.result["vs_none"]["detectable"] = 0.123
    assert worse.verdict is Verdict.OPEN
    assert "may be noise" in worse.sentence
    assert "a true difference of 0.123 four times in five" in worse.sentence
    del found["arms"]["a|b"]
    assert headline(found) is None, "none alone is compared with nothing"


def test_the_headline_is_on_the_leg_that_is_best_without_rewriting() -> None:
    found = report(_results())["datasets"]["set"]
    found["arms"]["auto"]["dense"]["none"]["nDCG@5"] = 0.3
    top = headline(found)
    assert top is not None
    assert top.leg == "dense"


def test_figures_as_printed() -> None:
    assert [signed(value) for value in (0.25, -0.1, -0.0001, 0.0)] == ["+0.250", "−0.100", "0.000", "0.000"]
    assert [p_value(p) for p in (0.0004, 0.0312, 0.99999, 1.0)] == ["p < .001", "p = .031", "p = 1", "p = 1"]


def _paths(value: object, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the path of every key below `value`, with the documentation's words for names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            word = _word(path) or key
            yield ".".join((*path, word))
            yield from _paths(inner, (*path, word))
    if isinstance(value, list):
        for inner in value:
            yield from _paths(inner, (*path[:-1], f"{path[-1]}[]"))


def _word(path: tuple[str, ...]) -> str | None:
    """Return what stands for a key below `path` when that is a name."""
    if path == ("datasets",):
        return "DATASET"
    if path[-1:] == ("arms",):
        return "ARM"
    if path[-1:] == ("ARM",):
        return "LEG"
    words = {"measures": "MEASURE", "none": "MEASURE", "breakdown": "SPLIT", "SPLIT": "KIND", "stages": "STAGE"}
    return words.get(path[-1]) if path and path[-1] in words and "KIND" not in path else None


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, word_encoder: Encoder) -> Report:
    """Evaluate the demo for real and read results.json back."""
    home = tmp_path_factory.mktemp("report")
    demo = Path(__file__).parents[2] / "data" / "demo"
    collections = Collections(home, lambda: word_encoder)
    pipeline = Pipeline(Settings(home=home, catalog=demo / "catalog.toml"))
    results = search([demo], ["auto", "gold"], ["lexical"], pipeline, collections, home / "out")
    pipeline.close()
    collections.close()
    rows = read_queries(home / "out" / "queries.jsonl")
    write(report(results, rows, {"demo": gold_slots(demo)}), home / "out")
    found: Report = orjson.loads((home / "out" / "results.json").read_bytes())
    return found


def test_every_key_is_documented_and_every_documented_key_is_there(real: Report) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    schema = docs[docs.index("## results.json") : docs.index("`SPLIT` is one of")]
    documented = {
        path.replace("….", "datasets.DATASET.arms.") for path in re.findall(r"^\| `([^`]+)` \|", schema, re.MULTILINE)
    }
    found = set(_paths(real))
    assert documented <= found
    inner = {path for path in found if any(other.startswith((f"{path}.", f"{path}[]")) for other in found)}
    assert found - documented <= inner, "objects need no line of their own, what they hold does"


def test_queries_keys_are_documented() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    section = docs[docs.index("## queries.jsonl") :]
    told = {key for line in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for key in re.findall(r"`(\w+)`", line)}
    assert told == set(QueryRow.__annotations__)


def test_the_demo_says_whom_it_helped(real: Report) -> None:
    entry = real["datasets"]["demo"]["arms"]["auto"]["lexical"]
    for groups in (entry["breakdown"][split] for split in ("language", "turn", "decision", "rewriter")):
        assert sum(group["queries"] for group in groups.values()) == entry["queries"]
        for count in ("helped", "hurt", "tied"):
            assert sum(group[count] for group in groups.values()) == entry["vs_none"][count]  # type: ignore[literal-required]
        total = sum(group["queries"] * group["delta"] for group in groups.values())
        assert total / entry["queries"] == pytest.approx(entry["vs_none"]["delta"])
        assert all(group["low"] <= group["delta"] <= group["high"] for group in groups.values())
    assert entry["calibration"]["queries"] == sum(bucket["queries"] for bucket in entry["calibration"]["buckets"])
