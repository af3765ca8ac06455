"""A whole evaluation with the real pipeline, collections and encoder on a tiny data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import orjson
import pytest

import querywright
from querywright import DatasetError, InputError
from querywright.eval.bench import Bench
from querywright.eval.dataset import Dataset
from querywright.eval.evaluation import load_all, run
from querywright.eval.measures import MEASURES, means, per_query
from querywright.eval.outcome import search_seconds
from querywright.eval.report import Report
from querywright.eval.runs import read_run, run_path
from querywright.eval.searches import collection_name, index, parse_legs
from querywright.retrieval.home import Collections
from querywright.retrieval.sources import read_source
from querywright.retrieval.spaces import DEFAULT_ENCODER, load_spaces
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

ARMS = ["auto", "gold", "gold+orig", "concat"]
LEGS = ["lexical", "dense", "hybrid"]


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation and what it was made of."""

    dataset: Dataset
    out: Path
    report: Report
    replay: str
    pipeline: Pipeline
    collections: Collections
    tasks: list[str]

    def again(self, out: Path, seed: int = 3, arms: list[str] | None = None) -> tuple[Report, list[str]]:
        """Evaluate once more; return the report and what progress was told."""
        tasks: list[str] = []
        report = run(
            [self.dataset.folder],
            [*ARMS, self.replay] if arms is None else arms,
            LEGS,
            self.pipeline,
            self.collections,
            out,
            seed,
            lambda task, done, total: tasks.append(task),
        )
        return report, tasks


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path]) -> Iterator[Evaluated]:
    """Evaluate the tiny data set once."""
    home = tmp_path_factory.mktemp("evaluation")
    folder = write_dataset(home / "tiny")
    replay = home / "mine.jsonl"
    replay.write_text('{"id": "c 3", "rewrite": "return a parcel, money back", "seconds": 0.125}\n')
    collections = Collections(home / "collections", load_spaces)
    tasks: list[str] = []
    pipeline = Pipeline(Settings(home=home))
    report = run(
        [folder],
        [*ARMS, f"replay:{replay}"],
        LEGS,
        pipeline,
        collections,
        home / "out",
        3,
        lambda task, done, total: tasks.append(task),
    )
    dataset = Dataset.load(folder)
    yield Evaluated(dataset, home / "out", report, f"replay:{replay}", pipeline, collections, tasks)
    pipeline.close()
    collections.close()


def test_each_arm_covers_its_queries(evaluated: Evaluated) -> None:
    found = evaluated.report["datasets"]["tiny"]
    assert (found["queries"], found["skipped"]) == (4, 2)
    covered = {arm: {entry["queries"] for entry in legs.values()} for arm, legs in found["arms"].items()}
    assert covered == {
        "none": {4},
        "auto": {4},
        "gold": {2},
        "gold+orig": {2},
        "concat": {4},
        evaluated.replay: {1},
    }
    assert all(list(legs) == LEGS for legs in found["arms"].values())


def test_a_gold_rewrite_helps_where_the_query_was_incomplete(evaluated: Evaluated) -> None:
    for arm in ("gold", "gold+orig"):
        entry = evaluated.report["datasets"]["tiny"]["arms"][arm]["lexical"]
        assert (entry["vs_none"]["helped"], entry["vs_none"]["hurt"], entry["vs_none"]["tied"]) == (1, 0, 1)
        assert entry["changed"] == 1
    assert evaluated.report["datasets"]["tiny"]["arms"]["gold"]["lexical"]["measures"]["RR@10"] == 1.0


def test_a_query_that_finds_nothing_scores_0_and_stays(evaluated: Evaluated) -> None:
    none = evaluated.report["datasets"]["tiny"]["arms"]["none"]["lexical"]
    documents = read_run(run_path(evaluated.out, "tiny", "none", "lexical"))
    assert "c 3" not in documents
    assert none["queries"] == 4
    assert none["measures"]["R@100"] <= 0.75


def test_a_replay_is_fused_and_keeps_its_time(evaluated: Evaluated) -> None:
    entry = evaluated.report["datasets"]["tiny"]["arms"][evaluated.replay]["lexical"]
    assert entry["vs_none"]["helped"] == 1
    assert set(entry["ms"]["rewrite"].values()) == {125.0}


def test_the_runs_say_what_the_report_says(evaluated: Evaluated) -> None:
    found = evaluated.report["datasets"]["tiny"]["arms"]
    files = sorted((evaluated.out / "runs" / "tiny").iterdir())
    assert len(files) == len(found) * len(LEGS)
    for arm, legs in found.items():
        for leg, entry in legs.items():
            documents = read_run(run_path(evaluated.out, "tiny", arm, leg))
            covered = {judged.id: evaluated.dataset.qrels[judged.id] for judged in evaluated.dataset.queries}
            if arm.startswith("gold"):
                covered = {judged.id: covered[judged.id] for judged in evaluated.dataset.queries if judged.gold}
            if arm == evaluated.replay:
                covered = {"c 3": covered["c 3"]}
            assert entry["measures"] == pytest.approx(means(per_query(covered, documents)), abs=1e-12)
            assert set(entry["measures"]) == set(MEASURES)


def _covered(evaluated: Evaluated, arm: str) -> list[str]:
    if arm == evaluated.replay:
        return ["c 3"]
    return [judged.id for judged in evaluated.dataset.queries if judged.gold or not arm.startswith("gold")]


def test_runs_are_in_order_and_their_scores_differ_in_float32(evaluated: Evaluated) -> None:
    for path in (evaluated.out / "runs" / "tiny").iterdir():
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        for query in {row[0] for row in rows}:
            mine = [row for row in rows if row[0] == query]
            assert [int(row[3]) for row in mine] == list(range(1, len(mine) + 1))
            assert (np.diff(np.array([row[4] for row in mine], dtype=np.float32)) < 0).all()
        assert {"%20" in row[0] for row in rows if row[0].startswith("c%")} <= {True}


def test_the_files_hold_the_report(evaluated: Evaluated) -> None:
    assert orjson.loads((evaluated.out / "results.json").read_bytes()) == evaluated.report
    assert "| tiny | gold | hybrid | 2 |" in (evaluated.out / "results.md").read_text(encoding="utf-8")
    rows = (evaluated.out / "rewrites" / "tiny" / "concat.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["id"] for row in rows] == ["c1<::>1", "c1<::>2", "c2", "c 3"]


def test_again_nothing_is_indexed_and_only_times_differ(evaluated: Evaluated, tmp_path: Path) -> None:
    report, tasks = evaluated.again(tmp_path / "again")
    assert any("indexing" in task for task in evaluated.tasks)
    assert not any("indexing" in task for task in tasks)
    assert _without_times(report) == _without_times(evaluated.report)
    for path in (evaluated.out / "runs" / "tiny").iterdir():
        assert (tmp_path / "again" / "runs" / "tiny" / path.name).read_bytes() == path.read_bytes()


def test_a_run_made_elsewhere_is_an_arm(evaluated: Evaluated, tmp_path: Path) -> None:
    run_file = run_path(evaluated.out, "tiny", "gold", "lexical")
    report, _ = evaluated.again(tmp_path / "again", arms=[f"run:{run_file}"])
    arms = report["datasets"]["tiny"]["arms"]
    gold = evaluated.report["datasets"]["tiny"]["arms"]["gold"]["lexical"]
    # The file has lines for gold's two queries; the other two found nothing there and score 0.
    expected = pytest.approx({measure: value * 2 / 4 for measure, value in gold["measures"].items()})
    for leg in ("lexical", "dense"):
        assert arms[f"run:{run_file}"][leg]["queries"] == 4
        assert arms[f"run:{run_file}"][leg]["measures"] == expected


def test_queries_have_a_row_for_each_arm_and_leg(evaluated: Evaluated) -> None:
    rows = [orjson.loads(line) for line in (evaluated.out / "queries.jsonl").read_bytes().splitlines()]
    found = evaluated.report["datasets"]["tiny"]["arms"]
    assert [(arm, leg) for arm in found for leg in LEGS] == list(
        dict.fromkeys((row["arm"], row["leg"]) for row in rows)
    )
    follow_up = next(row for row in rows if (row["id"], row["arm"], row["leg"]) == ("c1<::>2", "gold", "hybrid"))
    assert list(follow_up) == [
        *("dataset", "id", "arm", "leg", "conversation", "turn", "labels", "decision", "confidence", "rewriter"),
        *("degraded", "original", "rewrite", "gold", "edits", "values", "none", "stages", "ms", "usage"),
    ]
    assert (follow_up["conversation"], follow_up["turn"], follow_up["degraded"]) == ("c1", 1, None)
    assert follow_up["labels"] == {"problem": "missing_entity"}
    assert follow_up["rewrite"] == follow_up["gold"] == "import contacts into the CRM"
    assert (follow_up["values"]["RR@10"], set(follow_up["none"])) == (1.0, set(MEASURES))
    assert list(follow_up["stages"]) == ["rewrite", "search_rewrite", "fuse"]
    assert follow_up["ms"]["search"] > 0
    for arm, legs in found.items():
        for leg, entry in legs.items():
            mine = [row["values"]["nDCG@10"] for row in rows if (row["arm"], row["leg"]) == (arm, leg)]
            assert sum(mine) / len(mine) == pytest.approx(entry["measures"]["nDCG@10"])
    assert (evaluated.out / "qrels" / "tiny.tsv").read_text().splitlines()[1] == "c1<::>1\texport\t1"


def test_what_rewriters_spend_is_not_searching() -> None:
    stages = (("search_original", 1.0), ("rewrite", 5.0), ("rewrite.catalog", 4.0), ("fuse", 0.5))
    assert search_seconds(stages) == 1.5


def test_further_measures_stand_beside_the_usual_ones(evaluated: Evaluated, tmp_path: Path) -> None:
    report = run(
        [evaluated.dataset.folder],
        ["gold"],
        ["lexical"],
        evaluated.pipeline,
        evaluated.collections,
        tmp_path / "out",
        measures=["P@1", "AP", "P(rel=2)@5", "nDCG@5"],
    )
    gold = report["datasets"]["tiny"]["arms"]["gold"]["lexical"]
    assert list(gold["measures"]) == [*MEASURES, "P@1", "AP", "P(rel=2)@5"]
    assert gold["measures"]["P@1"] == gold["measures"]["AP"] == 1.0
    for name in ("nonsense@5", "P@", "ERR@20 "):
        with pytest.raises(InputError, match="measure"):
            run(
                [evaluated.dataset.folder],
                ["gold"],
                ["lexical"],
                evaluated.pipeline,
                evaluated.collections,
                tmp_path / "no",
                measures=[name],
            )


def test_rewrites_that_an_evaluation_kept_can_be_replayed(evaluated: Evaluated, tmp_path: Path) -> None:
    kept = evaluated.out / "rewrites" / "tiny" / "auto.jsonl"
    report, _ = evaluated.again(tmp_path / "again", arms=["auto", f"replay:{kept}"])
    arms = report["datasets"]["tiny"]["arms"]
    assert arms[f"replay:{kept}"]["hybrid"]["measures"] == arms["auto"]["hybrid"]["measures"]


def _without_times(report: Report) -> str:
    plain = orjson.loads(orjson.dumps(report))
    for dataset in plain["datasets"].values():
        for legs in dataset["arms"].values():
            for entry in legs.values():
                del entry["ms"]
                entry.pop("stages", None)
    return json.dumps(plain, sort_keys=True)


def test_an_interrupted_build_goes_on(tiny: Path, tmp_path: Path) -> None:
    collections = Collections(tmp_path / "home")
    dataset = Dataset.load(tiny)
    begun = collections.create(collection_name(dataset, DEFAULT_ENCODER))
    begun.upsert(islice(read_source(tiny), 3))
    told: list[int] = []
    pipeline = Pipeline(Settings(home=tmp_path))
    collection = index(dataset, Bench(pipeline, collections, progress=lambda task, done, total: told.append(done)))
    pipeline.close()
    assert collection.count() == dataset.documents == 8
    assert told[-1] == 8
    collections.close()


def test_the_collection_follows_corpus_and_encoder(tiny: Path) -> None:
    dataset = Dataset.load(tiny)
    assert collection_name(dataset, "minilm") == collection_name(dataset, "minilm")
    assert collection_name(dataset, "minilm") != collection_name(dataset, "other")
    assert collection_name(dataset, "minilm").startswith("eval-tiny-")


@pytest.mark.parametrize(
    ("arms", "legs", "seed", "message"),
    [
        (["nonsense"], LEGS, 0, "nonsense"),
        (["gold"], ["lexical", "sparse"], 0, "legs: expected some of"),
        (["gold"], [], 0, "legs: expected some of"),
        (["gold"], LEGS, -1, "seed"),
        (["replay:/nowhere/file.jsonl"], LEGS, 0, "file.jsonl"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_indexed(
    evaluated: Evaluated, tmp_path: Path, arms: list[str], legs: list[str], seed: int, message: str
) -> None:
    folder = [evaluated.dataset.folder]
    with pytest.raises(InputError, match=message):
        run(folder, arms, legs, evaluated.pipeline, evaluated.collections, tmp_path / "out", seed)
    assert not (tmp_path / "out").exists()


def test_an_arm_that_covers_nothing_is_refused(evaluated: Evaluated, tmp_path: Path) -> None:
    replay = tmp_path / "other.jsonl"
    replay.write_text('{"id": "elsewhere", "rewrite": "a"}\n')
    with pytest.raises(InputError, match="no query of the data sets has a rewrite"):
        evaluated.again(tmp_path / "out", arms=[f"replay:{replay}"])


def test_two_data_sets_of_one_name_are_refused(write_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folders = [write_dataset(tmp_path / place / "same") for place in "ab"]
    with pytest.raises(DatasetError, match="'same' comes twice"):
        load_all(folders)
    with pytest.raises(InputError, match="at least one folder"):
        load_all([])


def test_legs_are_taken_once() -> None:
    assert parse_legs(["hybrid", " lexical", "hybrid"]) == ("hybrid", "lexical")


def test_only_the_command_line_imports_the_evaluation() -> None:
    root = Path(querywright.__file__).parent
    importers = {
        path.name
        for room in ("rewrite", "retrieval", "service")
        for path in (root / room).glob("*.py")
        if "from ..eval" in path.read_text(encoding="utf-8") or "querywright.eval" in path.read_text(encoding="utf-8")
    }
    assert importers <= {"cli.py"}
