"""The catalog's rewriter: fills the slots that a question leaves open and settles ambiguous names.

An intent speaks only when its trigger, its slots and filler words explain the whole query, so that a question
the catalog does not understand stays as it is. What it fills in comes from the conversation, then the profile,
then the catalog's default, and each edit says from where.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .catalog import Catalog, Entity, Intent, Place, Value, fiscal_month
from .dates import SAME_PERIOD, Calendar, Period, a_year_earlier, named_period
from .grounding import QUOTED
from .language import Language, fold, language_of
from .query import (
    Alternative,
    Decision,
    Edit,
    Evidence,
    Interval,
    Problem,
    Query,
    Rewrite,
    Role,
    Source,
    apply_edits,
)
from .reading import PRONOUN, Piece, TriggerMatch, find_trigger, is_filler, only_fillers, read_pieces
from .senses import choose_sense, contains, sense_in

_CONFIDENCE = {
    Source.CLOCK: 0.95,
    Source.CATALOG: 0.95,
    Source.HISTORY: 0.9,
    Source.PROFILE: 0.9,
    Source.DEFAULT: 0.75,
}
_OUTSIDE_INTENT = 0.85
"""An edit made where the catalog understands only part of the query is this much less certain."""


@dataclass(frozen=True, slots=True)
class _Fill:
    """A value for a slot: what is written, what it stands for, and where it comes from."""

    text: str
    evidence: Evidence
    entry: Entity | Value | None = None
    period: Period | None = None


class CatalogRewriter:
    """Rewrite with a catalog, the calendar, the profile and the slots that the conversation has named."""

    name = "catalog"

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def rewrite(self, query: Query) -> Rewrite:
        """Return the rewrite of `query`; unchanged where the catalog has nothing to add."""
        scene = _Scene(self._catalog, query)
        readings = list(scene.readings())
        if len(readings) > 1:
            return self._interpretations(query, readings)
        edits = readings[0] if readings else scene.local_edits()
        if not edits or (text := apply_edits(query.query, edits)) == query.query:
            return Rewrite.keep(query, self.name)
        confidence = min(edit.confidence for edit in edits)
        return Rewrite(query.query, text, Decision.REWRITE, confidence, edits, rewriter=self.name, id=query.id)

    def _interpretations(self, query: Query, readings: list[tuple[Edit, ...]]) -> Rewrite:
        """Offer every reading with the same weight where nothing speaks for one of them."""
        weight = round(1 / len(readings), 4)
        texts = dict.fromkeys(apply_edits(query.query, edits) for edits in readings)
        return replace(
            Rewrite.keep(query, self.name, confidence=weight),
            decision=Decision.REWRITE,
            alternatives=tuple(Alternative(text, weight) for text in texts),
        )


class _Scene:
    """One query as the catalog sees it."""

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
        self.pieces = [self.year_earlier(piece) for piece in own]

    def read(self, text: str) -> list[Piece]:
        """Return the pieces of `text`, read only once however many slots look there."""
        if text not in self._read:
            self._read[text] = read_pieces(text, self.catalog, language_of(text), self.calendar)
        return self._read[text]

    def is_quoted(self, start: int, end: int) -> bool:
        return any(start < close and opening < end for opening, close in self.quoted)

    # ---------------------------------------------------------------------------------- intents

    def readings(self) -> Iterator[tuple[Edit, ...]]:
        """Yield the edits of the first intent that speaks; one reading a sense where senses tie."""
        for senses in self.sense_choices():
            for intent in self.catalog.intents:
                plan = _Plan.of(self, intent, senses)
                edits = plan.edits() if plan else ()
                if edits:
                    yield edits
                    break

    def sense_choices(self) -> list[dict[int, _Fill]]:
        """Return which entity each ambiguous piece stands for: one choice, or one a sense on a tie."""
        choice: dict[int, _Fill] = {}
        open_piece: Piece | None = None
        for piece in self.pieces:
            senses = tuple(name for name in piece.names if isinstance(name, Entity))
            if len(senses) > 1:
                found = self.sense(piece, senses)
                if found:
                    choice[piece.start] = found
                else:
                    open_piece = open_piece or piece
        if open_piece is None:
            return [choice]
        senses = tuple(name for name in open_piece.names if isinstance(name, Entity))
        return [{**choice, open_piece.start: self.catalog_fill(sense)} for sense in senses]

    def sense(self, piece: Piece, senses: tuple[Entity, ...]) -> _Fill | None:
        rest = self.text[: piece.start] + " " + self.text[piece.end :]
        clear = sense_in(rest, senses)
        if clear:
            cue = next(cue for cue in clear.cues if contains(rest, cue))
            return self.fill(clear, Evidence(Source.CATALOG, f"{clear.where}.cues", cue))
        chosen = choose_sense(self.query, senses, self.catalog)
        return self.fill(chosen[0], chosen[1]) if chosen else None

    # ------------------------------------------------------------------------------ slot values

    def fill(self, entry: Entity | Value, evidence: Evidence) -> _Fill:
        return _Fill(entry.name[self.language], evidence, entry)

    def catalog_fill(self, entry: Entity | Value) -> _Fill:
        return self.fill(entry, Evidence(Source.CATALOG, entry.where, entry.name[self.language]))

    def period_fill(self, period: Period, said: str) -> _Fill:
        assert self.query.now is not None  # noqa: S101 # a period needs a calendar, a calendar a clock
        clock = f"{said} at {self.query.now.isoformat()}"
        return self.dated(period, Evidence(Source.CLOCK, "now", clock))

    def dated(self, period: Period, evidence: Evidence) -> _Fill:
        return _Fill(period.label(self.language), evidence, period=period)

    def pronoun_for(self, head: str, pieces: list[Piece]) -> list[Piece]:
        """Return the pronoun that stands for the head, if the query has no other head and the history has one."""
        if any(head in piece.slots for piece in pieces) or self.from_history(head) is None:
            return []
        found = PRONOUN[self.language].search(fold(self.text))
        return [Piece(found.start(), found.end(), vague=head)] if found and not self.is_quoted(*found.span()) else []

    def year_earlier(self, piece: Piece) -> Piece:
        """Take 去年同期 from the period under discussion, if there is one, rather than from today's."""
        if piece.period is None or not SAME_PERIOD.fullmatch(fold(self.text[piece.start : piece.end])):
            return piece
        told = (found.period for _, turn in self.turns for found in self.read(turn.text) if found.period)
        earlier = next(filter(None, map(a_year_earlier, told)), None)
        return replace(piece, period=earlier) if earlier else piece

    def value_for(self, slot: str, intent: Intent, calendar: Calendar | None) -> _Fill | None:
        """Find a value for a slot that the query leaves open: history, profile, default."""
        own_period = slot == "period" and intent.period is not None
        found = None if own_period else self.from_history(slot) or self.from_profile(slot)
        return found or self.from_default(slot, intent.period, calendar)

    def from_history(self, slot: str) -> _Fill | None:
        """Take the slot from the latest user turn that names it, else from the latest assistant turn."""
        for role in (Role.USER, Role.ASSISTANT):
            for i, turn in self.turns:
                if turn.role is role:
                    found = self.from_text(slot, turn.text, Source.HISTORY, f"history[{i}]")
                    if found:
                        return found
        return None

    def from_text(self, slot: str, text: str, source: Source, where: str) -> _Fill | None:
        for piece in self.read(text):
            said = text[piece.start : piece.end]
            if slot == "period" and piece.period:
                return self.dated(piece.period, Evidence(source, where, said))
            if len(piece.names) == 1 and piece.names[0].slot == slot:
                return self.fill(piece.names[0], Evidence(source, where, said))
        return None

    def from_profile(self, slot: str) -> _Fill | None:
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
                    return _Fill(value.strip(), evidence)
        for i, fact in enumerate(self.query.profile_values("facts")):
            found = self.from_text(slot, fact, Source.PROFILE, f"profile.facts[{i}]")
            if found and slot != "period":
                return found
        return None

    def said_period(self, text: str) -> Period | None:
        """Return the period that `text` is the name of, or the first that it speaks of."""
        named = named_period(text.strip(), self.calendar) if self.calendar else None
        return named or next((piece.period for piece in self.read(text) if piece.period), None)

    def from_default(self, slot: str, period: str | None, calendar: Calendar | None) -> _Fill | None:
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

    def local_edit(self, piece: Piece) -> Iterator[Edit]:
        senses = tuple(name for name in piece.names if isinstance(name, Entity))
        if piece.period and not piece.absolute:
            fill = self.period_fill(piece.period, self.text[piece.start : piece.end])
            yield make_edit(Problem.VAGUE_DIMENSION, "period", piece.start, piece.end, fill)
        elif piece.vague and piece.vague not in self.catalog.dimensions:
            found = self.from_history(piece.vague)
            if found:
                yield make_edit(Problem.MISSING_ENTITY, piece.vague, piece.start, piece.end, found)
        elif len(senses) > 1:
            found = self.sense(piece, senses)
            # A cue in the query itself already tells a search engine which sense is meant.
            if found and found.entry and found.evidence.source is not Source.CATALOG:
                yield make_edit(Problem.AMBIGUITY, found.entry.slot, piece.start, piece.end, found)


@dataclass(frozen=True, slots=True)
class _Anchor:
    """Where a slot of the pattern stands in the query; `fill` is what replaces it, if anything does."""

    start: int
    end: int


class _Plan:
    """The edits that word a query as an intent's pattern has it."""

    def __init__(self, scene: _Scene, intent: Intent, trigger: TriggerMatch | None, pieces: list[Piece]) -> None:
        self.scene = scene
        self.intent = intent
        self.pattern = intent.grammars[scene.language].pattern
        self.trigger = trigger
        self.pieces = pieces
        self.fills: dict[str, _Fill] = {}
        self.anchors: dict[str, _Anchor] = {}
        self.made: list[Edit] = []

    @classmethod
    def of(cls, scene: _Scene, intent: Intent, senses: dict[int, _Fill]) -> _Plan | None:
        """Return the plan if the intent explains the whole query and its head is known."""
        grammar = intent.grammars.get(scene.language)
        if grammar is None or scene.quoted:  # what is quoted must stay, and an intent words the whole query anew
            return None
        slots = set(grammar.slots())
        trigger = find_trigger(grammar, scene.text)
        pieces = [p for p in scene.pieces if p.slots & slots and not (trigger and trigger.overlaps(p))]
        pieces += scene.pronoun_for(intent.head, pieces)
        taken = [(p.start, p.end) for p in pieces] + list(trigger.spans if trigger else ())
        if not (trigger or pieces) or not only_fillers(scene.text, taken, scene.language):
            return None
        plan = cls(scene, intent, trigger, pieces)
        return plan if plan._asked() and plan._settle(senses) else None

    def _asked(self) -> bool:
        """Say whether the query asks this intent: by trigger, by naming its head, or as a follow-up to it."""
        heads = [piece for piece in self.pieces if self.intent.head in piece.slots]
        if self.intent.head in self.scene.catalog.dimensions:
            follow_up = bool(self.pieces) and self.scene.from_history(self.intent.head) is not None
            return bool(heads) or (self.trigger is not None and bool(self.pieces)) or follow_up
        return self.trigger is not None or (bool(self.pieces) and self._trigger_in_history() is not None)

    def _trigger_in_history(self) -> _Fill | None:
        for i, turn in self.scene.turns:
            grammar = self.intent.grammars.get(language_of(turn.text))
            if turn.role is not Role.USER or grammar is None or not turn.text:
                continue
            match = find_trigger(grammar, turn.text)
            said = (
                match.trigger.say
                if match
                else next(
                    (t.say for t in grammar.triggers if t.say.strip() and contains(turn.text, t.say.strip(" 的"))),
                    None,
                )
            )
            if said is not None:
                start, end = match.spans[-1] if match else (0, len(turn.text))
                return _Fill(said, Evidence(Source.HISTORY, f"history[{i}]", turn.text[start:end]))
        return None

    def _settle(self, senses: dict[int, _Fill]) -> bool:
        """Decide what each slot says. False when the head stays unknown or a sense belongs to another intent."""
        for piece in self.pieces:
            slot = next(place.slot for place in self.pattern if place.slot in piece.slots)
            if not self._settle_piece(piece, slot, senses.get(piece.start)):
                return False
        if self.trigger:
            self._settle_trigger(self.trigger)
        return all(self._settle_missing(place.slot) for place in self.pattern)

    def _settle_piece(self, piece: Piece, slot: str, sense: _Fill | None) -> bool:
        known = self.anchors.get(slot)
        self.anchors[slot] = _Anchor(min(known.start, piece.start) if known else piece.start, piece.end)
        problem = Problem.VAGUE_DIMENSION
        if sense is not None:
            if sense.entry is None or sense.entry.slot != slot:
                return False
            fill, problem = sense, Problem.AMBIGUITY
        elif piece.vague:
            found = self.scene.value_for(slot, self.intent, self.scene.calendar)
            if found is None:
                return False
            fill = found
            problem = self._problem(slot)
        elif piece.period:
            said = self.scene.text[piece.start : piece.end]
            fill = self.scene.period_fill(piece.period, said)
        else:
            entry = next(name for name in piece.names if name.slot == slot)
            fill = self.scene.catalog_fill(entry)
            problem = self._problem(slot)
        self.fills[slot] = fill
        if not (piece.period and piece.absolute):
            self._write(problem, slot, piece.start, piece.end, fill)
        return True

    def _settle_trigger(self, match: TriggerMatch) -> None:
        """Reword the trigger; one that says nothing is left to be dropped with the fillers."""
        if match.anchor is None:
            return
        self.anchors["trigger"] = _Anchor(*match.anchor)
        evidence = Evidence(Source.CATALOG, f"intents.{self.intent.name}", match.trigger.say.strip())
        for (start, end), say in zip(match.spans, match.trigger.says, strict=True):
            self._write(self._problem("intent"), "intent", start, end, _Fill(say, evidence))

    def _settle_missing(self, slot: str) -> bool:
        """Find a value for a slot without a place in the query; only the head must have one."""
        if slot in self.anchors:
            return True
        if slot == "trigger":
            found = self._trigger_in_history() if self.intent.head not in self.scene.catalog.dimensions else None
        elif slot == "unit":
            metric = self.fills.get(self.intent.head)
            entry = metric.entry if metric else None
            unit = entry.unit.get(self.scene.language) if isinstance(entry, Value) else None
            evidence = Evidence(Source.CATALOG, f"{entry.where}.unit", unit) if entry and unit else None
            found = _Fill(unit, evidence) if unit and evidence else None
        else:
            found = self.scene.value_for(slot, self.intent, self._calendar())
        if found:
            self.fills[slot] = found
        return found is not None or slot != self.intent.head

    def _calendar(self) -> Calendar | None:
        """Return the calendar with the fiscal year of the entity that is asked about, if it has its own."""
        head = self.fills.get(self.intent.head)
        month = head.entry.fiscal_month if head and isinstance(head.entry, Entity) else None
        calendar = self.scene.calendar
        return replace(calendar, fiscal_month=month) if calendar and month else calendar

    def _problem(self, slot: str) -> Problem:
        if slot in self.scene.catalog.dimensions or slot == "unit":
            return Problem.VAGUE_DIMENSION
        if slot == "intent" and self.intent.head in self.scene.catalog.dimensions:
            return Problem.VAGUE_DIMENSION
        ambiguous = any(len({n.slot for n in p.names}) > 1 for p in self.pieces)
        return Problem.AMBIGUITY if slot == "intent" and ambiguous else Problem.MISSING_ENTITY

    # ----------------------------------------------------------------------------------- writing

    def edits(self) -> tuple[Edit, ...]:
        """Return the edits in the order in which they apply."""
        for run in self._missing_runs():
            self._insert(run)
        merged = sorted(enumerate(self.made), key=lambda pair: (pair[1].start, pair[1].end, pair[0]))
        return absorb_fillers(self._without_dropped(), tuple(edit for _, edit in merged), self.scene.language)

    def _without_dropped(self) -> str:
        """Blank a trigger that says nothing, so that it goes with the fillers around it."""
        text = self.scene.text
        if self.trigger and self.trigger.anchor is None:
            for start, end in self.trigger.spans:
                text = text[:start] + " " * (end - start) + text[end:]
        return text

    def _missing_runs(self) -> Iterator[list[int]]:
        """Yield the runs of pattern indexes whose slots have a value but no place in the query."""
        run: list[int] = []
        for i, place in enumerate(self.pattern):
            if place.slot in self.anchors:
                if run:
                    yield run
                run = []
            elif place.slot in self.fills:
                run.append(i)
        if run:
            yield run

    def _insert(self, run: list[int]) -> None:
        """Insert a run of slots after the anchor on its left, else before the one on its right."""
        left = next((p for p in self.pattern[: run[0]][::-1] if p.slot in self.anchors), None)
        right = next((p for p in self.pattern[run[-1] + 1 :] if p.slot in self.anchors), None)
        at = self.anchors[left.slot].end if left else self.anchors[right.slot].start if right else 0
        until = self.anchors[right.slot].start if right else -1
        touching = until >= at and not self.scene.text[at:until].strip()
        for i in run:
            place = self.pattern[i]
            before = place.gap if left or i != run[0] else ""
            after = right.gap if right and i == run[-1] and (not left or touching) else ""
            if after.endswith(" ") and self.scene.text[at : at + 1].isspace():
                after = after[:-1]
            spaced = at > 0 and self.scene.text[at - 1].isspace() and self.scene.language is Language.EN
            if spaced and i == run[0]:
                before = before.removeprefix(" ")
            self._insert_one(place, before, after, at)

    def _insert_one(self, place: Place, before: str, after: str, at: int) -> None:
        fill = self.fills[place.slot]
        slot = "intent" if place.slot == "trigger" else place.slot
        problem = self._problem(slot)
        text = before + fill.text + place.suffix + after
        self.made.append(replace(make_edit(problem, slot, at, at, fill), replacement=text))

    def _write(self, problem: Problem, slot: str, start: int, end: int, fill: _Fill) -> None:
        if self.scene.text[start:end] != fill.text:
            self.made.append(make_edit(problem, slot, start, end, fill))


def make_edit(problem: Problem, slot: str, start: int, end: int, fill: _Fill) -> Edit:
    """Return the edit that writes `fill` at `start:end`."""
    interval = Interval(fill.period.first, fill.period.end) if fill.period else None
    return Edit(problem, slot, start, end, fill.text, fill.evidence, _CONFIDENCE[fill.evidence.source], interval)


def absorb_fillers(text: str, edits: tuple[Edit, ...], language: Language) -> tuple[Edit, ...]:
    """Let the first and the last edit swallow the filler words and punctuation at the query's ends.

    One that writes nothing there takes the white space beside it along.
    """
    if not edits:
        return edits
    grown = list(edits)
    if is_filler(text[: grown[0].start], language):
        grown[0] = replace(grown[0], start=0)
    if is_filler(text[grown[-1].end :], language):
        grown[-1] = replace(grown[-1], end=len(text))
    head, tail = grown[0], grown[-1]
    if head.start == 0 and not head.replacement:
        until = grown[1].start if len(grown) > 1 else len(text)
        grown[0] = replace(head, end=head.end + _spaces(text[head.end : until]))
    if tail.end == len(text) and not tail.replacement and len(grown) > 1:
        grown[-1] = replace(tail, start=tail.start - _spaces(text[grown[-2].end : tail.start][::-1]))
    return tuple(grown)


def _spaces(text: str) -> int:
    """Return how many white-space characters `text` begins with."""
    return len(text) - len(text.lstrip())
