"""The catalog's rewriter: fills the slots that a question leaves open and settles ambiguous names.

An intent speaks only when its trigger, its slots and filler words explain the whole query, so that a question
the catalog does not understand stays as it is. What it fills in comes from the conversation, then the profile,
then the catalog's default, and each edit says from where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from .catalog import Catalog, Entity, Intent, Place, Value
from .dates import Calendar
from .language import Language, fold, language_of
from .query import (
    Alternative,
    Clarification,
    Decision,
    Edit,
    Evidence,
    Problem,
    Query,
    Rewrite,
    Role,
    Source,
    apply_edits,
)
from .questions import ask_sense, ask_value
from .reading import Piece, TriggerMatch, find_trigger, is_filler, only_fillers
from .scene import Fill, Scene, Tie, make_edit
from .senses import CorpusStatistics, contains, sense_weights

ASKING = 0.5
"""The confidence of a question back: a rewriter that is surer of a rewrite is believed."""

ASKING_SURELY = 0.75
"""The same where there is no conversation that another rewriter could find something in."""

_RANKED = 200
"""A question looks at no more of a catalog's entries for those that a collection speaks of."""

CLEAR = 0.75
"""From this share on, what a collection holds of one sense makes a question needless."""


class CatalogRewriter:
    """Rewrite with a catalog, the calendar, the profile and the slots that the conversation has named.

    Where nothing in the conversation and the profile says which sense of a name is meant, `corpus` decides between
    several weighted interpretations and a question back.
    """

    name = "catalog"

    def __init__(self, catalog: Catalog, corpus: CorpusStatistics | None = None) -> None:
        self._catalog = catalog
        self._corpus = corpus

    def rewrite(self, query: Query) -> Rewrite:
        """Return the rewrite of `query`; unchanged where the catalog has nothing to add."""
        scene = Scene(self._catalog, query)
        tie = scene.tie()
        readings = _readings(scene, tie)
        if tie and readings:
            return self._undecided(scene, tie, readings)
        edits = readings[0] if readings else scene.local_edits()
        if edits and (text := apply_edits(query.query, edits)) != query.query:
            confidence = min(edit.confidence for edit in edits)
            return Rewrite(query.query, text, Decision.REWRITE, confidence, edits, rewriter=self.name, id=query.id)
        if tie and scene.tells_nothing(tie):
            return self._asking(query, ask_sense(tie.said, tie.senses, scene.language))
        if not tie and not readings and (wanted := _wanted(scene)):
            question = ask_value(self._likeliest(wanted, scene.text), scene.language)
            return self._asking(query, question, surely=not query.history)
        return Rewrite.keep(query, self.name)

    def _undecided(self, scene: Scene, tie: Tie, readings: Sequence[tuple[Edit, ...]]) -> Rewrite:
        """Offer every reading, weighted by what the collection holds; ask too where it speaks of several."""
        weights = sense_weights(tie.said, tie.senses, self._corpus)
        texts: dict[str, float] = {}
        for sense, edits in zip(tie.senses, readings, strict=True):
            text = apply_edits(scene.text, edits)
            texts[text] = round(texts.get(text, 0) + weights[sense.id], 4)
        made = Rewrite.keep(scene.query, self.name, confidence=max(texts.values()))
        offered = tuple(Alternative(text, weight) for text, weight in texts.items())
        if made.confidence >= CLEAR:
            return replace(made, decision=Decision.REWRITE, alternatives=offered)
        return replace(self._asking(scene.query, ask_sense(tie.said, tie.senses, scene.language)), alternatives=offered)

    def _asking(self, query: Query, question: Clarification, *, surely: bool = False) -> Rewrite:
        kept = Rewrite.keep(query, self.name, confidence=ASKING_SURELY if surely else ASKING)
        return replace(kept, decision=Decision.CLARIFY, clarification=question)

    def _likeliest(self, entries: Sequence[Entity | Value], text: str) -> Sequence[Entity | Value]:
        """Return those first that the collection names with the words of `text`, or often; else the catalog's order."""
        corpus = self._corpus
        if corpus is None:
            return entries
        entries = entries[:_RANKED]
        found = {
            entry.where: [max(corpus.holding(name, *more) for name in entry.name.values()) for more in ((text,), ())]
            for entry in entries
        }
        return sorted(entries, key=lambda entry: [-count for count in found[entry.where]])


def _readings(scene: Scene, tie: Tie | None) -> list[tuple[Edit, ...]]:
    """Return the edits of the first intent that speaks; one reading a sense where senses tie, none if one lacks."""
    ties = [{tie.start: scene.catalog_fill(sense)} for sense in tie.senses] if tie else [{}]
    found = [_reading(scene, {**scene.settled, **choice}) for choice in ties]
    return [edits for edits in found if edits] if all(found) else []


def _reading(scene: Scene, senses: dict[int, Fill]) -> tuple[Edit, ...]:
    """Return the edits of the first intent that speaks."""
    plans = (_Plan.of(scene, intent, senses) for intent in scene.catalog.intents)
    return next((edits for plan in plans if plan and plan.complete and (edits := plan.edits())), ())


def _wanted(scene: Scene) -> Sequence[Entity | Value]:
    """Return what may be meant where the query asks an intent and nothing says about what; none otherwise."""
    plans = (_Plan.of(scene, intent, scene.settled) for intent in scene.catalog.intents)
    slots = dict.fromkeys(plan.open_slot for plan in plans if plan and plan.open_slot) or scene.pointed_nowhere()
    # One of each kind in turn, so that a question names all of them.
    in_turn = zip_longest(*(scene.catalog_entries(slot) for slot in slots))
    return [entry for entries in in_turn for entry in entries if entry]


@dataclass(frozen=True, slots=True)
class _Anchor:
    """Where a slot of the pattern stands in the query; `fill` is what replaces it, if anything does."""

    start: int
    end: int


class _Plan:
    """The edits that word a query as an intent's pattern has it."""

    def __init__(self, scene: Scene, intent: Intent, trigger: TriggerMatch | None, pieces: list[Piece]) -> None:
        self.scene = scene
        self.intent = intent
        self.pattern = intent.grammars[scene.language].pattern
        self.trigger = trigger
        self.pieces = pieces
        self.fills: dict[str, Fill] = {}
        self.anchors: dict[str, _Anchor] = {}
        self.made: list[Edit] = []
        self.complete = False
        self.open_slot: str | None = None
        """The slot that has no value, though the query leaves a word or a place for it."""

    @classmethod
    def of(cls, scene: Scene, intent: Intent, senses: dict[int, Fill]) -> _Plan | None:
        """Return the plan if the query asks the intent, which explains all of it; `complete` if it can speak."""
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
        if not plan._asked():
            return None
        plan.complete = plan._settle(senses)
        return plan

    def _asked(self) -> bool:
        """Say whether the query asks this intent: by trigger, by naming its head, or as a follow-up to it."""
        heads = [piece for piece in self.pieces if self.intent.head in piece.slots]
        if self.intent.head in self.scene.catalog.dimensions:
            follow_up = bool(self.pieces) and self.scene.from_history(self.intent.head) is not None
            return bool(heads) or (self.trigger is not None and bool(self.pieces)) or follow_up
        return self.trigger is not None or (bool(self.pieces) and self._trigger_in_history() is not None)

    def _trigger_in_history(self) -> Fill | None:
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
                return Fill(said, Evidence(Source.HISTORY, f"history[{i}]", turn.text[start:end]))
        return None

    def _settle(self, senses: dict[int, Fill]) -> bool:
        """Decide what each slot says. False when the head stays unknown or a sense belongs to another intent."""
        for piece in self.pieces:
            slot = next(place.slot for place in self.pattern if place.slot in piece.slots)
            if not self._settle_piece(piece, slot, senses.get(piece.start)):
                return False
        if self.trigger:
            self._settle_trigger(self.trigger)
        return all(self._settle_missing(place.slot) for place in self.pattern)

    def _settle_piece(self, piece: Piece, slot: str, sense: Fill | None) -> bool:
        known = self.anchors.get(slot)
        self.anchors[slot] = _Anchor(min(known.start, piece.start) if known else piece.start, piece.end)
        problem = Problem.VAGUE_DIMENSION
        if sense is not None:
            if sense.entry is None or sense.entry.slot != slot:
                return False
            fill, problem = sense, Problem.AMBIGUITY if len(piece.names) > 1 else self._problem(slot)
        elif piece.vague:
            found = self.scene.value_for(slot, self.intent, self.scene.calendar)
            if found is None:
                self.open_slot = slot
                return False
            fill = found
            problem = self._problem(slot)
        elif piece.period:
            said = self.scene.text[piece.start : piece.end]
            fill = self.scene.period_fill(piece.period, said)
        else:
            entry = next(name for name in piece.names if name.slot == slot)
            fill = self.scene.meant_fill(entry, piece.meant) if piece.meant else self.scene.catalog_fill(entry)
            problem = Problem.AMBIGUITY if piece.meant else self._problem(slot)
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
            self._write(self._problem("intent"), "intent", start, end, Fill(say, evidence))

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
            found = Fill(unit, evidence) if unit and evidence else None
        else:
            found = self.scene.value_for(slot, self.intent, self._calendar())
        if found:
            self.fills[slot] = found
        if found is None and slot == self.intent.head:
            self.open_slot = slot
        return self.open_slot is None

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

    def _write(self, problem: Problem, slot: str, start: int, end: int, fill: Fill) -> None:
        before = fold(self.scene.text[:start])
        if self.scene.language is Language.EN and before.endswith("the ") and fill.entry:
            start -= len("the ")  # the catalog's name says whether it has an article
        if self.scene.text[start:end] != fill.text:
            self.made.append(make_edit(problem, slot, start, end, fill))


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
