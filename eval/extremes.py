"""The queries that lost and gained most, with what the arm and `none` found for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import QuerywrightError
from ..retrieval.sources import read_source
from .breakdown import Key, QueryRow, by_cell, change
from .rows import find_file, text_lines
from .runs import decode_id, file_name, run_path

SHOWN = 5
"""Queries at either end, and documents of each of their rankings, that are shown."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One document of a ranking; `grade` is its judgment, None where it has none."""

    doc_id: str
    title: str
    grade: int | None


@dataclass(frozen=True, slots=True)
class Example:
    """One query with the first documents of the arm and of `none`; None where the run is not there.

    `missed` are relevant documents that neither shows.
    """

    row: QueryRow
    ours: tuple[Listed, ...] | None
    none: tuple[Listed, ...] | None
    missed: tuple[Listed, ...]


@dataclass(frozen=True, slots=True)
class Extremes:
    """The queries that lost most, worst first, and those that gained most, best first."""

    worst: tuple[Example, ...]
    best: tuple[Example, ...]


def extremes(rows: Iterable[QueryRow], out: Path, folders: Mapping[str, Path]) -> dict[Key, Extremes]:
    """Return the ends of each cell with their rankings, read from the runs and judgments under `out`.

    `folders` are the data sets' folders by name, where titles are read from; a document whose folder is not there
    goes by its id alone. Queries that neither gained nor lost are not shown.
    """
    ends = {key: _ends(of) for key, of in by_cell(rows).items()}
    found: dict[Key, Extremes] = {}
    for dataset in dict.fromkeys(key[0] for key in ends):
        shelf = _Shelf(
            dataset, out, folders.get(dataset), {key: both for key, both in ends.items() if key[0] == dataset}
        )
        for key, (worst, best) in ends.items():
            if key[0] == dataset:
                found[key] = Extremes(shelf.examples(key, worst), shelf.examples(key, best))
    return found


_Ends = tuple[list[QueryRow], list[QueryRow]]


def _ends(rows: Sequence[QueryRow]) -> _Ends:
    ranked = sorted(rows, key=lambda row: (change(row), row["id"]))
    worst = [row for row in ranked[:SHOWN] if change(row) < 0]
    best = sorted(ranked, key=lambda row: (-change(row), row["id"]))[:SHOWN]
    return worst, [row for row in best if change(row) > 0]


class _Shelf:
    """The rankings, judgments and titles that the examples of one data set need, each file read once."""

    def __init__(self, dataset: str, out: Path, folder: Path | None, ends: Mapping[Key, _Ends]) -> None:
        wanted = {key: {row["id"] for row in (*worst, *best)} for key, (worst, best) in ends.items()}
        legs: dict[str, set[str]] = {}
        for (_, _, leg), ids in wanted.items():
            legs.setdefault(leg, set()).update(ids)
        self._ours = {key: _tops(run_path(out, *key), ids) for key, ids in wanted.items()}
        self._none = {leg: _tops(run_path(out, dataset, "none", leg), ids) for leg, ids in legs.items()}
        self._grades = _grades(dataset, out, folder, set().union(*legs.values()))
        shown = (top for tops in (*self._ours.values(), *self._none.values()) for top in (tops or {}).values())
        relevant = ({doc for doc, grade in of.items() if grade > 0} for of in self._grades.values())
        self._titles = _titles(folder, {doc for docs in (*shown, *relevant) for doc in docs})

    def examples(self, key: Key, rows: Iterable[QueryRow]) -> tuple[Example, ...]:
        """Return `rows` of the cell `key` with their rankings."""
        return tuple(self._example(key, row) for row in rows)

    def _example(self, key: Key, row: QueryRow) -> Example:
        grades = self._grades.get(row["id"], {})
        ours, none = self._ours[key], self._none[key[2]]
        tops = [None if run is None else run.get(row["id"], ()) for run in (ours, none)]
        seen = {doc for top in tops for doc in top or ()}
        missed = [doc for doc, grade in grades.items() if grade > 0 and doc not in seen]
        shown = [None if top is None else self._listed(top, grades) for top in tops]
        return Example(row, shown[0], shown[1], self._listed(missed[:SHOWN], grades))

    def _listed(self, docs: Iterable[str], grades: Mapping[str, int]) -> tuple[Listed, ...]:
        return tuple(Listed(doc, self._titles.get(doc, ""), grades.get(doc)) for doc in docs)


def _tops(path: Path, ids: set[str]) -> dict[str, tuple[str, ...]] | None:
    """Return the first documents of the queries `ids` in a run that we wrote; None without the run.

    Runs are written in the order of the ranks, so that the first lines of a query are its first ranks.
    """
    if not path.is_file():
        return None
    tops: dict[str, list[str]] = {}
    for _, line in text_lines(path):
        columns = line.split()
        query_id = decode_id(columns[0])
        if query_id in ids and len(top := tops.setdefault(query_id, [])) < SHOWN:
            top.append(decode_id(columns[2]))
    return {query_id: tuple(top) for query_id, top in tops.items()}


def _grades(dataset: str, out: Path, folder: Path | None, ids: set[str]) -> dict[str, dict[str, int]]:
    """Return the judgments of the queries `ids`: those that the evaluation kept, or else the data set's own."""
    path = out / "qrels" / f"{file_name(dataset)}.tsv"
    if not path.is_file():
        try:
            path = find_file(folder or path, "qrels.tsv", "qrels/test.tsv")
        except QuerywrightError:
            return {}
    grades: dict[str, dict[str, int]] = {}
    for _, line in text_lines(path):
        columns = line.split("\t")
        if len(columns) == 3 and columns[0] in ids:
            grades.setdefault(columns[0], {})[columns[1]] = int(columns[2])
    return grades


def _titles(folder: Path | None, docs: set[str]) -> dict[str, str]:
    """Return what each of `docs` is called: its title, or how its text begins."""
    if folder is None or not folder.is_dir() or not docs:
        return {}
    try:
        return {one.doc_id: _called(one.title or one.text) for one in read_source(folder) if one.doc_id in docs}
    except QuerywrightError:
        return {}  # A data set without a corpus in reach is shown by ids.


def _called(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 90 else f"{words[:89]}…"
