"""Filters on metadata: equality, any-of and ranges, as one boolean mask over the passages of an index."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import InputError
from .passage import Value

Number = int | float

Filter = Mapping[str, Value | Sequence[Value] | Mapping[str, str | Number]]
"""Wanted metadata: every field must match what is wanted of it.

- A value: the field equals it. Compared as JSON writes them, so that `year=2024` from a command line finds the number.
- Several values: the field equals any of them.
- A range, `{"gte": 2020, "lt": 2024}`, of gte, gt, lte and lt: numbers compare as numbers, strings as strings by code
  points (so ISO dates in their order). A bound that is a string with a number in it holds for both; true and false lie
  in no range.

A field that holds several values matches when one of them does, a field that is missing never.
"""

BOUNDS = ("gte", "gt", "lte", "lt")
"""What a range may say: at least, more than, at most, less than."""

MOST_FIELDS = 32
"""A filter on more fields is refused."""

Mask = NDArray[np.bool_]

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_MOST_DIGITS = 400
_Key = TypeVar("_Key", str, Number)


def check_filter(wanted: Filter | None) -> None:
    """Raise InputError for a filter that wants what no metadata can hold.

    Like every message that may travel over HTTP, it never repeats what came in.
    """
    if wanted is None:
        return
    if not isinstance(wanted, Mapping):
        raise InputError("filter: expected an object: field names with what is wanted of each")
    if len(wanted) > MOST_FIELDS:
        raise InputError(f"filter: expected at most {MOST_FIELDS} fields, got {len(wanted)}")
    for key, condition in wanted.items():
        if not isinstance(key, str):
            raise InputError("filter: expected strings as the names of fields")
        if isinstance(condition, Mapping):
            _Range.read(condition)
        else:
            _wanted_texts(condition)


def read_condition(condition: object) -> tuple[list[str], Mapping[str, str], Mapping[str, Number]]:
    """Return what a filter wants of a field: the texts it may equal, or its bounds for strings and for numbers.

    Values are compared with those texts as `as_text` has them. Raises InputError as `check_filter` does.
    """
    if isinstance(condition, Mapping):
        wanted = _Range.read(condition)
        return [], wanted.strings, wanted.numbers
    return _wanted_texts(condition), {}, {}


class MetadataIndex:
    """The metadata of the passages of one immutable index, made ready to filter by, field by field.

    A field is indexed when a filter first names it: 100,000 passages take about a quarter of a second, once; from then
    on a mask takes as long as writing its bits. Safe to use from several threads.
    """

    def __init__(self, rows: Sequence[Mapping[str, Value]]) -> None:
        self._rows = rows
        self._fields: dict[str, _Field] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def mask(self, wanted: Filter) -> Mask:
        """Return which passages match `wanted`. Raises InputError as `check_filter` does."""
        check_filter(wanted)
        found = np.ones(len(self._rows), dtype=np.bool_)
        for key, condition in wanted.items():
            found &= self._field(key).mask(condition, len(self._rows))
        return found

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(self._rows))

    def _field(self, key: str) -> _Field:
        if key not in self._names:
            return _Field.of(())  # not kept: there is no end of names that no passage has
        field = self._fields.get(key)
        if field is None:
            # Two threads may both make it; either will do.
            field = self._fields[key] = _Field.of(row.get(key) for row in self._rows)
        return field


class _Sorted(Generic[_Key]):
    """Different values in their order, as Python's own, so that numbers compare exactly; and where each stands.

    The passages that hold the value `keys[n]` are `places[offsets[n] : offsets[n + 1]]`.
    """

    def __init__(self, places: Mapping[_Key, Sequence[int]]) -> None:
        self.keys: list[_Key] = sorted(places)
        self.offsets = [0, *accumulate(len(places[key]) for key in self.keys)]
        together = chain.from_iterable(places[key] for key in self.keys)
        self.places: NDArray[np.int64] = np.fromiter(together, dtype=np.int64, count=self.offsets[-1])

    def equal(self, key: _Key) -> NDArray[np.int64]:
        return self.within({"gte": key, "lte": key})

    def within(self, bounds: Mapping[str, _Key]) -> NDArray[np.int64]:
        keys = self.keys
        begins = [bisect_left(keys, bounds["gte"])] if "gte" in bounds else [0]
        begins += [bisect_right(keys, bounds["gt"])] if "gt" in bounds else []
        ends = [bisect_right(keys, bounds["lte"])] if "lte" in bounds else [len(keys)]
        ends += [bisect_left(keys, bounds["lt"])] if "lt" in bounds else []
        begin, end = max(begins), min(ends)
        return self.places[self.offsets[begin] : self.offsets[max(begin, end)]]


@dataclass(frozen=True, slots=True)
class _Field:
    """All values of one field by their kind."""

    strings: _Sorted[str]
    numbers: _Sorted[Number]
    booleans: _Sorted[str]

    @classmethod
    def of(cls, values: Iterable[Value | None]) -> _Field:
        strings: dict[str, list[int]] = {}
        numbers: dict[Number, list[int]] = {}
        booleans: dict[str, list[int]] = {}
        for place, value in enumerate(values):
            if isinstance(value, str):
                strings.setdefault(value, []).append(place)
            elif isinstance(value, tuple):
                for member in value:
                    strings.setdefault(member, []).append(place)
            elif isinstance(value, bool):
                booleans.setdefault(as_text(value), []).append(place)
            elif value is not None:
                numbers.setdefault(value, []).append(place)
        return cls(_Sorted(strings), _Sorted(numbers), _Sorted(booleans))

    def mask(self, condition: object, size: int) -> Mask:
        found = np.zeros(size, dtype=np.bool_)
        for places in self._within(condition) if isinstance(condition, Mapping) else self._equal(condition):
            found[places] = True
        return found

    def _within(self, bounds: Mapping[str, object]) -> Iterator[NDArray[np.int64]]:
        wanted = _Range.read(bounds)
        if wanted.strings:
            yield self.strings.within(wanted.strings)
        if wanted.numbers:
            yield self.numbers.within(wanted.numbers)

    def _equal(self, values: object) -> Iterator[NDArray[np.int64]]:
        for text in _wanted_texts(values):
            yield self.strings.equal(text)
            yield self.booleans.equal(text)
            number = _number(text)
            if number is not None and as_text(number) == text:
                yield self.numbers.equal(number)


@dataclass(frozen=True, slots=True)
class _Range:
    """The bounds of a range for strings and those for numbers; empty where they bound none of that kind."""

    strings: Mapping[str, str]
    numbers: Mapping[str, Number]

    @classmethod
    def read(cls, bounds: Mapping[str, object]) -> _Range:
        if not bounds or any(name not in BOUNDS for name in bounds):
            raise InputError("filter: a range: expected one or more of gte, gt, lte and lt, and nothing else")
        if not all(_is_bound(bound) for bound in bounds.values()):
            raise InputError("filter: a range: expected strings or finite numbers as its bounds")
        strings = {name: bound for name, bound in bounds.items() if isinstance(bound, str)}
        numbers = {name: number for name, bound in bounds.items() if (number := _number(bound)) is not None}
        kinds = [kind for kind in (strings, numbers) if len(kind) == len(bounds)]
        if not kinds:
            raise InputError("filter: a range: expected bounds that are all numbers or all strings")
        return cls(strings if strings in kinds else {}, numbers if numbers in kinds else {})


def _is_bound(bound: object) -> bool:
    finite = not isinstance(bound, float) or math.isfinite(bound)
    return isinstance(bound, (str, int, float)) and not isinstance(bound, bool) and finite


def _number(bound: object) -> Number | None:
    """Return a bound as a number, None where it is none."""
    if not isinstance(bound, str):
        return bound if isinstance(bound, (int, float)) else None
    match = _NUMBER.fullmatch(bound.strip())
    if match is None or len(bound) > _MOST_DIGITS:
        return None
    number = float(bound) if match[1] or match[2] else int(bound)
    return number if math.isfinite(number) else None


def _wanted_texts(values: object) -> list[str]:
    """Return the values that a filter wants of a field, as they are compared."""
    several = list(values) if isinstance(values, (list, tuple, set, frozenset)) else [values]
    texts = [as_text(value) for value in several if isinstance(value, (str, int, float))]
    if len(texts) < len(several):
        raise InputError("filter: expected a string, number, boolean, several of them, or a range")
    return texts


def as_text(value: str | Number) -> str:
    """Return a value as equality compares it: a string as it is, the rest as JSON writes it."""
    if isinstance(value, str):
        return value
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value)
