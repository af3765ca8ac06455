"""Topics as TREC publishes them: conversations of CAsT (2019 to 2022) and iKAT, and tab-separated files.

A file of conversations is a JSON list of topics; each has `number`, `turn` (iKAT: `turns`) and, in iKAT, `ptkb`, what
is known about the asker. A turn has `number` (`turn_id`), `raw_utterance` (`utterance`), perhaps a rewrite by hand,
`manual_rewritten_utterance` (`resolved_utterance`), and the system's answer, `passage` or `response`. Of CAsT 2019 the
rewrites lie in a file of their own: id, tab, text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .. import DatasetError, InputError
from ..retrieval.sources import read_lines
from ..rewrite.query import Query, Role, Turn
from .dataset import JudgedQuery, Queries
from .rows import Row, kind, text_lines

_UTTERANCES = ("raw_utterance", "utterance")
_REWRITES = ("manual_rewritten_utterance", "resolved_utterance")
_ANSWERS = ("response", "passage")


class Topics(NamedTuple):
    """Queries, and what turns other ways to write their ids into their ids."""

    queries: Queries
    alias: Callable[[str], str]


def is_topics(path: Path) -> bool:
    """Say whether `path` is named as TREC's topics are, rather than as JSON Lines."""
    return path.name.endswith((".json", ".json.gz", ".tsv", ".tsv.gz"))


def read_topics(path: Path, resolved: Path | None = None) -> Topics:
    """Read topics, plain or .gz; `resolved` is a file of rewrites, which win over those of the topics.

    The query of topic 31's second turn is `31_2`; judgments may write `31-2` too. Raises DatasetError
    "FILE:LINE: FIELD: what was expected"; the line is the one where the topic begins.
    """
    if path.name.endswith((".tsv", ".tsv.gz")):
        queries = {query_id: _plain(query_id, row) for query_id, row in _pairs(path).items()}
    else:
        queries = {judged.id: judged for judged in _conversations(path)}
    golds = {} if resolved is None else _pairs(resolved)
    for query_id, row in golds.items():
        if query_id not in queries:
            raise row.error("id", f"expected an id of the topics, got {query_id[:80]!r}")
        judged = queries[query_id]
        queries[query_id] = JudgedQuery(judged.id, judged.query, row.string("text"), judged.labels, judged.conversation)
    ids = {"-".join(query_id.rsplit("_", 1)): query_id for query_id in queries}
    return Topics(Queries(queries), lambda written: ids.get(written, written))


def _plain(query_id: str, row: Row) -> JudgedQuery:
    return _judged(row, "text", query_id, (), {}, None, query_id.rsplit("_", 1)[0])


def _pairs(path: Path) -> dict[str, Row]:
    """Return the rows of a file of ids and texts with a tab between."""
    rows: dict[str, Row] = {}
    for number, line in text_lines(path):
        columns = line.split("\t")
        row = Row(path, number, dict(zip(("id", "text"), columns, strict=False)))
        if len(columns) != 2:
            raise row.error("columns", f"expected 2 (id and text) with a tab between, got {len(columns)}")
        query_id = row.identifier("id")
        if query_id in rows:
            raise row.error("id", f"expected ids to differ, but line {rows[query_id].line} has {query_id[:80]!r}")
        row.string("text")
        rows[query_id] = row
    if not rows:
        raise DatasetError(f"{path}:1: file: expected at least one topic, but it is empty")
    return rows


@dataclass(frozen=True, slots=True)
class _Topic:
    """What the turns of one conversation have in common."""

    number: str
    profile: Mapping[str, tuple[str, ...]]


def _conversations(path: Path) -> Iterator[JudgedQuery]:
    seen: dict[str, int] = {}
    for row in _list_items(path):
        topic = _Topic(_number(row, "", row.data, "number"), _ptkb(row))
        history: list[Turn] = []
        for judged in _turns(row, topic, history):
            if judged.id in seen:
                before = f"line {seen[judged.id]} has {judged.id[:80]!r} already"
                raise row.error("number", f"expected ids to differ, but {before}")
            seen[judged.id] = row.line
            yield judged
    if not seen:
        raise DatasetError(f"{path}:1: file: expected at least one topic with a turn, but there is none")


def _turns(row: Row, topic: _Topic, history: list[Turn]) -> Iterator[JudgedQuery]:
    key = "turns" if "turns" in row.data else "turn"
    turns = row.data.get(key)
    if not isinstance(turns, list):
        raise row.error(key, f"expected a list of turns, got {kind(turns)}")
    numbers: set[str] = set()
    for place, turn in enumerate(turns):
        field = f"{key}[{place}]"
        if not isinstance(turn, dict):
            raise row.error(field, f"expected an object, got {kind(turn)}")
        inner = Row(row.path, row.line, {f"{field}.{name}": value for name, value in turn.items()})
        utterance = _first(inner, field, _UTTERANCES)
        answer = _first(inner, field, _ANSWERS)
        if utterance is not None:
            number = _number(row, f"{field}.", turn, "turn_id" if "turn_id" in turn else "number")
            if number in numbers:
                raise row.error(f"{field}.number", f"expected numbers to differ, got {number!r} twice")
            numbers.add(number)
            gold = _first(inner, field, _REWRITES)
            text = inner.string(utterance)
            query_id = f"{topic.number}_{number}"
            judged = _judged(
                inner, utterance, query_id, tuple(history), topic.profile, gold and inner.string(gold), topic.number
            )
            history.append(Turn(Role.USER, text))
            yield judged
        elif answer is None:
            raise row.error(
                f"{field}.{_UTTERANCES[0]}", f"expected a string, or under {_UTTERANCES[1]}; both are missing"
            )
        if answer is not None:
            history.append(Turn(Role.ASSISTANT, inner.string(answer)))


def _judged(
    row: Row,
    text: str,
    query_id: str,
    history: tuple[Turn, ...],
    profile: Mapping[str, tuple[str, ...]],
    gold: str | None,
    conversation: str,
) -> JudgedQuery:
    try:
        query = Query(row.string(text), history, profile, id=query_id)
    except DatasetError:
        raise
    except InputError as error:
        raise row.error(text, str(error).removeprefix("query: ")) from error
    return JudgedQuery(query_id, query, gold, {}, conversation)


def _first(row: Row, field: str, names: tuple[str, ...]) -> str | None:
    """Return the first of `names` that the turn has something under."""
    return next((f"{field}.{name}" for name in names if row.data.get(f"{field}.{name}") not in (None, "")), None)


def _number(row: Row, place: str, data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).strip():
        raise row.error(f"{place}{name}", f"expected a number or a string, got {kind(value)}")
    text = str(value).strip()
    if len(text.split()) != 1:
        raise row.error(f"{place}{name}", f"expected no white space, got {text[:40]!r}")
    return text


def _ptkb(row: Row) -> Mapping[str, tuple[str, ...]]:
    """Return what is known about the asker as facts of a profile."""
    known = row.data.get("ptkb")
    if known is None:
        return {}
    if not isinstance(known, (dict, list)):
        raise row.error("ptkb", f"expected an object or a list of statements, got {kind(known)}")
    items = known.items() if isinstance(known, dict) else enumerate(known)
    facts = tuple(row.checked(f"ptkb.{key}", fact) for key, fact in items)
    return {"facts": facts} if facts else {}


def _list_items(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON list, each with the line where it begins."""
    try:
        text = "\n".join(line for _, line in read_lines(path))
    except InputError as error:
        raise DatasetError(str(error)) from error
    decoder = json.JSONDecoder(parse_constant=_refuse)
    at = _blank(text, 0)
    if text[at : at + 1] != "[":
        raise DatasetError(f"{path}:{_line(text, at)}: file: expected a JSON list of topics")
    at = _blank(text, at + 1)
    while text[at : at + 1] != "]":
        line = _line(text, at)
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _not_json(path, text, at, error) from error
        if not isinstance(value, dict):
            raise DatasetError(f"{path}:{line}: topic: expected an object, got {kind(value)}")
        yield Row(path, line, value)
        at = _blank(text, at)
        if text[at : at + 1] == ",":
            at = _blank(text, at + 1)
        elif text[at : at + 1] != "]":
            raise DatasetError(f"{path}:{_line(text, at)}: not JSON: expected a comma or the end of the list")
    at = _blank(text, at + 1)
    if at < len(text):
        raise DatasetError(f"{path}:{_line(text, at)}: not JSON: expected nothing behind the list")


def _not_json(path: Path, text: str, at: int, error: Exception) -> DatasetError:
    line = error.lineno if isinstance(error, json.JSONDecodeError) else _line(text, at)
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return DatasetError(f"{path}:{line}: not JSON: {reason}")


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
