"""How the Chinese encoder is trained: texts that belong together must lie nearer than all others of their batch.

What belongs together: a sentence and its surroundings without it, a query and what answers it. The loss is InfoNCE
(van den Oord et al., 2018) over large batches, each from one source, so that its negatives are of one kind; queries
bring a negative of BM25's of their own (Karpukhin et al., EMNLP 2020). The inverse cloze task is that of Lee et al.,
ACL 2019. Nearly all of a step is one sum of embeddings, so that a core sees some thousand pairs a second.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # everybody's name for it

from .. import InputError
from .analysis import analyze
from .chinese_encoder import Words, pieces
from .chinese_encoder_data import TEXT_SHARE, Judged, Log, RetrievalSet, TrainingData
from .lexical import BM25Index

_LEAST = 3  # times that a word must occur
_READ = 250  # entries that are read of a passage
_ASKED = 80  # and of a query
_AROUND = 3  # sentences at most on either side of the one that is asked for
_NEAR = 30  # places of BM25's ranking from which a negative is drawn, the first ones more often
_LOGGED = 100
_SENTENCE = re.compile(r"[^。！？；!?\n]*[。！？；!?\n]+|[^。！？；!?\n]+$")
_SHORTEST = 12  # characters; a shorter sentence goes with the one before it

_Pieces = NDArray[np.int32]
_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is chosen.

    `scale` is the inverse temperature to begin with; `thin` the share of queries that lose some of their words,
    `hide` that of passages that lose the words of their query, so that these must be known by others.
    """

    steps: int = 1_200
    batch: int = 768
    rate: float = 3e-3
    dimensions: int = 256
    vocabulary: int = 70_000
    scale: float = 20.0
    thin: float = 0.6
    hide: float = 0.3


# -------------------------------------------------------------------------------------- what is read


def vocabulary(texts: Iterable[str], folds: Mapping[int, str], size: int) -> dict[str, int]:
    """Return the `size` most frequent words and characters with their counts, most frequent first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(pieces(text, folds))
    ordered = sorted((-count, word) for word, count in counts.items() if count >= _LEAST)
    return {word: -count for count, word in ordered[:size]}


def all_texts(data: TrainingData) -> Iterable[str]:
    """Yield every document."""
    for texts in data.texts.values():
        yield from texts
    for found in data.sets:
        yield from map(found.whole, range(len(found.texts)))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A batch: the first passages are the queries' own, in their order; others are negatives.

    `same` (queries, passages) marks what is no negative, for it is the query's own passage once more.
    """

    queries: list[_Pieces]
    passages: list[_Pieces]
    same: NDArray[np.bool_] | None = None


class Surroundings:
    """Sentences and what stands around them; `leads` are the documents' titles, else their first sentence leads."""

    def __init__(self, texts: Sequence[str], leads: Sequence[str], words: Words, plan: Plan) -> None:
        self._plan = plan
        self._documents: list[list[_Pieces]] = []
        self._leads: list[_Pieces | None] = []
        for text, lead in zip(texts, leads, strict=True):
            found = [words.ids(sentence).astype(np.int32) for sentence in sentences(text)]
            if len(found) > 1:
                self._documents.append(found)
                self._leads.append(words.ids(lead).astype(np.int32) if lead else None)
        lengths = np.array([min(len(document), 60) for document in self._documents], dtype=np.float64)
        self._chances = np.sqrt(lengths) / np.sqrt(lengths).sum()

    def __len__(self) -> int:
        return len(self._documents)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Return a batch, each pair from another document."""
        size = min(self._plan.batch, len(self._documents))
        chosen = rng.choice(len(self._documents), size, replace=False, p=self._chances)
        pairs = [self._pair(place, rng) for place in chosen]
        return Drawn([query for query, _ in pairs], [passage for _, passage in pairs])

    def _pair(self, place: int, rng: np.random.Generator) -> tuple[_Pieces, _Pieces]:
        document, lead = self._documents[place], self._leads[place]
        asked = int(rng.integers(len(document)))
        first = max(0, asked - int(rng.integers(_AROUND + 1)))
        last = min(len(document), asked + 1 + int(rng.integers(_AROUND + 1)))
        around = [document[i] for i in range(first, last) if i != asked] or [document[asked - 1]]
        if lead is not None:
            around.insert(0, lead)
        elif first > 0 and rng.random() < 0.4:
            around.insert(0, document[0])
        if rng.random() < 0.15:
            around.append(document[asked])
        query = thinned(document[asked][:_ASKED], self._plan.thin, rng)
        return query, hidden(np.concatenate(around)[:_READ], query, self._plan.hide, rng)


class Answers:
    """Queries and the documents that answer them, with negatives that BM25 or a person took for near ones."""

    def __init__(self, found: RetrievalSet, words: Words, plan: Plan) -> None:
        self._plan = plan
        documents = [found.whole(place) for place in range(len(found.texts))]
        self._passages = [words.ids(text).astype(np.int32)[:_READ] for text in documents]
        index = BM25Index.build(map(analyze, documents))
        self._pairs = [
            (words.ids(form).astype(np.int32), relevant, _negatives(index, form, query), query.rejected)
            for query in found.queries
            if not query.held
            for form in query.forms
            for relevant in query.relevant
        ]

    def __len__(self) -> int:
        return len(self._pairs)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Return a batch of different pairs."""
        chosen = rng.choice(len(self._pairs), min(self._plan.batch, len(self._pairs)), replace=False)
        queries, own, others, passages = [], [], [], []
        for query, relevant, near, rejected in map(self._pairs.__getitem__, chosen):
            queries.append(thinned(query, self._plan.thin, rng))
            own.append(relevant)
            passages.append(hidden(self._passages[relevant], query, self._plan.hide / 2, rng))
            if rejected and rng.random() < 0.5:
                others.append(rejected[0])
            elif len(near):
                others.append(near[min(len(near) - 1, int(rng.exponential(_NEAR / 4)))])
        passages += [self._passages[place] for place in others]
        same = np.array(own + others)[None, :] == np.array(own)[:, None]
        np.fill_diagonal(same, val=False)
        return Drawn(queries, passages, same)


def _negatives(index: BM25Index, form: str, query: Judged) -> _Pieces:
    found = index.search(analyze(form), _NEAR).positions
    return found[~np.isin(found, query.relevant)].astype(np.int32)


def sentences(text: str) -> list[str]:
    """Return the sentences of `text`, very short ones with those before them; of a single one, its two halves."""
    found: list[str] = []
    for sentence in _SENTENCE.findall(text):
        if found and len(found[-1]) < _SHORTEST:
            found[-1] += sentence
        elif sentence.strip():
            found.append(sentence)
    if len(found) == 1 and len(text) >= 2 * _SHORTEST:
        comma = text.find("，", len(text) // 3)
        cut = comma + 1 if 0 < comma < len(text) - _SHORTEST else len(text) // 2
        return [text[:cut], text[cut:]]
    return found


def thinned(query: _Pieces, share: float, rng: np.random.Generator) -> _Pieces:
    """Return `query`, or, for a `share` of the calls, what is left when some of its words are dropped."""
    if len(query) < 4 or rng.random() >= share:
        return query
    kept = query[rng.random(len(query)) < rng.uniform(0.3, 1.0)]
    return kept if len(kept) > 1 else query


def hidden(passage: _Pieces, query: _Pieces, share: float, rng: np.random.Generator) -> _Pieces:
    """Return `passage`, or, for a `share` of the calls, what is left of it without the words of `query`."""
    if rng.random() >= share:
        return passage
    kept = passage[~np.isin(passage, query)]
    return kept if len(kept) > 3 else passage


Source = Surroundings | Answers


def sources(data: TrainingData, words: Words, plan: Plan, log: Log) -> list[tuple[Source, float]]:
    """Return what batches are drawn from, with shares that add up to 1."""
    found: list[tuple[Source, float]] = []
    texts = [text for one in data.texts.values() for text in one]
    found.append((Surroundings(texts, [""] * len(texts), words, plan), TEXT_SHARE))
    for one in data.sets:
        if one.use.articles:
            found.append((Surroundings(one.texts, one.titles, words, plan), one.use.articles))
        found.append((Answers(one, words, plan), one.use.share))
        log(f"{one.use.name}: read")
    found = [(source, share) for source, share in found if len(source) > 1]
    if not found:
        raise InputError("train: expected at least two documents of several sentences, or two queries with answers")
    total = sum(share for _, share in found)
    return [(source, share / total) for source, share in found]


# ---------------------------------------------------------------------------------------- the loop


class Tower(nn.Module):
    """The vectors, how much each entry counts (as logarithms), and the inverse temperature (likewise).

    An entry's gradients are kept apart from the others': a step touches the rows of its batch only.
    """

    def __init__(self, vectors: _Floats, weights: _Floats, scale: float) -> None:
        super().__init__()
        self.vectors = torch.from_numpy(vectors)
        self.moments = (torch.zeros_like(self.vectors), torch.zeros_like(self.vectors))
        self.passage = nn.Parameter(torch.from_numpy(weights))
        self.query = nn.Parameter(torch.zeros(len(weights)))
        self.scale = nn.Parameter(torch.tensor(float(np.log(scale))))


def start(counts: Mapping[str, int], words: Words, plan: Plan, seed: int) -> Tower:
    """Return vectors drawn by chance, and weights that hold frequent words back (Arora et al., ICLR 2017)."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(scale=plan.dimensions**-0.5, size=(len(words), plan.dimensions)).astype(np.float32)
    occurring = np.ones(len(words))
    occurring[: len(counts)] = list(counts.values())
    single = np.ones(len(words))
    single[: len(counts)] = [0.5 if len(word) == 1 else 1.0 for word in counts]
    weights = single * 1e-3 / (1e-3 + occurring / occurring.sum())
    return Tower(vectors, np.log(weights).astype(np.float32), plan.scale)


def fit(tower: Tower, drawn_from: Sequence[tuple[Source, float]], plan: Plan, seed: int, log: Log) -> None:
    """Train `tower` for as many steps as `plan` says."""
    rng = np.random.default_rng([seed, 1])
    optimizer = torch.optim.Adam(
        [
            {"params": [tower.passage, tower.query], "base": 3 * plan.rate},
            {"params": [tower.scale], "base": plan.rate / 3},
        ],
        betas=_BETAS,
    )
    shares = [share for _, share in drawn_from]
    began, mean = time.monotonic(), 0.0
    for step in range(plan.steps):
        rate = min(1.0, (step + 1) / 50) * max(0.03, 1 - step / plan.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * rate
        loss = _step(tower, drawn_from[rng.choice(len(shares), p=shares)][0].draw(rng), plan.rate * rate, optimizer)
        kept = min(0.98, 1 - 1 / (step + 1))
        mean = kept * mean + (1 - kept) * loss
        if (step + 1) % _LOGGED == 0 or step + 1 == plan.steps:
            log(f"step {step + 1}/{plan.steps}, {time.monotonic() - began:.0f} s: loss {mean:.3f}")


_BETAS = (0.9, 0.98)
_HOTTEST = float(np.log(60))


def _step(tower: Tower, drawn: Drawn, rate: float, optimizer: torch.optim.Optimizer) -> float:
    """Take one step: Adam for what is small, and for the rows of the batch alone (as in SparseAdam)."""
    texts = drawn.queries + drawn.passages
    places, inverse = np.unique(np.concatenate(texts), return_inverse=True)
    rows = torch.from_numpy(places)
    vectors = tower.vectors[rows].requires_grad_()
    bounds = np.cumsum([0] + [len(text) for text in texts])
    cut = bounds[len(drawn.queries)]
    near = tower.passage[rows][inverse]
    asked = near[:cut] + tower.query[rows][inverse[:cut]]
    ids = torch.from_numpy(inverse)
    queries = _summed(vectors, ids[:cut], bounds[: len(drawn.queries)], asked)
    passages = _summed(vectors, ids[cut:], bounds[len(drawn.queries) : -1] - cut, near[cut:])
    loss = _loss(queries @ passages.T * tower.scale.exp(), drawn)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    _update(tower, rows, vectors, rate)
    with torch.no_grad():
        tower.scale.clamp_(max=_HOTTEST)
    return float(loss.detach())


def _summed(vectors: Tensor, ids: Tensor, starts: NDArray[Any], logs: Tensor) -> Tensor:
    summed = F.embedding_bag(ids, vectors, torch.from_numpy(starts), mode="sum", per_sample_weights=logs.exp())
    return F.normalize(summed, dim=1)


def _loss(scores: Tensor, drawn: Drawn) -> Tensor:
    own = torch.arange(len(drawn.queries))
    if drawn.same is not None:
        return F.cross_entropy(scores.masked_fill(torch.from_numpy(drawn.same), -1e4), own)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def _update(tower: Tower, rows: Tensor, vectors: Tensor, rate: float) -> None:
    """Move the rows of a batch by Adam, without correcting its start: the rate warms up for longer than that lasts."""
    gradient = vectors.grad
    if gradient is None:
        return
    with torch.no_grad():
        first, second = (moments[rows] for moments in tower.moments)
        first.lerp_(gradient, 1 - _BETAS[0])
        second.lerp_(gradient.square_(), 1 - _BETAS[1])
        tower.moments[0][rows], tower.moments[1][rows] = first, second
        tower.vectors[rows] = vectors.detach() - rate * first / (second.sqrt_() + 1e-8)
