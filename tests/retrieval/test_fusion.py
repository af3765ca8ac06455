import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import InputError
from querywright.retrieval.fusion import Ranking, best, convex, min_max, rrf

scores = st.floats(-1e6, 1e6, width=32)


@st.composite
def rankings(draw: st.DrawFn, min_size: int = 0) -> Ranking:
    found = draw(st.dictionaries(st.integers(0, 30), scores, min_size=min_size, max_size=12))
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return make(ordered)


def make(pairs: list[tuple[int, float]]) -> Ranking:
    return Ranking(
        np.array([position for position, _ in pairs], dtype=np.int64),
        np.array([score for _, score in pairs], dtype=np.float32),
    )


def pairs(ranking: Ranking) -> list[tuple[int, float]]:
    return list(zip(ranking.positions.tolist(), ranking.scores.tolist(), strict=True))


def test_rrf_counts_ranks_from_one() -> None:
    fused = rrf([make([(7, 9.0), (3, 8.0)]), make([(3, 0.5)])])
    assert dict(pairs(fused)) == pytest.approx({3: 1 / 62 + 1 / 61, 7: 1 / 61})


def test_convex_is_the_mean_of_min_max() -> None:
    fused = convex([make([(1, 10.0), (2, 5.0), (3, 0.0)]), make([(2, 0.9), (4, 0.4)])], [3.0, 1.0])
    assert pairs(fused) == [(1, 0.75), (2, pytest.approx(0.625)), (3, 0.0), (4, 0.0)]


def test_equal_scores_become_one() -> None:
    assert pairs(convex([make([(5, 2.0)])])) == [(5, 1.0)]
    assert min_max(np.array([3.0, 3.0])).tolist() == [1.0, 1.0]


def test_empty_rankings_are_left_out_with_their_weight() -> None:
    one = make([(1, 2.0), (2, 1.0)])
    assert pairs(convex([one, make([])], [1.0, 9.0])) == pairs(convex([one]))
    assert pairs(rrf([make([]), one])) == pairs(rrf([one]))
    assert len(convex([])) == len(rrf([make([])])) == 0


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
@pytest.mark.parametrize("fuse", [rrf, convex])
def test_weights_must_be_positive_and_as_many(fuse, weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights"):
        fuse([make([(1, 1.0)]), make([(2, 1.0)])], weights)


def test_min_max_survives_the_widest_numbers() -> None:
    widest = np.array([1.7e308, 0.0, -1.7e308])
    assert min_max(widest).tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("fuse", [rrf, convex])
@given(lists=st.lists(rankings(), max_size=5), data=st.data())
def test_the_order_of_lists_does_not_matter(fuse, lists: list[Ranking], data: st.DataObject) -> None:
    weights = [data.draw(st.floats(0.1, 10)) for _ in lists]
    order = data.draw(st.permutations(range(len(lists))))
    here = fuse(lists, weights)
    there = fuse([lists[index] for index in order], [weights[index] for index in order])
    assert here.positions.tolist() == there.positions.tolist()
    assert here.scores.tolist() == there.scores.tolist()


@pytest.mark.parametrize("fuse", [rrf, convex])
@given(lists=st.lists(rankings(), max_size=4))
def test_fused_lists_are_the_sorted_union(fuse, lists: list[Ranking]) -> None:
    fused = pairs(fuse(lists))
    assert {position for position, _ in fused} == {int(p) for ranking in lists for p in ranking.positions}
    assert fused == sorted(fused, key=lambda pair: (-pair[1], pair[0]))


@given(ranking=rankings())
def test_one_list_keeps_its_order(ranking: Ranking) -> None:
    assert rrf([ranking]).positions.tolist() == ranking.positions.tolist()
    # Scores that differ by less than the rounding tie, and ties go by position: compare the scores.
    assert convex([ranking]).scores.tolist() == pytest.approx(min_max(ranking.scores).tolist() if len(ranking) else [])


@given(ranking=rankings(min_size=2), other=rankings())
def test_rising_in_a_list_never_lowers_the_fused_rank(ranking: Ranking, other: Ranking) -> None:
    last = int(ranking.positions[-1])
    risen = Ranking(np.roll(ranking.positions, 1), ranking.scores)
    before = rrf([ranking, other]).positions.tolist().index(last)
    after = rrf([risen, other]).positions.tolist().index(last)
    assert after <= before


@given(found=st.dictionaries(st.integers(0, 60), st.integers(0, 5), max_size=40), depth=st.integers(1, 50))
def test_best_is_the_head_of_the_full_sort(found: dict[int, int], depth: int) -> None:
    positions = np.array(sorted(found), dtype=np.int64)
    ranking = best(positions, np.array([found[p] for p in sorted(found)], dtype=np.float32), depth)
    expected = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:depth]
    assert pairs(ranking) == expected
