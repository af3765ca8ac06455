"""How fast searches are answered: by words, and by words and vectors together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..retrieval.collection import Collection
from ..retrieval.dense import Vectors
from ..retrieval.encoders import load_encoder
from .speed import Plan, Result, Row
from .speed_clock import Spent, milliseconds, say, slices, spent, take_turns, typical, weighed
from .speed_peers import (
    BM25S,
    DEPTH,
    HYBRID,
    LEXICAL,
    MISSING,
    OURS,
    Found,
    HybridSearch,
    K,
    LexicalSearch,
    Library,
    LookUp,
    Peer,
)
from .speed_texts import EXPONENT, LENGTH, Words, Workload, texts

Made = TypeVar("Made")
Data = TypeVar("Data")
Search = TypeVar("Search")

_SAME = 1e-4
"""Scores are equal that differ by less than this share: engines round differently."""

_COMPARED = 10
_FEW = 200
_RECALL_QUERIES = 200


# --------------------------------------------------------------------------------------- lexical


def lexical(plan: Plan) -> Result:
    """Time BM25 engines on the same lists of words, one thread, the hundred best of each query."""
    work = Workload(plan.size, plan.queries, plan.seed)
    documents: Sequence[Words] = work.documents
    searches, built = _built("lexical", LEXICAL, documents, documents[:_FEW], lambda search: search(work.queries[:2]))
    times = _times(searches, work.queries, plan.rounds)
    rarer = _times(searches, work.rarer_queries, plan.rounds)
    rows = [
        Row(
            name,
            times[name].wall / times[OURS].wall,
            {
                "ratio_cpu": times[name].cpu / times[OURS].cpu,
                "ratio_rarer_words": rarer[name].wall / rarer[OURS].wall,
                "queries_per_s": 1 / times[name].wall,
                "queries_per_s_rarer_words": 1 / rarer[name].wall,
                **figures,
            },
        )
        for name, figures in built.items()
    ]
    checks = {}
    if BM25S in searches:
        pairs = zip(searches[OURS](work.queries), searches[BM25S](work.queries), strict=True)
        checks["share_of_queries_with_bm25s_top_10"] = float(np.mean([alike(ours, theirs) for ours, theirs in pairs]))
    setup = (
        f"{plan.size:,} documents of {LENGTH} words by Zipf's law (exponent {EXPONENT}), {plan.queries:,} queries, "
        f"top {DEPTH}, one thread"
    )
    return Result("lexical", setup, _all_rows(LEXICAL, rows, plan), checks)


def _times(searches: Mapping[str, LexicalSearch], queries: Sequence[Words], rounds: int) -> dict[str, Spent]:
    """Return the time of a query of each engine, the median of rounds."""
    batches = slices(queries, rounds)
    peers = {peer.name: peer for peer in LEXICAL}

    def turn(name: str, number: int) -> list[Spent]:
        given = peers[name].given(batches[number])
        return [spent(partial(searches[name], given), len(given))]

    return {name: typical(found) for name, found in take_turns(list(searches), len(batches), turn).items()}


def alike(ours: Found, theirs: Found, depth: int = _COMPARED) -> bool:
    """Say whether the best `depth` are the same with the same scores, but for the order of ties and those at the cut.

    What scores 0 is not found.
    """
    mine, others = _scored(ours, depth), _scored(theirs, depth)
    if len(mine) != len(others) or not np.allclose(list(mine.values()), list(others.values()), rtol=_SAME, atol=0):
        return False
    last = min(mine.values(), default=0.0) * (1 + _SAME)
    return all(found in others or score <= last for found, score in mine.items())


def _scored(found: Found, depth: int) -> dict[int, float]:
    pairs = list(zip(found[0], found[1], strict=True))[:depth]
    return {int(number): float(score) for number, score in pairs if score > 0}


# ---------------------------------------------------------------------------------------- hybrid


def hybrid(plan: Plan) -> Result:
    """Time searches by words and vectors together: query text in, ten hits out, encoding apart."""
    work = Workload(plan.size, plan.queries, plan.seed)
    vectors = _encoded(work) if plan.encode else work.vectors
    with library(work, *vectors) as whole, library(work, *vectors, _FEW) as few:
        asked = list(whole.query_vectors)
        searches, built = _built("hybrid", HYBRID, whole, few, lambda search: search(asked[0]))
        times = _latencies(searches, asked, plan.rounds)
        checks = {"recall_at_100_of_our_dense_leg": _recall(whole, asked[:_RECALL_QUERIES])}
    middle = {name: typical(found) for name, found in times.items()}
    rows = [
        Row(
            name,
            middle[name].wall / middle[OURS].wall,
            {
                "ratio_cpu": middle[name].cpu / middle[OURS].cpu,
                "p50_ms": middle[name].wall * 1_000,
                "p95_ms": milliseconds([one.wall for one in times[name]], 95),
                **figures,
            },
        )
        for name, figures in built.items()
    ]
    setup = (
        f"{plan.size:,} documents of {LENGTH} words with {'MiniLM' if plan.encode else 'drawn'} vectors of "
        f"{whole.vectors.shape[1]}, {len(asked):,} queries, {DEPTH} of each leg, top {K}, one thread, encoding apart"
    )
    return Result("hybrid", setup, _all_rows(HYBRID, rows, plan), checks)


@contextmanager
def library(work: Workload, vectors: Vectors, query_vectors: Vectors, size: int | None = None) -> Iterator[Library]:
    """Lay out the documents, the first `size` of them, with a new collection for them, which goes again."""
    documents = texts(work.documents[:size])
    queries = dict(zip(texts(work.queries), query_vectors, strict=True))
    known = dict(zip(documents, vectors, strict=False)) | queries
    with (
        tempfile.TemporaryDirectory() as folder,
        Collection(Path(folder) / "bench", LookUp(known, vectors.shape[1])) as collection,
    ):
        ids = [f"d{number:08}" for number in range(len(documents))]
        yield Library(ids, documents, vectors[: len(documents)], queries, collection)


def _encoded(work: Workload) -> tuple[Vectors, Vectors]:
    encoder = load_encoder()
    say(f"hybrid: encode {work.size} documents")
    return encoder.encode_documents(texts(work.documents)), encoder.encode_queries(texts(work.queries))


def _latencies(searches: Mapping[str, HybridSearch], asked: Sequence[str], rounds: int) -> dict[str, list[Spent]]:
    batches = slices(asked, rounds)
    peers = {peer.name: peer for peer in HYBRID}

    def turn(name: str, number: int) -> list[Spent]:
        return [spent(partial(searches[name], text)) for text in peers[name].given(batches[number])]

    return take_turns(list(searches), len(batches), turn)


def _recall(whole: Library, asked: Sequence[str]) -> float:
    """Return which share of the true nearest hundred our dense leg finds."""
    depth = min(DEPTH, len(whole.ids))
    products = np.stack([whole.query_vectors[text] for text in asked]) @ whole.vectors.T
    true = np.argpartition(-products, depth - 1, axis=1)[:, :depth]
    shares = []
    for text, rows in zip(asked, true, strict=True):
        found = {hit.doc_id for hit in whole.collection.search(text, depth, legs=["dense"])}
        shares.append(len(found & {whole.ids[row] for row in rows.tolist()}) / depth)
    return float(np.mean(shares))


# ------------------------------------------------------------------------------------------ both


def _built(
    part: str,
    peers: Sequence[Peer[Callable[[Data], Search]]],
    whole: Data,
    few: Data,
    ask: Callable[[Search], object],
) -> tuple[dict[str, Search], dict[str, dict[str, float | None]]]:
    """Index `whole` with everybody who is installed; return their searches, and what building took.

    Each indexes `few` before and is asked: what is imported and compiled then is not counted.
    """
    searches, figures = {}, {}
    for peer in peers:
        if not peer.missing:
            say(f"{part}: {peer.name}: index")
            ask(peer.make(few))
            searches[peer.name], figures[peer.name] = weighed(partial(peer.make, whole))
    say(f"{part}: search")
    return searches, figures


def _all_rows(peers: Sequence[Peer[Made]], rows: Sequence[Row], plan: Plan) -> list[Row]:
    """Return a row for everybody: say who is not installed, and who was given fewer queries."""
    measured = {row.name: row for row in rows}
    return [
        replace(measured[peer.name], note=_given(peer, plan)) if peer.name in measured else Row(peer.name, note=MISSING)
        for peer in peers
    ]


def _given(peer: Peer[Made], plan: Plan) -> str:
    if peer.share == 1:
        return ""
    batches = slices(range(plan.queries), plan.rounds)
    return f"slow: asked {sum(len(peer.given(batch)) for batch in batches)} of the queries"
