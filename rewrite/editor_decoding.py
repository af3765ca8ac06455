"""From the editor's scores to edits: the likeliest spans, connectors and deletions, and how likely they are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .edit_script import (
    LONGEST_SPAN,
    Connectors,
    Insertion,
    Script,
    Span,
    Unit,
    clings,
    padded,
    runs_on,
)
from .editor_input import Pieces
from .query import Edit, Evidence, Problem

Floats = NDArray[np.float32]

Scores = Mapping[str, Floats]
"""The outputs for one conversation of G gaps and U units to copy from.

`delete` (G,), `connect` (G, 3, connectors), `none` (G, 2), `points` (4, G, U) as start and end of the first span,
start and end of the second, `edit` (), `tag` (U,).
"""

_CANDIDATES = 24
"""So many of the likeliest spans at a gap are compared by their text."""

_FLOOR = 15.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """The likeliest script, and what says how likely it is right.

    `log_p` and `log_keep` are the logarithms of the probabilities of the script and of no change at all, `log_spans`
    that of the copied spans alone, `edit_logit` the score of the head that tells whether anything is missing.
    """

    script: Script
    log_p: float
    log_keep: float
    log_spans: float
    edit_logit: float


def features(pieces: Pieces, decoded: Decoded) -> Floats:
    """Return what the confidence is computed from, (8,) float32."""
    copied = [spans[0] for insertion in decoded.script.insertions.values() for spans in insertion.spans if spans]
    return np.array(
        [
            max(decoded.log_p, -_FLOOR),
            min(max(decoded.log_p - decoded.log_keep, -_FLOOR), _FLOOR),
            max(decoded.log_spans, -_FLOOR),
            decoded.edit_logit,
            math.log(1 + len(pieces.query)),
            math.log(1 + sum(end - start + 1 for start, end in copied)),
            float(len(copied)),
            float(bool(decoded.script.deleted)),
        ],
        dtype=np.float32,
    )


def confidence(row: Floats, intercept: float, weights: Sequence[float]) -> float:
    """Return the probability that a rewrite with these features is right, by a logistic regression."""
    score = intercept + float(np.dot(row, weights))
    return float(np.exp(-np.logaddexp(0, -score)))


# ----------------------------------------------------------------------------------------- decoding


def decode(pieces: Pieces, scores: Scores, width: Floats) -> Decoded:
    """Return the likeliest script; `width` (2, LONGEST_SPAN) is what the length of a span adds to its score.

    Each gap is decided for itself: nothing, a connector, or a span with connectors around it and perhaps a second
    span. All places where a span's text stands count together.
    """
    first = _Choices(pieces, scores["points"][:2], scores["none"][:, 0], width[0])
    second = _Choices(pieces, scores["points"][2:], scores["none"][:, 1], width[1])
    connect = scores["connect"] - _logsumexp(scores["connect"])[..., None]
    words = connect.argmax(-1)
    log_words = connect.max(-1)
    insertions: dict[int, Insertion] = {}
    log_p = log_spans = 0.0
    for gap in range(len(pieces.gaps)):
        one = first.best(gap)
        log_p += one.log_p + float(log_words[gap, 0])
        if one.span is None:
            if words[gap, 0]:
                insertions[gap] = Insertion((int(words[gap, 0]), 0, 0))
            continue
        two = second.best(gap)
        log_p += two.log_p + float(log_words[gap, 1]) + (float(log_words[gap, 2]) if two.span else 0.0)
        log_spans += one.log_p + (two.log_p if two.span else 0.0)
        last = int(words[gap, 2]) if two.span else 0
        spans = ((one.span,), (two.span,) if two.span else ())
        insertions[gap] = Insertion((int(words[gap, 0]), int(words[gap, 1]), last), spans)
    delete = scores["delete"][: len(pieces.query)]
    log_keep = float((first.log_none + connect[:, 0, 0]).sum() - np.logaddexp(0, delete).sum())
    log_p -= float(np.logaddexp(0, -np.abs(delete)).sum())
    deleted = frozenset(np.flatnonzero(delete > 0).tolist())
    return Decoded(Script(deleted, insertions), log_p, log_keep, log_spans, float(scores["edit"]))


@dataclass(frozen=True, slots=True)
class _Choice:
    """What one gap takes, None for no span, and the logarithm of how likely that is."""

    span: Span | None
    log_p: float


class _Choices:
    """The distribution over all spans and "none", for each gap."""

    def __init__(self, pieces: Pieces, points: Floats, none: Floats, width: Floats) -> None:
        self._units = [unit.text for line in pieces.lines for unit in line.units]
        count = len(self._units)
        start, end = points
        after = np.full((len(none), LONGEST_SPAN - 1), -np.inf, dtype=np.float32)
        ends = sliding_window_view(np.concatenate([end, after], axis=1), LONGEST_SPAN, axis=1)
        self._scores = (start[:, :, None] + ends + width + _within_lines(pieces.line_of)).reshape(len(none), -1)
        spans = _logsumexp(self._scores) if count else np.full(len(none), -np.inf, dtype=np.float32)
        self._partition = np.logaddexp(spans, none)
        self._any = spans > none
        self.log_none = none - self._partition

    def best(self, gap: int) -> _Choice:
        """Return "none" where that is likelier than all spans together, otherwise the text with the most mass."""
        if not self._any[gap]:
            return _Choice(None, float(self.log_none[gap]))
        scores = self._scores[gap]
        top = np.argpartition(-scores, min(_CANDIDATES, len(scores) - 1))[:_CANDIDATES]
        mass: dict[tuple[str, ...], float] = defaultdict(float)
        place: dict[tuple[str, ...], Span] = {}
        for flat in top.tolist():
            start, more = divmod(flat, LONGEST_SPAN)
            text = tuple(self._units[start : start + more + 1])
            mass[text] += math.exp(float(scores[flat] - self._partition[gap]))
            # The latest turns come first: of several places, evidence names the latest.
            place[text] = min(place.get(text, (start, start + more)), (start, start + more))
        likeliest = max(mass, key=mass.__getitem__)
        return _Choice(place[likeliest], math.log(max(mass[likeliest], 1e-30)))


def _within_lines(line_of: NDArray[np.int64]) -> Floats:
    """Return 0 for each span (start, length - 1) that ends in the line it starts in, otherwise -inf."""
    count = len(line_of)
    ends = np.arange(count)[:, None] + np.arange(LONGEST_SPAN)
    inside = (ends < count) & (line_of[np.minimum(ends, count - 1)] == line_of[:, None])
    return np.where(inside, 0, -np.inf).astype(np.float32)


def _logsumexp(values: Floats) -> Floats:
    top = values.max(-1)
    total: Floats = top + np.log(np.exp(values - top[..., None]).sum(-1))
    return total


# ------------------------------------------------------------------------------------------- edits


def to_edits(
    pieces: Pieces, script: Script, connectors: Connectors, original: str, confidence: float
) -> tuple[Edit, ...]:
    """Return `script` as edits of `original`, in order: one for each copied span, with the line it was copied from.

    Connectors go with the span that follows them, at the end with the one before. Where only connectors are
    inserted, or units only deleted, no line speaks for that: such an edit is a part of the same rewrite, and has the
    evidence of the script's first span. A script that copies nothing has no evidence at all, and no edits.
    """
    written = [(*stretch, _texts(pieces, script, stretch, connectors)) for stretch in _stretches(pieces, script)]
    first = next((evidence for *_, texts in written for _, evidence in texts if evidence), None)
    if first is None:
        return ()
    changes: list[tuple[int, int, str, Evidence]] = []
    for start, end, texts in written:
        if texts:
            at = _replaced(pieces.query, start, end, original, texts[0][0][0])
            parts = iter(padded(original, *at, [part for some, _ in texts for part in some]))
            for some, evidence in texts:
                changes.append((*at, "".join(islice(parts, len(some))), evidence or first))
                at = at[1], at[1]  # the first takes the place of what is deleted, the others stand behind it
        elif end > start:
            changes.append((*_cut(pieces.query, start, end, original), first))
    return tuple(Edit(Problem.MISSING_ENTITY, "topic", *change, confidence) for change in changes)


def _stretches(pieces: Pieces, script: Script) -> Iterator[tuple[int, int]]:
    """Yield the units (start, end) between two kept ones, where any is deleted or something is inserted."""
    start = 0
    for unit in range(len(pieces.query) + 1):
        if unit not in script.deleted:
            if unit > start or unit in script.insertions:
                yield start, unit
            start = unit + 1


def _texts(
    pieces: Pieces, script: Script, stretch: tuple[int, int], connectors: Connectors
) -> list[tuple[list[str], Evidence | None]]:
    """Return what is written in a stretch, in parts for each span; without evidence where it is only connectors."""
    found: list[tuple[list[str], Evidence | None]] = []
    leading: list[str] = []
    for insertion in (script.insertions.get(gap, Insertion()) for gap in range(stretch[0], stretch[1] + 1)):
        for connector, spans in zip(insertion.connectors, (*insertion.spans, ()), strict=True):
            if connector:
                leading.append(connectors.texts[connector])
            if spans:
                evidence = _copied(pieces, spans[0])
                found.append(([*leading, evidence.text], evidence))
                leading = []
    if leading and found:
        found[-1][0].extend(leading)
    elif leading:
        found.append((leading, None))
    return found


def _copied(pieces: Pieces, span: Span) -> Evidence:
    """Return the text of a span and where it stands."""
    units = [unit for line in pieces.lines for unit in line.units]
    line = pieces.lines[pieces.line_of[span[0]]]
    return Evidence(line.source, line.where, line.text[units[span[0]].start : units[span[1]].end])


def _replaced(units: Sequence[Unit], start: int, end: int, original: str, text: str) -> tuple[int, int]:
    """Return the code points that units `start:end` give to `text`; of none of them, a place before unit `start`."""
    behind = units[start - 1].end if start else 0
    first = units[start].start if start < len(units) else behind
    if start and clings(original[:behind], text):
        first = behind
    return first, units[end - 1].end if end > start else first


def _cut(units: Sequence[Unit], start: int, end: int, original: str) -> tuple[int, int, str]:
    """Return the code points that go with units `start:end`, which nothing replaces, and the blank that must stay.

    The blanks behind go too; at the end and before closing punctuation those in front. Two words stay two.
    """
    first, last = units[start].start, units[end - 1].end
    if end < len(units) and not clings(original[:first], original[last:]):
        last = units[end].start
    elif start:
        first = units[start - 1].end
    return first, last, " " if runs_on(original[:first], original[last:]) else ""
