"""Building a test collection from one's own documents: what arms and legs find is pooled, judged by hand, read back.

The pool is a file to be filled in: a spreadsheet (TSV) or JSON Lines, a row for each query and document, `score` left
empty. Filled in, it is a file of judgments: `files:queries=QUERIES,qrels=POOL,corpus=SOURCE`. Rows that stay empty are
not judged. See Spärck Jones and van Rijsbergen, "Report on the need for and provision of an 'ideal' information
retrieval test collection", 1975, for pooling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import orjson

from .. import InputError, NotFoundError
from ..retrieval.collection import Collection
from ..rewrite.query import Role
from .arms import parse_arms
from .bench import Bench
from .cache import digest
from .corpus import Corpus
from .dataset import Dataset, JudgedQuery
from .qrels import HEADER, judgments
from .runs import write_whole
from .searches import Searches, index, parse_legs
from .specs import load_queries

COLUMNS = (*HEADER, "history", "query", "title", "text")
"""The columns of a pool; the last four are for whoever judges."""

POOL_DEPTH = 10
"""How many documents of each ranking are pooled, where nothing else is said."""

_SHOWN = 1_000


@dataclass(frozen=True, slots=True)
class Pooled:
    """How many pairs of query and document stand in a pool, and how many of them have a score already."""

    queries: int
    pairs: int
    judged: int


def pool(
    queries: Path,
    corpus: Path | str,
    arms: Sequence[str],
    legs: Sequence[str],
    bench: Bench,
    out: Path,
    depth: int = POOL_DEPTH,
) -> Pooled:
    """Search `queries` by every arm and leg, and write the first `depth` documents of each to `out`, to be judged.

    `queries` are BEIR's or TREC's, `corpus` is a source that can be indexed, or the name of a collection. The rows of
    a query stand in an order that tells nothing of their ranks. Scores that `out` holds already are kept, so that
    further arms can be pooled after judging. Raises InputError for what is wrong with any of them.
    """
    if not 1 <= depth <= 100:
        raise InputError(f"depth: expected 1 to 100, got {depth}")
    if not out.name.endswith((".tsv", ".jsonl")):
        raise InputError(f"{out}: expected the name of a .tsv or .jsonl file for the pool")
    wanted_legs, wanted_arms = parse_legs(legs), parse_arms(arms, bench.service)
    typed = load_queries(queries).queries.typed
    dataset = Dataset(out.stem, queries, tuple(typed.values()), 0, {}, _corpus(corpus, bench))
    known = _known(out)
    found: dict[str, dict[str, None]] = {query_id: dict.fromkeys(known.get(query_id, {})) for query_id in typed}
    for _, _, outcomes in Searches(dataset, bench).all(wanted_arms, wanted_legs):
        for query_id, outcome in outcomes.items():
            found[query_id] |= dict.fromkeys(islice(outcome.documents, depth))
    collection = index(dataset, bench)
    rows = [row for judged in dataset.queries for row in _rows(judged, found[judged.id], known, collection)]
    write_whole(out, _tsv(rows) if out.suffix == ".tsv" else _jsonl(rows))
    return Pooled(len(typed), len(rows), sum(row["score"] is not None for row in rows))


def _corpus(corpus: Path | str, bench: Bench) -> Corpus:
    if isinstance(corpus, str):
        return Corpus.of_collection(bench.collections.open(corpus))
    return Corpus.of_source(corpus)


def _known(out: Path) -> Mapping[str, Mapping[str, int]]:
    """Return the scores that a pool holds already."""
    known: dict[str, dict[str, int]] = {}
    for _, query_id, doc_id, score in judgments(out) if out.is_file() else ():
        known.setdefault(query_id, {})[doc_id] = score
    return known


def _rows(
    judged: JudgedQuery, doc_ids: Mapping[str, None], known: Mapping[str, Mapping[str, int]], collection: Collection
) -> Iterator[dict[str, object]]:
    history = [turn.text for turn in judged.query.history if turn.role is Role.USER]
    for doc_id in sorted(doc_ids, key=lambda doc_id: digest([judged.id, doc_id])):
        try:
            document = collection.get(doc_id)
        except NotFoundError:
            continue  # judged once, deleted since
        score = known.get(judged.id, {}).get(doc_id)
        values = (judged.id, doc_id, score, history, judged.query.query, document.title, document.text[:_SHOWN])
        yield dict(zip(COLUMNS, values, strict=True))


def _jsonl(rows: Sequence[Mapping[str, object]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def _tsv(rows: Sequence[Mapping[str, object]]) -> bytes:
    lines = ("\t".join([*_ids(row), *(_plain(row[name]) for name in COLUMNS[2:])]) for row in rows)
    return "".join(f"{line}\n" for line in ("\t".join(COLUMNS), *lines)).encode()


def _ids(row: Mapping[str, object]) -> tuple[str, str]:
    return str(row["query-id"]), str(row["corpus-id"])


def _plain(value: object) -> str:
    """Return `value` without what would part columns or rows."""
    text = " | ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return " ".join(text.split())
