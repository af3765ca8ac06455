"""Ranked lists and how they become one: pure functions over positions in a snapshot.

Positions are in passage_id order, so that sorting ties by position sorts them by passage_id.

A list is nearly always cut: it holds a leg's best hundred. Of a passage that it lacks, only this is known: it scores no
more than the last one there. So that is what it is given, whatever the normalisation; what a leg looked for and did not
find at all gets the leg's least instead. On cut lists that is worth as much as looking the scores up (docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .. import InputError

Positions = NDArray[np.int64]
Scores = NDArray[np.float32] | NDArray[np.float64]

_DECIMALS = 12
"""Fused scores are rounded to this many, so that the order of summation cannot part what is tied."""


class Method(StrEnum):
    """How lists are fused: by ranks, or by scores that are normalised in one of three ways."""

    RRF = "rrf"
    MIN_MAX = "min-max"
    THEORETICAL = "theoretical"
    Z_SCORE = "z-score"


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Positions of passages in their snapshot with their scores, best first, no position twice.

    `least` is what the leg gives a passage that has nothing to do with the query: 0 for BM25; for cosines the mean of
    the query's over all passages, or -1, their least in theory. `whole` says that nothing was cut off: a passage that
    is not here scores `least`. `weight` is what it counts beside a list of another leg.
    """

    positions: Positions
    scores: Scores
    least: float = 0.0
    whole: bool = False
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.positions)

    def head(self, depth: int) -> Ranking:
        """Return the best `depth` of it."""
        whole = self.whole and len(self) <= depth
        return replace(self, positions=self.positions[:depth], scores=self.scores[:depth], whole=whole)


def best(positions: Positions, scores: Scores, depth: int) -> Ranking:
    """Return the `depth` best by (-score, position); `positions` must ascend, and be all that the leg found."""
    whole = len(positions) <= depth
    if not whole:
        cut = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        above = np.flatnonzero(scores > cut)
        tied = np.flatnonzero(scores == cut)[: depth - len(above)]
        chosen = np.sort(np.concatenate((above, tied)))
        positions, scores = positions[chosen], scores[chosen]
    order = np.argsort(-scores, kind="stable")
    return Ranking(positions[order], scores[order], whole=whole)


def fuse(rankings: Sequence[Ranking], weights: Sequence[float], method: Method) -> Ranking:
    """Fuse by `method`; see `rrf` and `convex`."""
    return rrf(rankings, weights) if method is Method.RRF else convex(rankings, weights, method)


def rrf(rankings: Sequence[Ranking], weights: Sequence[float] | None = None, rrf_k: int = 60) -> Ranking:
    """Fuse by reciprocal rank: the sum of weight / (rrf_k + rank), ranks from 1.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009. Empty rankings are left out. Raises InputError for weights that are not positive.
    """
    pairs = _weighted(rankings, weights)
    if rrf_k < 0:
        raise InputError(f"rrf_k: expected 0 or more, got {rrf_k}")
    return _sum([(ranking.positions, weight / (rrf_k + np.arange(1, len(ranking) + 1))) for ranking, weight in pairs])


def convex(
    rankings: Sequence[Ranking], weights: Sequence[float] | None = None, normalise: Method = Method.MIN_MAX
) -> Ranking:
    """Fuse by the weighted mean of normalised scores; a passage that a list lacks scores 0 there.

    Bruch, Gai and Ingber, "An analysis of fusion functions for hybrid retrieval", TOIS 2023, sections 4 and 5, but
    for what a list lacks (see above). A score counts by its distance from what is lacking, divided by

    - min-max: the distance from the list's first to its last. One whose scores are all equal becomes 1.
    - theoretical: the distance from the list's first to the leg's least, so that a list that is nearly flat stays so.
    - z-score: the list's standard deviation; what a whole list lacks lies one deviation below its last.

    Empty rankings are left out and their weight with them. Raises InputError for weights that are not positive, or
    for a method that normalises nothing.
    """
    normal = _NORMAL.get(normalise)
    if normal is None:
        raise InputError(f"normalise: expected one of {', '.join(_NORMAL)}, got {normalise!r:.40}")
    pairs = _weighted(rankings, weights)
    total = math.fsum(weight for _, weight in pairs)
    return _sum([(ranking.positions, normal(ranking) * (weight / total)) for ranking, weight in pairs])


def calibrate(ranking: Ranking, mean: float, deviation: float) -> Ranking:
    """Return `ranking` with its scores as deviations above the mean of the query's scores in that space.

    Lists of several vector spaces can then be joined: a cosine of .6 is next to nothing in one space and a find in
    another. `mean` and `deviation` are those of the query's scores with all passages of the space, or with a sample;
    for BM25, 0 and the most that any passage could score. The least becomes 0: chance. Raises InputError unless the
    deviation is positive.
    """
    if not (math.isfinite(mean) and math.isfinite(deviation) and deviation > 0):
        raise InputError(f"calibrate: expected a mean and a positive deviation, got {mean} and {deviation}")
    scores = (ranking.scores.astype(np.float64) - mean) / deviation
    return replace(ranking, scores=scores, least=0.0)


def join(rankings: Sequence[Ranking], depth: int, offsets: Sequence[int] | None = None) -> Ranking:
    """Return the `depth` best of several lists whose scores compare: of vector spaces, of collections.

    `offsets` are added to the positions of each list: where collections stand one behind the other in the order of
    their names, ties go by collection, then by passage_id. A position in several lists keeps its highest score.
    The joined list is whole where all are; its least is their lowest.
    """
    offsets = [0] * len(rankings) if offsets is None else offsets
    if len(offsets) != len(rankings):
        raise InputError(f"offsets: {len(offsets)} given for {len(rankings)} ranked lists")
    pairs = [(ranking, offset) for ranking, offset in zip(rankings, offsets, strict=True) if len(ranking)]
    if not pairs:
        return Ranking(np.empty(0, np.int64), np.empty(0, np.float64), whole=all(one.whole for one in rankings))
    scores = np.concatenate([ranking.scores.astype(np.float64) for ranking, _ in pairs])
    positions, inverse = np.unique(
        np.concatenate([ranking.positions + offset for ranking, offset in pairs]), return_inverse=True
    )
    highest = np.full(len(positions), -np.inf)
    np.maximum.at(highest, inverse, scores)
    joined = best(positions, highest, depth)
    least = min(ranking.least for ranking, _ in pairs)
    return replace(joined, least=least, whole=joined.whole and all(ranking.whole for ranking in rankings))


def min_max(scores: Scores) -> NDArray[np.float64]:
    """Return `scores` moved to 0..1; all 1 where they are all equal."""
    wide = _scaled(scores.astype(np.float64))
    low, high = wide.min(), wide.max()
    return np.ones_like(wide) if high == low else np.asarray((wide - low) / (high - low), dtype=np.float64)


def _by_min_max(ranking: Ranking) -> NDArray[np.float64]:
    return min_max(ranking.scores)


def _by_theory(ranking: Ranking) -> NDArray[np.float64]:
    *scores, least = _scaled(np.append(ranking.scores.astype(np.float64), ranking.least)).tolist()
    least = min(least, *scores)
    return _divided(np.array(scores) - (least if ranking.whole else min(scores)), max(scores) - least)


def _by_deviation(ranking: Ranking) -> NDArray[np.float64]:
    scores = _scaled(ranking.scores.astype(np.float64))
    return _divided(scores - scores.min(), float(scores.std())) + ranking.whole


_NORMAL: Mapping[Method, Callable[[Ranking], NDArray[np.float64]]] = {
    Method.MIN_MAX: _by_min_max,
    Method.THEORETICAL: _by_theory,
    Method.Z_SCORE: _by_deviation,
}


def _scaled(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `numbers` divided by the largest: the distance of two finite ones may overflow, or vanish."""
    return numbers / (np.abs(numbers).max() or 1.0)


def _divided(distances: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """Return `distances` divided; 0 where all scores are equal."""
    return distances / by if by > 0 else np.zeros_like(distances)


def _weighted(rankings: Sequence[Ranking], weights: Sequence[float] | None) -> list[tuple[Ranking, float]]:
    """Pair each ranking that is not empty with its weight."""
    weights = [1.0] * len(rankings) if weights is None else weights
    if len(weights) != len(rankings):
        raise InputError(f"weights: {len(weights)} given for {len(rankings)} ranked lists")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise InputError(f"weights: expected positive numbers, got {list(weights)}")
    return [(ranking, weight) for ranking, weight in zip(rankings, weights, strict=True) if len(ranking)]


def _sum(parts: Sequence[tuple[Positions, NDArray[np.float64]]]) -> Ranking:
    """Add up the scores that each position got."""
    if not parts:
        return Ranking(np.empty(0, np.int64), np.empty(0, np.float64))
    if len(parts) == 1:
        order = np.argsort(parts[0][0])
        return best(parts[0][0][order], np.round(parts[0][1][order], _DECIMALS), len(order))
    positions, inverse = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
    sums = np.bincount(inverse, weights=np.concatenate([part[1] for part in parts])).astype(np.float64)
    return best(positions, np.round(sums, _DECIMALS), len(positions))
