"""SQLite as the truth: documents, their passages and vectors. Every index can be rebuilt from it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from .. import InputError, StorageError, UnavailableError
from .passage import Document, Passage, Value

FORMAT = 1
"""The version of the tables below; a store of another version is refused."""

_BUSY_MS = 10_000

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    doc_id TEXT NOT NULL PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL,
    digest BLOB NOT NULL, encoder TEXT NOT NULL, generation INTEGER NOT NULL, passages INTEGER NOT NULL
) STRICT;
-- The text is NULL where it is the whole of the document's.
CREATE TABLE passages (
    passage_id TEXT NOT NULL PRIMARY KEY, doc_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
    ordinal INTEGER NOT NULL, text TEXT, language TEXT NOT NULL, vector BLOB, UNIQUE (doc_id, ordinal)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage with what was computed from it: its language ("zh" or "en") and perhaps its vector."""

    passage: Passage
    language: str
    vector: bytes | None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document with its passages, the digest of its content and the name of its encoder ("" for none)."""

    document: Document
    passages: tuple[StoredPassage, ...]
    digest: bytes
    encoder: str


class Store:
    """One SQLite file, safe to use from several threads and processes.

    Each write is one transaction that is on disk when the call returns, and moves the generation. Raises
    StorageError for a file that cannot be read or written, UnavailableError while another process writes
    for too long.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._errors():
            self._connection = apsw.Connection(str(path))
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; any later call raises StorageError."""
        with self._lock, self._errors():
            self._connection.close()

    def generation(self) -> int:
        """Return the number that each write moves, in whatever process."""
        return int(self._value("SELECT value FROM meta WHERE key = 'generation'"))

    def encoder(self) -> str:
        """Return the name of the encoder that the vectors come from, "" while there are none."""
        return str(self._value("SELECT value FROM meta WHERE key = 'encoder'"))

    def count(self) -> int:
        """Return how many documents there are."""
        return int(self._value("SELECT count(*) FROM documents"))

    def get(self, doc_id: str) -> Document | None:
        """Return the document called `doc_id`, None if there is none."""
        rows = self._rows("SELECT doc_id, text, title, metadata FROM documents WHERE doc_id = ?", (doc_id,))
        return _document(rows[0]) if rows else None

    def documents(self, after: str | None, limit: int) -> list[Document]:
        """Return up to `limit` documents in the order of their ids, those after `after`."""
        rows = self._rows(
            "SELECT doc_id, text, title, metadata FROM documents WHERE doc_id > ? ORDER BY doc_id LIMIT ?",
            (after or "", limit),
        )
        return [_document(row) for row in rows]

    def digests(self, doc_ids: Iterable[str]) -> dict[str, tuple[bytes, str]]:
        """Return digest and encoder of those of `doc_ids` that are stored."""
        rows = self._rows(
            "SELECT doc_id, digest, encoder FROM documents WHERE doc_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(doc_ids)),),
        )
        return {row[0]: (row[1], row[2]) for row in rows}

    def write(self, documents: Sequence[StoredDocument], encoder: str = "") -> None:
        """Add or replace `documents` in one transaction; `encoder` names where their vectors come from."""
        passages = [
            _passage_row(item, number, stored.document)
            for stored in documents
            for number, item in enumerate(stored.passages)
        ]
        with self._transaction() as generation:
            self._forget(stored.document.doc_id for stored in documents)
            self._connection.executemany(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [_document_row(stored, generation) for stored in documents],
            )
            self._connection.executemany("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?)", passages)
            if encoder:
                self._connection.execute("UPDATE meta SET value = ? WHERE key = 'encoder'", (encoder,))

    def delete(self, doc_ids: Iterable[str]) -> int:
        """Delete `doc_ids` in one transaction; return how many of them there were."""
        with self._transaction():
            return self._forget(doc_ids)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let several reads see one generation."""
        with self._lock, self._errors():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def generations(self) -> dict[str, int]:
        """Return by doc_id the generation in which each document was written."""
        return dict(self._rows("SELECT doc_id, generation FROM documents", ()))

    def passages(self, doc_ids: Iterable[str] | None = None) -> Iterator[tuple[StoredPassage, str]]:
        """Yield each passage of `doc_ids` (of all documents where that is None) with its encoder's name."""
        chosen = "" if doc_ids is None else "WHERE d.doc_id IN (SELECT value FROM json_each(?))"
        query = f"""
            SELECT p.passage_id, d.doc_id, d.title, coalesce(p.text, d.text), d.metadata,
                   p.language, p.vector, d.encoder
            FROM documents d JOIN passages p USING (doc_id) {chosen}
        """  # noqa: S608 - `chosen` is one of two constants
        bound = () if doc_ids is None else (json.dumps(list(doc_ids)),)
        with self._lock, self._errors():
            for row in self._connection.execute(query, bound):
                passage = Passage(row[0], row[1], row[2], row[3], _metadata(row[4]))
                yield StoredPassage(passage, row[5], row[6]), row[7]

    def _prepare(self) -> None:
        """Set the connection up; make the tables in a new file, check their version in another."""
        with self._errors():
            self._connection.set_busy_timeout(_BUSY_MS)
            tables = self._rows("SELECT name FROM sqlite_schema WHERE type = 'table'", ())
            if tables and ("meta",) not in tables:
                raise StorageError(f"{self._path}: an SQLite file, but not of a collection; it is left alone")
            self._connection.pragma("journal_mode", "wal")
            self._connection.pragma("synchronous", "full")
            self._connection.pragma("foreign_keys", True)
            self._create()
        found = self._rows("SELECT value FROM meta WHERE key = 'format'", ())
        if found != [(FORMAT,)]:
            raise StorageError(
                f"{self._path}: written in format {found[0][0] if found else 'unknown'}, this version reads "
                f"format {FORMAT}: index the collection again, or use the version that wrote it"
            )

    def _create(self) -> None:
        """Make the tables unless they are there, another process' perhaps."""
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection_end():
            if not self._rows("SELECT name FROM sqlite_schema WHERE name = 'meta'", ()):
                self._connection.execute(_SCHEMA)
                self._connection.executemany(
                    "INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), ("generation", 0), ("encoder", "")]
                )

    @contextmanager
    def _transaction(self) -> Iterator[int]:
        """Run a write transaction and hand it the generation that it makes."""
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection_end():
                self._connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
                yield self.generation()

    @contextmanager
    def _connection_end(self) -> Iterator[None]:
        """Commit what was begun, or roll it back where anything went wrong."""
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _forget(self, doc_ids: Iterable[str]) -> int:
        self._connection.execute(
            "DELETE FROM documents WHERE doc_id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(doc_ids)),),
        )
        return self._connection.changes()

    def _rows(self, query: str, bound: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock, self._errors():
            return list(self._connection.execute(query, bound))

    def _value(self, query: str) -> Any:  # noqa: ANN401 - SQLite's own types
        rows = self._rows(query, ())
        if not rows:
            raise StorageError(f"{self._path}: damaged: its meta table lacks a row")
        return rows[0][0]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what SQLite raises into our errors."""
        try:
            yield
        except (apsw.BusyError, apsw.LockedError) as error:
            raise UnavailableError(f"{self._path}: another process is writing; try again") from error
        except apsw.FullError as error:
            raise StorageError(f"{self._path}: the disk is full; nothing of this write was kept") from error
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise StorageError(f"{self._path}: damaged or no SQLite file ({error}); restore it") from error
        except apsw.ConnectionClosedError as error:
            raise StorageError(f"{self._path}: the collection is closed") from error
        except apsw.Error as error:
            raise StorageError(f"{self._path}: cannot be read or written: {error}") from error


def digest(document: Document, max_chars: int | None) -> bytes:
    """Return the digest of all that a stored document depends on: its content and how it is split."""
    content = [document.title, document.text, _metadata_json(document), max_chars]
    return hashlib.sha256(json.dumps(content).encode()).digest()


def _document_row(stored: StoredDocument, generation: int) -> tuple[Any, ...]:
    document = stored.document
    content = (document.doc_id, document.title, document.text, _metadata_json(document))
    return (*content, stored.digest, stored.encoder, generation, len(stored.passages))


def _passage_row(stored: StoredPassage, ordinal: int, document: Document) -> tuple[Any, ...]:
    passage = stored.passage
    text = None if passage.text == document.text else passage.text
    return (passage.passage_id, passage.doc_id, ordinal, text, stored.language, stored.vector)


def _metadata_json(document: Document) -> str:
    try:
        return json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"document {document.doc_id!r}: metadata: {error}") from error


def _metadata(text: str) -> Mapping[str, Value]:
    if text == "{}":
        return {}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()}


def _document(row: tuple[Any, ...]) -> Document:
    return Document(row[0], row[1], row[2], _metadata(row[3]))
