"""Is a difference more than noise? Paired tests, intervals and risk that respect conversations.

The turns of a conversation share their topic, so their differences are not independent. Tests and
intervals therefore flip and leave out whole conversations, never single queries. With one query a
conversation everything here is the textbook's figure.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .measures import mean

Floats = NDArray[np.float64]

TIE = 1e-9
"""A change under this is a tie."""

FLIPS = 20_000
"""Random sign assignments of a test, unless few conversations allow all of them."""

LEVEL = 0.95
"""How sure an interval is; a test rejects below what is left."""

POWER = 0.8
"""The chance with which the minimum detectable effect is found."""

RISK_ALPHA = 1.0
"""How much more than a gain a loss of the same size counts, besides its own weight of one."""

_DECIMALS = 12
"""Ends of intervals are rounded to this many, so that the order of summation cannot move them off 0."""

_CELLS = 4_000_000
"""Numbers drawn at a time, which bounds memory."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one arm differs from another on the same queries: the mean difference and how sure it is.

    `low` to `high` is the interval at `LEVEL`; `p` is of the randomisation test, `p_t` of the paired t-test.
    `effect` is `delta` in standard deviations of the differences (Cohen's d of paired samples).
    `detectable` is the smallest true difference that a test on so many conversations, as noisy as these,
    would find four times in five. `urisk` and `trisk` weigh losses double (see `risk`).
    """

    delta: float
    low: float
    high: float
    p: float
    p_t: float
    effect: float
    detectable: float
    urisk: float
    trisk: float
    helped: int
    hurt: int
    tied: int


def compare(
    differences: Sequence[float],
    conversations: Sequence[Hashable],
    seed: Sequence[int],
    risk_alpha: float = RISK_ALPHA,
) -> Comparison:
    """Return the comparison of paired per-query `differences`, grouped by their `conversations`."""
    deltas = np.where(np.abs(differences) < TIE, 0.0, np.asarray(differences, dtype=np.float64))
    found = randomise(deltas, conversations, np.random.default_rng(list(seed)))
    urisk, trisk = risk(deltas, conversations, risk_alpha)
    helped, hurt = int((deltas > 0).sum()), int((deltas < 0).sum())
    return Comparison(
        delta=mean(deltas.tolist()),
        low=found.low,
        high=found.high,
        p=found.p,
        p_t=t_test(deltas, conversations),
        effect=effect_size(deltas),
        detectable=detectable_effect(deltas, conversations),
        urisk=urisk,
        trisk=trisk,
        helped=helped,
        hurt=hurt,
        tied=len(deltas) - helped - hurt,
    )


# ------------------------------------------------------------------------- tests and intervals


@dataclass(frozen=True, slots=True)
class Randomised:
    """What flipping signs says: the two-sided p-value and the interval that the same flips give."""

    p: float
    low: float
    high: float


def randomise(
    differences: Sequence[float] | Floats,
    conversations: Sequence[Hashable],
    random: np.random.Generator,
    flips: int = FLIPS,
    level: float = LEVEL,
) -> Randomised:
    """Test the mean difference against 0 and bound it, both by flipping the signs of whole conversations.

    Under the null hypothesis a conversation's differences are as likely with the opposite sign (Smucker,
    Allan and Carterette, CIKM 2007; flipped by cluster). All assignments are tried where there are no more
    than `flips`; otherwise the observed one counts among the random ones, so that p is never 0 (Phipson and
    Smyth, 2010).

    The interval holds every mean m that the same test, applied to the differences minus m, does not reject
    at 1 - `level`: a wild bootstrap by cluster with the null imposed (Cameron, Gelbach and Miller, Review of
    Economics and Statistics 2008), inverted. So it leaves out 0 exactly where p is at most 1 - `level`. An
    assignment parts the conversations into flipped and kept; it is as extreme as what was observed just
    where m lies between the means of the two parts, so the ends are order statistics of those means.
    Differences are taken to be of a measure in 0..1. With five conversations or fewer no test can reject
    at .05, and the interval is all of -1..1.
    """
    sums, sizes = _by_conversation(differences, conversations)
    if not np.any(np.abs(sums) >= TIE):
        return Randomised(1.0, 0.0, 0.0)
    whole, size = float(sums.sum()), float(sizes.sum())
    # Equal sums in another order differ in the last digits: they must count as equal.
    bar = abs(whole) - 1e-12 * float(np.abs(sums).sum())
    every = len(sums) < 63 and 2 ** len(sums) <= flips
    extreme, lows, highs = 0, [], []
    for heads in _assignments(len(sums), flips, random, every=every):
        part, part_size = heads @ sums, heads @ sizes
        extreme += int((np.abs(whole - 2 * part) >= bar).sum())
        one, other = _means(part, part_size), _means(whole - part, size - part_size)
        empty = np.isnan(one) | np.isnan(other)
        lows.append(np.where(empty, -np.inf, np.minimum(one, other)))
        highs.append(np.where(empty, np.inf, np.maximum(one, other)))
    count = 2 ** len(sums) if every else flips
    # The place, from outside, of the last value that is not rejected.
    place = int((1 - level) * count) + 1 if every else int((1 - level) * (count + 1))
    low, high = _lowest(np.concatenate(lows), place), -_lowest(-np.concatenate(highs), place)
    return Randomised(extreme / count if every else (extreme + 1) / (count + 1), max(low, -1.0), min(high, 1.0))


def randomisation_test(
    differences: Sequence[float] | Floats,
    conversations: Sequence[Hashable],
    random: np.random.Generator,
    flips: int = FLIPS,
) -> float:
    """Return the two-sided p-value of the mean difference; see `randomise`."""
    return randomise(differences, conversations, random, flips).p


def interval(
    differences: Sequence[float] | Floats,
    conversations: Sequence[Hashable],
    random: np.random.Generator,
    level: float = LEVEL,
    flips: int = FLIPS,
) -> tuple[float, float]:
    """Return a confidence interval of the mean difference of a measure in 0..1; see `randomise`."""
    found = randomise(differences, conversations, random, flips, level)
    return found.low, found.high


def t_test(differences: Sequence[float] | Floats, conversations: Sequence[Hashable]) -> float:
    """Return the two-sided p-value of the paired t-test of the mean difference, clustered by conversation.

    The mean over queries, divided by its standard error by conversation (see `standard_error`), against
    Student's t with one degree of freedom less than there are conversations. With one query a conversation
    this is the ordinary paired t-test. 1 where there are fewer than two conversations.
    """
    error = standard_error(differences, conversations)
    delta = float(np.mean(differences)) if len(differences) else 0.0
    if abs(delta) < TIE or math.isinf(error):
        return 1.0
    return student_tails(abs(delta) / error, len(set(conversations)) - 1) if error else 0.0


def standard_error(differences: Sequence[float] | Floats, conversations: Sequence[Hashable]) -> float:
    """Return the standard error of the mean difference: the jackknife over conversations.

    How far leaving out each conversation in turn moves the mean (the variance CV3 of MacKinnon, Nielsen and
    Webb, "Cluster-robust inference: a guide to empirical practice", Journal of Econometrics 2023), which stays
    honest where conversations differ in length. Infinite for fewer than two of them.
    """
    sums, sizes = _by_conversation(differences, conversations)
    count = len(sums)
    if count < 2:
        return math.inf
    without = (sums.sum() - sums) / (sizes.sum() - sizes)
    moved = without - sums.sum() / sizes.sum()
    error = math.sqrt((count - 1) / count * math.fsum(moved**2))
    return error if error > 1e-12 else 0.0


# --------------------------------------------------------------------------------- size and risk


def effect_size(differences: Sequence[float] | Floats) -> float:
    """Return the mean difference in standard deviations of the differences; 0 where they do not spread."""
    values = np.asarray(differences, dtype=np.float64)
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()) / spread if spread > 1e-12 else 0.0


def detectable_effect(
    differences: Sequence[float] | Floats,
    conversations: Sequence[Hashable],
    power: float = POWER,
    level: float = LEVEL,
) -> float:
    """Return the smallest true mean difference that the test finds with the chance `power`.

    (t of `level`, two-sided, + t of `power`) × the standard error, for as many conversations with the spread
    of these (after Sakai, "Topic set size design", Information Retrieval Journal 2016). 1, the whole range of a
    measure, where nothing can be told: differences that do not spread, or so few conversations that no test
    can reject.
    """
    error = standard_error(differences, conversations)
    freedom = len(set(conversations)) - 1
    if not 0 < error < math.inf or 2.0**-freedom > 1 - level:
        return 1.0
    return min(1.0, (student_quantile((1 + level) / 2, freedom) + student_quantile(power, freedom)) * error)


def risk(
    differences: Sequence[float] | Floats, conversations: Sequence[Hashable], alpha: float = RISK_ALPHA
) -> tuple[float, float]:
    """Return URisk and TRisk: the mean gain where each loss counts 1 + `alpha` times, and how sure its sign is.

    URisk is the mean of the differences after every negative one was multiplied by 1 + `alpha` (Wang, Bennett
    and Collins-Thompson, "Robust ranking models via risk-sensitive optimization", SIGIR 2012): below 0, the
    losses outweigh the gains at that aversion. TRisk is URisk over its standard error (Dinçer, Macdonald and
    Ounis, "Hypothesis testing for the risk-sensitive evaluation of retrieval systems", SIGIR 2014), so that
    beyond -2 or 2 the risk is hardly chance; here the error is by conversation. It is 0 where the error
    cannot be told.
    """
    values = np.asarray(differences, dtype=np.float64)
    weighed = np.where(values < 0, (1 + alpha) * values, values)
    error = standard_error(weighed, conversations)
    urisk = mean(weighed.tolist())
    return urisk, urisk / error if 0 < error < math.inf else 0.0


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


# ----------------------------------------------------------------------------------- Student's t


def student_tails(t: float, freedom: int) -> float:
    """Return the chance that Student's t with `freedom` degrees lies beyond `t` on either side.

    The finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for step in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    if freedom == 1:
        total = 0.0
    within = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return min(1.0, max(0.0, 1 - within))


def student_quantile(share: float, freedom: int) -> float:
    """Return the value that Student's t with `freedom` degrees stays below with the chance `share`."""
    tails = 2 * min(share, 1 - share)
    low, high = 0.0, 1.0
    while student_tails(high, freedom) > tails and high < 1e9:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tails(middle, freedom) > tails else (low, middle)
    return math.copysign((low + high) / 2, share - 0.5)


# -------------------------------------------------------------------------------- conversations


def _by_conversation(differences: Sequence[float] | Floats, conversations: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Return the sum and the number of the differences of each conversation, in order of appearance."""
    places: dict[Hashable, int] = {}
    codes = np.array([places.setdefault(name, len(places)) for name in conversations], dtype=np.intp)
    values = np.asarray(differences, dtype=np.float64)
    sums = np.bincount(codes, weights=values, minlength=len(places)).astype(np.float64)
    return sums, np.bincount(codes, minlength=len(places)).astype(np.float64)


def _assignments(count: int, flips: int, random: np.random.Generator, *, every: bool) -> Iterable[Floats]:
    """Return batches of rows of 0 and 1, a column a conversation: all there are, or `flips` random ones."""
    if every:
        bits = np.arange(2**count)[:, None] >> np.arange(count)
        return [(bits & 1).astype(np.float64)]
    return (_random_heads(rows, count, random) for rows in _batches(flips, count))


def _random_heads(rows: int, count: int, random: np.random.Generator) -> Floats:
    bits = np.frombuffer(random.bytes(rows * (-(-count // 8))), dtype=np.uint8).reshape(rows, -1)
    return np.unpackbits(bits, axis=1, count=count).astype(np.float64)


def _means(sums: Floats, sizes: Floats) -> Floats:
    """Return `sums` / `sizes`, rounded; not a number where there is nothing."""
    means: Floats = np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0)
    return means.round(_DECIMALS)


def _lowest(values: Floats, place: int) -> float:
    """Return the value at `place` from below, counted from 1; -inf before the first."""
    return float(np.partition(values, place - 1)[place - 1]) + 0.0 if 0 < place <= len(values) else -math.inf


def _batches(rows: int, columns: int) -> list[int]:
    size = max(1, _CELLS // max(1, columns))
    return [min(size, rows - start) for start in range(0, rows, size)]
