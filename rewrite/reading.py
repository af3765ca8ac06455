"""What a catalog and a calendar recognise in one text: names, dates, vague words, triggers, fillers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .catalog import Catalog, Entity, Grammar, Trigger, Value
from .dates import Calendar, Period, find_dates
from .language import Language, bounded, fold

_FILLERS = {
    Language.ZH: (
        "请问|麻烦|帮忙|帮我|给我|发我|我们|我想|咱们|一下|一份|看看|看下|看|查询|查查|查|"
        "那么|那边|那个|那|这个|还有|再|里面|里|中|在|要|想|请|把|的|呢|吗|嘛|吧|啊|呀|哦|哈|下|了|没|和|跟|与|给|现在|"
        "怎么样|咋样|pls|please"
    ),
    Language.EN: (
        "please|pls|thanks|so|and|or|ok|okay|then|now|what about|how about|what|how|about|the|a|an|any|some|"
        "for|of|in|on|to|at|from|with|by|me|my|our|us|we|i|do|does|did|is|are|was|were|it|that|those|these|"
        "have|get|got|see|check|just|also|can|could|you|there|else|same"
    ),
}
_NOT_A_WORD = r"[\W_]"
# Possessive: without it the ambiguous words ("what about", "what", "about") take exponential time to refuse a text.
_FILLED = {
    Language.ZH: re.compile(rf"(?:{_FILLERS[Language.ZH]}|{_NOT_A_WORD})*+"),
    Language.EN: re.compile(rf"{_NOT_A_WORD}*+(?:(?:{_FILLERS[Language.EN]})(?:{_NOT_A_WORD}++|$))*+"),
}


PRONOUN = {
    Language.ZH: re.compile(r"它们?"),
    Language.EN: re.compile(r"\b(?:it|they|them)\b"),
}
"""Words that may stand for what a question is about."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text that means something: names (several if ambiguous), a date, or a vague word for `vague`.

    `meant` is how the catalog spells a name that is misspelt.
    """

    start: int
    end: int
    names: tuple[Entity | Value, ...] = ()
    period: Period | None = None
    absolute: bool = False
    vague: str | None = None
    meant: str | None = None

    @property
    def slots(self) -> set[str]:
        """The slots that the piece may fill."""
        if self.vague:
            return {self.vague}
        return {"period"} if self.period else {name.slot for name in self.names}


def read_pieces(text: str, catalog: Catalog, language: Language, calendar: Calendar | None) -> list[Piece]:
    """Find the pieces of `text`, by position, none overlapping; without a calendar there are no dates."""
    found = [Piece(m.start, m.end, names=m.candidates, meant=m.meant) for m in catalog.mentions(text)]
    if calendar:
        found += [
            Piece(d.start, d.end, period=d.period, absolute=d.absolute) for d in find_dates(text, language, calendar)
        ]
    found += _vague_pieces(fold(text), catalog, language)
    certain = _apart(piece for piece in found if piece.meant is None)
    slips = (piece for piece in found if piece.meant and not any(_overlap(piece, other) for other in certain))
    return sorted([*certain, *slips], key=lambda piece: piece.start)


def _apart(found: Iterable[Piece]) -> list[Piece]:
    """Return the pieces that do not overlap one before: the leftmost, the longest of those."""
    pieces: list[Piece] = []
    for piece in sorted(found, key=lambda piece: (piece.start, -piece.end)):
        if not pieces or piece.start >= pieces[-1].end:
            pieces.append(piece)
    return pieces


def _overlap(one: Piece, other: Piece) -> bool:
    return one.start < other.end and other.start < one.end


def _vague_pieces(folded: str, catalog: Catalog, language: Language) -> Iterator[Piece]:
    for slot, words in _vague_words(catalog, language):
        for start, end in _occurrences(folded, words):
            yield Piece(start, end, vague=slot)


def _vague_words(catalog: Catalog, language: Language) -> Iterator[tuple[str, tuple[str, ...]]]:
    for dimension in catalog.dimensions.values():
        yield dimension.name, dimension.vague.get(language, ())
    for intent in catalog.intents:
        if language in intent.grammars:
            yield intent.head, intent.grammars[language].vague


def _occurrences(folded: str, phrases: Iterable[str]) -> Iterator[tuple[int, int]]:
    for phrase in phrases:
        for match in re.finditer(re.escape(fold(phrase)), folded):
            if bounded(folded, *match.span()):
                yield match.span()


@dataclass(frozen=True, slots=True)
class TriggerMatch:
    """A trigger found in a text: where each of its parts stands."""

    trigger: Trigger
    spans: tuple[tuple[int, int], ...]

    @property
    def anchor(self) -> tuple[int, int] | None:
        """The part that says something, None for a trigger that is only dropped."""
        return next((span for span, say in zip(self.spans, self.trigger.says, strict=True) if say), None)

    def overlaps(self, piece: Piece) -> bool:
        """Say whether `piece` shares characters with the trigger."""
        return any(piece.start < end and start < piece.end for start, end in self.spans)


def find_trigger(grammar: Grammar, text: str) -> TriggerMatch | None:
    """Find the longest trigger of `grammar` in `text`."""
    folded = fold(text)
    for trigger in sorted(grammar.triggers, key=lambda trigger: -sum(map(len, trigger.parts))):
        spans = _part_spans(trigger, folded)
        if spans:
            return TriggerMatch(trigger, spans)
    return None


def _part_spans(trigger: Trigger, folded: str) -> tuple[tuple[int, int], ...]:
    spans: list[tuple[int, int]] = []
    position = 0
    for part in trigger.parts:
        span = next((s for s in _occurrences(folded, (part,)) if s[0] >= position), None)
        if span is None:
            return ()
        spans.append(span)
        position = span[1]
    return tuple(spans)


def only_fillers(text: str, taken: Iterable[tuple[int, int]], language: Language) -> bool:
    """Say whether all of `text` outside the `taken` spans is filler words and punctuation."""
    return all(is_filler(text[start:end], language) for start, end in _gaps(len(text), taken))


def is_filler(text: str, language: Language) -> bool:
    """Say whether `text` holds nothing but filler words and punctuation."""
    return _FILLED[language].fullmatch(fold(text)) is not None


def _gaps(length: int, taken: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    position = 0
    for start, end in sorted(taken):
        yield position, start
        position = max(position, end)
    yield position, length
