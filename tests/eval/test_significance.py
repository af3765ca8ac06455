"""Statistics: known answers by hand, and simulations where the truth is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from querywright.eval.significance import (
    compare,
    holm,
    interval,
    randomisation_test,
    seed_for,
    student_quantile,
)


def _talks(random: np.random.Generator, count: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Return differences of `count` conversations of 1 to 8 turns, and which each belongs to."""
    sizes = random.integers(1, 9, count)
    talks = np.repeat(np.arange(count), sizes)
    shared = random.normal(0, 0.15, count)[talks]
    noise = random.normal(0, 0.2, len(talks)) * (random.random(len(talks)) < 0.6)
    return np.clip(shared + noise + shift, -1, 1), talks


def test_all_flips_by_hand() -> None:
    differences = [0.5, 0.25, 0.125]
    extreme = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in product((1, -1), repeat=3)]
    expected = sum(abs(total) >= 0.875 for total in extreme) / 8
    assert randomisation_test(differences, "abc", np.random.default_rng(1)) == expected == 0.25


def test_random_flips_agree_with_all_flips() -> None:
    differences = np.random.default_rng(3).normal(0.1, 0.3, 14)
    every = randomisation_test(differences, range(14), np.random.default_rng(1))
    some = randomisation_test(differences, range(14), np.random.default_rng(1), flips=10_000)
    assert some == pytest.approx(every, abs=0.015)


def test_a_conversation_flips_as_one() -> None:
    differences = [0.3] * 20
    assert randomisation_test(differences, range(20), np.random.default_rng(1)) < 0.001
    assert randomisation_test(differences, [0, 1] * 10, np.random.default_rng(1)) == 0.5


def test_nothing_changed() -> None:
    found = compare([0.0, 1e-12, -1e-12], "abc", [0])
    assert (found.delta, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert (found.helped, found.hurt, found.tied) == (0, 0, 3)


def test_counts_and_mean() -> None:
    found = compare([0.5, -0.25, 0.0, 1e-10, 0.5], "abcde", [0])
    assert (found.helped, found.hurt, found.tied) == (2, 1, 2)
    assert found.delta == pytest.approx(0.15)
    assert found.low <= found.delta <= found.high


def test_one_conversation_says_nothing() -> None:
    assert interval([0.5, 0.25], "aa", np.random.default_rng(1)) == (-1.0, 1.0)


@pytest.mark.parametrize(("freedom", "expected"), [(5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)])
def test_student_quantiles_are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(expected, abs=0.001)
    assert student_quantile(0.025, freedom) == pytest.approx(-expected, abs=0.001)


def test_the_seed_decides() -> None:
    differences, talks = _talks(np.random.default_rng(5), 40, 0.02)
    first, second, other = (
        compare(differences.tolist(), talks.tolist(), seed_for(n, "set", "auto")) for n in (1, 1, 2)
    )
    assert first == second
    assert first != other
    assert seed_for(1, "ab", "c") != seed_for(1, "a", "bc")


def test_under_the_null_5_in_100_are_rejected() -> None:
    random = np.random.default_rng(11)
    rejected = covered = 0
    trials = 1_000
    for _ in range(trials):
        differences, talks = _talks(random, 35, 0.0)
        rejected += randomisation_test(differences, talks.tolist(), random, flips=500) <= 0.05
        low, high = interval(differences, talks.tolist(), random, resamples=500)
        covered += low <= 0 <= high
    assert 0.03 <= rejected / trials <= 0.07
    assert 0.925 <= covered / trials <= 0.975


def test_a_real_effect_is_found() -> None:
    random = np.random.default_rng(12)
    found = 0
    for trial in range(40):
        differences, talks = _talks(random, 60, 0.1)
        found += compare(differences.tolist(), talks.tolist(), [trial]).p < 0.05
    assert found >= 35


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.02]) == [0.02]


def test_holm_keeps_the_family_error() -> None:
    random = np.random.default_rng(13)
    wrong = sum(min(holm(list(random.random(12)))) <= 0.05 for _ in range(4_000))
    assert wrong / 4_000 <= 0.06
