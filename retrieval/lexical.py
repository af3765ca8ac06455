"""BM25 over sparse postings whose scores are computed when indexing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from .fusion import Ranking, best
from .maxscore import Impacts, Positions, Postings, Sums

K1 = 1.5
B = 0.75

TermIds = NDArray[np.int32]
Kinds = NDArray[np.uint8]

_FREQUENT = 8
"""A term that more than one passage in so many holds is also kept as a row of its impacts on all passages."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What BM25 knows of a set of passages: how many, the mean length of each kind, how many hold each term (by id).

    They may be those of other passages than the index has. A small index beside a big one takes the big one's, alone,
    so that equal passages score the same in both, to the last bit. A term that the big one lacks has the frequency it
    has in the small one.
    """

    size: int
    mean_lengths: NDArray[np.float64]
    frequencies: NDArray[np.int32]

    def frequencies_for(self, own: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the frequencies by which an index is scored whose own are `own`."""
        known = np.zeros(len(own), dtype=np.int32)
        shared = self.frequencies[: len(own)]
        known[: len(shared)] = shared
        return np.where(known, known, own)


class BM25Index:
    """Immutable BM25 index in its Lucene variant: idf = ln(1 + (N - df + .5) / (df + .5)).

    The impact of each term on each passage is computed eagerly and kept by term (compressed sparse columns), after Lù,
    "BM25S: Orders of magnitude faster lexical search via eager sparse scoring", 2024, section 2. The variant is that of
    Kamphuis et al., "Which BM25 do you mean?", ECIR 2020: Lucene's formula with exact document lengths; its numerator
    keeps no (k1 + 1).

    Passages may be of kinds, such as languages: each is then long or short among its own. Chinese has more terms for as
    much text, and beside it every English passage would pass for a short one.

    A passage's score is the sum of its impacts in single precision, rarest term first (then by the term itself), so it
    does not depend on the ids that terms got.
    """

    def __init__(self, vocabulary: Mapping[str, int], arrays: Mapping[str, NDArray[np.generic]]) -> None:
        # Slicing a memory map as such is slow; as an array it stays one, uncopied.
        kept = {name: np.asarray(array) for name, array in arrays.items()}
        self._arrays = kept
        self._vocabulary = vocabulary
        self._offsets: NDArray[np.int64] = kept["offsets"]
        self._positions: Positions = kept["positions"]
        self._impacts: Impacts = kept["impacts"]
        self._peaks: Impacts = kept["peaks"]
        self._size, scored_size = map(int, kept["sizes"])
        self.statistics = Statistics(scored_size, kept["mean_lengths"], kept["frequencies"])
        self._rows: dict[int, Impacts] = {}
        self._sums: list[Sums] = []

    def __len__(self) -> int:
        return self._size

    @classmethod
    def build(cls, term_lists: Iterable[Sequence[str]], k1: float = K1, b: float = B) -> BM25Index:
        """Index passages given as their terms; a passage's position is its place in `term_lists`."""
        vocabulary = Vocabulary()
        return cls.from_ids([vocabulary.ids(terms) for terms in term_lists], vocabulary, k1, b)

    @classmethod
    def from_ids(
        cls,
        id_lists: Sequence[TermIds],
        vocabulary: Mapping[str, int],
        k1: float = K1,
        b: float = B,
        statistics: Statistics | None = None,
        kinds: Kinds | None = None,
    ) -> BM25Index:
        """Index passages given as ids of `vocabulary`, which may go on growing afterwards.

        `statistics` are those of another index by which this one is to be scored; `kinds` numbers each passage's.
        """
        offsets = np.zeros(len(id_lists) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, id_lists), dtype=np.int64, count=len(id_lists)), out=offsets[1:])
        ids = np.concatenate([np.empty(0, np.int32), *id_lists])
        return cls.from_laid_out(ids, offsets, vocabulary, k1, b, statistics, kinds)

    @classmethod
    def from_laid_out(
        cls,
        ids: TermIds,
        offsets: NDArray[np.int64],
        vocabulary: Mapping[str, int],
        k1: float = K1,
        b: float = B,
        statistics: Statistics | None = None,
        kinds: Kinds | None = None,
    ) -> BM25Index:
        """Index passages laid out one behind the other: those of passage i are ids[offsets[i]:offsets[i + 1]]."""
        lengths = np.diff(offsets)
        starts, positions, counts = _by_term(ids, offsets)
        own = np.diff(starts).astype(np.int32)
        kinds = np.zeros(len(lengths), dtype=np.uint8) if kinds is None else kinds
        means = _mean_lengths(lengths, kinds)
        if statistics is None or not statistics.size:
            statistics = Statistics(len(lengths), means, own)
        means = _first_known(statistics.mean_lengths, means)
        frequencies = statistics.frequencies_for(own)
        idf = np.log1p((np.maximum(statistics.size - frequencies, 0) + 0.5) / (frequencies + 0.5))
        damping = k1 * (1 - b + b * lengths / means[kinds])
        impacts = (np.repeat(idf, own) * counts / (counts + damping[positions])).astype(np.float32)
        return cls(
            vocabulary,
            {
                "offsets": starts,
                "positions": positions,
                "impacts": impacts,
                "peaks": _peaks(impacts, starts),
                "frequencies": np.concatenate((frequencies, statistics.frequencies[len(frequencies) :])),
                "sizes": np.array([len(lengths), statistics.size], dtype=np.int64),
                "mean_lengths": means,
            },
        )

    @classmethod
    def from_arrays(cls, vocabulary: Mapping[str, int], arrays: Mapping[str, NDArray[np.generic]]) -> BM25Index:
        """Return the index whose `arrays()` these are, read-only or memory-mapped ones uncopied."""
        return cls(vocabulary, arrays)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all that the index is made of, beside the vocabulary; not to be written to."""
        return dict(self._arrays)

    def search(self, terms: Sequence[str], depth: int, allowed: NDArray[np.bool_] | None = None) -> Ranking:
        """Rank the passages that hold any of `terms`, those `allowed` only; a repeated term counts again.

        Passages that score 0 are left out; equal scores keep the order of positions.
        """
        lists = self._lists(terms)
        try:
            sums = self._sums.pop()  # threads take turns at as many as they need at once
        except IndexError:
            sums = Sums(self._size)
        found, scores = sums.search(lists, depth + 1, allowed)  # one more, to know whether there is more
        self._sums.append(sums)
        return best(found.astype(np.int64), scores, depth)

    def most(self, terms: Sequence[str]) -> float:
        """Return what no passage can score more than for `terms`: the idf of each, those that none holds included."""
        counts = Counter(terms)
        numbers = np.array([self._vocabulary.get(term, -1) for term in counts], dtype=np.int64)
        known = (numbers >= 0) & (numbers < len(self.statistics.frequencies))
        frequencies = np.zeros(len(numbers))
        frequencies[known] = self.statistics.frequencies[numbers[known]]
        idf = np.log1p((self.statistics.size - frequencies + 0.5) / (frequencies + 0.5))
        return float(idf @ np.array(list(counts.values()), dtype=np.float64))

    def holding(self, terms: Iterable[str], allowed: NDArray[np.bool_] | None = None) -> int:
        """Return how many passages hold all of `terms`, of those `allowed` only; 0 of none."""
        wanted = set(terms)
        lists = self._lists(wanted)
        if not lists or len(lists) < len(wanted):
            return 0
        found = lists[0].positions
        for one in lists[1:]:
            found = found[one.places(found)[1]]
        return len(found) if allowed is None else int(np.count_nonzero(allowed[found]))

    def _lists(self, terms: Iterable[str]) -> list[Postings]:
        """Return the postings of all `terms` that any passage holds, rarest first, equally rare ones by the term."""
        counts: dict[str, int] = {}
        for term in terms:
            counts[term] = counts.get(term, 0) + 1
        found = []
        for term, count in counts.items():
            number = self._vocabulary.get(term, -1)
            if 0 <= number < len(self._peaks) and self._peaks.item(number):
                found.append((self.statistics.frequencies.item(number), term, self._postings(number, count)))
        found.sort()  # never compares postings: no two have the same term
        return [one for _, _, one in found]

    def _postings(self, number: int, count: int) -> Postings:
        start, end = self._offsets.item(number), self._offsets.item(number + 1)
        positions, impacts = self._positions[start:end], self._impacts[start:end]
        row = self._row(number, positions, impacts) if (end - start) * _FREQUENT > self._size else None
        return Postings(positions, impacts, count, self._peaks.item(number) * count, row)

    def _row(self, number: int, positions: Positions, impacts: Impacts) -> Impacts:
        """Return the impacts of a frequent term on all passages; made when first asked for."""
        row = self._rows.get(number)
        if row is None:
            row = np.zeros(self._size, np.float32)
            row[positions] = impacts
            self._rows[number] = row  # were it made by two threads at once, either will do
        return row


def _mean_lengths(lengths: NDArray[np.int64], kinds: Kinds) -> NDArray[np.float64]:
    """Return the mean length of the passages of each kind that have terms; 0 where there are none."""
    passages = np.bincount(kinds)
    return np.bincount(kinds, lengths) / np.maximum(passages, 1)


def _first_known(given: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the `given` means, our own for kinds that they lack, 1 for what is nowhere."""
    means = np.ones(max(len(given), len(own)))
    for known in (own, given):
        means[: len(known)][known > 0] = known[known > 0]
    return means


def _by_term(ids: TermIds, offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], Positions, NDArray[np.int32]]:
    """Return where each term's postings start, and the position and count of each posting, in ascending order."""
    # Imported here: who only searches an index read from files should not pay for it.
    csr_array = import_module("scipy.sparse").csr_array
    size, terms = len(offsets) - 1, int(ids.max(initial=-1)) + 1
    narrow = offsets.astype(np.int32) if len(ids) < 2**31 else offsets  # as the ids, else those are copied
    # Transposing sorts by counting, which takes a fifth of the time of sorting.
    columns = csr_array((np.ones(len(ids), np.int32), ids, narrow), shape=(size, terms)).tocsc()
    columns.sum_duplicates()
    return columns.indptr.astype(np.int64), columns.indices.astype(np.int32, copy=False), columns.data


def _peaks(impacts: Impacts, starts: NDArray[np.int64]) -> Impacts:
    """Return the highest impact of each term, 0 for a term without postings."""
    held = np.flatnonzero(np.diff(starts))
    peaks = np.zeros(len(starts) - 1, np.float32)
    if len(held):
        peaks[held] = np.maximum.reduceat(impacts, starts[held])
    return peaks
