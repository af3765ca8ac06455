"""Names in Latin letters with one misspelt word: "customer profle".

A word is taken for a slip only where it is none: neither in the catalog nor an English word as far as is known (see
`english_words`), so that "contact" never becomes "contract". Where no words are known, nothing is taken for a slip.

Near words are found by deletions (SymSpell, Wolf Garbe 2012): two words a few edits apart share what is left when
some letters are deleted from the beginning of each, so a look-up costs some hashes, however many words there are.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from rapidfuzz.distance import OSA

from .catalog_entries import Entity, Value
from .english_words import is_word, knows_words
from .language import bounded, is_cjk
from .phrases import Phrases

_WORD = re.compile(r"[^\W\d_\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U000323af]+")
_SHORTEST = 5
_LONG = 9
_BEGINNING = 7
"""Letters are deleted within the first seven only: enough to find every word, with far fewer hashes."""

_WORDS_AROUND = 8
"""A name is searched from so many words before the misspelt one."""

_CODE = re.compile(r"\d|[@_\\/#=&:]|\.(?=\w)")


Entry = Entity | Value


@dataclass(frozen=True, slots=True)
class Slip:
    """`start:end` of a text is a misspelling of the catalog's `name` (folded); `wrong` is where the two differ."""

    start: int
    end: int
    name: str
    wrong: tuple[int, int]


class Misspellings:
    """Finds names in which exactly one word is misspelt: transposed, missing, extra or wrong letters.

    One such letter in words of five letters and more, two in those of nine. Words in capitals and parts of codes and
    addresses are left alone, and a name that is one word keeps its first letter.
    """

    def __init__(self, names: Phrases[Entry]) -> None:
        self._names = names
        self._words = frozenset(word for name in names for word in _WORD.findall(name))
        self._near = _NearWords(word for word in self._words if len(word) >= _SHORTEST)

    def slips(self, text: str, folded: str) -> Iterator[Slip]:
        """Yield the slips in `text`; `folded` is its folded form."""
        starts = [match.span() for match in _WORD.finditer(folded)] if knows_words() else []
        for i, (start, end) in enumerate(starts):
            if self._is_slip(text, folded, start, end):
                first = [begin for begin, _ in starts[max(0, i - _WORDS_AROUND) : i + 1]]
                slip = self._meant(folded, start, end, first)
                if slip:
                    yield slip

    def _is_slip(self, text: str, folded: str, start: int, end: int) -> bool:
        word = folded[start:end]
        if end - start < _SHORTEST or text[start:end].isupper() or word in self._words:
            return False
        return not is_word(word) and not _in_code(folded, start, end)

    def _meant(self, folded: str, start: int, end: int, starts: list[int]) -> Slip | None:
        """Return the slip if one entry is meant: the longest name, then the nearest word decide."""
        found: dict[tuple[int, int], list[tuple[Slip, Entry]]] = {}
        for word, distance in self._near.of(folded[start:end]):
            mended = folded[:start] + word + folded[end:]
            grown = len(word) - (end - start)
            for begin in starts:
                for until, entries in self._names.at(mended, begin):
                    if until < end + grown or not bounded(mended, begin, until):
                        continue
                    name = mended[begin:until]
                    if name != word or word[0] == folded[start]:
                        slip = Slip(begin, until - grown, name, (start, end))
                        found.setdefault((begin - until, distance), []).extend((slip, entry) for entry in entries)
        best = found[min(found)] if found else []
        return best[0][0] if len({entry.where for _, entry in best}) == 1 else None


class _NearWords:
    """Words found by what is left of them with some letters deleted."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = list(words)
        hashes, ids = array("q"), array("i")
        for i, word in enumerate(self._words):
            left = _deletions(word)
            hashes.extend(map(hash, left))
            ids.extend([i] * len(left))
        self._hashes, self._ids = np.array(hashes, dtype=np.int64), np.array(ids, dtype=np.int32)
        order = np.argsort(self._hashes, kind="stable")
        self._hashes, self._ids = self._hashes[order], self._ids[order]

    def of(self, typed: str) -> Iterator[tuple[str, int]]:
        """Yield the words that are so near that `typed` may be a slip, and how many letters are wrong."""
        wanted = np.array([hash(rest) for rest in _deletions(typed)], dtype=np.int64)
        left, right = np.searchsorted(self._hashes, wanted, "left"), np.searchsorted(self._hashes, wanted, "right")
        ids = {int(i) for first, last in zip(left, right, strict=True) for i in self._ids[first:last]}
        for word in sorted(self._words[i] for i in ids):
            most = min(_wrong_letters(word), _wrong_letters(typed))
            distance = OSA.distance(typed, word, score_cutoff=most)
            if distance <= most:
                yield word, distance


def _wrong_letters(word: str) -> int:
    return 2 if len(word) >= _LONG else 1


def _deletions(word: str) -> set[str]:
    """Return what may be left of the beginning of `word` after as many slips as it may hold.

    >>> sorted(_deletions("sales"))
    ['ales', 'saes', 'sale', 'sales', 'sals', 'sles']
    """
    beginning = word[:_BEGINNING]
    kept = range(len(beginning) - _wrong_letters(word), len(beginning) + 1)
    return {"".join(rest) for length in kept for rest in combinations(beginning, length)}


def _in_code(folded: str, start: int, end: int) -> bool:
    """Say whether the word is a part of an address, a path or a code rather than of a sentence."""
    while start > 0 and not folded[start - 1].isspace() and not is_cjk(folded[start - 1]):
        start -= 1
    while end < len(folded) and not folded[end].isspace() and not is_cjk(folded[end]):
        end += 1
    return _CODE.search(folded[start:end].rstrip(":")) is not None
