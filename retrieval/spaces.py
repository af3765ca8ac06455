"""The vector spaces of a collection: one encoder a language, and which text belongs to which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .chinese_encoder import CHINESE_ENCODER
from .encoders import MINILM, Encoder, load_encoder

Vector = NDArray[np.float32]

DEFAULT_ENCODER = f"{MINILM}+{CHINESE_ENCODER}"
"""The embedded encoders: English and Chinese."""

_NUMBERLESS = frozenset({CHINESE_ENCODER})
"""Spaces in which a text is a bag of words: which number stands where is lost."""

_WEIGHTS = {CHINESE_ENCODER: 0.33}
"""What lists of a space count beside those by words, where that is less than 1: so that no set loses (docs/log.md)."""


class Spaces:
    """Encoders in order; a text belongs to the space of the first that reads it, to none where none does.

    Vectors of two spaces are never compared.
    """

    def __init__(self, *encoders: Encoder) -> None:
        self._encoders: Mapping[str, Encoder] = {encoder.name: encoder for encoder in encoders}

    def __iter__(self) -> Iterator[str]:
        return iter(self._encoders)

    def __len__(self) -> int:
        return len(self._encoders)

    @property
    def name(self) -> str:
        """Name all encoders: `minilm+hanzi-1`, "" where there are none."""
        return "+".join(self._encoders)

    def earlier(self, name: str, load: Callable[[str], Encoder]) -> Spaces:
        """Return the encoders that `name` names, these ones where they are meant, else those that `load` returns."""
        return Spaces(*(self._encoders.get(one) or load(one) for one in names_of(name)))

    def dimensions(self, space: str) -> int:
        """Say how long the vectors of a space are."""
        return self._encoders[space].dimensions

    def weight(self, space: str) -> float:
        """Return what lists of a space count beside those by words."""
        return _WEIGHTS.get(space, 1.0)

    def reads_numbers(self, space: str) -> bool:
        """Say whether vectors of a space tell which number stands where."""
        return space not in _NUMBERLESS

    def of(self, text: str) -> str | None:
        """Return the space that `text` belongs to."""
        return next((name for name, encoder in self._encoders.items() if encoder.reads(text)), None)

    def encode_documents(self, texts: Sequence[str]) -> list[dict[str, Vector]]:
        """Return for each text its vector by the space it belongs to; nothing for a text that none reads."""
        return self._encode(texts, queries=False)

    def encode_queries(self, texts: Sequence[str]) -> list[dict[str, Vector]]:
        """Return for each query its vector by the space it belongs to; nothing for a text that none reads."""
        return self._encode(texts, queries=True)

    def _encode(self, texts: Sequence[str], *, queries: bool) -> list[dict[str, Vector]]:
        found: list[dict[str, Vector]] = [{} for _ in texts]
        spaces = [self.of(text) for text in texts]
        for name, encoder in self._encoders.items():
            if chosen := [number for number, space in enumerate(spaces) if space == name]:
                encode = encoder.encode_queries if queries else encoder.encode_documents
                for number, vector in zip(chosen, encode([texts[number] for number in chosen]), strict=True):
                    found[number][name] = vector
        return found


def load_spaces(name: str = DEFAULT_ENCODER, load: Callable[[str], Encoder] = load_encoder) -> Spaces:
    """Return the encoders that `name` names, joined by `+`; none for "none". Raises what `load` raises."""
    return Spaces() if name == "none" else Spaces(*map(load, names_of(name)))


def names_of(name: str) -> list[str]:
    """Return the names that are joined by `+`, none in an empty one; a folder may have one in its own."""
    if not name:
        return []
    return [name] if Path(name).expanduser().is_dir() else name.split("+")


def spaces_of(encoder: Encoder | Spaces | None) -> Spaces:
    """Return what a single encoder, or none, is as spaces."""
    if encoder is None or isinstance(encoder, Spaces):
        return encoder or Spaces()
    return Spaces(encoder)
