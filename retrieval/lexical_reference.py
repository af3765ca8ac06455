"""BM25 by the package rank-bm25: slow, known to many, and a reference for ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import MissingExtraError
from .fusion import Ranking, best
from .lexical import K1, B, TermIds, Vocabulary


class _Engine(Protocol):
    idf: Mapping[int, float]

    def get_scores(self, query: Sequence[int]) -> NDArray[np.float64]:
        """Return the score of every passage."""


class RankBM25Index:
    """Immutable index over `rank_bm25.BM25Okapi`, to be searched as a `BM25Index` is.

    Its idf is ln((N - df + .5) / (df + .5)), and a quarter of the mean idf where that is below 0; its numerator keeps
    (k1 + 1). A search goes through all passages in Python. It has no statistics of another index and no arrays: it is
    built anew from the passages, all of them.
    """

    def __init__(self, id_lists: Sequence[TermIds], vocabulary: Mapping[str, int], k1: float, b: float) -> None:
        self._vocabulary = vocabulary
        self._k1 = k1
        self._passages = [frozenset(ids.tolist()) for ids in id_lists]
        # It divides by the number of passages, and by that of terms.
        self._engine = _engine(id_lists, k1, b) if any(self._passages) else None

    def __len__(self) -> int:
        return len(self._passages)

    @classmethod
    def build(cls, term_lists: Iterable[Sequence[str]], k1: float = K1, b: float = B) -> RankBM25Index:
        """Index passages given as their terms; a passage's position is its place in `term_lists`."""
        vocabulary = Vocabulary()
        return cls.from_ids([vocabulary.ids(terms) for terms in term_lists], vocabulary, k1, b)

    @classmethod
    def from_ids(
        cls, id_lists: Sequence[TermIds], vocabulary: Mapping[str, int], k1: float = K1, b: float = B
    ) -> RankBM25Index:
        """Index passages given as ids of `vocabulary`; raises MissingExtraError if rank-bm25 is not installed."""
        return cls(id_lists, vocabulary, k1, b)

    def search(self, terms: Sequence[str], depth: int, allowed: NDArray[np.bool_] | None = None) -> Ranking:
        """Rank the passages that score above 0, those `allowed` only; equal scores keep the order of positions."""
        if self._engine is None:
            return best(np.empty(0, np.int64), np.empty(0, np.float32), depth)
        # In the terms' own order, whatever ids they got: equal queries then give equal sums.
        ids = [self._vocabulary[term] for term in sorted(terms) if term in self._vocabulary]
        scores = self._engine.get_scores(ids).astype(np.float32)
        found = np.flatnonzero(scores > 0 if allowed is None else (scores > 0) & allowed)
        return best(found, scores[found], depth)

    def most(self, terms: Sequence[str]) -> float:
        """Return what no passage can score more than for `terms`."""
        rarest = float(np.log(2 * len(self._passages) + 1))
        known = self._engine.idf if self._engine is not None else {}
        idf = [known.get(self._vocabulary.get(term, -1), rarest) for term in terms]
        return (self._k1 + 1) * float(sum(idf))

    def holding(self, terms: Iterable[str], allowed: NDArray[np.bool_] | None = None) -> int:
        """Return how many passages hold all of `terms`, of those `allowed` only; 0 of none."""
        wanted = {self._vocabulary.get(term, -1) for term in terms}
        found = np.array([bool(wanted) and wanted <= passage for passage in self._passages], dtype=np.bool_)
        return int(np.count_nonzero(found if allowed is None else found & allowed))


def _engine(id_lists: Sequence[TermIds], k1: float, b: float) -> _Engine:
    try:
        package = import_module("rank_bm25")
    except ImportError:
        raise MissingExtraError("lexical.engine: rank-bm25 is not installed; pip install rank-bm25") from None
    engine: _Engine = package.BM25Okapi([ids.tolist() for ids in id_lists], k1=k1, b=b)
    return engine
