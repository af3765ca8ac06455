"""Search the weights, the gate and BM25's constants on one data set; report what was found on another.

Every text is ranked once a leg; what is tried afterwards only fuses anew, which takes microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .. import InputError
from ..retrieval.analysis import analyze
from ..retrieval.collection import Collection, lexical_terms
from ..retrieval.fusion import Ranking, convex
from ..retrieval.lexical import K1, B, BM25Index, Vocabulary
from ..retrieval.snapshot import DEPTH, Leg, Snapshot
from ..rewrite.catalog import Catalog
from ..rewrite.gate import Gate
from ..rewrite.query import Decision, Query, Rewrite
from ..rewrite.rewriter import Chain, Rewriter, surest
from ..service.pipeline import INTERPRETATIONS, rewrite_share
from .dataset import Dataset
from .significance import TIE, Comparison, compare, seed_for

Floats = NDArray[np.float64]

FOLDS = 5
"""Parts of the training data set, conversations kept whole, that cross-validation holds out in turn."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is searched over; the defaults are what the service does.

    A rewrite weighs `share_base` + `share_slope` × its confidence beside the original. Of both, the lexical leg
    weighs `lexical_weight`, the dense one the rest. A rewrite less confident than `min_confidence` is not used.
    `k1` and `b` are BM25's.
    """

    share_base: float = round(rewrite_share(0.0), 9)
    share_slope: float = round(rewrite_share(1.0) - rewrite_share(0.0), 9)
    lexical_weight: float = 0.5
    min_confidence: float = Gate().min_confidence
    k1: float = K1
    b: float = B

    def share(self, confidence: float) -> float:
        """Return what a rewrite weighs."""
        return self.share_base + self.share_slope * confidence


DEFAULT = Parameters()

Grid = Mapping[tuple[str, ...], Sequence[tuple[float, ...]]]
"""Names of parameters that are tried together → their values; groups are searched one after the other."""

_GRID: Grid = {
    ("share_base", "share_slope"): [
        (base, slope)
        for base, slope in product((0.0, 0.2, 0.4, 0.6, 0.8), (0.0, 0.2, 0.4, 0.6, 0.8))
        if 0.2 <= base + slope <= 0.95
    ],
    ("lexical_weight",): [(weight,) for weight in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)],
    ("min_confidence",): [(least,) for least in (0.0, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9)],
    ("k1", "b"): list(product((0.9, 1.2, 1.5, 2.0), (0.4, 0.6, 0.75, 0.9))),
}

_ROUNDS = 2
"""How often all groups are gone through."""


@dataclass(frozen=True, slots=True)
class Corner:
    """A data set and the collection that holds its corpus."""

    dataset: Dataset
    collection: Collection


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found on the data set `training`, and what it brings on `test`.

    `validated` compares the search with the defaults on training queries that it had not seen
    (cross-validation by conversation), `tested` the parameters found with the defaults on the test queries;
    `warnings` say why either may flatter.
    """

    training: str
    test: str
    measure: str
    leg: str
    queries: tuple[int, int]
    parameters: Parameters
    default: tuple[float, float]
    tuned: tuple[float, float]
    validated: Comparison
    tested: Comparison
    tried: int
    warnings: tuple[str, ...]

    def changed(self) -> dict[str, float]:
        """Return the parameters that differ from the defaults."""
        values = ((field.name, getattr(self.parameters, field.name)) for field in fields(Parameters))
        return {name: value for name, value in values if value != getattr(DEFAULT, name)}

    def worthwhile(self) -> bool:
        """Say whether the parameters held up where they were not searched.

        They must gain in validation beyond chance, and in a test on other queries.
        """
        elsewhere = self.training != self.test and self.tested.delta > TIE
        return bool(self.changed()) and self.validated.low > 0 and elsewhere

    def to_object(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "format": 1,
            "training": self.training,
            "test": self.test,
            "measure": self.measure,
            "leg": self.leg,
            "tried": self.tried,
            "parameters": {field.name: getattr(self.parameters, field.name) for field in fields(Parameters)},
            "changed": self.changed(),
            "worthwhile": self.worthwhile(),
            "warnings": list(self.warnings),
            "results": {
                "training": {"queries": self.queries[0], "default": self.default[0], "tuned": self.tuned[0]},
                "validation": _object(self.validated),
                "test": {
                    "queries": self.queries[1],
                    "default": self.default[1],
                    "tuned": self.tuned[1],
                    **_object(self.tested),
                },
            },
        }

    def markdown(self) -> str:
        """Return the parameters, what they bring and what speaks against them."""
        head = ("", "queries", f"{self.measure} default", "tuned", "delta", "low..high", "p", "helped/hurt/tied")
        lines = [
            head,
            ("---", *(["---:"] * (len(head) - 1))),
            (f"{self.training}, training", str(self.queries[0]), *_means(self.default[0], self.tuned[0]), "", "", ""),
            (f"{self.training}, cross-validated", str(self.queries[0]), "", "", *_figures(self.validated)),
            (
                f"{self.test}, test",
                str(self.queries[1]),
                *_means(self.default[1], self.tuned[1])[:2],
                *_figures(self.tested),
            ),
        ]
        rows = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        found = ", ".join(f"{name} = {value:g}" for name, value in self.changed().items()) or "the defaults"
        verdict = (
            ""
            if self.worthwhile()
            else " It is not shown to hold on queries that it was not searched on: keep the defaults."
        )
        notes = "".join(f"\nWarning: {warning}\n" for warning in self.warnings)
        return f"{rows}\nBest of {self.tried} combinations on {self.training}, {self.leg}: {found}.{verdict}\n{notes}"


def tune(
    training: Corner,
    test: Corner,
    rewriters: Sequence[Rewriter],
    *,
    catalog: Catalog | None = None,
    legs: Sequence[Leg] = (Leg.LEXICAL, Leg.DENSE),
    measure: str = "nDCG@5",
    folds: int = FOLDS,
    seed: int = 0,
    grid: Grid | None = None,
    progress: Progress = lambda *_: None,
) -> Tuned:
    """Search the parameters that rank `training` best; report them on `test`.

    `rewriters` are those of the default chain, in its order. Groups of parameters are searched one after the
    other, each over its whole grid, twice; ties go to what stood before, so that the defaults stay where
    nothing is better. The same search on all but one part of the conversations, for each part in turn, says what
    it is worth. Raises InputError for a measure other than nDCG@k, or fewer than two conversations.
    """
    depth = _depth(measure)
    prepared = [_Prepared(corner, rewriters, catalog, tuple(legs), depth, progress) for corner in (training, test)]
    ours, theirs = prepared
    if len(set(ours.conversations)) < 2:
        raise InputError(f"{training.dataset.name}: expected at least two conversations to tune on")
    usable = _usable(_GRID if grid is None else grid, legs)
    found = _best(ours, usable, np.ones(len(ours.conversations), dtype=np.bool_))
    unseen = _validated(ours, usable, folds, seed, progress)
    default, best = ours.values(DEFAULT), theirs.values(DEFAULT)
    tuned = theirs.values(found)
    seeds = [seed_for(seed, "tune", part, training.dataset.name, test.dataset.name) for part in ("folds", "test")]
    return Tuned(
        training=training.dataset.name,
        test=test.dataset.name,
        measure=measure,
        leg="+".join(legs),
        queries=(len(default), len(best)),
        parameters=found,
        default=(float(default.mean()), float(best.mean())),
        tuned=(float(ours.values(found).mean()), float(tuned.mean())),
        validated=compare((unseen - default).tolist(), ours.conversations, seeds[0]),
        tested=compare((tuned - best).tolist(), theirs.conversations, seeds[1]),
        tried=len(ours.tried),
        warnings=tuple(_warnings(training, test, theirs.values(found) - best)),
    )


# ------------------------------------------------------------------------------------ searching


def _usable(grid: Grid, legs: Sequence[Leg]) -> Grid:
    """Leave out what makes no difference with `legs`."""
    idle = set[str]()
    if len(set(legs)) < 2:
        idle.add("lexical_weight")
    if Leg.LEXICAL not in legs:
        idle |= {"k1", "b"}
    return {names: values for names, values in grid.items() if not idle.intersection(names)}


def _best(prepared: _Prepared, grid: Grid, chosen: NDArray[np.bool_]) -> Parameters:
    """Return the parameters that do best on the `chosen` queries."""
    best, bar = DEFAULT, float(prepared.values(DEFAULT)[chosen].mean())
    for _ in range(_ROUNDS):
        before = best
        for names, values in grid.items():
            for value in values:
                tried = replace(best, **dict(zip(names, value, strict=True)))
                reached = float(prepared.values(tried)[chosen].mean())
                if reached > bar + TIE:
                    best, bar = tried, reached
        if best == before:
            break
    return best


def _validated(prepared: _Prepared, grid: Grid, folds: int, seed: int, progress: Progress) -> Floats:
    """Return each query's value under the parameters that were found without its part of the conversations."""
    names = sorted(set(prepared.conversations))
    order = np.random.default_rng([seed, 4]).permutation(len(names))
    folds = min(max(2, folds), len(names))
    part = {names[place]: rank % folds for rank, place in enumerate(order)}
    parts = np.array([part[name] for name in prepared.conversations])
    unseen = np.zeros(len(parts))
    for fold in range(folds):
        held_out = parts == fold
        unseen[held_out] = prepared.values(_best(prepared, grid, ~held_out))[held_out]
        progress(f"{prepared.name}: cross-validating", fold + 1, folds)
    return unseen


def _warnings(training: Corner, test: Corner, differences: Floats) -> Iterable[str]:
    seen = {_asked(judged.query) for judged in training.dataset.queries}
    shared = sum(_asked(judged.query) in seen for judged in test.dataset.queries)
    if shared:
        yield (
            f"{shared} of the {len(test.dataset.queries)} test queries are training queries too, so the figures on "
            f"{test.dataset.name} flatter; test on an untouched data set"
        )
    if not np.any(np.abs(differences) >= TIE):
        yield f"the parameters found change nothing on {test.dataset.name}"


def _asked(query: Query) -> tuple[str, ...]:
    return (query.query.strip(), *(turn.text.strip() for turn in query.history))


def _depth(measure: str) -> int:
    name, at, depth = measure.partition("@")
    if name != "nDCG" or not at or not depth.isdigit() or not 1 <= int(depth) <= DEPTH:
        raise InputError(f"measure: tuning knows nDCG@1 to nDCG@{DEPTH}, not {measure[:40]!r}")
    return int(depth)


# ------------------------------------------------------------------------------------- ranking


class _Prepared:
    """The queries of a data set with every rewrite they could get, each text ranked once a leg."""

    def __init__(
        self,
        corner: Corner,
        rewriters: Sequence[Rewriter],
        catalog: Catalog | None,
        legs: tuple[Leg, ...],
        depth: int,
        progress: Progress,
    ) -> None:
        self.name = corner.dataset.name
        self.conversations = [judged.conversation for judged in corner.dataset.queries]
        self.tried: dict[Parameters, Floats] = {}
        self._legs = legs
        self._depth = depth
        self._snapshot = corner.collection.snapshot()
        self._queries = corner.dataset.queries
        # The gate stands open, so that every threshold can be tried on what came.
        chains = [Chain([rewriter], catalog=catalog, gate=Gate(0.0), budget_seconds=math.inf) for rewriter in rewriters]
        self._rewrites: list[list[Rewrite]] = []
        for done, judged in enumerate(self._queries, 1):
            made = [chain.rewrite(judged.query) for chain in chains]
            self._rewrites.append([rewrite for rewrite in made if rewrite.decision is not Decision.KEEP])
            progress(f"{self.name}: rewriting", done, len(self._queries))
        self._gains = [corner.dataset.qrels[judged.id] for judged in self._queries]
        self._ideal = [_dcg(sorted(grades.values(), reverse=True)[:depth]) for grades in self._gains]
        self._dense = self._rank_dense(progress) if Leg.DENSE in legs else {}
        self._lexical: dict[tuple[float, float], dict[str, Ranking]] = {}

    def values(self, parameters: Parameters) -> Floats:
        """Return each query's nDCG under `parameters`."""
        if parameters not in self.tried:
            lexical = self._rank_lexical(parameters.k1, parameters.b) if Leg.LEXICAL in self._legs else {}
            places = range(len(self._queries))
            self.tried[parameters] = np.array([self._value(place, parameters, lexical) for place in places])
        return self.tried[parameters]

    def _value(self, place: int, parameters: Parameters, lexical: Mapping[str, Ranking]) -> float:
        query = self._queries[place].query.query
        texts = _texts(self._rewrites[place], parameters)
        lists: list[tuple[Ranking, float]] = []
        for text, weight in [(query, 1 - sum(weight for _, weight in texts)), *texts]:
            lists += self._lists(text, weight, parameters.lexical_weight, lexical)
        lists = [(ranking, weight) for ranking, weight in lists if weight > TIE]
        if not lists:
            return 0.0
        fused = convex([ranking for ranking, _ in lists], [weight for _, weight in lists])
        grades = self._gains[place]
        return _dcg([grades.get(doc_id, 0) for doc_id in self._documents(fused)]) / self._ideal[place]

    def _lists(
        self, text: str, weight: float, lexical_weight: float, lexical: Mapping[str, Ranking]
    ) -> list[tuple[Ranking, float]]:
        """Return the ranked lists of the legs that read `text`; they share its weight."""
        found = [(lexical.get(text), lexical_weight), (self._dense.get(text), 1 - lexical_weight)]
        there = [(ranking, part) for ranking, part in found if ranking is not None]
        whole = sum(part for _, part in there)
        return [(ranking, weight * part / whole) for ranking, part in there] if whole else []

    def _documents(self, fused: Ranking) -> list[str]:
        """Return the first documents of a ranking of passages."""
        documents: dict[str, None] = {}
        for position in fused.positions[:DEPTH]:
            documents.setdefault(self._snapshot.passage(int(position)).doc_id)
            if len(documents) == self._depth:
                break
        return list(documents)

    @cached_property
    def _all_texts(self) -> list[str]:
        texts = {judged.query.query: None for judged in self._queries}
        for rewrites in self._rewrites:
            for rewrite in rewrites:
                texts |= dict.fromkeys((rewrite.rewrite, *(other.rewrite for other in rewrite.alternatives)))
        return [text for text in texts if text.strip()]

    def _rank_dense(self, progress: Progress) -> dict[str, Ranking]:
        ranked: dict[str, Ranking] = {}
        size = 64
        for start in range(0, len(self._all_texts), size):
            batch = self._all_texts[start : start + size]
            for text, found in zip(batch, self._snapshot.rank(batch, (Leg.DENSE,), DEPTH), strict=True):
                if Leg.DENSE in found:
                    ranked[text] = found[Leg.DENSE]
            progress(f"{self.name}: ranking", start + len(batch), len(self._all_texts))
        return ranked

    def _rank_lexical(self, k1: float, b: float) -> dict[str, Ranking]:
        if (k1, b) not in self._lexical:
            ids, vocabulary = self._terms
            index = BM25Index.from_ids(ids, vocabulary, k1, b)
            terms = ((text, analyze(text)) for text in self._all_texts)
            self._lexical[k1, b] = {text: index.search(words, DEPTH) for text, words in terms if words}
        return self._lexical[k1, b]

    @cached_property
    def _terms(self) -> tuple[list[NDArray[np.int32]], Vocabulary]:
        vocabulary = Vocabulary()
        return [vocabulary.ids(terms) for terms in _corpus_terms(self._snapshot)], vocabulary


def _corpus_terms(snapshot: Snapshot) -> Iterable[list[str]]:
    return (lexical_terms(snapshot.passage(position)) for position in range(len(snapshot)))


def _texts(rewrites: Sequence[Rewrite], parameters: Parameters) -> list[tuple[str, float]]:
    """Return what is searched beside the original, with its weights: what the chain would take."""
    rewrite = surest(filter(Gate(parameters.min_confidence).accepts, rewrites))
    if rewrite is None:
        return []
    if rewrite.rewrite != rewrite.original:
        found = {rewrite.rewrite: parameters.share(rewrite.confidence)}
    else:
        total = sum(other.weight for other in rewrite.alternatives)
        found = {other.rewrite: INTERPRETATIONS * other.weight / total for other in rewrite.alternatives}
    return [(text, weight) for text, weight in found.items() if text.strip()]


def _dcg(grades: Sequence[int]) -> float:
    """Return the discounted gain of documents in their order; judgments under 0 gain nothing, as in trec_eval."""
    return math.fsum(max(grade, 0) / math.log2(rank + 1) for rank, grade in enumerate(grades, 1))


# ------------------------------------------------------------------------------------- writing


def _object(found: Comparison) -> dict[str, object]:
    return {
        "delta": found.delta,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "detectable": found.detectable,
        "helped": found.helped,
        "hurt": found.hurt,
        "tied": found.tied,
    }


def _means(default: float, tuned: float) -> tuple[str, str, str]:
    return f"{default:.3f}", f"{tuned:.3f}", f"{tuned - default:+.3f}"


def _figures(found: Comparison) -> tuple[str, str, str, str]:
    return (
        f"{found.delta:+.3f}",
        f"{found.low:+.3f}..{found.high:+.3f}",
        "<.001" if found.p < 0.001 else f"{found.p:.3f}",
        f"{found.helped}/{found.hurt}/{found.tied}",
    )
