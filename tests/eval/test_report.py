"""The report: what stands in results.json, and the table made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from querywright.eval.experiment import Cell, DatasetResults, Results
from querywright.eval.measures import MEASURES
from querywright.eval.report import markdown, report, to_json, write
from querywright.eval.significance import holm

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
    assert entry["ms"] == {"rewrite": {"p50": 1.0, "p95": 1.0}, "search": {"p50": 2.0, "p95": 2.0}}


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
    assert (tmp_path / "new" / "out" / "results.md").read_text(encoding="utf-8") == markdown(found)
