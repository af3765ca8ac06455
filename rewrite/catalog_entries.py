"""What a catalog holds: entities with aliases, dimensions with values, intents with patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .language import Language

SLOT_IN_PATTERN = re.compile(r"\{([a-z_]+)\}")
CLOSING = ")]）】」”"


@dataclass(frozen=True, slots=True)
class Entity:
    """Something with a name. `cues` are words that speak for this sense where another entity shares an alias."""

    id: str
    type: str
    name: Mapping[Language, str]
    aliases: tuple[str, ...]
    cues: tuple[str, ...] = ()
    fiscal_month: int | None = None

    @property
    def slot(self) -> str:
        """The slot that the entity fills: its type."""
        return self.type

    @property
    def where(self) -> str:
        """Where evidence for the entity stands."""
        return f"entities.{self.id}"


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a dimension, perhaps with its unit; `parent` is the id of the value that it is part of."""

    id: str
    dimension: str
    name: Mapping[Language, str]
    synonyms: tuple[str, ...] = ()
    unit: Mapping[Language, str] = field(default_factory=dict)
    parent: str | None = None

    @property
    def slot(self) -> str:
        """The slot that the value fills: its dimension."""
        return self.dimension

    @property
    def where(self) -> str:
        """Where evidence for the value stands."""
        return f"dimensions.{self.dimension}.{self.id}"


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something a question should say: its values, or the calendar; where to take it from when it does not."""

    name: str
    calendar: bool
    values: tuple[Value, ...]
    profile_keys: tuple[str, ...]
    default: str | None
    vague: Mapping[Language, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Trigger:
    """A phrase that asks an intent, in parts with gaps between them, and what is written instead of each part."""

    parts: tuple[str, ...]
    says: tuple[str, ...]

    @property
    def say(self) -> str:
        """What the trigger means, in words."""
        return "".join(self.says)


@dataclass(frozen=True, slots=True)
class Place:
    """A slot of a pattern: `gap` stands between it and the slot before, `suffix` closes it."""

    slot: str
    gap: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """How an intent is asked and worded in one language."""

    triggers: tuple[Trigger, ...]
    pattern: tuple[Place, ...]
    vague: tuple[str, ...]

    def slots(self) -> tuple[str, ...]:
        """Return the pattern's slots in order, `trigger` among them."""
        return tuple(place.slot for place in self.pattern)


@dataclass(frozen=True, slots=True)
class Intent:
    """A kind of question. It needs its `head`; `period` names the period to fill in where the pattern has one."""

    name: str
    head: str
    period: str | None
    grammars: Mapping[Language, Grammar]


@dataclass(frozen=True)
class Contents:
    """All that a catalog says; `version` is made from the bytes it was read from, empty for one made in memory."""

    name: str
    entities: tuple[Entity, ...] = ()
    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    intents: tuple[Intent, ...] = ()
    locked: tuple[re.Pattern[str], ...] = ()
    version: str = ""


def parse_pattern(pattern: str) -> tuple[Place, ...]:
    """Split a pattern such as "{period}{metric}({unit})" into its slots with the text around each.

    >>> [(place.gap, place.slot, place.suffix) for place in parse_pattern("{metric} ({unit}) in {region}")]
    [('', 'metric', ''), (' (', 'unit', ')'), (' in ', 'region', '')]
    """
    pieces = SLOT_IN_PATTERN.split(pattern)
    places: list[Place] = []
    for slot, before, after in zip(pieces[1::2], pieces[0:-1:2], pieces[2::2], strict=True):
        opening = before.lstrip(CLOSING) if places else before
        places.append(Place(slot, opening, after[: len(after) - len(after.lstrip(CLOSING))]))
    return tuple(places)


def fiscal_month(start: str) -> int | None:
    """Return the month of a fiscal year's first day such as "10-01", or None if it is no first of a month."""
    match = re.fullmatch(r"(0?[1-9]|1[0-2])(?:-0?1)?", start.strip())
    return int(match[1]) if match else None
