"""Search by vectors: the passages whose unit vectors have the greatest inner products with a query's.

Few vectors are scanned whole. Of many, a scan of short codes finds candidates, and the candidates get their exact
scores from the vectors, which may be mapped from a file. Product quantization: Jégou, Douze and Schmid, "Product
quantization for nearest neighbor search", TPAMI 2011; scanned in registers: André, Kermarrec and Le Scouarnec, "Cache
locality is not enough", VLDB 2015.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import MissingExtraError, QuerywrightError, StorageError
from .fusion import Ranking, best

Vector = NDArray[np.float32]
Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

EXACT_ROWS = 20_000
"""Up to this many vectors are scanned whole: 1 ms at 384 dimensions, and they fit a processor's cache."""

RECALL = 0.98
"""Codes that find a smaller share of the true best hundred are not used."""

_RECALL_BYTES = struct.Struct("<d")
_DECIMALS = 5
_MARGIN = 2e-5
"""More than float32 and rounding together can move a score."""
_TRAINING = 4096
_PROBES = 50
_PROBE_DEPTH = 100
_CHUNK = 256


class DegradedSearch(QuerywrightError):  # noqa: N818 - a state rather than a fault: the search is answered
    """A scan cannot answer now; the index answers without it."""


class Scan(Protocol):
    """Find candidates: rows among which the nearest almost surely are. Must be safe to call from many threads."""

    @property
    def degraded(self) -> str:
        """Say why searches are answered without this scan now; "" while it answers them."""
        ...

    def width(self, depth: int) -> int:
        """Say how many candidates it takes to hold the `depth` nearest."""
        ...

    def nearest(self, query: Vector, width: int) -> Rows | None:
        """Return `width` candidates, None where it cannot look at so many; raises DegradedSearch."""
        ...


class DenseIndex:
    """Immutable index of unit vectors; scores are inner products, exact whatever found the candidates."""

    def __init__(
        self, vectors: Vectors, positions: Rows, codes: Codes | None = None, recall: float = 1.0, *scans: Scan
    ) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._positions = positions
        self._codes = codes
        self._scans: tuple[Scan, ...] = (*scans, codes) if codes else scans
        self._all = len(positions) > 0 and bool(positions[-1] == len(positions) - 1)
        self.recall = recall
        """The share of the true best hundred that codes find, measured when they were made; 1 without codes."""

    @classmethod
    def build(cls, vectors: Vectors, positions: Rows, *, exact_rows: int = EXACT_ROWS) -> DenseIndex:
        """Index `vectors` (n, dimensions) of the passages at `positions`, which must ascend.

        The vectors are kept, not copied. More than `exact_rows` of them get codes, if those find enough.
        """
        exact = cls(vectors, positions)
        # Two dimensions share a code.
        if len(positions) <= max(exact_rows, _TRAINING) or vectors.shape[1] % 2:
            return exact
        codes = Codes.train(exact._vectors)
        recall = _recall(cls(vectors, positions, codes), exact)
        return exact if recall < RECALL else cls(vectors, positions, codes, recall)

    @classmethod
    def from_bytes(cls, vectors: Vectors, positions: Rows, saved: bytes) -> DenseIndex:
        """Return the index of `vectors` that `to_bytes` gave as `saved`; raises StorageError for other bytes.

        They must be known to be undamaged: FAISS does not check what it reads.
        """
        if not saved:
            return cls(vectors, positions)
        try:
            (recall,) = _RECALL_BYTES.unpack_from(saved)
            return cls(vectors, positions, Codes.from_bytes(saved[_RECALL_BYTES.size :], vectors), recall)
        except (struct.error, RuntimeError) as error:
            raise StorageError(f"dense index: the codes cannot be read: {error}") from error

    def to_bytes(self) -> bytes:
        """Return what to keep besides the vectors: codes and their recall; nothing where there are none."""
        return _RECALL_BYTES.pack(self.recall) + self._codes.to_bytes() if self._codes else b""

    def scanned_by(self, scan: Scan) -> DenseIndex:
        """Return this index with `scan` asked for candidates first, before the codes."""
        return DenseIndex(self._vectors, self._positions, self._codes, self.recall, scan)

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def vectors(self) -> Vectors:
        """The vectors, (n, dimensions)."""
        return self._vectors

    @property
    def exact(self) -> bool:
        """Say whether all vectors are scanned."""
        return self._codes is None

    @property
    def degraded(self) -> str:
        """Say why searches are slower than they should be now; "" where they are not."""
        return next((scan.degraded for scan in self._scans if scan.degraded), "")

    def search(self, vector: Vector, depth: int, allowed: NDArray[np.bool_] | None = None) -> Ranking:
        """Rank the `depth` passages nearest to `vector`, those `allowed` only; equal ones by position."""
        query = np.ascontiguousarray(vector, dtype=np.float32)
        if query.shape != self._vectors.shape[1:]:
            # What follows reads memory without a look at its bounds.
            raise ValueError(f"a query of shape {query.shape} for vectors of shape {self._vectors.shape[1:]}")
        mask = None if allowed is None else self._mask(allowed)
        size = len(self) if mask is None else int(np.count_nonzero(mask))
        whole, depth = size <= depth, min(depth, size)
        if depth <= 0:
            return Ranking(np.empty(0, np.int64), np.empty(0, np.float32))
        ranking = self._rank(query, self._candidates(query, depth, mask, size), depth)
        # What has nothing to do with the query is about as near to it as the mean of all.
        return replace(ranking, least=float(query @ self._mean), whole=whole)

    @cached_property
    def _mean(self) -> Vector:
        return np.asarray(self._vectors.mean(axis=0), dtype=np.float32)

    def _mask(self, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which rows are allowed, of which positions are."""
        return allowed[: len(self)] if self._all else allowed[self._positions]

    def _candidates(self, query: Vector, depth: int, mask: NDArray[np.bool_] | None, size: int) -> Rows | None:
        """Return rows that hold the `depth` nearest of the `size` allowed ones; None for all rows."""
        for scan in self._scans:
            try:
                found = self._scanned(scan, query, depth, mask, size)
            except DegradedSearch:
                continue
            if found is not None:
                return found
        return None if mask is None else np.flatnonzero(mask)

    def _scanned(self, scan: Scan, query: Vector, depth: int, mask: NDArray[np.bool_] | None, size: int) -> Rows | None:
        """Return candidates by `scan`; None where looking at all allowed rows is less work."""
        enough = scan.width(depth)
        # A quarter more, so that a filter seldom leaves too few.
        width = enough if mask is None else 5 * enough * len(self) // (4 * size)
        while width < size:
            found = scan.nearest(query, width)
            if found is None:
                return None
            found = found if mask is None else found[mask[found]]
            if len(found) >= enough:
                return np.sort(found)
            width *= 4
        return None

    def _rank(self, query: Vector, rows: Rows | None, depth: int) -> Ranking:
        """Rank `rows`, which must ascend, all where None."""
        rough = self._products(query, rows)
        cut = np.partition(rough, len(rough) - depth)[len(rough) - depth]
        close = np.flatnonzero(rough >= cut - _MARGIN)
        rows = close if rows is None else rows[close]
        return best(self._positions[rows], self._scores(query, rows), depth)

    def _products(self, query: Vector, rows: Rows | None) -> NDArray[np.float32]:
        """Return the inner products with `rows` as fast as can be, without a copy of the vectors."""
        faiss = _faiss()
        size, dimensions = self._vectors.shape
        out = np.empty(size if rows is None else len(rows), dtype=np.float32)
        to, of, among = map(faiss.swig_ptr, (out, query, self._vectors))
        if rows is None:
            faiss.fvec_inner_products_ny(to, of, among, dimensions, size)
        else:
            faiss.fvec_inner_products_by_idx(to, of, among, faiss.swig_ptr(rows), dimensions, 1, len(rows))
        return out

    def _scores(self, query: Vector, rows: Rows) -> NDArray[np.float32]:
        """Return rounded scores, summed in float64: the same whatever else is looked at, on every processor."""
        wide = query.astype(np.float64)
        chunks = (self._vectors[rows[start : start + _CHUNK]] for start in range(0, len(rows), _CHUNK))
        scores = np.concatenate([np.einsum("rd,d->r", chunk.astype(np.float64), wide) for chunk in chunks])
        # An encoder's last bits depend on what else was in its batch; the order of results must not.
        return np.round(scores, _DECIMALS).astype(np.float32)


class Codes:
    """Codes of four bits for every two dimensions, by FAISS: a sixteenth of the vectors' size."""

    degraded = ""

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - faiss is untyped
        self._index = index

    @classmethod
    def train(cls, vectors: Vectors) -> Codes:
        """Learn codes from a sample of `vectors` and encode them all."""
        faiss = _faiss()
        # Searches run meanwhile, and threads of one build would wait for one another.
        faiss.omp_set_num_threads(1)
        size, dimensions = vectors.shape
        sample = np.random.default_rng(0).choice(size, min(size, _TRAINING), replace=False)
        index = faiss.IndexPQFastScan(dimensions, dimensions // 2, 4, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[np.sort(sample)])
        index.add(vectors)
        return cls(index)

    @classmethod
    def from_bytes(cls, saved: bytes, vectors: Vectors) -> Codes:
        """Return codes that were kept; raises StorageError unless they are of as many vectors as `vectors`."""
        faiss = _faiss()
        index = faiss.deserialize_index(np.frombuffer(saved, dtype=np.uint8))
        if not isinstance(index, faiss.IndexPQFastScan) or (index.ntotal, index.d) != vectors.shape:
            raise StorageError(f"dense index: the codes are not of {vectors.shape[0]} such vectors")
        return cls(index)

    def to_bytes(self) -> bytes:
        """Return the codes in FAISS's own format."""
        return bytes(_faiss().serialize_index(self._index))

    def width(self, depth: int) -> int:
        """Say how many candidates hold the `depth` nearest: enough for vectors without any structure."""
        return 1000 + 12 * depth

    def nearest(self, query: Vector, width: int) -> Rows:
        """Return the `width` rows whose codes are nearest."""
        found = self._index.search(query[None], width)[1][0]
        return np.asarray(found[found >= 0], dtype=np.int64)


def _recall(index: DenseIndex, exact: DenseIndex) -> float:
    """Return which share of the true best hundred `index` finds, by some of the vectors as queries.

    By scores, since of equal vectors any will do.
    """
    probes = exact.vectors[np.random.default_rng(1).choice(len(exact), _PROBES, replace=False)]
    found = [index.search(probe, _PROBE_DEPTH).scores for probe in probes]
    true = [exact.search(probe, _PROBE_DEPTH).scores for probe in probes]
    return float(np.mean([ours >= theirs[-1] for ours, theirs in zip(found, true, strict=True)]))


@cache
def _faiss() -> Any:  # noqa: ANN401 - faiss is untyped
    """Import FAISS when it is first needed."""
    if find_spec("faiss") is None:
        raise MissingExtraError(
            "dense leg: FAISS is not installed: pip install 'querywright[cpu]' (or 'querywright[gpu]')"
        )
    return import_module("faiss")
