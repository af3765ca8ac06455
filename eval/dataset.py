"""Data sets in the BEIR layout, with a history, a profile, a clock and a gold rewrite for each query."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .. import DatasetError, InputError
from ..retrieval.passage import check_doc_id
from ..rewrite.query import Query, Role, Turn
from .rows import Row, find_file, json_rows, kind, text_lines

Qrels = Mapping[str, Mapping[str, int]]
"""Query id → document id → judgment."""

Label = str | int | float | bool | tuple[str, ...]
"""A key of a query row that the evaluation itself does not need: a language, a kind of problem."""

QRELS_HEADER = ("query-id", "corpus-id", "score")

_OWN_KEYS = frozenset({"_id", "text", "history", "profile", "now", "rewrite"})
_ROLES = {str(role): role for role in Role}


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query that is evaluated; `gold` is the data set's own rewrite of it, if it has one."""

    id: str
    query: Query
    gold: str | None
    labels: Mapping[str, Label]
    conversation: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus on disk, the queries with at least one judgment > 0, and their judgments.

    `skipped` counts the other queries, `documents` the rows of the corpus; `corpus_digest` is the
    sha256 of the corpus file, which names the same encodings on every run.
    """

    name: str
    folder: Path
    queries: tuple[JudgedQuery, ...]
    skipped: int
    qrels: Qrels
    documents: int
    corpus_digest: str

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """Read and check the data set in `folder`: corpus.jsonl, queries.jsonl and qrels.tsv, plain or .gz.

        Raises DatasetError "FILE:LINE: FIELD: what was expected" at the first mistake.
        """
        folder = Path(folder).resolve()
        if not folder.is_dir():
            raise DatasetError(f"{folder}: folder: expected the folder of a data set, but there is none")
        corpus = find_file(folder, "corpus.jsonl")
        queries_file = find_file(folder, "queries.jsonl")
        qrels_file = find_file(folder, "qrels.tsv", "qrels/test.tsv")
        queries, blank = _read_queries(queries_file)
        doc_ids = _read_doc_ids(corpus)
        qrels = _read_qrels(qrels_file, queries.keys() | blank.keys(), doc_ids)
        judged = {query_id: grades for query_id, grades in qrels.items() if max(grades.values()) > 0}
        if not judged:
            raise DatasetError(f"{qrels_file}:1: score: expected at least one judgment > 0, but there is none")
        for query_id, row in blank.items():
            if query_id in judged:
                row.string("text")  # raises: a judged query must have a text
        return cls(
            name=folder.name,
            folder=folder,
            queries=tuple(queries[query_id] for query_id in queries if query_id in judged),
            skipped=len(queries) + len(blank) - len(judged),
            qrels=judged,
            documents=len(doc_ids),
            corpus_digest=_digest(corpus),
        )


def conversation_of(query: Query) -> str:
    """Return the conversation that `query` belongs to, which statistics resample as one.

    It is the part of the id before `<::>` where the id has one (MTRAG's habit); otherwise the digest of
    the conversation's first turn, which for a query without a history is the query itself: so a first
    turn falls in with its follow-ups.
    """
    head, separator, _ = (query.id or "").partition("<::>")
    if separator and head:
        return head
    first = query.history[0].text if query.history else query.query
    return hashlib.sha256(first.strip().encode()).hexdigest()[:16]


def _read_queries(path: Path) -> tuple[dict[str, JudgedQuery], dict[str, Row]]:
    """Return the queries, and apart from them the rows with a blank text, which only matter where judged."""
    queries: dict[str, JudgedQuery] = {}
    blank: dict[str, Row] = {}
    lines: dict[str, int] = {}
    for row in json_rows(path):
        query_id = row.identifier("_id")
        _refuse_twice(row, query_id, lines)
        if row.text("text").strip():
            queries[query_id] = _judged_query(row, query_id)
        else:
            blank[query_id] = row
    if not lines:
        raise DatasetError(f"{path}:1: file: expected at least one query, but it is empty")
    return queries, blank


def _judged_query(row: Row, query_id: str) -> JudgedQuery:
    try:
        query = Query(row.string("text"), _history(row), _profile(row), _now(row), query_id)
    except DatasetError:
        raise
    except InputError as error:
        # Query names its own field `query`; in the file it is called `text`.
        raise DatasetError(f"{row.path}:{row.line}: {re.sub('^query:', 'text:', str(error))}") from error
    gold = row.optional_string("rewrite")
    return JudgedQuery(query_id, query, gold, _labels(row), conversation_of(query))


def _history(row: Row) -> tuple[Turn, ...]:
    turns = row.data.get("history")
    if turns is None:
        return ()
    if not isinstance(turns, list):
        raise row.error("history", f"expected a list of turns, oldest first, got {kind(turns)}")
    return tuple(_turn(row, f"history[{place}]", turn) for place, turn in enumerate(turns))


def _turn(row: Row, field: str, turn: object) -> Turn:
    if not isinstance(turn, dict):
        raise row.error(field, f'expected {{"role": ..., "text": ...}}, got {kind(turn)}')
    role = turn.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise row.error(f"{field}.role", f'expected "user" or "assistant", got {role!r:.60}')
    if "text" not in turn:
        raise row.error(f"{field}.text", "expected a string, but the key is missing")
    return Turn(_ROLES[role], row.checked(f"{field}.text", turn["text"]))


def _profile(row: Row) -> dict[str, str | tuple[str, ...]]:
    profile = row.data.get("profile")
    if profile is None:
        return {}
    if not isinstance(profile, dict):
        raise row.error("profile", f"expected an object of strings and lists of strings, got {kind(profile)}")
    return {str(key): _profile_value(row, f"profile.{key}", value) for key, value in profile.items()}


def _profile_value(row: Row, field: str, value: object) -> str | tuple[str, ...]:
    if isinstance(value, list):
        return tuple(row.checked(f"{field}[{place}]", item) for place, item in enumerate(value))
    if not isinstance(value, str):
        raise row.error(field, f"expected a string or a list of strings, got {kind(value)}")
    return row.checked(field, value)


def _now(row: Row) -> datetime | None:
    text = row.optional_string("now")
    if text is None:
        return None
    try:
        now = datetime.fromisoformat(text)
    except ValueError:
        now = None
    if now is None or now.utcoffset() is None:
        expected = "expected ISO 8601 with an offset, e.g. 2024-07-15T09:00:00+08:00"
        raise row.error("now", f"{expected}, got {text[:40]!r}")
    return now


def _labels(row: Row) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    for key, value in row.data.items():
        if key in _OWN_KEYS:
            continue
        if isinstance(value, (str, int, float, bool)):
            labels[key] = value
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            labels[key] = tuple(value)
    return labels


def _read_doc_ids(path: Path) -> frozenset[str]:
    lines: dict[str, int] = {}
    for row in json_rows(path):
        doc_id = row.identifier("_id")
        try:
            check_doc_id(doc_id)
        except InputError as error:
            raise row.error("_id", str(error)) from error
        _refuse_twice(row, doc_id, lines)
        row.text("text")
        if row.data.get("title") is not None:
            row.text("title")
    if not lines:
        raise DatasetError(f"{path}:1: file: expected at least one document, but it is empty")
    return frozenset(lines)


def _refuse_twice(row: Row, identifier: str, lines: dict[str, int]) -> None:
    first = lines.setdefault(identifier, row.line)
    if first != row.line:
        raise row.error("_id", f"expected ids to differ, but line {first} has {identifier[:80]!r} already")


def _read_qrels(path: Path, query_ids: AbstractSet[str], doc_ids: frozenset[str]) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for line, query_id, doc_id, grade in _qrels_rows(path):
        if query_id not in query_ids:
            raise _qrels_error(path, line, "query-id", f"expected an id of the queries, got {query_id[:80]!r}")
        if doc_id not in doc_ids:
            raise _qrels_error(path, line, "corpus-id", f"expected an id of the corpus, got {doc_id[:80]!r}")
        before = qrels.setdefault(query_id, {}).setdefault(doc_id, grade)
        if before != grade:
            raise _qrels_error(path, line, "score", f"expected {before}, the score that an earlier line gives")
    return qrels


def _qrels_rows(path: Path) -> Iterator[tuple[int, str, str, int]]:
    lines = text_lines(path)
    number, header = next(lines, (1, ""))
    if tuple(name.strip().lower().replace("_", "-") for name in header.split("\t")) != QRELS_HEADER:
        expected = "expected query-id, corpus-id and score with tabs between"
        raise _qrels_error(path, number, "header", f"{expected}, got {header[:80]!r}")
    for number, line in lines:
        columns = line.split("\t")
        if len(columns) != len(QRELS_HEADER):
            raise _qrels_error(path, number, "columns", f"expected 3 with tabs between, got {len(columns)}")
        query_id, doc_id, score = columns
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", score.strip()):
            raise _qrels_error(path, number, "score", f"expected a whole number, got {score[:40]!r}")
        yield number, query_id, doc_id, int(score)


def _qrels_error(path: Path, line: int, field: str, expected: str) -> DatasetError:
    return DatasetError(f"{path}:{line}: {field}: {expected}")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
