"""Edits found by comparing a text that somebody proposes with the query: each with evidence, or dropped."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from .connecting import CONNECTING
from .language import fold, is_cjk
from .query import DroppedEdit, Edit, Evidence, Problem, Query, Source

_CONNECTING = CONNECTING | frozenset("的在中里和与是了吗呢有对从到及或为怎么什如何关于该这那")
"""Chinese ones character by character, as texts are compared."""

_TOKEN = re.compile(r"[A-Za-z0-9]+(?:[.'’_-][A-Za-z0-9]+)*|[\u3400-\u9fff]|[^\sA-Za-z0-9\u3400-\u9fff]")

_SHOWN_CHARS = 200
"""How much of a dropped edit is told."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A turn or a profile value, and the words that stand there."""

    source: Source
    where: str
    text: str
    words: frozenset[str]


class Scene:
    """A query with the places where evidence may stand, read once for all texts that are compared with it."""

    def __init__(self, query: Query, confidence: float) -> None:
        self._query, self._confidence = query, confidence
        self._asked = list(_TOKEN.finditer(query.query))

    @cached_property
    def _places(self) -> Sequence[_Place]:
        """The latest turn first, then the profile."""
        query = self._query
        turns = [(Source.HISTORY, f"history[{i}]", turn.text) for i, turn in query.recent_turns()]
        values = [
            (Source.PROFILE, f"profile.{key}", value) for key in query.profile for value in query.profile_values(key)
        ]
        return [_Place(source, where, text, frozenset(_words(text))) for source, where, text in turns + values]

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(_folded(self._asked)).union(*(place.words for place in self._places))

    def content(self, text: str) -> list[str]:
        """Return the words of `text` that say something."""
        return _content(_words(text))

    def unknown(self, text: str) -> list[str]:
        """Return those that stand nowhere: neither in the query nor in a place."""
        return [word for word in self.content(text) if word not in self._known]

    def edits(self, text: str) -> tuple[tuple[Edit, ...], tuple[DroppedEdit, ...]]:
        """Return what makes `text` of the query as far as it has evidence, and what has none.

        A difference whose words come from several places becomes one edit a place, each behind the one before.
        """
        found = list(self._differences(text))
        edits = tuple(each for each in found if isinstance(each, Edit))
        return edits, tuple(each for each in found if isinstance(each, DroppedEdit))

    def _differences(self, text: str) -> Iterator[Edit | DroppedEdit]:
        query, before = self._query.query, self._asked
        after = list(_TOKEN.finditer(text))
        asked, words = _folded(before), _folded(after)
        matcher = difflib.SequenceMatcher(None, asked, words, autojunk=False)
        for tag, i1, i2, j1, j2 in matcher.get_opcodes():
            if tag in {"equal", "delete"}:
                continue
            start = before[i1].start() if i1 < len(before) else len(query)
            end = before[i2 - 1].end() if i2 > i1 else start
            if tag == "insert":  # right behind the token before it
                start = end = before[i1 - 1].end() if i1 else 0
            begin = after[j1 - 1].end() if tag == "insert" and i1 else after[j1].start()
            if self._known.issuperset(_content(words[j1:j2])):
                leads = tag == "insert" and not i1
                yield from self._edits(text, after, (j1, j2), (start, end), begin, leads=leads)
                continue
            said = text[after[j1].start() : after[j2 - 1].end()][:_SHOWN_CHARS]
            yield DroppedEdit("topic", said, "stands neither in the conversation nor in the profile")
            yield from self._known_parts(text, after, (j1, j2), (start, end))

    def _edits(
        self,
        text: str,
        after: Sequence[re.Match[str]],
        span: tuple[int, int],
        there: tuple[int, int],
        begin: int,
        *,
        leads: bool,
    ) -> Iterator[Edit]:
        """Yield the edits that write the tokens `span` of `text` in place of the characters `there`."""
        words, (start, end) = _folded(after[slice(*span)]), there
        for count, place in _runs(words, self._places, frozenset(_folded(self._asked))):
            until = after[span[0] + count].start() if leads else after[span[0] + count - 1].end()
            replacement = _spaced(self._query.query, start, end, text[begin:until])
            evidence = Evidence(place.source, place.where, _spelled(place, text[begin:until]))
            yield Edit(Problem.MISSING_ENTITY, "topic", start, end, replacement, evidence, self._confidence)
            start, begin = end, until

    def _known_parts(
        self, text: str, after: Sequence[re.Match[str]], span: tuple[int, int], there: tuple[int, int]
    ) -> Iterator[Edit]:
        """Yield what stands somewhere of a difference that also holds what does not.

        A model that says "the pricing aspect of the office scanner" brings the scanner, if not the aspect. What was
        typed stays, unless it only points.
        """
        words, asked = _folded(after), frozenset(_folded(self._asked))
        start, end = there
        parts = [part for part in _parts(words, span, self._known) if set(_content(words[slice(*part)])) - asked]
        for i, part in enumerate(parts):
            points = i == 0 and start < end and not _content(_words(self._query.query[start:end]))
            leads = start == 0 and start == end
            first, last = _trimmed(words, part, leads=leads)
            if first == last:
                continue
            place = (start if points else end, end)
            begin = after[first].start()
            yield from (
                replace(edit, replacement=_apart(self._query.query, edit))
                for edit in self._edits(text, after, (first, last), place, begin, leads=False)
            )


_ENDING = re.compile(r"(?<=[a-z])['’]s?$|(?<=[a-z]{3})(?<![su])s$")
_PREPOSITIONS = frozenset(["of", "in", "for", "with", "on", "to", "about", "from", "by", "at"])


def _folded(tokens: Sequence[re.Match[str]]) -> list[str]:
    """Return the words of `tokens` without case, possessive and plural: "Trump's" is found in "trump"."""
    return [_ENDING.sub("", fold(token[0])) for token in tokens]


def _parts(words: Sequence[str], span: tuple[int, int], known: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Yield the runs of `words` within `span` that hold no word that stands nowhere."""
    begin = span[0]
    for i in range(*span):
        if not known.issuperset(_content([words[i]])):
            yield begin, i
            begin = i + 1
    yield begin, span[1]


def _trimmed(words: Sequence[str], part: tuple[int, int], *, leads: bool) -> tuple[int, int]:
    """Return `part` without connecting words at its ends, but for those that join it to the words beside it."""
    first, last = part
    while first < last and not _content([words[first]]) and (leads or words[first] not in _PREPOSITIONS):
        first += 1
    while first < last and not leads and not _content([words[last - 1]]):
        last -= 1
    return first, last


def _apart(query: str, edit: Edit) -> str:
    """Return what `edit` writes with the spaces that Latin words need around it."""
    text = edit.replacement.strip()
    before = " " if edit.start and not query[edit.start - 1].isspace() and not is_cjk(text[0]) else ""
    after = " " if edit.end < len(query) and query[edit.end].isalnum() and not is_cjk(text[-1]) else ""
    return before + text + after


def _words(text: str) -> list[str]:
    return _folded(list(_TOKEN.finditer(text)))


def _runs(words: Sequence[str], places: Sequence[_Place], asked: frozenset[str]) -> list[tuple[int, _Place]]:
    """Split `words` into runs that one place and the query hold, by where each ends; none if a word stands nowhere."""
    runs: list[tuple[int, _Place]] = []
    held, begin, end = list(places), 0, 0
    for i, word in enumerate(words):
        if not _content([word]):
            continue
        still = [place for place in held if word in place.words or word in asked]
        if not still:
            if not (run := _run(words[begin:end], held)):
                return []
            runs.append((end, run))
            begin, still = end, [place for place in places if word in place.words]
        held, end = still, i + 1
    last = _run(words[begin:], held)
    return [*runs, (len(words), last)] if last else []


def _run(words: Sequence[str], places: Sequence[_Place]) -> _Place | None:
    """Return the first place that brings a word of its own."""
    return next((place for place in places if any(word in place.words for word in _content(words))), None)


def _content(words: Sequence[str]) -> list[str]:
    return [word for word in words if word[0].isalnum() and word not in _CONNECTING]


def _spelled(place: _Place, written: str) -> str:
    """Return the evidence as it is spelled in its place: all that is written, or its first word that stands there."""
    if place.source is Source.PROFILE:
        return place.text
    folded = fold(place.text)
    said = [fold(written.strip()), *_content(_words(written))]
    found = next(each for each in said if each in folded)
    at = folded.find(found)
    return place.text[at : at + len(found)]


def _spaced(text: str, start: int, end: int, replacement: str) -> str:
    """Add the spaces that keep Latin words apart where an edit is put in."""
    if not replacement:
        return replacement
    if start and _joins(text[start - 1], replacement[0]):
        replacement = f" {replacement}"
    if end < len(text) and _joins(replacement[-1], text[end]):
        replacement = f"{replacement} "
    return replacement


def _joins(left: str, right: str) -> bool:
    return left.isalnum() and right.isalnum() and not (is_cjk(left) and is_cjk(right))
