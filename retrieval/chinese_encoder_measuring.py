"""What the Chinese encoder is worth: on held-out queries, BM25 alone, the vectors alone, and both together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .analysis import analyze
from .chinese_encoder_data import Judged, Log, TrainingData
from .dense import Vectors
from .fitting import Fusion
from .fusion import Ranking, best, fuse
from .lexical import BM25Index

DEPTH = 100
"""How many passages of each leg are fused."""

WEIGHTS = (0.2, 0.25, 0.3, 0.5)
"""Weights of the dense leg that are tried; a collection gives it a quarter (`spaces.py`)."""

_FLIPS = 10_240
_AT_ONCE = 256
_GAINS = 1 / np.log2(np.arange(2, 12))

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figures:
    """Mean nDCG@10 over the held-out queries of a set.

    `hybrid` has one figure for each of `WEIGHTS`, `p` how likely so large a difference to lexical alone would be by
    chance, `p_better` the same for the better of both legs.
    """

    name: str
    queries: int
    lexical: float
    dense: float
    hybrid: tuple[float, ...]
    p: tuple[float, ...]
    p_better: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Legs:
    """How passages and queries become vectors."""

    documents: Callable[[Sequence[str]], Vectors]
    queries: Callable[[Sequence[str]], Vectors]


def measure(data: TrainingData, legs: Legs, log: Log) -> list[Figures]:
    """Return the figures of each set, and once more with the conversation in the query where it has one."""
    found = []
    for one in data.sets:
        held = [query for query in one.queries if query.held]
        if not held:
            continue
        forms = {one.use.name: 0}
        if any(len(query.forms) > 1 for query in held):
            forms = {
                f"{one.use.name}, as typed": 0,
                f"{one.use.name}, after the last turns": 1,
                f"{one.use.name}, after what the asker said": -1,
            }
        index = BM25Index.build([*analyze(title), *analyze(one.whole(i))] for i, title in enumerate(one.titles))
        passages = legs.documents([one.whole(i) for i in range(len(one.texts))])
        for name, form in forms.items():
            found.append(_figures(name, held, form, index, passages, legs))
            log(told(found[-1]))
    return found


def told(figures: Figures) -> str:
    """Return the figures as a line."""
    cells = zip(WEIGHTS, figures.hybrid, figures.p, figures.p_better, strict=True)
    hybrid = ", ".join(f"{value:.3f} (p {p:.3f}, {better:.3f}) at {weight:g}" for weight, value, p, better in cells)
    return (
        f"{figures.name}: {figures.queries} queries, nDCG@10: lexical {figures.lexical:.3f}, "
        f"dense {figures.dense:.3f}, hybrid {hybrid}"
    )


def _figures(name: str, held: Sequence[Judged], form: int, index: BM25Index, passages: Vectors, legs: Legs) -> Figures:
    texts = [query.forms[min(form, len(query.forms) - 1)] for query in held]
    rows = []
    for start in range(0, len(held), _AT_ONCE):
        vectors = legs.queries(texts[start : start + _AT_ONCE])
        for offset, scores in enumerate(vectors @ passages.T):
            place = start + offset
            lexical = index.search(analyze(texts[place]), DEPTH)
            dense_list = best(np.arange(len(scores)), scores, DEPTH)
            rows.append(_row(lexical, replace(dense_list, least=float(scores.mean())), held[place]))
    table = np.array(rows)
    lexical, dense, *hybrid = table.mean(axis=0).tolist()
    groups = [query.group for query in held]
    better = int(dense > lexical)
    p, p_better = (
        tuple(by_chance(table[:, 2 + i] - table[:, leg], groups) for i in range(len(WEIGHTS))) for leg in (0, better)
    )
    return Figures(name, len(held), lexical, dense, tuple(hybrid), p, p_better)


def _row(lexical: Ranking, dense: Ranking, query: Judged) -> list[float]:
    fused = [fuse([lexical, dense], [1 - weight, weight], Fusion().method) for weight in WEIGHTS]
    return [ndcg(ranking, query.relevant) for ranking in (lexical, dense, *fused)]


def ndcg(ranking: Ranking, relevant: Sequence[int]) -> float:
    """Return nDCG@10, every relevant passage worth the same."""
    found = np.isin(ranking.positions[:10], relevant)
    return float(_GAINS[: len(found)][found].sum() / _GAINS[: len(relevant)].sum())


def by_chance(differences: _Floats, groups: Sequence[str]) -> float:
    """Return the two-sided p of the paired randomisation test that flips the signs of whole groups."""
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=differences)
    rng, bar, as_large = np.random.default_rng(0), abs(sums.sum()) - 1e-9, 0
    for _ in range(_FLIPS // _AT_ONCE):
        signs = 2.0 * rng.integers(2, size=(_AT_ONCE, len(sums))) - 1
        as_large += int((np.abs(signs @ sums) >= bar).sum())
    return (as_large + 1) / (_FLIPS + 1)
