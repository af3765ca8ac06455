"""From training pairs to what a model learns from: the pieces, the script that makes the rewrite, and batches."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .edit_script import Connectors, Script, Span, align, split_units
from .editor import pad
from .editor_data import Pair
from .editor_input import Pieces, Vocabulary, read_pieces
from .editor_model import Batch

PLACES = 12
"""Places of one span that the loss counts, the latest."""

_INEXACT = 0.6  # of a rewrite that copying reaches in part: there is something to learn, but not to trust
_FINAL = frozenset("?.!？。！")


@dataclass(frozen=True, slots=True)
class Example:
    """A pair as the model sees it; `tags` (U,) are 1 where a unit of the context is in the rewrite, not the query."""

    pieces: Pieces
    script: Script
    tags: NDArray[np.float32]
    edit: float
    weight: float


def make_examples(pairs: Iterable[Pair], vocabulary: Vocabulary, connectors: Connectors) -> list[Example]:
    """Return the examples of all pairs that something can be learnt from."""
    made = (make_example(pair, vocabulary, connectors) for pair in pairs)
    return [example for example in made if example is not None]


def make_example(pair: Pair, vocabulary: Vocabulary, connectors: Connectors) -> Example | None:
    """Return the example of `pair`; None where there is nothing to copy from, or its rewrite is out of reach."""
    pieces = read_pieces(pair.query, vocabulary)
    if not len(pieces.places):
        return None
    query = [unit.text for unit in pieces.query]
    rewrite = _wanted(pair, query)
    lines = [[unit.text for unit in line.units] for line in pieces.lines]
    script = align(query, rewrite, lines, connectors)
    changed = query != rewrite
    if changed and (script.keeps or not (script.insertions or script.exact)):
        return None
    new = set(rewrite) - set(query)
    tags = np.array([unit in new for line in lines for unit in line], dtype=np.float32)
    return Example(pieces, script, tags, float(changed), pair.weight * (1.0 if script.exact else _INEXACT))


def _wanted(pair: Pair, query: list[str]) -> list[str]:
    """Return the units that the read part of the query should become; its final mark is not the editor's business."""
    rewrite = [unit.text for unit in split_units(pair.rewrite)]
    unread = [unit.text for unit in split_units(pair.query.query)][len(query) :]
    if unread and rewrite[-len(unread) :] == unread:
        rewrite = rewrite[: -len(unread)]
    mark = query[-1:] if query and query[-1] in _FINAL else []
    while rewrite and rewrite[-1] in _FINAL and rewrite[-1:] != mark:
        rewrite.pop()
    return rewrite if rewrite[-1:] == mark else rewrite + mark


def batches(examples: Sequence[Example], tokens: int, rng: random.Random) -> list[list[Example]]:
    """Group examples of like length into batches of about `tokens` pieces, in random order."""
    order = sorted(examples, key=lambda example: len(example.pieces.ids) + rng.random() * 8)
    groups: list[list[Example]] = []
    for example in order:
        if groups and (len(groups[-1]) + 1) * len(example.pieces.ids) <= tokens:
            groups[-1].append(example)
        else:
            groups.append([example])
    rng.shuffle(groups)
    return groups


def collate(examples: Sequence[Example], device: torch.device | str = "cpu") -> Batch:
    """Return the arrays of a batch: the model's inputs, and what it should have said."""
    inputs = pad([example.pieces for example in examples])
    size, gaps, units = len(examples), inputs["gaps"].shape[1], inputs["places"].shape[1]
    connect = np.zeros((size, gaps, 3), dtype=np.int64)
    gap_mask, delete, delete_mask = (np.zeros((size, gaps), dtype=np.float32) for _ in range(3))
    line_of = np.full((size, units), -1, dtype=np.int64)
    tag, unit_mask = (np.zeros((size, units), dtype=np.float32) for _ in range(2))
    for i, example in enumerate(examples):
        count, copied = len(example.pieces.gaps), len(example.pieces.places)
        gap_mask[i, :count] = delete_mask[i, : count - 1] = 1
        unit_mask[i, :copied] = 1
        line_of[i, :copied] = example.pieces.line_of
        tag[i, :copied] = example.tags
        delete[i, sorted(example.script.deleted)] = 1
        for gap, insertion in example.script.insertions.items():
            connect[i, gap] = insertion.connectors
    targets = {"connect": connect, "gap_mask": gap_mask, "delete": delete, "delete_mask": delete_mask}
    targets |= {"line_of": line_of, "tag": tag, "unit_mask": unit_mask, **_gold_spans(examples, gaps)}
    for name in ("edit", "weight"):
        targets[name] = np.array([getattr(example, name) for example in examples], dtype=np.float32)
    return {name: torch.from_numpy(value).to(device) for name, value in (inputs | targets).items()}


def _gold_spans(examples: Sequence[Example], gaps: int) -> dict[str, NDArray[np.generic]]:
    """Return `filled` (B, 2, G), and for each span that is inserted `where` (n, 3) and `span` (n, PLACES, 2)."""
    filled = np.zeros((len(examples), 2, gaps), dtype=np.float32)
    gold: list[tuple[tuple[int, int, int], tuple[Span, ...]]] = [
        ((i, slot, gap), spans)
        for i, example in enumerate(examples)
        for gap, insertion in example.script.insertions.items()
        for slot, spans in enumerate(insertion.spans)
        if spans
    ]
    where = np.array([at for at, _ in gold], dtype=np.int64).reshape(-1, 3)
    filled[tuple(where.T)] = 1
    span = np.full((len(gold), PLACES, 2), -1, dtype=np.int64)
    for row, (_, spans) in enumerate(gold):
        latest = spans[-PLACES:]
        span[row, : len(latest)] = latest
    return {"filled": filled, "where": where, "span": span}
