"""Do the statistics keep their word where the truth is known? Run by hand; the suite runs a short version.

    .venv/bin/python tests/eval/simulations.py [--trials 10000] [--flips 1000] [--seed 1]

Prints a table: how often a true null is rejected at .05, how often Holm errs anywhere in a family, how often
intervals hold the truth, and how often an effect of the size called detectable is found. 10,000 trials take
about two minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querywright.eval.significance import detectable_effect, holm, randomise, t_test

Floats = NDArray[np.float64]
Talks = tuple[Floats, list[int]]
"""The differences of all queries, and the conversation of each."""

ALPHA = 0.05
FAMILY = 9
"""Comparisons in a family: three arms by three legs."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Simulated conversations of 1 to 8 turns; `truth` is the mean that the differences scatter about."""

    name: str
    count: int
    draw: Callable[[np.random.Generator, NDArray[np.intp], int], Floats]
    truth: float = 0.0

    def talks(self, random: np.random.Generator) -> Talks:
        """Return one sample."""
        sizes = random.integers(1, 9, self.count)
        of = np.repeat(np.arange(self.count), sizes)
        return np.clip(self.draw(random, of, self.count), -1, 1), of.tolist()


def _dense(random: np.random.Generator, of: NDArray[np.intp], count: int) -> Floats:
    """Every query changes; half of the spread is the conversation's."""
    return random.normal(0, 0.15, count)[of] + random.normal(0, 0.15, len(of))


def _sparse(random: np.random.Generator, of: NDArray[np.intp], count: int) -> Floats:
    """Three queries of ten change."""
    return (random.random(len(of)) < 0.3) * (random.normal(0, 0.3, count)[of] + random.normal(0, 0.2, len(of)))


def _rare(random: np.random.Generator, of: NDArray[np.intp], count: int) -> Floats:
    """One query of ten changes."""
    return (random.random(len(of)) < 0.1) * (random.normal(0, 0.3, count)[of] + random.normal(0, 0.2, len(of)))


def _ranks(random: np.random.Generator, of: NDArray[np.intp], count: int) -> Floats:
    """One relevant document that moves between ranks: differences of 1 / log2(rank + 1), many of them ties."""
    gains = np.array([0, 0, 0, 0.356, 0.387, 0.431, 0.5, 0.631, 1.0])
    moved = random.random(len(of)) < random.beta(1, 2, count)[of]
    return moved * (random.choice(gains, len(of)) - random.choice(gains, len(of)))


def _gain(random: np.random.Generator, of: NDArray[np.intp], count: int) -> Floats:
    """A mean gain of .05 beside the noise of `_dense`."""
    return 0.05 + _dense(random, of, count)


SETTINGS = tuple(
    Setting(f"{kind}, {count} conversations", count, draw, truth)
    for kind, draw, truth in (
        ("dense", _dense, 0.0),
        ("three of ten change", _sparse, 0.0),
        ("one of ten changes", _rare, 0.0),
        ("ranks", _ranks, 0.0),
        ("gain of .05", _gain, 0.05),
    )
    for count in (20, 40, 100)
)


def rejected(setting: Setting, trials: int, flips: int, seed: int) -> tuple[float, float, float]:
    """Return the shares of trials where the randomisation test and the t-test reject the truth, and of intervals
    that hold it."""
    random = np.random.default_rng([seed, 1])
    by_flips = by_t = held = 0
    for _ in range(trials):
        differences, of = setting.talks(random)
        found = randomise(differences, of, random, flips)
        held += found.low <= setting.truth <= found.high
        centred = differences - setting.truth
        by_flips += (randomise(centred, of, random, flips).p if setting.truth else found.p) <= ALPHA
        by_t += t_test(centred, of) <= ALPHA
    return by_flips / trials, by_t / trials, held / trials


def family_error(trials: int, flips: int, seed: int, count: int = 40) -> float:
    """Return the share of families of true nulls in which Holm rejects any.

    The comparisons of a family share their queries, so each has half its noise in common with the others.
    """
    random = np.random.default_rng([seed, 2])
    wrong = 0
    for _ in range(trials):
        of = np.repeat(np.arange(count), random.integers(1, 9, count))
        common = _dense(random, of, count)
        family = (common + _dense(random, of, count) for _ in range(FAMILY))
        wrong += min(holm([randomise(one, of.tolist(), random, flips).p for one in family])) <= ALPHA
    return wrong / trials


def power(setting: Setting, trials: int, flips: int, seed: int) -> float:
    """Return how often an effect as large as what is called detectable is found."""
    random = np.random.default_rng([seed, 3])
    effect = float(np.median([detectable_effect(*setting.talks(random)) for _ in range(200)]))
    found = 0
    for _ in range(trials):
        differences, of = setting.talks(random)
        found += randomise(differences + effect, of, random, flips).p <= ALPHA
    return found / trials


def table(trials: int, flips: int, seed: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| conversations | randomisation rejects | t-test rejects | interval holds |"
    yield "| --- | ---: | ---: | ---: |"
    for setting in SETTINGS:
        by_flips, by_t, held = rejected(setting, trials, flips, seed)
        yield f"| {setting.name} | {by_flips:.2%} | {by_t:.2%} | {held:.2%} |"
    yield ""
    families = max(1, trials // 4)
    error = family_error(families, flips, seed)
    yield f"Holm over {FAMILY} true nulls errs in {error:.2%} of {families:,} families."
    found = power(SETTINGS[1], families, flips, seed)
    yield f"Of effects of the size called detectable, {found:.1%} are found ({SETTINGS[1].name})."


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--flips", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for line in table(options.trials, options.flips, options.seed):
        print(line, flush=True)  # what this script is for


if __name__ == "__main__":
    main()
