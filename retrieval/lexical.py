"""BM25 over sparse postings whose scores are computed when indexing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fusion import Ranking, best

K1 = 1.5
B = 0.75

TermIds = NDArray[np.int32]
_Postings = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class BM25:
    """BM25's parameters: how soon a repeated term stops counting, and how much long passages are held back."""

    k1: float = K1
    b: float = B


class Vocabulary(dict[str, int]):
    """Term ids, given out in order of first sight and never taken back."""

    def __missing__(self, term: str) -> int:
        return self.setdefault(term, len(self))

    def ids(self, terms: Iterable[str]) -> TermIds:
        """Return the id of each term, with new ones for terms not seen before."""
        return np.fromiter(map(self.__getitem__, terms), dtype=np.int32)


class BM25Index:
    """Immutable BM25 index in its Lucene variant: idf = ln(1 + (N - df + .5) / (df + .5)).

    The impact of each term on each passage is computed eagerly and kept by term (compressed sparse
    columns), after Lù, "BM25S: Orders of magnitude faster lexical search via eager sparse scoring", 2024,
    section 2. A query's score is then a sum of slices. The variant is that of Kamphuis et al., "Which BM25
    do you mean?", ECIR 2020: Lucene's formula with exact document lengths; its numerator keeps no (k1 + 1).
    """

    def __init__(
        self, vocabulary: Mapping[str, int], offsets: NDArray[np.int64], size: int, postings: _Postings
    ) -> None:
        self._vocabulary = vocabulary
        self._offsets = offsets
        self._size = size
        self._positions, self._impacts = postings

    def __len__(self) -> int:
        return self._size

    @classmethod
    def build(cls, term_lists: Iterable[Sequence[str]], k1: float = K1, b: float = B) -> BM25Index:
        """Index passages given as their terms; a passage's position is its place in `term_lists`."""
        vocabulary = Vocabulary()
        return cls.from_ids([vocabulary.ids(terms) for terms in term_lists], vocabulary, k1, b)

    @classmethod
    def from_ids(
        cls, id_lists: Sequence[TermIds], vocabulary: Mapping[str, int], k1: float = K1, b: float = B
    ) -> BM25Index:
        """Index passages given as ids of `vocabulary`, which may go on growing afterwards."""
        size = len(id_lists)
        lengths = np.fromiter(map(len, id_lists), dtype=np.int64, count=size)
        terms, positions, counts = _count(id_lists, lengths)
        frequencies = np.bincount(terms)
        offsets = np.concatenate(([0], np.cumsum(frequencies))).astype(np.int64)
        idf = np.log1p((size - frequencies + 0.5) / (frequencies + 0.5))
        mean = lengths.mean() if lengths.any() else 1.0
        damping = k1 * (1 - b + b * lengths / mean)
        impacts = idf[terms] * counts / (counts + damping[positions])
        return cls(vocabulary, offsets, size, (positions, impacts.astype(np.float32)))

    def search(self, terms: Sequence[str], depth: int, allowed: NDArray[np.bool_] | None = None) -> Ranking:
        """Rank the passages that hold any of `terms`, those `allowed` only; a repeated term counts again.

        Passages that score 0 are left out; equal scores keep the order of positions.
        """
        scores = np.zeros(self._size, dtype=np.float32)
        # In the terms' own order, whatever ids they got: equal queries over equal passages then give equal
        # sums to the last bit.
        for term, count in sorted(Counter(terms).items()):
            start, end = self._slice(term)
            scores[self._positions[start:end]] += self._impacts[start:end] * np.float32(count)
        if allowed is not None:
            scores[~allowed] = 0
        found = np.flatnonzero(scores)
        return best(found, scores[found], depth)

    def holding(self, terms: Iterable[str]) -> int:
        """Return how many passages hold all of `terms`."""
        found: NDArray[np.int32] | None = None
        for term in set(terms):
            start, end = self._slice(term)
            positions = self._positions[start:end]
            found = positions if found is None else np.intersect1d(found, positions, assume_unique=True)
        return 0 if found is None else len(found)

    def _slice(self, term: str) -> tuple[int, int]:
        """Return where the postings of `term` start and end; nowhere for a term not indexed."""
        number = self._vocabulary.get(term, -1)
        if not 0 <= number < len(self._offsets) - 1:
            return 0, 0
        return int(self._offsets[number]), int(self._offsets[number + 1])


def _count(
    id_lists: Sequence[TermIds], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Return term, position and count of each pair that occurs, sorted by term, then position."""
    size = max(len(id_lists), 1)
    terms = np.concatenate([np.empty(0, np.int32), *id_lists]).astype(np.int64)
    keys = terms * size + np.repeat(np.arange(len(id_lists)), lengths)
    keys.sort()
    first = np.flatnonzero(np.concatenate((keys[:1] >= 0, keys[1:] != keys[:-1])))
    counts = np.diff(np.append(first, len(keys)))
    pairs = keys[first]
    return pairs // size, (pairs % size).astype(np.int32), counts
