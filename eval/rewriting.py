"""How close is a rewrite to the gold one? Text overlap, restored terms, and the slots that were filled.

Whether a rewrite finds more is measured by searching with it; these measures say what it got right and
what it missed, without any search.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ..retrieval.analysis import analyze
from .measures import mean
from .rows import Row, find_file, json_rows, kind

Slot = tuple[str, str]
"""A slot and the text that fills it: a gold edit's value, an edit's replacement."""

ORDER = 4
"""The longest n-grams that BLEU counts."""

_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[.:/\-](?=\d)")
_MEANT = frozenset("#%&@+")
"""Punctuation that is part of what is named: C#, 5 %, R&D."""


class Fractions(TypedDict):
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float
    f1: float


class RewriteScores(TypedDict):
    """The rewriting measures over some queries; `slots` is None where no query has gold edits."""

    queries: int
    exact_match: float
    bleu: float
    rouge_l: float
    restored: Fractions
    slots: Fractions | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of what was `given` and of what was `wanted` agree; counts of several queries add up."""

    agreed: int = 0
    given: int = 0
    wanted: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.agreed + other.agreed, self.given + other.given, self.wanted + other.wanted)

    @property
    def precision(self) -> float:
        """Return the share of the given that was wanted; 1 where nothing was given."""
        return self.agreed / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        """Return the share of the wanted that was given; 1 where nothing was wanted."""
        return self.agreed / self.wanted if self.wanted else 1.0

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall; 1 where nothing was given nor wanted."""
        either = self.given + self.wanted
        return 2 * self.agreed / either if either else 1.0

    def fractions(self) -> Fractions:
        """Return all three."""
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1}


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A query, what became of it, and what should have.

    `slots` are the rewrite's edits as (slot, replacement), `gold_slots` the data set's as (slot, value), None
    where the data set says nothing of them.
    """

    original: str
    rewrite: str
    gold: str
    slots: tuple[Slot, ...] = ()
    gold_slots: tuple[Slot, ...] | None = None


def score(items: Iterable[Rewritten]) -> RewriteScores:
    """Return the rewriting measures of `items`.

    Exact match, BLEU and ROUGE-L are means over queries. Restored terms and slots are counted over all
    queries together (micro averages), so that a query with nothing to restore weighs nothing unless
    something was added to it.
    """
    items = tuple(items)
    slots = [slot_counts(item.slots, item.gold_slots) for item in items if item.gold_slots is not None]
    return {
        "queries": len(items),
        "exact_match": mean([exact_match(item.rewrite, item.gold) for item in items]),
        "bleu": mean([bleu(item.rewrite, item.gold) for item in items]),
        "rouge_l": mean([rouge_l(item.rewrite, item.gold) for item in items]),
        "restored": sum((restored(item.original, item.rewrite, item.gold) for item in items), Counts()).fractions(),
        "slots": sum(slots, Counts()).fractions() if slots else None,
    }


# ------------------------------------------------------------------------------------------ text


def normalise(text: str) -> str:
    """Return `text` without what is no difference in meaning: case, width, white space, punctuation.

    Marks between two digits stay (3.5, 2024-07, 9:30), as do the signs in C#, 5 % and R&D.

    >>> normalise("ＣＲＭ 系统，V3.5？")
    'crm系统v3.5'
    """
    text = _folded(text)
    kept = {match.start() for match in _BETWEEN_DIGITS.finditer(text)}
    return "".join(char for place, char in enumerate(text) if place in kept or char in _MEANT or not _is_filler(char))


def exact_match(rewrite: str, gold: str) -> float:
    """Return 1 where `rewrite` and `gold` are the same after `normalise`, otherwise 0."""
    return float(normalise(rewrite) == normalise(gold))


def tokens(text: str) -> list[str]:
    """Return the words of `text`, folded, without punctuation; each Han character is a word.

    >>> tokens("CRM 系统的 API")
    ['crm', '系', '统', '的', 'api']
    """
    return _TOKEN.findall(_folded(text))


def bleu(rewrite: str, gold: str, order: int = ORDER) -> float:
    """Return the smoothed BLEU of one rewrite against one reference, by `tokens`.

    Papineni et al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002: the geometric
    mean of the clipped n-gram precisions, times the brevity penalty. Over one short text the longer n-grams
    often match nowhere, so from pairs on both counts are one higher (Lin and Och, "ORANGE", COLING 2004). 1
    where the tokens are the same; 0 where no token is shared, unless neither text has any.
    """
    given, wanted = tokens(rewrite), tokens(gold)
    if given == wanted:
        return 1.0
    logs = []
    for length in range(1, order + 1):
        ours, theirs = _grams(given, length), _grams(wanted, length)
        matches, total = (ours & theirs).total(), ours.total()
        if length == 1 and not matches:
            return 0.0
        more = int(length > 1)
        logs.append(math.log((matches + more) / (total + more)))
    brevity = min(0.0, 1 - len(wanted) / len(given))
    return math.exp(brevity + math.fsum(logs) / order)


def rouge_l(rewrite: str, gold: str) -> float:
    """Return ROUGE-L's F1: the longest common subsequence of `tokens` against both lengths.

    Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, section 3, precision and recall
    weighing the same. 1 where neither text has a token.
    """
    given, wanted = tokens(rewrite), tokens(gold)
    return Counts(_common_subsequence(given, wanted), len(given), len(wanted)).f1


def restored(original: str, rewrite: str, gold: str) -> Counts:
    """Count the terms that the rewrite added to the original against those that gold added.

    Terms are the distinct ones that lexical search would look for (`retrieval.analysis.analyze`); what the
    original holds already counts on neither side. Chinese counts by bigrams, so a restored name brings the
    bigrams at its joints too.
    """
    before = set(analyze(original))
    return _agreement(set(analyze(rewrite)) - before, set(analyze(gold)) - before)


# ----------------------------------------------------------------------------------------- slots


def slot_counts(slots: Sequence[Slot], gold_slots: Sequence[Slot]) -> Counts:
    """Count the edits that fill a gold slot: the same slot, and the gold value within the replacement.

    Both are compared after `normalise`, since a replacement may hold connecting words beside the value. An
    edit stands for one gold edit at most and the other way round; as many as possible are paired.
    """
    fits = [
        [place for place, wanted in enumerate(gold_slots) if given[0] == wanted[0] and _holds(given[1], wanted[1])]
        for given in slots
    ]
    paired: dict[int, int] = {}
    agreed = sum(_pair(edit, fits, paired, set()) for edit in range(len(slots)))
    return Counts(agreed, len(slots), len(gold_slots))


def gold_slots(folder: Path) -> dict[str, tuple[Slot, ...]]:
    """Return the gold edits of the queries in a data set's folder that have the key `edits`.

    Each edit is {"slot", "value", ...}. Raises DatasetError "FILE:LINE: FIELD: what was expected".
    """
    rows = json_rows(find_file(folder, "queries.jsonl"))
    return {row.identifier("_id"): _row_slots(row) for row in rows if row.data.get("edits") is not None}


def edit_slots(edits: Iterable[Mapping[str, object]]) -> tuple[Slot, ...]:
    """Return the slots of the edits of a Rewrite row."""
    return tuple((str(edit["slot"]), str(edit["replacement"])) for edit in edits)


def _row_slots(row: Row) -> tuple[Slot, ...]:
    edits = row.data["edits"]
    if not isinstance(edits, list):
        raise row.error("edits", f"expected a list of edits, got {kind(edits)}")
    found = []
    for place, edit in enumerate(edits):
        if not isinstance(edit, dict):
            raise row.error(f"edits[{place}]", f'expected {{"slot": ..., "value": ...}}, got {kind(edit)}')
        found.append((_member(row, place, edit, "slot"), _member(row, place, edit, "value")))
    return tuple(found)


def _member(row: Row, place: int, edit: Mapping[str, object], name: str) -> str:
    if name not in edit:
        raise row.error(f"edits[{place}].{name}", "expected a string, but the key is missing")
    return row.checked(f"edits[{place}].{name}", edit[name])


def _holds(replacement: str, value: str) -> bool:
    wanted, given = normalise(value), normalise(replacement)
    return wanted in given if wanted else not given


def _pair(edit: int, fits: Sequence[Sequence[int]], paired: dict[int, int], seen: set[int]) -> bool:
    """Pair `edit` with a gold edit, moving others where that makes room (augmenting paths)."""
    for place in fits[edit]:
        if place not in seen:
            seen.add(place)
            if place not in paired or _pair(paired[place], fits, paired, seen):
                paired[place] = edit
                return True
    return False


# --------------------------------------------------------------------------------------- counting


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _is_filler(char: str) -> bool:
    return char.isspace() or unicodedata.category(char)[0] in "PCZ"


def _grams(words: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + length]) for start in range(len(words) - length + 1))


def _agreement(given: AbstractSet[Hashable], wanted: AbstractSet[Hashable]) -> Counts:
    return Counts(len(given & wanted), len(given), len(wanted))


def _common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, row by row."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, against in enumerate(other, 1):
            before, row[place] = row[place], before + 1 if word == against else max(row[place], row[place - 1])
    return row[-1]
