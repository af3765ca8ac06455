"""Two names of one thing, where a text says so: "X (Y)", X（简称 Y）, "X, also known as Y", "Y stands for X"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from .suggesting_names import Corpus, Kind, Word, has_han, holds_frame, key_of, runs

_BRACKETS = re.compile(r"[（(]([^（）()]{2,60})[)）]")
_SAYS_ALIAS = re.compile(
    r"^(?:以下)?(?:简称|又称|又名|也称|也叫|亦称|俗称|别名|别称|全称|英文名?|或称|即|旧称|原名|"
    r"aka|a\.k\.a\.|also (?:known as|called)|short for|abbreviated(?: as| to)?)(?:为|是|作)?\s*[:：,，]?\s*(.+)$",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"[,，]?\s*(?:(?:以下)?简称(?:为|作)?|又称(?:为|作)?|又名|也称(?:为|作)?|也叫(?:做|作)?|亦称(?:为|作)?|俗称|别名|别称|全称(?:为|是)?|"
    r"(?<=\s)(?:is |are )?also known as|(?<=\s)(?:is |are )?also called|(?<=\s)stands for|(?<=\s)is short for|"
    r"(?<=\s)(?:is |are )?abbreviated (?:as|to))\s*[:：]?\s*"
)
_MARKS = " \t“”\"'‘’《》「」,，:：.。*"
_ACRONYM = re.compile(r"(?=[^A-Z]*[A-Z][^A-Z]*[A-Z])[A-Z][A-Za-z0-9&.-]{0,8}[A-Z0-9]s?")


def find_pairs(corpus: Corpus) -> Counter[tuple[str, str]]:
    """Count the documents that say of two names that they stand for one thing; the name explained comes first."""
    found: Counter[tuple[str, str]] = Counter()
    for sentences in corpus.sentences:
        found.update({pair for sentence, _ in sentences for pair in pairs_in(sentence, corpus)})
    return found


def pairs_in(sentence: str, corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Yield pairs of names that a sentence says to be one."""
    for match in _BRACKETS.finditer(sentence):
        yield from _bracketed(sentence[: match.start()], match[1].strip(_MARKS), corpus)
    for match in _BETWEEN.finditer(sentence):
        before = _name_before(sentence[: match.start()], corpus)
        after = _name_after(sentence[match.end() :], corpus)
        if before and after and key_of(before) != key_of(after):
            yield before, after


def _bracketed(before: str, inside: str, corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Yield the pair of what stands before brackets and in them, where one is clearly the other's name."""
    said = _SAYS_ALIAS.match(inside)
    name = (said[1] if said else re.split(r"[,，;；、]", inside)[0]).strip(_MARKS)
    if not 2 <= len(name) <= 40:
        return
    if _ACRONYM.fullmatch(name):
        long = spelled_out(before, name.removesuffix("s")) or (_chinese_before(before, corpus) if said else None)
        long = long or _chinese_before(before, corpus)
        if long:
            yield long, name
        return
    known = _name_before(before, corpus)
    if known is None or key_of(known) == key_of(name):
        return
    other_script = has_han(known) != has_han(name)
    if said or (other_script and _is_name(name, corpus)):
        yield known, name


def spelled_out(before: str, acronym: str) -> str | None:
    """Return the words at the end of `before` whose initials make `acronym`, small joining words left out.

    >>> spelled_out("keys are kept by Identity and Access Management ", "IAM")
    'Identity and Access Management'
    """
    letters = [char.lower() for char in acronym if char.isalpha()]
    words = list(re.finditer(r"[A-Za-z][A-Za-z']*", before[-120:].rstrip(_MARKS)))
    if len(letters) < 2 or not words:
        return None
    place, start = len(letters) - 1, None
    for word in reversed(words):
        if place < 0:
            break
        if word[0][0].lower() == letters[place]:
            place, start = place - 1, word.start()
        elif word[0].lower() not in {"of", "and", "for", "the", "as", "to", "in", "on", "a"} or start is None:
            return None
    if place >= 0 or start is None:
        return None
    tail = before[-120:].rstrip(_MARKS)[start:]
    return tail if re.fullmatch(r"[A-Za-z' -]+", tail) else None


def _chinese_before(before: str, corpus: Corpus) -> str | None:
    name = _name_before(before, corpus)
    return name if name and has_han(name) else None


def _name_before(before: str, corpus: Corpus) -> str | None:
    """Return the name that `before` ends with: what stands in quotes, else the longest known one."""
    before = before.rstrip()
    quoted = re.search(r"[《“「\"]([^《》“”「」\"]{2,40})[》”」\"]$", before)
    if quoted:
        return quoted[1].strip()
    tail = before[-60:]
    return _known(corpus.words(tail), tail, corpus, at_end=True)


def _name_after(after: str, corpus: Corpus) -> str | None:
    quoted = re.match(r"[《“「\"]([^《》“”「」\"]{2,40})[》”」\"]", after)
    if quoted:
        return quoted[1].strip()
    head = re.sub(r"^(?:the|a|an) ", "", re.split(r"[,，。;；()（）]", after)[0][:60])
    return _known(corpus.words(head), head, corpus, at_end=False)


def _known(words: list[Word], text: str, corpus: Corpus, *, at_end: bool) -> str | None:
    if not words or (text[words[-1].end :].strip() if at_end else text[: words[0].start].strip()):
        return None
    rows = list(runs(words, text))
    row = (rows[-1] if at_end else rows[0]) if rows else []
    if not row or row[-1 if at_end else 0] is not words[-1 if at_end else 0]:
        return None
    if has_han(text[row[0].start : row[-1].end]):
        return _chinese_name(row, text, corpus)
    for size in range(min(5, len(row)), 0, -1):
        some = row[-size:] if at_end else row[:size]
        found = text[some[0].start : some[-1].end]
        if key_of(found) in corpus.names or (size > 1 and all(word.kind is Kind.NAME for word in some)):
            return found
    return None


def _chinese_name(row: Sequence[Word], text: str, corpus: Corpus) -> str | None:
    """Return all of a row of words but its leading verbs, since the last of a compound names something else."""
    start = max((i + 1 for i, word in enumerate(row) if word.kind is Kind.OTHER and holds_frame([word])), default=0)
    row = row[start:]
    if not 0 < len(row) <= 5 or holds_frame([row[0]]) or holds_frame([row[-1]]):
        return None
    found = text[row[0].start : row[-1].end]
    if not 2 <= len(found) <= 14:
        return None
    return found if len(row) > 1 or row[0].kind is Kind.NAME or key_of(found) in corpus.names else None


def _is_name(text: str, corpus: Corpus) -> bool:
    """Say whether all of `text` is like a name, so that brackets around it do not hold a remark."""
    words = corpus.words(text)
    if not 1 <= len(words) <= 5 or re.search(r"\d{4}|[^\w\s'&.-]", text):
        return False
    return key_of(text) in corpus.names or all(word.kind is not Kind.BREAK for word in words)
