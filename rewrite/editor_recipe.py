"""From data to a model's folder: read, train, store, calibrate and measure what was stored, describe it."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from .. import InputError, MissingExtraError
from .edit_script import Connectors
from .editor_augmenting import Epochs, SilverExamples
from .editor_card import Made, card_of, model_card
from .editor_data import Pair, TrainingData, characters, keep_rows, load
from .editor_examples import Example
from .editor_input import Vocabulary
from .editor_measuring import Figures, Outcome, calibrate, cross_fitted_error, measure, outcomes
from .editor_model import EditorModel, graph_weights, load_weights
from .editor_training import Checkpoint, ExampleSource, Log, Plan, Stage, code_digest, fit, plan_for, seed_all
from .editor_weights import (
    HEADS,
    LAYERS,
    POINTER,
    Calibration,
    Description,
    Weights,
    base_folder,
    base_weights,
    load_model,
    pack,
    save_model,
    unpack,
)
from .language import Language

_SILVER_STAGE_LENGTH = 220  # pieces; longer conversations cost more than they teach
_CALIBRATED = 600  # rows of one set that the calibration sees, so that no set drowns the others
_KEEP = "self-contained rows"
_REPORTED = " (reported only)"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be trained: from `data` into `out`, perhaps going on from the editor in `start`.

    `command` is what was typed, for the model card.
    """

    data: Path
    out: Path
    language: Language | None = None
    start: Path | None = None
    seed: int = 0
    epochs: int | None = None
    threads: int | None = None
    command: str = "querywright train editor"


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it: the figures on each held-out set, and the calibration error across those that tuned it.

    `error` is None where too little was held out to tell.
    """

    out: str
    language: Language
    pairs: int
    seconds: float
    error: float | None
    figures: Mapping[str, Figures]


def train_editor(request: Request, log: Log) -> Trained:
    """Train an editor and write its folder; what an interrupted call left behind is taken up.

    Raises MissingExtraError without the extras `train` and `offline`, InputError for what is wrong with the data.
    """
    if find_spec("onnx") is None:
        raise MissingExtraError("train: onnx is not installed: pip install 'querywright[train]'")
    base_folder()
    began = time.monotonic()
    if request.threads:
        torch.set_num_threads(request.threads)
    start = load_model(request.start) if request.start else None
    data = load(request.data, _language(request, start[0] if start else None))
    work = _Work(request, data, start, log)
    work.fit()
    return work.write(began)


def _language(request: Request, start: Description | None) -> Language | None:
    if start is None:
        return request.language
    language = Language(start.language)
    if request.language not in {None, language}:
        raise InputError(f"--language: {request.start} holds an editor for {language}, got {request.language}")
    return language


class _Work:
    """One model while it is made."""

    def __init__(
        self, request: Request, data: TrainingData, start: tuple[Description, bytes, Weights] | None, log: Log
    ) -> None:
        self._request, self._data, self._log = request, data, log
        self._plan: Plan = plan_for(data.language, started=start is not None, epochs=request.epochs)
        self._start = start[0] if start else None
        self._vocabulary = Vocabulary(base_folder(), self._start.characters if self._start else characters(data))
        self._connectors = Connectors(self._start.connectors if self._start else self._plan.connectors)
        seed_all(request.seed, "model")
        self._model = EditorModel(base_folder(), len(self._vocabulary.added), len(self._connectors))
        if start:
            load_weights(self._model, start[2])
            with torch.no_grad():
                self._model.width.copy_(torch.tensor(start[0].width))
        self._model.to("cuda" if torch.cuda.is_available() else "cpu")
        self._checkpoint = Checkpoint(request.out / "checkpoint.safetensors", self._run(), log)

    def fit(self) -> None:
        """Train by the plan, silver pairs first; raises InputError where nothing can be learnt from."""
        epochs = Epochs(self._data, self._plan.mixture, self._vocabulary, self._connectors, self._request.seed)
        if not epochs.teaches:
            raise InputError(
                f"{self._request.data}: expected rewrites that add words of the conversation, found none to learn from"
            )
        if self._plan.silver and self._data.texts and not self._checkpoint.done("silver"):
            self._stage("silver", self._plan.silver, partial(self._silver, epochs.silver))
        self._log(f"pairs: {len(self._data.train)} to learn from")
        self._stage("pairs", self._plan.pairs, epochs.epoch)

    def _stage(self, name: str, stage: Stage, source: ExampleSource) -> None:
        seed, mask, log = self._request.seed, self._vocabulary.mask, self._log
        fit(self._model, name, stage, source, seed=seed, mask=mask, log=log, checkpoint=self._checkpoint)

    def _silver(self, texts: SilverExamples, epoch: int) -> list[Example]:
        return texts.made(f"silver:{epoch}", self._plan.silver_pairs, longest=_SILVER_STAGE_LENGTH)

    def write(self, began: float) -> Trained:
        """Measure the model as it is stored, write its folder, and return what came of it."""
        base = base_weights(base_folder())
        weights = graph_weights(self._model)
        load_weights(self._model, unpack(pack(weights, base), base))
        tuned, reported = self._held_out()
        known = [outcome for found in tuned.values() for outcome in self._some(found)]
        prior = self._start.calibration if self._start else None
        calibration = calibrate(known or self._outcomes(self._data.train[:_CALIBRATED]), prior)
        figures = {
            name: measure(found, calibration, self._plan.threshold) for name, found in (tuned | reported).items()
        }
        start = card_of(self._request.start) if self._request.start else None
        self._save(weights, calibration)
        made = Made(
            language=self._data.language,
            command=self._request.command,
            seconds=time.monotonic() - began,
            data=self._data,
            plan=self._plan,
            calibrated=bool(known),
            error=cross_fitted_error(known, prior),
            figures=figures,
            start=start,
        )
        (self._request.out / "README.md").write_text(model_card(made), encoding="utf-8")
        self._checkpoint.remove()
        pairs = len(self._data.train)
        return Trained(str(self._request.out), made.language, pairs, round(made.seconds, 1), made.error, figures)

    def _save(self, weights: Weights, calibration: Calibration) -> None:
        from .editor_graph import build_graph  # noqa: PLC0415 # needs the extra `train`

        shapes = {name: value.shape for name, value in weights.items()}
        description: dict[str, object] = {
            "language": self._data.language,
            "connectors": self._connectors.texts[1:],
            "characters": "".join(self._vocabulary.added),
            "width": self._model.width.detach().cpu().numpy().astype(np.float64).tolist(),
            "calibration": calibration,
            "threshold": self._plan.threshold,
        }
        graph = build_graph(shapes, layers=LAYERS, heads=HEADS, pointer=POINTER)
        save_model(self._request.out, weights, graph, description)

    def _held_out(self) -> tuple[dict[str, list[Outcome]], dict[str, list[Outcome]]]:
        """Return the outcomes on the sets that tune, and on those that are only reported, by the names of the card.

        One public set may do both, with other rows: the names must differ.
        """
        tune = [pair for pairs in self._data.tune.values() for pair in pairs]
        kept = self._kept("tune", tune, self._data.tune_fluent)
        tuned = {**self._data.tune, **({_KEEP: kept} if kept else {})}
        reported = {f"{name}{_REPORTED}": pairs for name, pairs in self._data.report.items()}
        return self._measured(tuned), self._measured(reported)

    def _measured(self, sets: Mapping[str, Sequence[Pair]]) -> dict[str, list[Outcome]]:
        return {name: self._outcomes(pairs) for name, pairs in sets.items()}

    def _kept(self, part: str, pairs: Sequence[Pair], fluent: Sequence[str]) -> list[Pair]:
        return keep_rows(pairs, fluent, self._plan.mixture.keep, random.Random(f"{self._request.seed}:{part}"))

    def _some(self, rows: Sequence[Outcome]) -> list[Outcome]:
        return random.Random(self._request.seed).sample(rows, min(len(rows), _CALIBRATED))

    def _outcomes(self, pairs: Sequence[Pair]) -> list[Outcome]:
        return outcomes(self._model, pairs, self._vocabulary, self._connectors)

    def _run(self) -> str:
        """Name this run by all that its result hangs on."""
        start = sorted(self._start.sums.items()) if self._start else None
        texts = [(path.name, path.stat().st_size) for path in self._data.texts]
        pairs = [(p.query.query, p.query.history, p.query.profile, p.rewrite, p.weight) for p in self._data.train]
        code = (code_digest(), torch.__version__)
        whole = repr((self._request.seed, self._plan, start, texts, self._data.fluent, pairs, code))
        return hashlib.sha256(whole.encode()).hexdigest()
