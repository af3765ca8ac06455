"""Find the best passages of a few posting lists without adding up all of them.

MaxScore: Turtle and Flood, "Query evaluation: strategies and optimizations", IP&M 31(6), 1995, section 4. Lists are
added up one by one, rarest term first, until what the rest can add is less than what the best have; from there on only
the passages that can still be among the best are looked up. A passage's score is the same sum of single precision, in
the same order, whichever way it was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int32]
Impacts = NDArray[np.float32]
Mask = NDArray[np.bool_]

_DENSE = 32
"""With more than one passage in so many scored, going through all of them in order is quicker than picking."""

_SHORT = 2048
"""So few postings are simply added up."""

_ROUNDING = 2.0**-22
"""More than the relative error of one addition in single precision."""


@dataclass(slots=True, eq=False)
class Postings:
    """One term of a query: the passages that hold it, in order, and its impacts there.

    `count` is how often the query holds it, `peak` the most that it adds to a score. A frequent term has its impacts
    on all passages beside, as `row`.
    """

    positions: Positions
    impacts: Impacts
    count: int
    peak: float
    row: Impacts | None

    def __len__(self) -> int:
        return len(self.positions)

    def places(self, found: Positions) -> tuple[NDArray[np.int64], Mask]:
        """Return where in the list each of `found` is or would be, and whether it is there."""
        places = np.minimum(self.positions.searchsorted(found), len(self.positions) - 1)
        return places, self.positions.take(places) == found

    def weighted(self, impacts: Impacts) -> Impacts:
        """Return impacts as often as the query counts them."""
        return impacts if self.count == 1 else impacts * np.float32(self.count)

    def add_to_all(self, sums: Impacts) -> None:
        """Add the impacts to the sums of all passages."""
        if self.row is not None:
            np.add(sums, self.weighted(self.row), out=sums)
        else:
            np.add.at(sums, self.positions, self.weighted(self.impacts))

    def add_to(self, found: Positions, scores: Impacts) -> None:
        """Add the impacts to the scores of the passages `found`."""
        if self.row is not None:
            scores += self.weighted(self.row.take(found))
        else:
            places, held = self.places(found)
            scores += self.weighted(self.impacts.take(places) * held)


class Sums:
    """A search's working memory: a sum for each passage, all 0 between searches. Not to be shared by threads."""

    def __init__(self, size: int) -> None:
        self._sums = np.zeros(size, np.float32)

    def search(self, lists: Sequence[Postings], depth: int, allowed: Mask | None) -> tuple[Positions, Impacts]:
        """Return the passages `allowed` that may be among the best `depth`, ascending, with their scores, all above 0.

        `lists` are in the order of adding up.
        """
        total = sum(map(len, lists))
        if total <= _SHORT:
            return self._all(lists, allowed)
        if allowed is not None and np.count_nonzero(allowed) * 8 < total:
            return _lookup(lists, allowed)
        rest = [*accumulate((one.peak for one in reversed(lists)), initial=0.0)][::-1]
        added, bound = self._add_until_known(lists, rest, depth, allowed)
        if self._is_dense(lists[:added]):
            return self._take_all(depth, allowed)
        found, scores = self._take(lists[:added], _threshold(bound, rest[added], len(lists)), allowed)
        for one, others in zip(lists[added:], rest[added + 1 :], strict=True):
            one.add_to(found, scores)
            found, scores = _pruned(found, scores, depth, others)
        return found, scores

    def _all(self, lists: Sequence[Postings], allowed: Mask | None) -> tuple[Positions, Impacts]:
        """Add up everything."""
        if not lists:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        found = np.concatenate([one.positions for one in lists])
        np.add.at(self._sums, found, np.concatenate([one.weighted(one.impacts) for one in lists]))
        if len(lists) > 1:
            found.sort()
            found = found[np.concatenate(([True], found[1:] != found[:-1]))]
        scores = self._sums.take(found)
        self._sums[found] = 0
        if allowed is None:
            return found, scores
        kept = allowed.take(found)
        return found[kept], scores[kept]

    def _add_until_known(
        self, lists: Sequence[Postings], rest: Sequence[float], depth: int, allowed: Mask | None
    ) -> tuple[int, float]:
        """Add up lists until no passage outside them can be among the best; return how many, and the bound to reach.

        All of them once so much is added that going through all sums costs no more than picking.
        """
        bound = 0.0
        for added, one in enumerate(lists, start=1):
            one.add_to_all(self._sums)
            # No sum is above rest[0] - rest[added], which may be too little to stop at.
            if 2 * rest[added] < rest[0] and not self._is_dense(lists[:added]):
                bound = max(bound, _bound(self._of(one, allowed), depth))
                if _threshold(bound, rest[added], len(lists)) > 0:
                    return added, bound
        return len(lists), bound

    def _is_dense(self, lists: Sequence[Postings]) -> bool:
        return sum(map(len, lists)) * _DENSE > len(self._sums)

    def _take_all(self, depth: int, allowed: Mask | None) -> tuple[Positions, Impacts]:
        """Return the passages that may be among the best, all lists being added up, and clear all sums."""
        sums = self._sums
        if allowed is not None:
            sums *= allowed
        found = _reaching(sums, _bound(sums, depth))
        scores = sums.take(found)
        sums.fill(0)
        return found.astype(np.int32), scores

    def _of(self, one: Postings, allowed: Mask | None) -> Impacts:
        """Return the sums of the passages in a list, 0 for those not allowed."""
        sums = self._sums.take(one.positions)
        return sums if allowed is None else sums * allowed.take(one.positions)

    def _take(self, lists: Sequence[Postings], threshold: float, allowed: Mask | None) -> tuple[Positions, Impacts]:
        """Return the passages of `lists` whose sums reach `threshold`, with them, and clear their sums."""
        found, scores = [], []
        for one in lists:
            # Cleared at once: a passage in two lists is taken from the first.
            sums = self._of(one, allowed)
            self._sums[one.positions] = 0
            reaching = _reaching(sums, threshold)
            found.append(one.positions.take(reaching))
            scores.append(sums.take(reaching))
        together = np.concatenate(found)
        order = together.argsort(kind="stable")  # merges lists that are in order
        return together.take(order), np.concatenate(scores).take(order)


def _lookup(lists: Sequence[Postings], allowed: Mask) -> tuple[Positions, Impacts]:
    """Score the few passages allowed."""
    found = allowed.nonzero()[0].astype(np.int32)
    scores = np.zeros(len(found), np.float32)
    for one in lists:
        one.add_to(found, scores)
    kept = scores > 0
    return found[kept], scores[kept]


def _pruned(found: Positions, scores: Impacts, depth: int, rest: float) -> tuple[Positions, Impacts]:
    """Leave out passages that cannot be among the best even if they get the rest; not worth it for few."""
    if len(found) <= 2 * depth:
        return found, scores
    kept = _reaching(scores, _threshold(_bound(scores, depth), rest, 1))
    return found.take(kept), scores.take(kept)


def _bound(scores: Impacts, depth: int) -> float:
    """Return a score that at least `depth` of `scores` reach: of many, the depth-th best of the maxima of groups."""
    size = min(64, len(scores) // (4 * depth))
    if size > 1:
        groups = len(scores) // size
        # Strided groups: neighbours, which may be alike, fall into different ones, and maxima are taken row by row.
        scores = scores[: size * groups].reshape(size, groups).max(axis=0)
    if len(scores) < depth:
        return 0.0
    return float(np.partition(scores, len(scores) - depth)[len(scores) - depth])


def _threshold(bound: float, rest: float, lists: int) -> float:
    """Return what a sum must reach so that `rest` may lift it to `bound`, allowing for rounding."""
    return bound - rest - _ROUNDING * (lists + 2) * (bound + rest)


def _reaching(scores: Impacts, threshold: float) -> NDArray[np.int64]:
    """Return where `scores` are above 0 and reach `threshold`."""
    return (scores >= threshold if threshold > 0 else scores > 0).nonzero()[0]
