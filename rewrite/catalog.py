"""What an organisation knows about its own words: entities, dimensions, intents; read from TOML and validated.

Entities that share an alias are its senses. A dimension has values, or is the calendar. An intent says which
slots belong to a kind of question, how they are worded, and which phrases ask it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import CatalogError
from .dates import PERIOD_NAMES
from .language import Language, bounded, fold, is_cjk, is_word_char

_SLOT_IN_PATTERN = re.compile(r"\{([a-z_]+)\}")
_CLOSING = ")]）】」”"


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
    """One value of a dimension, perhaps with the unit it is counted in."""

    id: str
    dimension: str
    name: Mapping[Language, str]
    synonyms: tuple[str, ...] = ()
    unit: Mapping[Language, str] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class Mention:
    """A name found at `start:end` of a text, with everything that it may stand for."""

    start: int
    end: int
    candidates: tuple[Entity | Value, ...]


@dataclass(frozen=True)
class Catalog:
    """A validated catalog. Looking a text up takes time that does not depend on the catalog's size."""

    name: str
    entities: tuple[Entity, ...] = ()
    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    intents: tuple[Intent, ...] = ()
    locked: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def load(cls, path: Path) -> Catalog:
        """Load and validate a catalog file.

        Raises CatalogError that names the file and the entry.
        """
        try:
            table = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        except OSError as error:
            raise CatalogError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise CatalogError(f"{path}: byte {error.start}: expected UTF-8 text") from error
        except tomllib.TOMLDecodeError as error:
            raise CatalogError(f"{path}: not valid TOML: {error}") from error
        except RecursionError as error:
            raise CatalogError(f"{path}: not valid TOML: nested too deeply") from error
        return _Reader(path.name).catalog(table)

    @cached_property
    def _names(self) -> Mapping[str, tuple[Entity | Value, ...]]:
        names: dict[str, list[Entity | Value]] = {}
        for entity in self.entities:
            for alias in (*entity.aliases, *entity.name.values()):
                _add(names, alias, entity)
        for dimension in self.dimensions.values():
            for value in dimension.values:
                for alias in (*value.synonyms, *value.name.values()):
                    _add(names, alias, value)
        return {name: tuple(found) for name, found in names.items()}

    @cached_property
    def _lengths(self) -> Mapping[str, tuple[int, ...]]:
        """The lengths of the names that begin with each character, longest first."""
        lengths: dict[str, set[int]] = {}
        for name in self._names:
            lengths.setdefault(name[0], set()).add(len(name))
        return {first: tuple(sorted(found, reverse=True)) for first, found in lengths.items()}

    def mentions(self, text: str) -> list[Mention]:
        """Find the names in `text`: leftmost first, the longest at each place, none overlapping."""
        folded = fold(text)
        found: list[Mention] = []
        start = 0
        while start < len(folded):
            mention = self._mention_at(folded, start)
            if mention:
                found.append(mention)
            start = mention.end if mention else start + 1
        return found

    def _mention_at(self, folded: str, start: int) -> Mention | None:
        inside_word = start > 0 and is_word_char(folded[start - 1]) and is_word_char(folded[start])
        lengths = () if inside_word else self._lengths.get(folded[start], ())
        for end in (start + length for length in lengths if start + length <= len(folded)):
            candidates = self._names.get(folded[start:end])
            if candidates and bounded(folded, start, end):
                return Mention(start, end, candidates)
        return None

    def named(self, name: str, slot: str) -> Entity | Value | None:
        """Return the entity or value of `slot` that is called `name`, if there is exactly one; a value's id counts."""
        found = [entry for entry in self._names.get(fold(name.strip()), ()) if entry.slot == slot]
        if not found and slot in self.dimensions:
            return self.value(slot, name.strip())
        return found[0] if len(found) == 1 else None

    def value(self, dimension: str, value_id: str) -> Value | None:
        """Return the value of `dimension` whose id is `value_id`."""
        return next((v for v in self.dimensions[dimension].values if v.id == value_id), None)


def _add(names: dict[str, list[Entity | Value]], alias: str, entry: Entity | Value) -> None:
    for spelling in {fold(alias), _without_mixed_spaces(fold(alias))}:
        found = names.setdefault(spelling, [])
        if entry not in found:
            found.append(entry)


def _without_mixed_spaces(text: str) -> str:
    """Drop the spaces between Han and other characters: people type "CRM系统" and "CRM 系统"."""
    kept = [
        char
        for i, char in enumerate(text)
        if not (char == " " and 0 < i < len(text) - 1 and is_cjk(text[i - 1]) != is_cjk(text[i + 1]))
    ]
    return "".join(kept)


# ------------------------------------------------------------------------------------------ reading


class _Reader:
    """Read a catalog's table; every complaint names the file and the entry."""

    def __init__(self, file: str) -> None:
        self.file = file

    def fail(self, where: str, message: str) -> CatalogError:
        return CatalogError(f"{self.file}: {where}: {message}")

    def catalog(self, table: Mapping[str, Any]) -> Catalog:
        self.only(table, "top level", {"name", "locked", "entities", "dimensions", "intents"})
        entities = tuple(self.entity(row, where) for row, where in self.rows(table, "entities", "id"))
        dimensions = [self.dimension(row, where) for row, where in self.rows(table, "dimensions", "name")]
        slots = {"trigger", "unit", *(e.type for e in entities), *(d.name for d in dimensions)}
        intents = tuple(self.intent(row, where, slots) for row, where in self.rows(table, "intents", "name"))
        return Catalog(
            name=self.text(table, "name", "top level"),
            entities=entities,
            dimensions={dimension.name: dimension for dimension in dimensions},
            intents=intents,
            locked=tuple(self.regex(p) for p in self.texts(table, "locked", "top level")),
        )

    def entity(self, row: Mapping[str, Any], where: str) -> Entity:
        self.only(row, where, {"id", "type", "name", "aliases", "cues", "fiscal_year_start"})
        aliases = self.texts(row, "aliases", where)
        folded = [fold(alias) for alias in aliases]
        for alias, key in zip(aliases, folded, strict=True):
            if folded.count(key) > 1:
                raise self.fail(where, f"aliases: lists {alias!r} twice (case and width do not count)")
        return Entity(
            id=row["id"],
            type=self.text(row, "type", where),
            name=self.names(row, "name", where),
            aliases=aliases,
            cues=self.texts(row, "cues", where),
            fiscal_month=self.fiscal_month(row, where),
        )

    def fiscal_month(self, row: Mapping[str, Any], where: str) -> int | None:
        start = row.get("fiscal_year_start")
        if start is None:
            return None
        month = fiscal_month(start) if isinstance(start, str) else None
        if month is None:
            raise self.fail(where, f'fiscal_year_start: expected a first of a month like "10-01", got {start!r}')
        return month

    def dimension(self, row: Mapping[str, Any], where: str) -> Dimension:
        self.only(row, where, {"name", "kind", "profile", "default", "vague", "values"})
        kind = row.get("kind", "values")
        if kind not in ("values", "calendar"):
            raise self.fail(where, f'kind: expected "values" or "calendar", got {kind!r}')
        if (kind == "calendar") != (row["name"] == "period"):
            raise self.fail(where, 'a dimension with kind = "calendar" is called "period", and no other is')
        values = tuple(self.value(value, place, row["name"]) for value, place in self.rows(row, "values", "id", where))
        if kind == "calendar" and values:
            raise self.fail(where, "values: a calendar has none, its values are dates")
        known = PERIOD_NAMES if kind == "calendar" else {value.id for value in values}
        vague = self.table(row, "vague", where)
        return Dimension(
            name=row["name"],
            calendar=kind == "calendar",
            values=values,
            profile_keys=self.texts(row, "profile", where) or (row["name"],),
            default=self.one_of(row, "default", known, where),
            vague={Language(key): self.texts(vague, key, f"{where}: vague") for key in self.languages(vague, where)},
        )

    def value(self, row: Mapping[str, Any], where: str, dimension: str) -> Value:
        self.only(row, where, {"id", "name", "synonyms", "unit"})
        return Value(
            id=row["id"],
            dimension=dimension,
            name=self.names(row, "name", where),
            synonyms=self.texts(row, "synonyms", where),
            unit=self.names(row, "unit", where) if "unit" in row else {},
        )

    def intent(self, row: Mapping[str, Any], where: str, slots: set[str]) -> Intent:
        self.only(row, where, {"name", "head", "period", "zh", "en"})
        head = self.text(row, "head", where)
        if head not in slots - {"trigger", "unit"}:
            raise self.fail(where, f"head: {head!r} is no entity type and no dimension of this catalog")
        period = self.one_of(row, "period", PERIOD_NAMES, where)
        grammars = {
            language: self.grammar(self.table(row, language.value, where), f"{where}: {language}", slots, head)
            for language in Language
            if language.value in row
        }
        if not grammars:
            raise self.fail(where, "expected a table for zh, en or both")
        return Intent(row["name"], head, period, grammars)

    def grammar(self, row: Mapping[str, Any], where: str, slots: set[str], head: str) -> Grammar:
        self.only(row, where, {"triggers", "pattern", "vague"})
        text = self.text(row, "pattern", where)
        pattern = parse_pattern(text)
        for place in pattern:
            if place.slot not in slots:
                raise self.fail(where, f"pattern: {{{place.slot}}} is no entity type and no dimension here")
        if len({place.slot for place in pattern}) < len(pattern):
            raise self.fail(where, f"pattern: has a slot twice: {text!r}")
        outside = _SLOT_IN_PATTERN.split(text)[0::2]
        if any(set("{}") & set(part) for part in outside) or outside[0] or outside[-1].lstrip(_CLOSING):
            raise self.fail(where, f"pattern: expected {{slots}} with text only between them, got {text!r}")
        if head not in {place.slot for place in pattern}:
            raise self.fail(where, f"pattern: lacks the head {{{head}}}")
        return Grammar(tuple(self.triggers(row, where)), pattern, self.texts(row, "vague", where))

    def triggers(self, row: Mapping[str, Any], where: str) -> Iterator[Trigger]:
        rows = row.get("triggers", [])
        if not isinstance(rows, list):
            raise self.fail(where, "triggers: expected a list of [what is typed, what is written]")
        for i, pair in enumerate(rows):
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str) for x in pair)):
                raise self.fail(where, f"triggers[{i}]: expected [what is typed, what is written], got {pair!r}")
            parts = tuple(fold(part).strip() for part in pair[0].split("…"))
            says = tuple(re.split(" ?… ?", pair[1])) if pair[1] else ("",) * len(parts)
            if not all(parts) or len(parts) != len(says):
                raise self.fail(where, f"triggers[{i}]: both phrases need the same parts around each …, got {pair!r}")
            yield Trigger(parts, says)

    def rows(
        self, table: Mapping[str, Any], key: str, name: str, inside: str = ""
    ) -> Iterator[tuple[Mapping[str, Any], str]]:
        """Yield the rows of an array of tables with where each stands; their names must be unique."""
        rows = table.get(key, [])
        prefix = f"{inside}: " if inside else ""
        if not isinstance(rows, list):
            raise self.fail(f"{prefix}{key}", f"expected [[{key}]] tables")
        seen: set[str] = set()
        for i, row in enumerate(rows):
            where = f"{prefix}{key}[{i}]"
            if not isinstance(row, dict):
                raise self.fail(where, "expected a table")
            row_name = self.text(row, name, where)
            if row_name in seen:
                raise self.fail(where, f"{name}: {row_name!r} is used twice")
            seen.add(row_name)
            yield row, f"{prefix}{key}[{i}] ({row_name})"

    def only(self, row: Mapping[str, Any], where: str, known: set[str]) -> None:
        for key in row:
            if key not in known:
                raise self.fail(where, f"unknown key {key!r}; known are {', '.join(sorted(known))}")

    def one_of(self, row: Mapping[str, Any], key: str, known: Collection[str], where: str) -> str | None:
        value = row.get(key)
        if value is None or (isinstance(value, str) and value in known):
            return value
        raise self.fail(where, f"{key}: {value!r} is none of {', '.join(sorted(known))}")

    def table(self, row: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
        value = row.get(key, {})
        if not isinstance(value, dict):
            raise self.fail(where, f"{key}: expected a table, got {value!r}")
        return value

    def text(self, row: Mapping[str, Any], key: str, where: str) -> str:
        value = row.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(where, f"{key}: expected text, got {value!r}")
        return value

    def texts(self, row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
        values = row.get(key, [])
        if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
            raise self.fail(where, f"{key}: expected a list of texts, got {values!r}")
        return tuple(values)

    def names(self, row: Mapping[str, Any], key: str, where: str) -> Mapping[Language, str]:
        """Read a name: one text for both languages, or one a language; the other falls back to it."""
        value = row.get(key)
        if isinstance(value, str) and value.strip():
            return dict.fromkeys(Language, value)
        table = self.table(row, key, where) if value is not None else {}
        given = {Language(k): self.text(table, k, f"{where}: {key}") for k in self.languages(table, where)}
        if not given:
            raise self.fail(where, f'{key}: expected a text or {{ zh = "…", en = "…" }}, got {value!r}')
        return {language: given.get(language) or next(iter(given.values())) for language in Language}

    def languages(self, table: Mapping[str, Any], where: str) -> list[str]:
        for key in table:
            if key not in {language.value for language in Language}:
                raise self.fail(where, f"unknown language {key!r}; known are zh and en")
        return list(table)

    def regex(self, pattern: str) -> re.Pattern[str]:
        try:
            compiled = re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise self.fail("locked", f"{pattern!r} is not a regular expression: {error}") from error
        if compiled.match(""):
            raise self.fail("locked", f"{pattern!r} matches the empty text, so it would lock every query")
        return compiled


def parse_pattern(pattern: str) -> tuple[Place, ...]:
    """Split a pattern such as "{period}{metric}({unit})" into its slots with the text around each.

    >>> [(place.gap, place.slot, place.suffix) for place in parse_pattern("{metric} ({unit}) in {region}")]
    [('', 'metric', ''), (' (', 'unit', ')'), (' in ', 'region', '')]
    """
    pieces = _SLOT_IN_PATTERN.split(pattern)
    places: list[Place] = []
    for slot, before, after in zip(pieces[1::2], pieces[0:-1:2], pieces[2::2], strict=True):
        opening = before.lstrip(_CLOSING) if places else before
        places.append(Place(slot, opening, after[: len(after) - len(after.lstrip(_CLOSING))]))
    return tuple(places)


def fiscal_month(start: str) -> int | None:
    """Return the month of a fiscal year's first day such as "10-01", or None if it is no first of a month."""
    match = re.fullmatch(r"(0?[1-9]|1[0-2])(?:-0?1)?", start.strip())
    return int(match[1]) if match else None
