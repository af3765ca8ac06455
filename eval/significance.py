"""Is a difference more than noise? Paired tests and intervals that respect conversations.

The turns of a conversation share their topic, so their differences are not independent. Tests and
intervals therefore flip and resample whole conversations, never single queries.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .measures import mean

Floats = NDArray[np.float64]

TIE = 1e-9
"""A change under this is a tie."""

FLIPS = 20_000
"""Random sign assignments of a test, unless few conversations allow all of them."""

RESAMPLES = 5_000
"""Bootstrap samples of an interval."""

_CELLS = 4_000_000
"""Numbers drawn at a time, which bounds memory."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one arm differs from another on the same queries: the mean difference and how sure it is."""

    delta: float
    low: float
    high: float
    p: float
    helped: int
    hurt: int
    tied: int


def compare(differences: Sequence[float], conversations: Sequence[Hashable], seed: Sequence[int]) -> Comparison:
    """Return the comparison of paired per-query `differences`, grouped by their `conversations`."""
    deltas = np.where(np.abs(differences) < TIE, 0.0, np.asarray(differences, dtype=np.float64))
    flips, resamples = (np.random.default_rng([*seed, part]) for part in (1, 2))
    low, high = interval(deltas, conversations, resamples)
    helped, hurt = int((deltas > 0).sum()), int((deltas < 0).sum())
    return Comparison(
        delta=mean(deltas.tolist()),
        low=low,
        high=high,
        p=randomisation_test(deltas, conversations, flips),
        helped=helped,
        hurt=hurt,
        tied=len(deltas) - helped - hurt,
    )


def randomisation_test(
    differences: Sequence[float] | Floats,
    conversations: Sequence[Hashable],
    random: np.random.Generator,
    flips: int = FLIPS,
) -> float:
    """Return the two-sided p-value of the mean difference under random sign flips by conversation.

    Under the null hypothesis each conversation's differences are as likely with the opposite sign (Smucker
    et al., CIKM 2007; flipped by cluster). All assignments are tried when there are no more than `flips`;
    otherwise the observed one counts among the random ones, so that p is never 0 (Phipson and Smyth, 2010).
    """
    sums, _ = _by_conversation(differences, conversations)
    # A conversation whose differences cancel adds nothing under either sign.
    sums = sums[np.abs(sums) >= TIE]
    if not len(sums):
        return 1.0
    # Equal sums in another order differ in the last digits: they must count as equal.
    bar = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    if 2 ** len(sums) <= flips:
        totals = _all_flips(sums)
        return float((np.abs(totals) >= bar).mean())
    extreme = 0
    for rows in _batches(flips, len(sums)):
        extreme += int((np.abs(_random_flips(sums, rows, random)) >= bar).sum())
    return (extreme + 1) / (flips + 1)


def interval(
    differences: Sequence[float] | Floats,
    conversations: Sequence[Hashable],
    random: np.random.Generator,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Return a confidence interval of the mean difference of a measure in 0..1.

    Percentile bootstrap over conversations, with the percentiles moved outwards as Student's t and the
    n - 1 of the variance ask for with few of them (Hesterberg, "What teachers should know about the
    bootstrap", The American Statistician 2015, section 4.2). One conversation alone says nothing: -1..1.
    """
    sums, sizes = _by_conversation(differences, conversations)
    count = len(sums)
    if not np.any(sums):
        return 0.0, 0.0
    if count < 2:
        return -1.0, 1.0
    means = np.concatenate([_resampled_means(sums, sizes, rows, random) for rows in _batches(resamples, count)])
    tail = expanded_tail(count, (1 - level) / 2)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(max(low, -1.0)), float(min(high, 1.0))


def expanded_tail(count: int, tail: float) -> float:
    """Return the share to cut off each end of a bootstrap distribution over `count` units."""
    return NormalDist().cdf(math.sqrt(count / (count - 1)) * student_quantile(tail, count - 1))


def student_quantile(share: float, freedom: int) -> float:
    """Return the quantile of Student's t (Abramowitz and Stegun 26.7.5; within .001 from 5 degrees on)."""
    x = NormalDist().inv_cdf(share)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92_160,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values (Scandinavian Journal of Statistics, 1979), in the given order.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def seed_for(seed: int, *names: str) -> list[int]:
    """Return the seed of one comparison, which depends on nothing but `seed` and its names."""
    digest = hashlib.sha256("\x00".join(names).encode()).digest()
    return [seed, int.from_bytes(digest[:8], "big")]


def _by_conversation(differences: Sequence[float] | Floats, conversations: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Return the sum and the number of the differences of each conversation, in order of appearance."""
    places: dict[Hashable, int] = {}
    codes = np.array([places.setdefault(name, len(places)) for name in conversations], dtype=np.intp)
    values = np.asarray(differences, dtype=np.float64)
    sums = np.bincount(codes, weights=values, minlength=len(places)).astype(np.float64)
    return sums, np.bincount(codes, minlength=len(places)).astype(np.float64)


def _all_flips(sums: Floats) -> Floats:
    totals = np.zeros(1)
    for value in sums:
        totals = np.concatenate([totals + value, totals - value])
    return totals


def _random_flips(sums: Floats, rows: int, random: np.random.Generator) -> Floats:
    bits = np.frombuffer(random.bytes(rows * (-(-len(sums) // 8))), dtype=np.uint8).reshape(rows, -1)
    heads = np.unpackbits(bits, axis=1, count=len(sums)).astype(np.float64)
    flipped: Floats = sums.sum() - 2.0 * (heads @ sums)
    return flipped


def _resampled_means(sums: Floats, sizes: Floats, rows: int, random: np.random.Generator) -> Floats:
    drawn = random.integers(0, len(sums), size=(rows, len(sums)))
    resampled: Floats = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return resampled


def _batches(rows: int, columns: int) -> list[int]:
    size = max(1, _CELLS // max(1, columns))
    return [min(size, rows - start) for start in range(0, rows, size)]
