"""One generation of a collection, immutable: its passages, its lexical and its dense index."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import InputError
from .analysis import analyze
from .dense import DenseIndex, Encoder, Vectors
from .fusion import Ranking
from .lexical import BM25, BM25Index, TermIds, Vocabulary
from .passage import Hit, Passage, Value

Filter = Mapping[str, Value | Sequence[Value]]
"""Wanted metadata: each field must equal its value, or any of its values where several are given.

Values are compared as JSON writes them, so that `year=2024` from a command line finds the number 2024.
A field that holds several values matches when one of them does.
"""

DEPTH = 100
"""How deep each leg is read before fusing, where nothing else is said."""

_Made = TypeVar("_Made")


class Leg(StrEnum):
    """A way to search: by words or by vectors."""

    LEXICAL = "lexical"
    DENSE = "dense"


@dataclass(frozen=True, slots=True)
class Row:
    """A passage as the indexes take it: its term ids, and its vector where the encoder reads it."""

    passage: Passage
    term_ids: TermIds
    vector: NDArray[np.float32] | None


class Snapshot:
    """An immutable view of one generation; positions count passages in passage_id order.

    Indexes are built when first asked for, so that a collection searched by words alone never needs FAISS.
    """

    def __init__(
        self,
        generation: int,
        rows: Sequence[Row],
        vocabulary: Vocabulary,
        encoder: Encoder | None,
        bm25: BM25 = BM25(),  # noqa: B008 # frozen
    ) -> None:
        self.generation = generation
        self._rows = rows
        self._encoder = encoder
        self._vocabulary = vocabulary
        self._lexical = _Lazy(lambda: BM25Index.from_ids([row.term_ids for row in rows], vocabulary, bm25.k1, bm25.b))
        self._dense = _Lazy(lambda: _dense_index(rows))
        self._fields: dict[str, dict[str, list[int]]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def passage(self, position: int) -> Passage:
        """Return the passage at `position`."""
        return self._rows[position].passage

    def rank(
        self,
        texts: Sequence[str],
        legs: Sequence[Leg],
        depth: int = DEPTH,
        filter: Filter | None = None,  # noqa: A002 - the word of the field
    ) -> list[dict[Leg, Ranking]]:
        """Search each of `texts` by each of `legs`, `depth` passages deep.

        A leg that cannot read a text is absent: lexical where analysis leaves no term, dense where the
        encoder does not know the language or no passage has a vector. All texts are encoded in one call.
        """
        legs = check_legs(legs)
        allowed = None if filter is None else self._allowed(filter)
        rankings: list[dict[Leg, Ranking]] = [{} for _ in texts]
        if Leg.LEXICAL in legs:
            for found, text in zip(rankings, texts, strict=True):
                if terms := analyze(text):
                    found[Leg.LEXICAL] = self._lexical().search(terms, depth, allowed)
        if Leg.DENSE in legs and self._encoder is not None:
            readable = [number for number, text in enumerate(texts) if self._encoder.reads(text)]
            index = self._dense() if readable else None
            if index is not None:
                vectors = self._encoder.encode_queries([texts[number] for number in readable])
                for number, vector in zip(readable, vectors, strict=True):
                    rankings[number][Leg.DENSE] = index.search(vector, depth, allowed)
        return rankings

    def holding(self, *phrases: str) -> int:
        """Return how many passages hold all words of all `phrases`, as the lexical leg reads them; 0 of none."""
        return self._lexical().holding(term for phrase in phrases for term in analyze(phrase))

    def coverage(self, text: str, positions: Sequence[int]) -> float:
        """Return the share of the terms of `text` that one of the passages at `positions` holds, on average."""
        terms = set(analyze(text))
        ids = {self._vocabulary[term] for term in terms if term in self._vocabulary}
        if not terms or not positions:
            return 0.0
        held = sum(len(ids.intersection(self._rows[position].term_ids.tolist())) for position in positions)
        return held / (len(positions) * len(terms))

    def hits(self, ranking: Ranking, k: int) -> list[Hit]:
        """Return the best `k` of `ranking` as hits."""
        best = ranking.head(k)
        return [
            _hit(rank, float(score), self.passage(position))
            for rank, (position, score) in enumerate(zip(best.positions, best.scores, strict=True), start=1)
        ]

    def _allowed(self, wanted: Filter) -> NDArray[np.bool_]:
        """Return which positions match `wanted`."""
        allowed = np.ones(len(self._rows), dtype=np.bool_)
        for key, values in wanted.items():
            field = self._field(key)
            matching = np.zeros(len(self._rows), dtype=np.bool_)
            for text in _wanted_texts(key, values):
                matching[field.get(text, [])] = True
            allowed &= matching
        return allowed

    def _field(self, key: str) -> dict[str, list[int]]:
        """Return the positions of each value that the metadata field `key` has anywhere."""
        field = self._fields.get(key)
        if field is None:
            field = {}
            for position, row in enumerate(self._rows):
                if key in row.passage.metadata:
                    for text in _texts(row.passage.metadata[key]):
                        field.setdefault(text, []).append(position)
            # Two threads may both have made it; either will do.
            self._fields[key] = field
        return field


class _Lazy(Generic[_Made]):
    """Something made once, when first asked for, however many threads ask."""

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make = make
        self._made: list[_Made] = []
        self._lock = threading.Lock()

    def __call__(self) -> _Made:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


def check_legs(legs: Sequence[Leg | str]) -> tuple[Leg, ...]:
    """Return `legs`, a list or one word, as they are meant and each once; raises InputError for anything else."""
    if isinstance(legs, str):
        legs = list(Leg) if legs == "hybrid" else [legs]
    if not isinstance(legs, Sequence) or not legs or any(leg not in list(Leg) for leg in legs):
        raise InputError("legs: expected lexical, dense or hybrid, or a list of one or both of lexical, dense")
    return tuple(dict.fromkeys(map(Leg, legs)))


def check_filter(wanted: Filter | None) -> None:
    """Raise InputError for a filter that wants what no metadata can hold."""
    for key, values in (wanted or {}).items():
        _wanted_texts(key, values)


def _dense_index(rows: Sequence[Row]) -> DenseIndex | None:
    """Index the rows that have a vector; None if none has."""
    positions = [position for position, row in enumerate(rows) if row.vector is not None]
    if not positions:
        return None
    vectors: Vectors = np.stack([vector for row in rows if (vector := row.vector) is not None])
    return DenseIndex.build(vectors, np.array(positions, dtype=np.int64))


def _hit(rank: int, score: float, passage: Passage) -> Hit:
    return Hit(rank, score, passage.doc_id, passage.passage_id, passage.title, passage.text, dict(passage.metadata))


def _wanted_texts(key: str, values: object) -> list[str]:
    """Return the values that a filter wants of a field, as they are compared."""
    if isinstance(values, (list, tuple, set, frozenset)):
        return [text for value in values for text in _wanted_texts(key, value)]
    if not isinstance(values, (str, int, float)):
        raise InputError(f"filter: {key!r}: expected a string, number, boolean or several of them")
    return _texts(values)


def _texts(value: Value) -> list[str]:
    """Return the values of a field as they are compared: strings as they are, the rest as JSON writes it."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str):
        return [value]
    whole = isinstance(value, float) and value.is_integer()
    return [json.dumps(int(value) if whole else value)]
