"""What an organisation knows about its own words, looked up: names in a text, as written or one slip away.

Entities that share an alias are its senses. A dimension has values, or is the calendar. An intent says which
slots belong to a kind of question, how they are worded, and which phrases ask it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from .. import CatalogError
from .catalog_entries import (
    Contents,
    Dimension,
    Entity,
    Grammar,
    Intent,
    Place,
    Trigger,
    Value,
    fiscal_month,
    parse_pattern,
)
from .catalog_formats import Format, format_of, parse
from .catalog_reading import read
from .homophones import Homophones
from .language import bounded, fold, is_cjk, is_word_char
from .phrases import Phrases
from .spelling import Misspellings, Slip

__all__ = [
    "Catalog",
    "Dimension",
    "Entity",
    "Format",
    "Grammar",
    "Intent",
    "Mention",
    "Place",
    "Trigger",
    "Value",
    "fiscal_month",
    "parse_pattern",
]

SLIP_CHARS = 200
"""Only texts up to this length are searched for misspelt names: a long one speaks of a thing more than once."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A name found at `start:end` of a text, with everything that it may stand for.

    `meant` is the catalog's spelling where the text has another; what it stands for is one entry then.
    """

    start: int
    end: int
    candidates: tuple[Entity | Value, ...]
    meant: str | None = None

    @property
    def exact(self) -> bool:
        """Say whether the name is typed as the catalog has it."""
        return self.meant is None


@dataclass(frozen=True)
class Catalog(Contents):
    """A validated catalog. Looking a text up takes time that does not depend on the catalog's size."""

    @classmethod
    def load(cls, path: Path) -> Catalog:
        """Load and validate a catalog's file: TOML, YAML or CSV by its suffix.

        Raises CatalogError that names the file, the line and the entry.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CatalogError(f"{path}: cannot be read: {error.strerror}") from error
        return cls.loads(data, format_of(path.name), path.name)

    @classmethod
    def loads(cls, text: str | bytes, format: str, file: str = "catalog.toml") -> Catalog:  # noqa: A002 # as elsewhere
        """Read and validate a catalog's text, UTF-8 if it comes as bytes; messages call it `file`.

        Raises CatalogError that names the file, the line and the entry.
        """
        contents = read(parse(text, format, file))
        data = text.encode() if isinstance(text, str) else text.removeprefix(b"\xef\xbb\xbf")
        return cls(**{**vars(contents), "version": hashlib.sha256(data).hexdigest()[:16]})

    # ----------------------------------------------------------------------------------- look-up

    def mentions(self, text: str) -> list[Mention]:
        """Find the names in `text`: leftmost first, the longest at each place, none overlapping.

        Where none stands as it is written, one that is a single slip away is found, if only one entry can be meant
        (see `Misspellings` and `Homophones`); texts over `SLIP_CHARS` are searched for exact names only.
        """
        folded = fold(text)
        found = list(self._exact(folded))
        slips = self._slips(text, folded, found) if len(text) <= SLIP_CHARS else []
        found = [each for each in found if not any(_overlap(each, slip) for slip in slips)]
        return sorted([*found, *map(self._mention_of, slips)], key=lambda mention: mention.start)

    def _exact(self, folded: str) -> Iterator[Mention]:
        start = 0
        while start < len(folded):
            mention = self._mention_at(folded, start)
            if mention:
                yield mention
            start = mention.end if mention else start + 1

    def _mention_at(self, folded: str, start: int) -> Mention | None:
        if start > 0 and is_word_char(folded[start - 1]) and is_word_char(folded[start]):
            return None
        at = self._names.at(folded, start)
        return next((Mention(start, end, found) for end, found in at if bounded(folded, start, end)), None)

    def _slips(self, text: str, folded: str, exact: list[Mention]) -> list[Slip]:
        """Return the slips, none overlapping. They may hold an exact name, the wrong part may not ("sales forcast")."""
        locked = [match.span() for pattern in self.locked for match in pattern.finditer(text)]
        slips: list[Slip] = []
        for slip in (slip for finder in self._finders for slip in finder.slips(text, folded)):
            held = [each for each in exact if _overlap(each, slip)]
            cut = any(each.start < slip.start or slip.end < each.end for each in held)
            wrong = any(each.start < slip.wrong[1] and slip.wrong[0] < each.end for each in held)
            kept = any(start < slip.end and slip.start < end for start, end in locked)
            if not (cut or wrong or kept or any(_overlap(other, slip) for other in slips)):
                slips.append(slip)
        return slips

    def _mention_of(self, slip: Slip) -> Mention:
        entry = self._names.get(slip.name)[0]
        meant = next(alias for alias in _aliases(entry) if slip.name in _spellings(fold(alias)))
        return Mention(slip.start, slip.end, (entry,), meant)

    @cached_property
    def _finders(self) -> tuple[Homophones, Misspellings]:
        return Homophones(self._names), Misspellings(self._names)

    @cached_property
    def _names(self) -> Phrases[Entity | Value]:
        values = (value for dimension in self.dimensions.values() for value in dimension.values)
        return Phrases(
            (spelling, entry)
            for entry in chain[Entity | Value](self.entities, values)
            for alias in _aliases(entry)
            for spelling in _spellings(fold(alias))
        )

    def named(self, name: str, slot: str) -> Entity | Value | None:
        """Return the entity or value of `slot` that is called `name`, if there is exactly one; a value's id counts."""
        found = [entry for entry in self._names.get(fold(name.strip())) if entry.slot == slot]
        if not found and slot in self.dimensions:
            return self.value(slot, name.strip()) or self.value(slot, fold(name.strip()))
        return found[0] if len(found) == 1 else None

    # -------------------------------------------------------------------------------- dimensions

    def value(self, dimension: str, value_id: str) -> Value | None:
        """Return the value of `dimension` whose id is `value_id`."""
        return self._values.get((dimension, value_id))

    def ancestors(self, value: Value) -> tuple[Value, ...]:
        """Return what `value` is part of: its parent, the parent's parent and so on."""
        found: list[Value] = []
        while value.parent and (parent := self.value(value.dimension, value.parent)):
            found.append(parent)
            value = parent
        return tuple(found)

    @cached_property
    def _values(self) -> Mapping[tuple[str, str], Value]:
        return {(name, value.id): value for name, each in self.dimensions.items() for value in each.values}


def _overlap(one: Mention | Slip, other: Slip) -> bool:
    return one.start < other.end and other.start < one.end


def _aliases(entry: Entity | Value) -> tuple[str, ...]:
    """Return all names of `entry`, in the catalog's order, the displayed ones last."""
    aliases = entry.aliases if isinstance(entry, Entity) else entry.synonyms
    return (*aliases, *entry.name.values())


def _spellings(text: str) -> tuple[str, ...]:
    """Return `text` also without the spaces between Han and other characters: people type "CRM系统" and "CRM 系统"."""
    if " " not in text or text.isascii():
        return (text,)
    kept = [
        char
        for i, char in enumerate(text)
        if not (char == " " and 0 < i < len(text) - 1 and is_cjk(text[i - 1]) != is_cjk(text[i + 1]))
    ]
    return tuple(dict.fromkeys((text, "".join(kept))))
