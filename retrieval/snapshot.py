"""One generation of a collection, immutable: a big segment, a small one of what was written since, what is deleted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import InputError
from .analysis import analyze, has_number, is_code
from .filters import Filter
from .fusion import Ranking, join
from .passage import Hit, Passage
from .segment import Row, Segment
from .spaces import Spaces, Vector

_FEW = 5
_MOST_CODES = 0.95

DEPTH = 100
"""How deep each leg is read before fusing, where nothing else is said."""


class Leg(StrEnum):
    """A way to search: by words or by vectors."""

    LEXICAL = "lexical"
    DENSE = "dense"


class Snapshot:
    """An immutable view of one generation; positions count its passages in the order of their ids.

    `delta` holds what was written after `base` was made; it is scored by the statistics of `base`. The rows of `base`
    that `dead` marks are deleted, or newer in `delta`.
    """

    def __init__(self, generation: int, spaces: Spaces, base: Segment, delta: Segment, dead: NDArray[np.bool_]) -> None:
        self.generation = generation
        self.base = base
        self._spaces = spaces
        self._parts = _merged_order(base, delta, dead)
        size = sum(map(len, self._parts))
        self._part_of = np.zeros(size, dtype=np.int8)
        self._row_of = np.zeros(size, dtype=np.int64)
        for number, part in enumerate(self._parts):
            self._part_of[part.positions[part.live]] = number
            self._row_of[part.positions[part.live]] = part.live

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def span(self) -> int:
        """How many positions there may be."""
        return len(self)

    @property
    def encoder(self) -> str:
        """Name the encoders whose vectors are searched."""
        return self._spaces.name

    @property
    def settled(self) -> bool:
        """Say whether all passages are in `base`, and no others."""
        return len(self._parts) == 1 and len(self) == len(self.base)

    @property
    def degraded(self) -> str:
        """Say why the dense leg is slower than it should be now; "" where it is not."""
        made = [index for part in self._parts for lazy in part.segment.nearest.values() if (index := lazy.made)]
        return next((index.degraded for index in made if index.degraded), "")

    def passage(self, position: int) -> Passage:
        """Return the passage at `position`."""
        segment, row = self._place(position)
        passage = segment.passages[row]
        assert passage is not None  # noqa: S101 - only live rows have positions
        return passage

    def rows(self) -> Iterator[Row]:
        """Yield all passages as the indexes take them."""
        for position in range(len(self)):
            segment, row = self._place(position)
            yield segment.row(row, self.passage(position))

    def rank(
        self,
        texts: Sequence[str],
        legs: Sequence[Leg],
        depth: int = DEPTH,
        filter: Filter | None = None,  # noqa: A002 - the word of the field
    ) -> list[dict[Leg, Ranking]]:
        """Search each of `texts` by each of `legs`, `depth` passages deep.

        A leg that cannot read a text is absent: lexical where analysis leaves no term, dense where no
        encoder knows the language or no passage of that language has a vector. All texts are encoded in one call.
        """
        legs = check_legs(legs)
        allowed = [part.allowed(filter) for part in self._parts]
        rankings: list[dict[Leg, Ranking]] = [{} for _ in texts]
        if Leg.LEXICAL in legs:
            for found, text in zip(rankings, texts, strict=True):
                if terms := analyze(text):
                    found[Leg.LEXICAL] = self._lexical(terms, depth, allowed)
        if Leg.DENSE in legs and any(part.segment.dense for part in self._parts):
            for text, found, vectors in zip(texts, rankings, self._spaces.encode_queries(texts), strict=True):
                for space, vector in vectors.items():
                    if any(space in part.segment.dense for part in self._parts):
                        ranking = self._dense(space, vector, depth, allowed)
                        weight = self._spaces.weight(space) * (1 - by_words_alone(self, text, self._spaces, space))
                        found[Leg.DENSE] = replace(ranking, weight=weight)
        return rankings

    def holding(self, *phrases: str) -> int:
        """Return how many passages hold all words of all `phrases`, as the lexical leg reads them; 0 of none."""
        terms = [term for phrase in phrases for term in analyze(phrase)]
        return sum(part.segment.lexical().holding(terms, part.allowed(None)) for part in self._parts)

    def most(self, text: str) -> float:
        """Return more than any passage can score for `text` by words: each of its terms, as often as can be."""
        return self.base.lexical().most(analyze(text))

    def coverage(self, text: str, positions: Sequence[int]) -> float:
        """Return the share of the terms of `text` that one of the passages at `positions` holds, on average."""
        terms = set(analyze(text))
        vocabulary = self.base.vocabulary
        ids = {vocabulary[term] for term in terms if term in vocabulary}
        if not terms or not positions:
            return 0.0
        rows = map(self._place, positions)
        held = sum(len(ids.intersection(segment.terms[row].tolist())) for segment, row in rows)
        return held / (len(positions) * len(terms))

    def hits(self, ranking: Ranking, k: int) -> list[Hit]:
        """Return the best `k` of `ranking` as hits."""
        best = ranking.head(k)
        return [
            Hit.of(self.passage(position), rank, float(score))
            for rank, (position, score) in enumerate(zip(best.positions, best.scores, strict=True), start=1)
        ]

    def _place(self, position: int) -> tuple[Segment, int]:
        """Return segment and row of a position."""
        return self._parts[self._part_of[position]].segment, int(self._row_of[position])

    def _lexical(self, terms: Sequence[str], depth: int, allowed: Sequence[NDArray[np.bool_] | None]) -> Ranking:
        return _together(
            [
                part.placed(part.segment.lexical().search(terms, depth, mask))
                for part, mask in zip(self._parts, allowed, strict=True)
            ],
            depth,
        )

    def _dense(self, space: str, vector: Vector, depth: int, allowed: Sequence[NDArray[np.bool_] | None]) -> Ranking:
        return _together(
            [
                part.placed(part.segment.nearest[space]().search(vector, depth, mask))
                for part, mask in zip(self._parts, allowed, strict=True)
                if space in part.segment.dense
            ],
            depth,
        )


class _Part:
    """A segment within a snapshot: which of its rows live, and at which positions."""

    def __init__(self, segment: Segment, live: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
        self.segment = segment
        self.live = live
        self.positions = positions
        """The position of each row; of a dead one it means nothing."""
        self._alive: NDArray[np.bool_] | None = None
        if len(live) < len(segment):
            self._alive = np.zeros(len(segment), dtype=np.bool_)
            self._alive[live] = True

    def __len__(self) -> int:
        return len(self.live)

    def allowed(self, wanted: Filter | None) -> NDArray[np.bool_] | None:
        """Return which rows may be found; None for all."""
        if wanted is None:
            return self._alive
        matching = self.segment.matching(wanted)
        return matching if self._alive is None else matching & self._alive

    def placed(self, ranking: Ranking) -> Ranking:
        """Turn rows into positions."""
        return replace(ranking, positions=self.positions[ranking.positions])


def check_legs(legs: Sequence[Leg | str]) -> tuple[Leg, ...]:
    """Return `legs`, a list or one word, as they are meant and each once; raises InputError for anything else."""
    if isinstance(legs, str):
        legs = list(Leg) if legs == "hybrid" else [legs]
    if not isinstance(legs, Sequence) or not legs or any(leg not in list(Leg) for leg in legs):
        raise InputError("legs: expected lexical, dense or hybrid, or a list of one or both of lexical, dense")
    return tuple(dict.fromkeys(map(Leg, legs)))


def shares(by_leg: Mapping[Leg, Ranking], lexical_weight: float) -> dict[Leg, float]:
    """Return what each leg's list weighs where they are fused; together 1."""
    weights = {leg: lexical_weight if leg is Leg.LEXICAL else 1 - lexical_weight for leg in by_leg}
    weighed = {leg: weights[leg] * ranking.weight for leg, ranking in by_leg.items()}
    return {leg: weight / sum(weighed.values()) for leg, weight in weighed.items()}


class Counting(Protocol):
    """What is asked of a snapshot about its words."""

    def __len__(self) -> int:
        """Say how many passages there are."""
        ...

    def holding(self, *phrases: str) -> int:
        """Return how many passages hold all words of all `phrases`."""
        ...

    def most(self, text: str) -> float:
        """Return more than any passage can score for `text` by words."""
        ...


def by_words_alone(snapshot: Counting, text: str, spaces: Spaces, space: str) -> float:
    """Return the share of what `text` says that lies in what no vector of `space` tells of, and some passage holds.

    These are codes that few passages hold, and in some spaces all numbers.
    """
    most = _FEW if spaces.reads_numbers(space) else len(snapshot)
    terms = analyze(text)
    numbers = has_number if most > _FEW else is_code
    alone = [term for term in terms if numbers(term) and 0 < snapshot.holding(term) <= most]
    return min(_MOST_CODES, snapshot.most(" ".join(alone)) / snapshot.most(text)) if alone else 0.0


def _merged_order(base: Segment, delta: Segment, dead: NDArray[np.bool_]) -> list[_Part]:
    """Give the live rows of both segments positions in the common order of their passages' ids."""
    live = np.flatnonzero(~dead)
    if not len(delta):
        return [_Part(base, live, np.cumsum(~dead) - 1)]
    ids = [passage.passage_id for row in live.tolist() if (passage := base.passages[row]) is not None]
    before = np.array(
        [bisect_left(ids, passage.passage_id) for passage in delta.passages if passage is not None], dtype=np.int64
    )
    shifts = np.searchsorted(before, np.arange(len(live)), side="right")
    positions = np.zeros(len(base), dtype=np.int64)
    positions[live] = np.arange(len(live)) + shifts
    return [
        _Part(base, live, positions),
        _Part(delta, np.arange(len(delta)), before + np.arange(len(delta))),
    ]


def _together(rankings: Sequence[Ranking], depth: int) -> Ranking:
    """Make one ranking of those of several segments."""
    return rankings[0] if len(rankings) == 1 else join(rankings, depth)
