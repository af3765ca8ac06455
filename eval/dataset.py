"""Data sets in the BEIR layout, with a history, a profile, a clock and a gold rewrite for each query."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .. import DatasetError, InputError
from ..rewrite.query import Query, Role, Turn
from .corpus import Corpus
from .qrels import Qrels, beir_rows, gather
from .rows import Row, find_file, json_rows, kind, refuse_twice

Label = str | int | float | bool | tuple[str, ...]
"""A key of a query row that the evaluation itself does not need: a language, a kind of problem."""

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
    """A corpus, the queries with at least one judgment > 0, and their judgments.

    `skipped` counts the other queries; `folder` is where the data set lies. See `specs.load_dataset` for data sets
    in other layouts than BEIR's.
    """

    name: str
    folder: Path
    queries: tuple[JudgedQuery, ...]
    skipped: int
    qrels: Qrels
    corpus: Corpus

    @property
    def documents(self) -> int:
        """Say how many documents the corpus has."""
        return len(self.corpus.ids)

    @property
    def corpus_digest(self) -> str:
        """Return the digest of the corpus, which names the same encodings on every run."""
        return self.corpus.digest

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
        queries = read_queries(queries_file)
        documents = Corpus.of_rows(corpus, folder)
        qrels = gather(qrels_file, beir_rows(qrels_file), queries.ids, documents.ids)
        return cls.judged(folder.name, folder, queries, qrels, documents, qrels_file)

    @classmethod
    def judged(
        cls, name: str, folder: Path, queries: Queries, qrels: Qrels, corpus: Corpus, qrels_file: Path
    ) -> Dataset:
        """Return the data set of the queries that `qrels`, read from `qrels_file`, find a document for.

        Raises DatasetError when there is none, or when one of them is blank.
        """
        judged = {query_id: grades for query_id, grades in qrels.items() if max(grades.values()) > 0}
        if not judged:
            raise DatasetError(f"{qrels_file}:1: score: expected at least one judgment > 0, but there is none")
        for query_id, row in queries.blank.items():
            if query_id in judged:
                row.string("text")  # raises: a judged query must have a text
        found = tuple(query for query_id, query in queries.typed.items() if query_id in judged)
        return cls(name, folder, found, len(queries.ids) - len(judged), judged, corpus)


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries by their ids; `blank` are the rows without a text, which only matter where they are judged."""

    typed: Mapping[str, JudgedQuery]
    blank: Mapping[str, Row] = field(default_factory=dict)

    @property
    def ids(self) -> AbstractSet[str]:
        """Return the ids of all of them."""
        return self.typed.keys() | self.blank.keys()


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


def read_queries(path: Path) -> Queries:
    """Read the queries of a data set in BEIR's layout."""
    typed: dict[str, JudgedQuery] = {}
    blank: dict[str, Row] = {}
    lines: dict[str, int] = {}
    for row in json_rows(path):
        query_id = row.identifier("_id")
        refuse_twice(row, query_id, lines)
        if row.text("text").strip():
            typed[query_id] = judged_query(row, query_id, "text", _OWN_KEYS)
        else:
            blank[query_id] = row
    if not lines:
        raise DatasetError(f"{path}:1: file: expected at least one query, but it is empty")
    return Queries(typed, blank)


def judged_query(row: Row, query_id: str, text: str, own_keys: AbstractSet[str]) -> JudgedQuery:
    """Return the query of `row`, whose text stands under the key `text`; keys beside `own_keys` are its labels."""
    try:
        query = Query(row.string(text), _history(row), _profile(row), _now(row), query_id)
    except DatasetError:
        raise
    except InputError as error:
        # Query names its own field `query`; in the file it may be called otherwise.
        raise DatasetError(f"{row.path}:{row.line}: {re.sub('^query:', f'{text}:', str(error))}") from error
    gold = row.optional_string("rewrite")
    return JudgedQuery(query_id, query, gold, _labels(row, own_keys), conversation_of(query))


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


def _labels(row: Row, own_keys: AbstractSet[str]) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    for key, value in row.data.items():
        if key in own_keys:
            continue
        if isinstance(value, (str, int, float, bool)):
            labels[key] = value
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            labels[key] = tuple(value)
    return labels
