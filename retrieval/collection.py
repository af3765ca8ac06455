"""A named collection: a store with its lexical and dense indexes as one consistent snapshot."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile, tee
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from .. import InputError, NotFoundError, QuerywrightError, StorageError, UnavailableError
from .analysis import analyze, is_chinese
from .encoders import Encoder
from .filters import Filter
from .fitting import Fusion, load_fusion
from .fusion import Ranking, fuse
from .lexical import Vocabulary
from .passage import PASSAGE_CHARS, Document, Hit, Passage, check_doc_id, split
from .segment import Indexing, Row, Segment
from .segment_files import keeps, made_as, read_segment, write_segment
from .snapshot import DEPTH, Leg, Snapshot, check_legs, shares
from .spaces import Spaces, Vector, names_of, spaces_of
from .store import STORE_FILE, Store, StoredDocument, StoredPassage, digest

__all__ = ["STORE_FILE", "Collection", "Filter", "Leg", "Snapshot", "check_k", "check_legs"]

MAX_K = 1_000
"""More results than this are refused."""

BATCH_SIZE = 256
"""How many documents one transaction takes."""

BOTH_LEGS = (Leg.LEXICAL, Leg.DENSE)

LANGUAGES = ("en", "zh")

Encode = Callable[[Iterable[Sequence[str]]], Iterator[list[dict[str, Vector]]]]
"""Returns the vectors of groups of texts as `Spaces.encode_documents` does, in order; may read some groups ahead."""

_AT_ONCE = 5_000
"""So many passages are indexed anew at every change: that takes a tenth of a second."""

_DELTA_SHARE = 0.1
"""A delta that is more of its base than this, or as much of it deleted, is merged in the background."""

_log = logging.getLogger(__name__)


def check_k(k: int, most: int = MAX_K) -> int:
    """Return `k`; raises InputError unless it is a whole number from 1 to `most`."""
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= most:
        raise InputError(f"k: expected a whole number from 1 to {most}")
    return k


@dataclass(frozen=True, slots=True)
class _Changed:
    """A document that is new or changed, its passages, and the digest of its content."""

    document: Document
    passages: list[Passage]
    content: bytes


@dataclass(frozen=True, slots=True)
class _Batch:
    """The documents of one transaction, and which of them must be written."""

    number: int
    doc_ids: tuple[str, ...]
    changed: tuple[_Changed, ...]

    def texts(self) -> list[str]:
        """Return what is to be encoded."""
        return [passage.indexed_text for one in self.changed for passage in one.passages]


class Collection:
    """Documents in one folder, searched by words and vectors; safe to use from several threads.

    What `upsert` and `delete` have acknowledged is on disk, and found by the next search, in this process
    or another. Raises StorageError where the folder's files cannot be read or written, InputError where
    its vectors come from an encoder other than the given one.

    What was written to a large collection is scored by the statistics of what was there before, until `flush`, or
    a merge in the background, makes its index as a clean build would.
    """

    def __init__(
        self,
        folder: Path,
        encoder: Encoder | Spaces | None = None,
        indexing: Indexing = Indexing(),  # noqa: B008 # frozen
        load: Callable[[str], Encoder] | None = None,
    ) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder}: cannot be made: {error.strerror}") from error
        self.name = folder.name
        self.token = secrets.token_hex(8)
        """Tells this opening from every other, also of a folder that was made anew."""
        self._folder = folder
        self._load = load
        self._indexing = indexing
        self._store = Store(folder / STORE_FILE)
        try:
            self._wanted = spaces_of(encoder)
            self._spaces = self._serving()
        except BaseException:
            self._store.close()
            raise
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._merging: threading.Thread | None = None
        self._merge_again = False
        self._closed = False
        self._base: Segment | None = None
        self._base_generations: Mapping[str, int] = {}
        self._known: Mapping[str, int] = {}
        self._delta: dict[str, tuple[int, list[Row]]] = {}
        self._snapshot: Snapshot | None = None
        self._saved = -1
        self._bytes: dict[str, int] = {}  # how long the vectors of each space are

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, *, wait: bool = True) -> None:
        """Close the store; snapshots taken before stay usable. Without `wait`, a merge under way ends unsaved."""
        self._closed = True
        if wait and (merging := self._merging) is not None:
            merging.join()
        self._store.close()

    def upsert(
        self,
        documents: Iterable[Document],
        *,
        whole: bool = True,
        batch_size: int = BATCH_SIZE,
        progress: Callable[[int], None] | None = None,
        encode: Encode | None = None,
    ) -> int:
        """Add or replace documents, batch by batch; return how many different ones were given.

        Each batch is encoded, then committed in one transaction, then acknowledged: `progress` hears how many
        documents are on disk so far. Where `documents` raises, batches before stay and nothing of the current
        one is written. Of two documents with one id the later wins; one that is stored already, unchanged,
        costs no encoding. With `whole` false, documents are split into passages. `encode` encodes elsewhere: batches
        are read ahead for it, and committed in order all the same.
        """
        if batch_size < 1:
            raise InputError(f"batch_size: expected 1 or more, got {batch_size}")
        seen: set[str] = set()
        ahead: dict[str, tuple[int, bytes]] = {}
        to_encode, to_write = tee(self._batches(documents, batch_size, None if whole else PASSAGE_CHARS, ahead))
        encoded = (encode or self._encode)(batch.texts() for batch in to_encode)
        for vectors, batch in zip(encoded, to_write, strict=False):  # what raises is asked first
            self._write(batch, vectors, ahead)
            seen.update(batch.doc_ids)
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
        """Return the best `k` passages for `text`; where both legs read it, their lists are fused."""
        return search_in(self, text, k, legs, filter)

    def fusion(self) -> Fusion | None:
        """Return the fusion that was fitted for this collection, None where none was. Raises StorageError."""
        return load_fusion(self._folder)

    def snapshot(self) -> Snapshot:
        """Return the present state as an immutable view; the last one again while nothing has changed."""
        with self._lock:
            if self._snapshot is None or self._snapshot.generation != self._store.generation():
                self._snapshot = self._take_snapshot()
            return self._snapshot

    @property
    def figures(self) -> tuple[int, int, int] | None:
        """Generation, documents and passages as the last search saw them, at no cost; None before the first one."""
        snapshot = self._snapshot
        return None if snapshot is None else (snapshot.generation, len(self._known), len(snapshot))

    def flush(self) -> None:
        """Make the index what a clean build would make, and save it, so that the next opening need not.

        Searches go on meanwhile. Raises StorageError where it cannot be saved; nothing that is stored is lost then.
        """
        with self._flushing:
            snapshot = self.snapshot()
            with self._lock:
                # Of a later generation perhaps, if something was written just now: then that is what is flushed.
                snapshot, known = self._snapshot or snapshot, self._known
            if not snapshot.settled:
                snapshot = self._settle(snapshot, known)
            if snapshot.generation != self._saved and keeps(self._indexing):
                about = made_as(self._indexing, self._spaces)
                if not self._closed and write_segment(self._folder, snapshot.generation, snapshot.base, known, about):
                    self._saved = snapshot.generation

    @property
    def outdated(self) -> bool:
        """Say whether documents still wait for the vectors of the encoder that is wanted."""
        return bool(self._wanted) and (self._switching or self._store.encoded_otherwise(self._wanted.name))

    @property
    def _switching(self) -> bool:
        """Say whether other vectors are searched than those that are wanted."""
        return self._spaces is not self._wanted

    def reencode(
        self,
        progress: Callable[[int], None] | None = None,
        stopped: Callable[[], bool] = lambda: False,
        encode: Encode | None = None,
    ) -> bool:
        """Encode all passages with the encoder that is wanted while the earlier one serves, then search by it.

        `progress` hears how many passages were encoded. What is encoded is kept when `stopped` ends it, or a crash;
        then False is returned, and the next call goes on from there. `encode` is as in `upsert`.
        """
        if not self.outdated:
            return True
        done, ended = 0, False

        def goes_on(_: object) -> bool:
            nonlocal ended
            ended = stopped()
            return not ended

        while True:
            since, before = self._store.generation(), -1
            while done > before:  # others may be writing meanwhile
                before = done
                for batch, vectors in self._newly_encoded(encode or self._encode, goes_on):
                    self._store.add_vectors(list(zip(batch, map(_as_bytes, vectors), strict=True)))
                    done += len(batch)
                    if progress is not None:
                        progress(done)
                if ended:
                    return False
            with self._lock:
                # Not where other documents came meanwhile, from a backup, say: they would lose the vectors they have.
                if self._store.switch_encoder(self._wanted.name, list(self._wanted), since):
                    self._spaces = self._wanted
                    return True
            if stopped():
                return False

    def _newly_encoded(
        self, encode: Encode, goes_on: Callable[[object], bool]
    ) -> Iterator[tuple[list[Passage], list[dict[str, Vector]]]]:
        """Yield the passages that lack their vector, and it, once each, as long as that `goes_on`."""
        to_encode, to_store = tee(takewhile(goes_on, self._unencoded()))
        encoded = encode([passage.indexed_text for passage in batch] for batch in to_encode)
        for vectors, batch in zip(encoded, to_store, strict=False):
            yield batch, vectors

    def _unencoded(self) -> Iterator[list[Passage]]:
        """Yield the passages that lack their vector, some at a time."""
        after = ""
        while some := self._store.spaces_of(after, BATCH_SIZE):
            after = some[-1][0].passage_id
            wanted = [self._wanted.of(passage.indexed_text) for passage, _ in some]
            batch = [passage for (passage, has), space in zip(some, wanted, strict=True) if space and space not in has]
            if batch:
                yield batch

    def _serving(self) -> Spaces:
        """Return the encoders of the vectors that are stored: those that are wanted, or what came before them."""
        stored = self._store.encoder()
        if stored in ("", self._wanted.name) or not self._wanted:
            return self._wanted
        if self._load is None:
            raise InputError(
                f"collection {self.name!r}: its vectors come from the encoder {stored!r}, not from "
                f"{self._wanted.name!r}: open it with {stored!r}, or drop it and index its documents again"
            )
        return self._wanted.earlier(stored, self._load)

    def _follow_encoder(self) -> None:
        """Search what is stored: another process may have encoded everything anew."""
        if self._store.encoder() not in ("", self._spaces.name) and self._wanted:
            try:
                self._spaces = self._serving()
            except QuerywrightError as error:
                _log.warning("collection %r: no search by vectors: %s", self.name, error)
                self._spaces = Spaces()

    def _batches(
        self, documents: Iterable[Document], size: int, max_chars: int | None, ahead: dict[str, tuple[int, bytes]]
    ) -> Iterator[_Batch]:
        """Yield batches, told what of each is new or changed when those before it are written, which may be `ahead`."""
        source = iter(documents)
        number = 0
        while some := list(islice(source, size)):
            by_id = {document.doc_id: document for document in some}
            batch = _Batch(number, tuple(by_id), tuple(self._changed_of(by_id, max_chars, ahead)))
            ahead.update((one.document.doc_id, (number, one.content)) for one in batch.changed)
            yield batch
            number += 1

    def _changed_of(
        self, documents: Mapping[str, Document], max_chars: int | None, ahead: Mapping[str, tuple[int, bytes]]
    ) -> Iterator[_Changed]:
        """Yield those of `documents` that are new or changed."""
        encoder = self._wanted.name
        stored = self._store.digests(documents)
        for doc_id, document in documents.items():
            content = digest(document, max_chars)
            found = (ahead[doc_id][1], encoder) if doc_id in ahead else stored.get(doc_id)
            if found is None or found[0] != content or encoder not in ("", found[1]):
                yield _Changed(document, split(document, max_chars), content)

    def _write(self, batch: _Batch, found: list[dict[str, Vector]], ahead: dict[str, tuple[int, bytes]]) -> None:
        """Store what of a batch is new or changed, in one transaction; from then on it is no longer `ahead`."""
        if not batch.changed:
            return
        if self._switching:
            for vectors, earlier in zip(found, self._spaces.encode_documents(batch.texts()), strict=True):
                vectors.update(earlier)
        encoder, vectors_of_each = self._wanted.name, iter(list(map(_as_bytes, found)))
        self._store.write(
            [
                StoredDocument(one.document, _stored(one.passages, vectors_of_each), one.content, encoder)
                for one in batch.changed
            ],
            encoder,
        )
        for one in batch.changed:
            if ahead[one.document.doc_id][0] == batch.number:
                del ahead[one.document.doc_id]

    def _encode(self, groups: Iterable[Sequence[str]]) -> Iterator[list[dict[str, Vector]]]:
        """Return the vectors of each text by their space, none for those that no encoder reads."""
        return map(self._wanted.encode_documents, groups)

    def stored(self) -> Iterator[list[StoredDocument]]:
        """Yield all documents with their vectors in batches, in the order of their ids."""
        after = None
        spaces = list(self._spaces) or names_of(self._store.encoder())
        while documents := self._store.documents(after, BATCH_SIZE):
            after = documents[-1].doc_id
            known = self._store.digests(document.doc_id for document in documents)
            passages: dict[str, list[StoredPassage]] = {}
            for one in self._store.passages(known, spaces):
                passages.setdefault(one.passage.doc_id, []).append(one)
            yield [
                StoredDocument(
                    document, tuple(sorted(passages[document.doc_id], key=_ordinal)), *known[document.doc_id]
                )
                for document in documents
                if document.doc_id in passages  # else deleted just now
            ]

    def put(self, documents: Sequence[StoredDocument]) -> None:
        """Add or replace documents with the vectors that they bring, in one transaction."""
        encoders = {stored.encoder for stored in documents if stored.encoder}
        self._store.write(documents, encoders.pop() if len(encoders) == 1 else "")

    def _take_snapshot(self) -> Snapshot:
        """Read what changed since the last snapshot and make the next; the lock must be held."""
        with self._store.reading():
            generation = self._store.generation()
            self._follow_encoder()
            known = self._documents()
            base = self._opened_base(known)
            delta = self._changed(known)
        dead = base.missing.copy()
        for doc_id, its_rows in base.documents.items() if known != self._base_generations else ():
            if known.get(doc_id) != self._base_generations[doc_id]:
                dead[its_rows] = True
        rows = sorted((row for _, some in delta.values() for row in some), key=lambda row: row.passage.passage_id)
        added = Segment.of_rows(rows, base.vocabulary, self._indexing, scored_by=base)
        snapshot = Snapshot(generation, self._spaces, base, added, dead)
        lost = int(dead.sum())
        changed = len(rows) + lost
        if changed and (len(snapshot) <= _AT_ONCE or len(rows) >= len(base) - lost or not keeps(self._indexing)):
            snapshot = self._merged(snapshot)
            self._base, self._base_generations, delta = snapshot.base, known, {}
            changed = len(snapshot) if len(snapshot) > _AT_ONCE else 0
        # Last: were it to fail before, a flush must not save an earlier snapshot as what is known now.
        self._known, self._delta = known, delta
        if changed > _DELTA_SHARE * len(snapshot):
            self._merge_soon()
        return snapshot

    def _documents(self) -> Mapping[str, int]:
        """Return the generation of every document, without reading all of them where few have changed."""
        last = max(self._known.values(), default=-1)
        if last >= 0:
            known = {**self._known, **self._store.written_since(last)}
            if len(known) == self._store.count():
                return known
        return self._store.written_since(-1)

    def _opened_base(self, known: Mapping[str, int]) -> Segment:
        """Return the base; from its files, if they hold at least half of what is known, where there is none yet.

        Nor is there where other documents came in place of all, from a backup, say: in a minute their index would be
        made anew here, in a second it is read.
        """
        if len(known) > _AT_ONCE and not any(known.get(one) == since for one, since in self._base_generations.items()):
            self._base, self._base_generations, self._delta = None, {}, {}
        if self._base is None:
            self._base = Segment.of_rows([], Vocabulary(), self._indexing)
            wanted = made_as(self._indexing, self._spaces)
            saved = read_segment(self._folder, wanted) if keeps(self._indexing) else None
            if saved is not None:
                same = [doc_id for doc_id, generation in saved.generations.items() if known.get(doc_id) == generation]
                if 2 * len(same) >= len(known):
                    stored = self._store.passages(same if len(same) < len(known) else None)
                    loaded = saved.load((item.passage for item in stored), self._indexing.device)
                    if loaded is not None:
                        self._base, self._base_generations, self._saved = loaded, saved.generations, saved.generation
        return self._base

    def _changed(self, known: Mapping[str, int]) -> dict[str, tuple[int, list[Row]]]:
        """Return the rows of all documents that the base has not, or not as they are now."""
        assert self._base is not None  # noqa: S101 - it was opened before
        vocabulary = self._base.vocabulary
        changed = [doc_id for doc_id, generation in known.items() if self._base_generations.get(doc_id) != generation]
        delta = {
            doc_id: kept
            for doc_id in changed
            if (kept := self._delta.get(doc_id)) is not None and kept[0] == known[doc_id]
        }
        missing = [doc_id for doc_id in changed if doc_id not in delta]
        if missing:
            for stored in self._store.passages(missing if len(missing) < len(known) else None, list(self._spaces)):
                doc_id = stored.passage.doc_id
                delta.setdefault(doc_id, (known[doc_id], []))[1].append(self._row(stored, vocabulary))
        if len(delta) != len(changed):
            raise StorageError(f"collection {self.name!r}: damaged: it holds documents without passages")
        return delta

    def _row(self, stored: StoredPassage, vocabulary: Vocabulary) -> Row:
        """Analyse a passage."""
        vectors = {}
        own = self._spaces.of(stored.passage.indexed_text)  # others may be left from encoders in another order
        for space, vector in stored.vectors.items():
            if space != own:
                continue
            # Whether they are as long as the encoder's shows when it is asked: its model need not be here.
            if len(vector) != self._bytes.setdefault(space, len(vector)) or len(vector) % 4:
                raise StorageError(f"collection {self.name!r}: damaged: a vector of {len(vector)} bytes")
            vectors[space] = np.frombuffer(vector, dtype="<f4")
        language = LANGUAGES.index(stored.language)
        return Row(stored.passage, vocabulary.ids(lexical_terms(stored.passage)), vectors, language)

    def _merged(self, snapshot: Snapshot) -> Snapshot:
        """Return the same generation as one segment, as a clean build would make it."""
        vocabulary = snapshot.base.vocabulary
        base = Segment.of_rows(list(snapshot.rows()), vocabulary, self._indexing)
        empty = Segment.of_rows([], vocabulary, self._indexing)
        return Snapshot(snapshot.generation, self._spaces, base, empty, np.zeros(len(base), dtype=np.bool_))

    def _settle(self, snapshot: Snapshot, known: Mapping[str, int]) -> Snapshot:
        """Put the merged `snapshot` in place of what it was made from, which may have got younger changes."""
        merged = self._merged(snapshot)
        merged.base.lexical()  # made here, while others search the old one
        with self._lock:
            if self._base is snapshot.base:
                self._base, self._base_generations = merged.base, known
                self._snapshot = merged if self._known is known else None
                self._delta = {doc_id: kept for doc_id, kept in self._delta.items() if known.get(doc_id) != kept[0]}
        return merged

    def _merge_soon(self) -> None:
        """Flush in the background, once more where that goes on already; the lock must be held."""
        self._merge_again = True
        if self._merging is None:
            self._merging = threading.Thread(target=self._merge, name=f"merge {self.name}", daemon=True)
            self._merging.start()

    def _merge(self) -> None:
        while True:
            with self._lock:
                if not self._merge_again:
                    self._merging = None
                    return
                self._merge_again = False
            try:
                self.flush()
            except Exception as error:  # noqa: BLE001 # no memory, say: the next change tries again
                _log.warning("collection %r: %s: %s", self.name, type(error).__name__, error)


class Searched(Protocol):
    """What a search needs of a collection's snapshot."""

    def rank(
        self,
        texts: Sequence[str],
        legs: Sequence[Leg],
        depth: int = DEPTH,
        filter: Filter | None = None,  # noqa: A002 - the word of the field
    ) -> list[dict[Leg, Ranking]]:
        """Search each of `texts` by each of `legs`."""
        ...

    def hits(self, ranking: Ranking, k: int) -> list[Hit]:
        """Return the best `k` of `ranking` as hits."""
        ...


class Searching(Protocol):
    """A collection that can be searched, wherever it is."""

    def snapshot(self) -> Searched:
        """Return the present state."""
        ...

    def fusion(self) -> Fusion | None:
        """Return the fusion that was fitted for it."""
        ...


def search_in(
    collection: Searching,
    text: str,
    k: int,
    legs: Sequence[Leg | str],
    filter: Filter | None,  # noqa: A002 - the word of the field
) -> list[Hit]:
    """Return the best `k` passages of `collection` for `text`; where both legs read it, their lists are fused."""
    depth = max(check_k(k), DEPTH)
    snapshot = collection.snapshot()
    found = snapshot.rank([text], check_legs(legs), depth, filter)[0]
    if len(found) == 1:
        return snapshot.hits(next(iter(found.values())), k)
    fusion = collection.fusion() or Fusion()
    weights = list(shares(found, fusion.lexical_weight).values())
    return snapshot.hits(fuse(list(found.values()), weights, fusion.method), k)


def lexical_terms(passage: Passage) -> list[str]:
    """Return the terms of a passage as BM25 counts them: those of the title twice, they say what it is about."""
    return [*analyze(passage.title), *analyze(passage.indexed_text)]


def _ordinal(stored: StoredPassage) -> int:
    """Return which of its document's passages this is."""
    return int(stored.passage.passage_id.rpartition("#")[2])


def _as_bytes(vectors: Mapping[str, Vector]) -> dict[str, bytes]:
    for space, vector in vectors.items():
        if not np.isfinite(vector).all():
            raise UnavailableError(f"encoder {space!r}: it made a vector that is not finite; nothing was written")
    return {space: vector.astype("<f4").tobytes() for space, vector in vectors.items()}


def _stored(passages: Sequence[Passage], vectors: Iterator[dict[str, bytes]]) -> tuple[StoredPassage, ...]:
    """Join passages with the next vectors."""
    return tuple(
        StoredPassage(passage, LANGUAGES[is_chinese(passage.indexed_text)], next(vectors)) for passage in passages
    )
