"""A segment: passages that do not change, with their lexical index and a dense one for each vector space."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, partial
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .dense import DenseIndex, Vectors
from .dense_gpu import Device, on_device
from .filters import Filter, MetadataIndex
from .fusion import Ranking
from .lexical import BM25, BM25Index, Kinds, Statistics, TermIds, Vocabulary
from .lexical_reference import RankBM25Index
from .passage import Passage
from .spaces import Vector

_Made = TypeVar("_Made")


class LexicalEngine(StrEnum):
    """What ranks by words: the index of this package, or that of rank-bm25, for comparison."""

    BM25 = "bm25"
    RANK_BM25 = "rank-bm25"


@dataclass(frozen=True, slots=True)
class Indexing:
    """How passages are indexed."""

    bm25: BM25 = field(default_factory=BM25)
    engine: LexicalEngine = LexicalEngine.BM25
    device: Device = Device.CPU


class LexicalIndex(Protocol):
    """What a search needs of an index by words."""

    def search(self, terms: Sequence[str], depth: int, allowed: NDArray[np.bool_] | None = None) -> Ranking:
        """Rank the passages that hold any of `terms`."""
        ...

    def holding(self, terms: Iterable[str], allowed: NDArray[np.bool_] | None = None) -> int:
        """Return how many passages hold all of `terms`."""
        ...

    def most(self, terms: Sequence[str]) -> float:
        """Return what no passage can score more than for `terms`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A passage as the indexes take it: its term ids, its vectors by their space, its language as a number."""

    passage: Passage
    term_ids: TermIds
    vectors: Mapping[str, Vector]
    language: int


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The term ids of all passages, one behind the other: those of row i are ids[offsets[i]:offsets[i + 1]].

    `languages` has each passage's: they differ in how many terms they have for as much text.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    languages: Kinds

    @classmethod
    def of_rows(cls, rows: Sequence[Row]) -> Terms:
        """Lay out the terms of `rows`."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row.term_ids) for row in rows], out=offsets[1:])
        ids = [np.empty(0, np.int32), *(row.term_ids for row in rows)]
        return cls(np.concatenate(ids), offsets, np.array([row.language for row in rows], dtype=np.uint8))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> TermIds:
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[TermIds]:
        return map(self.__getitem__, range(len(self)))


@dataclass(frozen=True, slots=True, eq=False)
class SpaceVectors:
    """The vectors of one space, float32 (n, dimensions), and the rows they belong to, ascending."""

    rows: NDArray[np.int64]
    vectors: Vectors


class Segment:
    """Passages in the order of their ids, immutable. Indexes are made when first asked for.

    A row whose passage is None was deleted before the segment was read from its files; it is never to be found.
    """

    def __init__(
        self,
        passages: Sequence[Passage | None],
        terms: Terms,
        spaces: Mapping[str, SpaceVectors],
        vocabulary: Vocabulary,
        lexical: Callable[[], LexicalIndex],
        dense: Mapping[str, Callable[[], DenseIndex]],
        device: Device,
    ) -> None:
        self.passages = passages
        self.terms = terms
        self.spaces = spaces
        self.vocabulary = vocabulary
        self.lexical = Lazy(lexical)
        self.dense = {space: Lazy(make) for space, make in dense.items()}
        """Indexes as they are saved; `nearest` has those that are searched."""
        self.nearest = {space: Lazy(partial(_on_device, made, device)) for space, made in self.dense.items()}

    @classmethod
    def of_rows(
        cls, rows: Sequence[Row], vocabulary: Vocabulary, indexing: Indexing, scored_by: Segment | None = None
    ) -> Segment:
        """Make a segment of rows in the order of their passages' ids, perhaps scored by another's statistics."""
        terms = Terms.of_rows(rows)
        spaces = {space: _space(rows, space) for space in sorted({space for row in rows for space in row.vectors})}
        return cls(
            [row.passage for row in rows],
            terms,
            spaces,
            vocabulary,
            lambda: _lexical(terms, vocabulary, indexing, scored_by),
            {space: partial(DenseIndex.build, found.vectors, found.rows) for space, found in spaces.items()},
            indexing.device,
        )

    def __len__(self) -> int:
        return len(self.passages)

    @cached_property
    def documents(self) -> Mapping[str, Sequence[int]]:
        """The rows of each document."""
        found: dict[str, list[int]] = {}
        for row, passage in enumerate(self.passages):
            if passage is not None:
                found.setdefault(passage.doc_id, []).append(row)
        return found

    @cached_property
    def missing(self) -> NDArray[np.bool_]:
        """Which rows lost their passage before the segment was read."""
        return np.fromiter((passage is None for passage in self.passages), dtype=np.bool_, count=len(self))

    def row(self, number: int, passage: Passage) -> Row:
        """Return a row as it was given."""
        vectors = {}
        for space, found in self.spaces.items():
            at = int(np.searchsorted(found.rows, number))
            if at < len(found.rows) and found.rows[at] == number:
                vectors[space] = found.vectors[at]
        return Row(passage, self.terms[number], vectors, int(self.terms.languages[number]))

    def matching(self, wanted: Filter) -> NDArray[np.bool_]:
        """Return which rows match a filter."""
        return self._metadata.mask(wanted)

    @cached_property
    def _metadata(self) -> MetadataIndex:
        return MetadataIndex([{} if passage is None else passage.metadata for passage in self.passages])


class Lazy(Generic[_Made]):
    """Something made once, when first asked for, however many threads ask."""

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make = make
        self._made: list[_Made] = []
        self._lock = threading.Lock()

    @property
    def made(self) -> _Made | None:
        """What was made, None where nobody has asked yet."""
        return self._made[0] if self._made else None

    def __call__(self) -> _Made:
        """Return it."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


def _space(rows: Sequence[Row], space: str) -> SpaceVectors:
    """Gather the vectors of one space; at least one row must have one."""
    numbers = [number for number, row in enumerate(rows) if space in row.vectors]
    vectors = np.stack([rows[number].vectors[space] for number in numbers])
    return SpaceVectors(np.array(numbers, dtype=np.int64), vectors)


def _lexical(terms: Terms, vocabulary: Vocabulary, indexing: Indexing, scored_by: Segment | None) -> LexicalIndex:
    k1, b = indexing.bm25.k1, indexing.bm25.b
    if indexing.engine is LexicalEngine.RANK_BM25:
        return RankBM25Index.from_ids(list(terms), vocabulary, k1, b)
    return BM25Index.from_laid_out(terms.ids, terms.offsets, vocabulary, k1, b, _statistics(scored_by), terms.languages)


def _statistics(segment: Segment | None) -> Statistics | None:
    lexical = segment.lexical() if segment is not None else None
    return lexical.statistics if isinstance(lexical, BM25Index) else None


def _on_device(made: Lazy[DenseIndex], device: Device) -> DenseIndex:
    return on_device(made(), device)
