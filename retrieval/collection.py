"""A named collection: a store with its lexical and dense index as one consistent snapshot."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from .. import ConflictError, InputError, NotFoundError, StorageError
from .analysis import analyze, is_chinese
from .dense import Encoder
from .fusion import convex
from .lexical import BM25, Vocabulary
from .passage import PASSAGE_CHARS, Document, Hit, Passage, check_doc_id, split
from .snapshot import DEPTH, Filter, Leg, Row, Snapshot, check_legs
from .store import Store, StoredDocument, StoredPassage, digest

__all__ = ["Collection", "Collections", "Filter", "Leg", "Snapshot", "check_k", "check_legs", "check_name"]

MAX_K = 1_000
"""More results than this are refused."""

BATCH_SIZE = 256
"""How many documents one transaction takes."""

BOTH_LEGS = (Leg.LEXICAL, Leg.DENSE)

_FILE = "documents.sqlite"
_DROPPED = ".dropped-"


def check_name(name: str) -> str:
    """Return `name`; raises InputError unless it is 1 to 64 of a-z, 0-9, `_` and `-`."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_-]{1,64}", name):
        raise InputError("collection: expected a name of 1 to 64 characters of a-z, 0-9, _ and -")
    return name


def check_k(k: int, most: int = MAX_K) -> int:
    """Return `k`; raises InputError unless it is a whole number from 1 to `most`."""
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= most:
        raise InputError(f"k: expected a whole number from 1 to {most}")
    return k


class Collection:
    """Documents in one folder, searched by words and vectors; safe to use from several threads.

    What `upsert` and `delete` have acknowledged is on disk, and found by the next search, in this process
    or another. Raises StorageError where the folder's files cannot be read or written, InputError where
    its vectors come from an encoder other than the given one.
    """

    def __init__(self, folder: Path, encoder: Encoder | None = None, bm25: BM25 = BM25()) -> None:  # noqa: B008 # frozen
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: cannot be made: {error.strerror}") from error
        self.name = folder.name
        self.token = secrets.token_hex(8)
        """Tells this opening from every other, also of a folder that was made anew."""
        self._encoder = encoder
        self._bm25 = bm25
        self._store = Store(folder / _FILE)
        self._lock = threading.Lock()
        self._vocabulary = Vocabulary()
        self._rows: dict[str, tuple[int, list[Row]]] = {}
        self._snapshot: Snapshot | None = None
        self._check_encoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; snapshots taken before stay usable."""
        self._store.close()

    def upsert(
        self,
        documents: Iterable[Document],
        *,
        whole: bool = True,
        batch_size: int = BATCH_SIZE,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Add or replace documents, batch by batch; return how many different ones were given.

        Each batch is encoded, then committed in one transaction, then acknowledged: `progress` hears how many
        documents are on disk so far. Where `documents` raises, batches before stay and nothing of the current
        one is written. Of two documents with one id the later wins; one that is stored already, unchanged,
        costs no encoding. With `whole` false, documents are split into passages.
        """
        if batch_size < 1:
            raise InputError(f"batch_size: expected 1 or more, got {batch_size}")
        seen: set[str] = set()
        source = iter(documents)
        while batch := list(islice(source, batch_size)):
            self._write({document.doc_id: document for document in batch}, None if whole else PASSAGE_CHARS)
            seen.update(document.doc_id for document in batch)
            if progress is not None:
                progress(len(seen))
        return len(seen)

    def delete(self, doc_ids: Iterable[str]) -> int:
        """Delete documents; return how many of `doc_ids` there were."""
        doc_ids = [doc_ids] if isinstance(doc_ids, str) else list(doc_ids)
        for doc_id in doc_ids:
            check_doc_id(doc_id)
        return self._store.delete(doc_ids)

    def get(self, doc_id: str) -> Document:
        """Return one document; raises NotFoundError if there is none of that id."""
        check_doc_id(doc_id)
        document = self._store.get(doc_id)
        if document is None:
            raise NotFoundError(f"doc_id: collection {self.name!r} has no document of that id")
        return document

    def documents(self, after: str | None = None, limit: int = 100) -> list[Document]:
        """Return up to `limit` documents in the order of their ids, beginning after the id `after`."""
        if after:
            check_doc_id(after)
        if not 1 <= limit <= MAX_K:
            raise InputError(f"limit: expected 1 to {MAX_K}, got {limit}")
        return self._store.documents(after, limit)

    def count(self) -> int:
        """Return how many documents there are."""
        return self._store.count()

    def search(
        self,
        text: str,
        k: int = 10,
        legs: Sequence[Leg | str] = BOTH_LEGS,
        filter: Filter | None = None,  # noqa: A002 - the word of the field
    ) -> list[Hit]:
        """Return the best `k` passages for `text`; where both legs read it, fused by their convex sum."""
        depth = max(check_k(k), DEPTH)
        snapshot = self.snapshot()
        rankings = list(snapshot.rank([text], check_legs(legs), depth, filter)[0].values())
        return snapshot.hits(rankings[0] if len(rankings) == 1 else convex(rankings), k)

    def snapshot(self) -> Snapshot:
        """Return the present state as an immutable view; the last one again while nothing has changed."""
        with self._lock:
            if self._snapshot is None or self._snapshot.generation != self._store.generation():
                self._snapshot = self._take_snapshot()
            return self._snapshot

    def _check_encoder(self) -> None:
        stored = self._store.encoder()
        if self._encoder is not None and stored not in ("", self._encoder.name):
            self._store.close()
            raise InputError(
                f"collection {self.name!r}: its vectors come from the encoder {stored!r}, not from "
                f"{self._encoder.name!r}: open it with {stored!r}, or drop it and index its documents again"
            )

    def _write(self, documents: dict[str, Document], max_chars: int | None) -> None:
        """Store those of `documents` that are new or changed, in one transaction."""
        stored = self._store.digests(documents)
        encoder = "" if self._encoder is None else self._encoder.name
        changed = []
        for doc_id, document in documents.items():
            content = digest(document, max_chars)
            found = stored.get(doc_id)
            if found is None or found[0] != content or encoder not in ("", found[1]):
                changed.append((document, split(document, max_chars), content))
        if changed:
            vectors = iter(self._encode([passage for _, passages, _ in changed for passage in passages]))
            self._store.write(
                [
                    StoredDocument(document, _stored(passages, vectors), content, encoder)
                    for document, passages, content in changed
                ],
                encoder,
            )

    def _encode(self, passages: Sequence[Passage]) -> list[bytes | None]:
        """Return a vector for each passage that the encoder reads, None for the others."""
        encoder = self._encoder
        if encoder is None:
            return [None] * len(passages)
        texts = [passage.indexed_text for passage in passages]
        readable = [number for number, text in enumerate(texts) if encoder.reads(text)]
        encoded = encoder.encode_documents([texts[number] for number in readable])
        vectors: list[bytes | None] = [None] * len(passages)
        for number, vector in zip(readable, encoded, strict=True):
            vectors[number] = vector.astype("<f4").tobytes()
        return vectors

    def _take_snapshot(self) -> Snapshot:
        """Read what changed since the last snapshot and make the next; the lock must be held."""
        with self._store.reading():
            generation = self._store.generation()
            generations = self._store.generations()
            rows = {doc_id: kept for doc_id, kept in self._rows.items() if generations.get(doc_id) == kept[0]}
            missing = [doc_id for doc_id in generations if doc_id not in rows]
            for stored, encoder in self._store.passages(missing if rows else None):
                doc_id = stored.passage.doc_id
                rows.setdefault(doc_id, (generations[doc_id], []))[1].append(self._row(stored, encoder))
        if len(rows) != len(generations):
            raise StorageError(f"collection {self.name!r}: damaged: it holds documents without passages")
        self._rows = rows
        ordered = sorted((row for _, some in rows.values() for row in some), key=lambda row: row.passage.passage_id)
        return Snapshot(generation, ordered, self._vocabulary, self._encoder, self._bm25)

    def _row(self, stored: StoredPassage, encoder: str) -> Row:
        """Analyse a passage; its vector counts only where it comes from the encoder in use."""
        vector = None
        if stored.vector is not None and self._encoder is not None and encoder == self._encoder.name:
            if len(stored.vector) != 4 * self._encoder.dimensions:
                raise StorageError(f"collection {self.name!r}: damaged: a vector of {len(stored.vector)} bytes")
            vector = np.frombuffer(stored.vector, dtype="<f4")
        return Row(stored.passage, self._vocabulary.ids(lexical_terms(stored.passage)), vector)


class Collections:
    """The collections in one folder, each opened once and kept open; safe to use from several threads.

    `encoder_factory` is called once, when the first collection is opened. Folders that hold no collection
    are ignored.
    """

    def __init__(
        self,
        home: Path,
        encoder_factory: Callable[[], Encoder | None] = lambda: None,
        bm25: BM25 = BM25(),  # noqa: B008 # frozen
    ) -> None:
        self._home = home
        self._encoder_factory = encoder_factory
        self._bm25 = bm25
        self._encoder: list[Encoder | None] = []
        self._open: dict[str, Collection] = {}
        self._files: dict[str, tuple[int, int] | None] = {}  # which file each open collection holds
        self._lock = threading.RLock()

    def open(self, name: str) -> Collection:
        """Return the collection called `name`; raises NotFoundError if there is none."""
        with self._lock:
            self._forget_replaced(name)
            if not self._exists(name):
                raise NotFoundError(f"collection {name!r}: there is none of that name")
            return self._opened(name)

    def count(self, name: str) -> int:
        """Return how many documents the collection called `name` holds; no encoder is needed for that."""
        with self._lock:
            self._forget_replaced(name)
            if name in self._open:
                return self._open[name].count()
            if not self._exists(name):
                raise NotFoundError(f"collection {name!r}: there is none of that name")
        try:
            store = Store(self._home / name / _FILE)
        except StorageError:
            if self._exists(name):
                raise
            raise NotFoundError(f"collection {name!r}: there is none of that name") from None
        try:
            return store.count()
        finally:
            store.close()

    def create(self, name: str) -> Collection:
        """Make an empty collection; raises ConflictError if there is one, or another folder, of that name."""
        with self._lock, _home_errors(self._home):
            folder = self._home / check_name(name)
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise ConflictError(f"collection {name!r}: there is one already, or another folder of that name")
            self._forget(name)
            return self._opened(name)

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        if not self._home.is_dir():
            return []
        with _home_errors(self._home):
            return sorted(
                path.parent.name
                for path in self._home.glob(f"*/{_FILE}")
                if re.fullmatch(r"[a-z0-9_-]{1,64}", path.parent.name)
            )

    def drop(self, name: str) -> None:
        """Delete a collection with all its documents; raises NotFoundError if there is none."""
        with self._lock, _home_errors(self._home):
            if not self._exists(name):
                raise NotFoundError(f"collection {name!r}: there is none of that name")
            self._forget(name)
            # Renamed first, so that whatever interrupts the deletion leaves no half collection behind.
            doomed = self._home / f"{_DROPPED}{name}"
            shutil.rmtree(doomed, ignore_errors=True)
            (self._home / name).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def close(self) -> None:
        """Close every collection that was opened."""
        with self._lock:
            for name in list(self._open):
                self._forget(name)

    def _exists(self, name: str) -> bool:
        return (self._home / check_name(name) / _FILE).is_file()

    def _opened(self, name: str) -> Collection:
        if name not in self._open:
            if not self._encoder:
                self._encoder.append(self._encoder_factory())
            before = self._file(name)  # were it replaced while it is opened, the next call would see that
            self._open[name] = Collection(self._home / name, self._encoder[0], self._bm25)
            self._files[name] = before or self._file(name)
        return self._open[name]

    def _file(self, name: str) -> tuple[int, int] | None:
        """Say which file the collection called `name` is now; None if there is none."""
        try:
            found = (self._home / check_name(name) / _FILE).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _forget_replaced(self, name: str) -> None:
        """Close a collection that another process dropped, and perhaps made anew: writes to it would be lost."""
        if self._file(name) != self._files.get(name):
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._files.pop(name, None)
        collection = self._open.pop(name, None)
        if collection is not None:
            collection.close()


def lexical_terms(passage: Passage) -> list[str]:
    """Return the terms of a passage as BM25 counts them: those of the title twice, they say what it is about."""
    return [*analyze(passage.title), *analyze(passage.indexed_text)]


@contextmanager
def _home_errors(home: Path) -> Iterator[None]:
    """Turn what the file system raises into our errors."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{home}: cannot be read or written: {error.strerror or error}") from error


def _stored(passages: Sequence[Passage], vectors: Iterator[bytes | None]) -> tuple[StoredPassage, ...]:
    """Join passages with the next vectors."""
    return tuple(
        StoredPassage(passage, "zh" if is_chinese(passage.indexed_text) else "en", next(vectors))
        for passage in passages
    )
