"""The rows of a collection in Milvus: what each passage looks like there, filters as its expressions, its indexes.

Nothing that a caller wrote gets into an expression: ids are in hex, metadata as hashes and hex.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .. import InputError, StorageError
from .filters import Filter, as_text, check_filter, read_condition
from .fitting import Fusion
from .fusion import Method
from .lexical import BM25
from .milvus_calls import client_class, data_types
from .passage import Document, Passage, Value
from .store import StoredDocument, StoredPassage

FORMAT = 1

ABOUT = "!"
"""The id of the row that tells of the collection; it comes before all hex."""

PASSAGES = f'id > "{ABOUT}"'
DOCUMENTS = "ordinal == 0"
"""Which rows are passages, and which are the first of a document."""

MOST_BYTES = 65_535
"""Milvus keeps texts of at most so many bytes."""

MOST_VALUES = 4_096
"""Milvus keeps at most so many members of an array."""

FLAT_ROWS = 20_000
HNSW_ROWS = 20_000_000
"""Up to so many passages are scanned whole, up to so many searched by a graph; more in clusters."""

_MARK = 0
"""A term that every passage has, since Milvus takes no empty sparse vector."""

_TERM_IDS = 2**32 - 3
_RANGE_BYTES = 256
_NOTHING = 'id == ""'


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a collection: what its writers add up, and settings of its own.

    `passages` and `lengths` are, by language, how many there are and how many terms they have; `written` counts all
    passages that ever came or went, by which others tell how much has changed.
    """

    generation: int = 0
    encoder: str = ""
    documents: int = 0
    passages: tuple[int, ...] = (0, 0)
    lengths: tuple[int, ...] = (0, 0)
    written: int = 0
    settled: int = 0
    """The generation that `flush` has left."""
    centres: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Of each space how many vectors ever came, and their mean in base64: about that of those that are there."""
    fusion: Fusion | None = None

    @property
    def size(self) -> int:
        """How many passages there are."""
        return sum(self.passages)

    def mean(self, language: int) -> float:
        """Return how many terms a passage of a language has on average; 1 where there is none."""
        known = self.lengths[language] and self.passages[language]
        return self.lengths[language] / self.passages[language] if known else 1.0

    def changed(self, states: Iterable[State], sign: int, documents: int) -> About:
        """Return what is known when passages have come, or gone where `sign` is -1."""
        passages, lengths, written = list(self.passages), list(self.lengths), self.written
        for state in states:
            passages[state.language] += sign
            lengths[state.language] += sign * state.length
            written += 1
        return replace(
            self,
            documents=max(0, self.documents + documents),
            passages=tuple(max(0, count) for count in passages),
            lengths=tuple(max(0, length) for length in lengths),
            written=written,
        )

    def centre(self, space: str, dimensions: int) -> NDArray[np.float32]:
        """Return the mean of the vectors of a space; zeros where there are none."""
        if space not in self.centres:
            return np.zeros(dimensions, dtype=np.float32)
        return np.frombuffer(b64decode(self.centres[space][1]), dtype="<f4")

    def joined_by(self, documents: Iterable[StoredDocument]) -> About:
        """Return what is known with the vectors of `documents` in the means."""
        came: dict[str, list[bytes]] = {}
        for stored in documents:
            for item in stored.passages:
                for space, vector in item.vectors.items():
                    came.setdefault(space, []).append(vector)
        centres = dict(self.centres)
        for space, vectors in came.items():
            total = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), -1).sum(axis=0)
            before = self.centres[space][0] if space in self.centres else 0
            mean = (self.centre(space, len(total)) * before + total) / (before + len(vectors))
            centres[space] = before + len(vectors), b64encode(mean.astype("<f4").tobytes()).decode()
        return replace(self, centres=centres)

    def row(self, dimensions: int) -> dict[str, Any]:
        """Return it as a row."""
        fields = {**asdict(self), "format": FORMAT}
        return _row(ABOUT, "", -1, "", orjson.dumps(fields).decode(), np.zeros(dimensions, np.float32))

    @classmethod
    def of(cls, state: str) -> About:
        """Read what `row` has as its state; raises StorageError for another format."""
        fields: dict[str, Any] = orjson.loads(state)
        if fields.pop("format") != FORMAT:
            raise StorageError("Milvus: the collection was made by another version: index it again")
        if kept := fields.pop("fusion"):
            fields["fusion"] = Fusion(Method(kept["method"]), kept["lexical_weight"])
        for name in ("passages", "lengths"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a stored passage besides its text; `count` is how many its document has."""

    digest: str
    encoder: str
    count: int
    language: int
    length: int
    mean: float
    """The mean length by which its terms were weighed."""
    space: str = ""
    dimensions: int = 0
    """Which vector it has, and how long that is."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> State:
        """Read the state of a row."""
        return cls(**orjson.loads(row["state"]))

    def to_json(self) -> str:
        """Return it as it is kept."""
        return orjson.dumps(asdict(self)).decode()


@dataclass(frozen=True, slots=True)
class Content:
    """The text of a passage, and the white space around it that its document has and it has not."""

    title: str
    text: str
    metadata: Mapping[str, Value] = field(default_factory=dict)
    before: str = ""
    after: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Content:
        """Read the content of a row."""
        fields = orjson.loads(row["content"])
        metadata = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.pop("metadata").items()
        }
        return cls(**fields, metadata=metadata)

    def to_json(self) -> str:
        """Return it as it is kept; raises InputError where that is too long."""
        kept = orjson.dumps({**asdict(replace(self, metadata={})), "metadata": dict(self.metadata)})
        if len(kept) > MOST_BYTES:
            raise InputError(
                f"document: {len(kept)} bytes with title and metadata, of which Milvus keeps {MOST_BYTES} a passage: "
                "split it"
            )
        return kept.decode()


def key_of(doc_id: str) -> str:
    """Return an id or a name as it is in Milvus; keys are in the order of what they stand for.

    >>> key_of("a#0")
    '612330'
    """
    return doc_id.encode().hex()


def passage_id_of(row_id: str) -> str:
    """Return the passage_id of a row.

    >>> passage_id_of("612330.2")
    'a#0#2'
    """
    key, _, ordinal = row_id.partition(".")
    return f"{bytes.fromhex(key).decode()}#{ordinal}"


def doc_id_of(row_id: str) -> str:
    """Return the id of the document that a row is of."""
    return bytes.fromhex(row_id.partition(".")[0]).decode()


def passage_of(row: Mapping[str, Any]) -> Passage:
    """Return the passage that a row holds."""
    content = Content.of(row)
    return Passage(passage_id_of(row["id"]), doc_id_of(row["id"]), content.title, content.text, content.metadata)


def document_of(rows: Sequence[Mapping[str, Any]]) -> Document:
    """Return the document whose rows these are, in their order."""
    contents = [Content.of(row) for row in rows]
    text = "".join(content.before + content.text + content.after for content in contents)
    return Document(doc_id_of(rows[0]["id"]), text, contents[0].title, contents[0].metadata)


def whole(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows of one document that belong together, in their order.

    A replica that stopped half-way may have left others; those of the first passage count.
    """
    ordered = sorted(rows, key=lambda row: int(row["ordinal"]))
    digest = State.of(ordered[0]).digest
    return [row for row in ordered if State.of(row).digest == digest]


def rows_of(
    stored: StoredDocument, terms: Sequence[Sequence[str]], states: Sequence[State], bm25: BM25, dimensions: int
) -> list[dict[str, Any]]:
    """Return the rows of a document; `terms` and `states` are those of its passages."""
    key = key_of(stored.document.doc_id)
    facets, ranges = _facets(stored.document.metadata), _ranges(stored.document.metadata)
    rows = []
    contents = contents_of(stored.document, [item.passage for item in stored.passages])
    for number, (item, content) in enumerate(zip(stored.passages, contents, strict=True)):
        row = _row(
            f"{key}.{number}", key, number, content.to_json(), states[number].to_json(),
            _padded(item, states[number].space, dimensions),
        )  # fmt: skip
        ids = sorted({term_id(term) for term in terms[number]})[:MOST_VALUES]
        row |= {"space": key_of(states[number].space), "facets": facets, "ranges": ranges, "terms": ids}
        rows.append(row | {"lexical": weights(terms[number], states[number].mean, bm25)})
    return rows


def contents_of(document: Document, passages: Sequence[Passage]) -> list[Content]:
    """Return the contents of a document's passages: between them it has white space only."""
    contents, done = [], 0
    for passage in passages:
        start = document.text.index(passage.text, done)
        contents.append(Content(document.title, passage.text, document.metadata, document.text[done:start]))
        done = start + len(passage.text)
    contents[-1] = replace(contents[-1], after=document.text[done:])
    return contents


def stored_of(rows: Sequence[Mapping[str, Any]], languages: Sequence[str]) -> StoredDocument:
    """Return the document whose rows these are, with its vectors."""
    states = [State.of(row) for row in rows]
    passages = tuple(
        StoredPassage(passage_of(row), languages[state.language], _vectors(row, state))
        for row, state in zip(rows, states, strict=True)
    )
    return StoredDocument(document_of(rows), passages, bytes.fromhex(states[0].digest), states[0].encoder)


def _vectors(row: Mapping[str, Any], state: State) -> dict[str, bytes]:
    return {state.space: np.asarray(row["dense"], dtype="<f4")[: state.dimensions].tobytes()} if state.space else {}


@lru_cache(maxsize=200_000)
def term_id(term: str) -> int:
    """Return the number of a term, the same everywhere; two of a million terms seldom share one."""
    return 1 + int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little") % _TERM_IDS


def weights(terms: Sequence[str], mean: float, bm25: BM25) -> dict[int, float]:
    """Return the part of BM25 that is a passage's own: tf / (tf + k1 (1 - b + b length / mean)) of each term.

    With the idf of each term of a query on the other side, the inner product is the score (`BM25Index` has the source).
    """
    damping = bm25.k1 * (1 - bm25.b + bm25.b * len(terms) / mean)
    counts = Counter(map(term_id, terms))
    return {_MARK: 1.0} | {number: count / (count + damping) for number, count in counts.items()}


def expression(wanted: Filter | None) -> str:
    """Return a filter as Milvus reads it, "" for none. Raises InputError as `check_filter` does."""
    check_filter(wanted)
    return " and ".join(f"({_condition(key, condition)})" for key, condition in (wanted or {}).items())


def any_of(name: str, values: Iterable[str]) -> str:
    """Return the expression that says that a field is one of `values`, which are hex."""
    quoted = ", ".join(f'"{value}"' for value in values)
    return f"{name} in [{quoted}]"


def holding(terms: Iterable[int]) -> str:
    """Return the expression that says that a passage has all of the terms with these numbers."""
    return f"array_contains_all(terms, {sorted(terms)})"


def _condition(key: str, condition: object) -> str:
    texts, strings, numbers = read_condition(condition)
    parts = []
    if texts:
        parts.append(f"array_contains_any(facets, {[_facet(key, text) for text in texts]})")
    for kind, bounds in (("s", strings), ("n", numbers)):
        if bounds:
            name = f'ranges["{kind}{key.encode().hex()}"]'
            parts.append(" and ".join(f"{name} {_SIGNS[bound]} {_literal(value)}" for bound, value in bounds.items()))
    return " or ".join(f"({part})" for part in parts) or _NOTHING


_SIGNS = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}


def _literal(value: str | float) -> str:
    if isinstance(value, str):
        return f'"{_ordered(value)}"'
    return str(value) if isinstance(value, int) and -(2**63) < value < 2**63 else repr(float(value))


def _ordered(text: str) -> str:
    """Return a text in hex, in the order of the texts; of long ones their beginning."""
    return text.encode()[:_RANGE_BYTES].hex()


def _facets(metadata: Mapping[str, Value]) -> list[int]:
    found = {
        _facet(key, as_text(member))
        for key, value in metadata.items()
        for member in (value if isinstance(value, tuple) else (value,))
    }
    if len(found) > MOST_VALUES:
        raise InputError(f"metadata: Milvus keeps at most {MOST_VALUES} values a document, got {len(found)}")
    return sorted(found)


def _facet(key: str, text: str) -> int:
    """Return the number of a field with a value, the same everywhere."""
    named = f"{len(key)} {key}{text}".encode()
    return int.from_bytes(hashlib.blake2b(named, digest_size=8).digest(), "little") >> 1


def _ranges(metadata: Mapping[str, Value]) -> dict[str, str | float]:
    """Return what ranges compare: numbers and strings, each kind by its own names; not several values in one."""
    found: dict[str, str | float] = {}
    for key, value in metadata.items():
        if isinstance(value, str):
            found[f"s{key.encode().hex()}"] = _ordered(value)
        elif not isinstance(value, (bool, tuple)):
            found[f"n{key.encode().hex()}"] = value
    return found


def _padded(item: StoredPassage, space: str, dimensions: int) -> NDArray[np.float32]:
    """Return a passage's vector with zeros behind it, which change no inner product of one space."""
    row = np.zeros(dimensions, dtype=np.float32)
    if space:
        vector = np.frombuffer(item.vectors[space], dtype="<f4")
        row[: len(vector)] = vector
    return row


def _row(row_id: str, key: str, ordinal: int, content: str, state: str, dense: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "id": row_id, "key": key, "ordinal": ordinal, "content": content, "state": state, "dense": dense,
        "space": "", "facets": [], "ranges": {}, "terms": [], "lexical": {_MARK: 1.0},
    }  # fmt: skip


def schema(dimensions: int) -> Any:  # noqa: ANN401 - pymilvus's own
    """Return the fields of a collection whose vectors are at most `dimensions` long."""
    made, types = client_class().create_schema(auto_id=False, enable_dynamic_field=False), data_types()
    made.add_field("id", types.VARCHAR, is_primary=True, max_length=MOST_BYTES)
    for name in ("key", "content", "state", "space"):
        made.add_field(name, types.VARCHAR, max_length=MOST_BYTES)
    made.add_field("ordinal", types.INT64)
    made.add_field("ranges", types.JSON)
    for name in ("facets", "terms"):
        made.add_field(name, types.ARRAY, element_type=types.INT64, max_capacity=MOST_VALUES)
    made.add_field("lexical", types.SPARSE_FLOAT_VECTOR)
    made.add_field("dense", types.FLOAT_VECTOR, dim=dimensions)
    return made


def dense_index(size: int) -> dict[str, Any]:
    """Return how vectors are indexed of which there are `size`."""
    if size <= FLAT_ROWS:
        return {"index_type": "FLAT", "params": {}}
    if size <= HNSW_ROWS:
        return {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}
    return {"index_type": "IVF_SQ8", "params": {"nlist": 16_384}}


def searched_by(depth: int) -> dict[str, Any]:
    """Return how far an index is searched that does not look at all vectors; each kind takes its own."""
    return {"ef": max(128, 2 * depth), "nprobe": 128}


def indexes(size: int, *, dense_only: bool = False, arrays: bool = False) -> Any:  # noqa: ANN401 - pymilvus's own
    """Return the indexes of a collection of `size` passages, or only that of vectors, or those of arrays."""
    made = client_class().prepare_index_params()
    if not arrays:
        made.add_index("dense", index_name="dense", metric_type="IP", **dense_index(size))
    if not (dense_only or arrays):
        made.add_index("lexical", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    for name in ("terms", "facets") if arrays else () if dense_only else ("key", "space", "ordinal"):
        made.add_index(name, index_type="INVERTED")
    return made
