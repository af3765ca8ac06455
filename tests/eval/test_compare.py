"""Two evaluations compared: a broken rewriter is flagged, the same one never, noise hardly ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from querywright import InputError
from querywright.eval.compare import Gate, compare
from querywright.eval.dataset import Dataset
from querywright.eval.measures import per_query
from querywright.eval.runs import ranking
from querywright.retrieval.collection import Collection
from querywright.retrieval.snapshot import Leg
from querywright.retrieval.sources import read_source
from querywright.rewrite.catalog import Catalog
from querywright.rewrite.query import Query, Rewrite
from querywright.rewrite.rewriter import Rewriter
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

DEMO = Path(__file__).parents[2] / "data" / "demo"

Rows = Sequence[Mapping[str, object]]


def _rows(means: Sequence[float], talks: Sequence[int] | None = None, **also: object) -> list[dict[str, object]]:
    return [
        {
            "dataset": "set",
            "arm": "auto",
            "leg": "lexical",
            "id": f"q{number}",
            "conversation": f"c{number if talks is None else talks[number]}",
            "original": f"query {number}",
            "rewrite": f"rewrite {number}",
            "values": {"nDCG@10": value, "nDCG@5": value / 2},
            **also,
        }
        for number, value in enumerate(means)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str, Rows], Path]:
    """Return a function that writes the folder of an evaluation."""

    def write(name: str, rows: Rows) -> Path:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        (path / "queries.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return path

    return write


Write = Callable[[str, Rows], Path]


class _DropsEntities:
    """The default chain, broken on purpose: whatever it copies from elsewhere is lost again."""

    name = "auto"

    def __init__(self, sound: Rewriter) -> None:
        self._sound = sound

    def rewrite(self, query: Query) -> Rewrite:
        """Rewrite and drop the first thing that was filled in."""
        sound = self._sound.rewrite(query)
        text = sound.rewrite
        for edit in sound.edits[:1]:
            text = text.replace(edit.replacement, "", 1)
        return replace(sound, rewrite=text if text.strip() else query.query)


def _searched(
    dataset: Dataset, pipeline: Pipeline, collection: Collection, rewriter: Rewriter
) -> list[dict[str, object]]:
    answers = {
        judged.id: pipeline.answer(judged.query, collection, k=20, legs=[Leg.LEXICAL], rewriter=rewriter)
        for judged in dataset.queries
    }
    run = {query: ranking((hit.doc_id, hit.score) for hit in answer.hits) for query, answer in answers.items()}
    values = per_query(dataset.qrels, run, ["nDCG@10"])
    return [
        {
            "dataset": "demo",
            "arm": "auto",
            "leg": "lexical",
            "id": judged.id,
            "conversation": judged.conversation,
            "original": judged.query.query,
            "rewrite": answers[judged.id].rewrite.rewrite,
            "values": {"nDCG@10": values["nDCG@10"][judged.id]},
        }
        for judged in dataset.queries
    ]


def test_a_rewriter_that_drops_entities_is_flagged_and_an_identical_one_is_not(tmp_path: Path, folder: Write) -> None:
    dataset = Dataset.load(DEMO)
    catalog = Catalog.load(DEMO / "catalog.toml")
    with Collection(tmp_path / "demo-corpus") as collection, Pipeline(Settings(home=tmp_path), catalog) as pipeline:
        collection.upsert(read_source(DEMO), whole=True)
        sound = pipeline.rewriter("auto")
        before = folder("before", _searched(dataset, pipeline, collection, sound))
        again = folder("again", _searched(dataset, pipeline, collection, sound))
        after = folder("after", _searched(dataset, pipeline, collection, _DropsEntities(sound)))
    found = compare(before, after)
    assert found.failed
    assert found.changes[0].comparison.delta < -0.02
    assert found.changes[0].worst[0].rewrite_before != found.changes[0].worst[0].rewrite_after
    assert "FAILED" in found.markdown()
    assert compare(before, after, ["nDCG@10:-0.01@p<.05"]).failed
    assert not compare(after, before).failed
    same = compare(before, again)
    assert not same.failed
    assert same.changes[0].p_holm == 1.0
    assert not compare(before, again, ["nDCG@10:0"]).failed


def test_of_100_pairs_that_differ_by_noise_at_most_10_are_flagged(folder: Write) -> None:
    random = np.random.default_rng(21)
    flagged = 0
    for _ in range(100):
        talks = np.repeat(np.arange(24), random.integers(1, 5, 24))
        before = random.random(len(talks))
        noise = random.normal(0, 0.1, 24)[talks] + random.normal(0, 0.1, len(talks))
        after = np.clip(before + noise * (random.random(len(talks)) < 0.5), 0, 1)
        ours, theirs = (folder(name, _rows(of.tolist(), talks.tolist())) for name, of in (("a", before), ("b", after)))
        flagged += compare(ours, theirs).failed
    assert flagged <= 10


def test_what_is_compared(folder: Write) -> None:
    before = _rows([0.5, 0.5, 0.5, 0.25]) + _rows([1.0], arm="gold") + _rows([1.0, 1.0], leg="dense")
    after = _rows([0.25, 0.5, 1.0]) + _rows([0.5, 0.5], leg="dense") + _rows([0.5], arm="concat")
    after[2] |= {"original": "another query"}
    found = compare(folder("a", before), folder("b", after))
    first, second = found.changes
    assert (first.arm, first.leg, first.queries, first.left_out) == ("auto", "lexical", 2, 2)
    assert (first.before, first.after, first.comparison.delta) == (0.5, 0.375, -0.125)
    assert (first.comparison.helped, first.comparison.hurt, first.comparison.tied) == (0, 1, 1)
    assert (second.leg, second.queries, second.left_out) == ("dense", 2, 0)
    assert (found.only_before, found.only_after) == (("set/gold/lexical",), ("set/concat/lexical",))
    assert [one.id for one in first.worst] == ["q0"]
    text = found.markdown()
    assert "| set | auto | lexical | 2 | 0.500 | 0.375 | -0.125 |" in text
    assert "Left out: 2 results" in text
    assert "Only after: set/concat/lexical." in text
    assert json.loads(json.dumps(found.to_object()))["changes"][0]["delta"] == -0.125


def test_holm_adjusts_over_all_rows(folder: Write) -> None:
    before, after = [0.5] * 8, [0.4] * 8
    rows = [[row for leg in ("lexical", "dense") for row in _rows(values, leg=leg)] for values in (before, after)]
    found = compare(folder("a", rows[0]), folder("b", rows[1]))
    for change in found.changes:
        assert change.comparison.p == 2 / 2**8
        assert change.p_holm == pytest.approx(2 * change.comparison.p)
        assert change.failed


def test_what_cannot_differ_is_not_in_the_family(folder: Write) -> None:
    before, after = [0.5] * 8, [0.4] * 8
    same = [row for arm in ("none", "gold") for leg in ("lexical", "dense") for row in _rows(before, arm=arm, leg=leg)]
    found = compare(folder("a", [*_rows(before), *same]), folder("b", [*_rows(after), *same]))
    by_arm = {change.arm: change for change in found.changes}
    assert by_arm["auto"].p_holm == by_arm["auto"].comparison.p == 2 / 2**8
    assert by_arm["gold"].p_holm == 1.0
    # An index that changed moves `none` too: then it is tested like any other.
    changed = [dict(row, values={"nDCG@10": 0.4, "nDCG@5": 0.2}) for row in same]
    found = compare(folder("c", [*_rows(before), *same]), folder("d", [*_rows(after), *changed]))
    assert {change.p_holm for change in found.changes} == {5 * 2 / 2**8}


def test_a_run_is_tested_once_for_all_legs(folder: Write) -> None:
    sets = [
        [row for leg in ("lexical", "dense", "hybrid") for row in _rows(values, arm="run:theirs.trec", leg=leg)]
        for values in ([0.5] * 8, [0.4] * 8)
    ]
    found = compare(folder("a", sets[0]), folder("b", sets[1]))
    assert [change.p_holm for change in found.changes] == [2 / 2**8] * 3
    assert all(change.failed for change in found.changes)


def test_of_several_gates_all_must_hold(folder: Write) -> None:
    before, after = folder("a", _rows([0.5] * 8)), folder("b", _rows([0.48] * 8))
    loose, strict, other = "nDCG@10:-0.05", "nDCG@10:-0.01@p<.05", "nDCG@5:-0.02@p<.05"
    assert not compare(before, after, [loose, other]).failed
    found = compare(before, after, [loose, strict, other])
    assert found.failed
    assert [(str(change.gate), change.failed) for change in found.changes] == [
        (str(Gate.parse(loose)), False),
        (str(Gate.parse(strict)), True),
        (str(Gate.parse(other)), False),
    ]
    # Two measures are two tests, however many gates look at them.
    assert {change.p_holm for change in found.changes} == {2 * 2 / 2**8}
    text, told = found.markdown(), found.to_object()
    assert text.count("| set | auto | lexical |") == 3
    assert "Gate nDCG@10:-0.05: passed." in text
    assert "Gate nDCG@10:-0.01@p<0.05: failed by 1 of 1 rows." in text
    assert told["gates"] == ["nDCG@10:-0.05", "nDCG@10:-0.01@p<0.05", "nDCG@5:-0.02@p<0.05"]
    assert [row["measure"] for row in told["changes"]] == ["nDCG@10", "nDCG@10", "nDCG@5"]
    assert compare(before, after, [strict, strict]).changes == compare(before, after, [strict]).changes


@pytest.mark.parametrize(
    ("gate", "failed"),
    [
        (None, False),
        ("nDCG@10:-0.01@p<.05", False),
        ("nDCG@10:-0.01", True),
        ("nDCG@10:-0.025", False),
        ("nDCG@5:-0.01", True),
        ("nDCG@5:-0.0125", False),
        ("nDCG@10:-0.01@p<0.5", False),
        ("nDCG@10:0", True),
        ("nDCG@10:-0", True),
    ],
)
def test_gates(folder: Write, gate: str | None, *, failed: bool) -> None:
    before, after = folder("a", _rows([0.5] * 4)), folder("b", _rows([0.4, 0.5, 0.5, 0.5]))
    # One of four queries fell: delta -.025 on nDCG@10, half of it on nDCG@5; p is 1.
    found = compare(before, after, [gate] if gate else [])
    assert found.failed is failed
    assert found.gates[0].measure == (gate or "nDCG@10").partition(":")[0]


def test_a_significant_drop_within_the_margin_passes(folder: Write) -> None:
    before, after = folder("a", _rows([0.5] * 8)), folder("b", _rows([0.495] * 8))
    assert compare(before, after).failed
    assert not compare(before, after, ["nDCG@10:-0.01@p<.05"]).failed
    assert not compare(after, before).failed


@pytest.mark.parametrize(
    "text",
    ["", "nDCG@10", "nDCG@10:", ":-0.01", "nDCG@10:0.01", "nDCG@10:-2", "nDCG@10:-0.01@p<", "nDCG@10:-0.01@p<5",
     "nDCG@10:-0.01@p<0", "nDCG@10:-0.01@p>.05", "nDCG@10:-0.01%", "nDCG @10:-0.01"],
)  # fmt: skip
def test_broken_gates(folder: Write, text: str) -> None:
    same = folder("a", _rows([0.5]))
    with pytest.raises(InputError, match=r"^gate '.*': expected"):
        compare(same, same, [text])


def test_a_gate_says_what_it_is() -> None:
    assert str(Gate.parse(" nDCG@10:-0.01@p<.05 ")) == "nDCG@10:-0.01@p<0.05"
    assert str(Gate.parse("R@100:-.5")) == "R@100:-0.5"
    assert Gate() == Gate.parse("nDCG@10:0@p<.05")
    assert str(Gate()) == "nDCG@10:0@p<0.05"


def test_what_cannot_be_compared(folder: Write, tmp_path: Path) -> None:
    ours = folder("a", _rows([0.5]))
    with pytest.raises(InputError, match=r"nowhere: expected the folder of an evaluation"):
        compare(ours, tmp_path / "nowhere")
    with pytest.raises(InputError, match="nothing in common"):
        compare(ours, folder("b", _rows([0.5], arm="gold")))
    with pytest.raises(InputError, match="nothing in common"):
        compare(ours, folder("b", _rows([0.5], original="another")))
    with pytest.raises(InputError, match=r"P@3 was not measured; expected one of nDCG@10, nDCG@5"):
        compare(ours, ours, ["P@3:-0.01"])
    with pytest.raises(InputError, match="leave one of them out"):
        compare(ours, ours, ["nDCG@5:-0.01"], measure="nDCG@10")
    assert compare(ours, ours, measure="nDCG@5").changes[0].before == 0.25


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "queries.jsonl:1: file: expected at least one row"),
        (_rows([0.5]) * 2, "queries.jsonl:2: id: expected each query once"),
        (_rows([0.5], values=None), "queries.jsonl:1: values: expected an object of numbers, got null"),
        (_rows([0.5], values={"nDCG@10": "x"}), "queries.jsonl:1: values.nDCG@10: expected a number, got a string"),
        (_rows([0.5], arm=3), "queries.jsonl:1: arm: expected a string, got a number"),
    ],
)
def test_broken_rows(folder: Write, rows: Rows, message: str) -> None:
    with pytest.raises(InputError) as caught:
        compare(folder("a", _rows([0.5])), folder("b", rows))
    assert message in str(caught.value)


def test_markdown_holds_what_queries_hold(folder: Write) -> None:
    before = _rows([0.5] * 8, original="a | b\n<script>", arm="replay:x|y")
    after = _rows([0.1] * 8, original="a | b\n<script>", arm="replay:x|y")
    text = compare(folder("a", before), folder("b", after)).markdown()
    assert "replay:x\\|y" in text
    assert "a \\| b \\<script>" in text
