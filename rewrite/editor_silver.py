"""Silver pairs from plain text: a sentence whose repeated phrase is dropped or replaced, under the sentences before it.

What stands in a sentence and in those before it could have been left out or pointed at by a speaker: without it the
sentence is a query, with it the rewrite. Some sentences stay whole, so that a model learns to leave them alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import rjieba

from .. import InputError
from .editor_data import Pair
from .language import Language, is_cjk
from .query import Query, Role, Turn

SOURCE = "silver"
"""The `source` of the pairs."""

_WHOLE = 0.22
"""The share of sentences that nothing is taken from."""

_READ = 3000  # characters of a document that are looked at
_PASSES = 50


def silver_pairs(documents: Sequence[str], language: Language, rng: random.Random) -> Iterator[Pair]:
    """Yield pairs from `documents`, over and over in random order, each time from other sentences.

    Ends after fifty passes: by then what the documents repeat has been seen.
    """
    makers: dict[Language, Callable[[Sequence[str], random.Random], Iterator[Pair]]] = {
        Language.ZH: _chinese,
        Language.EN: _english,
    }
    order = list(documents)
    rng.shuffle(order)
    for _ in range(_PASSES):
        yield from makers[language](order, rng)


@dataclass(frozen=True, slots=True)
class _Phrase:
    """Characters `start:end` of a sentence, which stand in the sentences before it too."""

    start: int
    end: int
    text: str


# ----------------------------------------------------------------------------------------- Chinese

_PRONOUNS = ("它", "他", "她", "这", "该", "其", "那个", "这个", "他们", "它们", "这里", "那里")
_TAILS = ("", "", "", "吗", "呢", "？", "吗？")
_ANSWERS = ("好的", "嗯", "是的", "知道", "不知道", "对啊", "哈哈", "谢谢")
_EMPTY = set("的一是在了和与有为于不中大上个国年月日人这他它她也以就到说要其所之后前成会对等被将由从而并及或者可但")
_CLAUSES = 28  # characters; longer sentences are cut at commas
_CHINESE_PHRASE = re.compile(r"[\u3400-\u9fffA-Za-z0-9·\-]{2,14}")
_CHINESE_END = re.compile(r"[。！？；\n]|(?<=[\u3400-\u9fff])\s")


def _chinese(documents: Sequence[str], rng: random.Random) -> Iterator[Pair]:
    for document in documents:
        sentences = _chinese_sentences(document[:_READ])
        for _ in range(min(6, len(sentences) // 2) if len(sentences) > 2 else 0):
            at = rng.randrange(1, len(sentences))
            context = _before(sentences, at, rng.choice([1, 2, 2, 2, 3, 4, 6, 8]), 0.4, rng)
            phrases = _chinese_phrases(sentences[at], "\n".join(context))
            if phrases:
                query, rewrite = _shortened_chinese(sentences[at], phrases, rng)
                turns = _unrelated(documents, _chinese_sentences, 0.25, rng) + _chatted(context, rng)
                yield from _pair(query, rewrite, turns, Language.ZH)


def _chinese_sentences(text: str) -> list[str]:
    parts = chain.from_iterable(map(_clauses, _CHINESE_END.split(text)))
    return [part.strip() for part in parts if 5 <= len(part.strip()) <= 45]


def _clauses(sentence: str) -> list[str]:
    """Cut a sentence at commas into pieces of about `_CLAUSES` characters."""
    pieces: list[str] = []
    for clause in sentence.split("，"):
        if pieces and len(pieces[-1]) + len(clause) <= _CLAUSES:
            pieces[-1] += f"，{clause}"
        else:
            pieces.append(clause)
    return pieces


def _chinese_phrases(sentence: str, context: str) -> list[_Phrase]:
    """Return, from each word on, the longest run of words that stands in `context`."""
    edges = [0]
    for word in rjieba.cut(sentence):
        edges.append(edges[-1] + len(word))
    found: list[_Phrase] = []
    for i, start in enumerate(edges[:-1]):
        for end in reversed(edges[i + 1 : i + 7]):
            text = sentence[start:end]
            if text in context and _CHINESE_PHRASE.fullmatch(text) and not _EMPTY.issuperset(text):
                found.append(_Phrase(start, end, text))
                break
    return found


def _shortened_chinese(sentence: str, phrases: Sequence[_Phrase], rng: random.Random) -> tuple[str, str]:
    """Return query and rewrite; the longer a phrase and the nearer the front, the sooner it is taken out."""
    tail = rng.choice(_TAILS)
    first, *others = sorted(phrases, key=lambda phrase: phrase.start - phrase.end + _late(phrase) + rng.random())
    dice = rng.random()
    if dice < _WHOLE:
        return sentence + tail, sentence + tail
    taken = {first: rng.choice(_PRONOUNS) if dice < 0.55 else ""}
    apart = [other for other in others if other.end <= first.start or other.start >= first.end]
    if dice > 0.92 and apart:
        taken[max(apart, key=lambda phrase: phrase.end - phrase.start)] = ""
    query = sentence
    for phrase in sorted(taken, key=lambda phrase: -phrase.start):
        query = query[: phrase.start] + taken[phrase] + query[phrase.end :]
    # What still says the phrase lacks nothing.
    return ("" if first.text in query else query + tail), sentence + tail


def _chatted(context: Sequence[str], rng: random.Random) -> list[str]:
    """Return `context` with short answers strewn in."""
    turns: list[str] = []
    for text in context:
        turns.append(text)
        if rng.random() < 0.15:
            turns.append(rng.choice(_ANSWERS))
    return turns


# ----------------------------------------------------------------------------------------- English

_POINTERS = ("he", "she", "it", "they", "this", "him", "her", "them")
_POSSESSIVES = ("his", "her", "its", "their")
_ENGLISH_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_ENGLISH_PHRASE = re.compile(
    r"\b(?:[A-Z][\w'’-]*(?: (?:of|the|de|and|von|van|for|in) (?=[A-Z])| )?){1,5}(?<! )|\b[a-z]{4,}(?: [a-z]{4,}){1,2}\b"
)
_NO_PHRASE = {"this", "that", "these", "there", "when", "where", "they", "with"}
_LEFT_OVER = re.compile(r"\b(?:of|in|for|by|with|at|to|from|the) *(?=[.,?]|$)")
_LONG = 140  # characters; of a longer sentence the first clause is taken


def _english(documents: Sequence[str], rng: random.Random) -> Iterator[Pair]:
    for document in documents:
        sentences = _english_sentences(document[:_READ])
        for _ in range(min(5, len(sentences)) if len(sentences) > 1 else 0):
            at = rng.randrange(1, len(sentences))
            context = _before(sentences, at, rng.choice([1, 1, 2, 2, 3, 4, 6]), 0.5, rng)
            sentence = _first_clause(sentences[at])
            phrases = _english_phrases(sentence, " ".join(context))
            if phrases:
                query, rewrite = _shortened_english(sentence, phrases, rng)
                turns = _unrelated(documents, _english_sentences, 0.3, rng) + context
                yield from _pair(query, rewrite, turns, Language.EN)


def _english_sentences(text: str) -> list[str]:
    return [part.strip() for part in _ENGLISH_END.split(text) if 20 <= len(part.strip()) <= 260]


def _first_clause(sentence: str) -> str:
    return re.split(r", |; | which | who | and ", sentence, maxsplit=1)[0] if len(sentence) > _LONG else sentence


def _english_phrases(sentence: str, context: str) -> list[_Phrase]:
    matches = (
        (match.start(), match[0].removesuffix("'s").removesuffix("’s")) for match in _ENGLISH_PHRASE.finditer(sentence)
    )
    found = [_Phrase(start, start + len(text), text) for start, text in matches]
    return [
        phrase
        for phrase in found
        if len(sentence) >= 15
        and len(phrase.text) >= 4
        and phrase.text in context
        and phrase.text.lower() not in _NO_PHRASE
    ]


def _shortened_english(sentence: str, phrases: Sequence[_Phrase], rng: random.Random) -> tuple[str, str]:
    """Return query and rewrite; names and long phrases near the front are taken out sooner."""

    def rank(phrase: _Phrase) -> float:
        return (phrase.start - phrase.end) / 10 + _late(phrase) + phrase.text[0].islower() + rng.random()

    phrase = min(phrases, key=rank)
    dice = rng.random()
    query = sentence if dice < _WHOLE else _without(sentence, phrase, point=dice < 0.72, rng=rng)
    if dice >= _WHOLE and phrase.text in query:
        return "", sentence
    return _as_asked(query, sentence, rng)


def _without(sentence: str, phrase: _Phrase, *, point: bool, rng: random.Random) -> str:
    """Return `sentence` with a pronoun in place of `phrase`, or without it and what stood only for it."""
    possessive = sentence[phrase.end :].startswith(("'s", "’s"))
    before, after = sentence[: phrase.start], sentence[phrase.end + 2 * possessive :]
    if point:
        return before + rng.choice(_POSSESSIVES if possessive else _POINTERS) + after
    return re.sub(r"  +", " ", _LEFT_OVER.sub("", before + after)).strip()


def _as_asked(query: str, rewrite: str, rng: random.Random) -> tuple[str, str]:
    """Write half of the sentences like questions or without their full stop, some queries in small letters."""
    if rng.random() < 0.5:
        mark = rng.choice(["?", ""])
        query, rewrite = query.rstrip(".") + mark, rewrite.rstrip(".") + mark
    return (query.lower() if rng.random() < 0.4 else query), rewrite


# ------------------------------------------------------------------------------------------ shared


def _late(phrase: _Phrase) -> float:
    return 0.8 if phrase.start else 0.0


def _before(sentences: Sequence[str], at: int, count: int, first: float, rng: random.Random) -> list[str]:
    """Return the `count` sentences before `at`; with probability `first` the document's first one leads them."""
    low = max(0, at - count)
    lead = sentences[:1] if low and rng.random() < first else []
    return [*lead, *sentences[low:at]]


def _unrelated(
    documents: Sequence[str], sentences: Callable[[str], list[str]], share: float, rng: random.Random
) -> list[str]:
    """Return, with probability `share`, a few sentences of another document: the topic that was left."""
    if rng.random() >= share:
        return []
    return sentences(rng.choice(documents)[:900])[: rng.randrange(1, 4)]


def _pair(query: str, rewrite: str, turns: Sequence[str], language: Language) -> Iterator[Pair]:
    """Yield the pair, if there is a query; the asker spoke last but one, as in a conversation."""
    if sum(char.isalnum() or is_cjk(char) for char in query) < 2:
        return
    roles = (Role.USER, Role.ASSISTANT)
    history = tuple(Turn(roles[(len(turns) - i) % 2], text) for i, text in enumerate(turns))
    try:
        yield Pair(Query(query, history), rewrite, SOURCE, SOURCE, language)
    except InputError:  # a document may hold what no query can
        return
