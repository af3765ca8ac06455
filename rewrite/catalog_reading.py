"""A catalog's table made into entries, with every complaint naming the file, the line and the entry."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .. import CatalogError
from .catalog_entries import (
    CLOSING,
    SLOT_IN_PATTERN,
    Contents,
    Dimension,
    Entity,
    Grammar,
    Intent,
    Trigger,
    Value,
    fiscal_month,
    parse_pattern,
)
from .catalog_formats import Steps, Table
from .dates import PERIOD_NAMES
from .language import Language, fold

_SHOWN = 100
"""A complaint shows so many characters of what it got."""


def read(table: Table) -> Contents:
    """Validate a catalog's table. Raises CatalogError: `FILE:LINE: ENTRY: what was expected, what was got`."""
    return _Reader(table).catalog()


@dataclass(frozen=True, slots=True)
class _At:
    """A part of the table: how to get there, and what complaints call it."""

    steps: Steps
    label: str

    def key(self, *keys: str | int) -> _At:
        """Return a part of this one under the same label."""
        return replace(self, steps=(*self.steps, *keys))

    def named(self, label: str) -> _At:
        return replace(self, label=label)


class _Reader:
    """Reads one table."""

    def __init__(self, table: Table) -> None:
        self.source = table

    def fail(self, at: _At, message: str) -> CatalogError:
        return CatalogError(f"{self.source.file}:{self.source.line(at.steps)}: {at.label}: {message}")

    def catalog(self) -> Contents:
        top = _At((), "top level")
        table = self.source.data
        if not isinstance(table, dict):
            raise self.fail(top, f"expected a table, got {_shown(table)}")
        self.only(table, top, {"name", "locked", "entities", "dimensions", "intents"})
        entities = tuple(self.entity(row, at) for row, at in self.rows(table, top, "entities", "id"))
        dimensions = [self.dimension(row, at) for row, at in self.rows(table, top, "dimensions", "name")]
        slots = {"trigger", "unit", *(e.type for e in entities), *(d.name for d in dimensions)}
        intents = tuple(self.intent(row, at, slots) for row, at in self.rows(table, top, "intents", "name"))
        return Contents(
            name=self.text(table, "name", top),
            entities=entities,
            dimensions={dimension.name: dimension for dimension in dimensions},
            intents=intents,
            locked=tuple(
                self.regex(pattern, _At(("locked", i), "locked"))
                for i, pattern in enumerate(self.texts(table, "locked", top))
            ),
        )

    # ----------------------------------------------------------------------- entities, dimensions

    def entity(self, row: Mapping[str, Any], at: _At) -> Entity:
        self.only(row, at, {"id", "type", "name", "aliases", "cues", "fiscal_year_start"})
        return Entity(
            id=row["id"],
            type=self.text(row, "type", at),
            name=self.names(row, "name", at),
            aliases=self.different(row, "aliases", at),
            cues=self.texts(row, "cues", at),
            fiscal_month=self.fiscal_month(row, at),
        )

    def fiscal_month(self, row: Mapping[str, Any], at: _At) -> int | None:
        start = row.get("fiscal_year_start")
        if start is None:
            return None
        month = fiscal_month(start) if isinstance(start, str) else None
        if month is None:
            expected = 'expected a first of a month like "10-01"'
            raise self.fail(at.key("fiscal_year_start"), f"fiscal_year_start: {expected}, got {_shown(start)}")
        return month

    def dimension(self, row: Mapping[str, Any], at: _At) -> Dimension:
        self.only(row, at, {"name", "kind", "profile", "default", "vague", "values"})
        kind = row.get("kind", "values")
        if kind not in ("values", "calendar"):
            raise self.fail(at.key("kind"), f'kind: expected "values" or "calendar", got {_shown(kind)}')
        if (kind == "calendar") != (row["name"] == "period"):
            raise self.fail(at, 'a dimension with kind = "calendar" is called "period", and no other is')
        values = self.values(row, at)
        if kind == "calendar" and values:
            raise self.fail(at.key("values"), "values: a calendar has none, its values are dates")
        known = PERIOD_NAMES if kind == "calendar" else {value.id for value in values}
        vague, spoken = self.table(row, "vague", at), at.key("vague")
        return Dimension(
            name=row["name"],
            calendar=kind == "calendar",
            values=values,
            profile_keys=self.texts(row, "profile", at) or (row["name"],),
            default=self.one_of(row, "default", known, at),
            vague={
                Language(key): self.texts(vague, key, spoken.named(f"{at.label}: vague"))
                for key in self.languages(vague, spoken)
            },
        )

    def values(self, row: Mapping[str, Any], at: _At) -> tuple[Value, ...]:
        places = list(self.rows(row, at, "values", "id"))
        values = tuple(self.value(value, place, row["name"]) for value, place in places)
        parents = {value.id: value.parent for value in values}
        for value, place in places:
            self.one_of(value, "parent", parents, place)
        if circling := _circling(parents):
            _, place = places[list(parents).index(circling)]
            raise self.fail(place.key("parent"), f"parent: {circling!r} would be a part of itself")
        return values

    def value(self, row: Mapping[str, Any], at: _At, dimension: str) -> Value:
        self.only(row, at, {"id", "name", "synonyms", "unit", "parent"})
        return Value(
            id=row["id"],
            dimension=dimension,
            name=self.names(row, "name", at),
            synonyms=self.different(row, "synonyms", at),
            unit=self.names(row, "unit", at) if "unit" in row else {},
            parent=self.text(row, "parent", at) if "parent" in row else None,
        )

    # --------------------------------------------------------------------------------- intents

    def intent(self, row: Mapping[str, Any], at: _At, slots: set[str]) -> Intent:
        self.only(row, at, {"name", "head", "period", "zh", "en"})
        head = self.text(row, "head", at)
        if head not in slots - {"trigger", "unit"}:
            raise self.fail(at.key("head"), f"head: {head!r} is no entity type and no dimension of this catalog")
        period = self.one_of(row, "period", PERIOD_NAMES, at)
        grammars = {
            language: self.grammar(
                self.table(row, language.value, at),
                at.key(language.value).named(f"{at.label}: {language}"),
                slots,
                head,
            )
            for language in Language
            if language.value in row
        }
        if not grammars:
            raise self.fail(at, "expected a table for zh, en or both")
        return Intent(row["name"], head, period, grammars)

    def grammar(self, row: Mapping[str, Any], at: _At, slots: set[str], head: str) -> Grammar:
        self.only(row, at, {"triggers", "pattern", "vague"})
        text = self.text(row, "pattern", at)
        pattern, place = parse_pattern(text), at.key("pattern")
        for slot in (each.slot for each in pattern):
            if slot not in slots:
                raise self.fail(place, f"pattern: {{{slot}}} is no entity type and no dimension here")
        if len({each.slot for each in pattern}) < len(pattern):
            raise self.fail(place, f"pattern: has a slot twice: {_shown(text)}")
        outside = SLOT_IN_PATTERN.split(text)[0::2]
        if any(set("{}") & set(part) for part in outside) or outside[0] or outside[-1].lstrip(CLOSING):
            raise self.fail(place, f"pattern: expected {{slots}} with text only between them, got {_shown(text)}")
        if head not in {each.slot for each in pattern}:
            raise self.fail(place, f"pattern: lacks the head {{{head}}}")
        return Grammar(tuple(self.triggers(row, at)), pattern, self.texts(row, "vague", at))

    def triggers(self, row: Mapping[str, Any], at: _At) -> Iterator[Trigger]:
        rows, place = row.get("triggers", []), at.key("triggers")
        if not isinstance(rows, list):
            expected = "expected a list of [what is typed, what is written]"
            raise self.fail(place, f"triggers: {expected}, got {_shown(rows)}")
        for i, pair in enumerate(rows):
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str) for x in pair)):
                expected = "expected [what is typed, what is written]"
                raise self.fail(place.key(i), f"triggers[{i}]: {expected}, got {_shown(pair)}")
            parts = tuple(fold(part).strip() for part in pair[0].split("…"))
            says = tuple(re.split(" ?… ?", pair[1])) if pair[1] else ("",) * len(parts)
            if not all(parts) or len(parts) != len(says):
                expected = "both phrases need the same parts around each …"
                raise self.fail(place.key(i), f"triggers[{i}]: {expected}, got {_shown(pair)}")
            yield Trigger(parts, says)

    # ---------------------------------------------------------------------------------- pieces

    def rows(self, table: Mapping[str, Any], at: _At, key: str, name: str) -> Iterator[tuple[Mapping[str, Any], _At]]:
        """Yield the rows of a list of tables with where each stands; their names must be unique."""
        rows = table.get(key, [])
        prefix = f"{at.label}: {key}" if at.steps else key
        if not isinstance(rows, list):
            raise self.fail(at.key(key).named(prefix), f"expected [[{key}]] tables, a list, got {_shown(rows)}")
        seen: dict[str, _At] = {}
        for i, row in enumerate(rows):
            place = at.key(key, i).named(f"{prefix}[{i}]")
            if not isinstance(row, dict):
                raise self.fail(place, f"expected a table, got {_shown(row)}")
            row_name = self.text(row, name, place)
            if row_name in seen:
                first = self.source.line(seen[row_name].key(name).steps)
                raise self.fail(place.key(name), f"{name}: {row_name!r} is used twice, first in line {first}")
            seen[row_name] = place
            yield row, place.named(f"{place.label} ({row_name})")

    def only(self, row: Mapping[str, Any], at: _At, known: set[str]) -> None:
        for key in row:
            if key not in known:
                raise self.fail(at.key(key), f"unknown key {_shown(key)}; known are {', '.join(sorted(known))}")

    def one_of(self, row: Mapping[str, Any], key: str, known: Collection[str], at: _At) -> str | None:
        value = row.get(key)
        if value is None or (isinstance(value, str) and value in known):
            return value
        raise self.fail(at.key(key), f"{key}: {_shown(value)} is none of {_listed(known)}")

    def table(self, row: Mapping[str, Any], key: str, at: _At) -> Mapping[str, Any]:
        value = row.get(key, {})
        if not isinstance(value, dict):
            raise self.fail(at.key(key), f"{key}: expected a table, got {_shown(value)}")
        return value

    def text(self, row: Mapping[str, Any], key: str, at: _At) -> str:
        value = row.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.fail(at.key(key), f"{key}: expected text, got {_shown(value)}")
        return value

    def texts(self, row: Mapping[str, Any], key: str, at: _At) -> tuple[str, ...]:
        values = row.get(key, [])
        if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
            raise self.fail(at.key(key), f"{key}: expected a list of texts, got {_shown(values)}")
        return tuple(values)

    def different(self, row: Mapping[str, Any], key: str, at: _At) -> tuple[str, ...]:
        """Read a list of texts that must differ by more than case and width."""
        seen: set[str] = set()
        texts = self.texts(row, key, at)
        for i, text in enumerate(texts):
            if fold(text) in seen:
                first = next(each for each in texts if fold(each) == fold(text))
                raise self.fail(at.key(key, i), f"{key}: lists {first!r} twice (case and width do not count)")
            seen.add(fold(text))
        return texts

    def names(self, row: Mapping[str, Any], key: str, at: _At) -> Mapping[Language, str]:
        """Read a name: one text for both languages, or one a language; the other falls back to it."""
        value = row.get(key)
        if isinstance(value, str) and value.strip():
            return dict.fromkeys(Language, value)
        table = self.table(row, key, at) if value is not None else {}
        place = at.key(key)
        inside = place.named(f"{at.label}: {key}")
        given = {Language(k): self.text(table, k, inside) for k in self.languages(table, place)}
        if not given:
            expected = 'expected a text or { zh = "…", en = "…" }'
            raise self.fail(place, f"{key}: {expected}, got {_shown(value)}")
        return {language: given.get(language) or next(iter(given.values())) for language in Language}

    def languages(self, table: Mapping[str, Any], at: _At) -> list[str]:
        for key in table:
            if key not in {language.value for language in Language}:
                raise self.fail(at.key(key), f"unknown language {_shown(key)}; known are zh and en")
        return list(table)

    def regex(self, pattern: str, at: _At) -> re.Pattern[str]:
        try:
            compiled = re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise self.fail(at, f"{_shown(pattern)} is not a regular expression: {error}") from error
        if _NESTED.search(pattern):
            raise self.fail(
                at, f"{_shown(pattern)} repeats what is repeated inside: a text could keep it busy for ever"
            )
        if compiled.match(""):
            raise self.fail(at, f"{_shown(pattern)} matches the empty text, so it would lock every query")
        return compiled


_NESTED = re.compile(r"\((?:[^()\\]|\\.)*(?:[*+]|\{\d*,\d*\})[^()]*\)(?:[*+]|\{\d*,)")
"""A group that repeats and holds a repetition, "(a+)+": its backtracking takes exponential time."""


def _circling(parents: Mapping[str, str | None]) -> str | None:
    """Return a value that is a part of itself, if there is one."""
    fine: set[str | None] = {None}
    for start in parents:
        way: dict[str | None, None] = {}
        above: str | None = start
        while above not in fine and above not in way:
            way[above] = None
            above = parents[above] if above else None
        if above not in fine:
            return above
        fine.update(way)
    return None


def _listed(known: Collection[str]) -> str:
    listed = sorted(known)
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")


def _shown(value: object) -> str:
    """Return `value` as a complaint shows it: its beginning, where it is long."""
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
