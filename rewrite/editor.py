"""The rewriter `editor`: a small trained encoder that fills a query in by copying from the conversation.

It runs on ONNX Runtime, on one thread, without torch. What it writes stands in the history, the profile or its
closed list of connecting words; see `edit_script.py`. How it is trained: `editor_training.py`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .. import QuerywrightError, StorageError
from .edit_script import Connectors
from .editor_decoding import Scores, confidence, decode, features, to_edits
from .editor_input import Pieces, Vocabulary, read_pieces
from .editor_weights import Weights, base_folder, load_model
from .language import Language, language_of
from .query import Decision, Query, Rewrite, Role, Turn, apply_edits

MODELS = Path(__file__).parent.parent / "data" / "models" / "editor"
"""Where the project's own models are: one folder a language."""

BATCH = 16
"""Conversations that `rewrite_all` runs at once."""

_OUTPUTS = ("delete", "connect", "none", "points", "edit")
"""The scores that decoding reads."""

_PROBE = Query("它 it?", (Turn(Role.USER, "月亮 the moon"),))

_log = logging.getLogger(__name__)


class Editor:
    """One trained model; loaded on first use, safe to use from several threads."""

    name = "editor"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._model: _Model | None = None
        self._failure: QuerywrightError | None = None

    def load(self) -> None:
        """Load the model, if that was not done before.

        Raises StorageError for a missing, damaged or foreign file, MissingExtraError without the base encoder; what
        failed once fails again without being tried.
        """
        self._loaded()

    def rewrite(self, query: Query) -> Rewrite:
        """Return the rewrite of `query`; unchanged without a history or profile, or where nothing is missing."""
        return self.rewrite_all([query])[0]

    def rewrite_all(self, queries: Sequence[Query]) -> list[Rewrite]:
        """Return the rewrite of each query, running `BATCH` conversations of like length at once.

        Raises what `load` does, where any query has a history or profile. `seconds` is a query's share of its batch.
        """
        asked = {i: query for i, query in enumerate(queries) if query.history or query.profile}
        found = self._loaded().rewrite_all(asked) if asked else {}
        return [found.get(i) or Rewrite.keep(query, self.name) for i, query in enumerate(queries)]

    def _loaded(self) -> _Model:
        with self._lock:
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            if self._model is None:
                try:
                    self._model = _Model(self._folder)
                except QuerywrightError as error:
                    _log.warning("editor cannot be loaded: %s", error)
                    self._failure = error
                    raise
            return self._model


class _Model:
    """A model in memory."""

    def __init__(self, folder: Path) -> None:
        description, graph, weights = load_model(folder)
        self._connectors = Connectors(description.connectors)
        self._width = np.array(description.width, dtype=np.float32)
        self._calibration = description.calibration
        try:
            self._vocabulary = Vocabulary(base_folder(), description.characters)
            self._session = _session(graph, weights)
            self.rewrite_all({0: _PROBE})
        except Exception as error:  # onnxruntime has a class of error for each of its states
            raise StorageError(f"{folder}: graph, weights and description do not fit together: {error}") from error

    def rewrite_all(self, queries: Mapping[int, Query]) -> dict[int, Rewrite]:
        """Return the rewrite of each query under its number."""
        begun = time.perf_counter()
        read = {i: read_pieces(query, self._vocabulary) for i, query in queries.items()}
        reading = (time.perf_counter() - begun) / len(read)
        found = {i: self._kept(queries[i], pieces) for i, pieces in read.items() if not len(pieces.places)}
        order = sorted(read.keys() - found.keys(), key=lambda i: len(read[i].ids))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            begun = time.perf_counter()
            scores = self._scores([read[i] for i in batch])
            made = {i: self._finish(queries[i], read[i], one) for i, one in zip(batch, scores, strict=True)}
            share = reading + (time.perf_counter() - begun) / len(batch)
            found |= {i: replace(rewrite, seconds=share) for i, rewrite in made.items()}
        return found

    def _scores(self, batch: Sequence[Pieces]) -> Iterator[Scores]:
        """Yield the scores of each conversation, cut to its own length."""
        outputs = dict(zip(_OUTPUTS, self._session.run(_OUTPUTS, pad(batch)), strict=True))
        for i, pieces in enumerate(batch):
            gaps, units = len(pieces.gaps), len(pieces.places)
            yield {
                "delete": outputs["delete"][i, :gaps],
                "connect": outputs["connect"][i, :gaps].reshape(gaps, 3, len(self._connectors)),
                "none": outputs["none"][i, :gaps],
                "points": outputs["points"][i, :, :gaps, :units],
                "edit": outputs["edit"][i, 0],
            }

    def _finish(self, query: Query, pieces: Pieces, scores: Scores) -> Rewrite:
        """Return what the scores make of the query, as sure as it is: to use it or not is the gate's decision."""
        decoded = decode(pieces, scores, self._width)
        sure = confidence(features(pieces, decoded), self._calibration.intercept, self._calibration.weights)
        sure = round(sure, 4)
        edits = to_edits(pieces, decoded.script, self._connectors, query.query, sure)
        text = apply_edits(query.query, edits)
        if text == query.query:
            return self._kept(query, pieces)
        return Rewrite(
            query.query,
            text,
            Decision.REWRITE,
            sure,
            edits,
            rewriter=Editor.name,
            truncated=pieces.truncated,
            id=query.id,
        )

    @staticmethod
    def _kept(query: Query, pieces: Pieces) -> Rewrite:
        return replace(Rewrite.keep(query, Editor.name), truncated=pieces.truncated)


def _session(graph: bytes, weights: Weights) -> onnxruntime.InferenceSession:
    """Return the graph, ready to run on a copy of `weights` of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
    options.add_external_initializers(list(weights), values)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def pad(batch: Sequence[Pieces]) -> dict[str, NDArray[np.int64] | NDArray[np.int32]]:
    """Return the graph's inputs for several conversations, padded to the longest."""
    size = len(batch)
    pieces = max(len(item.ids) for item in batch)
    gaps = max(len(item.gaps) for item in batch)
    units = max(len(item.places) for item in batch)
    ids, roles = (np.zeros((size, pieces), dtype=np.int64) for _ in range(2))
    mask = np.zeros((size, pieces), dtype=np.int32)
    at = np.zeros((size, gaps, 2), dtype=np.int64)
    places = np.zeros((size, units), dtype=np.int64)
    for i, item in enumerate(batch):
        ids[i, : len(item.ids)] = item.ids
        roles[i, : len(item.ids)] = item.roles
        mask[i, : len(item.ids)] = 1
        at[i, : len(item.gaps)] = item.gaps
        places[i, : len(item.places)] = item.places
    return {"ids": ids, "roles": roles, "mask": mask, "gaps": at, "places": places}


def editor_folder(language: Language, given: Path | None = None) -> Path:
    """Return where the editor of `language` is: in the folder `given` if that has one, else the project's own."""
    if given is not None and (given / language).is_dir():
        return given / language
    return MODELS / language


class BilingualEditor:
    """The editor of each language: the Chinese one where a query is Chinese, otherwise the English one.

    A language that the folder `given` lacks is left to the project's own editor.
    """

    name = "editor"

    def __init__(self, given: Path | None = None) -> None:
        self._editors = {language: Editor(editor_folder(language, given)) for language in Language}

    def load(self) -> None:
        """Load both models; raises what `Editor.load` does."""
        for editor in self._editors.values():
            editor.load()

    def rewrite(self, query: Query) -> Rewrite:
        """Return the rewrite of `query` by the editor of its language."""
        return self._editors[language_of(query.query)].rewrite(query)

    def rewrite_all(self, queries: Sequence[Query]) -> list[Rewrite]:
        """Return the rewrite of each query, in order, by the editors of their languages."""
        found: dict[int, Rewrite] = {}
        for language, editor in self._editors.items():
            mine = [i for i, query in enumerate(queries) if language_of(query.query) is language]
            if mine:
                found |= dict(zip(mine, editor.rewrite_all([queries[i] for i in mine]), strict=True))
        return [found[i] for i in range(len(queries))]
