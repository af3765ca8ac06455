"""Nothing gets in without evidence, and nothing that must stay gets lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .catalog import Catalog
from .language import fold
from .query import Edit, Evidence, Query, Source, apply_edits

QUOTED = re.compile(r"“[^”]*”|「[^」]*」|『[^』]*』|\"[^\"]*\"|《[^》]*》")
_CODE = re.compile(r"(?=[A-Za-z0-9._/-]*\d)(?=[A-Za-z0-9._/-]*[A-Za-z])[A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9]")


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
    """Return what a rewrite must carry over letter by letter: quoted strings, codes, the catalog's patterns.

    >>> locked_spans('ERR-4012 beim "Save as" button')
    ['"Save as"', 'ERR-4012']
    """
    return [match[0] for match in _locked(text, catalog)]


def _locked(text: str, catalog: Catalog | None) -> Iterator[re.Match[str]]:
    for pattern in (QUOTED, _CODE, *(catalog.locked if catalog else ())):
        yield from pattern.finditer(text)


def lost(query: Query, edits: tuple[Edit, ...], catalog: Catalog | None = None) -> list[str]:
    """Return the locked spans that `edits` would lose; a date's numbers may change with the date."""
    rewritten = apply_edits(query.query, edits)
    dates = [(edit.start, edit.end) for edit in edits if edit.evidence.source is Source.CLOCK]
    return [
        match[0]
        for match in _locked(query.query, catalog)
        if match[0] not in rewritten and not any(start <= match.start() and match.end() <= end for start, end in dates)
    ]
