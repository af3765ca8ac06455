"""The work of an evaluation on one data set, done once: rewrites by arm, outcomes by arm and leg."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import cast

from .. import InputError, NotFoundError, QuerywrightError, UnavailableError
from ..retrieval.collection import Collection, Leg
from ..retrieval.fitting import Fusion, load_fusion
from ..rewrite.catalog import Catalog
from ..rewrite.query import Query, Rewrite
from ..service.catalogs import Catalogs
from ..service.pipeline import Pipeline
from ..service.remembering import Known
from ..service.schemas import REWRITE
from ..service.settings import Settings
from ..service.sharding import encoding_on, parts_on
from .arms import BASELINE, Arm, KnownRewriter, Rewrites, unchanged
from .bench import Bench
from .cache import Shelf, code_digest, digest, library_versions, settings_digest
from .dataset import Dataset, JudgedQuery
from .outcome import Outcome
from .remembered import Remembered
from .runs import DEPTH

LEGS: Mapping[str, tuple[Leg, ...]] = {
    "lexical": (Leg.LEXICAL,),
    "dense": (Leg.DENSE,),
    "hybrid": (Leg.LEXICAL, Leg.DENSE),
}
"""The legs that an evaluation knows, and what each searches."""

_ATTEMPTS = 3

_REWRITING_CODE = ("rewrite", "service/pipeline.py", "retrieval/analysis.py")
_TRAINING_CODE = tuple(
    f"rewrite/editor_{part}.py"
    for part in (
        "augmenting",
        "card",
        "data",
        "examples",
        "graph",
        "measuring",
        "model",
        "recipe",
        "silver",
        "training",
    )
)
"""What no rewriter runs: what training makes counts by the models."""
_SEARCHING_CODE = ("retrieval", "service/pipeline.py", "eval/outcome.py", "eval/remembered.py", "eval/runs.py")


def parse_legs(names: Sequence[str]) -> tuple[str, ...]:
    """Return the legs called `names`, each once; raise InputError for an unknown one or none at all."""
    wanted = tuple(dict.fromkeys(name.strip() for name in names))
    for name in wanted:
        if name not in LEGS:
            raise InputError(f"legs: expected some of {', '.join(LEGS)}, got {name[:40]!r}")
    if not wanted:
        raise InputError(f"legs: expected some of {', '.join(LEGS)}, got none")
    return wanted


Outcomes = dict[str, Outcome]
"""Query id → its outcome."""


@dataclass(frozen=True, slots=True)
class _OwnCatalog:
    """A collection's own catalog and its file; none of both where it has none, or another is used."""

    path: Path | None = None
    catalog: Catalog | None = None


@dataclass(frozen=True, slots=True)
class _Corpus:
    """What rewriters may know of the corpus, which is only indexed when one asks."""

    opened: Callable[[], Remembered]

    def holding(self, *phrases: str) -> int:
        """Return how many passages hold all words of all `phrases`."""
        return self.opened().holding(*phrases)


class Searches:
    """Rewrites and outcomes on one data set: read back where they were computed before, else computed and kept.

    The collection is opened, and its corpus indexed if need be, when first something must be searched.
    """

    def __init__(self, dataset: Dataset, bench: Bench) -> None:
        self._dataset = dataset
        self._bench = bench
        self._opened: list[Remembered] = []
        self._made: dict[str, Rewrites] = {}

    def all(self, arms: Sequence[Arm], legs: Sequence[str]) -> Iterator[tuple[Arm, str, Outcomes]]:
        """Yield the outcomes of each arm and leg that covers a query, leg by leg; `arms` begins with `none`."""
        rewrites = {arm.name: self.rewrites(arm) for arm in arms}
        for leg in legs:
            none: Outcomes = {}
            for arm in arms:
                found = self._outcomes(arm, leg, rewrites[arm.name], none)
                none = found if arm.name == BASELINE else none
                if found:
                    yield arm, leg, found

    # -------------------------------------------------------------------------------- rewriting

    def rewrites(self, arm: Arm) -> Rewrites:
        """Return what `arm` makes of the queries that it covers."""
        if arm.name not in self._made:
            self._made[arm.name] = arm.known(self._dataset) if arm.known is not None else self._rewrites(arm)
        return self._made[arm.name]

    def _rewrites(self, arm: Arm) -> Rewrites:
        with self._rewrites_shelf(arm) as shelf:
            keys = {judged.id: _query_key(judged.query) for judged in self._dataset.queries}
            kept = {query_id: _kept_rewrite(shelf, key) for query_id, key in keys.items()}
            missing = [judged for judged in self._dataset.queries if kept[judged.id] is None]
            task = f"{self._dataset.name}: {arm.name}, rewriting"
            made = {query_id: rewrite for query_id, rewrite in kept.items() if rewrite is not None}
            for rewrite in self._rewritten(arm, missing):
                made[str(rewrite.id)] = rewrite
                if rewrite.degraded is None:
                    shelf.put(keys[str(rewrite.id)], {"rewrite": rewrite})
                self._bench.progress(task, len(made), len(keys))
        return {judged.id: made[judged.id] for judged in self._dataset.queries}

    def _rewrites_shelf(self, arm: Arm) -> Shelf:
        settings = self._bench.settings
        if settings is None:
            return Shelf()
        about = {
            "arm": arm.name,
            "settings": settings_digest(settings),
            "catalog": digest(self._own_catalog.path.read_text("utf-8")) if self._own_catalog.path else None,
            "corpus": self._dataset.corpus_digest if self._has_catalog else None,
            "code": code_digest(*_REWRITING_CODE, without=_TRAINING_CODE),
            "libraries": library_versions(),
        }
        return self._bench.cache.shelf(self._dataset.name, f"{arm.name}-rewrites", about)

    def _rewritten(self, arm: Arm, queries: Sequence[JudgedQuery]) -> Iterable[Rewrite]:
        """Rewrite one after the other; on a cluster, or where a model far away is waited for, several at a time."""
        known = Known(self._own_catalog.catalog, _Corpus(self._collection), self._dataset.corpus_digest)
        settings = self._bench.settings

        def rewrite(judged: JudgedQuery) -> Rewrite:
            asks = settings is not None and settings.llm and arm.name in {"auto", "llm"}
            signs = partial(self._collection().signs, judged.query.query) if asks else None
            made = self._bench.service.rewrite(judged.query, rewriter=arm.name, known=replace(known, signs=signs))
            return replace(made, id=judged.id)

        if queries and arm.name in {"auto", "catalog"} and self._has_catalog:
            self._collection()  # indexing may take longer than the first query's budget
        if queries and arm.name == "auto":
            with suppress(QuerywrightError):  # without it the arm is degraded, visibly
                self._bench.service.rewriter("editor")  # loading it may take longer than the first query's budget
        if settings is None or not settings.llm or not queries or arm.name not in ("auto", "llm"):
            yield from self._elsewhere(arm, queries, known, rewrite)
            return
        with suppress(Exception):  # what fails now fails again when it counts, and is told then
            self._bench.service.rewriter("llm")  # loading its client takes longer than the first query's budget
        if self._bench.jobs == 1:
            yield from map(rewrite, queries)
            return
        # More at a time than the pipeline has threads would wait in its queue, within their budget.
        with ThreadPoolExecutor(min(self._bench.jobs, settings.threads)) as pool:
            yield from pool.map(rewrite, queries)

    def _elsewhere(
        self, arm: Arm, queries: Sequence[JudgedQuery], known: Known, rewrite: Callable[[JudgedQuery], Rewrite]
    ) -> Iterable[Rewrite]:
        """Rewrite on the cluster, one after the other in each of its processes; here what only can be done here."""
        bench = self._bench
        idle = arm.name == BASELINE or not queries  # nothing to rewrite
        if idle or bench.cluster is None or bench.settings is None or not isinstance(bench.service, Pipeline):
            yield from map(rewrite, queries)
            return
        asked = [judged.query for judged in queries]
        parts = parts_on(bench.cluster, bench.service, bench.settings, asked, arm.name, known)
        for judged, made in zip(queries, parts, strict=True):
            yield replace(made, id=judged.id) if made else rewrite(judged)

    # -------------------------------------------------------------------------------- searching

    def _outcomes(self, arm: Arm, leg: str, rewrites: Rewrites, none: Outcomes) -> Outcomes:
        """Return what searching by `leg` brings for each query that `rewrites` covers.

        A query that the arm leaves as it is was searched by `none` just so: its outcome is taken over,
        with the time that search took.
        """
        if arm.run is not None:
            return {
                query_id: Outcome.found(arm.run.get(query_id, {}), rewrite) for query_id, rewrite in rewrites.items()
            }
        covered = [judged for judged in self._dataset.queries if judged.id in rewrites]
        task = f"{self._dataset.name}: {arm.name}, {leg}"
        known = KnownRewriter(arm.name, rewrites)
        found: Outcomes = {}
        with self._outcomes_shelf(arm, leg) as shelf:
            for done, judged in enumerate(covered, 1):
                rewrite, same = rewrites[judged.id], none.get(judged.id)
                if same is not None and unchanged(rewrite):
                    found[judged.id] = replace(same, rewrite=rewrite)
                else:
                    found[judged.id] = self._outcome(shelf, arm, LEGS[leg], judged, known)
                self._bench.progress(task, done, len(covered))
        return found

    def _outcomes_shelf(self, arm: Arm, leg: str) -> Shelf:
        # What was rewritten, and to what, stands in the key of each row.
        about = {
            "corpus": self._dataset.corpus_digest,
            "whole": self._dataset.corpus.whole,
            "encoder": self._bench.encoder,
            "legs": LEGS[leg],
            "keep_original": arm.keep_original,
            "depth": DEPTH,
            "arm": arm.name,
            "settings": self._search_settings(),
            "code": code_digest(*_SEARCHING_CODE),
            "libraries": library_versions(),
        }
        return self._bench.cache.shelf(self._dataset.name, f"{arm.name}-{leg}", about)

    def _search_settings(self) -> list[object]:
        """Return the settings that ranking and fusing depend on."""
        settings = self._bench.settings or Settings()
        return [
            settings.bm25_k1,
            settings.bm25_b,
            settings.fusion,
            settings.lexical_weight,
            settings.rerank_model,
            settings.rerank_depth,
            settings.rerank_ms,
            self._fitted,
            settings.rewrite_share_base,
            settings.rewrite_share_slope,
        ]

    @property
    def _fitted(self) -> Fusion | None:
        """The fusion of the collection that the data set is about; the ones that are made for evaluations have none."""
        settings, name = self._bench.settings, self._dataset.corpus.collection
        return load_fusion(settings.home / name) if settings is not None and name is not None else None

    @property
    def _has_catalog(self) -> bool:
        """Say whether a rewriter may ask what the corpus holds: only where a catalog has senses to choose from."""
        settings = self._bench.settings
        return bool(self._own_catalog.catalog or (settings and settings.catalog))

    @cached_property
    def _own_catalog(self) -> _OwnCatalog:
        """The catalog that the data set's collection has, as the service uses it, unless another was given."""
        settings, name = self._bench.settings, self._dataset.corpus.collection
        if settings is None or name is None or settings.catalog is not None:
            return _OwnCatalog()
        path = Catalogs(settings.home).path(name)
        return _OwnCatalog(path, Catalog.load(path)) if path else _OwnCatalog()

    def _outcome(
        self, shelf: Shelf, arm: Arm, legs: Sequence[Leg], judged: JudgedQuery, known: KnownRewriter
    ) -> Outcome:
        rewrite = known.rewrites[judged.id]
        key = _search_key(judged, rewrite)
        kept = _kept_outcome(shelf, key, rewrite)
        if kept is not None:
            return kept
        outcome = self._search(arm, legs, judged, known)
        if outcome.lasting:
            shelf.put(key, outcome.row())
        return outcome

    def _search(self, arm: Arm, legs: Sequence[Leg], judged: JudgedQuery, known: KnownRewriter) -> Outcome:
        rewrite = known.rewrites[judged.id]
        remembered = self._collection()
        remembered.warm_up(judged.query.query, legs)
        for _ in range(_ATTEMPTS):
            remembered.spared.clear()
            answer = self._bench.service.answer(
                judged.query,
                # The pipeline asks nothing of a collection but its snapshot, and of that to rank and to show hits.
                cast("Collection", remembered),
                k=DEPTH,
                legs=legs,
                rewriter=known,
                keep_original=arm.keep_original,
            )
            # Where the machine stood still, even a look-up comes too late; that says nothing of the arm.
            if answer.rewrite.rewrite == rewrite.rewrite:
                # A known rewrite keeps the time that making it took: looking it up takes none.
                return Outcome.of(answer, rewrite, remembered.spared)
        raise UnavailableError(f"query {judged.id!r}: a known rewrite timed out {_ATTEMPTS} times; try again")

    def _collection(self) -> Remembered:
        if not self._opened:
            self._opened.append(Remembered(index(self._dataset, self._bench)))
        return self._opened[0]


def index(dataset: Dataset, bench: Bench) -> Collection:
    """Return the collection that holds the corpus of `dataset`, filled unless an earlier run did so.

    Its name follows from the corpus and the encoder. A build that was interrupted goes on: documents
    that are stored already are not encoded again.
    """
    if dataset.corpus.collection is not None:
        return bench.collections.open(dataset.corpus.collection)
    name = collection_name(dataset, bench.encoder)
    try:
        collection = bench.collections.open(name)
    except NotFoundError:
        collection = bench.collections.create(name)
    if collection.count() < dataset.documents:
        task = f"{dataset.name}: indexing"
        collection.upsert(
            dataset.corpus.read(),
            whole=dataset.corpus.whole,
            progress=lambda done: bench.progress(task, done, dataset.documents),
            encode=encoding_on(bench.cluster, bench.encoder) if bench.cluster is not None else None,
        )
    return collection


def collection_name(dataset: Dataset, encoder: str) -> str:
    """Return the name under which the corpus of `dataset`, encoded by `encoder`, is kept."""
    readable = re.sub(r"[^a-z0-9]+", "-", dataset.name.lower()).strip("-")[:24] or "set"
    digest = hashlib.sha256(f"{dataset.corpus_digest}\n{encoder}".encode()).hexdigest()[:16]
    return f"eval-{readable}-{digest}"


def _query_key(query: Query) -> str:
    """Return the digest of all that a rewriter may look at."""
    return digest([query.id, query.query, query.history, dict(query.profile), query.now])


def _search_key(judged: JudgedQuery, rewrite: Rewrite) -> str:
    """Return the digest of all that a search of one query depends on, beside what its shelf says."""
    alternatives = [(one.rewrite, one.weight) for one in rewrite.alternatives]
    return digest(
        [
            judged.id,
            judged.query.query,
            rewrite.rewrite,
            rewrite.decision,
            rewrite.confidence,
            alternatives,
            rewrite.degraded,
        ]
    )


def _kept_rewrite(shelf: Shelf, key: str) -> Rewrite | None:
    row = shelf.get(key)
    try:
        return None if row is None else REWRITE.validate_python(row["rewrite"])
    except (KeyError, ValueError):
        return None


def _kept_outcome(shelf: Shelf, key: str, rewrite: Rewrite) -> Outcome | None:
    row = shelf.get(key)
    try:
        return None if row is None else Outcome.from_row(row, rewrite)
    except (KeyError, TypeError, ValueError):
        return None
