"""What a trained editor makes of held-out pairs, and how sure it may be of it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .edit_script import Connectors, split_units
from .editor import pad
from .editor_data import Pair
from .editor_decoding import Scores, confidence, decode, features, to_edits
from .editor_examples import make_example
from .editor_input import Pieces, Vocabulary, read_pieces
from .editor_model import EditorModel
from .editor_weights import FEATURES, Calibration
from .query import apply_edits

Floats = NDArray[np.float64]

_BATCH = 32
_FOLDS = 5
_BINS = 10
_RIDGE = 1.0
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model would make of a pair's query, however sure it is.

    `features` say how sure it is, None where there is nothing to copy from; `precise` that every word it added is one
    that the gold rewrite adds, whatever it left out; `reached` that copying can write the gold rewrite.
    """

    pair: Pair
    text: str
    features: NDArray[np.float32] | None
    precise: bool
    reached: bool

    @property
    def changed(self) -> bool:
        """Say whether the model would change the query."""
        return self.text != self.pair.query.query


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a model does on one set; shares from 0 to 1, `error` the expected calibration error."""

    rows: int
    exact_match: float
    reached: float
    exact_match_reached: float
    precision: float
    recall: float
    f1: float
    changed: float
    error: float


# --------------------------------------------------------------------------------------- outcomes


def outcomes(
    model: EditorModel, pairs: Sequence[Pair], vocabulary: Vocabulary, connectors: Connectors
) -> list[Outcome]:
    """Return what the model makes of each pair, in order."""
    read = [read_pieces(pair.query, vocabulary) for pair in pairs]
    order = sorted((i for i, pieces in enumerate(read) if len(pieces.places)), key=lambda i: len(read[i].ids))
    scores = dict(zip(order, predict(model, [read[i] for i in order]), strict=True))
    width = model.width.detach().cpu().numpy()
    found: list[Outcome] = []
    for i, pair in enumerate(pairs):
        text, sure = pair.query.query, None
        if i in scores:
            decoded = decode(read[i], scores[i], width)
            edits = to_edits(read[i], decoded.script, connectors, text, 1.0)
            text = apply_edits(text, edits)
            sure = features(read[i], decoded)
        example = make_example(pair, vocabulary, connectors)
        reached = example.script.exact if example else text_words(pair.rewrite) == text_words(pair.query.query)
        wrong = added(pair.query.query, text) - added(pair.query.query, pair.rewrite)
        found.append(Outcome(pair, text, sure, not wrong, reached))
    return found


def predict(model: EditorModel, read: Sequence[Pieces]) -> Iterator[Scores]:
    """Yield the scores of each conversation, as the graph gives them, cut to its own length."""
    model.eval()
    device = model.width.device
    for start in range(0, len(read), _BATCH):
        batch = read[start : start + _BATCH]
        inputs = {name: torch.from_numpy(value).to(device) for name, value in pad(batch).items()}
        with torch.no_grad():
            out = model(*(inputs[name] for name in ("ids", "roles", "mask", "gaps", "places")))
        arrays = {name: value.float().cpu().numpy() for name, value in out.items()}
        for i, pieces in enumerate(batch):
            gaps, units = len(pieces.gaps), len(pieces.places)
            yield {
                **{name: arrays[name][i, :gaps] for name in ("delete", "connect", "none")},
                "points": arrays["points"][i, :, :gaps, :units],
                "edit": arrays["edit"][i],
                "tag": arrays["tag"][i, :units],
            }


def text_words(text: str) -> list[str]:
    """Return the words and Han characters of `text`, folded, without punctuation."""
    return [unit.text for unit in split_units(text) if any(map(str.isalnum, unit.text))]


def added(query: str, rewrite: str) -> Counter[str]:
    """Return the words that `rewrite` has and `query` has not, counted."""
    return Counter(text_words(rewrite)) - Counter(text_words(query))


def measure(found: Sequence[Outcome], calibration: Calibration, threshold: float) -> Figures:
    """Return the figures of a set when rewrites under `threshold` are not used.

    Restored words are counted over all rows together, the calibration error over the rows that would be changed.
    """
    used = [_used(outcome, calibration, threshold) for outcome in found]
    same = [text_words(text) == text_words(o.pair.rewrite) for text, o in zip(used, found, strict=True)]
    reached = [outcome.reached for outcome in found]
    given = [added(o.pair.query.query, text) for text, o in zip(used, found, strict=True)]
    wanted = [added(o.pair.query.query, o.pair.rewrite) for o in found]
    agreed = sum((one & other).total() for one, other in zip(given, wanted, strict=True))
    totals = sum(map(Counter.total, given)), sum(map(Counter.total, wanted))
    return Figures(
        rows=len(found),
        exact_match=_share(sum(same), len(same)),
        reached=_share(sum(reached), len(reached)),
        exact_match_reached=_share(sum(a and b for a, b in zip(same, reached, strict=True)), sum(reached)),
        precision=_share(agreed, totals[0]),
        recall=_share(agreed, totals[1]),
        f1=_share(2 * agreed, sum(totals)),
        changed=_share(sum(text != o.pair.query.query for text, o in zip(used, found, strict=True)), len(found)),
        error=calibration_error(confidences(found, calibration), _precise(found)),
    )


def _used(outcome: Outcome, calibration: Calibration, threshold: float) -> str:
    sure = outcome.features is not None and _sure(outcome.features, calibration) >= threshold
    return outcome.text if sure else outcome.pair.query.query


def _share(part: float, whole: float) -> float:
    """Return a share, rounded as it is printed; 1 where there is nothing to share."""
    return round(part / whole, 4) if whole else 1.0


# ------------------------------------------------------------------------------------ calibration


def confidences(found: Sequence[Outcome], calibration: Calibration) -> Floats:
    """Return the confidence of each outcome that changes its query."""
    return np.array([_sure(row, calibration) for row in _evidence(found)])


def _sure(row: NDArray[np.float32], calibration: Calibration) -> float:
    return confidence(row, calibration.intercept, calibration.weights)


def calibrate(found: Sequence[Outcome], start: Calibration | None = None) -> Calibration:
    """Return the logistic regression from the features to whether an outcome that changes its query is precise.

    What a rewrite should have added too does not count: a confidence says that it does no harm. The weights
    are drawn to those of `start`, or to 0, as if by one row for each, so that few rows move them little.
    """
    rows = np.array(_evidence(found), dtype=np.float64)
    if not len(rows):
        return start or Calibration(0.0, (0.0,) * FEATURES)
    scale = np.append(1.0, np.maximum(rows.std(axis=0), 1e-6))
    centre = np.append(0.0, rows.mean(axis=0))
    inputs = np.column_stack([np.ones(len(rows)), (rows - centre[1:]) / scale[1:]])
    drawn_to = np.zeros(len(scale))
    if start is not None:
        weights = np.array(start.weights)
        drawn_to = np.append(start.intercept + weights @ centre[1:], weights * scale[1:])
    fitted = _logistic(inputs, _precise(found), drawn_to)
    weights = fitted[1:] / scale[1:]
    return Calibration(float(fitted[0] - weights @ centre[1:]), tuple(map(float, weights)))


def _logistic(inputs: Floats, true: Floats, drawn_to: Floats) -> Floats:
    """Return the weights of a ridge logistic regression, by Newton's method with a step that never climbs."""

    def cost(weights: Floats) -> float:
        scores = inputs @ weights
        return float((np.logaddexp(0, scores) - true * scores).sum() + _RIDGE / 2 * ((weights - drawn_to) ** 2).sum())

    weights = drawn_to.copy()
    for _ in range(_STEPS):
        p = _sigmoid(inputs @ weights)
        slope = inputs.T @ (p - true) + _RIDGE * (weights - drawn_to)
        bend = (inputs * (p * (1 - p))[:, None]).T @ inputs + _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(bend, slope)
        while cost(weights - step) > cost(weights) + 1e-9:
            step = step / 2
        weights = weights - step
    return weights


def cross_fitted_error(found: Sequence[Outcome], start: Calibration | None = None) -> float | None:
    """Return the expected calibration error on rows that the calibration did not see, five folds by conversation.

    None where there are no such rows: none that changes its query, or no second fold to calibrate on.
    """
    folds: dict[int, list[Outcome]] = {}
    for outcome in found:
        folds.setdefault(zlib.crc32(outcome.pair.group.encode()) % _FOLDS, []).append(outcome)
    sure, true = [np.empty(0)], [np.empty(0)]
    for number, fold in folds.items():
        others = [o for other, rows in folds.items() if other != number for o in rows]
        if others:
            sure.append(confidences(fold, calibrate(others, start)))
            true.append(_precise(fold))
    seen = np.concatenate(sure)
    return calibration_error(seen, np.concatenate(true)) if len(seen) else None


def calibration_error(sure: Floats, true: Floats) -> float:
    """Return the expected calibration error over ten bins of equal width (Naeini et al., AAAI 2015); 0 of no rows."""
    if not len(sure):
        return 0.0
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = [abs(sure[bins == i].sum() - true[bins == i].sum()) for i in range(_BINS)]
    return round(float(sum(gaps)) / len(sure), 4)


def _evidence(found: Sequence[Outcome]) -> list[NDArray[np.float32]]:
    """Return the features of the outcomes that change their query."""
    return [o.features for o in found if o.changed and o.features is not None]


def _precise(found: Sequence[Outcome]) -> Floats:
    return np.array([float(o.precise) for o in found if o.changed and o.features is not None])


def _sigmoid(scores: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -scores))
