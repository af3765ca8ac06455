"""Nothing gets in without evidence, and nothing that must stay gets lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .catalog import Catalog
from .language import bounded, fold
from .query import Edit, Evidence, Query, Source

QUOTED = re.compile(r"“[^”]+”|「[^」]+」|『[^』]+』|\"[^\"]+\"|《[^》]+》")
_TOKEN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def ungrounded(query: Query, edits: tuple[Edit, ...]) -> Iterator[str]:
    """Yield what is wrong with each edit whose evidence does not hold."""
    for edit in edits:
        found = _stands_where(edit.evidence, query)
        if not found:
            yield f"{edit.slot}: {edit.evidence.text!r} does not stand at {edit.evidence.where}"


def _stands_where(evidence: Evidence, query: Query) -> bool:
    """Say whether the evidence's text stands where it says; catalog and clock entries are made by our own code."""
    if not evidence.text.strip():
        return False
    if evidence.source is Source.HISTORY:
        match = re.fullmatch(r"history\[(\d+)\]", evidence.where)
        index = int(match[1]) if match else len(query.history)
        return index < len(query.history) and fold(evidence.text) in fold(query.history[index].text)
    if evidence.source is Source.PROFILE:
        match = re.fullmatch(r"profile\.(.+?)(?:\[(\d+)\])?", evidence.where)
        return match is not None and any(evidence.text in value for value in query.profile_values(match[1]))
    if evidence.source is Source.CLOCK:
        return query.now is not None
    return True


def locked_spans(text: str, catalog: Catalog | None = None) -> list[str]:
    """Return what names something by itself: quoted strings, codes, what matches the catalog's patterns.

    >>> locked_spans('ERR-4012 beim "Save as" button')
    ['"Save as"', 'ERR-4012']
    """
    return [text[start:end] for start, end in _named(text, catalog)]


def _named(text: str, catalog: Catalog | None) -> Iterator[tuple[int, int]]:
    for pattern in (QUOTED, *(catalog.locked if catalog else ())):
        yield from (match.span() for match in pattern.finditer(text))
    for match in _TOKEN.finditer(text):
        # A code holds a letter and a digit, "ERR-4012", "iPhone15".
        if any(map(str.isdigit, match[0])) and any(map(str.isalpha, match[0])):
            yield match.span()


def lost(query: Query, edits: tuple[Edit, ...], catalog: Catalog | None = None) -> list[str]:
    """Return what must be carried over letter by letter and would not be: quoted strings, codes, numbers.

    What the calendar or the catalog itself spells out differently (Q3, K8s) is meant to change.
    """
    text = query.query
    named = list(_named(text, catalog))
    numbers = [match.span() for match in _NUMBER.finditer(text)]
    locked = named + [n for n in numbers if not any(start <= n[0] and n[1] <= end for start, end in named)]
    changing = [edit for edit in edits if edit.evidence.source not in {Source.CLOCK, Source.CATALOG}]
    return [
        text[start:end]
        for start, end in locked
        if any(
            edit.start < end and start < edit.end and not _holds(edit.replacement, text[start:end]) for edit in changing
        )
    ]


def _holds(text: str, span: str) -> bool:
    """Say whether `span` stands in `text`, not as a part of a longer word or number."""
    start = text.find(span)
    while start >= 0:
        if bounded(text, start, start + len(span)):
            return True
        start = text.find(span, start + 1)
    return False
