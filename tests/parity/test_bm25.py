"""BM25Index against a brute force of its formula, bm25s and rank_bm25."""

import math
from collections import Counter

import numpy as np
import pytest

from querywright.retrieval.lexical import BM25Index, Vocabulary

Corpus = list[list[str]]


def corpus(seed: int, size: int = 300, words: int = 400) -> Corpus:
    """Return passages whose words follow Zipf's law, of uneven lengths, an empty one among them."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, words + 1)
    lengths = random.integers(1, 60, size)
    lengths[size // 2] = 0
    return [[f"w{word}" for word in random.choice(words, length, p=weights / weights.sum())] for length in lengths]


def queries(seed: int) -> Corpus:
    random = np.random.default_rng(seed + 1)
    return [[f"w{word}" for word in random.integers(0, 420, random.integers(1, 8))] for _ in range(40)]


def brute_force(passages: Corpus, query: list[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Score every passage by the Lucene variant, straight from the formula."""
    mean = sum(map(len, passages)) / len(passages)
    frequency = Counter(term for passage in passages for term in set(passage))
    scores = []
    for passage in passages:
        counts = Counter(passage)
        score = 0.0
        for term in query:
            idf = math.log(1 + (len(passages) - frequency[term] + 0.5) / (frequency[term] + 0.5))
            tf = counts[term]
            score += idf * tf / (tf + k1 * (1 - b + b * len(passage) / mean)) if tf else 0.0
        scores.append(score)
    return scores


def dense_scores(index: BM25Index, query: list[str]) -> np.ndarray:
    ranking = index.search(query, len(index))
    scores = np.zeros(len(index))
    scores[ranking.positions] = ranking.scores
    return scores


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (1.2, 0.0)])
def test_equals_brute_force(seed: int, k1: float, b: float) -> None:
    passages = corpus(seed)
    index = BM25Index.build(passages, k1, b)
    for query in queries(seed):
        expected = np.array(brute_force(passages, query, k1, b))
        assert dense_scores(index, query) == pytest.approx(expected, abs=1e-5)
        found = index.search(query, 10)
        assert found.scores.tolist() == pytest.approx(sorted(expected[expected > 0])[::-1][:10], abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_equals_bm25s(seed: int) -> None:
    bm25s = pytest.importorskip("bm25s")
    passages = [passage for passage in corpus(seed) if passage]
    reference = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    reference.index(passages, show_progress=False)
    index = BM25Index.build(passages)
    for query in queries(seed):
        known = [term for term in query if term in reference.vocab_dict]
        expected = reference.get_scores(known) if known else np.zeros(len(passages))
        assert dense_scores(index, query) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_ranks_as_rank_bm25_where_the_formulas_agree(seed: int) -> None:
    """For one term that is not very common, idf and (k1 + 1) are constant factors: the ranking is the same."""
    rank_bm25 = pytest.importorskip("rank_bm25")
    passages = [passage for passage in corpus(seed) if passage]
    reference = rank_bm25.BM25Okapi(passages, k1=1.5, b=0.75)
    index = BM25Index.build(passages)
    for term in sorted({term for passage in passages for term in passage}):
        if sum(term in passage for passage in passages) > len(passages) // 4:
            continue
        expected = reference.get_scores([term])
        ours = index.search([term], len(passages))
        assert sorted(ours.positions.tolist()) == np.flatnonzero(expected).tolist()
        assert np.all(np.diff(expected[ours.positions]) <= 1e-5)
        ratio = expected[ours.positions] / ours.scores
        assert ratio == pytest.approx(np.full(len(ratio), ratio[0]), rel=1e-4)


def test_ties_keep_the_order_of_positions_and_zero_is_no_hit() -> None:
    index = BM25Index.build([["a"], ["b"], ["a"], ["a"], []])
    assert index.search(["a"], 10).positions.tolist() == [0, 2, 3]
    assert index.search(["a"], 2).positions.tolist() == [0, 2]
    assert len(index.search(["z"], 10)) == 0


def test_a_repeated_query_term_counts_again() -> None:
    index = BM25Index.build([["a", "b"], ["b", "c"]])
    once, twice = index.search(["a"], 1), index.search(["a", "a"], 1)
    assert twice.scores[0] == 2 * once.scores[0]


def test_allowed_passages_only() -> None:
    index = BM25Index.build([["a"], ["a"], ["a"]])
    allowed = np.array([False, True, True])
    assert index.search(["a"], 10, allowed).positions.tolist() == [1, 2]


@pytest.mark.parametrize("passages", [[], [[]], [[], []]])
def test_nothing_to_index(passages: Corpus) -> None:
    assert len(BM25Index.build(passages).search(["a"], 5)) == 0


def test_the_vocabulary_may_grow_and_order_of_ids_does_not_matter() -> None:
    passages = corpus(7)
    vocabulary = Vocabulary()
    vocabulary.ids([f"w{number}" for number in range(420, -1, -3)])
    index = BM25Index.from_ids([vocabulary.ids(passage) for passage in passages], vocabulary)
    vocabulary.ids(["later", "terms"])
    clean = BM25Index.build(passages)
    assert len(index.search(["later"], 5)) == 0
    for query in queries(7):
        assert dense_scores(index, query).tolist() == dense_scores(clean, query).tolist()
