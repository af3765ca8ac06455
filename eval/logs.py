"""Own logs: queries with the documents that were clicked, or judged."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

import orjson

from .. import DatasetError
from .dataset import JudgedQuery, judged_query
from .rows import Row, json_rows, kind

_OWN_KEYS = frozenset({"id", "query", "history", "profile", "now", "rewrite", "clicked", "judged", "conversation"})


def read_logs(path: Path, doc_ids: AbstractSet[str]) -> tuple[dict[str, JudgedQuery], dict[str, dict[str, int]]]:
    """Return the queries of a log in JSON Lines, and the judgments that follow from what was clicked or judged.

    Each row is {"query", "clicked": [document ids] | "judged": {document id: grade}} and may have "id", "history",
    "profile", "now", "rewrite" and "conversation", as the queries of a data set. A click is a judgment of 1. Rows
    without an id that ask the same in the same conversation are one query, named after the first one's line; its
    documents are those of all of them, with the highest grade given. Raises DatasetError that names file, line and
    field.
    """
    queries: dict[str, JudgedQuery] = {}
    qrels: dict[str, dict[str, int]] = {}
    named: dict[str, int] = {}
    asked: dict[bytes, str] = {}
    for row in json_rows(path):
        query_id = _identity(row, named, asked)
        if query_id not in queries:
            queries[query_id] = _query(row, query_id)
        for doc_id, grade in _grades(row).items():
            if doc_id not in doc_ids:
                raise row.error("clicked" if "clicked" in row.data else "judged", _unknown(doc_id))
            grades = qrels.setdefault(query_id, {})
            grades[doc_id] = max(grade, grades.get(doc_id, grade))
    if not queries:
        raise DatasetError(f"{path}:1: file: expected at least one query, but it is empty")
    return queries, qrels


def _identity(row: Row, named: dict[str, int], asked: dict[bytes, str]) -> str:
    """Return the id of the row's query: its own, or the line of the first row that asks just so."""
    if row.data.get("id") is not None:
        query_id = row.identifier("id")
        first = named.setdefault(query_id, row.line)
        if first != row.line:
            raise row.error("id", f"expected ids to differ, but line {first} has {query_id[:80]!r} already")
        return query_id
    said = [row.data.get(key) for key in ("query", "history", "profile", "now", "conversation")]
    query_id = asked.setdefault(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), f"line-{row.line}")
    if query_id in named:
        raise row.error("id", f"expected an id, since line {named[query_id]} took {query_id!r}")
    return query_id


def _query(row: Row, query_id: str) -> JudgedQuery:
    judged = judged_query(row, query_id, "query", _OWN_KEYS)
    conversation = row.optional_string("conversation")
    return judged if conversation is None else replace(judged, conversation=conversation)


def _grades(row: Row) -> Mapping[str, int]:
    clicked, judged = row.data.get("clicked"), row.data.get("judged")
    if (clicked is None) == (judged is None):
        raise row.error("clicked", 'expected either "clicked": [document ids] or "judged": {document id: grade}')
    if clicked is not None:
        if not isinstance(clicked, list):
            raise row.error("clicked", f"expected a list of document ids, got {kind(clicked)}")
        return {row.checked(f"clicked[{place}]", doc_id): 1 for place, doc_id in enumerate(clicked)}
    if not isinstance(judged, dict):
        raise row.error("judged", f"expected an object of document ids and grades, got {kind(judged)}")
    return {str(doc_id): _grade(row, str(doc_id), grade) for doc_id, grade in judged.items()}


def _grade(row: Row, doc_id: str, grade: object) -> int:
    if isinstance(grade, bool) or not isinstance(grade, int):
        raise row.error(f"judged.{doc_id[:40]}", f"expected a whole number, got {kind(grade)}")
    return grade


def _unknown(doc_id: str) -> str:
    return f"expected ids of the corpus, got {doc_id[:80]!r}"
