"""Statistics: known answers by hand, and simulations where the truth is known."""

from __future__ import annotations

import importlib.util
import math
import sys
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.eval.significance import (
    compare,
    detectable_effect,
    effect_size,
    holm,
    interval,
    randomisation_test,
    randomise,
    risk,
    seed_for,
    standard_error,
    student_quantile,
    student_tails,
    t_test,
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


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)]
)
def test_student_quantiles_are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(expected, abs=0.0001)
    assert student_quantile(0.025, freedom) == pytest.approx(-expected, abs=0.0001)
    assert student_tails(expected, freedom) == pytest.approx(0.05, abs=0.0001)
    assert student_quantile(0.5, freedom) == pytest.approx(0, abs=1e-9)


def test_the_seed_decides() -> None:
    differences, talks = _talks(np.random.default_rng(5), 40, 0.02)
    first, second, other = (
        compare(differences.tolist(), talks.tolist(), seed_for(n, "set", "auto")) for n in (1, 1, 2)
    )
    assert first == second
    assert first != other
    assert seed_for(1, "ab", "c") != seed_for(1, "a", "bc")


def test_the_interval_leaves_out_0_exactly_where_the_test_rejects() -> None:
    random = np.random.default_rng(6)
    rejected = 0
    for count in (5, 6, 10, 14, 15, 40):
        for _ in range(25):
            differences, talks = _talks(random, count, 0.07)
            found = randomise(differences, talks.tolist(), random, flips=2_000 if count > 11 else 20_000)
            rejected += found.p <= 0.05
            assert (found.p <= 0.05) == (not found.low <= 0 <= found.high)
    assert 20 < rejected < 140


def test_the_interval_holds_what_the_test_of_a_shifted_mean_does_not_reject() -> None:
    differences, talks = _talks(np.random.default_rng(7), 12, 0.05)
    low, high = interval(differences, talks.tolist(), np.random.default_rng(1))
    for end, inside in ((low, 1e-6), (high, -1e-6)):
        for step, rejects in ((inside, False), (-inside, True)):
            p = randomisation_test(differences - (end + step), talks.tolist(), np.random.default_rng(1))
            assert (p <= 0.05) is rejects


def test_five_conversations_cannot_reject() -> None:
    found = randomise([0.5] * 5, range(5), np.random.default_rng(1))
    assert (found.p, found.low, found.high) == (0.0625, -1.0, 1.0)
    assert detectable_effect([0.5, 0.4, 0.5, 0.6, 0.5], range(5)) == 1.0
    assert randomise([0.5] * 6, range(6), np.random.default_rng(1)).low == pytest.approx(0.5)


def test_the_t_test_by_hand() -> None:
    # mean 3, standard error sqrt(2.5 / 5): t = 4.2426 with 4 degrees of freedom.
    assert t_test([1.0, 2.0, 3.0, 4.0, 5.0], "abcde") == pytest.approx(0.013236, abs=1e-6)
    assert standard_error([1.0, 2.0, 3.0, 4.0, 5.0], "abcde") == pytest.approx(math.sqrt(0.5))
    assert t_test([0.5, 0.25], "aa") == 1.0
    assert t_test([0.0, 0.0], "ab") == 1.0
    assert t_test([0.25, 0.25], "ab") == 0.0
    assert t_test([], "") == 1.0


def test_conversations_make_the_t_test_less_sure() -> None:
    differences = [0.3, 0.3, 0.3, -0.1, -0.1, -0.1, 0.2, 0.2, 0.2]
    assert t_test(differences, "aaabbbccc") > t_test(differences, range(9))


def test_risk_by_hand() -> None:
    urisk, trisk = risk([0.5, -0.25, 0.0, 0.25], "abcd", alpha=1.0)
    assert urisk == pytest.approx((0.5 - 2 * 0.25 + 0.25) / 4)
    weighed = np.array([0.5, -0.5, 0.0, 0.25])
    assert trisk == pytest.approx(weighed.mean() / (weighed.std(ddof=1) / 2))
    assert risk([0.5, -0.25], "ab", alpha=0.0)[0] == pytest.approx(0.125)
    assert risk([0.5, -0.25], "ab", alpha=5.0)[0] == pytest.approx(-0.5)
    assert risk([0.5], "a")[1] == 0.0


def test_effect_size_by_hand() -> None:
    assert effect_size([0.1, 0.3]) == pytest.approx(0.2 / math.sqrt(0.02))
    assert effect_size([0.1, 0.1]) == effect_size([0.1]) == effect_size([]) == 0.0


def test_twice_the_conversations_detect_less() -> None:
    differences, talks = _talks(np.random.default_rng(8), 30, 0.0)
    once = detectable_effect(differences, talks.tolist())
    four = detectable_effect(np.tile(differences, 4), np.concatenate([talks + 30 * turn for turn in range(4)]).tolist())
    assert four == pytest.approx(once / 2, rel=0.05)
    assert detectable_effect([0.0] * 20, range(20)) == 1.0


@given(
    st.lists(st.tuples(st.sampled_from([-1.0, -0.5, -0.1, 0.0, 0.0, 0.25, 1.0]), st.integers(0, 9)), max_size=30),
    st.floats(0, 10),
)
def test_comparisons_are_always_in_bounds(rows: list[tuple[float, int]], alpha: float) -> None:
    differences, talks = [row[0] for row in rows], [row[1] for row in rows]
    found = compare(differences, talks, [1], alpha)
    mirrored = compare([-value for value in differences], talks, [1], alpha)
    assert -1 <= found.low <= found.delta + 1e-9
    assert found.delta - 1e-9 <= found.high <= 1
    assert 0 < found.p <= 1
    assert 0 <= found.p_t <= 1
    assert 0 <= found.detectable <= 1
    assert found.urisk <= found.delta + 1e-12
    assert math.isfinite(found.trisk)
    assert (mirrored.low, mirrored.high) == (-found.high, -found.low)
    assert mirrored.p == found.p
    assert (mirrored.helped, mirrored.hurt, mirrored.tied) == (found.hurt, found.helped, found.tied)


def _simulations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulations", Path(__file__).with_name("simulations.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulations"] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


def test_simulations_in_short() -> None:
    """What `python tests/eval/simulations.py` measures with 10,000 trials; wider bounds for 600 of them."""
    simulations = _simulations()
    for setting in simulations.SETTINGS[1::3]:
        by_flips, by_t, held = simulations.rejected(setting, trials=600, flips=400, seed=2)
        assert 0.025 <= by_flips <= 0.08, setting.name
        assert 0.025 <= by_t <= 0.08, setting.name
        assert 0.92 <= held <= 0.98, setting.name
    assert simulations.family_error(trials=120, flips=600, seed=2) <= 0.1
    assert 0.65 <= simulations.power(simulations.SETTINGS[1], trials=200, flips=400, seed=2) <= 0.9


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
