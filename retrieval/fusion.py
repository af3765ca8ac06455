"""Ranked lists and how they become one: pure functions over positions in a snapshot.

Positions are in passage_id order, so that sorting ties by position sorts them by passage_id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import InputError

Positions = NDArray[np.int64]
Scores = NDArray[np.float32] | NDArray[np.float64]

_DECIMALS = 12
"""Fused scores are rounded to this many, so that the order of summation cannot part what is tied."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Positions of passages in their snapshot with their scores, best first, no position twice."""

    positions: Positions
    scores: Scores

    def __len__(self) -> int:
        return len(self.positions)

    def head(self, depth: int) -> Ranking:
        """Return the best `depth` of it."""
        return Ranking(self.positions[:depth], self.scores[:depth])


def best(positions: Positions, scores: Scores, depth: int) -> Ranking:
    """Return the `depth` best by (-score, position); `positions` must ascend."""
    if len(positions) > depth:
        cut = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        above = np.flatnonzero(scores > cut)
        tied = np.flatnonzero(scores == cut)[: depth - len(above)]
        chosen = np.sort(np.concatenate((above, tied)))
        positions, scores = positions[chosen], scores[chosen]
    order = np.argsort(-scores, kind="stable")
    return Ranking(positions[order], scores[order])


def rrf(rankings: Sequence[Ranking], weights: Sequence[float] | None = None, rrf_k: int = 60) -> Ranking:
    """Fuse by reciprocal rank: the sum of weight / (rrf_k + rank), ranks from 1.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009. Empty rankings are left out. Raises InputError for weights that are not positive.
    """
    pairs = _weighted(rankings, weights)
    if rrf_k < 0:
        raise InputError(f"rrf_k: expected 0 or more, got {rrf_k}")
    return _sum([(ranking.positions, weight / (rrf_k + np.arange(1, len(ranking) + 1))) for ranking, weight in pairs])


def convex(rankings: Sequence[Ranking], weights: Sequence[float] | None = None) -> Ranking:
    """Fuse by the weighted mean of min-max normalised scores; a passage that a list lacks scores 0 there.

    Bruch, Gai and Ingber, "An analysis of fusion functions for hybrid retrieval", TOIS 2023, section 4. Each
    list is normalised over itself; one whose scores are all equal becomes 1. Empty rankings are left out
    and their weight with them. Raises InputError for weights that are not positive.
    """
    pairs = _weighted(rankings, weights)
    total = math.fsum(weight for _, weight in pairs)
    return _sum([(ranking.positions, min_max(ranking.scores) * (weight / total)) for ranking, weight in pairs])


def min_max(scores: Scores) -> NDArray[np.float64]:
    """Return `scores` moved to 0..1; all 1 where they are all equal."""
    wide = scores.astype(np.float64)
    low, high = wide.min(), wide.max()
    if high == low:
        return np.ones_like(wide)
    # Halved first: the distance between two finite numbers may overflow.
    return np.asarray((wide / 2 - low / 2) / (high / 2 - low / 2), dtype=np.float64)


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
    positions, inverse = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
    sums = np.bincount(inverse, weights=np.concatenate([part[1] for part in parts])).astype(np.float64)
    return best(positions, np.round(sums, _DECIMALS), len(positions))
