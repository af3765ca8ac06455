"""What speed is measured on: seeded texts whose words are as unequal as in language, vectors alike to sentences'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..retrieval.dense import Vectors

LENGTH = 80
"""Words of a document."""

EXPONENT = 1.0
"""The n-th word is as frequent as n ** -EXPONENT."""

DIMENSIONS = 384

_VOCABULARY = 100_000
_FREQUENT = 500
"""The words that rarer queries leave out."""

_QUERY_LENGTHS = (2, 6)
_TOPIC_SIZE = 100
_MEAN = 0.28
_IN_TOPIC = 0.4
_TO_DOCUMENT = 0.25

Words = list[str]


@dataclass(frozen=True)
class Workload:
    """Documents and queries drawn from one seed; equal seeds and sizes give equal ones."""

    size: int
    count: int
    seed: int

    @cached_property
    def documents(self) -> list[Words]:
        """The words of each document, drawn by Zipf's law."""
        numbers = _zipf(self._random(0), self.size * LENGTH).reshape(self.size, LENGTH)
        return [[_NAMES[number] for number in row] for row in numbers.tolist()]

    @cached_property
    def queries(self) -> list[Words]:
        """Queries of 2 to 6 words, drawn as the documents' words are."""
        random = self._random(1)
        return [_named(_zipf(random, length)) for length in _lengths(random, self.count)]

    @cached_property
    def rarer_queries(self) -> list[Words]:
        """Queries of 2 to 6 words, each but the most frequent 500 as likely as any other."""
        random = self._random(2)
        return [_named(random.integers(_FREQUENT, _VOCABULARY, length)) for length in _lengths(random, self.count)]

    @cached_property
    def vectors(self) -> tuple[Vectors, Vectors]:
        """Unit vectors of all documents and of all queries, float32 (n, 384).

        Made like those of MiniLM for English passages: a common direction, variances that fall as 1 / rank along
        directions that are none of the axes, topics of a hundred documents, and queries about one document each.
        """
        random = self._random(3)
        documents = _topical(random, self.size)
        about = documents[random.integers(0, self.size, self.count)]
        drawn = _spread(random, self.count)
        common = np.eye(1, DIMENSIONS, dtype=np.float32) * np.float32(_MEAN)
        turn = np.linalg.qr(random.standard_normal((DIMENSIONS, DIMENSIONS)))[0].astype(np.float32)
        queries = _mixed(about, drawn, _TO_DOCUMENT)
        return _unit((documents + common) @ turn), _unit((queries + common) @ turn)

    def _random(self, what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, what])


def texts(lists: Sequence[Words]) -> list[str]:
    """Return lists of words as texts."""
    return [" ".join(words) for words in lists]


def _names() -> list[str]:
    """Return words of three syllables that a stemmer leaves as they are, and that are no stop words."""
    syllables = [consonant + vowel for consonant, vowel in product("bdfklmnprtvz", "aiou")]
    return ["".join(three) for three in product(syllables, repeat=3)][:_VOCABULARY]


_NAMES = _names()


def _named(numbers: NDArray[np.int64]) -> Words:
    return [_NAMES[number] for number in numbers.tolist()]


def _zipf(random: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Draw numbers of words."""
    return np.searchsorted(_shares(), random.random(count), side="right")


@cache
def _shares() -> NDArray[np.float64]:
    """Return for each word which share of a text it and those before it are."""
    weights = np.arange(1, _VOCABULARY + 1, dtype=np.float64) ** -EXPONENT
    shares: NDArray[np.float64] = np.cumsum(weights)
    shares /= shares[-1]
    return shares


def _lengths(random: np.random.Generator, count: int) -> list[int]:
    low, high = _QUERY_LENGTHS
    return [int(length) for length in random.integers(low, high + 1, count)]


def _topical(random: np.random.Generator, size: int) -> Vectors:
    topics = _spread(random, max(1, size // _TOPIC_SIZE))
    return _mixed(topics[random.integers(0, len(topics), size)], _spread(random, size), _IN_TOPIC)


def _spread(random: np.random.Generator, size: int) -> Vectors:
    """Draw vectors of expected length (1 - mean ** 2) ** .5, the variances falling as 1 / (rank + 3)."""
    variances = 1 / (np.arange(DIMENSIONS) + 4)
    deviations = np.sqrt((1 - _MEAN**2) * variances / variances.sum()).astype(np.float32)
    drawn: Vectors = random.standard_normal((size, DIMENSIONS), dtype=np.float32) * deviations
    return drawn


def _mixed(one: Vectors, other: Vectors, share: float) -> Vectors:
    """Return sums in which `one` has that share of the variance."""
    mixed: Vectors = np.float32(share**0.5) * one + np.float32((1 - share) ** 0.5) * other
    return mixed


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
