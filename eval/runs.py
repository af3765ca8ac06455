"""Runs: ranked documents for each query, in memory and as TREC files that every tool reads alike."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from .. import DatasetError, InputError
from .rows import text_lines

DEPTH = 100
"""Documents that a run holds for each query."""

Ranking = Mapping[str, float]
"""Document id → score, in the order of the ranks; the scores fall strictly, also in float32."""

Run = Mapping[str, Ranking]
"""Query id → its ranking."""

_LARGEST = np.float32(3e38)
_SMALLEST_STEP = np.float32(1e-30)
_MAX_FILE_NAME = 255


def decreasing(scores: Iterable[float]) -> list[float]:
    """Return `scores` changed as little as needed to fall strictly with rank and differ in float32.

    Tools break ties differently (trec_eval by document id, others by order), and some compare in single
    precision: scores that already differ there leave nothing to break. The order given is kept, whatever
    the scores say.
    """
    wide = np.nan_to_num(np.fromiter(scores, dtype=np.float64), nan=-np.inf)
    single = np.clip(wide, -_LARGEST, _LARGEST).astype(np.float32)
    # Denormal numbers are read as 0 by code that flushes them, so none are used.
    single[np.abs(single) < _SMALLEST_STEP] = 0
    if not (single[1:] >= single[:-1]).any():
        return [float(score) for score in single]
    fallen: list[float] = []
    above = np.float32(np.inf)
    for score in single:
        here = score
        if here >= above:
            here = min(np.nextafter(above, -np.float32(np.inf)), above - _SMALLEST_STEP)
            here = here if abs(here) >= _SMALLEST_STEP else np.float32(0)
        fallen.append(float(here))
        above = here
    return fallen


def ranking(documents: Iterable[tuple[str, float]], depth: int = DEPTH) -> dict[str, float]:
    """Return the first `depth` documents with falling scores; a document's first place counts.

    >>> ranking([("b", 2.0), ("a", 2.0), ("b", 1.0)])
    {'b': 2.0, 'a': 1.9999998807907104}
    """
    first: dict[str, float] = {}
    for doc_id, score in documents:
        first.setdefault(doc_id, score)
        if len(first) == depth:
            break
    return dict(zip(first, decreasing(first.values()), strict=True))


def file_name(text: str) -> str:
    """Return `text` with all but `[A-Za-z0-9_.+-]` percent-encoded (UTF-8).

    Raises InputError when no file can have so long a name.
    """
    name = quote(text, safe="+").replace("~", "%7E")
    if len(name) > _MAX_FILE_NAME:
        raise InputError(f"{text[:60]}...: too long for a file name; give the file a shorter path")
    return name


def safe_name(text: str) -> str:
    """Return the beginning of `text`, readable and fit for any file system; different texts may become one."""
    return re.sub(r"[^a-z0-9+]+", "-", text.lower()).strip("-")[:40] or "x"


def run_path(out: Path, dataset: str, arm: str, leg: str) -> Path:
    """Return where the run of one arm and leg on one data set lies."""
    return out / "runs" / file_name(dataset) / file_name(f"{arm}.{leg}.trec")


@lru_cache(maxsize=1 << 17)
def encode_id(identifier: str) -> str:
    """Return `identifier` with its white space percent-encoded, since that parts the columns of a run."""
    return re.sub(r"\s", lambda space: quote(space.group()), identifier)


def decode_id(text: str) -> str:
    """Return the id that `encode_id` made `text` of; text that decodes to no white space is an id itself."""
    decoded = unquote(text) if "%" in text else text
    return decoded if re.search(r"\s", decoded) else text


def write_run(path: Path, run: Run, tag: str) -> None:
    """Write `run` in TREC's format, whole or not at all."""
    tag = file_name(tag)
    lines = [
        f"{encoded} Q0 {encode_id(doc_id)} {rank} {score:.9g} {tag}\n"
        for query_id, documents in run.items()
        for encoded in [encode_id(query_id)]
        for rank, (doc_id, score) in enumerate(documents.items(), 1)
    ]
    write_whole(path, "".join(lines).encode())


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read a run in TREC's format, plain or .gz; documents are ordered by their scores, highest first.

    Raises DatasetError "FILE:LINE: FIELD: what was expected".
    """
    found: dict[str, list[tuple[str, float]]] = {}
    for number, line in text_lines(path):
        columns = line.split()
        if len(columns) != 6:
            expected = "expected 6 (query, Q0, document, rank, score, tag)"
            raise DatasetError(f"{path}:{number}: columns: {expected}, got {len(columns)}")
        query_id, doc_id = decode_id(columns[0]), decode_id(columns[2])
        found.setdefault(query_id, []).append((doc_id, _score(path, number, columns[4])))
    return {
        query_id: ranking(sorted(rows, key=lambda row: (-row[1], row[0])), len(rows))
        for query_id, rows in found.items()
    }


def _score(path: Path, line: int, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not np.isfinite(score):
        raise DatasetError(f"{path}:{line}: score: expected a number, got {text[:40]!r}")
    return score


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds all of it or what it held before.

    Raises InputError when the place cannot be written to.
    """
    partial = path.with_name(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
