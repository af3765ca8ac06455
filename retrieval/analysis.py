"""Turn text into terms: one analyzer for indexing and querying, Chinese and English alike.

English words become Snowball stems without stop words; runs of Han characters become character bigrams
and the longer dictionary words; a number and the Han character behind it are a term of their own; codes
such as `iPhone15`, `A-1032` or `v2.3.1` stay whole, with their parts beside them.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from importlib import import_module

import Stemmer

_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = rf"[^\W_{_HAN}]"
_HAN_CHAR = re.compile(rf"[{_HAN}]")
_TOKEN = re.compile(rf"[{_HAN}]+|{_WORD}+(?:[-_.,'\u2019]{_WORD}+)*(?:\+\+|#)?")
_ASCII_TOKEN = re.compile(r"[a-z0-9]+(?:[-_.,'][a-z0-9]+)*(?:\+\+|#)?")
_SPOKEN_WORD = re.compile(rf"(?:(?!\d){_WORD})(?:{_WORD}|['\u2019])*")
_PIECE = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MEASURED = re.compile(rf"(\d+(?:\.\d+)?)\s*([{_HAN}])")
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
# Two-character function words; a bigram of a run that equals one says nothing about its subject.
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
    """Return the terms of `text`, in order; repeated words repeat. Never raises, whatever the string.

    >>> analyze("The customers' iPhone15 crashed")
    ['custom', 'iphone15', 'iphon', '15', 'crash']
    >>> analyze("6 月")
    ['6月', '6', '月']
    """
    terms: list[str] = []
    if text.isascii():
        tokens = _ASCII_TOKEN.findall(text.lower())
    else:
        text = unicodedata.normalize("NFKC", text).lower()
        tokens = _TOKEN.findall(text)
        # "6 月" and "6月" are one thing, and another than "6 单".
        terms += [number + measure for number, measure in _MEASURED.findall(text)]
    for token in tokens:
        terms += _TERMS[token]
    return terms


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


class _Terms(dict[str, tuple[str, ...]]):
    """Terms by token, computed on first sight: in running text nearly every token was seen before."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._stemmer = Stemmer.Stemmer("english")

    def __missing__(self, token: str) -> tuple[str, ...]:
        if _HAN_CHAR.match(token):
            # Runs hardly ever repeat, so they would only fill the cache.
            return tuple(_han_terms(token))
        terms = tuple(self._token_terms(token))
        if len(token) <= _CACHED_CHARS:
            if len(self) >= _CACHED_TOKENS:
                self.clear()
            self[token] = terms
        return terms

    def _token_terms(self, token: str) -> list[str]:
        """Return the terms of one token: a word, a number, an acronym, a compound or a code."""
        if _NUMBER.fullmatch(token):
            return _number_terms(token)
        if _ACRONYM.fullmatch(token):
            return self._word_terms(token.replace(".", ""))
        has_digit = any(char.isdigit() for char in token)
        pieces = [term for piece in _PIECE.findall(token) for term in self._word_terms(piece)]
        if not has_digit and token[-1] not in "+#":
            return pieces
        whole = token.replace(",", ".").replace("\u2019", "'")
        if len(token) <= 3:
            return [whole]
        return [whole, *(piece for piece in pieces if piece != whole and (len(piece) > 1 or piece.isdigit()))]

    def _word_terms(self, word: str) -> list[str]:
        word = word.replace("\u2019", "'")
        if word in _STOP_WORDS:
            return []
        # PyStemmer's stemmers must not be shared by threads at the same time.
        with self._lock:
            return [str(self._stemmer.stemWord(word))]


def _number_terms(token: str) -> list[str]:
    """Return `1,200` as `1200`, `3.5` as it is, and the members of `3,5,12` one by one."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", token):
        return [token.replace(",", "")]
    return [number for number in token.split(",") if number]


def _han_terms(run: str) -> list[str]:
    """Return the bigrams of a run of Han characters and its dictionary words of three characters and more.

    Words of two characters are bigrams already, so no word counts twice; a run of one character is itself.
    """
    if len(run) == 1:
        return [run]
    terms = [
        run[start : start + 2]
        for start in range(len(run) - 1)
        if run[start] not in _STOP_CHARS
        and run[start + 1] not in _STOP_CHARS
        and run[start : start + 2] not in _STOP_BIGRAMS
    ]
    if len(run) > 2:
        terms += [word for word in _cut(run) if len(word) > 2]
    return terms or [run[start : start + 2] for start in range(len(run) - 1)]


def _cut(run: str) -> list[str]:
    """Return the dictionary words of a run, those inside longer ones too."""
    # Imported here: English alone should not pay for reading the dictionary.
    return list(import_module("rjieba").cut_for_search(run, False))


_TERMS = _Terms()
