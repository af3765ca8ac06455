"""What each epoch of training sees: the pairs, some of them varied, and rows that are made of them.

A model that copies must learn where to copy from, not what: so names are exchanged, older turns put in front, titles
left out. People also ask in fragments ("pricing?"), about what was talked of or about something new, which the public
sets hardly have: these are cut out of rewrites.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

from .edit_script import Connectors
from .editor_data import KeepShares, Pair, TrainingData, keep_rows, read_documents
from .editor_examples import Example, make_example, make_examples
from .editor_input import Vocabulary
from .editor_silver import silver_pairs

_LONGEST_SWAPPED = 10  # units; longer copies are clauses, not names
_MIXED_IN_LENGTH = 130  # pieces of a silver example among the pairs, which are short
_MIXED_IN_WEIGHT = 0.5
_FRONTED_CONVERSATIONS = 3
_TRIES = 30


@dataclass(frozen=True, slots=True)
class Mixture:
    """How an epoch is put together. All but `silver` (rows) are shares of the pairs, `keep` three of them.

    `swapped`: the copied name replaced by another pair's, everywhere; `fronted`: turns of other conversations put
    before the history; `untitled`: the line with the title left out; `fragments`: rows whose query is a fragment of the
    rewrite, without what the history holds; `strangers`: fragments under the history of another conversation.
    """

    keep: KeepShares
    swapped: float = 0.0
    fronted: float = 0.0
    untitled: float = 0.0
    fragments: float = 0.0
    strangers: float = 0.0
    silver: int = 0


class Epochs:
    """Makes the examples of each epoch, always the same for one seed."""

    def __init__(
        self, data: TrainingData, mixture: Mixture, vocabulary: Vocabulary, connectors: Connectors, seed: int
    ) -> None:
        self._data, self._mixture, self._seed = data, mixture, seed
        self._vocabulary, self._connectors = vocabulary, connectors
        self._made = [(pair, make_example(pair, vocabulary, connectors)) for pair in data.train]
        self.silver = SilverExamples(data, vocabulary, connectors, seed)

    @property
    def teaches(self) -> bool:
        """Say whether any pair copies something."""
        return any(example and example.edit for _, example in self._made)

    def epoch(self, number: int) -> list[Example]:
        """Return the examples of an epoch, counted from 0."""
        rng = random.Random(f"{self._seed}:epoch:{number}")
        pairs, mixture = self._data.train, self._mixture
        found = [example for pair, plain in self._made for example in self._varied(pair, plain, rng)]
        made = keep_rows(pairs, self._data.fluent, mixture.keep, rng)
        made += islice(fragments(pairs, rng), round(mixture.fragments * len(pairs)))
        made += strangers(pairs, round(mixture.strangers * len(pairs)), rng)
        found += make_examples(made, self._vocabulary, self._connectors)
        return found + self.silver.made(
            f"mixed:{number}", mixture.silver, longest=_MIXED_IN_LENGTH, weight=_MIXED_IN_WEIGHT
        )

    def _varied(self, pair: Pair, plain: Example | None, rng: random.Random) -> Iterable[Example]:
        """Yield the example of `pair`, or of a variant of it."""
        varied = pair
        name = copied_name(plain) if plain else None
        if name and rng.random() < self._mixture.swapped:
            varied = swapped(varied, name, rng.choice(self._names))
        if pair.titled and rng.random() < self._mixture.untitled:
            varied = replace(varied, query=replace(varied.query, history=varied.query.history[1:]))
        if rng.random() < self._mixture.fronted:
            varied = fronted(varied, rng.choices(self._data.train, k=rng.randint(1, _FRONTED_CONVERSATIONS)))
        other = plain if varied is pair else make_example(varied, self._vocabulary, self._connectors)
        return filter(None, (other or plain,))

    @cached_property
    def _names(self) -> list[str]:
        return [name for _, example in self._made if example and (name := copied_name(example))]


class SilverExamples:
    """Makes examples from plain text, other ones each time, the same for one seed; the texts are read once."""

    def __init__(self, data: TrainingData, vocabulary: Vocabulary, connectors: Connectors, seed: int) -> None:
        self._data, self._seed = data, seed
        self._vocabulary, self._connectors = vocabulary, connectors

    @cached_property
    def _documents(self) -> list[str]:
        return [document for path in self._data.texts for document in read_documents(path)]

    def made(self, draw: str, count: int, *, longest: int, weight: float = 1.0) -> list[Example]:
        """Return the examples of `count` pairs, named by what they are drawn for, those under `longest` pieces."""
        if not count:
            return []
        rng = random.Random(f"{self._seed}:{draw}")
        pairs = islice(silver_pairs(self._documents, self._data.language, rng), count)
        weighted = [replace(pair, weight=weight) for pair in pairs]
        found = make_examples(weighted, self._vocabulary, self._connectors)
        return [example for example in found if len(example.pieces.ids) < longest]


# ---------------------------------------------------------------------------------------- variants


def copied_name(example: Example) -> str | None:
    """Return the text that a script copies where it copies one short span, otherwise None."""
    spans = [span for insertion in example.script.insertions.values() for span in insertion.spans if span]
    if len(spans) != 1:
        return None
    start, end = spans[0][0]
    flat = [(line, unit) for line in example.pieces.lines for unit in line.units]
    (line, first), (_, last) = flat[start], flat[end]
    text = line.text[first.start : last.end]
    return text if len(text) > 1 and end - start < _LONGEST_SWAPPED else None


def swapped(pair: Pair, name: str, other: str) -> Pair:
    """Return `pair` with `name` replaced by `other` wherever it stands."""
    history = tuple(replace(turn, text=turn.text.replace(name, other)) for turn in pair.query.history)
    query = replace(pair.query, query=pair.query.query.replace(name, other), history=history)
    return replace(pair, query=query, rewrite=pair.rewrite.replace(name, other))


def fronted(pair: Pair, others: Sequence[Pair]) -> Pair:
    """Return `pair` with the histories of `others` before its own."""
    older = tuple(turn for other in others for turn in other.query.history)
    return replace(pair, query=replace(pair.query, history=older + pair.query.history))


# --------------------------------------------------------------------------------------- fragments

_LEAD = re.compile(
    r"^(?:(?:can|could|would) you (?:please )?(?:tell|explain|give)(?: me)?(?: more)?(?: about)?|"
    r"tell me (?:more )?about|what (?:is|are|was|were|about)(?: the| a| an| some(?: of)?(?: the)?)?|how about|"
    r"who (?:is|was)|what)\s+",
    re.IGNORECASE,
)
_EMPTY = frozenset(
    """the a an of in on for to by with and or from at as is are was were be do does did his her its their it that this
    these those about into s ' who what which how when where why not""".split()  # noqa: SIM905
)
_MARKS = ("?", "", "?", ".")
_SHORTEST, _LONGEST = 3, 12  # words of a rewrite that fragments are cut from


def fragments(pairs: Sequence[Pair], rng: random.Random) -> Iterable[Pair]:
    """Yield English pairs whose query is what is left of a rewrite without its lead and what the history holds."""
    sources = [pair for pair in pairs if pair.standalone and pair.query.history]
    for _ in range(_TRIES * len(sources)):
        if made := _fragment(rng.choice(sources), rng):
            yield made


def strangers(pairs: Sequence[Pair], count: int, rng: random.Random) -> list[Pair]:
    """Return rows that need nothing: a rewrite without its lead under the history of another conversation."""
    sources = [pair for pair in pairs if pair.standalone]
    contexts = [pair for pair in pairs if len(pair.query.history) > 1]
    found: list[Pair] = []
    for context in rng.choices(contexts, k=count) if sources and contexts else ():
        other = rng.choice(sources)
        text = _core(other.rewrite) + rng.choice(_MARKS)
        if other.group != context.group and _core(other.rewrite):
            query = replace(context.query, query=text)
            found.append(replace(context, query=query, rewrite=text, source="stranger", weight=1.0))
    return found


def _core(rewrite: str) -> str:
    return _LEAD.sub("", rewrite.strip()).strip(" ?.!")


def _fragment(pair: Pair, rng: random.Random) -> Pair | None:
    full = _core(pair.rewrite)
    words = full.split()
    if not _SHORTEST <= len(words) <= _LONGEST:
        return None
    known = " \n ".join(turn.text for turn in pair.query.history).lower()
    start, end = _longest_known(words, known)
    while start > 0 and words[start - 1].lower() in _EMPTY:
        start -= 1  # "of the" goes with what it introduces
    left, right = words[:start], words[end:]
    if end == 0 or (left and right) or {word.lower() for word in left + right} <= _EMPTY:
        return None
    mark = rng.choice(_MARKS)
    query = replace(pair.query, query=" ".join(left + right) + mark)
    return replace(pair, query=query, rewrite=full + mark, source="fragment", weight=0.8)


def _longest_known(words: Sequence[str], known: str) -> tuple[int, int]:
    """Return the longest run of words that stands in `known` and says something, (0, 0) if there is none."""
    best = (0, 0)
    for start in range(len(words)):
        for end in range(len(words), start, -1):
            text = " ".join(words[start:end]).lower().strip("?,.'s")
            if end - start > best[1] - best[0] and len(text) > 4 and text in known and not set(text.split()) <= _EMPTY:
                best = (start, end)
                break
    return best
