"""Turn text into terms: one analyzer for indexing and querying, Chinese and English alike.

Each run of a script is read by its own rules, so a text that mixes languages needs no choice between them. English
words become Snowball stems without stop words; runs of Han characters, traditional ones folded to simplified, become
characters, character bigrams and dictionary words; a number and the Han character behind it are a term of their own;
codes such as `iPhone15`, `A-1032`, `v2.3.1` or `ISO-9001:2015` stay whole, with their parts beside them.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from operator import add

import Stemmer

ANALYZER = "1"
"""Names what `analyze` makes of a text; indexes of another analyzer are made anew."""

_HAN_BLOCKS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF))
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = rf"[^\W_{_HAN}]"
_HAN_CHAR = re.compile(rf"[{_HAN}]")
_HAN_RUN = re.compile(rf"[{_HAN}]+")
_TOKEN = re.compile(rf"{_WORD}+(?:[-_.,:'\u2019]{_WORD}+)*(?:\+\+|#)?")
_ASCII_TOKEN = re.compile(r"[a-z0-9]+(?:[-_.,:'][a-z0-9]+)*(?:\+\+|#)?")
_SPOKEN_WORD = re.compile(rf"(?:(?!\d){_WORD})(?:{_WORD}|['\u2019])*")
_WHOLE = re.compile(r"\w[\w.,/+#-]*")
_PIECE = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MEASURED = re.compile(rf"(\d+(?:\.\d+)?)\s*([{_HAN}])")
_SEPARATOR = re.compile("[-_]")
_ACRONYM = re.compile(r"[^\W\d_](?:\.[^\W\d_])+")

_STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any are aren't as at be because been before being below
    between both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during
    each eg etc few for from further had hadn't has hasn't have haven't having he her here hers herself him
    himself his how i i'd i'll i'm i've ie if in into is isn't it it's its itself just let's me more most my
    myself no nor not of off on once only or other our ours ourselves out over own please same she should
    shouldn't so some such than that that's the their theirs them themselves then there there's these they
    they're this those through to too under until up very was wasn't we were weren't what what's when where
    which while who whom why will with won't would wouldn't you you're your yours yourself yourselves
    """.split()  # noqa: SIM905 - a list this long reads better as text
)
# Two-character function words; a bigram that equals one says nothing about its subject.
_STOP_BIGRAMS = frozenset(
    """
    一个 一下 一些 不是 为何 为了 什么 他们 以及 但是 你们 其他 关于 其中 可以 可否
    各种 因为 如何 如果 它们 就是 已经 帮我 应该 怎么 怎样 我们 或者 所以 所有 是不
    是否 有没 没有 然后 由于 请问 这个 这些 这样 这种 进行 还是 通过 那个 那些 那样
    哪个 哪些 哪里 多少 对于 能否 能不 需要 么样
    """.split()  # noqa: SIM905 - a list this long reads better as text
)
_STOP_CHARS = frozenset("的了吗呢吧啊和与及或是在也都就把被之其这那我你他她它们")

_CACHED_TOKENS = 200_000
_CACHED_CHARS = 40


def analyze(text: str) -> list[str]:
    """Return the terms of `text`; repeated words repeat. Never raises, whatever the string.

    >>> analyze("The customers' iPhone15 crashed")
    ['custom', 'iphone15', 'iphon', '15', 'crash']
    >>> analyze("6 月")
    ['6月', '月', '6']
    """
    if text.isascii():
        return [term for token in _ASCII_TOKEN.findall(text.lower()) for term in _TERMS[token]]
    text = unicodedata.normalize("NFKC", text).lower()
    terms: list[str] = []
    if _HAN_RUN.search(text):
        text = _simplified(text)
        # "6 月" and "6月" are one thing, and another than "6 单".
        terms += [number + measure for number, measure in _MEASURED.findall(text)]
        terms += _han_terms(_HAN_RUN.findall(text))
    for token in _TOKEN.findall(text):
        terms += _TERMS[token]
    return terms or _HAN_RUN.findall(text)


def is_chinese(text: str) -> bool:
    """Say whether `text` is to be read as Chinese: at least a third of its words are.

    Two Han characters count as one word; numbers do not count. So "Apple 公司 2024 年 Q3 财报" is Chinese,
    an English paragraph that quotes a Chinese name is not.
    """
    if text.isascii():
        return False
    text = unicodedata.normalize("NFKC", text)
    han_words = len(_HAN_CHAR.findall(text)) / 2
    return han_words > 0 and han_words * 2 >= len(_SPOKEN_WORD.findall(text))


def has_words(text: str) -> bool:
    """Say whether `text` has a word of two letters at least: codes, numbers and marks alone mean nothing to a model.

    >>> has_words("E-4711"), has_words("error E-4711")
    (False, True)
    """
    return any(not any(map(str.isdigit, word)) and sum(map(str.isalpha, word)) > 1 for word in _WHOLE.findall(text))


def has_number(term: str) -> bool:
    """Say whether a term is a number, or has one in it."""
    return any(map(str.isdigit, term))


def is_code(term: str) -> bool:
    """Say whether a term is a code: ASCII letters and digits together, like `e-4711` or `iphone15`."""
    return term.isascii() and any(map(str.isdigit, term)) and any(map(str.isalpha, term))


class _Terms(dict[str, tuple[str, ...]]):
    """Terms by token, computed on first sight: in running text nearly every token was seen before."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._stemmer = Stemmer.Stemmer("english")

    def __missing__(self, token: str) -> tuple[str, ...]:
        terms = tuple(self._token_terms(token))
        if len(token) <= _CACHED_CHARS:
            if len(self) >= _CACHED_TOKENS:
                self.clear()
            self[token] = terms
        return terms

    def _token_terms(self, token: str) -> list[str]:
        """Return the terms of one token: a word, a number, an acronym, a compound or a code."""
        if ":" in token:
            return [*_whole(token), *(term for part in token.split(":") for term in self[part])]
        if _NUMBER.fullmatch(token):
            return _number_terms(token)
        if _ACRONYM.fullmatch(token):
            return self._word_terms(token.replace(".", ""))
        pieces = [term for piece in _PIECE.findall(token) for term in self._word_terms(piece)]
        forms = _whole(token)
        if not forms:
            return pieces
        if len(token) <= 3:
            return forms
        return [*forms, *(piece for piece in pieces if piece not in forms and (len(piece) > 1 or piece.isdigit()))]

    def _word_terms(self, word: str) -> list[str]:
        word = word.replace("\u2019", "'")
        if word in _STOP_WORDS:
            return []
        # PyStemmer's stemmers must not be shared by threads at the same time.
        with self._lock:
            return [str(self._stemmer.stemWord(word))]


def _whole(token: str) -> list[str]:
    """Return a code as it is and without its hyphens, as `A-1032` is also written; nothing for what is no code."""
    if token.endswith(("+", "#")):
        return [token]
    if not any(map(str.isdigit, token)):
        return []
    whole = token.replace(",", ".").replace("\u2019", "'")
    joined = _SEPARATOR.sub("", whole)
    # Not so between numbers: "10-20" is a range.
    return [whole] if joined == whole or whole[0].isdigit() or ":" in whole else [whole, joined]


def _number_terms(token: str) -> list[str]:
    """Return `1,200` as `1200`, `3.5` as it is, and the members of `3,5,12` one by one."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", token):
        return [token.replace(",", "")]
    return [number for number in token.split(",") if number]


def _han_terms(runs: Sequence[str]) -> list[str]:
    """Return the bigrams of runs of Han characters, their dictionary words, and their characters.

    A word of two characters is also a bigram, and so counts twice: more than two characters that happen to meet.
    """
    terms = [bigram for run in runs for bigram in map(add, run, run[1:]) if bigram not in _STOP_BIGRAMS]
    # A line each: that is one call, and no word reaches over the end of a run.
    terms += [word for word in _cut("\n".join(runs)) if len(word) > 1 and word not in _STOP_BIGRAMS]
    terms += [char for char in "".join(runs) if char not in _STOP_CHARS]
    return terms


def _cut(text: str) -> list[str]:
    """Return the dictionary words of a text, those inside longer ones too."""
    # Imported here: English alone should not pay for reading the dictionary.
    return list(import_module("rjieba").cut_for_search(text, False))


def _simplified(text: str) -> str:
    """Fold traditional characters to simplified ones, each by itself: both sides meet, whatever a phrase would say."""
    traditional, table = _folding()
    return text.translate(table) if traditional.search(text) else text


@cache
def _folding() -> tuple[re.Pattern[str], dict[int, str]]:
    """Return what finds a traditional character, and the simplified one of each."""
    # Imported here, as the dictionary. On lines of their own characters make no phrases.
    convert = import_module("opencc").OpenCC("t2s").convert
    chars = [chr(code) for first, last in _HAN_BLOCKS for code in range(first, last + 1)]
    pairs = zip(chars, convert("\n".join(chars)).split("\n"), strict=True)
    table = {ord(char): simplified for char, simplified in pairs if char != simplified}
    return re.compile(f"[{''.join(map(chr, table))}]"), table


_TERMS = _Terms()
