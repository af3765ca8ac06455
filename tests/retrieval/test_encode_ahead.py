"""Encoding elsewhere, some batches ahead: what is stored is what one batch after the other would store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querywright import InputError
from querywright.retrieval.collection import Collection, Encode
from querywright.retrieval.encoders import Encoder
from querywright.retrieval.passage import Document
from querywright.retrieval.spaces import Spaces, Vector

Groups = Iterable[Sequence[str]]


def ahead(encoder: Encoder, count: int, told: list[int] | None = None) -> Encode:
    """Return what reads `count` groups ahead, and what `told` hears how many texts each had."""

    def encode(groups: Groups) -> Iterator[list[dict[str, Vector]]]:
        waiting: deque[Sequence[str]] = deque()
        source, failure = iter(groups), None
        while True:
            while failure is None and len(waiting) < count:
                try:
                    waiting.append(next(source))
                except (StopIteration, InputError) as error:
                    failure = error
            if not waiting:
                break
            texts = waiting.popleft()
            if told is not None:
                told.append(len(texts))
            yield Spaces(encoder).encode_documents(texts)
        if isinstance(failure, InputError):
            raise failure

    return encode


def rows(collection: Collection) -> list[tuple[object, ...]]:
    """Return all that is stored, in the order of writing, and how often each document was written."""
    store = collection._store
    return [
        *store._rows("SELECT rowid, doc_id, title, text, metadata, digest, encoder FROM documents ORDER BY rowid", ()),
        *store._rows("SELECT rowid, passage_id, space, vector FROM vectors ORDER BY rowid", ()),
    ]


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=40),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=10),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_however_far_ahead(
    word_encoder: Encoder, drawn: list[tuple[int, int]], before: list[tuple[int, int]], size: int, count: int
) -> None:
    def documents(pairs: list[tuple[int, int]]) -> list[Document]:
        return [Document(f"d{number}", f"fox {version}") for number, version in pairs]

    found, encoded = [], []
    for far in (None, 1, count):
        with TemporaryDirectory() as folder, Collection(Path(folder) / "c", word_encoder) as collection:
            collection.upsert(documents(before))
            told: list[int] = []
            progress: list[int] = []
            encode = ahead(word_encoder, far, told) if far else None
            total = collection.upsert(documents(drawn), batch_size=size, progress=progress.append, encode=encode)
            found.append((total, progress, rows(collection)))
            encoded.append(told)
    assert found[0] == found[1] == found[2]
    assert encoded[1] == encoded[2]  # the very same groups of texts: their composition may change last bits


def test_what_fails_to_be_read_fails_in_its_place(tmp_path: Path, word_encoder: Encoder) -> None:
    def documents() -> Iterator[Document]:
        yield from (Document(f"d{number}", f"fox {number}") for number in range(10))
        raise InputError("corpus.jsonl:11: expected a text")

    for encode in (None, ahead(word_encoder, 5)):
        with Collection(tmp_path / f"c{bool(encode)}", word_encoder) as collection:
            with pytest.raises(InputError, match=r"corpus\.jsonl:11: expected a text"):
                collection.upsert(documents(), batch_size=4, encode=encode)
            assert collection.count() == 8


def test_other_vectors_are_made_elsewhere_too(
    tmp_path: Path, word_encoder: Encoder, other_encoder: Callable[[str], Encoder]
) -> None:
    texts = [Document(f"d{number:03}", f"fox {number}") for number in range(600)]
    found = []
    for far in (1, 3):
        with Collection(tmp_path / f"{far}", word_encoder) as collection:
            collection.upsert(texts)
        other, told = other_encoder("other"), []
        with Collection(tmp_path / f"{far}", other, load={"words": word_encoder}.__getitem__) as collection:
            assert collection.reencode(encode=ahead(other, far, told))
            assert not collection.outdated
            found.append((rows(collection), told))
    assert found[0] == found[1]
    assert sum(found[0][1]) == 600


@pytest.fixture
def other_encoder(word_encoder: Encoder) -> Callable[[str], Encoder]:
    """Return what makes an encoder of another space."""

    class Other:
        dimensions = 16

        def __init__(self, name: str) -> None:
            self.name = name

        def reads(self, text: str) -> bool:
            return word_encoder.reads(text)

        def encode_documents(self, texts: Sequence[str], progress: object = None) -> Vector:
            return -word_encoder.encode_documents(texts)

        def encode_queries(self, texts: Sequence[str]) -> Vector:
            return self.encode_documents(texts)

    return Other
