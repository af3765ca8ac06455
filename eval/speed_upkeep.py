"""How fast documents come in, changes are found and the server starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import orjson

from .. import UnavailableError
from ..retrieval.analysis import analyze
from ..retrieval.collection import Collection
from ..retrieval.dense import Vectors
from ..retrieval.encoders import Encoder, load_encoder, minilm_folder
from ..retrieval.home import Collections
from ..retrieval.passage import Document, Hit
from ..retrieval.sources import read_source
from ..retrieval.spaces import Spaces, load_spaces
from ..service.demo import folder as demo_folder
from ..service.settings import PREFIX, Settings
from .speed import Plan, Result, Row
from .speed_clock import milliseconds, say, slices, take_turns, timed
from .speed_peers import BM25S, MISSING, OURS, bm25s_numba, fill
from .speed_search import library
from .speed_texts import DIMENSIONS, LENGTH, Workload, texts

_ENCODED = 1_000
_CHANGES = 30
_SERVED = 10_000
_STARTS = 3
_START_LIMIT = 120

BM25S_NEEDS = ("bm25s", "numba")


# ---------------------------------------------------------------------------------------- ingest


def ingest(plan: Plan) -> Result:
    """Time the reading of documents into a new collection, without encoding and with it."""
    documents = texts(Workload(plan.size, 1, plan.seed).documents)
    encoded = min(_ENCODED, plan.size)
    setup = f"{plan.size:,} documents of {LENGTH} words without encoding, {encoded:,} of the demo's with it"
    return Result("ingest", setup, [*_without_encoding(documents), *_with_encoding(plan)])


def _without_encoding(documents: Sequence[str]) -> list[Row]:
    say("ingest: without encoding")
    for text in documents:
        analyze(text)  # it remembers words: whoever comes first would pay for all
    with _collection(None) as collection:
        given = [Document(f"d{number:08}", text) for number, text in enumerate(documents)]
        _, seconds = timed(lambda: collection.upsert(given))
        _, flushing = timed(collection.flush)
    figures = {"per_s": len(documents) / seconds, "per_s_flushed": len(documents) / (seconds + flushing)}
    rows = [Row(f"{OURS}, on disk", 1.0, figures)]
    name = f"{BM25S}, in memory, by our analyzer"
    if not all(map(find_spec, BM25S_NEEDS)):
        return [*rows, Row(name, note=MISSING)]
    bm25s_numba([["compiled"]])
    _, theirs = timed(lambda: bm25s_numba([analyze(text) for text in documents]))
    return [*rows, Row(name, theirs / (seconds + flushing), {"per_s_flushed": len(documents) / theirs})]


def _with_encoding(plan: Plan) -> list[Row]:
    """Let the default encoder alone, and a collection that uses it, take turns at the same passages."""
    spaces = load_spaces(Settings().encoder)
    batches = slices(_passages(spaces, min(_ENCODED, plan.size)), min(plan.rounds, 5))
    say(f"ingest: encode {sum(map(len, batches))} passages, alone and into a collection")
    with _collection(spaces) as collection:
        made = iter(range(1_000_000))

        def turn(name: str, number: int) -> list[float]:
            if name == OURS:
                given = [Document(f"d{next(made):08}", text) for text in batches[number]]
                return [timed(lambda: collection.upsert(given))[1] / len(given)]
            return [timed(lambda: spaces.encode_documents(batches[number]))[1] / len(batches[number])]

        seconds = {name: median(found) for name, found in take_turns([OURS, ""], len(batches), turn).items()}
    ours, alone = seconds[OURS], seconds[""]
    return [
        Row(f"{OURS}, encoding by {spaces.name}", 1.0, {"per_s": 1 / ours}),
        Row(f"{spaces.name} alone", alone / ours, {"per_s": 1 / alone}),
    ]


def _passages(spaces: Spaces, count: int) -> list[str]:
    """Return texts of the demo that an encoder reads, again and again."""
    demo = [document.text for document in read_source(demo_folder()) if spaces.of(document.text)]
    return [demo[number % len(demo)] for number in range(count)]


@contextmanager
def _collection(encoder: Encoder | Spaces | None) -> Iterator[Collection]:
    with tempfile.TemporaryDirectory() as folder, Collection(Path(folder) / "bench", encoder) as collection:
        yield collection


# ---------------------------------------------------------------------------------------- update


def update(plan: Plan) -> Result:
    """Time one change to a large collection until the next search heeds it."""
    work = Workload(plan.size, _CHANGES, plan.seed)
    with library(work, *work.vectors) as base:
        say("update: index")
        fill(base)
        say("update: change")
        found = [base.collection.search(text) for text in base.query_vectors]
        best = dict(zip(base.query_vectors, (hits[0].doc_id for hits in found), strict=True))
        lost = [_seconds_to_lose(base.collection, text, doc_id) for text, doc_id in best.items()]
        added = [_seconds_to_find(base.collection, text, f"new{i}") for i, text in enumerate(best)]
        _, flushing = timed(base.collection.flush)
    p50 = milliseconds(added, 50)
    rows = [
        Row(f"{OURS}: upsert until found", 1.0, {"p50_ms": p50, "max_ms": max(added) * 1_000}),
        Row(f"{OURS}: delete until gone", figures={"p50_ms": milliseconds(lost, 50), "max_ms": max(lost) * 1_000}),
        Row(f"{OURS}: flush", figures={"p50_ms": flushing * 1_000}),
        _indexed_again(work, p50),
    ]
    setup = f"{plan.size:,} documents × {DIMENSIONS}, {_CHANGES} changes of each kind, a hybrid search after each"
    return Result("update", setup, rows)


def _seconds_to_find(collection: Collection, text: str, doc_id: str) -> float:
    def change() -> list[Hit]:
        collection.upsert([Document(doc_id, text)])
        return collection.search(text)

    hits, seconds = timed(change)
    if doc_id not in {hit.doc_id for hit in hits}:
        raise UnavailableError(f"update: {doc_id} was upserted and not found")
    return seconds


def _seconds_to_lose(collection: Collection, text: str, doc_id: str) -> float:
    def change() -> list[Hit]:
        collection.delete([doc_id])
        return collection.search(text)

    hits, seconds = timed(change)
    if doc_id in {hit.doc_id for hit in hits}:
        raise UnavailableError(f"update: {doc_id} was deleted and found")
    return seconds


def _indexed_again(work: Workload, ours_ms: float) -> Row:
    """Return what a change costs where an index takes none."""
    name = f"{BM25S}: index again"
    if not all(map(find_spec, BM25S_NEEDS)):
        return Row(name, note=MISSING)
    say(f"update: {name}")
    bm25s_numba(work.documents[:10])
    theirs_ms = timed(lambda: bm25s_numba(work.documents))[1] * 1_000
    return Row(name, theirs_ms / ours_ms, {"p50_ms": theirs_ms})


# ----------------------------------------------------------------------------------------- serve


def serve(plan: Plan) -> Result:
    """Time the start of `querywright serve` on a collection that is there, and of what encodes by torch."""
    size = min(plan.size, _SERVED)
    work = Workload(size, 1, plan.seed)
    with tempfile.TemporaryDirectory() as folder:
        say("serve: index")
        _collection_to_serve(Path(folder), work)
        say("serve: start")
        starts = [_started(Path(folder), texts(work.queries)[0]) for _ in range(min(_STARTS, plan.rounds))]
    healthy, answered, work_done = (median(seconds) for seconds in zip(*starts, strict=True))
    figures = {"first_answer_s": answered, "healthz_s": healthy, "cpu_s": work_done}
    rows = [Row(f"{OURS} serve", 1.0, figures), _torch_row(answered)]
    setup = (
        f"{size:,} passages with vectors of {Settings().encoder}, from the start of the process to the first answer "
        f"over HTTP, files in the page cache"
    )
    return Result("serve", setup, rows)


class Drawn:
    """Stands for an encoder while a collection is made: any vectors will do there."""

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self.dimensions = encoder.dimensions
        self.reads = encoder.reads

    def encode_documents(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Return a unit vector a text."""
        shape = (len(texts), self.dimensions)
        vectors: Vectors = np.random.default_rng(len(texts)).standard_normal(shape, dtype=np.float32)
        if progress is not None:
            progress(len(texts))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return a unit vector a text."""
        return self.encode_documents(texts)


def _collection_to_serve(home: Path, work: Workload) -> None:
    spaces = load_spaces(Settings().encoder, lambda name: Drawn(load_encoder(name)))
    with closing(Collections(home, lambda: spaces)) as collections:
        collection = collections.create("bench")
        collection.upsert(Document(f"d{number:08}", text) for number, text in enumerate(texts(work.documents)))
        collection.flush()


def _started(home: Path, query: str) -> tuple[float, float, float]:
    """Return the seconds from the start of a server until it is healthy, until it has answered a search.

    Thirdly the processor's seconds that it took until its end, which other people's work hardly changes.
    """
    work, start = _children_seconds(), time.perf_counter()
    with _server(home) as url:
        httpx.get(f"{url}/healthz").raise_for_status()
        healthy = time.perf_counter() - start
        body = {"query": query, "collection": "bench"}
        answer = httpx.post(f"{url}/v1/search", json=body, timeout=_START_LIMIT).raise_for_status().json()
        answered = time.perf_counter() - start
    if not answer["hits"] or answer["degraded"]:
        raise UnavailableError(f"serve: the first answer was degraded: {answer['degraded']}")
    return healthy, answered, _children_seconds() - work


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


@contextmanager
def _server(home: Path) -> Iterator[str]:
    """Start a server with default settings; give its address when it is ready."""
    code = "from querywright.service.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, "serve", "--home", str(home), "--port", "0", "--no-demo", "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:  # noqa: S603 # ourselves
        late = threading.Timer(_START_LIMIT, process.kill)
        late.start()
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            line = process.stdout.readline()
            if not line:
                raise UnavailableError("serve: the server has ended, or was not ready in time")
            yield orjson.loads(line)["ready"]
        finally:
            late.cancel()
            process.terminate()


def _torch_row(ours: float) -> Row:
    """Time the start of what sentence-transformers needs to encode one query by the same model."""
    name = "sentence-transformers: one query encoded"
    if find_spec("sentence_transformers") is None:
        return Row(name, note=MISSING)
    say(f"serve: {name}")
    code = "import sys, sentence_transformers as s; s.SentenceTransformer(sys.argv[1]).encode_query(['ready?'])"
    command = [sys.executable, "-P", "-c", code, str(minilm_folder())]
    work = _children_seconds()
    _, theirs = timed(lambda: subprocess.run(command, check=True, capture_output=True))  # noqa: S603 # as written above
    return Row(name, theirs / ours, {"first_answer_s": theirs, "cpu_s": _children_seconds() - work})
