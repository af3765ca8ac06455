"""From data to the Chinese encoder's folder: read, train, store, measure what was stored, describe it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from .. import MissingExtraError
from .chinese_encoder import CHINESE_ENCODER, ChineseEncoder, Words, pack, save_model
from .chinese_encoder_data import Log, TrainingData, licence, load
from .chinese_encoder_measuring import WEIGHTS, Figures, Legs, measure
from .chinese_encoder_training import Plan, Tower, all_texts, fit, sources, start, vocabulary

_HAN = range(0x3400, 0xA000)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be trained: from `data` into `out`; `rows` bounds what is read of each file, `steps` the training.

    `name` is that of the vector space, `command` what was typed, for the model card.
    """

    data: Path
    out: Path
    name: str = CHINESE_ENCODER
    seed: int = 0
    rows: int | None = None
    steps: int | None = None
    threads: int | None = None
    command: str = "querywright train encoder"


@dataclass(frozen=True, slots=True)
class TrainedEncoder:
    """What came of it: how much it knows, and the figures on each set's held-out queries."""

    out: str
    words: int
    steps: int
    seconds: float
    figures: Sequence[Figures]


def train_encoder(request: Request, log: Log) -> TrainedEncoder:
    """Train the Chinese encoder and write its folder.

    Raises MissingExtraError without opencc, InputError for what is wrong with the data.
    """
    began = time.monotonic()
    if request.threads:
        torch.set_num_threads(request.threads)
    plan = Plan() if request.steps is None else replace(Plan(), steps=request.steps)
    data = load(request.data, request.rows, log)
    folds = traditional_characters()
    counts = vocabulary(all_texts(data), folds, plan.vocabulary)
    folds = {code: simplified for code, simplified in folds.items() if simplified in counts}
    log(f"vocabulary: {len(counts)} entries, {time.monotonic() - began:.0f} s")
    words = Words(counts, folds)
    tower = start(counts, words, plan, request.seed)
    fit(tower, sources(data, words, plan, log), plan, request.seed, log)
    _store(request, tower, list(counts), folds)
    encoder = ChineseEncoder(request.out, request.name)
    figures = measure(data, Legs(encoder.encode_documents, encoder.encode_queries), log)
    trained = TrainedEncoder(str(request.out), len(counts), plan.steps, time.monotonic() - began, figures)
    card = model_card(request, plan, data, trained)
    (request.out / "README.md").write_text(card, encoding="utf-8")
    return trained


def traditional_characters() -> dict[int, str]:
    """Return the simplified character of each traditional one, each taken by itself."""
    if find_spec("opencc") is None:
        raise MissingExtraError("train: opencc is not installed: pip install querywright")
    convert = import_module("opencc").OpenCC("t2s").convert
    characters = list(map(chr, _HAN))
    pairs = zip(characters, convert("\n".join(characters)).split("\n"), strict=True)
    return {ord(one): simplified for one, simplified in pairs if one != simplified and len(simplified) == 1}


def _store(request: Request, tower: Tower, entries: Sequence[str], folds: Mapping[int, str]) -> None:
    passage = tower.passage.detach().exp()
    query = (tower.passage + tower.query).detach().exp()
    stored = pack(tower.vectors.numpy(), passage.numpy(), query.numpy())
    described: Mapping[str, Any] = {
        "traditional": "".join(map(chr, folds)),
        "simplified": "".join(folds.values()),
        "seed": request.seed,
    }
    save_model(request.out, request.name, entries, stored, described)


# ----------------------------------------------------------------------------------------- the card


def model_card(request: Request, plan: Plan, data: TrainingData, trained: TrainedEncoder) -> str:
    """Return the card, Markdown."""
    parts = [_what(plan, trained), _how(request, plan, trained), _data(data), _figures(trained), _LIMITS]
    return "\n\n".join(parts) + "\n"


def _what(plan: Plan, trained: TrainedEncoder) -> str:
    return (
        "# Querywright's Chinese encoder\n\n"
        f"A vector of {plan.dimensions} numbers for each of {trained.words} words and characters; a text is the "
        "weighted sum of those that it holds, with other weights for queries than for passages. There is no network "
        "to run, and no library but NumPy is needed. Numbers are stored in 4 bits, the SHA-256 of each file in "
        "model.json. What is no word of it shares one of 1,024 further vectors, chosen by a checksum."
    )


def _how(request: Request, plan: Plan, trained: TrainedEncoder) -> str:
    command = shlex.join(Path(word).name or word for word in shlex.split(request.command))
    return (
        f"## How it was made\n\n    {command}\n\n{trained.seconds:.0f} s in all. {plan.steps} steps of Adam, "
        f"{plan.batch} pairs each, learning rate {plan.rate:g}, from vectors drawn by chance: InfoNCE against the "
        "other passages of the batch, in sets of queries also against one of BM25's best. Pairs are a sentence and "
        "what stands around it, without the sentence, or a query and what answers it; some queries lose words, some "
        "passages the words of their query."
    )


def _data(data: TrainingData) -> str:
    rows = [f"| {name} | {len(texts)} documents | {licence(name)} |" for name, texts in data.texts.items()]
    for one in data.sets:
        trained = sum(not query.held for query in one.queries)
        documents = f"{len(one.texts)} documents, " if one.use.articles else ""
        rows.append(f"| {one.use.name} | {documents}{trained} queries | {licence(one.use.name)} |")
    table = "\n".join(["| set | what trained | licence |", "| --- | --- | --- |", *rows])
    unstated = [one.use.name for one in data.sets if one.use.licence == "none stated"]
    notes = "The code is Apache-2.0; the data is not part of it, and the weights carry these notes."
    if unstated:
        notes += f" No licence is stated for {', '.join(unstated)}: look at that before using the weights elsewhere."
    return f"## Data\n\n{table}\n\n{notes} The other half of each set's queries was held out."


def _figures(trained: TrainedEncoder) -> str:
    if not trained.figures:
        return "## Figures\n\nNot measured: nothing was held out."
    weights = [f"hybrid, {weight:g}" for weight in WEIGHTS]
    head = ["held out", "queries", "lexical", "dense", *weights]
    rows = [
        [one.name, str(one.queries), f"{one.lexical:.3f}", f"{one.dense:.3f}"]
        + [
            f"{value:.3f} ({p:.3f}, {better:.3f})"
            for value, p, better in zip(one.hybrid, one.p, one.p_better, strict=True)
        ]
        for one in trained.figures
    ]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])
    return (
        "## Figures\n\nnDCG@10 of the weights as they are stored, by the command above: BM25 alone, the vectors "
        "alone, and both by the default fusion with that weight for the vectors; in brackets p of the paired "
        f"randomisation test against BM25 alone, and against the better leg, whole conversations flipped.\n\n{table}"
    )


_LIMITS = """## Limits

Word order is lost, and so is who did what to whom. It knows the vocabulary of the texts above: encyclopedia, software
documentation, statutes, short search queries. In other fields it helps less, and a weight of .2 to .3 is safer there.
The figures are of held-out queries, not of unseen collections: the documents of stard-law, kdconv and qbqtc were seen
in training, those of cmrc2018, csl-title-abstract and xquad-zh too. Expect less on a collection that it does not know.

## Retrain with your own documents

    querywright train encoder --data FOLDER --out MODELS/zh

`FOLDER/text/*.txt` has a document a line, `FOLDER/retrieval/NAME/` is a set in the BEIR layout (corpus.jsonl,
queries.jsonl, qrels.tsv); half of its queries is held out and measured. The vectors are then of another space than
those stored before: encode the collection again."""
