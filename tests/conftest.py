"""What several test files share."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from querywright.retrieval.collection import Collection
from querywright.retrieval.dense import Encoder, load_encoder

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores: threads of each would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("querywright", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("querywright")


class WordEncoder:
    """A real, if simple, encoder: each word is a fixed random direction, a text their normalised sum."""

    name = "words"
    dimensions = 16

    def reads(self, text: str) -> bool:
        """Read what is ASCII, so that there is something that it does not read."""
        return text.isascii() and bool(text.strip())

    def encode_documents(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return one unit vector a text."""
        sums = [sum((_direction(word) for word in text.lower().split()), np.zeros(16)) for text in texts]
        vectors = np.array(sums, dtype=np.float32).reshape(len(texts), 16)
        if progress is not None:
            progress(len(texts))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector a query."""
        return self.encode_documents(texts)


def _direction(word: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(16)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """Return the default encoder, MiniLM, read once for all tests."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    return load_encoder("minilm")


@pytest.fixture(scope="session")
def word_encoder() -> WordEncoder:
    """Return an encoder that costs nothing."""
    return WordEncoder()


@pytest.fixture
def collection(tmp_path: Path, word_encoder: WordEncoder) -> Iterator[Collection]:
    """Return an empty collection with the cheap encoder."""
    with Collection(tmp_path / "demo", word_encoder) as opened:
        yield opened
