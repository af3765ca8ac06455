"""One query as a catalog and a calendar see it: its pieces, and where the slots that it leaves open are filled from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import rjieba

from .catalog import Catalog, Entity, Intent, Value, fiscal_month
from .dates import SAME_PERIOD, Calendar, Grain, Period, a_year_earlier, named_period
from .grounding import QUOTED
from .language import fold, is_cjk, language_of
from .ordinals import Pointed, resolve_ordinal
from .query import Edit, Evidence, Interval, Problem, Query, Role, Source, Turn
from .questions import asks_for_anything
from .reading import PRONOUN, Piece, read_pieces
from .senses import choose_sense, contains, sense_in

_CONFIDENCE = {
    Source.CLOCK: 0.95,
    Source.CATALOG: 0.95,
    Source.HISTORY: 0.9,
    Source.PROFILE: 0.9,
    Source.DEFAULT: 0.75,
}
_RELATIVE = re.compile(
    r"[上本这去今昨前明近]|后天|下[个半]?[月周年季星礼]|最近|过去|以来|至今|"
    r"\b(?:last|this|past|previous|prior|ago|yesterday|today|tonight|tomorrow|next|current|before|earlier|recent|"
    r"to date|so far|[ymq]td)\b"
)
"""What counts from today. A bare month, weekday or feast may be any year's where no intent asks for a report."""

_NUMBERED = {Grain.QUARTER, Grain.HALF}
"""A quarter or a half without its year is a report's all the same."""

_NAMED_DAYS = {Grain.DAY, Grain.HOLIDAY}
"""Days stand in titles and greetings: "yesterday" is a song, too."""

_MISSPELT = 0.8
"""What comes from a name that is misspelt is this much less certain."""

_OUTSIDE_INTENT = 0.85
"""An edit made where the catalog understands only part of the query is this much less certain."""


@dataclass(frozen=True, slots=True)
class Fill:
    """A value for a slot: what is written, what it stands for, and where it comes from."""

    text: str
    evidence: Evidence
    entry: Entity | Value | None = None
    period: Period | None = None
    certainty: float = 1.0


@dataclass(frozen=True, slots=True)
class Tie:
    """An ambiguous name that nothing settles: where it begins, what was said, its senses."""

    start: int
    said: str
    senses: tuple[Entity, ...]


class Scene:
    """One query as the catalog sees it: its pieces, and where the slots that it leaves open are filled from."""

    def __init__(self, catalog: Catalog, query: Query) -> None:
        self.catalog = catalog
        self.query = query
        self.text = query.query
        self.language = language_of(query.query)
        self.fiscal = next(filter(None, map(fiscal_month, query.profile_values("fiscal_year_start"))), 1)
        self.calendar = Calendar(query.now.date(), self.fiscal) if query.now else None
        self.turns = query.recent_turns()
        self._read: dict[str, list[Piece]] = {}
        self.quoted = [match.span() for match in QUOTED.finditer(self.text)]
        own = (piece for piece in self.read(self.text) if not self.is_quoted(piece.start, piece.end))
        self.pieces = self.with_pointed([self.year_earlier(piece) for piece in own])

    def read(self, text: str) -> list[Piece]:
        """Return the pieces of `text`, read only once however many slots look there."""
        if text not in self._read:
            self._read[text] = read_pieces(text, self.catalog, language_of(text), self.calendar)
        return self._read[text]

    @cached_property
    def pointed(self) -> Pointed | None:
        """The entity of the conversation that an ordinal of the query points to."""
        found = resolve_ordinal(self.text, self.language, self.turns, self.catalog)
        return found if found and found.entity and not self.is_quoted(found.start, found.end) else None

    def with_pointed(self, pieces: list[Piece]) -> list[Piece]:
        """Add the piece that an ordinal is, in place of what else was read there."""
        at = self.pointed
        if at is None or at.entity is None:
            return pieces
        apart = [piece for piece in pieces if piece.end <= at.start or piece.start >= at.end]
        return sorted([*apart, Piece(at.start, at.end, names=(at.entity,))], key=lambda piece: piece.start)

    def is_quoted(self, start: int, end: int) -> bool:
        """Say whether a quotation holds any of `start:end`."""
        return any(start < close and opening < end for opening, close in self.quoted)

    # ---------------------------------------------------------------------------------- intents

    @cached_property
    def settled(self) -> dict[int, Fill]:
        """What each ambiguous name stands for, by where it begins, as far as something says it."""
        found = ((piece.start, self.sense(piece, senses)) for piece, senses in self.ambiguous())
        settled = {start: fill for start, fill in found if fill}
        if (at := self.pointed) and at.entity:
            settled[at.start] = self.fill(at.entity, Evidence(Source.HISTORY, f"history[{at.turn}]", at.item))
        return settled

    def tie(self) -> Tie | None:
        """Return the first ambiguous name that nothing settles."""
        for piece, senses in self.ambiguous():
            if piece.start not in self.settled:
                return Tie(piece.start, self.text[piece.start : piece.end], senses)
        return None

    def ambiguous(self) -> Iterator[tuple[Piece, tuple[Entity, ...]]]:
        """Yield the names that several entities share, and these."""
        for piece in self.pieces:
            senses = tuple(name for name in piece.names if isinstance(name, Entity))
            if len(senses) > 1:
                yield piece, senses

    def pointed_nowhere(self) -> dict[str, None]:
        """Return the kinds of thing that the query points to, where it names none and no conversation does."""
        if any(piece.names for piece in self.pieces) or self.quoted:
            return {}
        heads = [intent.head for intent in self.catalog.intents if intent.head not in self.catalog.dimensions]
        typed = [piece.vague for piece in self.pieces if piece.vague in heads and not self.from_history(piece.vague)]
        return dict.fromkeys(slot for slot in typed if slot)

    def catalog_entries(self, slot: str) -> Sequence[Entity | Value]:
        """Return all that the catalog has for a slot."""
        dimension = self.catalog.dimensions.get(slot)
        return dimension.values if dimension else [each for each in self.catalog.entities if each.slot == slot]

    def tells_nothing(self, tie: Tie) -> bool:
        """Say whether the query is the ambiguous name and nothing else that would tell one sense from another.

        What is asked about two things of one kind, two doctors of one name, tells them apart as little.
        """
        rest = self.text[: tie.start], self.text[tie.start + len(tie.said) :]
        of_one_kind = len({sense.type for sense in tie.senses}) == 1
        return not self.quoted and (of_one_kind or all(asks_for_anything(part, self.language) for part in rest))

    def sense(self, piece: Piece, senses: tuple[Entity, ...]) -> Fill | None:
        """Return the sense that the rest of the query, else the conversation or the profile speaks for."""
        picked = next((sense for sense in senses if sense.where == self.query.chosen), None)
        if picked:  # the answer to a question is the last turn
            last = len(self.query.history) - 1
            return self.fill(picked, Evidence(Source.HISTORY, f"history[{last}]", self.query.history[last].text))
        rest = self.text[: piece.start] + " " + self.text[piece.end :]
        clear = sense_in(rest, senses)
        if clear:
            cue = next(cue for cue in clear.cues if contains(rest, cue))
            return self.fill(clear, Evidence(Source.CATALOG, f"{clear.where}.cues", cue))
        chosen = choose_sense(self.query, senses, self.catalog)
        return self.fill(chosen[0], chosen[1]) if chosen else None

    # ------------------------------------------------------------------------------ slot values

    def fill(self, entry: Entity | Value, evidence: Evidence) -> Fill:
        """Return what writes an entry by its name in the language of the query."""
        return Fill(entry.name[self.language], evidence, entry)

    def catalog_fill(self, entry: Entity | Value) -> Fill:
        """Return what writes an entry that the query itself names."""
        return self.fill(entry, Evidence(Source.CATALOG, entry.where, entry.name[self.language]))

    def meant_fill(self, entry: Entity | Value, meant: str) -> Fill:
        """Return the fill for a name that is misspelt for `meant`."""
        return replace(self.fill(entry, Evidence(Source.CATALOG, entry.where, meant)), certainty=_MISSPELT)

    def period_fill(self, period: Period, said: str) -> Fill:
        """Return what writes a period that the clock gives `said`."""
        assert self.query.now is not None  # noqa: S101 # a period needs a calendar, a calendar a clock
        clock = f"{said} at {self.query.now.date().isoformat()}"
        return self.dated(period, Evidence(Source.CLOCK, "now", clock))

    def dated(self, period: Period, evidence: Evidence) -> Fill:
        """Return what writes a period."""
        return Fill(period.label(self.language), evidence, period=period)

    def pronoun_for(self, head: str, pieces: list[Piece]) -> list[Piece]:
        """Return the pronoun that stands for the head, if the query has no other head and the history has one."""
        named = self.from_history(head)
        if any(head in piece.slots for piece in pieces) or named is None:
            return []
        turns = dict(self.turns)
        by_asker = any(turns[i].role is Role.USER for i in turns if named.evidence.where == f"history[{i}]")
        if head in self.catalog.dimensions and not by_asker:
            return []  # an answer tells figures in passing
        found = PRONOUN[self.language].search(fold(self.text))
        return [Piece(found.start(), found.end(), vague=head)] if found and not self.is_quoted(*found.span()) else []

    def year_earlier(self, piece: Piece) -> Piece:
        """Take 去年同期 from the period under discussion, if there is one, rather than from today's."""
        if piece.period is None or not SAME_PERIOD.fullmatch(fold(self.text[piece.start : piece.end])):
            return piece
        told = (
            found.period
            for _, turn in self.turns
            for found in self.read(turn.text)
            if found.period and not SAME_PERIOD.fullmatch(fold(turn.text[found.start : found.end]))
        )
        earlier = next(filter(None, map(a_year_earlier, told)), None)
        return replace(piece, period=earlier) if earlier else piece

    def value_for(self, slot: str, intent: Intent, calendar: Calendar | None) -> Fill | None:
        """Find a value for a slot that the query leaves open: history, profile, default."""
        own_period = slot == "period" and intent.period is not None
        found = None if own_period else self.from_history(slot) or self.from_profile(slot)
        return found or self.from_default(slot, intent.period, calendar)

    def from_history(self, slot: str) -> Fill | None:
        """Take the slot from the latest exchange that names it, from what the asker said in it before the answer."""
        found = (
            self.from_text(slot, turn.text, Source.HISTORY, f"history[{i}]") for i, turn in by_exchange(self.turns)
        )
        return next(filter(None, found), None)

    def from_text(self, slot: str, text: str, source: Source, where: str) -> Fill | None:
        """Return the first value for the slot that `text` names."""
        for piece in self.read(text):
            said = text[piece.start : piece.end]
            if slot == "period" and piece.period:
                return self.dated(piece.period, Evidence(source, where, said))
            if len(piece.names) == 1 and piece.names[0].slot == slot:
                fill = self.fill(piece.names[0], Evidence(source, where, said))
                return replace(fill, certainty=_MISSPELT) if piece.meant else fill
        return None

    def from_profile(self, slot: str) -> Fill | None:
        """Take the slot from the keys of the profile that hold it, else from its facts."""
        dimension = self.catalog.dimensions.get(slot)
        for key in dimension.profile_keys if dimension else (slot,):
            for value in self.query.profile_values(key):
                evidence = Evidence(Source.PROFILE, f"profile.{key}", value)
                if slot == "period":
                    period = self.said_period(value)
                    if period:
                        return self.dated(period, evidence)
                    continue
                entry = self.catalog.named(value, slot)
                if entry:
                    return self.fill(entry, evidence)
                if value.strip():
                    return Fill(value.strip(), evidence)
        for i, fact in enumerate(self.query.profile_values("facts")):
            found = self.from_text(slot, fact, Source.PROFILE, f"profile.facts[{i}]")
            if found and slot != "period":
                return found
        return None

    def said_period(self, text: str) -> Period | None:
        """Return the period that `text` is the name of, or the first that it speaks of."""
        named = named_period(text.strip(), self.calendar) if self.calendar else None
        return named or next((piece.period for piece in self.read(text) if piece.period), None)

    def from_default(self, slot: str, period: str | None, calendar: Calendar | None) -> Fill | None:
        """Take the slot's default from the catalog."""
        dimension = self.catalog.dimensions.get(slot)
        if dimension is None:
            return None
        if dimension.calendar:
            name = period or dimension.default
            resolved = named_period(name, calendar) if name and calendar else None
            return self.period_fill(resolved, str(name)) if resolved else None
        value = self.catalog.value(slot, dimension.default) if dimension.default else None
        where = f"dimensions.{slot}.default"
        return self.fill(value, Evidence(Source.DEFAULT, where, value.id)) if value else None

    # ------------------------------------------------------------------------------- local edits

    def local_edits(self) -> tuple[Edit, ...]:
        """Edit what can be settled in place where no intent explains the whole query."""
        return tuple(
            replace(edit, confidence=round(edit.confidence * _OUTSIDE_INTENT, 4))
            for piece in self.pieces
            for edit in self.local_edit(piece)
        )

    def in_longer_word(self, piece: Piece) -> bool:
        """Say whether a Chinese name is only a part of a word: 小米 in 小米粥."""
        end = 0
        for word in rjieba.cut(self.text) if is_cjk(self.text[piece.start]) else ():
            start, end = end, end + len(word)
            if start <= piece.start and piece.end <= end and end - start > piece.end - piece.start:
                return True
        return False

    def local_edit(self, piece: Piece) -> Iterator[Edit]:
        """Yield the edit that settles one piece, if anything does."""
        senses = tuple(name for name in piece.names if isinstance(name, Entity))
        said = fold(self.text[piece.start : piece.end])
        if piece.period and not piece.absolute and _settles(said, piece.period):
            fill = self.period_fill(piece.period, self.text[piece.start : piece.end])
            yield make_edit(Problem.VAGUE_DIMENSION, "period", piece.start, piece.end, fill)
        elif piece.vague and piece.vague not in self.catalog.dimensions:
            found = self.from_history(piece.vague)
            if found:
                yield make_edit(Problem.MISSING_ENTITY, piece.vague, piece.start, piece.end, found)
        elif self.pointed and piece.start == self.pointed.start:
            fill = self.settled[piece.start]
            yield make_edit(Problem.MISSING_ENTITY, piece.names[0].slot, piece.start, piece.end, fill)
        elif len(senses) > 1:
            found = None if self.in_longer_word(piece) else self.sense(piece, senses)
            # A cue in the query itself already tells a search engine which sense is meant.
            if found and found.entry and found.evidence.source is not Source.CATALOG:
                yield make_edit(Problem.AMBIGUITY, found.entry.slot, piece.start, piece.end, found)
        elif piece.meant:
            # The name as it was meant, not the displayed one, which may repeat a word beside it ("the", 功能).
            mended = replace(self.meant_fill(piece.names[0], piece.meant), text=piece.meant)
            yield make_edit(Problem.AMBIGUITY, piece.names[0].slot, piece.start, piece.end, mended)


def _settles(said: str, period: Period) -> bool:
    """Say whether a date outside any intent is to be told by its year."""
    relative = _RELATIVE.search(said) is not None and period.grain not in _NAMED_DAYS
    return relative or period.grain in _NUMBERED


def by_exchange(turns: Sequence[tuple[int, Turn]]) -> list[tuple[int, Turn]]:
    """Return `turns`, the latest first, with what the asker said in an exchange before what was answered to it."""
    ordered: list[tuple[int, Turn]] = []
    answers: list[tuple[int, Turn]] = []
    for item in turns:
        if item[1].role is Role.USER:
            ordered += [item, *answers]
            answers = []
        else:
            answers.append(item)
    return ordered + answers


def make_edit(problem: Problem, slot: str, start: int, end: int, fill: Fill) -> Edit:
    """Return the edit that writes `fill` at `start:end`."""
    interval = Interval(fill.period.first, fill.period.end) if fill.period else None
    confidence = round(_CONFIDENCE[fill.evidence.source] * fill.certainty, 4)
    return Edit(problem, slot, start, end, fill.text, fill.evidence, confidence, interval)
