"""Scan vectors on a GPU: all of them, in half precision, for candidates that the index then scores exactly.

One thread owns what is on the GPU and answers the queries that wait together: FAISS's GPU indexes must not be called
by two threads at once, and a batch costs little more than one query. While the GPU cannot be used the index answers
without it and says so; it is loaded again after a pause.
"""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from itertools import zip_longest
from typing import ClassVar, Protocol

import numpy as np

from .. import InputError, MissingExtraError
from .dense import EXACT_ROWS, DegradedSearch, DenseIndex, Rows, Vector, Vectors

BATCH = 256
"""At most this many queries are answered at once; half as many after each time that memory did not suffice."""

_PAUSE_S = 30.0
_PATIENCE_S = 5.0
_UPLOAD = 65_536


class Device(StrEnum):
    """Where vectors are scanned; `auto` is CUDA where a GPU is seen."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


class Engine(Protocol):
    """Vectors on a device. Only one thread may call it."""

    widest: ClassVar[int]
    """The most candidates that it finds at once."""

    def nearest(self, queries: Vectors, width: int) -> Rows:
        """Return the `width` nearest rows of each of `queries`, (n, width); raises RuntimeError."""
        ...


class FaissEngine:
    """An exact FAISS index in float16 on the first GPU."""

    widest: ClassVar[int] = 2048

    def __init__(self, vectors: Vectors) -> None:
        faiss = import_module("faiss")
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = True
        self._index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), vectors.shape[1], config)
        self._index.add(vectors)

    def nearest(self, queries: Vectors, width: int) -> Rows:
        """Return the `width` nearest rows of each query."""
        return np.asarray(self._index.search(queries, width)[1], dtype=np.int64)


class TorchEngine:
    """A matrix of float16 on a device that torch sees: one product and one selection a batch."""

    widest: ClassVar[int] = 16_384

    def __init__(self, vectors: Vectors, device: str = "cuda") -> None:
        self._torch = import_module("torch")
        self._device = device
        self._matrix = self._torch.empty(vectors.shape, dtype=self._torch.float16, device=device)
        for start in range(0, len(vectors), _UPLOAD):
            piece = vectors[start : start + _UPLOAD]
            self._matrix[start : start + len(piece)] = self._half(piece)

    def nearest(self, queries: Vectors, width: int) -> Rows:
        """Return the `width` nearest rows of each query."""
        with self._torch.inference_mode():
            scores = self._half(queries) @ self._matrix.T
            found = self._torch.topk(scores, width, sorted=False).indices.cpu().numpy()
        return np.asarray(found, dtype=np.int64)

    def _half(self, vectors: Vectors):  # type: ignore[no-untyped-def]  # noqa: ANN202 - torch waits to be imported
        return self._torch.from_numpy(vectors.astype(np.float16)).to(self._device)


class DeviceScan:
    """Candidates from an engine in a thread of its own, which ends with this object."""

    def __init__(
        self,
        load: Callable[[], Engine],
        *,
        batch: int = BATCH,
        pause_s: float = _PAUSE_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._owner = _Owner(load, batch, pause_s)
        self._patience_s = patience_s
        # The thread must not hold this object, else it would never end.
        weakref.finalize(self, self._owner.questions.put, None)
        threading.Thread(target=self._owner.run, name="querywright-device", daemon=True).start()

    @property
    def degraded(self) -> str:
        """Say why the device is not used now; "" while it is, and while it is loaded for the first time."""
        return self._owner.degraded

    def wait(self) -> None:
        """Wait until the engine was loaded, or could not be."""
        self._owner.tried.wait()

    def width(self, depth: int) -> int:
        """Say how many candidates hold the `depth` nearest in spite of half precision."""
        return depth + depth // 2 + 64

    def nearest(self, query: Vector, width: int) -> Rows | None:
        """Return `width` candidates; raises DegradedSearch where the device cannot give them now."""
        owner = self._owner
        engine = owner.engine
        if engine is None or owner.degraded:
            raise DegradedSearch(owner.degraded or "the device is being loaded")
        if width > engine.widest:
            return None
        question = _Question(query, width)
        owner.questions.put(question)
        try:
            return question.answer.result(self._patience_s)
        except Late:
            owner.degraded = f"no answer from the device in {self._patience_s:g} s"
            raise DegradedSearch(owner.degraded) from None


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    query: Vector
    width: int
    answer: Future[Rows] = field(default_factory=Future)


class _Owner:
    """What runs in the thread: loads the engine, answers what waits, loads it again a while after it failed."""

    def __init__(self, load: Callable[[], Engine], batch: int, pause_s: float) -> None:
        self.questions: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self.engine: Engine | None = None
        self.degraded = ""
        self.tried = threading.Event()
        self._load = load
        self._most = self._batch = batch
        self._pause_s = pause_s

    def run(self) -> None:
        """Answer questions until None is asked."""
        self._reload()
        while self._answer_next():
            pass
        self.engine = None

    def _answer_next(self) -> bool:
        """Answer what waits, if need be wait for it; False once None is asked.

        Nothing of a question may be kept while waiting for the next: a failed one holds on to who asked it.
        """
        try:
            first = self.questions.get(timeout=None if self.engine else self._pause_s)
        except queue.Empty:
            self._reload()
            return True
        if first is not None:
            self._answer([first, *self._waiting()])
        return first is not None

    def _reload(self) -> None:
        try:
            self.engine = self._load()
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, searches go on without it
            self.degraded = f"the device cannot be loaded: {error}"
        else:
            self._most, self.degraded = self._batch, ""
        self.tried.set()

    def _waiting(self) -> list[_Question]:
        """Return the other questions that wait, no more than fit one batch."""
        waiting: list[_Question] = []
        while len(waiting) < self._most - 1 and not self.questions.empty():
            question = self.questions.get()
            if question is None:
                self.questions.put(None)
                break
            waiting.append(question)
        return waiting

    def _answer(self, batch: list[_Question]) -> None:
        queries, width = np.stack([one.query for one in batch]), max(one.width for one in batch)
        try:
            # The engine is None for what was asked while it failed.
            found = self._nearest(self.engine, queries, width) if self.engine else []
        except Exception as error:  # noqa: BLE001 - likewise; nobody may be left waiting
            found = []
            self.engine = None
            self.degraded = f"the device failed: {error}"
        else:
            self.degraded = "" if self.engine else self.degraded
        for one, rows in zip_longest(batch, found):
            if rows is None:
                one.answer.set_exception(DegradedSearch(self.degraded))
            else:
                one.answer.set_result(rows)

    def _nearest(self, engine: Engine, queries: Vectors, width: int) -> list[Rows]:
        """Ask the engine for all queries together, or in halves for as long as its memory does not suffice."""
        found: list[Rows] = []
        start = 0
        while start < len(queries):
            try:
                found += list(engine.nearest(queries[start : start + self._most], width))
            except RuntimeError as error:
                if self._most == 1 or "out of memory" not in str(error).lower():
                    raise
                self._most = max(1, min(self._most, len(queries) - start) // 2)
            start = len(found)
        return found


def on_device(index: DenseIndex, device: Device | str, *, least: int = EXACT_ROWS) -> DenseIndex:
    """Return `index` scanned on a GPU, itself where it has fewer than `least` vectors or there is no GPU to use.

    Raises InputError for an unknown device, MissingExtraError where "cuda" is asked for and nothing sees a GPU.
    """
    if device not in list(Device):
        raise InputError(f"device: expected cpu, cuda or auto, got {device!r}")
    if device != Device.CUDA and len(index) < least:
        return index  # whether there is a GPU takes seconds to find out
    engine = _engine(device)
    if engine is None or len(index) < least:
        return index
    return index.scanned_by(DeviceScan(partial(engine, index.vectors)))


@cache
def _engine(device: Device | str) -> Callable[[Vectors], Engine] | None:
    """Return what scans on `device`; None for the processor."""
    if device == Device.CPU:
        return None
    if _has_driver():
        if find_spec("faiss") and import_module("faiss").get_num_gpus():
            return FaissEngine
        if find_spec("torch") and import_module("torch").cuda.is_available():
            return TorchEngine
    if device == Device.AUTO:
        return None
    raise MissingExtraError(
        "device 'cuda': neither FAISS nor torch sees a GPU here: install a CUDA driver and 'querywright[gpu]', "
        "or set the device to cpu"
    )


def _has_driver() -> bool:
    """Say whether NVIDIA's driver is installed; far quicker than to import torch and ask it."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
