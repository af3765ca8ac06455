"""Phrases found in a text, in time that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
_BEGINNING = 2


class Phrases(Generic[Item]):
    """Phrases, each with what it stands for, to loop over; several pairs may share a phrase, none is empty."""

    def __init__(self, pairs: Iterable[tuple[str, Item]]) -> None:
        found: dict[str, list[Item]] = {}
        for phrase, item in pairs:
            items = found.setdefault(phrase, [])
            if not items or item not in items:
                items.append(item)
        self._items = {phrase: tuple(items) for phrase, items in found.items()}
        lengths: dict[str, set[int]] = {}
        for phrase in self._items:
            lengths.setdefault(phrase[:_BEGINNING], set()).add(len(phrase))
        # By two characters: by one, every length that any name has would be tried at nearly every place.
        self._lengths = {beginning: tuple(sorted(each, reverse=True)) for beginning, each in lengths.items()}

    def get(self, phrase: str) -> tuple[Item, ...]:
        """Return what `phrase` stands for, nothing if it is none."""
        return self._items.get(phrase, ())

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def at(self, text: str, start: int) -> Iterator[tuple[int, tuple[Item, ...]]]:
        """Yield the end and the items of each phrase that stands at `start`, the longest first."""
        for length in self._lengths.get(text[start : start + _BEGINNING], ()):
            items = self._items.get(text[start : start + length])
            if items and start + length <= len(text):
                yield start + length, items
        single = self._items.get(text[start : start + 1])
        if single and start + _BEGINNING <= len(text):
            yield start + 1, single
