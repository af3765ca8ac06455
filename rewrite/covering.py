"""Whether a text is made of what may be written: character by character, and word by word.

Words are the same whatever their case, width, number (policy, policies), hyphens and spaces; amounts and names are
compared as such. Chinese has no spaces: a run of characters is cut into pieces that stand somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import rjieba

from .connecting import CONNECTING, CONNECTING_ZH
from .language import bounded, fold, is_cjk
from .quantities import Quantity, quantities

_HAN = r"\u3400-\u9fff\U00020000-\U000323af"
_WORD = re.compile(rf"[^\W_{_HAN}]+")
_CHUNK = re.compile(rf"[^\W_{_HAN}]+(?:[-'’./_&+][^\W_{_HAN}]+)*")
_RUN = re.compile(rf"[{_HAN}]+")
_JOINT = re.compile(r"[-'’./_&+]")
_POSSESSIVE = re.compile(r"['’]s$|(?<=s)['’]$")
_ENDINGS = frozenset({"d", "ll", "m", "re", "s", "ve"})
"""What follows an apostrophe: I'm, they've. The t of "don't" is a negation, and needs evidence."""
_PLAIN_MARKS = frozenset(" .,?!'\"’‘“”()-–—/:%&+\n，。？！、：；（）《》「」『』…·％")
"""Marks that an edit may set; others, such as those of HTML, Markdown and SQL, need evidence like words."""


class Cover:
    """What of a text is accounted for, character by character."""

    def __init__(self, text: str) -> None:
        self.text = fold(text)
        self._done = [False] * len(self.text)

    def spans(self, spans: Iterable[tuple[int, int]]) -> None:
        """Account for what stands at `spans`."""
        for start, end in spans:
            self._done[start:end] = [True] * (end - start)

    def names(self, names: Iterable[str]) -> None:
        """Account for each of `names` that stands in the text, not as a part of a longer word."""
        for name in filter(None, names):
            found = (match.span() for match in re.finditer(re.escape(fold(name)), self.text))
            self.spans([span for span in found if bounded(self.text, *span)])

    def amounts(self, texts: Sequence[str]) -> str | None:
        """Account for the amounts that `texts` hold; return one whose number they hold with another unit only."""
        known = [found for text in texts for found in quantities(text)]
        for found in quantities(self.text):
            if any(found.same(other) for other in known):
                self.spans([(found.start, found.end)])
            elif found.unit and not all(self._done[found.start : found.end]) and not _bare(found, known):
                return self.text[found.start : found.end]
        return None

    def rest(self, words: Words) -> str | None:
        """Return the first part that is neither accounted for nor among `words`."""
        for pattern, holds in ((_CHUNK, words.holds), (_RUN, words.holds_run)):
            for match in pattern.finditer(self.text):
                for start, end in self._open(*match.span()):
                    if any(map(str.isalnum, self.text[start:end])) and not holds(self.text[start:end]):
                        return self.text[start:end]
                self.spans([match.span()])
        left = (char for char, done in zip(self.text, self._done, strict=True) if not done)
        return next((char for char in left if char not in words.marks), None)

    def _open(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the stretches of `start:end` that are not accounted for."""
        for done, stretch in groupby(range(start, end), key=self._done.__getitem__):
            if not done:
                positions = list(stretch)
                yield positions[0], positions[-1] + 1


def _bare(found: Quantity, known: Iterable[Quantity]) -> bool:
    return any(other.unit is None and other.number == found.number for other in known)


class Words:
    """The words of some texts, to be found whatever their number, hyphens and spaces."""

    def __init__(self, texts: Iterable[str]) -> None:
        folded = [fold(text) for text in texts]
        self.marks = _PLAIN_MARKS.union(*folded)
        self._stems = {stem for text in folded for stem in _stems(text)}
        self._tight = "\n".join("".join(text.split()) for text in folded)

    def holds(self, chunk: str) -> bool:
        """Say whether a word, perhaps of several parts, stands here or connects."""
        chunk = _POSSESSIVE.sub("", chunk)
        if _stem(_JOINT.sub("", chunk)) in self._stems or chunk in CONNECTING:
            return True
        parts = _JOINT.split(chunk)
        loose = len(parts) > 1 and not any(map(str.isdigit, chunk))  # a code is one word
        return loose and all(_stem(part) in self._stems or part in CONNECTING or part in _ENDINGS for part in parts)

    def holds_run(self, run: str) -> bool:
        """Say whether Chinese characters can be cut into pieces that stand here or connect."""
        alone = _alone(run)
        reached = [True] + [False] * len(run)
        for end in range(1, len(run) + 1):
            reached[end] = any(
                reached[start] and self._holds_piece(run[start:end], alone=end - 1 in alone) for start in range(end)
            )
        return reached[-1]

    def _holds_piece(self, piece: str, *, alone: bool) -> bool:
        if piece in CONNECTING_ZH:
            return True
        return (len(piece) > 1 or alone) and piece in self._tight


def _alone(run: str) -> set[int]:
    """Return the positions of the characters that are words by themselves; of others only two together say much."""
    found, at = set(), 0
    for word in rjieba.cut(run):
        if len(word) == 1:
            found.add(at)
        at += len(word)
    return found


def _stems(folded: str) -> Iterator[str]:
    """Yield the words of a text, and what two or three of them make that only a hyphen, a mark or a space parts."""
    words = list(_WORD.finditer(folded))
    for i, first in enumerate(words):
        joined, last = "", first
        for match in words[i : i + 3]:
            if match.start() - last.end() > 1:
                break
            joined, last = joined + match[0], match
            yield _stem(joined)


def _stem(word: str) -> str:
    """Strip a plural's ending: policies, boxes, systems."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def size(text: str) -> tuple[int, int, int]:
    """Return how many words that name something, Han characters and characters `text` holds."""
    folded = fold(text)
    words = sum(match[0] not in CONNECTING for match in _CHUNK.finditer(folded))
    return words, sum(map(is_cjk, folded)), len(folded)
