"""RankBM25Index against bm25s, and against ours where the formulas agree."""

import numpy as np
import pytest

from querywright.retrieval.lexical import BM25Index
from querywright.retrieval.lexical_reference import RankBM25Index

pytest.importorskip("rank_bm25")

Corpus = list[list[str]]


def corpus(seed: int, size: int = 300, words: int = 400) -> Corpus:
    """Return passages whose words follow Zipf's law, except that none is in more than a few."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(20, words + 20)
    return [
        [f"w{word}" for word in random.choice(words, length, p=weights / weights.sum())]
        for length in random.integers(1, 60, size).tolist()
    ]


def queries(seed: int) -> Corpus:
    random = np.random.default_rng(seed + 1)
    return [[f"w{word}" for word in random.integers(0, 420, random.integers(1, 8))] for _ in range(40)]


@pytest.mark.parametrize("seed", range(3))
def test_equals_robertson_of_bm25s_where_no_term_is_very_common(seed: int) -> None:
    bm25s = pytest.importorskip("bm25s")
    passages = corpus(seed)
    reference = bm25s.BM25(method="robertson", k1=1.5, b=0.75)
    reference.index(passages, show_progress=False)
    index = RankBM25Index.build(passages)
    for query in queries(seed):
        known = [term for term in query if term in reference.vocab_dict]
        expected = reference.get_scores(known) if known else np.zeros(len(passages))
        ranking = index.search(query, len(passages))
        scores = np.zeros(len(passages))
        scores[ranking.positions] = ranking.scores
        # Its numerator has (k1 + 1), which orders nothing.
        assert scores == pytest.approx(2.5 * expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_ranks_as_ours_where_the_formulas_agree(seed: int) -> None:
    """For one term that is in less than half of the passages, idf and (k1 + 1) are constant factors."""
    passages = corpus(seed)
    ours, reference = BM25Index.build(passages), RankBM25Index.build(passages)
    allowed = np.arange(len(passages)) % 3 > 0
    for term in sorted({term for passage in passages for term in passage}):
        for mask in (None, allowed):
            expected, found = reference.search([term], 300, mask), ours.search([term], 300, mask)
            assert sorted(found.positions.tolist()) == sorted(expected.positions.tolist())
            if len(found):
                ratio = np.sort(expected.scores) / np.sort(found.scores)
                assert ratio == pytest.approx(np.full(len(ratio), ratio[0]), rel=1e-4)
        assert ours.holding([term]) == reference.holding([term])


def test_lifts_very_common_words_where_ours_does_not() -> None:
    passages = [["common", f"word{number}"] for number in range(8)]
    ours, reference = BM25Index.build(passages), RankBM25Index.build(passages)
    # A quarter of the mean idf, times (k1 + 1), over the damping.
    mean_idf = (8 * np.log(7.5 / 1.5) + np.log(0.5 / 8.5)) / 9
    assert reference.search(["common"], 1).scores[0] == pytest.approx(mean_idf / 4 * 2.5 / 2.5)
    assert ours.search(["common"], 1).scores[0] == pytest.approx(np.log(1 + 0.5 / 8.5) / 2.5)


@pytest.mark.parametrize("passages", [[], [[]], [[], []]])
def test_nothing_to_index(passages: Corpus) -> None:
    index = RankBM25Index.build(passages)
    assert len(index) == len(passages)
    assert len(index.search(["a"], 5)) == 0
    assert index.holding(["a"]) == index.holding([]) == 0
