"""Names with two senses: the documents that hold one fall into two groups that share hardly a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log

LEAST_DOCUMENTS = 3
"""A sense that fewer documents have is no strong evidence."""

LEAST_CUES = 3
"""Nor is one that fewer words tell from the other."""

MOST_CUES = 8

_COVERED = 0.7
"""So many of a sense's documents hold one of its cues."""

_ROUNDS = 4
_APART = 0.12
"""What two documents of different senses may share, against two of one."""


@dataclass(frozen=True, slots=True)
class Sense:
    """One sense of a name: how many documents have it, and the words that tell it from the other."""

    documents: int
    cues: tuple[str, ...]


def two_senses(contexts: Sequence[Collection[str]], weights: Mapping[str, float]) -> tuple[Sense, Sense] | None:
    """Split a name's documents, each given as its words, into two senses; None without strong evidence.

    Two seeds are the heaviest word and the heaviest one that never meets it; each document joins the side whose
    words it holds. Time is linear in the words given.
    """
    counts = Counter(word for words in contexts for word in set(words))
    shared = {word for word, count in counts.items() if count >= 2}
    rows = [frozenset(words) & shared for words in contexts]
    seeds = _seeds(rows, counts, weights)
    if seeds is None:
        return None
    sides = _split(rows, seeds, weights)
    groups = [[row for row, side in zip(rows, sides, strict=True) if side == wanted] for wanted in (0, 1)]
    if min(map(len, groups)) < LEAST_DOCUMENTS or sum(map(len, groups)) < 0.8 * len(rows):
        return None
    if not _apart(groups, weights):
        return None
    first, second = (_sense(group, other, weights) for group, other in (groups, groups[::-1]))
    told = all(_told(group, sense) for group, sense in zip(groups, (first, second), strict=True))
    return (first, second) if told else None


def _seeds(
    rows: Sequence[frozenset[str]], counts: Mapping[str, int], weights: Mapping[str, float]
) -> tuple[str, str] | None:
    """Return the heaviest word, and the heaviest one that stands in none of its documents."""
    known = sorted({word for row in rows for word in row}, key=lambda word: (-counts[word] * weights[word], word))
    for first in known[:5]:
        beside = {word for row in rows if first in row for word in row}
        second = next((word for word in known if word not in beside and counts[word] >= LEAST_DOCUMENTS), None)
        if second is not None:
            return first, second
    return None


def _split(rows: Sequence[frozenset[str]], seeds: tuple[str, str], weights: Mapping[str, float]) -> list[int | None]:
    """Return the side of each document, None where it leans to neither."""
    sides: list[int | None] = [next((i for i, seed in enumerate(seeds) if seed in row), None) for row in rows]
    for _ in range(_ROUNDS):
        leaning = list(zip(rows, sides, strict=True))
        held = [Counter(word for row, side in leaning if side == i for word in row) for i in (0, 1)]
        sizes = [max(1, sides.count(i)) for i in (0, 1)]
        lean = {
            word: weights[word] * (held[0][word] / sizes[0] - held[1][word] / sizes[1])
            for word in held[0].keys() | held[1].keys()
        }
        sums = [sum(lean.get(word, 0.0) for word in sorted(row)) for row in rows]
        sides = [None if abs(total) < 1e-9 else int(total < 0) for total in sums]
    return sides


def _apart(groups: Sequence[Sequence[frozenset[str]]], weights: Mapping[str, float]) -> bool:
    """Say whether documents of one group share far more, by weight, than documents of different groups."""
    held = [Counter(word for row in group for word in row) for group in groups]
    sizes = [len(group) for group in groups]
    across = sum(weights[word] * held[0][word] * held[1][word] for word in held[0].keys() & held[1].keys())
    within = [
        sum(weights[word] * count * (count - 1) for word, count in one.items()) / (size * (size - 1))
        for one, size in zip(held, sizes, strict=True)
    ]
    return across / (sizes[0] * sizes[1]) <= _APART * min(within)


def _sense(group: Sequence[frozenset[str]], other: Sequence[frozenset[str]], weights: Mapping[str, float]) -> Sense:
    """Describe a group by the words that recur in it and never stand in the other."""
    held = Counter(word for row in group for word in row)
    elsewhere = {word for row in other for word in row}
    least = max(2, len(group) * 0.2)
    cues = sorted(
        (word for word, count in held.items() if count >= least and word not in elsewhere),
        key=lambda word: (-held[word] * weights[word], word),
    )
    return Sense(len(group), tuple(cues[:MOST_CUES]))


def _told(group: Sequence[frozenset[str]], sense: Sense) -> bool:
    """Say whether a sense has cues enough, in most of its documents."""
    covered = sum(not row.isdisjoint(sense.cues) for row in group)
    return len(sense.cues) >= LEAST_CUES and covered >= _COVERED * len(group)


def rarity(documents: int, size: int) -> float:
    """Return what a word weighs that stands in `documents` of `size`."""
    return log((size + 1) / (documents + 0.5))
