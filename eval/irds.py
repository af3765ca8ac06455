"""Data sets of ir_datasets, where that is installed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import DatasetError, InputError, MissingExtraError, QuerywrightError, UnavailableError
from ..retrieval.passage import Document
from ..rewrite.query import Query, Role, Turn
from .corpus import Corpus
from .dataset import Dataset, JudgedQuery, Queries, conversation_of

_TEXTS = ("raw_utterance", "utterance", "text", "query", "title")
_GOLDS = ("manual_rewritten_utterance", "resolved_utterance")


def read_ir_dataset(name: str) -> Dataset:
    """Return the data set that ir_datasets calls `name`; what it must download, it downloads.

    Topics of CAsT bring their conversation's earlier turns and their manual rewrite. Raises MissingExtraError where
    ir_datasets is not installed, InputError for a name that it does not know, DatasetError for a data set without
    documents, queries or judgments, UnavailableError for one that it cannot download.
    """
    if find_spec("ir_datasets") is None:
        hint = "pip install 'querywright[irds]'"
        raise MissingExtraError(f"data set 'irds:{name}': ir_datasets is not installed: {hint}")
    try:
        source = import_module("ir_datasets").load(name)
    except KeyError as error:
        raise InputError(f"data set 'irds:{name}': ir_datasets knows no data set of that name") from error
    for part in ("docs", "queries", "qrels"):
        if not getattr(source, f"has_{part}")():
            raise DatasetError(f"irds:{name}: {part}: expected some, but ir_datasets has none for it; see its subsets")
    try:
        return _read(name, source)
    except QuerywrightError:
        raise
    except Exception as error:  # each source of ir_datasets has its own ways to fail
        hint = "check the network, or the files that it wants put in place by hand"
        message = f"data set 'irds:{name}': ir_datasets could not read it ({type(error).__name__}): {hint}"
        raise UnavailableError(message) from error


def _read(name: str, source: Any) -> Dataset:  # noqa: ANN401 # ir_datasets is untyped
    place = Path(f"irds:{name}")
    queries = {judged.id: judged for judged in _queries(source)}
    ids = frozenset(document.doc_id for document in _documents(source))
    digest = hashlib.sha256(f"irds:{name}\n{len(ids)}".encode()).hexdigest()
    qrels: dict[str, dict[str, int]] = {}
    for judgment in source.qrels_iter():
        if judgment.query_id not in queries or judgment.doc_id not in ids:
            raise DatasetError(
                f"irds:{name}: qrels: query {judgment.query_id!r} or document {judgment.doc_id!r} unknown"
            )
        qrels.setdefault(judgment.query_id, {})[judgment.doc_id] = int(judgment.relevance)
    corpus = Corpus(ids, digest, partial(_documents, source))
    return Dataset.judged(name, place, Queries(queries), qrels, corpus, place)


def _documents(source: Any) -> Iterator[Document]:  # noqa: ANN401
    for document in source.docs_iter():
        title = getattr(document, "title", "") or ""
        text = getattr(document, "text", None)
        yield Document(document.doc_id, document.default_text() if text is None else text, title)


def _queries(source: Any) -> Iterator[JudgedQuery]:  # noqa: ANN401
    said: dict[str, list[Turn]] = {}
    for row in source.queries_iter():
        text = next((value for key in _TEXTS if (value := getattr(row, key, None))), "")
        if not text.strip():
            continue  # a turn of the system among the topics
        gold = next((value for key in _GOLDS if (value := getattr(row, key, None))), None)
        topic = getattr(row, "topic_number", None)
        history = said.setdefault(str(topic), []) if topic is not None else []
        query = Query(text, tuple(history), id=row.query_id)
        history.append(Turn(Role.USER, text))
        conversation = conversation_of(query) if topic is None else f"{topic}"
        yield JudgedQuery(row.query_id, query, gold, {}, conversation)
