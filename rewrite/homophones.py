"""Chinese names typed by their sound, 客户画象 or kehuhuaxiang for 客户画像, or with one wrong character.

Each Han character of a text is replaced by one that stands for its syllable; then names that sound alike are found
as exact names are. Syllables that many speakers and input methods confuse count as one: zh/z, ch/c, sh/s, n/l and
-ang/-an, -eng/-en, -ing/-in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cache, cached_property, lru_cache
from importlib import import_module
from itertools import accumulate, count, pairwise
from typing import Any

from rapidfuzz import process
from rapidfuzz.distance import Hamming

from .catalog_entries import Entity, Value
from .english_words import is_word
from .language import bounded, is_cjk
from .phrases import Phrases
from .spelling import Slip

Entry = Entity | Value

_ONE_WRONG = 4
"""In a name of so many characters, one may be any other."""

_LATIN_SYLLABLES = 3
"""A name of so many characters may be typed in Latin letters."""

_WORDS_JOINED = 8
_FUNCTION_CHARS = frozenset(
    "的了是在有我你他她它们这那哪吗呢吧啊呀不没也都就和与或把被给对从到为以用看说去来要想能会上下里中个"
    "一二三四五六七八九十几多少很更最怎什么何谁所间该此其及等将于得叫应但且则各每某另请帮查找"
)
"""Characters that are words of their own in nearly every sentence: nobody types them for another."""

_CONTRASTS = frozenset(
    "男女东西南北左右前后内外语岛谷山河大小新旧老高低长短年月日时国省市县区版型级类号第甲乙丙丁公私正副总分主"
)
"""Characters that tell names apart (最佳男配角, 最佳女配角): one that sounds otherwise is meant as it is."""

_TONE3 = 8
"""pypinyin.Style.TONE3: "xian4"."""

_LETTERS = re.compile("[a-z]+(?:'[a-z]+)*")


class Homophones:
    """Finds names that are typed as they sound, and names with one wrong character.

    - three Han characters and more: all sound alike or nearly, at most half are others;
    - two: the tones are the same, too, one character is another, and what is typed is no word;
    - four and more: one character may be any other, unless that makes a word (销售预算, 销售预测);
    - three and more: pinyin in Latin letters, without tones.

    Only whole words are replaced, as far as segmentation tells.
    """

    def __init__(self, names: Phrases[Entry]) -> None:
        self._names = names
        self._han = [name for name in names if any(map(is_cjk, name))]

    def slips(self, text: str, folded: str) -> Iterator[Slip]:  # noqa: ARG002 # what finders of slips are given
        """Yield the slips in `folded`; of those in Han the leftmost first and the longest at each place."""
        if self._han:
            yield from self._typed_in_latin(folded)
        if self._han and any(map(is_cjk, folded)):
            yield from self._typed_in_han(_Sentence(folded))

    def _typed_in_han(self, sentence: _Sentence) -> Iterator[Slip]:
        near: dict[tuple[int, int], dict[tuple[int, int], list[str]]] = {}
        for start, end, name in self._near(sentence):
            if rank := sentence.rank(start, end, name):
                near.setdefault((start, -end), {}).setdefault(rank, []).append(name)
        until = 0
        for (start, end), ranks in sorted(near.items()):
            names = ranks[min(ranks)]
            if start >= until and self._mean_one(names):
                until = -end
                yield Slip(start, until, names[0], (start, until))

    def _near(self, sentence: _Sentence) -> Iterator[tuple[int, int, str]]:
        """Yield where a text sounds like a name, or differs from it by one character, and the name."""
        tables = self._tables
        for start in range(len(sentence.text)):
            for table, sounds in ((tables.by_sound, sentence.sounds), (tables.by_tone, sentence.tones)):
                for end, names in table.at(sounds, start):
                    if bounded(sentence.text, start, end):
                        yield from ((start, end, name) for name in names)
        yield from tables.one_wrong.near(sentence.text)

    def _mean_one(self, names: Iterable[str]) -> bool:
        """Say whether all `names` are one entry's, and no other has one of them."""
        return len({entry.where for name in names for entry in self._names.get(name)}) == 1

    @cached_property
    def _tables(self) -> _Tables:
        return _Tables(self._han)

    # -------------------------------------------------------------------------- in Latin letters

    def _typed_in_latin(self, folded: str) -> Iterator[Slip]:
        words = [(match.start(), match.end()) for match in _LETTERS.finditer(folded) if bounded(folded, *match.span())]
        taken = 0
        for i, (start, _) in enumerate(words):
            for run in (words[i:j] for j in range(min(len(words), i + _WORDS_JOINED), i, -1)):
                if start >= taken and (name := self._spelt(folded, run)):
                    taken = run[-1][1]
                    yield Slip(start, taken, name, (start, taken))

    def _spelt(self, folded: str, run: Sequence[tuple[int, int]]) -> str | None:
        """Return the name whose pinyin the words of `run` are, cut between syllables, if there is one."""
        if any(folded[left[1] : right[0]] != " " for left, right in pairwise(run)):
            return None
        words = [folded[start:end].replace("'", "") for start, end in run]
        found = self._tables.by_letters.get("".join(words))
        cuts = set(accumulate(map(len, words)))
        names = [name for name, ends in found if cuts <= set(ends)]
        english = len(words) < _LATIN_SYLLABLES and all(map(is_word, words))
        return names[0] if names and self._mean_one(names) and not english else None


class _Tables:
    """Names by how they sound, by their pinyin with where each syllable ends, and by their halves."""

    def __init__(self, names: Sequence[str]) -> None:
        read = [(name, reading) for name in names for reading in _readings(name)]
        pure = {name for name in names if all(map(is_cjk, name))}
        self.by_sound = Phrases((_sounds(r), name) for name, r in read if len(name) > 2 and _han(name) > 1)
        self.by_tone = Phrases((_tones(r), name) for name, r in read if len(name) == 2 and name in pure)
        typed = ((name, r) for name, r in read if len(name) >= _LATIN_SYLLABLES and name in pure)
        self.by_letters = Phrases(_letters(name, reading) for name, reading in typed)
        self.one_wrong = _Halves(name for name in pure if len(name) >= _ONE_WRONG)


def _letters(name: str, reading: Iterable[str]) -> tuple[str, tuple[str, tuple[int, ...]]]:
    syllables = [_plain(syllable) for syllable in reading]
    return "".join(syllables), (name, tuple(accumulate(map(len, syllables))))


def _han(text: str) -> int:
    """Return how many Han characters `text` has."""
    return sum(map(is_cjk, text))


class _Kind(IntEnum):
    """How what is typed sounds beside a name, the likeliest slip first."""

    SAME = 0
    TONES = 1
    NEAR = 2
    OTHER = 3


_CLEAR = {_Kind.SAME: 3, _Kind.TONES: 4, _Kind.NEAR: 100, _Kind.OTHER: 100}
"""From so many Han characters on, the sound tells enough, though words were typed: 产品经历 for 产品经理."""


class _Sentence:
    """A folded text with its sounds and its words."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.reading = [_reading(char) for char in text]
        self.sounds = _sounds(self.reading)
        self.tones = _tones(self.reading)

    @cached_property
    def words(self) -> Sequence[tuple[int, int]]:
        """For each character, where the word that it belongs to begins and ends."""
        return _words(self.text)

    def rank(self, start: int, end: int, name: str) -> tuple[int, int] | None:
        """Return how near `start:end` is to `name`, None where it is no slip of it."""
        others = [i for i in range(start, end) if self.text[i] != name[i - start]]
        if not 0 < len(others) <= _han(name) / 2 or self.words[start] == (start, end):
            return None
        kind = self._kind(start, end, name)
        clear = _han(name) >= _CLEAR[kind]
        if not all(self._may_be_slip(i, name[i - start], sounds_so=clear) for i in others):
            return None
        if not _whole(self.words, start, end) and not (clear and self._whole_if_mended(start, end, name)):
            return None
        if len(name) == 2 and not _FUNCTION_CHARS.isdisjoint(name):
            return None
        doubtful = kind is _Kind.OTHER or len(name) == 2
        return None if doubtful and not self._stands_alone(start, end) else (kind, len(others))

    def _may_be_slip(self, i: int, meant: str, *, sounds_so: bool) -> bool:
        """Say whether the character at `i` may have been typed for the one that is `meant`."""
        typed = self.text[i]
        if not is_cjk(typed) or typed in _FUNCTION_CHARS:
            return False
        in_word = self.words[i][1] - self.words[i][0] > 1
        return sounds_so or (not in_word and not {typed, meant} & _CONTRASTS)

    def _whole_if_mended(self, start: int, end: int, name: str) -> bool:
        """Say whether the text with `name` is cut around it: a slip makes odd words with what stands beside it."""
        return _whole(_words(self.text[:start] + name + self.text[end:]), start, end)

    def _stands_alone(self, start: int, end: int) -> bool:
        """Say whether no single character stands beside `start:end`: with it, this may be a name that is not known."""
        beside = [i for i in (start - 1, end) if 0 <= i < len(self.text)]
        return not any(
            is_cjk(self.text[i]) and self.words[i][1] - self.words[i][0] == 1 and self.text[i] not in _FUNCTION_CHARS
            for i in beside
        )

    def _kind(self, start: int, end: int, name: str) -> _Kind:
        readings = _readings(name)
        if any(_tones(reading) == self.tones[start:end] for reading in readings):
            return _Kind.SAME
        if any(list(map(_plain, reading)) == list(map(_plain, self.reading[start:end])) for reading in readings):
            return _Kind.TONES
        return _Kind.NEAR if any(_sounds(reading) == self.sounds[start:end] for reading in readings) else _Kind.OTHER


def _words(text: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for word in import_module("rjieba").cut(text, False):  # False: nothing but words of its dictionary
        spans += [(len(spans), len(spans) + len(word))] * len(word)
    return spans


def _whole(words: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Say whether a text is cut before `start` and behind `end`."""
    return words[start][0] == start and words[end - 1][1] == end


class _Halves:
    """Names in which one character is another: then the first or the second half is as it should be."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_half: dict[tuple[str, int, int], list[str]] = {}
        for name in names:
            middle = len(name) // 2
            for half, before in ((name[:middle], 0), (name[middle:], middle)):
                self._by_half.setdefault((half, before, len(name)), []).append(name)
        self._kinds = Phrases((half, (before, length)) for half, before, length in self._by_half)

    def near(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield where in `text` a name stands but for one character, and the name."""
        for at in range(len(text)):
            for until, kinds in self._kinds.at(text, at):
                for before, length in kinds:
                    start = at - before
                    if 0 <= start <= len(text) - length:
                        names = self._by_half[text[at:until], before, length]
                        yield from (
                            (start, start + length, name) for name in _one_other(text[start : start + length], names)
                        )


def _one_other(typed: str, names: Sequence[str]) -> Iterator[str]:
    found = process.extract_iter(typed, names, scorer=Hamming.distance, score_cutoff=1)
    return (name for name, distance, _ in found if distance == 1)


# ------------------------------------------------------------------------------------------ sounds


def _readings(name: str) -> list[tuple[str, ...]]:
    """Return how `name` is read: each character as usual, and the whole as its words are (重庆 is chong qing)."""
    usual = tuple(map(_reading, name))
    # Asking for every name would take most of the time that the tables take; few hold a phrase read otherwise.
    phrases, chars = _read_otherwise()
    if chars.isdisjoint(name) or not any(part in phrases for part in _parts(name)):
        return [usual]
    said = _pinyin().lazy_pinyin(name, style=_TONE3, errors=list)
    return list(dict.fromkeys([usual, tuple(said)])) if len(said) == len(name) else [usual]


def _parts(name: str) -> Iterator[str]:
    """Yield the parts of `name` of two to four characters."""
    return (name[i : i + length] for length in (2, 3, 4) for i in range(len(name) - length + 1))


@lru_cache(maxsize=65_536)
def _reading(char: str) -> str:
    """Return the most usual pinyin of a Han character with its tone, "xian4"; any other character as it is."""
    return str(_pinyin().lazy_pinyin(char, style=_TONE3)[0]) if is_cjk(char) else char


@cache
def _read_otherwise() -> tuple[frozenset[str], frozenset[str]]:
    """Return the phrases of two to four characters that are not read as their characters usually are, and these."""
    usual = import_module("pypinyin.pinyin_dict").pinyin_dict
    phrases, chars = set(), set()
    for phrase, parts in import_module("pypinyin.phrases_dict").phrases_dict.items():
        read = zip(phrase, parts, strict=False)
        other = {char for char, part in read if part[0] != usual.get(ord(char), "").partition(",")[0]}
        if other and len(phrase) <= 4:
            phrases.add(phrase)
            chars |= other
    return frozenset(phrases), frozenset(chars)


def _pinyin() -> Any:  # noqa: ANN401 # a module; a process that has no Chinese catalog does not load its tables
    return import_module("pypinyin")


def _tones(reading: Iterable[str]) -> str:
    """Return one character a syllable with its tone, so that reading is searched like text."""
    return "".join(map(_char_for, reading))


def _sounds(reading: Iterable[str]) -> str:
    """Return one character a syllable, the same for syllables that are confused."""
    return "".join(map(_sound, reading))


@lru_cache(maxsize=65_536)
def _sound(syllable: str) -> str:
    return _char_for(_confused(_plain(syllable))) if len(syllable) > 1 else _char_for(syllable)


def _plain(syllable: str) -> str:
    return syllable.rstrip("12345")


def _confused(syllable: str) -> str:
    """Return what stands for all syllables that are confused with `syllable`.

    >>> _confused("zhang"), _confused("liang"), _confused("xing")
    ('zan', 'nian', 'xin')
    """
    syllable = re.sub("^([zcs])h", r"\1", syllable)
    return re.sub("^l", "n", re.sub("ng$", "n", syllable))


_CHARS: dict[str, str] = {}
_CODES = count(0xF0000)
"""The next free code point; a counter, as several threads may meet a syllable first."""


def _char_for(syllable: str) -> str:
    """Return the character for a syllable: one of the private use area, where no text has any; others stay."""
    if len(syllable) == 1:
        return syllable
    return _CHARS.get(syllable) or _CHARS.setdefault(syllable, chr(next(_CODES)))
