"""Arms × legs × data sets: searches every query and measures what came back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson

from .. import InputError, NotFoundError, UnavailableError
from ..retrieval.collection import Collection, Collections, Leg
from ..retrieval.dense import DEFAULT_ENCODER
from ..retrieval.sources import read_source
from ..rewrite.query import Query, Rewrite
from ..rewrite.rewriter import Rewriter
from ..service.answer import Answer
from .arms import BASELINE, Arm, KnownRewriter, Rewrites
from .dataset import Dataset, JudgedQuery
from .measures import Judge, Values
from .runs import DEPTH, Ranking, file_name, ranking, run_path, write_run, write_whole

LEGS: Mapping[str, tuple[Leg, ...]] = {
    "lexical": (Leg.LEXICAL,),
    "dense": (Leg.DENSE,),
    "hybrid": (Leg.LEXICAL, Leg.DENSE),
}
"""The legs that an evaluation knows, and what each searches."""

_ATTEMPTS = 3

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


class Answerer(Protocol):
    """What an evaluation needs of the service: `Pipeline` is one."""

    def answer(
        self,
        query: Query,
        collection: Collection,
        *,
        k: int,
        legs: Sequence[Leg],
        rewriter: str | Rewriter,
        keep_original: bool,
    ) -> Answer:
        """Rewrite and search."""
        ...


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm and leg on one data set; everything is in the order of `queries`.

    `values` and `none` hold the measures of the arm and of `none` on the same queries. `changed` counts
    the queries whose text the arm changed, `degraded` those where the service had to do with less.
    """

    arm: str
    leg: str
    queries: tuple[str, ...]
    conversations: tuple[str, ...]
    values: Values
    none: Values
    rewrite_seconds: tuple[float, ...]
    search_seconds: tuple[float, ...]
    changed: int
    degraded: int


@dataclass(frozen=True, slots=True)
class DatasetResults:
    """What came of one data set."""

    name: str
    queries: int
    skipped: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """What came of an evaluation."""

    seed: int
    datasets: tuple[DatasetResults, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """What one search of one query brought."""

    documents: Ranking
    rewrite: Rewrite
    search_seconds: float
    degraded: bool


def silent(task: str, done: int, total: int) -> None:
    """Show no progress."""


def parse_legs(names: Sequence[str]) -> tuple[str, ...]:
    """Return the legs called `names`, each once; raise InputError for an unknown one or none at all."""
    wanted = tuple(dict.fromkeys(name.strip() for name in names))
    for name in wanted:
        if name not in LEGS:
            raise InputError(f"legs: expected some of {', '.join(LEGS)}, got {name[:40]!r}")
    if not wanted:
        raise InputError(f"legs: expected some of {', '.join(LEGS)}, got none")
    return wanted


def evaluate(
    datasets: Sequence[Dataset],
    arms: Sequence[Arm],
    legs: Sequence[str],
    pipeline: Answerer,
    collections: Collections,
    seed: int,
    out: Path,
    progress: Progress = silent,
    *,
    encoder: str = DEFAULT_ENCODER,
) -> Results:
    """Search every query of `datasets` by every arm and leg; write runs and rewrites under `out`.

    `arms` begins with `none` (see `arms.parse_arms`), which every arm is compared with. An arm that
    covers no query of a data set has no cell there. `encoder` is the name of the encoder of `collections`.
    """
    results = []
    for dataset in datasets:
        collection = index(dataset, collections, encoder, progress)
        experiment = _Experiment(dataset, collection, pipeline, out, progress)
        results.append(experiment.results(arms, legs))
    return Results(seed, tuple(results))


def index(dataset: Dataset, collections: Collections, encoder: str, progress: Progress = silent) -> Collection:
    """Return the collection that holds the corpus of `dataset`, filled unless an earlier run did so.

    Its name follows from the corpus and the encoder. A build that was interrupted goes on: documents
    that are stored already are not encoded again.
    """
    name = collection_name(dataset, encoder)
    try:
        collection = collections.open(name)
    except NotFoundError:
        collection = collections.create(name)
    if collection.count() < dataset.documents:
        task = f"{dataset.name}: indexing"
        collection.upsert(
            read_source(dataset.folder),
            whole=True,
            progress=lambda done: progress(task, done, dataset.documents),
        )
    return collection


def collection_name(dataset: Dataset, encoder: str) -> str:
    """Return the name under which the corpus of `dataset`, encoded by `encoder`, is kept."""
    readable = re.sub(r"[^a-z0-9]+", "-", dataset.name.lower()).strip("-")[:24] or "set"
    digest = hashlib.sha256(f"{dataset.corpus_digest}\n{encoder}".encode()).hexdigest()[:16]
    return f"eval-{readable}-{digest}"


class _Experiment:
    """The searches on one data set."""

    def __init__(
        self, dataset: Dataset, collection: Collection, pipeline: Answerer, out: Path, progress: Progress
    ) -> None:
        self._dataset = dataset
        self._collection = collection
        self._pipeline = pipeline
        self._out = out
        self._progress = progress
        self._judge = Judge(dataset.qrels)
        self._conversations = {judged.id: judged.conversation for judged in dataset.queries}

    def results(self, arms: Sequence[Arm], legs: Sequence[str]) -> DatasetResults:
        """Return a cell for each arm and leg; each arm rewrites a query once, on the first leg."""
        rewrites = {arm.name: arm.known(self._dataset) for arm in arms if arm.known is not None}
        cells = []
        for leg in legs:
            none: Mapping[str, _Found] = {}
            for arm in arms:
                found = self._search(arm, leg, rewrites.get(arm.name), none)
                if arm.name == BASELINE:
                    none = found
                else:
                    rewrites.setdefault(arm.name, {query_id: one.rewrite for query_id, one in found.items()})
                if found:
                    cells.append(self._cell(arm.name, leg, found, none))
        for name, made in rewrites.items():
            self._write_rewrites(name, made)
        # Searched leg by leg, so that only one leg's results of `none` are held; told arm by arm.
        places = {arm.name: place for place, arm in enumerate(arms)}
        cells.sort(key=lambda cell: places[cell.arm])
        skipped = self._dataset.skipped
        return DatasetResults(self._dataset.name, len(self._dataset.queries), skipped, tuple(cells))

    def _search(self, arm: Arm, leg: str, known: Rewrites | None, none: Mapping[str, _Found]) -> dict[str, _Found]:
        """Search the queries that `arm` covers; `known` are its rewrites, if there are any yet.

        A query that the arm leaves as it is was searched by `none` just so: its result is taken over,
        with the time that search took.
        """
        covered = [judged for judged in self._dataset.queries if known is None or judged.id in known]
        rewriter = arm.name if known is None else KnownRewriter(arm.name, known)
        task = f"{self._dataset.name}: {arm.name}, {leg}"
        if covered:
            self._warm_up(covered[0], leg)
        found = {}
        for done, judged in enumerate(covered, 1):
            before = none.get(judged.id)
            if before is not None and known is not None and _unchanged(known[judged.id]):
                found[judged.id] = _Found(before.documents, known[judged.id], before.search_seconds, before.degraded)
            else:
                found[judged.id] = self._answer(judged, leg, rewriter, known, keep_original=arm.keep_original)
            self._progress(task, done, len(covered))
        return found

    def _answer(
        self,
        judged: JudgedQuery,
        leg: str,
        rewriter: str | Rewriter,
        known: Rewrites | None = None,
        *,
        keep_original: bool,
    ) -> _Found:
        for _ in range(_ATTEMPTS):
            answer = self._pipeline.answer(
                judged.query,
                self._collection,
                k=DEPTH,
                legs=LEGS[leg],
                rewriter=rewriter,
                keep_original=keep_original,
            )
            # Where the machine stood still, even a look-up comes too late; that says nothing of the arm.
            if known is None or answer.rewrite.rewrite == known[judged.id].rewrite:
                break
        else:
            raise UnavailableError(f"query {judged.id!r}: a known rewrite timed out {_ATTEMPTS} times; try again")
        documents = ranking((hit.doc_id, hit.score) for hit in answer.hits)
        # A known rewrite keeps the time that making it took: looking it up takes none.
        rewrite = answer.rewrite if known is None else known[judged.id]
        return _Found(documents, rewrite, search_seconds(answer), answer.degraded is not None)

    def _warm_up(self, judged: JudgedQuery, leg: str) -> None:
        """Load what is loaded on first use, so that no query's time holds it."""
        self._answer(judged, leg, BASELINE, keep_original=True)

    def _cell(self, arm: str, leg: str, found: Mapping[str, _Found], none: Mapping[str, _Found]) -> Cell:
        ids = tuple(found)
        run = {query_id: one.documents for query_id, one in found.items()}
        write_run(run_path(self._out, self._dataset.name, arm, leg), run, f"{arm}.{leg}")
        return Cell(
            arm=arm,
            leg=leg,
            queries=ids,
            conversations=tuple(self._conversations[query_id] for query_id in ids),
            values=self._judge.values(run, ids),
            none=self._judge.values({query_id: none[query_id].documents for query_id in ids}, ids),
            rewrite_seconds=tuple(one.rewrite.seconds for one in found.values()),
            search_seconds=tuple(one.search_seconds for one in found.values()),
            changed=sum(not _unchanged(one.rewrite) for one in found.values()),
            degraded=sum(one.degraded for one in found.values()),
        )

    def _write_rewrites(self, arm: str, rewrites: Rewrites) -> None:
        """Keep what each arm made of the queries: rows that `replay:FILE` reads."""
        if not rewrites:
            return
        path = self._out / "rewrites" / file_name(self._dataset.name) / file_name(f"{arm}.jsonl")
        write_whole(path, b"".join(orjson.dumps(rewrite) + b"\n" for rewrite in rewrites.values()))


def search_seconds(answer: Answer) -> float:
    """Return the time of an answer's stages other than rewriting."""
    return sum(stage.seconds for stage in answer.trace if stage.stage != "rewrite")


def _unchanged(rewrite: Rewrite) -> bool:
    return rewrite.rewrite == rewrite.original and not rewrite.alternatives
