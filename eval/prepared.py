"""A data set made ready to try parameters on: each query rewritten once, each text ranked once a leg.

What is tried afterwards only fuses anew, which takes microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import ir_measures
import numpy as np
from numpy.typing import NDArray

from .. import InputError
from ..retrieval.analysis import analyze
from ..retrieval.collection import Collection
from ..retrieval.fitting import Fusion
from ..retrieval.fusion import Method, Ranking, fuse
from ..retrieval.lexical import K1, B, BM25Index
from ..retrieval.segment import Row
from ..retrieval.snapshot import DEPTH, Leg, shares
from ..rewrite.gate import Gate
from ..rewrite.query import Decision, Rewrite
from ..rewrite.rewriter import SURE, surest
from ..service.pipeline import INTERPRETATIONS, rewrite_share
from ..service.settings import Settings
from .arms import KnownRewrites
from .bench import Progress, silent
from .dataset import Dataset, JudgedQuery
from .measures import Judge
from .significance import TIE

Floats = NDArray[np.float64]

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is searched over.

    A rewrite weighs `share_base` + `share_slope` × its confidence beside the original. Of both, the lexical leg
    weighs `lexical_weight`, the dense one the rest; `fusion` says how lists are fused. A rewrite less confident than
    `min_confidence` is not used. `k1` and `b` are BM25's. `prompt` is the file of what an LLM is told.
    """

    share_base: float = round(rewrite_share(0.0), 9)
    share_slope: float = round(rewrite_share(1.0) - rewrite_share(0.0), 9)
    fusion: Method = Fusion().method
    lexical_weight: float = Fusion().lexical_weight
    min_confidence: float = Gate().min_confidence
    k1: float = K1
    b: float = B
    prompt: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Parameters:
        """Return what `settings` say."""
        return cls(
            settings.rewrite_share_base,
            settings.rewrite_share_slope,
            settings.fusion,
            settings.lexical_weight,
            settings.min_confidence,
            settings.bm25_k1,
            settings.bm25_b,
            prompt_name(settings),
        )

    def share(self, confidence: float) -> float:
        """Return what a rewrite weighs."""
        return rewrite_share(confidence, self.share_base, self.share_slope)


def prompt_name(settings: Settings) -> str | None:
    """Return what the prompt of `settings` is called among `Parameters`; without an LLM it is nobody's."""
    return str(settings.llm_prompt) if settings.llm and settings.llm_prompt else None


@dataclass(frozen=True, slots=True)
class Corner:
    """A data set, the collection that holds its corpus, and what makes rewrites of its queries.

    `rewriters` are those of the chain, in its order, with their gates open, so that every threshold can be tried on
    what comes. `prompted` are the LLM's by the prompt that it is told, asked after the others, and only by prompts
    that are tried: each call costs.
    """

    dataset: Dataset
    collection: Collection
    rewriters: Sequence[KnownRewrites] = ()
    prompted: Mapping[str | None, KnownRewrites] = field(default_factory=dict)


class Prepared:
    """The queries of a data set with every rewrite they could get, and what parameters make of them.

    `strictest` is the highest threshold that will be tried: a rewrite that is sure enough for it leaves nothing to
    ask an LLM for.
    """

    def __init__(
        self, corner: Corner, legs: Sequence[Leg], measure: str, strictest: float = 1.0, progress: Progress = silent
    ) -> None:
        self.name = corner.dataset.name
        self.conversations = [judged.conversation for judged in corner.dataset.queries]
        self.tried: dict[Parameters, Floats] = {}
        self._corner = corner
        self._legs = frozenset(legs)
        self._measure = measure
        self._depth = _depth(measure)
        self._strictest = strictest
        self._progress = progress
        self._queries = corner.dataset.queries
        self._judge = Judge({judged.id: corner.dataset.qrels[judged.id] for judged in self._queries}, [measure])
        self._snapshot = corner.collection.snapshot()
        self._rewrites: dict[str | None, list[list[Rewrite]]] = {}
        self._dense: dict[str, Ranking | None] = {}
        self._lexical: dict[tuple[float, float], dict[str, Ranking | None]] = {}

    def values(self, parameters: Parameters) -> Floats:
        """Return each query's value of the measure under `parameters`.

        Raises InputError for a measure that leaves 0..1, which nothing here could compare.
        """
        if parameters not in self.tried:
            ids = [judged.id for judged in self._queries]
            found = self._judge.values(self._run(parameters), ids)[self._measure]
            values = np.array([found[query_id] for query_id in ids])
            if values.min() < 0 or values.max() > 1:
                raise InputError(f"measure {self._measure!r}: expected one between 0 and 1 to tune on")
            self.tried[parameters] = values
        return self.tried[parameters]

    def _run(self, parameters: Parameters) -> dict[str, dict[str, float]]:
        rewrites = self._rewritten(parameters.prompt)
        texts = self._texts(rewrites)
        dense = self._by_meaning(texts) if Leg.DENSE in self._legs else {}
        lexical = self._by_words(texts, parameters.k1, parameters.b) if Leg.LEXICAL in self._legs else {}
        return {
            judged.id: self._ranked(judged.query.query, made, parameters, lexical, dense)
            for judged, made in zip(self._queries, rewrites, strict=True)
        }

    # -------------------------------------------------------------------------------- rewriting

    def _rewritten(self, prompt: str | None) -> list[list[Rewrite]]:
        """Return what the rewriters bring for each query, the LLM told by `prompt` last."""
        if prompt not in self._rewrites:
            asked = self._corner.prompted.get(prompt)
            made = {} if asked is None else asked(replace(self._corner.dataset, queries=self._unsure))
            self._rewrites[prompt] = [
                [*sooner, *_wanted(made.get(judged.id))]
                for judged, sooner in zip(self._queries, self._cheap, strict=True)
            ]
        return self._rewrites[prompt]

    @cached_property
    def _cheap(self) -> list[list[Rewrite]]:
        made = [rewriter(self._corner.dataset) for rewriter in self._corner.rewriters]
        return [[rewrite for by_id in made for rewrite in _wanted(by_id.get(judged.id))] for judged in self._queries]

    @cached_property
    def _unsure(self) -> tuple[JudgedQuery, ...]:
        """The queries whose cheap rewrites leave something to ask for under some threshold."""
        bar = max(SURE, self._strictest)
        return tuple(
            judged
            for judged, made in zip(self._queries, self._cheap, strict=True)
            if not any(rewrite.alternatives or rewrite.confidence >= bar for rewrite in made)
        )

    # ---------------------------------------------------------------------------------- ranking

    def _ranked(
        self,
        query: str,
        rewrites: Sequence[Rewrite],
        parameters: Parameters,
        lexical: Mapping[str, Ranking | None],
        dense: Mapping[str, Ranking | None],
    ) -> dict[str, float]:
        """Return the documents that a query finds, with scores that fall by one."""
        texts = _second_batch(rewrites, parameters)
        lists: list[tuple[Ranking, float]] = []
        for text, weight in [(query, 1 - sum(weight for _, weight in texts)), *texts]:
            read = ((Leg.LEXICAL, lexical.get(text)), (Leg.DENSE, dense.get(text)))
            by_leg = {leg: ranking for leg, ranking in read if ranking is not None}
            lists += [(by_leg[leg], weight * share) for leg, share in shares(by_leg, parameters.lexical_weight).items()]
        lists = [(ranking, weight) for ranking, weight in lists if weight > TIE]
        if not lists:
            return {}
        rankings, weights = [ranking for ranking, _ in lists], [weight for _, weight in lists]
        documents = self._documents(fuse(rankings, weights, parameters.fusion))
        return {doc_id: float(len(documents) - place) for place, doc_id in enumerate(documents)}

    def _documents(self, fused: Ranking) -> list[str]:
        """Return the first documents of a ranking of passages, as many as the measure looks at."""
        documents: dict[str, None] = {}
        for position in fused.positions[:DEPTH]:
            documents.setdefault(self._snapshot.passage(int(position)).doc_id)
            if len(documents) == self._depth:
                break
        return list(documents)

    def _texts(self, rewrites: Iterable[Sequence[Rewrite]]) -> list[str]:
        """Return every text that may be searched."""
        texts = {judged.query.query: None for judged in self._queries}
        for made in rewrites:
            for rewrite in made:
                texts |= dict.fromkeys((rewrite.rewrite, *(other.rewrite for other in rewrite.alternatives)))
        return [text for text in texts if text.strip()]

    def _by_meaning(self, texts: Sequence[str]) -> Mapping[str, Ranking | None]:
        new = [text for text in texts if text not in self._dense]
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            for text, found in zip(batch, self._snapshot.rank(batch, (Leg.DENSE,), DEPTH), strict=True):
                self._dense[text] = found.get(Leg.DENSE)
            self._progress(f"{self.name}: ranking", start + len(batch), len(new))
        return self._dense

    def _by_words(self, texts: Sequence[str], k1: float, b: float) -> Mapping[str, Ranking | None]:
        known = self._lexical.setdefault((k1, b), {})
        new = [text for text in texts if text not in known]
        if new:
            rows, vocabulary = self._rows, self._snapshot.base.vocabulary
            ids, languages = [row.term_ids for row in rows], np.array([row.language for row in rows], dtype=np.uint8)
            # Too large to keep one for each k1 and b.
            index = BM25Index.from_ids(ids, vocabulary, k1, b, kinds=languages)
            words = ((text, analyze(text)) for text in new)
            known |= {text: index.search(terms, DEPTH) if terms else None for text, terms in words}
        return known

    @cached_property
    def _rows(self) -> list[Row]:
        return list(self._snapshot.rows())


def _depth(measure: str) -> int:
    """Return how many documents `measure` looks at, as deep as a run is at most."""
    return min(DEPTH, int(ir_measures.parse_measure(measure).params.get("cutoff", DEPTH)))


def _wanted(rewrite: Rewrite | None) -> list[Rewrite]:
    return [] if rewrite is None or rewrite.decision is Decision.KEEP else [rewrite]


def _second_batch(rewrites: Sequence[Rewrite], parameters: Parameters) -> list[tuple[str, float]]:
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
