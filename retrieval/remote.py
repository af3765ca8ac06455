"""A collection in Milvus, with the interface of one in a folder.

A process keeps nothing of it that others would miss, so that any number of them serve one store. Every read is
strongly consistent: it sees all that Milvus has acknowledged, to whomever. Words are ranked by BM25 as in a folder:
Milvus has each passage's part of the score as a sparse vector, the idf comes with the query (docs/log.md says why not
Milvus's own BM25).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

import numpy as np

from .. import InputError, NotFoundError, UnavailableError
from .analysis import is_chinese
from .collection import BATCH_SIZE, BOTH_LEGS, LANGUAGES, MAX_K, Encode, Filter, Leg, lexical_terms, search_in
from .encoders import Encoder
from .fitting import Fusion
from .lexical import BM25
from .milvus_calls import Milvus
from .milvus_rows import (
    ABOUT,
    DOCUMENTS,
    PASSAGES,
    About,
    State,
    any_of,
    dense_index,
    document_of,
    indexes,
    key_of,
    passage_of,
    rows_of,
    stored_of,
    weights,
    whole,
)
from .passage import PASSAGE_CHARS, Document, Hit, check_doc_id, split
from .remote_snapshot import RemoteSnapshot, TermCounts
from .spaces import Spaces, Vector, spaces_of
from .store import LARGEST_STEP, StoredDocument, StoredPassage, digest

_REQUEST_ROWS = 500
"""So many rows are sent at once; the next ones when Milvus has acknowledged these."""

_DRIFT = 0.001
"""A passage is weighted anew when the mean length has moved by this share since."""


class RemoteCollection:
    """Documents in one Milvus collection, searched by words and vectors; safe to use from several threads.

    What `upsert` and `delete` have returned for is acknowledged by Milvus and found by the next search, in whatever
    process. Raises UnavailableError where Milvus does not answer in time, NotFoundError where it has no such
    collection, InputError where the vectors come from an encoder other than the given one.
    """

    degraded = ""
    outdated = False
    """Another encoder is served beside the wanted one; its vectors stay what they are."""

    def __init__(
        self,
        name: str,
        milvus: Milvus,
        stored_as: str,
        encoder: Encoder | Spaces | None = None,
        bm25: BM25 = BM25(),  # noqa: B008 # frozen
        load: Callable[[str], Encoder] | None = None,
    ) -> None:
        self.name = name
        self.token = secrets.token_hex(8)
        """Tells this opening from every other."""
        self._milvus = milvus
        self._stored_as = stored_as
        self._bm25 = bm25
        self._writing = threading.RLock()  # what a batch changes is added to what is known before the next one
        self._counts = TermCounts(milvus, stored_as)
        self._seen: About | None = None
        self._dimensions = self._described()
        self._spaces = self._serving(spaces_of(encoder), load)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, *, wait: bool = True) -> None:
        """Do nothing: all that was acknowledged is in Milvus, and the connection is that of all collections."""

    # ------------------------------------------------------------------------------------ writing

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

        Each batch is encoded, by `encode` where that is given, sent, and acknowledged by Milvus before the next is
        read: `progress` hears how many documents are safe so far. Of a batch that failed some may be stored, each
        whole or to be made so by the same call again. Of two documents with one id the later wins; one that is stored
        already, unchanged, costs no encoding. With `whole` false, documents are split into passages.
        """
        if batch_size < 1:
            raise InputError(f"batch_size: expected 1 or more, got {batch_size}")
        seen: set[str] = set()
        source = iter(documents)
        while batch := list(islice(source, batch_size)):
            by_id = {document.doc_id: document for document in batch}
            with self._writing:
                self._write(self._changed(by_id, None if whole else PASSAGE_CHARS, encode))
            seen.update(by_id)
            if progress is not None:
                progress(len(seen))
        return len(seen)

    def put(self, documents: Sequence[StoredDocument]) -> None:
        """Add or replace documents with the vectors that they bring."""
        with self._writing:
            self._write(documents)

    def delete(self, doc_ids: Iterable[str]) -> int:
        """Delete documents; return how many of `doc_ids` there were."""
        doc_ids = [doc_ids] if isinstance(doc_ids, str) else list(doc_ids)
        for doc_id in doc_ids:
            check_doc_id(doc_id)
        with self._writing:
            found = self._states(doc_ids)
            if found:
                gone = [state for rows in found.values() for state in rows.values()]
                self._upsert_rows([self._row_about(self._about().changed(gone, -1, -len(found)))])
                self._delete_rows([row_id for rows in found.values() for row_id in rows])
        return len(found)

    def flush(self) -> None:
        """Make the index what a clean build would make: statistics counted anew, weights and kind of index by them.

        Searches go on meanwhile; where the kind of index changes, they fail for the moment that it takes.
        """
        with self._writing:
            about = self._about()
            if about.settled != about.generation or not about.generation:
                about = self._counted(about)
                self._reweigh(about)
                self._upsert_rows([replace(about, settled=about.generation).row(self._dimensions)])
            self._milvus.write("flush", collection_name=self._stored_as)
            self._index_for(about.size)

    def reencode(
        self,
        progress: Callable[[int], None] | None = None,  # noqa: ARG002 - as `Collection.reencode`
        stopped: Callable[[], bool] = lambda: False,  # noqa: ARG002
        encode: Encode | None = None,  # noqa: ARG002
    ) -> bool:
        """Do nothing: the vectors in Milvus stay those of their encoder; index again for others."""
        return True

    # ------------------------------------------------------------------------------------ reading

    def get(self, doc_id: str) -> Document:
        """Return one document; raises NotFoundError if there is none of that id."""
        check_doc_id(doc_id)
        rows = self._query(any_of("key", [key_of(doc_id)]), ["ordinal", "content", "state"])
        if not rows:
            raise NotFoundError(f"doc_id: collection {self.name!r} has no document of that id")
        return document_of(whole(rows))

    def documents(self, after: str | None = None, limit: int = 100) -> list[Document]:
        """Return up to `limit` documents in the order of their ids, beginning after the id `after`."""
        if after:
            check_doc_id(after)
        if not 1 <= limit <= MAX_K:
            raise InputError(f"limit: expected 1 to {MAX_K}, got {limit}")
        # Of the rows of a document `after`, "." comes first, and "/" after them.
        wanted = f'{DOCUMENTS} and id > "{key_of(after)}/"' if after else DOCUMENTS
        firsts = next(iter(self._milvus.rows(self._stored_as, wanted, ["id", "key"], limit)), [])
        found: dict[str, list[Mapping[str, Any]]] = {row["key"]: [] for row in firsts}
        if found:
            for row in self._query(any_of("key", found), ["key", "ordinal", "content", "state"]):
                found[row["key"]].append(row)
        return [document_of(whole(rows)) for rows in found.values() if rows]

    def stored(self) -> Iterator[list[StoredDocument]]:
        """Yield all documents with their vectors in batches, in the order of their ids."""
        fields = ["id", "key", "ordinal", "content", "state", "dense"]
        rows = (row for some in self._milvus.rows(self._stored_as, PASSAGES, fields, BATCH_SIZE) for row in some)
        documents = (stored_of(whole(some), LANGUAGES) for _, some in groupby(rows, itemgetter("key")))
        while batch := list(islice(documents, BATCH_SIZE)):
            yield batch

    def count(self) -> int:
        """Return how many documents there are."""
        return self._total(DOCUMENTS)

    def search(
        self,
        text: str,
        k: int = 10,
        legs: Sequence[Leg | str] = BOTH_LEGS,
        filter: Filter | None = None,  # noqa: A002 - the word of the field
    ) -> list[Hit]:
        """Return the best `k` passages for `text`; where both legs read it, their lists are fused."""
        return search_in(self, text, k, legs, filter)

    def snapshot(self) -> RemoteSnapshot:
        """Return a view of the present state; what is written later may show in it."""
        self._seen = about = self._about()
        return RemoteSnapshot(self._milvus, self._stored_as, about, self._spaces, self._counts, self._dimensions)

    def fusion(self) -> Fusion | None:
        """Return the fusion that was fitted for this collection, None where none was."""
        return (self._seen or self._about()).fusion

    def set_fusion(self, fusion: Fusion | None) -> None:
        """Keep the fusion that was fitted for this collection."""
        with self._writing:
            about = replace(self._about(), fusion=fusion)
            self._upsert_rows([about.row(self._dimensions)])
            self._seen = about

    @property
    def figures(self) -> tuple[int, int, int] | None:
        """Generation, documents and passages as the last search saw them, at no cost; None before the first one."""
        seen = self._seen
        return None if seen is None else (seen.generation, seen.documents, seen.size)

    # ------------------------------------------------------------------------------------ opening

    def _described(self) -> int:
        """Return how long the vectors are that fit in."""
        fields = self._milvus.read("describe_collection", collection_name=self._stored_as)["fields"]
        return next(int(field["params"]["dim"]) for field in fields if field["name"] == "dense")

    def _serving(self, wanted: Spaces, load: Callable[[str], Encoder] | None) -> Spaces:
        """Return the encoders of the vectors that are stored, those that are wanted where there are none."""
        stored = self._about().encoder
        if wanted and stored not in ("", wanted.name):
            if load is None:
                raise InputError(
                    f"collection {self.name!r}: its vectors come from the encoder {stored!r}, not from "
                    f"{wanted.name!r}: open it with {stored!r}, or drop it and index its documents again"
                )
            return wanted.earlier(stored, load)
        longest = max((wanted.dimensions(space) for space in wanted), default=0)
        if longest > self._dimensions:
            raise InputError(
                f"collection {self.name!r}: made for vectors of {self._dimensions} dimensions, not of {longest}: drop "
                "it and index its documents again"
            )
        return wanted

    # ------------------------------------------------------------------------------------ the rest

    def _changed(
        self, documents: Mapping[str, Document], max_chars: int | None, encode: Encode | None
    ) -> list[StoredDocument]:
        """Return those of `documents` that are new or changed, encoded."""
        encoder, stored = self._spaces.name, self._states(documents)
        changed = []
        for doc_id, document in documents.items():
            content = digest(document, max_chars)
            if not _is_stored(list(stored.get(doc_id, {}).values()), content.hex(), encoder):
                changed.append((document, split(document, max_chars), content))
        texts = [passage.indexed_text for _, passages, _ in changed for passage in passages]
        encoded = self._spaces.encode_documents(texts) if encode is None else next(iter(encode([texts])), [])
        vectors = map(_as_bytes, encoded)
        return [
            StoredDocument(
                document,
                tuple(StoredPassage(one, LANGUAGES[is_chinese(one.indexed_text)], next(vectors)) for one in passages),
                content,
                encoder,
            )
            for document, passages, content in changed
        ]

    def _write(self, documents: Sequence[StoredDocument]) -> None:
        """Send documents with what is known of the collection then; last, drop what is left of earlier ones."""
        if not documents:
            return
        vectors = [one for stored in documents for item in stored.passages for one in item.vectors.values()]
        if max(map(len, vectors), default=0) > 4 * self._dimensions:
            raise InputError(f"collection {self.name!r}: made for vectors of at most {self._dimensions} dimensions")
        before = self._states(stored.document.doc_id for stored in documents)
        terms = [[lexical_terms(item.passage) for item in stored.passages] for stored in documents]
        plain = [
            [_state(stored, item, its) for item, its in zip(stored.passages, some, strict=True)]
            for stored, some in zip(documents, terms, strict=True)
        ]
        gone = [state for rows in before.values() for state in rows.values()]
        new = [state for some in plain for state in some]
        about = self._about().changed(gone, -1, -len(before)).changed(new, 1, len(documents))
        about = about.joined_by(documents)
        encoders = {stored.encoder for stored in documents if stored.encoder}
        if not about.encoder and len(encoders) == 1:
            about = replace(about, encoder=encoders.pop())
        rows: list[dict[str, Any]] = []
        for stored, some, states in zip(documents, terms, plain, strict=True):
            weighed = [replace(state, mean=about.mean(state.language)) for state in states]
            rows += rows_of(stored, some, weighed, self._bm25, self._dimensions)
        rows.append(self._row_about(about))
        for start in range(0, len(rows), _REQUEST_ROWS):
            self._upsert_rows(rows[start : start + _REQUEST_ROWS])
        left = {row_id for its in before.values() for row_id in its} - {row["id"] for row in rows}
        self._delete_rows(sorted(left))

    def _upsert_rows(self, rows: list[dict[str, Any]], **options: Any) -> None:  # noqa: ANN401 - pymilvus's own
        self._milvus.write("upsert", collection_name=self._stored_as, data=rows, **options)

    def _delete_rows(self, row_ids: Sequence[str]) -> None:
        for start in range(0, len(row_ids), _REQUEST_ROWS):
            some = list(row_ids[start : start + _REQUEST_ROWS])
            self._milvus.write("delete", collection_name=self._stored_as, ids=some)

    def _about(self) -> About:
        """Return what is known of the collection now."""
        rows = self._milvus.read("get", collection_name=self._stored_as, ids=[ABOUT], output_fields=["state"])
        return About.of(rows[0]["state"]) if rows else About()

    def _row_about(self, about: About) -> dict[str, Any]:
        """Return the row that tells what is known of the collection when it holds something else than before."""
        moved = replace(about, generation=about.generation + 1 + secrets.randbelow(LARGEST_STEP))
        return moved.row(self._dimensions)

    def _states(self, doc_ids: Iterable[str]) -> dict[str, dict[str, State]]:
        """Return the states of all rows of documents, by the rows' ids, by document."""
        keys = {key_of(doc_id): doc_id for doc_id in doc_ids}
        found: dict[str, dict[str, State]] = {}
        if keys:
            for row in self._query(any_of("key", keys), ["key", "state"]):
                found.setdefault(keys[row["key"]], {})[row["id"]] = State.of(row)
        return found

    def _query(self, wanted: str, fields: list[str]) -> list[Mapping[str, Any]]:
        """Return all rows that match, in no order."""
        arguments = {"collection_name": self._stored_as, "filter": wanted, "output_fields": ["id", *fields]}
        return list(self._milvus.read("query", **arguments))

    def _total(self, wanted: str) -> int:
        arguments = {"collection_name": self._stored_as, "filter": wanted, "output_fields": ["count(*)"]}
        return int(self._milvus.read("query", **arguments)[0]["count(*)"])

    def _counted(self, about: About) -> About:
        """Return what is known with everything counted anew: replicas that wrote at once may have missed some."""
        counted = replace(about, documents=self.count(), passages=(0, 0), lengths=(0, 0))
        for rows in self._milvus.rows(self._stored_as, PASSAGES, ["id", "state"]):
            counted = counted.changed(map(State.of, rows), 1, 0)
        return replace(counted, written=about.written)

    def _reweigh(self, about: About) -> None:
        """Weigh the terms anew of all passages that were weighed by another mean length."""
        fields = ["id", "ordinal", "content", "state"]
        for rows in self._milvus.rows(self._stored_as, PASSAGES, fields, _REQUEST_ROWS):
            drifted = [row for row in rows if _drifted(State.of(row), about)]
            if drifted:
                self._upsert_rows([_reweighed(row, about, self._bm25) for row in drifted], partial_update=True)

    def _index_for(self, size: int) -> None:
        """Give vectors the kind of index that suits their number."""
        wanted = dense_index(size)
        found = self._milvus.read("describe_index", collection_name=self._stored_as, index_name="dense")
        if found["index_type"] != wanted["index_type"]:
            self._milvus.write("release_collection", collection_name=self._stored_as)
            try:
                self._milvus.write("drop_index", collection_name=self._stored_as, index_name="dense")
                indexed = indexes(size, dense_only=True)
                self._milvus.write("create_index", collection_name=self._stored_as, index_params=indexed)
            finally:
                self._milvus.write("load_collection", collection_name=self._stored_as)


def _is_stored(states: Sequence[State], content: str, encoder: str) -> bool:
    """Say whether rows with these states are a whole document with that content."""
    return (
        bool(states)
        and all(state.digest == content and encoder in ("", state.encoder) for state in states)
        and len(states) == states[0].count
    )


def _state(stored: StoredDocument, item: StoredPassage, terms: Sequence[str]) -> State:
    space, vector = next(iter(item.vectors.items()), ("", b""))
    language, count = LANGUAGES.index(item.language), len(stored.passages)
    return State(stored.digest.hex(), stored.encoder, count, language, len(terms), 1.0, space, len(vector) // 4)


def _drifted(state: State, about: About) -> bool:
    return abs(state.mean / about.mean(state.language) - 1) > _DRIFT


def _reweighed(row: Mapping[str, Any], about: About, bm25: BM25) -> dict[str, Any]:
    """Return what changes of a row when its terms are weighed by the mean length as it is known."""
    state = State.of(row)
    mean = about.mean(state.language)
    terms = lexical_terms(passage_of(row))
    return {"id": row["id"], "state": replace(state, mean=mean).to_json(), "lexical": weights(terms, mean, bm25)}


def _as_bytes(vectors: Mapping[str, Vector]) -> dict[str, bytes]:
    for space, vector in vectors.items():
        if not np.isfinite(vector).all():
            raise UnavailableError(f"encoder {space!r}: it made a vector that is not finite; nothing was written")
    return {space: vector.astype("<f4").tobytes() for space, vector in vectors.items()}
