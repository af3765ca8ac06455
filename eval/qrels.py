"""Judgments: BEIR's three columns with a header, TREC's four without, and pools that were filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain
from pathlib import Path

from .. import DatasetError
from .rows import json_rows, kind, text_lines

Qrels = Mapping[str, Mapping[str, int]]
"""Query id → document id → judgment."""

Judgment = tuple[int, str, str, int]
"""Line, query id, document id and grade."""

HEADER = ("query-id", "corpus-id", "score")


def gather(
    path: Path,
    judgments: Iterable[Judgment],
    query_ids: AbstractSet[str],
    doc_ids: AbstractSet[str],
    alias: Callable[[str], str] = str,
) -> dict[str, dict[str, int]]:
    """Return the `judgments` of the file `path` by query.

    Raises DatasetError for an unknown query or document, and for two grades of one pair. `alias` turns other
    ways to write a query's id into the id.
    """
    qrels: dict[str, dict[str, int]] = {}
    for line, written, doc_id, grade in judgments:
        query_id = written if written in query_ids else alias(written)
        if query_id not in query_ids:
            raise qrels_error(path, line, "query-id", f"expected an id of the queries, got {written[:80]!r}")
        if doc_id not in doc_ids:
            raise qrels_error(path, line, "corpus-id", f"expected an id of the corpus, got {doc_id[:80]!r}")
        before = qrels.setdefault(query_id, {}).setdefault(doc_id, grade)
        if before != grade:
            raise qrels_error(path, line, "score", f"expected {before}, the score that an earlier line gives")
    return qrels


def judgments(path: Path) -> Iterator[Judgment]:
    """Yield the judgments of `path`, plain or .gz, in whichever of the layouts it has."""
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return pool_rows(path)
    lines = text_lines(path)
    first = next(lines, (1, ""))
    whole = chain([first], lines)
    return _tsv(path, whole) if _names(first[1])[:1] == HEADER[:1] else _trec(path, whole)


def beir_rows(path: Path) -> Iterator[Judgment]:
    """Yield the judgments of a file with a header: query-id, corpus-id, score; further columns are passed over.

    With further columns it is a pool to be filled in, where rows without a score are not judged.
    """
    return _tsv(path, text_lines(path))


def pool_rows(path: Path) -> Iterator[Judgment]:
    """Yield the judgments of a pool in JSON Lines; a score of null is no judgment yet."""
    for row in json_rows(path):
        query_id, doc_id = row.identifier("query-id"), row.identifier("corpus-id")
        score = row.data.get("score")
        if score is None:
            continue
        if isinstance(score, bool) or not isinstance(score, int):
            raise row.error("score", f"expected a whole number or null, got {kind(score)}")
        yield row.line, query_id, doc_id, score


def qrels_error(path: Path, line: int, field: str, expected: str) -> DatasetError:
    """Return the error that says what was expected of `field`."""
    return DatasetError(f"{path}:{line}: {field}: {expected}")


def _names(header: str) -> tuple[str, ...]:
    return tuple(name.strip().lower().replace("_", "-") for name in header.split("\t"))


def _tsv(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Judgment]:
    number, header = next(lines, (1, ""))
    names = _names(header)
    if names[:3] != HEADER:
        expected = "expected query-id, corpus-id and score with tabs between"
        raise qrels_error(path, number, "header", f"{expected}, got {header[:80]!r}")
    for number, line in lines:
        columns = line.split("\t")
        if len(columns) != len(names):
            raise qrels_error(path, number, "columns", f"expected {len(names)} with tabs between, got {len(columns)}")
        query_id, doc_id, score = columns[:3]
        if score.strip() or len(names) == len(HEADER):
            yield number, query_id, doc_id, _grade(path, number, score)


def _trec(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Judgment]:
    for number, line in lines:
        columns = line.split()
        if len(columns) != 4:
            expected = "expected 4 (query, iteration, document, grade)"
            raise qrels_error(path, number, "columns", f"{expected}, got {len(columns)}")
        yield number, columns[0], columns[2], _grade(path, number, columns[3])


def _grade(path: Path, line: int, text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text.strip()):
        raise qrels_error(path, line, "score", f"expected a whole number, got {text[:40]!r}")
    return int(text)
