"""The two languages, and folding that keeps every position."""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from functools import lru_cache


class Language(StrEnum):
    """What a query is written in."""

    ZH = "zh"
    EN = "en"


def is_cjk(char: str) -> bool:
    """Say whether `char` is a Han character."""
    return "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" or "\U00020000" <= char <= "\U000323af"


def language_of(text: str) -> Language:
    """Tell a query's language: Chinese as soon as it holds a Han character.

    >>> language_of("CRM 怎么用"), language_of("how do I use the CRM")
    (<Language.ZH: 'zh'>, <Language.EN: 'en'>)
    """
    return Language.ZH if any(map(is_cjk, text)) else Language.EN


@lru_cache(maxsize=4096)
def _fold_char(char: str) -> str:
    folded = unicodedata.normalize("NFKC", char).lower()
    return folded if len(folded) == 1 else char


def fold(text: str) -> str:
    """Fold case and full-width forms one code point at a time, so that positions stay true.

    >>> fold("ＣＲＭ?")
    'crm?'
    """
    return "".join(map(_fold_char, text))


def is_word_char(char: str) -> bool:
    """Say whether `char` joins with its like to a word: letters and digits that are not Han."""
    return char.isalnum() and not is_cjk(char)


def bounded(text: str, start: int, end: int) -> bool:
    """Say whether `text[start:end]` begins and ends at word boundaries (Han characters have no words to cut)."""
    cut_left = start > 0 and is_word_char(text[start - 1]) and is_word_char(text[start])
    cut_right = end < len(text) and is_word_char(text[end]) and is_word_char(text[end - 1])
    return not (cut_left or cut_right)
