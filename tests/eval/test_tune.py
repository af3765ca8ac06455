"""Tuning: faithful to the service, better where something is to be found, honest where not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from querywright import InputError
from querywright.eval.arms import Rewrites
from querywright.eval.bench import Bench
from querywright.eval.dataset import Dataset
from querywright.eval.measures import per_query
from querywright.eval.prepared import Corner, Parameters, Prepared
from querywright.eval.runs import ranking
from querywright.eval.tune import Grid, corners, tune
from querywright.retrieval.collection import Collection
from querywright.retrieval.encoders import Encoder
from querywright.retrieval.home import Collections
from querywright.retrieval.snapshot import Leg
from querywright.retrieval.sources import read_source
from querywright.rewrite.catalog import Catalog
from querywright.rewrite.query import Decision, Edit, Evidence, Problem, Query, Rewrite, Source
from querywright.rewrite.rewriter import Rewriter
from querywright.service.pipeline import CHEAP, Pipeline
from querywright.service.settings import Settings

DEFAULT = Parameters()
DEMO = Path(__file__).parents[2] / "data" / "demo"
BOTH = (Leg.LEXICAL, Leg.DENSE)
WORDS = ["export", "import", "refund", "invoice", "laptop", "coast", "canvas", "parcel", "warranty", "contact"]
GRID: Grid = {
    ("share_base", "share_slope"): [(0.0, 0.2), (0.2, 0.6), (0.9, 0.0)],
    ("lexical_weight",): [(0.2,), (0.5,), (0.8,)],
    ("min_confidence",): [(0.0,), (0.45,), (0.9,)],
}


def _says(dataset: Dataset) -> Rewrites:
    """Rewrite to what the profile says, right or wrong, as sure as it tells."""
    return {judged.id: _said(judged.query) for judged in dataset.queries}


def _said(query: Query) -> Rewrite:
    said = "".join(query.profile_values("said"))
    if not said:
        return Rewrite.keep(query)
    confidence = float("".join(query.profile_values("confidence")))
    evidence = Evidence(Source.PROFILE, "profile.said", said)
    edit = Edit(Problem.MISSING_ENTITY, "topic", 0, len(query.query), said, evidence, confidence)
    return Rewrite(query.query, said, Decision.REWRITE, confidence, (edit,), rewriter="says")


@pytest.fixture
def corner(
    tmp_path: Path, write_dataset: Callable[..., Path], word_encoder: Encoder
) -> Iterator[Callable[[str, Sequence[dict[str, object]], Sequence[tuple[str, str, int]]], Corner]]:
    """Return a function that writes and indexes a data set over ten documents of one word and a few more."""
    opened = []

    def make(name: str, queries: Sequence[dict[str, object]], qrels: Sequence[tuple[str, str, int]]) -> Corner:
        corpus = [{"_id": word, "text": f"{word} thing number {place}"} for place, word in enumerate(WORDS)]
        folder = write_dataset(tmp_path / name, corpus, queries, qrels)
        collection = Collection(tmp_path / f"{name}-collection", word_encoder)
        opened.append(collection)
        collection.upsert(read_source(folder), whole=True)
        return Corner(Dataset.load(folder), collection, [_says])

    yield make
    for collection in opened:
        collection.close()


def _queries(start: int, count: int) -> tuple[list[dict[str, object]], list[tuple[str, str, int]]]:
    """Return queries, half of them misleading with a right rewrite, half right with a wrong, doubtful one."""
    queries, qrels = [], []
    for number in range(start, start + count):
        wanted, other = WORDS[number % 10], WORDS[(number + 3) % 10]
        typed, said, confidence = (other, wanted, "0.5") if number % 2 else (wanted, other, "0.15")
        profile = {"said": said, "confidence": confidence}
        queries.append(
            {
                "_id": f"q{number}",
                "text": f"{typed} {typed} zz{'abcdefgh'[number // 22]}{chr(97 + number % 22)}",
                "profile": profile,
            }
        )
        qrels.append((f"q{number}", wanted, 1))
    return queries, qrels


def _rewritten(rewriter: Rewriter, dataset: Dataset) -> Rewrites:
    return {judged.id: rewriter.rewrite(judged.query) for judged in dataset.queries}


def test_defaults_rank_as_the_service_does(tmp_path: Path, word_encoder: Encoder) -> None:
    dataset, catalog = Dataset.load(DEMO), Catalog.load(DEMO / "catalog.toml")
    with Collection(tmp_path / "c", word_encoder) as collection, Pipeline(Settings(home=tmp_path), catalog) as pipeline:
        collection.upsert(read_source(DEMO), whole=True)
        chains = [pipeline.rewriter(name) for name in CHEAP]
        rewriters = [partial(_rewritten, chain) for chain in chains]
        for legs in (BOTH, (Leg.LEXICAL,)):
            prepared = Prepared(Corner(dataset, collection, rewriters), legs, "nDCG@5")
            answers = (
                (judged, pipeline.answer(judged.query, collection, k=100, legs=legs)) for judged in dataset.queries
            )
            run = {judged.id: ranking((hit.doc_id, hit.score) for hit in answer.hits) for judged, answer in answers}
            expected = per_query(dataset.qrels, run)["nDCG@5"]
            ours = dict(zip(expected, prepared.values(DEFAULT), strict=True))
            assert ours == pytest.approx(expected, abs=1e-9)


def test_what_is_tuned_is_the_services_own_chain(tmp_path: Path, tiny: Path) -> None:
    dataset, settings = Dataset.load(tiny), Settings(home=tmp_path / "home", encoder="none")
    collections, asked = Collections(settings.home), []
    with Pipeline(settings) as pipeline:
        bench = Bench(
            pipeline, collections, encoder="none", settings=settings, progress=lambda task, *_: asked.append(task)
        )
        with corners(dataset, dataset, bench, settings) as (training, _):
            made = [rewriter(dataset) for rewriter in training.rewriters]
    collections.close()
    assert [task.split()[1].rstrip(",") for task in dict.fromkeys(asked) if "rewriting" in task] == list(CHEAP)
    assert len(made) == len(CHEAP)


def test_the_gate_and_the_weights_are_found(corner: Callable[..., Corner]) -> None:
    training, test = corner("training", *_queries(0, 66)), corner("test", *_queries(66, 66))
    found = tune(training, test, grid=GRID, measure="nDCG@1")
    # Right rewrites need more weight than the misleading originals; the gate keeps the wrong ones out already.
    assert found.parameters.share(0.5) > DEFAULT.share(0.5)
    assert found.tuned[0] > found.default[0]
    assert found.tested.delta > 0
    assert found.worthwhile()
    assert not found.warnings
    assert "share_base = 0.9" in found.markdown()
    assert json.loads(json.dumps(found.to_object()))["results"]["test"]["tuned"] == found.tuned[1]
    assert tune(training, test, grid=GRID, measure="nDCG@1") == found


def test_nothing_to_find_keeps_the_defaults(corner: Callable[..., Corner]) -> None:
    queries = [{"_id": f"q{place}", "text": word} for place, word in enumerate(WORDS)]
    qrels = [(f"q{place}", word, 1) for place, word in enumerate(WORDS)]
    training = corner("training", queries, qrels)
    test = corner("test", [{**row, "text": f"the {row['text']}"} for row in queries], qrels)
    found = tune(training, test, grid=GRID)
    assert found.parameters == DEFAULT
    assert found.changed() == {}
    assert not found.worthwhile()
    assert "those that are set" in found.markdown()
    assert found.warnings == ("the parameters found change nothing on test",)


def test_the_same_data_on_both_sides_is_warned_of(corner: Callable[..., Corner]) -> None:
    training = corner("training", *_queries(0, 20))
    found = tune(training, training, grid=GRID)
    assert "20 of the 20 test queries are training queries too" in found.warnings[0]
    assert "Warning: 20 of" in found.markdown()


def test_bm25_is_searched_only_where_it_is_used(corner: Callable[..., Corner]) -> None:
    training, test = corner("training", *_queries(0, 12)), corner("test", *_queries(20, 12))
    grid: Grid = {**GRID, ("k1", "b"): [(0.5, 0.2), (1.5, 0.75), (3.0, 1.0)]}
    lexical = tune(training, test, legs=[Leg.LEXICAL], grid=grid)
    dense = tune(training, test, legs=[Leg.DENSE], grid=grid)
    assert lexical.parameters.lexical_weight == DEFAULT.lexical_weight
    assert (dense.parameters.k1, dense.parameters.b) == (DEFAULT.k1, DEFAULT.b)
    assert dense.tried < lexical.tried


def test_confidence_below_the_gate_leaves_the_original_alone(corner: Callable[..., Corner]) -> None:
    prepared = Prepared(corner("set", *_queries(0, 10)), BOTH, "nDCG@5")
    shut = prepared.values(replace(DEFAULT, min_confidence=1.0))
    silent = replace(corner("other", *_queries(0, 10)), rewriters=[])
    without = Prepared(silent, BOTH, "nDCG@5").values(DEFAULT)
    assert np.array_equal(shut, without)
    assert not np.array_equal(shut, prepared.values(Parameters(min_confidence=0.0)))


@pytest.mark.parametrize("measure", ["nonsense@5", "nDCG@x", ""])
def test_unknown_measures(corner: Callable[..., Corner], measure: str) -> None:
    training = corner("training", *_queries(0, 4))
    with pytest.raises(InputError, match=r"measure .*: expected one that ir_measures can compute here"):
        tune(training, training, measure=measure)


def test_a_measure_that_leaves_0_to_1_is_refused(corner: Callable[..., Corner]) -> None:
    training = corner("training", *_queries(0, 4))
    with pytest.raises(InputError, match="measure 'NumRet': expected one between 0 and 1"):
        tune(training, training, measure="NumRet")


@pytest.mark.parametrize("measure", ["RR@10", "AP", "R@3", "P(rel=1)@2", "nDCG@10"])
def test_any_measure_is_what_the_evaluation_says(
    corner: Callable[..., Corner], measure: str, tmp_path: Path, word_encoder: Encoder
) -> None:
    made = corner("set", *_queries(0, 12))
    ours = Prepared(replace(made, rewriters=[]), (Leg.LEXICAL,), measure).values(DEFAULT)
    run = {}
    for judged in made.dataset.queries:
        (found,) = made.collection.snapshot().rank([judged.query.query], (Leg.LEXICAL,))
        hits = made.collection.snapshot().hits(found[Leg.LEXICAL], 100)
        run[judged.id] = ranking((hit.doc_id, hit.score) for hit in hits)
    assert ours.tolist() == pytest.approx(list(per_query(made.dataset.qrels, run, [measure])[measure].values()))


def test_what_is_set_is_where_the_search_begins(corner: Callable[..., Corner]) -> None:
    training, test = corner("training", *_queries(0, 12)), corner("test", *_queries(20, 12))
    settings = Settings(rewrite_share_base=0.9, rewrite_share_slope=0.0, min_confidence=0.45, bm25_b=0.5)
    before = Parameters.of(settings)
    assert (before.share_base, before.min_confidence, before.b, before.k1) == (0.9, 0.45, 0.5, DEFAULT.k1)
    assert Parameters.of(Settings()) == DEFAULT
    found = tune(training, test, before, grid={("lexical_weight",): [(0.5,)]})
    assert found.parameters == found.before == before
    assert found.default[0] == pytest.approx(Prepared(training, BOTH, "nDCG@5").values(before).mean())
    assert found.default[0] != tune(training, test, grid={("lexical_weight",): [(0.5,)]}).default[0]


def _of(queries: Sequence[dict[str, object]], qrels: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    ids = {row["_id"] for row in queries}
    return [row for row in qrels if row[0] in ids]


def _prompted(asked: dict[str | None, list[str]], good: str) -> dict[str | None, Callable[[Dataset], Rewrites]]:
    """Return LLMs by prompt; one of them knows what is wanted. What each is asked is kept."""

    def rewrites(prompt: str | None, dataset: Dataset) -> Rewrites:
        asked.setdefault(prompt, []).extend(judged.id for judged in dataset.queries)
        told = {judged.id: _said(judged.query) for judged in dataset.queries}
        if prompt == good:
            return {query_id: replace(rewrite, confidence=0.8) for query_id, rewrite in told.items()}
        return {judged.id: Rewrite.keep(judged.query) for judged in dataset.queries}

    return {prompt: partial(rewrites, prompt) for prompt in (None, "bad.txt", good)}


def test_a_prompt_is_found_and_others_are_not_paid_for_on_the_test_set(corner: Callable[..., Corner]) -> None:
    asked: list[dict[str | None, list[str]]] = [{}, {}]
    queries, qrels = _queries(1, 60)
    misled = [row for row in queries if row["profile"]["confidence"] == "0.5"]  # type: ignore[index]
    half = len(misled) // 2
    sets = [
        replace(corner(name, rows, _of(rows, qrels)), rewriters=[], prompted=_prompted(log, "good.txt"))
        for name, rows, log in (("training", misled[:half], asked[0]), ("test", misled[half:], asked[1]))
    ]
    found = tune(sets[0], sets[1], grid=GRID, measure="RR@10")
    assert found.parameters.prompt == "good.txt"
    assert found.tested.delta > 0
    assert "prompt = good.txt" in found.markdown()
    assert found.to_object()["before"]["prompt"] is None  # type: ignore[index]
    assert {prompt: len(ids) for prompt, ids in asked[0].items()} == dict.fromkeys((None, "bad.txt", "good.txt"), half)
    assert set(asked[1]) == {None, "good.txt"}


def test_what_is_sure_is_not_asked_for(corner: Callable[..., Corner]) -> None:
    asked: dict[str | None, list[str]] = {}
    made = corner("set", *_queries(0, 10))
    sure = {judged.id: replace(_said(judged.query), confidence=0.95) for judged in made.dataset.queries[:4]}
    made = replace(made, rewriters=[lambda _: sure], prompted=_prompted(asked, "good.txt"))
    Prepared(made, BOTH, "nDCG@5", 0.9).values(DEFAULT)
    assert asked == {None: [judged.id for judged in made.dataset.queries[4:]]}


def test_one_conversation_is_too_few(corner: Callable[..., Corner]) -> None:
    training = corner("training", *_queries(0, 1))
    with pytest.raises(InputError, match="at least two conversations"):
        tune(training, training)
