"""BM25Index against brute force, to the last bit, whichever way it searches."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querywright.retrieval import maxscore
from querywright.retrieval.lexical import BM25Index, Statistics, Vocabulary

Passages = list[list[str]]

# How many postings are few, and how small a share of all passages is worth going through all of them.
WAYS = {"as it is": (2048, 32), "picking": (0, 0), "going through all": (0, 10**9)}

words = st.sampled_from("abcdefgh")
corpora = st.lists(st.lists(words, max_size=6), min_size=1, max_size=60)
queries = st.lists(words, max_size=6)


def brute_force(passages: Passages, query: list[str], k1: float = 1.5, b: float = 0.75) -> np.ndarray:
    """Score every passage by the formula; impacts are added up in single precision, rarest term first."""
    size = len(passages)
    mean = sum(map(len, passages)) / size or 1.0
    frequency = Counter(term for passage in passages for term in set(passage))
    scores = np.zeros(size, np.float32)
    for term, count in sorted(Counter(query).items(), key=lambda one: (frequency[one[0]], one[0])):
        idf = np.log1p((size - frequency[term] + 0.5) / (frequency[term] + 0.5))
        for position, passage in enumerate(passages):
            if times := passage.count(term):
                impact = idf * times / (times + k1 * (1 - b + b * len(passage) / mean))
                scores[position] += np.float32(impact) * np.float32(count)
    return scores


def best(scores: np.ndarray, depth: int) -> list[tuple[int, float]]:
    ranked = sorted((-float(score), position) for position, score in enumerate(scores) if score > 0)
    return [(position, -score) for score, position in ranked[:depth]]


def found(index: BM25Index, query: list[str], depth: int, allowed: np.ndarray | None = None) -> list[tuple[int, float]]:
    ranking = index.search(query, depth, allowed)
    return list(zip(ranking.positions.tolist(), ranking.scores.tolist(), strict=True))


def zipf_passages(seed: int, size: int, count: int = 300) -> Passages:
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, count + 1)
    return [
        [f"w{word}" for word in random.choice(count, length, p=weights / weights.sum())]
        for length in random.integers(0, 25, size).tolist()
    ]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    short, dense = WAYS[request.param]
    monkeypatch.setattr(maxscore, "_SHORT", short)
    monkeypatch.setattr(maxscore, "_DENSE", dense)


@pytest.mark.parametrize("way", WAYS)
def test_equals_brute_force_with_many_ties(way: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(corpora, st.lists(queries, min_size=1, max_size=4), st.integers(1, 70), st.data())
    def check(passages: Passages, asked: Passages, depth: int, data: st.DataObject) -> None:
        index = BM25Index.build(passages)
        allowed = np.array(data.draw(st.lists(st.booleans(), min_size=len(passages), max_size=len(passages))))
        for query in asked:
            scores = brute_force(passages, query)
            assert found(index, query, depth) == best(scores, depth)
            assert found(index, query, depth, allowed) == best(scores * allowed, depth)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maxscore, "_SHORT", WAYS[way][0])
        patch.setattr(maxscore, "_DENSE", WAYS[way][1])
        check()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(2))
def test_the_best_of_many_are_the_head_of_all(seed: int) -> None:
    """At every depth, whatever share of the passages is allowed; what was left out would have shown."""
    random = np.random.default_rng(seed)
    passages = zipf_passages(seed, 3000)
    index = BM25Index.build(passages)
    for query in ([f"w{word}" for word in random.integers(0, 300, random.integers(1, 7))] for _ in range(15)):
        scores = brute_force(passages, query)
        for share in (0.002, 0.05, 0.9, 1):
            allowed = random.random(len(passages)) < share
            for depth in (1, 7, 100, 1000, 5000):
                assert found(index, query, depth, allowed) == best(scores * allowed, depth)
        assert found(index, query, 10) == best(scores, 10)


def test_says_whether_it_found_all() -> None:
    index = BM25Index.build(zipf_passages(3, 3000))
    everything = len(index.search(["w0", "w5"], 5000))
    assert index.search(["w0", "w5"], everything).whole
    assert not index.search(["w0", "w5"], everything - 1).whole
    assert not index.search(["w0", "w5"], 10).whole


def test_nothing_allowed_and_nothing_asked() -> None:
    index = BM25Index.build(zipf_passages(4, 3000))
    assert found(index, ["w0", "w1"], 10, np.zeros(3000, np.bool_)) == []
    assert found(index, [], 10) == []
    assert found(index, ["no such word"], 10) == []


@pytest.mark.usefixtures("way")
def test_a_long_query_with_repeated_words() -> None:
    passages = zipf_passages(5, 3000)
    query = [*passages[7], *passages[8], *passages[7], "w0"] * 3
    assert found(BM25Index.build(passages), query, 50) == best(brute_force(passages, query), 50)


def test_holding_counts_passages_with_all_words() -> None:
    passages = zipf_passages(6, 800)
    index = BM25Index.build(passages)
    for wanted in (["w0"], ["w0", "w1"], ["w3", "w2", "w1", "w3"], ["w1", "unknown"], ["w299", "w298"], []):
        expected = sum(set(wanted) <= set(passage) for passage in passages) if wanted else 0
        assert index.holding(wanted) == expected


def test_searches_side_by_side() -> None:
    passages = zipf_passages(8, 3000)
    index = BM25Index.build(passages)
    asked = [passage[:5] for passage in passages[:300]]
    alone = [found(index, query, 20) for query in asked]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: found(index, query, 20), asked)) == alone


def test_from_memory_maps_uncopied(tmp_path: Path) -> None:
    passages = zipf_passages(9, 1000)
    vocabulary = Vocabulary()
    index = BM25Index.from_ids([vocabulary.ids(passage) for passage in passages], vocabulary)
    maps = {}
    for name, array in index.arrays().items():
        np.save(tmp_path / name, array)
        maps[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    again = BM25Index.from_arrays(vocabulary, maps)
    assert len(again) == len(index)
    assert again.statistics.mean_lengths.tolist() == index.statistics.mean_lengths.tolist()
    for name, array in again.arrays().items():
        assert np.shares_memory(array, maps[name])
        assert not array.flags.writeable
    for passage in passages[:50]:
        assert found(again, passage[:4], 30) == found(index, passage[:4], 30)


@settings(max_examples=60, deadline=None)
@given(corpora, corpora, queries)
def test_by_the_statistics_of_another_index_equal_passages_score_the_same(
    base: Passages, delta: Passages, query: list[str]
) -> None:
    vocabulary = Vocabulary()
    large = BM25Index.from_ids([vocabulary.ids(passage) for passage in base], vocabulary)
    small = BM25Index.from_ids(
        [vocabulary.ids(passage) for passage in [*delta, *base]], vocabulary, statistics=large.statistics
    )
    assert small.statistics.size == len(base)
    in_base = {passage_terms for passage in base for passage_terms in passage}
    known = [term for term in query if term in in_base]
    scores = dict(found(small, known, len(small)))
    assert [(position, scores.get(position + len(delta))) for position, _ in found(large, known, len(base))] == found(
        large, known, len(base)
    )


def test_a_word_that_the_other_index_lacks_has_its_own_frequency() -> None:
    vocabulary = Vocabulary()
    base = BM25Index.from_ids([vocabulary.ids(["a", "b"])] * 10, vocabulary)
    delta = BM25Index.from_ids([vocabulary.ids(["a", "new"])] * 3, vocabulary, statistics=base.statistics)
    (_, score), *_ = found(delta, ["new"], 1)
    assert score == pytest.approx(math.log(1 + 7.5 / 3.5) / 2.5)
    (_, score), *_ = found(delta, ["a"], 1)
    assert score == pytest.approx(math.log(1 + 0.5 / 10.5) / 2.5)


def test_statistics_of_nothing_are_ones_own() -> None:
    vocabulary = Vocabulary()
    lists = [vocabulary.ids(passage) for passage in (["a", "b"], ["b"])]
    empty = Statistics(0, 1.0, np.empty(0, np.int32))
    alone = BM25Index.from_ids(lists, vocabulary)
    assert found(BM25Index.from_ids(lists, vocabulary, statistics=empty), ["a", "b"], 5) == found(alone, ["a", "b"], 5)
