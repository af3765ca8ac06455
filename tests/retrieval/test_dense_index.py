from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import StorageError
from querywright.retrieval.dense import RECALL, DenseIndex


def unit(random: np.random.Generator, size: int, dimensions: int = 24) -> np.ndarray:
    vectors = random.standard_normal((size, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute(vectors: np.ndarray, positions: np.ndarray, query: np.ndarray, allowed: np.ndarray | None) -> list:
    """Rank all by (-score, position), in plain float64."""
    scores = np.round((vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1), 5).astype(np.float32)
    pairs = zip(positions.tolist(), scores.tolist(), strict=True)
    return sorted((pair for pair in pairs if allowed is None or allowed[pair[0]]), key=lambda pair: (-pair[1], pair[0]))


def found(index: DenseIndex, query: np.ndarray, depth: int, allowed: np.ndarray | None = None) -> list:
    ranking = index.search(query, depth, allowed)
    return list(zip(ranking.positions.tolist(), ranking.scores.tolist(), strict=True))


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return unit(np.random.default_rng(3), 12_000, 32)


@pytest.fixture(scope="module")
def coded(many: np.ndarray) -> DenseIndex:
    index = DenseIndex.build(many, np.arange(len(many)), exact_rows=5_000)
    assert not index.exact
    return index


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(0, 120),
    dimensions=st.integers(1, 12),
    distinct=st.integers(1, 40),
    depth=st.integers(0, 150),
    share=st.none() | st.floats(0, 1),
)
def test_the_exact_index_is_brute_force_ties_and_masks_included(
    seed: int, size: int, dimensions: int, distinct: int, depth: int, share: float | None
) -> None:
    random = np.random.default_rng(seed)
    # Few distinct vectors, so that most searches cut through a tie.
    vectors = unit(random, distinct, dimensions)[random.integers(distinct, size=size)]
    positions = np.sort(random.choice(200, size, replace=False))
    allowed = None if share is None else random.random(200) < share
    index = DenseIndex.build(vectors, positions)
    query = unit(random, 1, dimensions)[0]
    assert index.exact
    assert found(index, query, depth, allowed) == brute(vectors, positions, query, allowed)[:depth]


def test_scores_are_the_same_however_the_rows_are_divided(many: np.ndarray, coded: DenseIndex) -> None:
    whole = DenseIndex.build(many, np.arange(len(many)))
    halves = [DenseIndex.build(many[half::2], np.arange(half, len(many), 2)) for half in (0, 1)]
    for query in unit(np.random.default_rng(4), 20, 32):
        expected = found(whole, query, 300)
        together = [pair for index in halves for pair in found(index, query, 300)]
        assert sorted(together, key=lambda pair: (-pair[1], pair[0]))[:300] == expected
        scores = dict(expected)
        assert all(scores.get(position, score) == score for position, score in found(coded, query, 300))


@pytest.mark.parametrize("depth", [1, 10, 100, 1_000])
def test_codes_find_nearly_all_and_score_exactly(many: np.ndarray, coded: DenseIndex, depth: int) -> None:
    recalls = []
    for query in unit(np.random.default_rng(5), 20, 32):
        expected = brute(many, np.arange(len(many)), query, None)
        scores = dict(expected)
        ours = found(coded, query, depth)
        assert all(scores[position] == score for position, score in ours)
        assert ours == sorted(ours, key=lambda pair: (-pair[1], pair[0]))
        assert len(ours) == len(set(ours)) == depth
        recalls.append(len(set(ours) & set(expected[:depth])) / depth)
    assert np.mean(recalls) >= RECALL
    assert coded.recall >= RECALL


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 0.1, 0.4, 0.9, 0.999, 1.0])
def test_codes_under_a_filter(many: np.ndarray, coded: DenseIndex, share: float) -> None:
    random = np.random.default_rng(6)
    allowed = random.random(len(many)) < share
    recalls = []
    for query in unit(random, 10, 32):
        expected = brute(many, np.arange(len(many)), query, allowed)[:100]
        ours = found(coded, query, 100, allowed)
        assert len(ours) == len(expected)
        assert all(allowed[position] for position, _ in ours)
        recalls.append(len(set(ours) & set(expected)) / max(1, len(expected)))
    assert not allowed.any() or np.mean(recalls) >= RECALL


def test_a_filter_that_allows_only_what_is_far_away(many: np.ndarray, coded: DenseIndex) -> None:
    query = many[0]
    allowed = many @ query < 0
    assert found(coded, query, 50, allowed) == brute(many, np.arange(len(many)), query, allowed)[:50]


def test_codes_of_some_positions(many: np.ndarray) -> None:
    positions = np.arange(len(many)) * 2 + 1
    index = DenseIndex.build(many, positions, exact_rows=5_000)
    allowed = np.ones(2 * len(many) + 7, dtype=np.bool_)
    allowed[1::10] = False
    query = unit(np.random.default_rng(7), 1, 32)[0]
    expected = brute(many, positions, query, allowed)[:100]
    assert len(set(found(index, query, 100, allowed)) & set(expected)) >= 95


def test_codes_that_find_too_little_are_not_used() -> None:
    random = np.random.default_rng(8)
    # Within a heap nearly all codes are the same, and a heap is more than what codes let through.
    heaps = unit(random, 20, 8)[random.integers(20, size=60_000)]
    vectors = heaps + unit(random, 60_000, 8) * 0.03
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    index = DenseIndex.build(vectors, np.arange(60_000))
    assert index.exact
    assert index.recall == 1
    assert found(index, vectors[5], 100) == brute(vectors, np.arange(60_000), vectors[5], None)[:100]


def test_what_is_kept_comes_back(many: np.ndarray, coded: DenseIndex, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", many)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    exact = DenseIndex.build(many, np.arange(len(many)))
    assert exact.to_bytes() == b""
    for index in (coded, exact):
        again = DenseIndex.from_bytes(mapped, np.arange(len(many)), index.to_bytes())
        assert (again.exact, again.recall, len(again)) == (index.exact, index.recall, len(many))
        assert again.to_bytes() == index.to_bytes()
        assert np.shares_memory(again.vectors, mapped)
        for query in unit(np.random.default_rng(9), 5, 32):
            assert found(again, query, 100) == found(index, query, 100)


def test_building_twice_gives_the_same_codes(many: np.ndarray, coded: DenseIndex) -> None:
    assert DenseIndex.build(many, np.arange(len(many)), exact_rows=5_000).to_bytes() == coded.to_bytes()


def test_codes_of_other_vectors_are_refused(many: np.ndarray, coded: DenseIndex) -> None:
    saved = coded.to_bytes()
    for vectors in (many[:-1], many[:, :30], np.vstack([many, many[:1]])):
        with pytest.raises(StorageError, match="codes are not of"):
            DenseIndex.from_bytes(vectors, np.arange(len(vectors)), saved)
    for damaged in (saved[:5], saved[:8], saved[:100], saved[:-1], b"12345678" + b"nonsense" * 100):
        with pytest.raises(StorageError, match="cannot be read"):
            DenseIndex.from_bytes(many, np.arange(len(many)), damaged)


def test_an_odd_number_of_dimensions_is_scanned_whole() -> None:
    vectors = unit(np.random.default_rng(10), 6_000, 7)
    assert DenseIndex.build(vectors, np.arange(6_000), exact_rows=5_000).exact


def test_a_query_of_another_length_is_refused(coded: DenseIndex) -> None:
    for shape in (31, 33, (1, 32), 0):
        with pytest.raises(ValueError, match="shape"):
            coded.search(np.zeros(shape, np.float32), 10)


def test_many_threads_find_what_one_finds(many: np.ndarray, coded: DenseIndex) -> None:
    random = np.random.default_rng(11)
    queries, allowed = unit(random, 60, 32), random.random(len(many)) < 0.7
    exact = DenseIndex.build(many, np.arange(len(many)))
    for index in (coded, exact):
        alone = [found(index, query, 50, allowed) for query in queries]
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(lambda query, index=index: found(index, query, 50, allowed), queries)) == alone
