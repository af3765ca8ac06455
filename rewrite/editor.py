"""The rewriter `editor`: a small trained encoder that fills a query in by copying from the conversation.

It runs on ONNX Runtime, on one thread, without torch. What it writes stands in the history, the profile or its
closed list of connecting words; see `edit_script.py`. How it is trained: `editor_training.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .edit_script import Connectors
from .editor_decoding import Decoded, Scores, decode, features, to_edits
from .editor_input import Pieces, Vocabulary, read_pieces
from .editor_weights import base_folder, load_model
from .language import Language, language_of
from .query import Decision, Query, Rewrite, apply_edits

MODELS = Path(__file__).parent.parent / "data" / "models" / "editor"
"""Where the project's own models are: one folder a language."""

BATCH = 16
"""Conversations that `rewrite_all` runs at once."""


class Editor:
    """One trained model; loaded on first use, safe to use from several threads."""

    name = "editor"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def rewrite(self, query: Query) -> Rewrite:
        """Return the rewrite of `query`; unchanged without a history or profile, or where nothing is missing."""
        return self.rewrite_all([query])[0]

    def rewrite_all(self, queries: Sequence[Query]) -> list[Rewrite]:
        """Return the rewrite of each query, running `BATCH` conversations of like length at once."""
        with self._lock:
            model = self._model
        found: dict[int, Rewrite] = {}
        read = {i: model.read(query) for i, query in enumerate(queries) if query.history or query.profile}
        order = sorted((i for i, pieces in read.items() if len(pieces.places)), key=lambda i: len(read[i].ids))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            for i, scores in zip(batch, model.scores([read[i] for i in batch]), strict=True):
                found[i] = model.finish(queries[i], read[i], scores)
        return [found.get(i) or Rewrite.keep(query, self.name) for i, query in enumerate(queries)]

    @cached_property
    def _model(self) -> _Model:
        return _Model(self._folder)


class _Model:
    """A model in memory."""

    def __init__(self, folder: Path) -> None:
        description, graph, self._weights = load_model(folder)
        self._connectors = Connectors(description.connectors)
        self._vocabulary = Vocabulary(base_folder(), description.characters)
        self._width = np.array(description.width, dtype=np.float32)
        self._calibration = description.calibration
        self._threshold = description.threshold
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # The session reads the weights where they are: they must live as long as it does.
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in self._weights.values()]
        options.add_external_initializers(list(self._weights), values)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def read(self, query: Query) -> Pieces:
        return read_pieces(query, self._vocabulary)

    def scores(self, batch: Sequence[Pieces]) -> Iterator[Scores]:
        """Yield the scores of each conversation, cut to its own length."""
        outputs = dict(zip(self._outputs, self._session.run(None, pad(batch)), strict=True))
        for i, pieces in enumerate(batch):
            gaps, units = len(pieces.gaps), len(pieces.places)
            yield {
                "delete": outputs["delete"][i, :gaps],
                "connect": outputs["connect"][i, :gaps].reshape(gaps, 3, -1),
                "none": outputs["none"][i, :gaps],
                "points": outputs["points"][i, :, :gaps, :units],
                "edit": outputs["edit"][i, 0],
                "tag": outputs["tag"][i, :units],
            }

    def finish(self, query: Query, pieces: Pieces, scores: Scores) -> Rewrite:
        """Return what the scores make of the query: the edits, if they are likely enough to be right."""
        decoded = decode(pieces, scores, self._width)
        confidence = self._confidence(pieces, decoded)
        edits = to_edits(pieces, decoded.script, self._connectors, query.query, round(confidence, 4))
        text = apply_edits(query.query, edits)
        if text == query.query or confidence < self._threshold:
            return replace(Rewrite.keep(query, Editor.name), truncated=pieces.truncated)
        return Rewrite(
            query.query,
            text,
            Decision.REWRITE,
            round(confidence, 4),
            edits,
            rewriter=Editor.name,
            truncated=pieces.truncated,
            id=query.id,
        )

    def _confidence(self, pieces: Pieces, decoded: Decoded) -> float:
        weighted = np.dot(self._calibration.weights, features(pieces, decoded))
        return float(1 / (1 + np.exp(-(self._calibration.intercept + weighted))))


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


class BilingualEditor:
    """The project's editors: the Chinese one where a query is Chinese, otherwise the English one."""

    name = "editor"

    def __init__(self, folder: Path = MODELS) -> None:
        self._editors = {language: Editor(folder / language) for language in Language}

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
