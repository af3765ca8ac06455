"""Measures against pytrec_eval, asked directly."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import pytrec_eval

import querywright
from querywright.eval.dataset import Dataset
from querywright.eval.evaluation import run
from querywright.eval.measures import MEASURES, Judge, mean, means, per_query
from querywright.eval.runs import ranking, read_run, run_path
from querywright.retrieval.home import Collections
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

THEIRS = {
    "nDCG@5": "ndcg_cut_5",
    "nDCG@10": "ndcg_cut_10",
    "R@5": "recall_5",
    "R@10": "recall_10",
    "R@100": "recall_100",
}

Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


def _random_case(seed: int) -> tuple[Qrels, Run]:
    """Return judgments and a run with ties, doubles, missing queries and queries without an answer."""
    chance = random.Random(seed)
    docs = [f"d{number}" for number in range(chance.choice([3, 20, 300]))]
    qrels: Qrels = {}
    run: Run = {}
    for number in range(chance.randint(1, 12)):
        query = f"q{number}"
        judged = chance.sample(docs, chance.randint(1, min(len(docs), 30)))
        grades = (0,) if chance.random() < 0.15 else (-1, 0, 0, 1, 1, 2, 3)
        qrels[query] = {doc: chance.choice(grades) for doc in judged}
        if chance.random() < 0.8:
            found = chance.choices(docs, k=chance.randint(0, 150))
            run[query] = ranking((doc, chance.choice([0.0, 0.5, chance.random()])) for doc in found)
    run["unjudged"] = {docs[0]: 1.0}
    return qrels, run


def _theirs(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """Ask pytrec_eval; it knows no cutoff of recip_rank, so that gets the first ten documents only."""
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_5,10", "recall_5,10,100"})
    full = evaluator.evaluate({query: docs for query, docs in run.items() if docs})
    cut = {query: dict(list(docs.items())[:10]) for query, docs in run.items() if docs}
    first = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(cut)
    values = {name: {q: full.get(q, {}).get(key, 0.0) for q in qrels} for name, key in THEIRS.items()}
    return {**values, "RR@10": {q: first.get(q, {}).get("recip_rank", 0.0) for q in qrels}}


@pytest.mark.parametrize("seed", range(200))
def test_equals_pytrec_eval(seed: int) -> None:
    qrels, run = _random_case(seed)
    ours, theirs = per_query(qrels, run), _theirs(qrels, run)
    assert tuple(ours) == MEASURES
    for name in MEASURES:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9), name


def test_equals_pytrec_eval_on_the_demo(tmp_path: Path) -> None:
    folder = Path(querywright.__file__).parent / "data" / "demo"
    settings = Settings(home=tmp_path, encoder="none", catalog=folder / "catalog.toml")
    pipeline, collections = Pipeline(settings), Collections(tmp_path)
    report = run([folder], ["auto", "gold"], ["lexical"], pipeline, collections, tmp_path / "out", encoder="none")
    pipeline.close()
    collections.close()
    qrels = {query: dict(grades) for query, grades in Dataset.load(folder).qrels.items()}
    for arm, legs in report["datasets"]["demo"]["arms"].items():
        found = read_run(run_path(tmp_path / "out", "demo", arm, "lexical"))
        covered = {query: qrels[query] for query in qrels if arm != "gold" or query in found}
        theirs = _theirs(covered, found)
        for name in MEASURES:
            assert legs["lexical"]["measures"][name] == pytest.approx(mean(tuple(theirs[name].values())), abs=1e-9)


def test_a_missing_query_scores_0_and_stays_in_the_mean() -> None:
    qrels = {"found": {"a": 1}, "missing": {"a": 1}, "empty": {"a": 1}}
    values = per_query(qrels, {"found": {"a": 1.0}, "empty": {}})
    assert means(values) == pytest.approx(dict.fromkeys(MEASURES, 1 / 3))


def test_the_mean_of_some_queries_leaves_the_others_out() -> None:
    judge = Judge({"one": {"a": 1}, "two": {"a": 1}})
    values = judge.values({"one": {"a": 1.0}}, ["one"])
    assert means(values) == dict.fromkeys(MEASURES, 1.0)


def test_by_hand() -> None:
    values = per_query({"q": {"a": 1, "b": 1}}, {"q": {"x": 3.0, "a": 2.0, "y": 1.0}})
    assert values["nDCG@5"]["q"] == pytest.approx(0.6309297535714575 / 1.6309297535714575)
    assert values["R@5"]["q"] == 0.5
    assert values["RR@10"]["q"] == 0.5
