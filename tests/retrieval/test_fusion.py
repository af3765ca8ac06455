import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import InputError
from querywright.retrieval.fusion import Method, Ranking, best, calibrate, convex, fuse, join, min_max, rrf

scores = st.floats(-1e6, 1e6, width=32)


@st.composite
def rankings(draw: st.DrawFn, min_size: int = 0) -> Ranking:
    found = draw(st.dictionaries(st.integers(0, 30), scores, min_size=min_size, max_size=12))
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return make(ordered)


def make(pairs: list[tuple[int, float]], least: float = 0.0, *, whole: bool = False) -> Ranking:
    return Ranking(
        np.array([position for position, _ in pairs], dtype=np.int64),
        np.array([score for _, score in pairs], dtype=np.float32),
        least,
        whole,
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


CONVEX = [Method.MIN_MAX, Method.THEORETICAL, Method.Z_SCORE]


def convex_by(method: Method, ranking: Ranking) -> list[float]:
    return convex([ranking], normalise=method).scores.tolist()


def test_theory_measures_from_the_least_of_the_leg() -> None:
    cut = make([(1, 10.0), (2, 9.0), (3, 8.0)])
    assert convex_by(Method.THEORETICAL, cut) == [pytest.approx(0.2), pytest.approx(0.1), 0.0]
    whole = make([(1, 10.0), (2, 9.0), (3, 8.0)], whole=True)
    assert convex_by(Method.THEORETICAL, whole) == [1.0, pytest.approx(0.9), pytest.approx(0.8)]
    cosines = make([(1, 0.6), (2, 0.2)], least=-1.0)
    assert convex_by(Method.THEORETICAL, cosines) == [pytest.approx(0.25), 0.0]


def test_a_flat_list_decides_little_by_theory_and_everything_by_min_max() -> None:
    flat, steep = make([(1, 5.01), (2, 5.0)]), make([(2, 9.0), (1, 4.0)])
    assert convex([flat, steep], [3, 2]).positions.tolist() == [1, 2]
    assert convex([flat, steep], [3, 2], Method.THEORETICAL).positions.tolist() == [2, 1]


def test_z_scores_count_in_deviations() -> None:
    scores = [9.0, 5.0, 1.0]
    found = convex_by(Method.Z_SCORE, make(list(enumerate(scores))))
    assert found == pytest.approx([8 / np.std(scores), 4 / np.std(scores), 0.0])
    whole = convex_by(Method.Z_SCORE, make(list(enumerate(scores)), whole=True))
    assert whole == pytest.approx([one + 1 for one in found])


@pytest.mark.parametrize(
    ("method", "whole", "score"),
    [
        (Method.MIN_MAX, False, 1.0),
        (Method.THEORETICAL, True, 1.0),
        (Method.THEORETICAL, False, 0.0),  # as good as what was cut off
        (Method.Z_SCORE, True, 1.0),
        (Method.Z_SCORE, False, 0.0),
    ],
)
def test_single_hits_and_equal_scores(*, method: Method, whole: bool, score: float) -> None:
    assert convex_by(method, make([(4, 7.0)], whole=whole)) == [score]
    assert convex_by(method, make([(4, 7.0), (5, 7.0)], whole=whole)) == [score, score]


def test_scores_under_the_least_lower_it() -> None:
    assert convex_by(Method.THEORETICAL, make([(1, -0.1), (2, -0.3)], whole=True)) == [1.0, 0.0]


@pytest.mark.parametrize("method", CONVEX)
def test_normalising_survives_the_widest_numbers(method: Method) -> None:
    for scores in ([1.7e308, 0.0, -1.7e308], [1.7e308, 1.6e308], [5e-324, 0.0], [0.0, 0.0], [-1.7e308]):
        found = convex([Ranking(np.arange(len(scores)), np.array(scores), -1.7e308)], normalise=method)
        assert np.isfinite(found.scores).all()


@pytest.mark.parametrize("method", CONVEX)
@given(ranking=rankings(min_size=1), factor=st.sampled_from([0.25, 2.0, 1024.0]), whole=st.booleans())
def test_the_unit_of_scores_does_not_matter(*, method: Method, ranking: Ranking, factor: float, whole: bool) -> None:
    here = Ranking(ranking.positions, ranking.scores.astype(np.float64), -3.0, whole)
    there = Ranking(here.positions, here.scores * factor, -3.0 * factor, whole)
    assert convex_by(method, there) == pytest.approx(convex_by(method, here), abs=1e-6)


@pytest.mark.parametrize("method", CONVEX)
@given(ranking=rankings(min_size=1), whole=st.booleans())
def test_normalised_scores_keep_their_order_and_are_never_negative(
    *, method: Method, ranking: Ranking, whole: bool
) -> None:
    found = convex_by(method, Ranking(ranking.positions, ranking.scores, 0.0, whole))
    assert found == sorted(found, reverse=True)
    assert min(found) >= 0


def test_fuse_by_each_method() -> None:
    lists, weights = [make([(1, 9.0), (2, 5.0)]), make([(2, 0.9), (3, 0.1)])], [1.0, 3.0]
    assert pairs(fuse(lists, weights, Method.RRF)) == pairs(rrf(lists, weights))
    for method in CONVEX:
        assert pairs(fuse(lists, weights, method)) == pairs(convex(lists, weights, method))
    with pytest.raises(InputError, match="normalise"):
        convex(lists, weights, Method.RRF)


def test_a_list_is_whole_until_it_is_cut() -> None:
    scores = np.array([3.0, 2.0, 1.0])
    assert best(np.arange(3), scores, 3).whole
    assert not best(np.arange(3), scores, 2).whole
    assert best(np.arange(3), scores, 3).head(3).whole
    assert not best(np.arange(3), scores, 3).head(2).whole
    assert make([(1, 2.0)], -1.0).head(1).least == -1.0


def test_calibrated_scores_are_deviations_above_chance() -> None:
    found = calibrate(make([(1, 0.7), (2, 0.4)], -1.0), mean=0.1, deviation=0.2)
    assert found.scores.tolist() == pytest.approx([3.0, 1.5])
    assert found.least == 0.0
    for mean, deviation in ((0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(InputError, match="calibrate"):
            calibrate(make([(1, 1.0)]), mean, deviation)


def test_calibrating_keeps_neither_space_from_the_other() -> None:
    narrow, wide = make([(1, 0.95), (3, 0.93)]), make([(2, 0.5), (4, 0.25)])
    assert join([narrow, wide], 4).positions.tolist() == [1, 3, 2, 4]
    joined = join([calibrate(narrow, 0.9, 0.02), calibrate(wide, 0.05, 0.1)], 4)
    assert joined.positions.tolist() == [2, 1, 4, 3]


@given(
    lists=st.lists(rankings(), min_size=1, max_size=4),
    depth=st.integers(1, 30),
    whole=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_joined_lists_are_the_best_of_all(lists: list[Ranking], depth: int, whole: list[bool]) -> None:
    offsets = [31 * number for number in range(len(lists))]
    given = [Ranking(one.positions, one.scores, 0.0, flag) for one, flag in zip(lists, whole, strict=False)]
    everything = [
        (position + offset, score)
        for ranking, offset in zip(given, offsets, strict=True)
        for position, score in pairs(ranking)
    ]
    found = join(given, depth, offsets)
    assert pairs(found) == sorted(everything, key=lambda pair: (-pair[1], pair[0]))[:depth]
    assert found.whole == (all(whole[: len(lists)]) and len(everything) <= depth)


def test_joining_keeps_the_highest_score_and_the_lowest_least() -> None:
    found = join([make([(1, 2.0), (2, 1.0)], 0.1), make([(2, 3.0)], -0.2), make([])], 5)
    assert pairs(found) == [(2, 3.0), (1, 2.0)]
    assert found.least == -0.2
    assert len(join([], 5)) == len(join([make([])], 5)) == 0
    with pytest.raises(InputError, match="offsets"):
        join([make([(1, 1.0)])], 5, [0, 1])
