"""The fusion that suits one collection: learned from labelled queries by cross-validation, kept with the collection."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .. import InputError, StorageError
from .fusion import Method
from .index_files import sync_folder

FILE = "fusion.json"
"""What the file is called in a collection's folder."""

FOLDS = 5
"""Parts of the queries, conversations kept whole, that cross-validation holds out in turn."""

_FORMAT = 1
_TIE = 1e-9
_MOST_BYTES = 100_000

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the lists of both legs are fused; the dense one weighs what the lexical one leaves.

    The defaults are those that did best on public English sets (docs/log.md). Raises InputError for a weight that is
    not between 0 and 1.
    """

    method: Method = Method.THEORETICAL
    lexical_weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.lexical_weight < 1:
            raise InputError(f"lexical_weight: expected more than 0 and less than 1, got {self.lexical_weight}")


CANDIDATES = tuple(Fusion(method, round(weight / 20, 2)) for method, weight in product(Method, range(1, 20)))
"""What is tried: every method with weights from .05 to .95."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What was found on labelled queries.

    `fusion` does best on all of them; `unseen` is each query's value under what does best without its part of the
    conversations, `before` its value under the fusion to be beaten.
    """

    fusion: Fusion
    unseen: Values
    before: Values

    @property
    def holds(self) -> bool:
        """Say whether fitting beats what was set on queries that it had not seen."""
        return bool(self.unseen.mean() > self.before.mean() + _TIE)


def fit(  # all but the first two have defaults
    values: Callable[[Fusion], Values],
    conversations: Sequence[Hashable],
    start: Fusion = Fusion(),
    candidates: Sequence[Fusion] = CANDIDATES,
    folds: int = FOLDS,
    seed: int = 0,
) -> Fitted:
    """Find the fusion with the highest mean of `values`, which returns each query's measure under a fusion.

    Ties go to `start`. Raises InputError for fewer than two conversations.
    """
    names = list(dict.fromkeys(conversations))
    if len(names) < 2:
        raise InputError("fit: expected labelled queries of at least two conversations")
    table = {fusion: values(fusion) for fusion in dict.fromkeys((start, *candidates))}
    folds = min(max(2, folds), len(names))
    order = np.random.default_rng([seed, 5]).permutation(len(names))
    part_of = {names[place]: rank % folds for rank, place in enumerate(order)}
    parts = np.array([part_of[name] for name in conversations])
    unseen = np.zeros(len(parts))
    for fold in range(folds):
        held_out = parts == fold
        unseen[held_out] = table[_best(table, ~held_out)][held_out]
    return Fitted(_best(table, np.ones(len(parts), dtype=np.bool_)), unseen, table[start])


def _best(table: Mapping[Fusion, Values], chosen: NDArray[np.bool_]) -> Fusion:
    """Return the fusion that does best on the `chosen` queries, the first of those that do equally well."""
    best, bar = next(iter(table)), -np.inf
    for fusion, values in table.items():
        reached = float(values[chosen].mean())
        if reached > bar + _TIE:
            best, bar = fusion, reached
    return best


def save_fusion(folder: Path, fusion: Fusion, about: Mapping[str, object] | None = None) -> None:
    """Write a collection's fusion, whole or not at all; `about` says what it was learned from.

    Raises StorageError where it cannot be written.
    """
    row = {"format": _FORMAT, "method": fusion.method, "lexical_weight": fusion.lexical_weight, "about": about or {}}
    path = folder / FILE
    unfinished = path.with_name(f".{FILE}.{secrets.token_hex(8)}")
    try:
        with unfinished.open("xb") as file:
            file.write(orjson.dumps(row, option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def load_fusion(folder: Path) -> Fusion | None:
    """Return the fusion that was fitted for the collection in `folder`, None where none was.

    Raises StorageError where the file cannot be read, or is none of ours.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            row = orjson.loads(file.read(_MOST_BYTES))
        return _read(row)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, InputError) as error:
        raise StorageError(f"{path}: damaged: fit the collection again, or remove the file") from error


def _read(row: Mapping[str, Any]) -> Fusion:
    if row["format"] != _FORMAT:
        raise ValueError("format")
    return Fusion(Method(row["method"]), float(row["lexical_weight"]))
