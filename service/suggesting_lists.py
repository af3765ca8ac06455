"""Values that stand for one another: members of lists that recur, and what titles of one wording differ in."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations

from .suggesting_names import Corpus, key_of, phrase_spans

LEAST_UNITS = 3
"""Two values belong together when so many lists or wordings have both."""

_MEMBERS = range(3, 13)
_HAN_LIST = re.compile(r"(?:[^\s，。、；：,;:()（）“”《》]{1,12}、){2,}[^\s，。、；：,;:()（）“”《》]{1,16}")
_LATIN = r"[A-Za-z][\w'-]*(?: [A-Za-z][\w'-]*){0,3}"
_LATIN_LIST = re.compile(rf"(?:{_LATIN}, ){{2,}}(?:and |or )?{_LATIN}")
_LAST = re.compile(r"\s*(?:、|,\s*(?:and |or )?|和|与|及|以及|或)\s*")


def find_dimensions(corpus: Corpus) -> list[tuple[list[str], int]]:
    """Return sets of names that keep being listed together or exchanged in titles, each with how often that was seen.

    Each member was seen with two others or more, in different lists or wordings.
    """
    units = [*_lists(corpus), *_wordings(corpus)]
    pairs = Counter(pair for unit in units for pair in combinations(sorted(unit), 2))
    beside: dict[str, set[str]] = defaultdict(set)
    for (first, second), count in pairs.items():
        if count >= LEAST_UNITS:
            beside[first].add(second)
            beside[second].add(first)
    found = []
    for members in _groups({key: others for key, others in beside.items() if len(others) >= 2}):
        count = sum(len(members & unit) >= 2 for unit in units)
        if len(members) in _MEMBERS:
            found.append((sorted(members), count))
    return sorted(found, key=lambda one: (-one[1], one[0]))


def _groups(beside: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """Yield the sets of keys that are linked, each once."""
    seen: set[str] = set()
    for key in sorted(beside):
        if key in seen:
            continue
        group, todo = set(), [key]
        while todo:
            one = todo.pop()
            if one not in group:
                group.add(one)
                todo += sorted(beside[one] & beside.keys() - group)
        seen |= group
        yield group


def _lists(corpus: Corpus) -> Iterator[frozenset[str]]:
    """Yield the known names of each list of three or more in running text, every list once."""
    seen: set[frozenset[str]] = set()
    for sentences in corpus.sentences:
        for sentence, _ in sentences:
            for pattern in (_HAN_LIST, _LATIN_LIST):
                for match in pattern.finditer(sentence):
                    keys = frozenset(key_of(part) for part in _LAST.split(match[0])).intersection(corpus.names)
                    if len(keys) >= 3 and keys not in seen:
                        seen.add(keys)
                        yield keys


def _wordings(corpus: Corpus) -> Iterator[frozenset[str]]:
    """Yield what stands in the same place of titles that are the same otherwise; numbers do not count."""
    fillers: dict[str, set[str]] = defaultdict(set)
    for sentences in corpus.sentences if corpus.titled else ():
        for title in [sentence for sentence, heading in sentences if heading][:1]:
            for start, end in phrase_spans(corpus, title):
                wording = f"{title[:start]}\0{title[end:]}"
                if len(wording) > 6:
                    fillers[re.sub(r"\d+", "0", wording)].add(key_of(title[start:end]))
    for wording in sorted(fillers):
        if len(fillers[wording]) >= 3:
            yield frozenset(fillers[wording])
