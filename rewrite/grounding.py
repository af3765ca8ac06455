"""Nothing gets in without evidence: every value that an edit brings must follow from where the edit says it stands.

`ground` keeps the edits that do and drops the others, one by one. What may serve as evidence at all says
`admissible.py`; what must not get lost, `locked.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from .admissible import admissible, speaks
from .catalog import Catalog, Entity, Value, fiscal_month
from .covering import Cover, Words, size
from .dates import SAME_PERIOD, Calendar, Period, a_year_earlier, find_dates, named_period
from .instructions import is_invisible, reads_like_instruction, without_orders
from .language import Language, fold, language_of
from .locked import QUOTED, locked_spans, lost
from .query import DroppedEdit, Edit, Evidence, Query, Source, Turn
from .senses import contains

__all__ = ["QUOTED", "ground", "locked_spans", "lost"]

MOST_WORDS, MOST_HAN, MOST_CHARS = 12, 60, 240
"""What one edit may bring: words that name something, Han characters, characters in all."""

_LIMITS = (MOST_WORDS, MOST_HAN, MOST_CHARS)

_FREE = frozenset({Source.HISTORY, Source.PROFILE})
"""Sources of free text; the catalog and the calendar word anew what the query says."""

MOST_IN_ALL = 3
"""All edits together may bring this many times what one may."""

_MOST_SHOWN = 40


def ground(
    query: Query, edits: tuple[Edit, ...], catalog: Catalog | None
) -> tuple[tuple[Edit, ...], tuple[DroppedEdit, ...]]:
    """Return the edits whose every value follows from their evidence, and the others with the reason.

    A value follows if it stands there (whatever its case, width, number or hyphens), if the catalog calls what stands
    there so, if it is the same amount or the same days, or if it only connects. An edit that brings nothing by itself
    goes with the dropped one that it leans on. The outcome does not depend on the order of the edits.
    """
    judged = _Judge(query, catalog or Catalog("empty"))
    reasons = {i: reason for i, edit in enumerate(edits) if (reason := judged.problem(edit))}
    if _too_much(edits):
        reasons = dict.fromkeys(range(len(edits)), "the edits bring more than a query holds") | reasons
    while more := dict(_leaning(edits, reasons, judged)):
        reasons |= more
    kept = tuple(edit for i, edit in enumerate(edits) if i not in reasons)
    # What is dropped may be anything, and is told no further than it takes to see what it was.
    told = ((edits[i].slot, edits[i].replacement[:MOST_CHARS], reasons[i]) for i in sorted(reasons))
    return kept, tuple(DroppedEdit(*each) for each in told)


def _too_much(edits: Iterable[Edit]) -> bool:
    sizes = zip(*(size(edit.replacement) for edit in edits), strict=True)
    return any(sum(parts) > MOST_IN_ALL * most for parts, most in zip(sizes, _LIMITS, strict=False))


def _leaning(edits: Sequence[Edit], reasons: dict[int, str], judge: _Judge) -> Iterator[tuple[int, str]]:
    """Yield the edits that make no sense any more without those that are dropped."""
    staying = [edit for i, edit in enumerate(edits) if i not in reasons]
    dropped = [edits[i] for i in reasons]
    bringing = [edit for edit in staying if judge.brings(edit)]
    for i, edit in enumerate(edits):
        if i in reasons:
            continue
        if missing := judge.unnamed_unit(edit, staying):
            yield i, missing
        elif dropped and edit not in bringing and _leans(edit, dropped, bringing):
            yield i, "it only belongs to an edit that is dropped"


def _leans(edit: Edit, dropped: Sequence[Edit], bringing: Sequence[Edit]) -> bool:
    """Say whether an edit that brings nothing touches a dropped one, or has the evidence of dropped ones only."""
    touches = any(edit.start == other.end or other.start == edit.end for other in dropped)
    orphaned = any(edit.evidence == other.evidence for other in dropped)
    return touches or not bringing or (orphaned and all(edit.evidence != other.evidence for other in bringing))


# ------------------------------------------------------------------------------------------ judging


@dataclass(frozen=True, slots=True)
class _Ground:
    """What an edit may draw from: texts whose words it may use, texts read for names and days, periods by name."""

    words: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    period: str | None = None


class _Judge:
    """One query and its catalog, as evidence for edits."""

    def __init__(self, query: Query, catalog: Catalog) -> None:
        self.query = query
        self.catalog = catalog
        self.turns = dict(query.recent_turns())
        self._grounds: dict[Evidence, _Ground | str] = {}
        self._named: dict[str, tuple[str, ...]] = {}
        self._dated: dict[str, tuple[Period, ...]] = {}

    def problem(self, edit: Edit) -> str | None:
        """Return why `edit` cannot be made, None if it can."""
        if any(is_invisible(char) for char in edit.replacement):
            return "it holds characters that cannot be seen"
        if any(grown > most for grown, most in zip(self._growth(edit), _LIMITS, strict=True)):
            return "it brings more than one edit may"
        ground = self.ground(edit.evidence)
        if isinstance(ground, str):
            return ground
        if edit.interval and (edit.interval.first, edit.interval.end) not in _days(self.periods(ground)):
            return f"the days do not follow from {_shown(edit.evidence.text)}"
        if edit.evidence.source in _FREE and self.repeats(edit):
            return "it only repeats the query"
        missing = self.missing(edit.replacement, ground)
        return f"{_shown(missing)} does not follow from {edit.evidence.where}" if missing else None

    def brings(self, edit: Edit) -> bool:
        """Say whether `edit` writes anything but connecting words and words of the query."""
        return self.missing(edit.replacement, _Ground()) is not None

    def repeats(self, edit: Edit) -> bool:
        """Say whether `edit` writes words of the query once more, and nothing else.

        In place of a pronoun that may be right ("are they billed per conversation?"), unless the query gives orders.
        """
        there = self.query.query[edit.start : edit.end]
        if (there and not self._gives_orders) or self.brings(edit):
            return False
        return Cover(edit.replacement).rest(Words((there, *self._gaps))) is not None

    @cached_property
    def _gives_orders(self) -> bool:
        asked = self.query.query
        return reads_like_instruction(asked) or without_orders(asked) != asked

    def _growth(self, edit: Edit) -> Iterator[int]:
        there = size(self.query.query[edit.start : edit.end])
        return (new - old for new, old in zip(size(edit.replacement), there, strict=True))

    def missing(self, replacement: str, ground: _Ground) -> str | None:
        """Return the first part of `replacement` that neither stands in the ground nor follows from it."""
        cover = Cover(replacement)
        if any(map(str.isdigit, replacement)):  # no day is written without
            periods = self.periods(ground)
            cover.names(period.label(language) for period in periods for language in Language)
            cover.spans(self._same_days(cover.text, _days(periods)))
        cover.names(name for text in ground.read for name in self._names_in(text))
        texts = (self.query.query, *ground.words)
        return cover.amounts(texts) or cover.rest(Words((*texts, *self._gaps)))

    # ---------------------------------------------------------------------------------- evidence

    def ground(self, evidence: Evidence) -> _Ground | str:
        """Return what `evidence` gives to draw from, or why it gives nothing."""
        if evidence not in self._grounds:
            self._grounds[evidence] = self._of_source(evidence)
        return self._grounds[evidence]

    def _of_source(self, evidence: Evidence) -> _Ground | str:
        match evidence.source:
            case Source.HISTORY:
                return self._history(evidence)
            case Source.PROFILE:
                return self._profile(evidence)
            case Source.CLOCK:
                return self._clock(evidence)
        return self._catalog(evidence)

    def _history(self, evidence: Evidence) -> _Ground | str:
        index = re.fullmatch(r"history\[(\d{1,9})\]", evidence.where)
        turn = self.turns.get(int(index[1])) if index else None
        text = _admitted(turn)
        if not turn or not _stands(evidence.text, turn.text):
            return f"{_shown(evidence.text)} does not stand at {evidence.where}"
        if not _stands(evidence.text, text):
            if self._is_name(evidence.text) and not reads_like_instruction(turn.text):
                return _Ground(read=(evidence.text,))  # the catalog vouches for its own names, whatever stands beside
            return f"{evidence.where} reads like an instruction, or names a secret"
        return _Ground((text, *self._says(text)), (text,))

    def _profile(self, evidence: Evidence) -> _Ground | str:
        key, values = self._profile_values(evidence.where)
        value = next((value for value in values if _stands(evidence.text, value)), None)
        if value is None:
            return f"{_shown(evidence.text)} does not stand at {evidence.where}"
        text = admissible(value, Source.PROFILE)
        if not text.strip():
            return f"{evidence.where} reads like an instruction, or names a secret"
        words = (text,) if speaks(self.query, key, value, self._keys) else ()
        return _Ground((*words, *self._names_by_id(text)), (text,), text.strip())

    def _names_by_id(self, text: str) -> Iterator[str]:
        """Yield the names of the dimensions' values whose id is `text`, as a profile may hold it."""
        for dimension in self.catalog.dimensions.values():
            value = self.catalog.value(dimension.name, fold(text.strip()))
            yield from _names(value) if value else ()

    def _profile_values(self, where: str) -> tuple[str, tuple[str, ...]]:
        """Return the key and the values at `where`: profile.KEY or profile.KEY[i]."""
        key = where.removeprefix("profile.") if where.startswith("profile.") else ""
        one = re.fullmatch(r"(.+)\[(\d{1,9})\]", key)
        if one and not self.query.profile_values(key):
            return one[1], self.query.profile_values(one[1])[int(one[2]) : int(one[2]) + 1]
        return key, self.query.profile_values(key)

    def _clock(self, evidence: Evidence) -> _Ground | str:
        """Read SAID in "SAID at CLOCK": words of the query, or a period that the catalog fills in."""
        said, _, clock = evidence.text.rpartition(" at ")
        now = self.query.now
        if now is None or clock not in {now.isoformat(), now.date().isoformat()}:
            return "there is no such clock"
        if said in self._period_names:
            return _Ground(period=said)
        if not _stands(said, self.query.query):
            return f"{_shown(said)} does not stand in the query"
        return _Ground(read=(self.query.query,))

    def _catalog(self, evidence: Evidence) -> _Ground | str:
        """Return the texts of the catalog's entry, if it says what the evidence says and the query calls for it."""
        texts = tuple(self._entry_texts(evidence))
        if not texts:
            return f"{_shown(evidence.text)} does not stand at {evidence.where} of the catalog"
        return _Ground(texts)

    def _entry_texts(self, evidence: Evidence) -> Iterator[str]:
        head, _, rest = evidence.where.partition(".")
        if head == "intents":
            found = (say for name, say in self._said(self.query.query) if name == rest)
            yield from (say for say in found if fold(evidence.text) == fold(say.strip()))
            return
        for entry in self._entries(self.query.query):
            if isinstance(entry, Entity) and evidence.where == f"{entry.where}.cues":
                spoken = evidence.text in entry.cues and contains(self.query.query, evidence.text)
                yield from _names(entry) if spoken else ()
            elif evidence.where == entry.where and _is_name(evidence.text, entry):
                yield from _names(entry)
        if head == "dimensions":
            yield from self._dimension_texts(evidence, rest)

    def _dimension_texts(self, evidence: Evidence, rest: str) -> Iterator[str]:
        name, _, part = rest.partition(".")
        dimension = self.catalog.dimensions.get(name)
        if dimension is None:
            return
        if part == "default" and dimension.default == evidence.text:
            value = self.catalog.value(name, evidence.text)
            yield from _names(value) if value else ()
        value = self.catalog.value(name, part.removesuffix(".unit")) if part.endswith(".unit") else None
        if value and evidence.text in value.unit.values():
            yield from value.unit.values()

    def unnamed_unit(self, edit: Edit, staying: Iterable[Edit]) -> str | None:
        """Return what is wrong with the unit of a value that neither the query nor an edit that stays names."""
        found = re.fullmatch(r"dimensions\.([^.]+)\.(.+)\.unit", edit.evidence.where)
        if found is None or edit.evidence.source is not Source.CATALOG:
            return None
        texts = [self.query.query, *(other.replacement for other in staying if other is not edit)]
        where = f"dimensions.{found[1]}.{found[2]}"
        named = any(entry.where == where for text in texts for entry in self._entries(text))
        return None if named else "nothing names what the unit belongs to"

    # ----------------------------------------------------------------------------------- catalog

    def _entries(self, text: str) -> list[Entity | Value]:
        return [entry for mention in self.catalog.mentions(text) for entry in mention.candidates]

    def _is_name(self, text: str) -> bool:
        """Say whether `text` is one of the catalog's names and nothing else."""
        spans = [(mention.start, mention.end) for mention in self.catalog.mentions(text)]
        return spans == [(0, len(text))]

    def _names_in(self, text: str) -> tuple[str, ...]:
        """Return the names of what `text` names, and of the sense of a name in the query that it speaks for."""
        if text not in self._named:
            folded, entries = fold(text), self._entries(text)
            kinds = {entry.type for entry in entries if isinstance(entry, Entity)}
            entries += [
                entry
                for entry in self._entries(self.query.query)
                if isinstance(entry, Entity) and (entry.type in kinds or any(fold(cue) in folded for cue in entry.cues))
            ]
            self._named[text] = tuple(name for entry in entries for name in _names(entry))
        return self._named[text]

    def _said(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield each intent that a phrase of `text` asks, and what it is written as."""
        for intent in self.catalog.intents:
            for grammar in intent.grammars.values():
                for trigger in grammar.triggers:
                    say = trigger.say.strip()
                    if all(contains(text, part) for part in trigger.parts) or (
                        say and contains(text, say.strip("的 "))
                    ):
                        yield intent.name, trigger.say

    def _says(self, text: str) -> Iterator[str]:
        return (say for _, say in self._said(text))

    @cached_property
    def _gaps(self) -> tuple[str, ...]:
        """What the catalog's patterns write between their slots."""
        grammars = [grammar for intent in self.catalog.intents for grammar in intent.grammars.values()]
        return tuple({part for grammar in grammars for place in grammar.pattern for part in (place.gap, place.suffix)})

    @cached_property
    def _keys(self) -> frozenset[str]:
        """The profile's keys that the catalog fills its slots from."""
        heads = {place.slot for intent in self.catalog.intents for g in intent.grammars.values() for place in g.pattern}
        keys = {key for dimension in self.catalog.dimensions.values() for key in dimension.profile_keys}
        return frozenset(map(fold, heads | keys))

    @cached_property
    def _period_names(self) -> frozenset[str]:
        defaults = {dimension.default for dimension in self.catalog.dimensions.values() if dimension.calendar}
        return frozenset(filter(None, defaults | {intent.period for intent in self.catalog.intents}))

    # ------------------------------------------------------------------------------------- dates

    @cached_property
    def calendars(self) -> tuple[Calendar, ...]:
        """The asker's calendar, and those of the companies that the query or the conversation names."""
        if self.query.now is None:
            return ()
        own = next(filter(None, map(fiscal_month, self.query.profile_values("fiscal_year_start"))), 1)
        texts = (self.query.query, *(turn.text for turn in self.turns.values()), *self.query.profile_values("company"))
        named = {e.fiscal_month for text in texts for e in self._entries(text) if isinstance(e, Entity)}
        months = [own, *sorted(month for month in named if month and month != own)]
        return tuple(Calendar(self.query.now.date(), month) for month in months)

    def periods(self, ground: _Ground) -> list[Period]:
        """Return the periods that the texts of `ground` speak of."""
        named = (named_period(ground.period, calendar) for calendar in self.calendars) if ground.period else ()
        return [*filter(None, named), *(period for text in ground.read for period in self._periods(text))]

    def _periods(self, text: str) -> tuple[Period, ...]:
        if text not in self._dated:
            language = language_of(text)
            found = [each.period for calendar in self.calendars for each in find_dates(text, language, calendar)]
            if SAME_PERIOD.search(fold(text)):
                found += filter(None, map(a_year_earlier, self._told))
            self._dated[text] = tuple(found)
        return self._dated[text]

    @cached_property
    def _told(self) -> tuple[Period, ...]:
        """The periods that the conversation speaks of."""
        texts = [turn.text for turn in self.turns.values() if not SAME_PERIOD.search(fold(turn.text))]
        return tuple(period for text in texts for period in self._periods(text))

    def _same_days(self, text: str, known: set[tuple[date, date]]) -> Iterator[tuple[int, int]]:
        """Yield where `text` names, with the year, days that are known."""
        for calendar in self.calendars if known else ():
            for found in find_dates(text, language_of(text), calendar):
                if found.absolute and (found.period.first, found.period.end) in known:
                    yield found.start, found.end


def _days(periods: Iterable[Period]) -> set[tuple[date, date]]:
    return {(period.first, period.end) for period in periods}


def _admitted(turn: Turn | None) -> str:
    return admissible(turn.text, Source.HISTORY, turn.role) if turn else ""


def _stands(said: str, text: str) -> bool:
    return bool(said.strip()) and fold(said) in fold(text)


def _names(entry: Entity | Value) -> Iterator[str]:
    yield from entry.name.values()
    yield from entry.aliases if isinstance(entry, Entity) else entry.synonyms


def _is_name(text: str, entry: Entity | Value) -> bool:
    return fold(text) in set(map(fold, _names(entry)))


def _shown(text: str) -> str:
    """Quote what a reason names, cut where it is long."""
    return repr(text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…")


# ------------------------------------------------------------------------- until the chain uses `ground`
