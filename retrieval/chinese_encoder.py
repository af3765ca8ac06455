"""The Chinese encoder: a vector for each word and character, and a text is the weighted sum of its own.

There is no network to run: a text costs a look-up and a sum. What the vectors know they learnt from pairs of texts that
belong together (`chinese_encoder_training.py`).

A model is a folder of `model.json`, `vocabulary.txt` and `weights.safetensors`: a row of 4-bit numbers for each entry
of the vocabulary, and what the entry counts in a passage and in a query. Nothing is unpickled, and each file's SHA-256
stands in `model.json`.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .. import StorageError
from .analysis import is_chinese
from .dense import Vectors

CHINESE_ENCODER = "hanzi-1"
"""The encoder's name, which is that of its vector space: weights that make other vectors need another."""

FOLDER = Path(__file__).parent.parent / "data" / "models" / "encoder" / "zh"

CHARACTERS = 4_000
"""What is read of a text: the mean over more would say less."""

BUCKETS = 1_024
"""Vectors shared by what is not in the vocabulary, chosen by a checksum."""

DESCRIPTION = "model.json"
_VOCABULARY = "vocabulary.txt"
_WEIGHTS = "weights.safetensors"
_NAMES = (_VOCABULARY, _WEIGHTS)
_LEVELS = 7

_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAN_CHARACTER = re.compile(rf"[{_HAN}]")
_RUN = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+")

Ids = NDArray[np.int64]
_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Table:
    """What the model knows: (n, dimensions) whole numbers, what each row counts in a passage and in a query.

    The rows are those of the vocabulary, then those of the buckets.
    """

    rows: NDArray[np.int8]
    passage: _Floats
    query: _Floats


@dataclass(frozen=True, slots=True)
class Description:
    """What `model.json` says: the shape, the characters that are folded, and the sums of the other files.

    Keys that are not named here are passed over.
    """

    format: Literal[1]
    name: str
    dimensions: Annotated[int, Field(gt=0, le=4_096, multiple_of=2)]
    traditional: str
    simplified: str
    sums: Mapping[str, str]


_DESCRIPTION = TypeAdapter(Description)


class ChineseEncoder:
    """Reads Chinese, traditional characters as simplified ones. Loaded on first use, safe for many threads.

    `name` must be that of the model in `folder`: vectors of another model are of another space.
    """

    def __init__(self, folder: Path = FOLDER, name: str = CHINESE_ENCODER) -> None:
        self._folder = folder
        self._name = name
        self._lock = threading.Lock()
        self._model: Model | None = None

    @property
    def name(self) -> str:
        """Name the vector space."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Say how long each vector is."""
        return self._loaded().dimensions

    def reads(self, text: str) -> bool:
        """Say whether `text` is Chinese."""
        return is_chinese(text) and _HAN_CHARACTER.search(text) is not None

    def load(self) -> None:
        """Load the model, if that was not done before; raises StorageError for a missing or damaged file."""
        self._loaded()

    def encode_documents(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Return one unit vector a text; raises what `load` does."""
        model = self._loaded()
        vectors = np.empty((len(texts), model.dimensions), dtype=np.float32)
        for i, text in enumerate(texts):
            vectors[i] = model.vector(text, model.table.passage)
            if progress is not None:
                progress(i + 1)
        return vectors

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a query; raises what `load` does."""
        model = self._loaded()
        vectors = [model.vector(text, model.table.query) for text in texts]
        return np.stack(vectors) if vectors else np.empty((0, model.dimensions), dtype=np.float32)

    def _loaded(self) -> Model:
        with self._lock:
            if self._model is None:
                self._model = load_model(self._folder, self._name)
            return self._model


# ------------------------------------------------------------------------------------ text to rows


class Words:
    """Cuts text into entries of a vocabulary: words of the dictionary, those inside longer ones too, and characters.

    `folds` maps traditional characters to simplified ones.
    """

    def __init__(self, vocabulary: Iterable[str], folds: Mapping[int, str]) -> None:
        self._places = {word: place for place, word in enumerate(vocabulary)}
        self._folds = folds

    def __len__(self) -> int:
        """Return how many rows there are, those of the buckets too."""
        return len(self._places) + BUCKETS

    def ids(self, text: str) -> Ids:
        """Return the rows of `text`, repeated ones repeated; there is always one."""
        found = [self._place(piece) for piece in pieces(text, self._folds)] or [self._bucket("")]
        return np.array([place for place in found if place >= 0] or [self._bucket(text)], dtype=np.int64)

    def _place(self, piece: str) -> int:
        """Return the row of `piece`; -1 for a word that is not known, whose characters stand beside it."""
        place = self._places.get(piece)
        if place is not None:
            return place
        return -1 if len(piece) > 1 and _HAN_CHARACTER.match(piece) else self._bucket(piece)

    def _bucket(self, piece: str) -> int:
        return len(self._places) + zlib.crc32(piece.encode("utf-8", "replace")) % BUCKETS


def pieces(text: str, folds: Mapping[int, str]) -> list[str]:
    """Return the words and characters of `text`, folded, in order; other scripts' words are not cut.

    >>> pieces("買iPhone15手機", {ord("買"): "买", ord("機"): "机"})
    ['买', 'iphone15', '手机', '手', '机']
    """
    folded = unicodedata.normalize("NFKC", text[:CHARACTERS]).lower().translate(folds)
    found: list[str] = []
    for run in _RUN.findall(folded):
        if not _HAN_CHARACTER.match(run):
            found.append(run)
            continue
        if len(run) > 1:
            found += [word for word in _cut(run) if len(word) > 1]
        found += run
    return found


def _cut(run: str) -> list[str]:
    return list(_dictionary().cut_for_search(run, False))


@cache
def _dictionary() -> Any:  # noqa: ANN401 - rjieba is untyped
    """Return the dictionary, read when it is first needed: English alone should not pay for it."""
    return import_module("rjieba")


# ---------------------------------------------------------------------------------------- the model


@dataclass(frozen=True, slots=True)
class Model:
    """The vocabulary and its vectors."""

    words: Words
    table: Table

    @property
    def dimensions(self) -> int:
        """Say how long each vector is."""
        return int(self.table.rows.shape[1])

    def vector(self, text: str, weights: _Floats) -> _Floats:
        """Return the unit vector of `text`, each text on its own: what else is encoded changes no bit of it."""
        ids = self.words.ids(text)
        summed: _Floats = weights[ids] @ self.table.rows[ids].astype(np.float32)
        length = float(np.linalg.norm(summed))
        if not length:  # they cancel out: any direction is as good, but there must be one
            summed[0] = length = 1.0
        unit: _Floats = summed / np.float32(length)
        return unit


def pack(vectors: _Floats, passage: _Floats, query: _Floats) -> dict[str, NDArray[Any]]:
    """Return what is stored of `vectors` (n, dimensions) and of what each counts: 4 bits a number, a scale a row."""
    rows, scales = quantized(vectors)
    halves = (rows + 8).astype(np.uint8)
    return {
        "rows": np.ascontiguousarray(halves[:, 0::2] | (halves[:, 1::2] << 4)),
        "passage": (passage * scales).astype(np.float32),
        "query": (query * scales).astype(np.float32),
    }


def unpack(stored: Mapping[str, NDArray[Any]]) -> Table:
    """Return the table that `pack` stored."""
    halves = stored["rows"]
    rows = np.empty((len(halves), 2 * halves.shape[1]), dtype=np.int8)
    rows[:, 0::2] = halves & 15
    rows[:, 1::2] = halves >> 4
    rows -= 8
    return Table(rows, stored["passage"], stored["query"])


def quantized(vectors: _Floats) -> tuple[NDArray[np.int8], _Floats]:
    """Return each row as whole numbers from -7 to 7 and the scale, of those tried, that loses the least of it."""
    widest = np.abs(vectors).max(axis=1, initial=1e-12)
    scales = np.zeros(len(vectors), dtype=np.float32)
    least = np.full(len(vectors), np.inf)
    # The far ends of a row are few: to cut them off leaves finer steps for all the rest.
    for share in np.linspace(0.4, 1.0, 13):
        tried = (widest * share / _LEVELS).astype(np.float32)
        loss = np.square(_rounded(vectors, tried) * tried[:, None] - vectors).sum(axis=1)
        better = loss < least
        scales[better], least[better] = tried[better], loss[better]
    return _rounded(vectors, scales).astype(np.int8), scales


def _rounded(vectors: _Floats, scales: _Floats) -> _Floats:
    rounded: _Floats = np.clip(np.round(vectors / scales[:, None]), -_LEVELS, _LEVELS)
    return rounded


# ---------------------------------------------------------------------------------------- the files


def save_model(
    folder: Path,
    name: str,
    vocabulary: Sequence[str],
    stored: Mapping[str, NDArray[Any]],
    described: Mapping[str, object],
) -> None:
    """Write a model's three files; `described` goes into `model.json` beside its own keys."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _VOCABULARY).write_bytes("\n".join(vocabulary).encode())
    (folder / _WEIGHTS).write_bytes(save(dict(stored)))
    sums = {name: _sum((folder / name).read_bytes()) for name in _NAMES}
    whole = {
        "format": 1,
        "name": name,
        "dimensions": 2 * stored["rows"].shape[1],
        **described,
        "sums": sums,
    }
    (folder / DESCRIPTION).write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2) + b"\n")


def load_model(folder: Path, name: str = CHINESE_ENCODER) -> Model:
    """Return the model called `name` in `folder`; raises StorageError for a missing, damaged or foreign file."""
    description = _read_description(folder / DESCRIPTION)
    if description.name != name:
        raise _foreign(folder / DESCRIPTION, f"name: expected {name!r}, got {description.name[:40]!r}")
    words, weights = (_checked(folder / name, description.sums[name]) for name in _NAMES)
    folds = dict(zip(map(ord, description.traditional), description.simplified, strict=True))
    vocabulary = words.decode("utf-8", "replace").split("\n")
    try:
        stored = load(weights)
        _check_shapes(stored, len(vocabulary) + BUCKETS, description.dimensions)
    except (SafetensorError, KeyError, ValueError) as error:
        raise StorageError(f"{folder / _WEIGHTS}: not the weights of the Chinese encoder: {error}") from error
    return Model(Words(vocabulary, folds), unpack(stored))


def _check_shapes(stored: Mapping[str, NDArray[Any]], rows: int, dimensions: int) -> None:
    """Raise ValueError, or KeyError, unless the tensors are those that the description and vocabulary ask for."""
    expected = {
        "rows": ((rows, dimensions // 2), "uint8"),
        "passage": ((rows,), "float32"),
        "query": ((rows,), "float32"),
    }
    for name, (shape, kind) in expected.items():
        found = stored[name]
        if (found.shape, str(found.dtype)) != (shape, kind):
            raise ValueError(f"{name}: expected {shape} of {kind}, got {found.shape} of {found.dtype}")
        if kind == "float32" and not np.isfinite(found).all():
            raise ValueError(f"{name}: expected numbers, got one that is not finite")


def _read_description(path: Path) -> Description:
    try:
        description = _DESCRIPTION.validate_json(_read(path), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "file"
        raise _foreign(path, f"{place}: {first['msg']}") from error
    if set(description.sums) != set(_NAMES):
        raise _foreign(path, f"sums: expected those of {' and '.join(_NAMES)}")
    if len(description.traditional) != len(description.simplified):
        raise _foreign(path, "simplified: expected one character for each of `traditional`")
    return description


def _foreign(path: Path, reason: str) -> StorageError:
    return StorageError(f"{path}: not the description of the Chinese encoder: {reason}")


def _checked(path: Path, expected: str) -> bytes:
    """Return what the file holds, once its sum is the one that is expected."""
    data = _read(path)
    if _sum(data) != expected:
        raise StorageError(f"{path}: damaged, or not the file that the model was made with: copy the model again")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
