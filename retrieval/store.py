"""SQLite as the truth: documents, their passages and vectors. Every index can be rebuilt from it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from .. import InputError, StorageError, UnavailableError
from .passage import Document, Passage, Value

FORMAT = 2
"""The version of the tables below; an older store is brought up to it when it is opened, a newer one is refused."""

STORE_FILE = "documents.sqlite"
"""What the file is called in a collection's folder."""

BUSY_MS = 10_000
"""How long a write waits for another process's."""

LARGEST_STEP = 2**30
"""A write raises the generation by a random step of at most this."""

_RESERVE = 2**22 + 2**18
"""So many bytes are kept for deletions on a full disk. SQLite must write before it can free anything: the thousand
pages that may wait in its log for their place, then the deletion."""

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    doc_id TEXT NOT NULL PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL,
    digest BLOB NOT NULL, encoder TEXT NOT NULL, generation INTEGER NOT NULL, passages INTEGER NOT NULL
) STRICT;
-- The text is NULL where it is the whole of the document's.
CREATE TABLE passages (
    passage_id TEXT NOT NULL PRIMARY KEY, doc_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
    ordinal INTEGER NOT NULL, text TEXT, language TEXT NOT NULL, UNIQUE (doc_id, ordinal)
) STRICT;
"""

_VECTORS = """
CREATE TABLE vectors (
    passage_id TEXT NOT NULL REFERENCES passages ON DELETE CASCADE, space TEXT NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (passage_id, space)
) STRICT;
-- Which documents there are, and since when, without reading their texts.
CREATE INDEX documents_written ON documents (generation, doc_id);
"""

SCHEMA = _TABLES + _VECTORS
"""The tables of a store, empty."""

_FROM_1 = f"""
{_VECTORS}
INSERT INTO vectors SELECT p.passage_id, d.encoder, p.vector
    FROM passages p JOIN documents d USING (doc_id) WHERE p.vector IS NOT NULL;
ALTER TABLE passages DROP COLUMN vector;
UPDATE meta SET value = 2 WHERE key = 'format';
"""  # noqa: S608 # of constants


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage with what was computed from it: its language ("zh" or "en"), and its vectors by their space."""

    passage: Passage
    language: str
    vectors: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document with its passages, the digest of its content and the name of its encoder ("" for none)."""

    document: Document
    passages: tuple[StoredPassage, ...]
    digest: bytes
    encoder: str


class DiskFullError(StorageError):
    """SQLite found no space for a write."""


class UnreadableError(StorageError):
    """What a file holds is not a store that this version reads; trying again will not help."""


class Store:
    """One SQLite file, safe to use from several threads and processes.

    Each write is one transaction that is on disk when the call returns, and moves the generation. Raises
    StorageError for a file that cannot be read or written, UnavailableError while another process writes
    for too long.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reserve = path.with_name(f"{path.name}-reserve")
        self._lock = threading.RLock()
        with self._errors():
            self._connection = apsw.Connection(str(path))
        try:
            self._prepare()
            self._keep_reserve()
        except BaseException:
            with suppress(apsw.Error):  # the error that came first is the one to tell
                self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; any later call raises StorageError."""
        with self._lock, self._errors():
            self._connection.close()

    def generation(self) -> int:
        """Return the number that each write raises, in whatever process.

        It rises by a random step: should a copy of the file be put back, what is written then gets other numbers
        than what was written before.
        """
        return int(self._value("SELECT value FROM meta WHERE key = 'generation'"))

    def encoder(self) -> str:
        """Return the name of the encoder whose vectors are searched, "" while there are none."""
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
        """Add or replace `documents` in one transaction; `encoder` names what their vectors come from."""
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
            self._connection.executemany("INSERT INTO passages VALUES (?, ?, ?, ?, ?)", passages)
            self._insert_vectors(
                (item.passage.passage_id, item.vectors) for stored in documents for item in stored.passages
            )
            if encoder:
                self._connection.execute("UPDATE meta SET value = ? WHERE key = 'encoder' AND value = ''", (encoder,))

    def delete(self, doc_ids: Iterable[str]) -> int:
        """Delete `doc_ids` in one transaction, on a full disk too; return how many of them there were."""
        doc_ids = list(doc_ids)
        try:
            return self._delete(doc_ids)
        except DiskFullError:
            with suppress(OSError):
                self._reserve.unlink()
            self._empty_log()
        try:
            return self._delete(doc_ids)
        finally:
            self._empty_log()
            self._keep_reserve()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let several reads see one generation."""
        with self._lock, self._errors():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def written_since(self, generation: int) -> dict[str, int]:
        """Return by doc_id the generation of each document that was written after `generation`."""
        return dict(self._rows("SELECT doc_id, generation FROM documents WHERE generation > ?", (generation,)))

    def passages(self, doc_ids: Iterable[str] | None, spaces: Sequence[str] = ()) -> Iterator[StoredPassage]:
        """Yield the passages of `doc_ids` (of all documents where that is None) with their vectors of `spaces`.

        They come in the order of their ids.
        """
        chosen = "" if doc_ids is None else "WHERE d.doc_id IN (SELECT value FROM json_each(?1))"
        query = f"""
            SELECT p.passage_id, d.doc_id, d.title, coalesce(p.text, d.text), d.metadata, p.language
            FROM passages p JOIN documents d USING (doc_id) {chosen} ORDER BY p.passage_id
        """  # noqa: S608 - `chosen` is one of two constants
        bound = () if doc_ids is None else (json.dumps(list(doc_ids)),)
        with self._lock, self._errors():
            vectors = self._vectors(doc_ids, spaces)
            for row in self._connection.execute(query, bound):
                passage = Passage(row[0], row[1], row[2], row[3], _metadata(row[4]))
                yield StoredPassage(passage, row[5], vectors.get(row[0], {}))

    def encoded_otherwise(self, encoder: str) -> bool:
        """Say whether there are documents whose vectors come from anything but `encoder`."""
        return bool(self._rows("SELECT 1 FROM documents WHERE encoder <> ? LIMIT 1", (encoder,)))

    def spaces_of(self, after: str, limit: int) -> list[tuple[Passage, frozenset[str]]]:
        """Return up to `limit` passages with ids after `after`, in their order, and the spaces they have vectors of."""
        query = """
            SELECT p.passage_id, d.doc_id, d.title, coalesce(p.text, d.text), d.metadata,
                   (SELECT json_group_array(v.space) FROM vectors v WHERE v.passage_id = p.passage_id)
            FROM passages p JOIN documents d USING (doc_id)
            WHERE p.passage_id > ? ORDER BY p.passage_id LIMIT ?
        """
        rows = self._rows(query, (after, limit))
        return [
            (Passage(row[0], row[1], row[2], row[3], _metadata(row[4])), frozenset(json.loads(row[5]))) for row in rows
        ]

    def add_vectors(self, passages: Sequence[tuple[Passage, Mapping[str, bytes]]]) -> None:
        """Add vectors to passages, unless their text has changed since; what is searched does not change."""
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection_end():
                self._insert_vectors(
                    (passage.passage_id, vectors) for passage, vectors in passages if self._holds(passage)
                )

    def switch_encoder(self, encoder: str, spaces: Sequence[str], since: int) -> bool:
        """Search the vectors of `spaces`, which come from `encoder`, from now on; drop all others.

        Return False, and leave them, where documents came after the generation `since` that another encoder read.
        """
        with self._transaction() as generation:
            if self._rows("SELECT 1 FROM documents WHERE generation > ? AND encoder <> ? LIMIT 1", (since, encoder)):
                return False
            self._connection.execute(
                "DELETE FROM vectors WHERE space NOT IN (SELECT value FROM json_each(?))", (json.dumps(list(spaces)),)
            )
            self._connection.execute("UPDATE meta SET value = ? WHERE key = 'encoder'", (encoder,))
            # All of them: whoever has read one has read other vectors.
            self._connection.execute("UPDATE documents SET encoder = ?, generation = ?", (encoder, generation))
        return True

    def _delete(self, doc_ids: Sequence[str]) -> int:
        with self._transaction():
            return self._forget(doc_ids)

    def _empty_log(self) -> None:
        """Bring all that was written to its place and free the space of the log, if that can be done now."""
        with suppress(StorageError, UnavailableError):
            self._rows("PRAGMA wal_checkpoint(TRUNCATE)", ())

    def _keep_reserve(self) -> None:
        """Make the reserve unless it is there; without the space for it, the next opening tries again."""
        with suppress(OSError):
            if not self._reserve.exists() or self._reserve.stat().st_size < _RESERVE:
                try:
                    self._reserve.write_bytes(bytes(_RESERVE))
                except OSError:
                    self._reserve.unlink()

    def _holds(self, passage: Passage) -> bool:
        """Say whether `passage` is stored as it is given."""
        rows = self._rows(
            "SELECT d.title, coalesce(p.text, d.text) FROM passages p JOIN documents d USING (doc_id) "
            "WHERE p.passage_id = ?",
            (passage.passage_id,),
        )
        return rows == [(passage.title, passage.text)]

    def _vectors(self, doc_ids: Iterable[str] | None, spaces: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """Return the vectors of `spaces` by passage_id and space."""
        chosen = "" if doc_ids is None else "AND p.doc_id IN (SELECT value FROM json_each(?2))"
        query = f"""
            SELECT v.passage_id, v.space, v.vector FROM vectors v JOIN passages p USING (passage_id)
            WHERE v.space IN (SELECT value FROM json_each(?1)) {chosen}
        """  # noqa: S608 - `chosen` is one of two constants
        found: dict[str, dict[str, bytes]] = {}
        if spaces:
            bound = (json.dumps(list(spaces)),) + (() if doc_ids is None else (json.dumps(list(doc_ids)),))
            for passage_id, space, vector in self._connection.execute(query, bound):
                found.setdefault(passage_id, {})[space] = vector
        return found

    def _insert_vectors(self, vectors: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)",
            ((passage_id, space, vector) for passage_id, some in vectors for space, vector in some.items()),
        )

    def _prepare(self) -> None:
        """Set the connection up; make the tables in a new file, check their version in another."""
        with self._errors():
            self._connection.set_busy_timeout(BUSY_MS)
            tables = self._rows("SELECT name FROM sqlite_schema WHERE type = 'table'", ())
            if tables and ("meta",) not in tables:
                raise UnreadableError(f"{self._path}: an SQLite file, but not of a collection; it is left alone")
            self._connection.pragma("journal_mode", "wal")
            self._connection.pragma("synchronous", "full")
            self._connection.pragma("foreign_keys", True)
            if not tables or self._format() != FORMAT:  # else without waiting for a process that writes
                self._create()
        if (found := self._format()) != FORMAT:
            raise UnreadableError(
                f"{self._path}: written in format {'unknown' if found is None else found}, this version reads "
                f"formats up to {FORMAT}: index the collection again, or use the version that wrote it"
            )

    def _format(self) -> object:
        rows = self._rows("SELECT value FROM meta WHERE key = 'format'", ())
        return rows[0][0] if rows else None

    def _create(self) -> None:
        """Make the tables, or bring those of an older version up to date; another process may have done so."""
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection_end():
            if not self._rows("SELECT name FROM sqlite_schema WHERE name = 'meta'", ()):
                _sync_parents(self._path)
                self._connection.execute(SCHEMA)
                self._connection.executemany(
                    "INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), ("generation", 0), ("encoder", "")]
                )
            elif self._format() == 1:
                self._connection.execute(_FROM_1)

    @contextmanager
    def _transaction(self) -> Iterator[int]:
        """Run a write transaction and hand it the generation that it makes."""
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection_end():
                step = 1 + secrets.randbelow(LARGEST_STEP)
                self._connection.execute("UPDATE meta SET value = value + ? WHERE key = 'generation'", (step,))
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

    def _errors(self) -> AbstractContextManager[None]:
        return sqlite_errors(self._path)


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises about the file `path` into our errors."""
    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise UnavailableError(f"{path}: another process is writing; try again") from error
    except apsw.FullError as error:
        raise DiskFullError(f"{path}: the disk is full; nothing of this write was kept") from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise UnreadableError(f"{path}: damaged or no SQLite file ({error}); restore it") from error
    except (apsw.SQLError, apsw.ConstraintError, apsw.MismatchError) as error:
        raise UnreadableError(f"{path}: damaged: {error}") from error
    except apsw.ConnectionClosedError as error:
        raise StorageError(f"{path}: the collection is closed") from error
    except apsw.Error as error:
        raise StorageError(f"{path}: cannot be read or written: {error}") from error


def digest(document: Document, max_chars: int | None) -> bytes:
    """Return the digest of all that a stored document depends on: its content and how it is split."""
    content = [document.title, document.text, _metadata_json(document), max_chars]
    return hashlib.sha256(json.dumps(content).encode()).digest()


def _sync_parents(path: Path) -> None:
    """Force the names of the folders that hold `path` to disk, which may all be new; SQLite forces those of files."""
    for folder in path.resolve().parent.parents:
        with suppress(PermissionError):  # where nothing can be read, nothing was made
            file = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(file)
            except OSError as error:
                # Some file systems keep names without being asked, and refuse.
                if error.errno == errno.EIO:
                    raise StorageError(f"{folder}: cannot be written: {error.strerror}") from error
            finally:
                os.close(file)


def _document_row(stored: StoredDocument, generation: int) -> tuple[Any, ...]:
    document = stored.document
    content = (document.doc_id, document.title, document.text, _metadata_json(document))
    return (*content, stored.digest, stored.encoder, generation, len(stored.passages))


def _passage_row(stored: StoredPassage, ordinal: int, document: Document) -> tuple[Any, ...]:
    passage = stored.passage
    text = None if passage.text == document.text else passage.text
    return (passage.passage_id, passage.doc_id, ordinal, text, stored.language)


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
