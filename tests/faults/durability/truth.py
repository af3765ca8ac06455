"""What a collection must hold and answer: a dictionary of documents, and a clean build of it."""

import hashlib
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from querywright.retrieval import collection as module
from querywright.retrieval.collection import Collection
from querywright.retrieval.passage import PASSAGE_CHARS, Document, split
from querywright.retrieval.spaces import Spaces

Truth = dict[str, Document]
Rankings = list[list[tuple[str, float]]]

DIMENSIONS = 8
WORDS = (*(f"word{number}" for number in range(30)), "fox", "foxes", "A-1032", "iPhone15")
CHINESE = ("客户", "画像", "功能", "報表", "海港", "狐狸")
QUERIES = ("word1", "word2 word3 word3", "客户画像", "fox 狐狸", "A-1032", "海港报表 word7")
EVERYTHING = " ".join((*WORDS, *CHINESE))


class Directions:
    """An encoder that costs nothing: each word is a fixed direction. It reads ASCII, or all that is not ASCII."""

    dimensions = DIMENSIONS

    def __init__(self, name: str, *, ascii_only: bool) -> None:
        self.name = name
        self._ascii = ascii_only

    def reads(self, text: str) -> bool:
        """Say whether this is a text for this encoder."""
        return text.isascii() == self._ascii

    def encode_documents(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return one unit vector a text."""
        vectors = np.array([sum(map(_direction, text.split()), np.zeros(DIMENSIONS)) for text in texts])
        vectors = vectors.reshape(-1, DIMENSIONS)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return np.asarray(unit, dtype=np.float32)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector a query."""
        return self.encode_documents(texts)


@cache
def _direction(word: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(DIMENSIONS)


SPACES = Spaces(Directions("latin", ascii_only=True), Directions("other", ascii_only=False))


def opened(folder: Path) -> Collection:
    """Open a collection with vectors in two spaces."""
    return Collection(folder, SPACES)


@contextmanager
def merged_above(passages: int) -> Iterator[None]:
    """Let collections of more than so many passages have deltas, and merge them in the background."""
    before, module._AT_ONCE = module._AT_ONCE, passages
    try:
        yield
    finally:
        module._AT_ONCE = before


# ------------------------------------------------------------------------------------------- what is done


@dataclass(frozen=True)
class Upsert:
    """Add or replace documents, so many in a transaction."""

    documents: tuple[Document, ...]
    batch_size: int


@dataclass(frozen=True)
class Delete:
    """Delete documents, some of which there may not be."""

    doc_ids: tuple[str, ...]


@dataclass(frozen=True)
class Flush:
    """Make the index clean and save it."""


@dataclass(frozen=True)
class Search:
    """Bring the snapshot up to date, which may begin a merge in the background."""


@dataclass(frozen=True)
class Reopen:
    """Close the collection and open it again."""


Operation = Upsert | Delete | Flush | Search | Reopen


def document(number: int, dice: random.Random) -> Document:
    """Make a document, some of several passages, some Chinese or mixed; none without a word."""
    words = dice.choice(((*WORDS,), (*WORDS,), CHINESE, (*WORDS, *CHINESE)))
    pieces = [" ".join(dice.choices(words, k=dice.randrange(1, 25))) for _ in range(dice.choice((1, 1, 1, 2)))]
    if len(pieces) > 1:  # as long as a passage may be, so that each becomes one
        pieces = [piece + " word0" * ((PASSAGE_CHARS - len(piece)) // 6) for piece in pieces]
    text = "\n\n".join(pieces)
    return Document(f"d{number}", text, dice.choice(("", "fox", "客户")), {"n": dice.randrange(3)})


def operations(seed: str, names: int = 40) -> Iterator[Operation]:
    """Yield what is done, without end; the same for the same seed."""
    dice = random.Random(seed)

    def upsert() -> Upsert:
        numbers = [dice.randrange(names) for _ in range(dice.randrange(1, 10))]
        return Upsert(tuple(document(number, dice) for number in numbers), dice.choice((3, 100)))

    def delete() -> Delete:
        return Delete(tuple(f"d{dice.randrange(names)}" for _ in range(dice.randrange(1, 5))))

    kinds: tuple[Callable[[], Operation], ...] = (upsert, delete, Flush, Search, Reopen)
    while True:
        yield dice.choices(kinds, (45, 20, 12, 20, 3))[0]()


def steps(operation: Operation) -> list[Callable[[Truth], Truth]]:
    """Return what an operation does to the truth, a function for each transaction that is acknowledged."""
    if isinstance(operation, Upsert):
        size = operation.batch_size
        batches = [operation.documents[at : at + size] for at in range(0, len(operation.documents), size)]
        return [partial(_with, batch) for batch in batches]
    if isinstance(operation, Delete):
        return [partial(_without, operation.doc_ids)]
    return []


def _with(documents: Sequence[Document], truth: Truth) -> Truth:
    return truth | {one.doc_id: one for one in documents}


def _without(doc_ids: Sequence[str], truth: Truth) -> Truth:
    return {doc_id: one for doc_id, one in truth.items() if doc_id not in doc_ids}


def perform(collection: Collection, operation: Operation, acknowledged: Callable[[], None]) -> None:
    """Do to a collection what `operation` says, all but reopening; call `acknowledged` once for each step."""
    if isinstance(operation, Upsert):
        collection.upsert(
            operation.documents,
            whole=False,
            batch_size=operation.batch_size,
            progress=lambda _: acknowledged(),
        )
    elif isinstance(operation, Delete):
        collection.delete(operation.doc_ids)
        acknowledged()
    elif isinstance(operation, Flush):
        collection.flush()
    elif isinstance(operation, Search):
        collection.search("word1 客户")


# ------------------------------------------------------------------------------------------- what must hold


def rankings(collection: Collection, legs: Sequence[str] = ("lexical", "dense", "hybrid")) -> Rankings:
    """Return what all queries find by each of `legs`, with scores."""
    return [
        [(hit.passage_id, hit.score) for hit in collection.search(query, 200, leg)] for query in QUERIES for leg in legs
    ]


def clean(truth: Mapping[str, Document], legs: Sequence[str] = ("lexical", "dense", "hybrid")) -> Rankings:
    """Return what a collection finds that was built from nothing."""
    folder = Path(tempfile.mkdtemp(prefix="clean-"))
    try:
        with opened(folder / "clean") as built:
            built.upsert(truth.values(), whole=False)
            return rankings(built, legs)
    finally:
        shutil.rmtree(folder)


def stored(collection: Collection) -> Truth:
    """Return all documents."""
    found: Truth = {}
    while page := collection.documents(max(found, default=None), 1_000):
        found |= {one.doc_id: one for one in page}
    return found


def differing(collection: Collection, candidates: Sequence[Truth]) -> tuple[Truth, list[str]]:
    """Return which of `candidates` an open collection holds, the first where none, and all that is not as it must be.

    It is compared as it is, then flushed and compared with a clean build. The last candidate is what is acknowledged.
    """
    held = stored(collection)
    truth = next((one for one in candidates if one == held), None)
    if truth is None:
        return held, [_described(held, candidates[0])]
    faults = []
    passages = [passage for one in truth.values() for passage in split(one)]
    expected = sorted(passages, key=lambda passage: passage.passage_id)
    snapshot = collection.snapshot()
    seen = [snapshot.passage(place) for place in range(len(snapshot))]
    if [passage.passage_id for passage in seen] != [passage.passage_id for passage in expected]:
        faults.append("the snapshot holds other passages")
    elif [passage.text for passage in seen] != [passage.text for passage in expected]:
        faults.append("the snapshot holds other texts")
    found = [hit.passage_id for hit in collection.search(EVERYTHING, 1_000, "lexical")]
    if sorted(found) != [passage.passage_id for passage in expected]:
        faults.append(f"searching finds {len(found)} passages in place of {len(expected)}")
    reference = clean(truth)
    if rankings(collection, ["dense"]) != reference[1::3]:
        faults.append("before a flush the dense leg ranks otherwise than a clean build")
    collection.flush()
    if rankings(collection) != reference:
        faults.append("after a flush results are other than a clean build's")
    return truth, faults


def _described(held: Truth, truth: Truth) -> str:
    lost = sorted(truth.keys() - held.keys())
    more = sorted(held.keys() - truth.keys())
    other = sorted(name for name in truth.keys() & held.keys() if truth[name] != held[name])
    return f"acknowledged, but lost: {lost}; there, but should not be: {more}; other than acknowledged: {other}"
