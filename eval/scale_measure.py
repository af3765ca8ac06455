"""What planning for many passages is derived from, measured on one core: bytes a passage, processor time a search."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from itertools import cycle, islice
from mmap import mmap
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from .. import UnavailableError
from ..retrieval.collection import Collection
from ..retrieval.dense import Codes, DenseIndex, Rows, Vector, Vectors
from ..retrieval.encoders import MINILM, load_encoder
from ..retrieval.fusion import Method, Ranking, best, fuse
from ..retrieval.lexical import BM25Index, Vocabulary
from ..retrieval.passage import Document
from ..retrieval.sources import read_source
from ..retrieval.store import STORE_FILE
from ..rewrite.catalog import Catalog
from ..service.demo import folder as demo_folder
from ..service.local import Querywright
from .specs import load_dataset
from .speed_clock import Spent, say, spent, typical, weighed
from .speed_peers import DEPTH, K, LookUp
from .speed_texts import DIMENSIONS, LENGTH, Words, Workload, texts

Figures = dict[str, Any]
"""Figures by name; the last word of a name is its unit."""

RECALL = 0.95
"""An approximate index is set to find this share of the true best ten, of a hundred asked for."""

CANDIDATES = 2 * DEPTH
"""So many of the vectors whose codes are nearest get their exact scores, where lists are searched by codes."""

SHARES = [
    *(number / 100 for number in range(99)),
    *(number / 1_000 for number in range(990, 999)),
    *(number / 10_000 for number in range(9_990, 10_001)),
]
"""The shares of searches by which their latencies are kept."""

Made = TypeVar("Made")

_PAGE = 4096
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: passages of each step, of graphs, of collections; queries, reads of the disk."""

    steps: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    graphs: tuple[int, ...] = (10_000, 30_000, 100_000, 300_000)
    kept: tuple[int, ...] = (30_000, 100_000)
    searches: int = 20_000
    queries: int = 200
    encoded: int = 300
    reads: int = 5_000
    file_mb: int = 1024
    seed: int = 0


def measure(plan: Plan, folder: Path | None = None) -> dict[str, Figures]:
    """Measure all parts, each in a process of its own on one core; files are made under `folder` and go again."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        return {part: _measured_apart(part, plan, scratch) for part in PARTS}


def _measured_apart(part: str, plan: Plan, scratch: str) -> Figures:
    say(f"scale: {part}")
    limits = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    code = "from querywright.eval.scale_measure import main; main()"
    job = orjson.dumps({"part": part, "plan": asdict(plan), "scratch": scratch}).decode()
    done = subprocess.run(  # noqa: S603 # ourselves
        [sys.executable, "-P", "-c", code, job], env=os.environ | limits, stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise UnavailableError(f"scale: {part} could not be measured; what went wrong stands above")
    figures: Figures = orjson.loads(done.stdout)
    return figures


def main() -> None:
    """Measure the part that the one argument names on one core, and print its figures as JSON."""
    job = orjson.loads(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = PARTS[job["part"]](Plan(**job["plan"]), Path(job["scratch"]))
    sys.stdout.buffer.write(orjson.dumps(figures, option=orjson.OPT_SERIALIZE_NUMPY))


# ------------------------------------------------------------------------------------ a collection


def kept(plan: Plan, scratch: Path) -> Figures:
    """Weigh what collections keep on disk, with vectors and without."""
    figures: Figures = {}
    for size in plan.kept:
        work = Workload(size, plan.searches, plan.seed)
        documents = texts(work.documents)
        bare = _filled(scratch / f"bare-{size}", documents, None)
        known = LookUp(dict(zip(documents, work.vectors[0], strict=True)), DIMENSIONS)
        full = _filled(scratch / f"full-{size}", documents, known)
        figures |= {
            f"text_{size}_bytes": float(np.mean([len(text) for text in documents])),
            f"sqlite_without_vectors_{size}_bytes": (bare / STORE_FILE).stat().st_size / size,
            f"sqlite_{size}_bytes": (full / STORE_FILE).stat().st_size / size,
            f"index_files_{size}_bytes": sum(path.stat().st_size for path in full.glob("index-*/*")) / size,
        }
    return figures


def _filled(folder: Path, documents: Sequence[str], encoder: LookUp | None) -> Path:
    with Collection(folder, encoder) as collection:
        collection.upsert(Document(f"d{number:08}", text) for number, text in enumerate(documents))
        collection.flush()
    return folder


def served(plan: Plan, scratch: Path) -> Figures:
    """Open those collections again: memory, hybrid searches, changes."""
    figures: Figures = {}
    for size in plan.kept:
        work = Workload(size, plan.searches, plan.seed)
        asked = texts(work.queries)
        known = LookUp(dict(zip(asked, work.vectors[1], strict=True)), DIMENSIONS)
        work.__dict__.clear()  # it would be weighed, too
        with Collection(scratch / f"full-{size}", known) as collection:
            _, held = weighed(partial(_searched, collection, asked[:100]))
            times = [spent(partial(collection.search, text, K)) for text in asked]
            changes = [spent(partial(_changed, collection, asked[0], number)) for number in range(20)]
        figures |= {
            f"resident_{size}_bytes": (held["resident_mb"] or 0) * 2**20 / size,
            f"opened_{size}_core_s": held["index_cpu_s"],
            f"hybrid_{size}_core_ms": _mean(times),
            f"upsert_until_found_{size}_core_ms": typical(changes).cpu * 1_000,
            "latencies_ms": (np.quantile([one.wall for one in times], SHARES) * 1_000).round(4).tolist(),
        }
    return figures


def _searched(collection: Collection, asked: Sequence[str]) -> None:
    for text in asked:
        collection.search(text, K)


def _changed(collection: Collection, text: str, number: int) -> None:
    collection.upsert([Document(f"new{number}", text)])
    collection.search(text, K)


# ------------------------------------------------------------------------------- words and vectors


def words(plan: Plan, _: Path) -> Figures:
    """Time BM25 at every step, and count postings."""
    figures: Figures = {}
    for size in plan.steps:
        work = Workload(size, plan.queries, plan.seed)
        vocabulary = Vocabulary()
        ids = [vocabulary.ids(given) for given in work.documents]
        queries, rarer = work.queries, work.rarer_queries
        work.__dict__.clear()
        index, seconds = _made(partial(BM25Index.from_ids, ids, vocabulary))
        arrays = index.arrays()
        figures |= {
            f"build_{size}_core_s": seconds,
            f"common_{size}_core_ms": _timed(index, queries),
            f"rarer_{size}_core_ms": _timed(index, rarer),
            f"postings_{size}": len(arrays["positions"]) / size,
            f"touched_{size}_postings": _touched(vocabulary, arrays["frequencies"], queries),
            f"arrays_{size}_bytes": sum(array.nbytes for array in arrays.values()) / size,
        }
    return figures


def _timed(index: BM25Index, queries: Sequence[Words]) -> float:
    for query in queries:  # rows of frequent terms are made when first asked for
        index.search(query, DEPTH)
    return _mean([spent(partial(index.search, query, DEPTH)) for query in queries])


def _touched(vocabulary: Vocabulary, frequencies: NDArray[Any], queries: Sequence[Words]) -> float:
    """Return how many postings the terms of a query have together."""
    numbers = [[vocabulary[word] for word in query if word in vocabulary] for query in queries]
    return float(np.mean([frequencies[held].sum() for held in numbers]))


def vectors(plan: Plan, _: Path) -> Figures:
    """Time a scan of all vectors, of codes, and of the nearest lists' codes, at every step."""
    faiss = import_module("faiss")
    figures: Figures = {}
    for size in plan.steps:
        known, queries = Workload(size, plan.queries, plan.seed).vectors
        flat = DenseIndex(known, np.arange(size))
        true = [flat.search(query, DEPTH) for query in queries]
        trained, seconds = _made(partial(Codes.train, known))
        codes = DenseIndex(known, np.arange(size), trained)
        some = queries[: max(20, plan.queries * plan.steps[0] // size)]
        figures |= {
            f"flat_{size}_core_ms": _mean([spent(partial(flat.search, query, DEPTH)) for query in some]),
            f"codes_{size}_core_ms": _mean([spent(partial(codes.search, query, DEPTH)) for query in queries]),
            f"codes_{size}_recall": _recall(codes, queries, true),
            f"codes_{size}_bytes": len(trained.to_bytes()) / size,
            f"codes_build_{size}_core_s": seconds,
        }
        lists = round(size**0.5)
        inverted = faiss.index_factory(DIMENSIONS, f"IVF{lists},PQ{DIMENSIONS // 2}x4fs", faiss.METRIC_INNER_PRODUCT)
        seconds = _made(partial(_filled_lists, inverted, known))[1]
        scan = partial(_Scan, inverted, "nprobe", width=CANDIDATES)
        least = _least_effort(scan, [*efforts(8, lists), lists], known, queries, true)
        figures |= {f"ivf_build_{size}_core_s": seconds, f"ivf_{size}_lists": lists}
        figures |= _named(f"ivf_{size}", least)
    return figures


def _filled_lists(inverted: Any, known: Vectors) -> None:  # noqa: ANN401 - faiss is untyped
    inverted.train(known[: max(4096, 64 * inverted.nlist)])
    inverted.add(known)


def graph(plan: Plan, _: Path) -> Figures:
    """Time a graph (HNSW, 32 neighbours) at some sizes, building it and searching."""
    faiss = import_module("faiss")
    figures: Figures = {}
    for size in plan.graphs:
        known, queries = Workload(size, plan.queries, plan.seed).vectors
        exact = DenseIndex(known, np.arange(size))
        true = [exact.search(query, DEPTH) for query in queries]
        index = faiss.IndexHNSWFlat(DIMENSIONS, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 80
        seconds = _made(partial(index.add, known))[1]
        scan = partial(_Scan, index, "efSearch", index.hnsw, width=DEPTH)
        least = _least_effort(scan, efforts(DEPTH, 3_200), known, queries, true)
        figures |= {
            f"build_{size}_core_s": seconds,
            f"links_{size}_bytes": len(faiss.serialize_index(index)) / size - known.itemsize * DIMENSIONS,
        } | _named(f"search_{size}", least)
    return figures


class _Scan:
    """Candidates from a FAISS index that works as hard as it is told."""

    degraded = ""

    def __init__(
        self,
        index: Any,  # noqa: ANN401 - faiss is untyped
        knob: str,
        owner: Any = None,  # noqa: ANN401 - likewise
        *,
        width: int,
        effort: int,
    ) -> None:
        self._index = index
        self._width = width
        setattr(owner or index, knob, effort)

    def width(self, _: int) -> int:
        return self._width

    def nearest(self, query: Vector, width: int) -> Rows:
        found = self._index.search(query[None], width)[1][0]
        return np.asarray(found[found >= 0], dtype=np.int64)


def efforts(least: int, most: int) -> list[int]:
    """Return efforts from `least` to `most`, each 1.19 times the one before.

    >>> efforts(100, 200)
    [100, 119, 141, 168, 200]
    """
    steps = range(1 + int(4 * np.log2(most / least) + 1e-9)) if most >= least else ()
    return [round(least * 2 ** (step / 4)) for step in steps]


def _least_effort(
    scan: Callable[..., _Scan], tried: Sequence[int], known: Vectors, queries: Vectors, true: Sequence[Ranking]
) -> Figures:
    """Return effort, recall and time of the least effort that finds enough, of the most where none does."""
    for effort in tried:
        index = DenseIndex(known, np.arange(len(known)), None, 1.0, scan(effort=effort))
        recall = _recall(index, queries, true)
        if recall >= RECALL or effort == tried[-1]:
            break
    times = [spent(partial(index.search, query, DEPTH)) for query in queries]
    return {"effort": effort, "recall": recall, "core_ms": _mean(times)}


def _named(prefix: str, figures: Figures) -> Figures:
    return {f"{prefix}_{name}": figure for name, figure in figures.items()}


def _recall(index: DenseIndex, queries: Vectors, true: Sequence[Ranking]) -> float:
    """Return which share of the true best ten is among the hundred that `index` finds."""
    pairs = [(index.search(query, DEPTH), best.head(K)) for query, best in zip(queries, true, strict=True)]
    return float(np.mean([np.mean(np.isin(best.positions, found.positions)) for found, best in pairs]))


# ------------------------------------------------------------------------------------- all the rest


def encoding(plan: Plan, _: Path) -> Figures:
    """Time the English encoder on passages of as many words as everywhere here, and on queries."""
    encoder = load_encoder(MINILM)
    running = " ".join(document.text for document in read_source(demo_folder()) if encoder.reads(document.text)).split()
    passages = [" ".join(islice(cycle(running), start, start + LENGTH)) for start in range(plan.encoded)]
    queries = [" ".join(running[start : start + 8]) for start in range(0, 8 * 50, 8)]
    encoder.encode_documents(passages[:8])
    documents = spent(lambda: encoder.encode_documents(passages), plan.encoded)
    encoder.encode_queries(queries[:1])
    return {
        "passages_per_core_s": 1 / documents.cpu,
        "query_core_ms": _mean([spent(partial(encoder.encode_queries, [query])) for query in queries]),
    }


def rewriting(plan: Plan, scratch: Path) -> Figures:
    """Time the default chain, without an LLM, on the demo's queries with their conversations, nothing remembered."""
    source = demo_folder()
    catalog = Catalog.load(source / "catalog.toml")
    with Querywright(scratch / "home", rewrite_cache=0) as querywright:
        querywright.warm_up()
        asked = [one.query for one in load_dataset(source).queries[: plan.searches]]
        times = [spent(partial(querywright.rewrite, query, catalog=catalog)) for query in asked]
    return {"query_core_ms": _mean(times), "p99_core_ms": float(np.quantile([one.cpu for one in times], 0.99)) * 1_000}


def merging(plan: Plan, _: Path) -> Figures:
    """Time the joining of the shards' best hundreds, and of two lists to one."""
    random = np.random.default_rng(plan.seed)
    figures: Figures = {}
    for shards in (10, 100, 1_000):
        scores = random.random(shards * DEPTH).astype(np.float32)
        joining = partial(best, np.arange(len(scores)), scores, DEPTH)
        figures[f"join_{shards}_core_ms"] = _mean([spent(joining) for _ in range(200)])
    ranked = [best(random.permutation(1_000)[:DEPTH], random.random(DEPTH), DEPTH) for _ in range(2)]
    figures["fuse_core_ms"] = _mean([spent(lambda: fuse(ranked, [0.5, 0.5], Method.THEORETICAL)) for _ in range(200)])
    return figures


def disk(plan: Plan, scratch: Path) -> Figures:
    """Time reads of one page at random places of a file, one after the other, past the page cache."""
    path = scratch / "file"
    with path.open("wb") as file:
        for _ in range(plan.file_mb):
            file.write(os.urandom(_BLOCK))
        file.flush()
        os.fsync(file.fileno())
    places = np.random.default_rng(plan.seed).integers(0, plan.file_mb * _BLOCK // _PAGE, plan.reads) * _PAGE
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
    try:
        with mmap(-1, _PAGE) as page:
            seconds = [_read(descriptor, page, place) for place in places.tolist()]
    finally:
        os.close(descriptor)
    return {"page_p50_ms": float(np.median(seconds)) * 1_000, "page_p99_ms": float(np.quantile(seconds, 0.99)) * 1_000}


def _read(descriptor: int, page: mmap, place: int) -> float:
    start = time.perf_counter()
    os.preadv(descriptor, [page], place)
    return time.perf_counter() - start


def _made(make: Callable[[], Made]) -> tuple[Made, float]:
    """Return what `make` makes, and the seconds of processor time that takes."""
    start = time.process_time()
    made = make()
    return made, time.process_time() - start


def _mean(times: Sequence[Spent]) -> float:
    """Return milliseconds of processor time, the mean: it adds up to how many searches a core can do."""
    return float(np.mean([one.cpu for one in times])) * 1_000


PARTS: Mapping[str, Callable[[Plan, Path], Figures]] = {
    part.__name__: part for part in (kept, served, words, vectors, graph, encoding, rewriting, merging, disk)
}
"""All that is measured, in this order: what is served was kept before."""
