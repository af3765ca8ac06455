"""Measure how far a collection in Milvus ranks from the same one in a folder: nDCG@10 of each leg and of both.

    PYTHONSAFEPATH=1 .venv/bin/python tests/retrieval/milvus_quality.py --data ../shared/data/retrieval

milvus-lite looks at every row where a server has indexes, so of each data set a part is taken: `--queries` of its
queries, evenly, the documents judged for them, and others, evenly, up to `--documents`. Vectors are copied from a home
where `querywright evaluate` has left them (`--home`), else encoded. Exits with 1 where any two figures are further
apart than .01.
"""

import argparse
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from querywright.eval.dataset import Dataset, JudgedQuery
from querywright.eval.measures import Judge
from querywright.retrieval.collection import Collection
from querywright.retrieval.encoders import load_encoder
from querywright.retrieval.joined import OneCollection
from querywright.retrieval.milvus_calls import Milvus
from querywright.retrieval.remote_home import RemoteCollections
from querywright.retrieval.spaces import load_spaces

LEGS = ("lexical", "dense", "hybrid")
MEASURE = "nDCG@10"


def main() -> int:
    """Compare both engines on each data set; return how many figures are too far apart."""
    options = _options()
    wrong = 0
    for name in options.sets:
        dataset = Dataset.load(options.data / name)
        with tempfile.TemporaryDirectory() as folder:
            wrong += compare(dataset, Path(folder), options)
    return min(wrong, 1)


def compare(dataset: Dataset, folder: Path, options: argparse.Namespace) -> int:
    """Index a part of a data set twice and search it by both; return how many figures are too far apart."""
    queries = _evenly(dataset.queries, options.queries)
    judged = {doc_id for query in queries for doc_id in dataset.qrels[query.id]}
    spaces = load_spaces(load=load_encoder)
    kept = judged | set(_evenly(sorted(set(dataset.corpus.ids) - judged), options.documents - len(judged)))
    milvus = Milvus(str(folder / "lite.db"), seconds=120)
    store = RemoteCollections(milvus, folder, lambda: spaces)
    with closing(store), Collection(folder / "local", spaces, load=load_encoder) as local:
        _fill(local, dataset, kept, options.home)
        remote = store.create("quality", size=len(kept))
        begun = time.perf_counter()
        for batch in local.stored():
            remote.put(batch)
        remote.flush()
        copied = time.perf_counter() - begun
        print(
            f"{dataset.name}: {local.count()} documents, {len(queries)} queries, copied in {copied:.0f} s", flush=True
        )
        return sum(_compared(local, remote, queries, dataset, leg) for leg in LEGS)


def _compared(
    local: OneCollection, remote: OneCollection, queries: list[JudgedQuery], dataset: Dataset, leg: str
) -> bool:
    judge = Judge({query.id: dataset.qrels[query.id] for query in queries}, [MEASURE])
    means, spent = [], []
    for collection in (local, remote):
        begun = time.perf_counter()
        run = {
            query.id: {hit.doc_id: -float(hit.rank) for hit in collection.search(query.query.query, 10, leg)}
            for query in queries
        }
        spent.append(1000 * (time.perf_counter() - begun) / len(queries))
        values = judge.values(run, [query.id for query in queries])[MEASURE]
        means.append(sum(values.values()) / len(values))
    apart = abs(means[0] - means[1])
    print(
        f"  {leg:8} local {means[0]:.4f}  milvus {means[1]:.4f}  apart {apart:.4f}"
        f"  ({spent[0]:.1f} ms, {spent[1]:.0f} ms a query)",
        flush=True,
    )
    return apart > 0.01


def _fill(local: Collection, dataset: Dataset, kept: set[str], home: Path | None) -> None:
    """Put the documents `kept` in the local collection, with their vectors where `home` has them."""
    known = sorted(home.glob(f"eval-{dataset.name}-*")) if home else []
    if not known:
        local.upsert(document for document in dataset.corpus if document.doc_id in kept)
        return
    with Collection(known[-1], load_spaces(load=load_encoder), load=load_encoder) as encoded:
        for batch in encoded.stored():
            local.put([stored for stored in batch if stored.document.doc_id in kept])


def _evenly(members: list, wanted: int) -> list:
    """Return about so many of `members`, evenly spread."""
    return list(members)[:: max(1, len(members) // max(1, wanted))][: max(0, wanted)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the data sets")
    parser.add_argument("--sets", nargs="+", default=["mtrag-fiqa", "stard-law"])
    parser.add_argument("--home", type=Path, help="where they are indexed already")
    parser.add_argument("--documents", type=int, default=2_000)
    parser.add_argument("--queries", type=int, default=60)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
