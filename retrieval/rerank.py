"""Reranking: a cross-encoder reads query and passage together and reorders the best of a fused list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import InputError, MissingExtraError
from .fusion import Ranking
from .hub import read_model

DEPTH = 20
"""How many of the best passages are read again, where nothing else is said."""

_BATCH = 32


class Reranker(Protocol):
    """What reranking needs of a model. Must be safe to call from several threads."""

    @property
    def name(self) -> str:
        """Name the model."""
        ...

    def scores(self, query: str, passages: Sequence[str]) -> NDArray[np.float64]:
        """Return one score a passage; the higher, the better it answers."""
        ...


def load_reranker(name: str) -> Reranker:
    """Return the cross-encoder called `name`: a model's local folder, or its name on the hub.

    The model itself is read on first use, because its libraries take seconds to import. Raises MissingExtraError
    where sentence-transformers is not installed.
    """
    if find_spec("sentence_transformers") is None:
        raise MissingExtraError("reranker: sentence-transformers is not installed: pip install querywright")
    if not name.strip():
        raise InputError("reranker: expected a model's name or folder, got an empty one")
    return CrossEncoderReranker(name, Path(name).expanduser() if Path(name).expanduser().is_dir() else name)


class CrossEncoderReranker:
    """Any cross-encoder of sentence-transformers with one score a pair. One thread reads at a time."""

    def __init__(self, name: str, model: str | Path) -> None:
        self._name = name
        self._source = str(model)
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def name(self) -> str:
        """Name the model."""
        return self._name

    def load(self) -> None:
        """Read the model now, rather than on first use."""
        with self._lock:
            self._loaded()

    def scores(self, query: str, passages: Sequence[str]) -> NDArray[np.float64]:
        """Return one score a passage. Raises StorageError or InputError where the model cannot be used."""
        if not passages:
            return np.empty(0, np.float64)
        with self._lock:
            found = self._loaded().predict(
                [(query, passage) for passage in passages], batch_size=_BATCH, show_progress_bar=False
            )
        return np.asarray(found, dtype=np.float64)

    def _loaded(self) -> Any:  # noqa: ANN401 - the library's class, which must not be imported here
        """Return the model, reading it first where that has not happened; the lock must be held."""
        if self._model is None:
            model = read_model("CrossEncoder", "reranker", self._name, self._source)
            if model.num_labels != 1:
                raise InputError(f"reranker {self._name!r}: expected one score a pair, it gives {model.num_labels}")
            self._model = model
        return self._model


class Reranking:
    """A reranker within bounds: how many passages it reads, and how long a search waits for it.

    It has a thread of its own, in which queries queue up: one that is not answered in time is given up.
    """

    def __init__(self, reranker: Reranker, depth: int = DEPTH, seconds: float = 2.0) -> None:
        self._reranker = reranker
        self._depth = depth
        self._seconds = seconds
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="rerank")

    def __call__(self, query: str, ranking: Ranking, text_of: Callable[[int], str]) -> Ranking:
        """Return `ranking` with its best passages, whose texts are `text_of` their positions, in a new order.

        Raises TimeoutError when it takes too long, ValueError for scores that order nothing, and whatever the
        reranker raises.
        """
        passages = [text_of(position) for position in ranking.head(self._depth).positions.tolist()]
        future = self._executor.submit(self._reranker.scores, query, passages)
        try:
            scores = future.result(timeout=self._seconds)
            if len(scores) != len(passages):
                raise ValueError(f"rerank: expected {len(passages)} scores, got {len(scores)}")
            return reordered(ranking, scores)
        finally:
            future.cancel()

    def close(self) -> None:
        """Stop reading; what is under way is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def reordered(ranking: Ranking, scores: NDArray[np.float64]) -> Ranking:
    """Return `ranking` with its first passages ordered by `scores`, equal ones as they stood.

    The ranking's scores stay at their ranks: they go on falling, and those of a model mean nothing beside them.
    Raises ValueError unless there is one finite score for each passage that is to be ordered.
    """
    if scores.ndim != 1 or len(scores) > len(ranking) or not np.isfinite(scores).all():
        raise ValueError("rerank: expected one finite score a passage")
    order = np.argsort(-scores, kind="stable")
    positions = np.concatenate((ranking.positions[order], ranking.positions[len(scores) :]))
    return replace(ranking, positions=positions)
