"""all-MiniLM-L6-v2 on ONNX Runtime: without torch, loaded in a fraction of a second, on several threads at once."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

from .. import StorageError, UnavailableError
from .analysis import has_words, is_chinese
from .batching import MicroBatcher, by_length
from .dense import Vectors

GRAPH = Path(__file__).parent.parent / "data" / "models" / "minilm" / "graph.onnx"
"""Written by `service/encoder_graph.py`; the weights are in the installed package."""

LENGTH = 256
"""Word pieces that the model reads of a text, the two marks around it among them."""

_DIMENSIONS = 384
_TOKENS = 512
"""What one run takes: with more, what passes from layer to layer falls out of a core's cache."""

_WINDOW = 1_024
"""Texts that are cut into word pieces, and sorted by length, at a time."""

_FEW = 16
"""More queries in one call are worked on by all threads, as documents are."""

WEIGHTS = "model.safetensors"
_TOKENIZER = "tokenizer.json"
_SUMS = {
    "graph.onnx": "8565c170dae45bdfb81d4ce8cee6897262315a7a09748d0ac784ecbf98bd707e",
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    _TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

_Ids = NDArray[np.int64]


class OnnxEncoder:
    """The default encoder; reads English. Loaded on first use, safe to use from several threads.

    Documents are encoded by up to `threads` threads of its own, by default one a core, queries in the threads that
    ask, which share runs where more ask than there are cores. Neither waits for the other.
    """

    def __init__(self, name: str, folder: Path, *, graph: Path = GRAPH, threads: int | None = None) -> None:
        self._name = name
        self._folder = folder
        self._graph = graph
        self._lock = threading.Lock()
        self._model: _Model | None = None
        self._failure: StorageError | None = None
        lanes = threads or usable_cores()
        self._workers = ThreadPoolExecutor(lanes, "encoder")  # starts threads when there is work
        self._queries: MicroBatcher[_Ids, NDArray[np.float32]] = MicroBatcher(self._run_each, len, _TOKENS, lanes)

    @property
    def name(self) -> str:
        """Name the vector space."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Say how long each vector is."""
        return _DIMENSIONS

    def reads(self, text: str) -> bool:
        """Say whether `text` has words, and they are not Chinese."""
        return has_words(text) and not is_chinese(text)

    def load(self) -> None:
        """Load the model, if that was not done before.

        Raises StorageError for a missing or damaged file, and from then on without looking again; UnavailableError
        where the machine lacks the memory.
        """
        self._loaded()

    def encode_documents(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Return one unit vector a text; raises what `load` does, UnavailableError where a run fails."""
        vectors = np.zeros((len(texts), _DIMENSIONS), dtype=np.float32)
        for start in range(0, len(texts), _WINDOW):
            ids = self._loaded().ids(texts[start : start + _WINDOW])
            batches = by_length([len(one) for one in ids], _TOKENS)
            done = start
            made = self._workers.map(lambda batch, ids=ids: self._run([ids[i] for i in batch]), batches)
            for batch, found in zip(batches, made, strict=True):
                vectors[[start + i for i in batch]] = found
                done += len(batch)
                if progress is not None:
                    progress(done)
        return vectors

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a query; raises what `encode_documents` does."""
        if len(texts) > _FEW or not texts:
            return self.encode_documents(texts)
        return np.stack(self._queries(self._loaded().ids(texts)))

    def _run_each(self, ids: Sequence[_Ids]) -> list[NDArray[np.float32]]:
        return list(self._run(ids))

    def _run(self, ids: Sequence[_Ids]) -> Vectors:
        model = self._loaded()
        try:
            return model.run(ids)
        except Exception as error:  # onnxruntime has a class of error for each of its states
            raise UnavailableError(f"encoder {self._name!r}: {len(ids)} texts could not be encoded: {error}") from error

    def _loaded(self) -> _Model:
        with self._lock:
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            if self._model is None:
                try:
                    self._model = _Model(self._folder, self._graph)
                except StorageError as error:
                    self._failure = error
                    raise
                except Exception as error:
                    raise UnavailableError(f"encoder {self._name!r}: could not be loaded: {error}") from error
            return self._model


class _Model:
    """Tokenizer and session. The session has no threads of its own: it runs in those of its callers."""

    def __init__(self, folder: Path, graph: Path) -> None:
        for path in (graph, folder / WEIGHTS, folder / _TOKENIZER):
            _check(path)
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        self._tokenizer.enable_truncation(LENGTH)
        self._tokenizer.no_padding()
        self._session = _session(graph, folder / WEIGHTS)

    def ids(self, texts: Sequence[str]) -> list[_Ids]:
        """Return the word pieces of each text."""
        found = self._tokenizer.encode_batch_fast(list(texts))
        return [np.array(one.ids, dtype=np.int64) for one in found]

    def run(self, texts: Sequence[_Ids]) -> Vectors:
        """Return one unit vector a text, all in one run, padded to the longest."""
        ids = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
        mask = np.zeros(ids.shape, dtype=np.int32)
        for i, one in enumerate(texts):
            ids[i, : len(one)] = one
            mask[i, : len(one)] = 1
        (vectors,) = self._session.run(None, {"ids": ids, "mask": mask})
        return np.asarray(vectors, dtype=np.float32)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(path: Path) -> None:
    """Raise StorageError unless the file is the one that the code was written for."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); install the package again") from error
    if found != _SUMS[path.name]:
        raise StorageError(
            f"{path}: sha256 is {found}, expected {_SUMS[path.name]}; the file is damaged or another model's: "
            "install the package again"
        )


def _session(graph: Path, weights: Path) -> onnxruntime.InferenceSession:
    """Return the graph, ready to run on a copy of the weights of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in read_weights(weights).items()}
    options.add_external_initializers(list(values), list(values.values()))
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the weights that the graph uses, the matrices of layers as (inputs, outputs)."""
    found = {}
    with safe_open(path, framework="numpy") as file:
        for name in file.offset_keys():
            if name.startswith(("embeddings.", "encoder.")) and not name.endswith("position_ids"):
                value = file.get_tensor(name)
                layer = value.ndim == 2 and name.startswith("encoder.")
                found[name] = np.ascontiguousarray(value.T) if layer else value
    return found
