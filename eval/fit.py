"""Learn how a collection's legs are best fused, from labelled queries about its documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ir_measures
import numpy as np

from .. import InputError
from ..retrieval.collection import Collection
from ..retrieval.fitting import FOLDS, Fusion, Values, fit
from ..retrieval.fusion import Ranking, fuse
from ..retrieval.snapshot import DEPTH, Leg, shares
from .bench import Progress, silent
from .dataset import Dataset
from .measures import Judge, checked_measure
from .rows import find_file
from .significance import Comparison, compare, seed_for

_BATCH = 64
_FEW = 30
"""Fewer queries than this say little."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What fitting found, and what is kept: the fitted fusion, or the one that was set where fitting does not hold.

    `means` are of the measure over all queries: of each leg, of hybrid as set, of hybrid as fitted on other queries.
    `gain` compares the hybrid that is kept with the better leg.
    """

    collection: str
    measure: str
    queries: int
    before: Fusion
    fitted: Fusion
    kept: Fusion
    means: dict[str, float]
    gain: Comparison
    warnings: tuple[str, ...]

    def to_object(self) -> dict[str, object]:
        """Return what `--json` prints and what is kept beside the fusion."""
        return {"format": 1, **asdict(self)}

    def markdown(self) -> str:
        """Return the figures as a table, what is kept, and what speaks against it."""
        weights = {"hybrid as set": self.before, "hybrid fitted (cross-validated)": self.fitted}
        rows = [
            (name, fusion.method if fusion else "", f"{fusion.lexical_weight:g}" if fusion else "", f"{mean:.4f}")
            for name, mean in self.means.items()
            for fusion in [weights.get(name)]
        ]
        head = ("", "method", "lexical weight", self.measure)
        lines = "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---", "---", "---:", "---:"), *rows))
        kept = f"{self.kept.method}, lexical weight {self.kept.lexical_weight:g}"
        why = "" if self.kept == self.fitted else ": fitting does not hold on queries that it has not seen"
        notes = "".join(f"\nWarning: {warning}\n" for warning in self.warnings)
        return f"{lines}\n{self.collection}, {self.queries} queries. Kept: {kept}{why}.\n{notes}"


def spec(queries: Path, qrels: Path | None, collection: str) -> str:
    """Return the name of a data set: labelled queries about the documents of `collection`.

    `queries` is a folder as BEIR has them, a file with judgments in `qrels`, or a log whose rows hold them.
    """
    if queries.is_dir():
        qrels = qrels or find_file(queries, "qrels.tsv", "qrels/test.tsv")
        queries = find_file(queries, "queries.jsonl")
    if qrels is None:
        return f"logs:queries={queries},collection={collection}"
    return f"files:queries={queries},qrels={qrels},collection={collection}"


def fit_collection(
    dataset: Dataset,
    collection: Collection,
    before: Fusion,
    *,
    measure: str = "nDCG@10",
    folds: int = FOLDS,
    seed: int = 0,
    progress: Progress = silent,
) -> Fit:
    """Fit the fusion of `collection` on the queries of `dataset`, searched as they were typed.

    Raises InputError where no query is read by both legs, or all belong to one conversation.
    """
    measure = checked_measure(measure)
    lists = _Lists(dataset, collection, measure, progress)
    conversations = [judged.conversation for judged in dataset.queries]
    found = fit(lists.fused, conversations, before, folds=folds, seed=seed)
    legs = {str(leg): lists.leg(leg) for leg in Leg}
    better = max(legs, key=lambda leg: float(legs[leg].mean()))
    hybrid = found.unseen if found.holds else found.before
    gain = compare((hybrid - legs[better]).tolist(), conversations, seed_for(seed, "fit", dataset.name))
    values = legs | {"hybrid as set": found.before, "hybrid fitted (cross-validated)": found.unseen}
    return Fit(
        collection=collection.name,
        measure=measure,
        queries=len(conversations),
        before=before,
        fitted=found.fusion,
        kept=found.fusion if found.holds else before,
        means={name: float(of.mean()) for name, of in values.items()},
        gain=gain,
        warnings=tuple(_warnings(better, gain, len(conversations), measure)),
    )


def _warnings(better: str, gain: Comparison, queries: int, measure: str) -> Iterator[str]:
    if gain.delta <= 0:
        yield f"hybrid is not better than {better} alone ({measure} {gain.delta:+.4f}): search with --legs {better}"
    elif gain.p >= 1 - 0.95:
        yield f"that hybrid is better than {better} alone ({measure} {gain.delta:+.4f}) may be chance (p {gain.p:.2f})"
    if queries < _FEW:
        yield f"{queries} queries are few: what is found may not hold"


class _Lists:
    """The rankings of every query by each leg, and what becomes of them."""

    def __init__(self, dataset: Dataset, collection: Collection, measure: str, progress: Progress) -> None:
        self._snapshot = collection.snapshot()
        self._ids = [judged.id for judged in dataset.queries]
        self._judge = Judge({query_id: dataset.qrels[query_id] for query_id in self._ids}, [measure])
        self._measure = measure
        self._cutoff = min(DEPTH, int(ir_measures.parse_measure(measure).params.get("cutoff", DEPTH)))
        self._found: list[dict[Leg, Ranking]] = []
        texts = [judged.query.query for judged in dataset.queries]
        for start in range(0, len(texts), _BATCH):
            self._found += self._snapshot.rank(texts[start : start + _BATCH], tuple(Leg), DEPTH)
            progress(f"{dataset.name}: ranking", len(self._found), len(texts))
        if not any(len(by_leg) == len(Leg) for by_leg in self._found):
            raise InputError(
                f"collection {collection.name!r}: expected queries that both legs read, to fuse their lists"
            )

    def fused(self, fusion: Fusion) -> Values:
        """Return each query's value where the legs are fused; one that a single leg reads is that leg's."""
        return self._values(
            [
                fuse(list(by_leg.values()), list(shares(by_leg, fusion.lexical_weight).values()), fusion.method)
                for by_leg in self._found
            ]
        )

    def leg(self, leg: Leg) -> Values:
        """Return each query's value by one leg."""
        nothing = Ranking(np.empty(0, np.int64), np.empty(0, np.float64))
        return self._values([by_leg.get(leg, nothing) for by_leg in self._found])

    def _values(self, rankings: Sequence[Ranking]) -> Values:
        run = {query_id: self._documents(ranking) for query_id, ranking in zip(self._ids, rankings, strict=True)}
        values = self._judge.values(run, self._ids)[self._measure]
        return np.array([values[query_id] for query_id in self._ids])

    def _documents(self, ranking: Ranking) -> dict[str, float]:
        """Return the first documents of a ranking of passages, with scores that fall by one."""
        documents: dict[str, None] = {}
        for position in ranking.positions.tolist():
            documents.setdefault(self._snapshot.passage(position).doc_id)
            if len(documents) == self._cutoff:
                break
        return {doc_id: float(len(documents) - place) for place, doc_id in enumerate(documents)}
