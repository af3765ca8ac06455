"""Who is timed: our index and what users would pick in its place, each behind one function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..retrieval.analysis import analyze
from ..retrieval.collection import Collection
from ..retrieval.dense import Vectors
from ..retrieval.lexical import BM25, BM25Index, Vocabulary
from ..retrieval.passage import Document
from ..retrieval.spaces import Vector
from .speed_texts import Words

DEPTH = 100
"""How deep every lexical search and every leg goes."""

K = 10
"""How many hits a hybrid search returns."""

MISSING = "not installed: pip install 'querywright[bench]'"

_RRF_K = 60

Found = tuple[Sequence[int] | NDArray[np.integer[Any]], Sequence[float] | NDArray[np.floating[Any]]]
"""Numbers of documents with their scores, best first."""

LexicalSearch = Callable[[Sequence[Words]], list[Found]]
"""Answers some queries, given as words."""

HybridSearch = Callable[[str], list[str]]
"""Answers one query with the ids of documents, best first."""

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Peer(Generic[Made]):
    """One who is timed: what it is made by, the modules it takes, which share of the queries it is given."""

    name: str
    make: Made
    needs: tuple[str, ...] = ()
    share: float = 1.0

    @property
    def missing(self) -> bool:
        """Say whether a module that it takes is not installed."""
        return not all(map(find_spec, self.needs))

    def given(self, queries: Sequence[Any]) -> Sequence[Any]:
        """Return the queries of a round that it is given, at least one."""
        return queries[: max(1, round(len(queries) * self.share))]


# ----------------------------------------------------------------------------------- words only


def _ours(documents: Sequence[Words]) -> LexicalSearch:
    vocabulary = Vocabulary()
    bm25 = BM25()
    index = BM25Index.from_ids([vocabulary.ids(words) for words in documents], vocabulary, bm25.k1, bm25.b)

    def search(queries: Sequence[Words]) -> list[Found]:
        found = (index.search(query, DEPTH) for query in queries)
        return [(one.positions, one.scores) for one in found]

    return search


def _bm25s(documents: Sequence[Words], backend: str) -> LexicalSearch:
    bm25 = BM25()
    engine = import_module("bm25s").BM25(method="lucene", k1=bm25.k1, b=bm25.b, backend=backend)
    engine.index(documents, show_progress=False)
    known, depth = engine.vocab_dict, min(DEPTH, len(documents))

    def search(queries: Sequence[Words]) -> list[Found]:
        # It fails on a query without a known word.
        words = [[word for word in query if word in known] for query in queries]
        if not all(words):
            return [search([some])[0] if some else ((), ()) for some in words]
        places, scores = engine.retrieve(
            words, k=depth, show_progress=False, n_threads=int(backend == "numba"), backend_selection=backend
        )
        return list(zip(places, scores, strict=True))

    return search


def bm25s_numba(documents: Sequence[Words]) -> LexicalSearch:
    """Index with bm25s on numba; all queries of a call are searched in one compiled loop."""
    return _bm25s(documents, "numba")


def _bm25s_one_by_one(documents: Sequence[Words]) -> LexicalSearch:
    search = bm25s_numba(documents)
    return lambda queries: [search([query])[0] for query in queries]


def _bm25s_numpy(documents: Sequence[Words]) -> LexicalSearch:
    return _bm25s(documents, "numpy")


def _rank_bm25(documents: Sequence[Words]) -> LexicalSearch:
    bm25 = BM25()
    engine = import_module("rank_bm25").BM25Okapi(documents, k1=bm25.k1, b=bm25.b)

    def search(queries: Sequence[Words]) -> list[Found]:
        scored = map(engine.get_scores, queries)
        return [(top := np.argsort(scores)[::-1][:DEPTH], scores[top]) for scores in scored]

    return search


def _tantivy(documents: Sequence[Words]) -> LexicalSearch:
    module = import_module("tantivy")
    builder = module.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name="whitespace")
    index = module.Index(builder.build())
    writer = index.writer(200_000_000, 1)
    for words in documents:
        writer.add_document(module.Document(text=" ".join(words)))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def search(queries: Sequence[Words]) -> list[Found]:
        parsed = (index.parse_query(" ".join(query), ["text"]) for query in queries)
        return [_parted(searcher.search(query, DEPTH, count=False).hits) for query in parsed]

    return search


def _parted(hits: Sequence[tuple[float, Any]]) -> Found:
    return [address.doc for _, address in hits], [score for score, _ in hits]


OURS = "querywright"
BM25S = "bm25s, numba"

LEXICAL: Sequence[Peer[Callable[[Sequence[Words]], LexicalSearch]]] = (
    Peer(OURS, _ours),
    Peer(BM25S, bm25s_numba, ("bm25s", "numba")),
    Peer(f"{BM25S}, one by one", _bm25s_one_by_one, ("bm25s", "numba")),
    Peer("bm25s, numpy", _bm25s_numpy, ("bm25s",)),
    Peer("tantivy", _tantivy, ("tantivy",)),
    Peer("rank-bm25", _rank_bm25, ("rank_bm25",), share=0.05),
)
"""All engines, ours first."""


# ------------------------------------------------------------------------------ words and vectors


@dataclass(frozen=True, slots=True)
class Library:
    """Documents with their vectors, the vectors of texts that will be asked, an empty collection that looks them up."""

    ids: Sequence[str]
    texts: Sequence[str]
    vectors: Vectors
    query_vectors: Mapping[str, Vector]
    collection: Collection


class LookUp:
    """Stands for an encoder, so that encoding is not timed: vectors of texts that are known."""

    name = "bench"

    def __init__(self, vectors: Mapping[str, Vector], dimensions: int) -> None:
        self._vectors = vectors
        self.dimensions = dimensions

    def reads(self, text: str) -> bool:
        """Say whether `text` is known."""
        return text in self._vectors

    def encode_documents(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Return the vector of each text."""
        vectors = np.stack([self._vectors[text] for text in texts])
        if progress is not None:
            progress(len(texts))
        return vectors

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vector of each text."""
        return self.encode_documents(texts)


def _collection(library: Library) -> HybridSearch:
    """Fill the collection and save its index."""
    fill(library)
    return lambda text: [hit.doc_id for hit in library.collection.search(text, K)]


def fill(library: Library) -> None:
    """Put all documents into the collection, and flush it."""
    pairs = zip(library.ids, library.texts, strict=True)
    library.collection.upsert(Document(doc_id, text) for doc_id, text in pairs)
    library.collection.flush()


def _ensemble(library: Library) -> HybridSearch:
    """Make LangChain's EnsembleRetriever of its BM25Retriever and its FAISS store, both on what we are given."""
    embeddings = import_module("langchain_core.embeddings").Embeddings

    class Known(embeddings):  # type: ignore[misc, valid-type]
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [self.embed_query(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            vector: list[float] = library.query_vectors[text].tolist()
            return vector

    metadata = [{"id": name} for name in library.ids]
    words = import_module("langchain_community.retrievers").BM25Retriever.from_texts(
        library.texts, metadatas=metadata, preprocess_func=analyze, k=DEPTH
    )
    store = import_module("langchain_community.vectorstores").FAISS.from_embeddings(
        zip(library.texts, library.vectors, strict=True), Known(), metadatas=metadata
    )
    both = import_module("langchain_classic.retrievers").EnsembleRetriever(
        retrievers=[words, store.as_retriever(search_kwargs={"k": DEPTH})], weights=[0.5, 0.5]
    )
    return lambda text: [document.metadata["id"] for document in both.invoke(text)[:K]]


def _glued(library: Library) -> HybridSearch:
    """Make what an engineer would write: bm25s and a flat FAISS index, their ranks fused by hand."""
    words = bm25s_numba([analyze(text) for text in library.texts])
    nearest = import_module("faiss").IndexFlatIP(library.vectors.shape[1])
    nearest.add(library.vectors)

    def search(text: str) -> list[str]:
        lexical = np.asarray(words([analyze(text)])[0][0])
        dense = nearest.search(library.query_vectors[text][None], DEPTH)[1][0]
        scores: dict[int, float] = defaultdict(float)
        for ranked in (lexical, dense):
            for rank, number in enumerate(ranked.tolist(), start=1):
                scores[number] += 1 / (_RRF_K + rank)
        return [library.ids[number] for number in sorted(scores, key=scores.__getitem__, reverse=True)[:K]]

    return search


HYBRID: Sequence[Peer[Callable[[Library], HybridSearch]]] = (
    Peer(OURS, _collection),
    Peer(
        "LangChain EnsembleRetriever",
        _ensemble,
        ("langchain_classic", "langchain_community", "rank_bm25", "faiss"),
        share=0.05,
    ),
    Peer("bm25s + FAISS flat + RRF", _glued, ("bm25s", "numba", "faiss")),
)
"""Ours first."""
