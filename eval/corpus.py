"""Where the documents of a data set come from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from .. import DatasetError, InputError
from ..retrieval.collection import Collection
from ..retrieval.passage import Document, check_doc_id
from ..retrieval.sources import keeps_whole, read_source
from .rows import json_rows, refuse_twice


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents that can be read again and again; `digest` names their content, so that it is encoded once.

    `collection` is the name of the collection that holds them already, if they came from one.
    """

    ids: frozenset[str]
    digest: str
    read: Callable[[], Iterable[Document]]
    whole: bool = True
    collection: str | None = None

    @classmethod
    def of_rows(cls, path: Path, source: Path) -> Corpus:
        """Return the corpus in the JSON Lines file `path`, which belongs to the data set `source`."""
        return cls(_read_doc_ids(path), _file_digest(path), partial(read_source, source))

    @classmethod
    def of_source(cls, path: Path) -> Corpus:
        """Return the corpus in `path`: a BEIR folder, JSON Lines, Markdown or text; a file or a folder."""
        ids, digest = _read_all(_dataset_errors(read_source(path)))
        if not ids:
            raise DatasetError(f"{path}:1: corpus: expected at least one document, but there is none")
        return cls(ids, digest, partial(read_source, path), keeps_whole(path))

    @classmethod
    def of_collection(cls, collection: Collection) -> Corpus:
        """Return the documents that `collection` holds."""
        ids, digest = _read_all(_documents(collection))
        return cls(ids, digest, partial(_documents, collection), collection=collection.name)


def _read_doc_ids(path: Path) -> frozenset[str]:
    lines: dict[str, int] = {}
    for row in json_rows(path):
        doc_id = row.identifier("_id")
        try:
            check_doc_id(doc_id)
        except InputError as error:
            raise row.error("_id", str(error)) from error
        refuse_twice(row, doc_id, lines)
        row.text("text")
        if row.data.get("title") is not None:
            row.text("title")
    if not lines:
        raise DatasetError(f"{path}:1: file: expected at least one document, but it is empty")
    return frozenset(lines)


def _read_all(documents: Iterable[Document]) -> tuple[frozenset[str], str]:
    """Return the ids of `documents` and the digest of all that they hold."""
    ids: set[str] = set()
    digest = hashlib.sha256()
    for document in documents:
        ids.add(document.doc_id)
        row = [document.doc_id, document.title, document.text, dict(document.metadata)]
        digest.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) + b"\n")
    return frozenset(ids), digest.hexdigest()


def _documents(collection: Collection) -> Iterator[Document]:
    after: str | None = None
    while page := collection.documents(after, limit=1_000):
        yield from page
        after = page[-1].doc_id


def _dataset_errors(documents: Iterable[Document]) -> Iterator[Document]:
    try:
        yield from documents
    except InputError as error:
        raise DatasetError(str(error)) from error


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
