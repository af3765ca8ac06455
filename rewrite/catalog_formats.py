"""A catalog's text as one table, from TOML, YAML or CSV, with the line that each part of it stands on."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import PurePath
from typing import Any

from .. import CatalogError
from .toml_lines import toml_lines
from .yaml_table import YamlError, yaml_table

Steps = tuple[str | int, ...]
"""How to get to a part of a table: `("entities", 3, "aliases")`."""

_COLUMNS = ("id", "type", "name", "name_zh", "name_en", "aliases", "cues", "fiscal_year_start")
_LISTS = {"aliases", "cues"}
_SEPARATOR = "|"


class Format(StrEnum):
    """How a catalog is written."""

    TOML = "toml"
    YAML = "yaml"
    CSV = "csv"


@dataclass(frozen=True)
class Table:
    """What a catalog's text holds, not checked yet; `lines` finds out where each part stands, if anybody asks."""

    file: str
    data: Any
    lines: Callable[[], Mapping[Steps, int]]

    @cached_property
    def _lines(self) -> Mapping[Steps, int]:
        return self.lines()

    def line(self, steps: Steps) -> int:
        """Return the line of the part at `steps`, else of the innermost part around it that has one."""
        return next((self._lines[steps[:n]] for n in range(len(steps), -1, -1) if steps[:n] in self._lines), 1)


def format_of(file: str) -> str:
    """Return the format that a file's name ends on, `yml` being YAML; what it ends on if that is none."""
    suffix = PurePath(file).suffix.lower().removeprefix(".")
    return Format.YAML if suffix == "yml" else suffix


def parse(text: str | bytes, format: str, file: str) -> Table:  # noqa: A002 # what it is called everywhere
    """Read a catalog's text; messages call it `file`. Raises CatalogError that names the file and the line."""
    if format not in set(Format):
        raise CatalogError(f"{file}: expected a catalog in {', '.join(Format)}, got {format!r}")
    readers = {Format.TOML: _toml, Format.YAML: _yaml, Format.CSV: _csv}
    return readers[Format(format)](_decoded(text, file), file)


def _decoded(text: str | bytes, file: str) -> str:
    try:
        data = text.encode() if isinstance(text, str) else text
        return data.decode("utf-8-sig")
    except UnicodeEncodeError as error:
        raise CatalogError(f"{file}: expected Unicode text, without lone surrogates") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CatalogError(f"{file}:{line}: byte {error.start}: expected UTF-8 text") from error


def _toml(text: str, file: str) -> Table:
    try:
        return Table(file, tomllib.loads(text), lambda: toml_lines(text))
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{file}:{_line_told(str(error), text)}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise CatalogError(f"{file}: not valid TOML: nested too deeply") from error


def _line_told(message: str, text: str) -> int:
    """Return the line that tomllib's message ends on: "(at line 3, column 1)" or "(at end of document)"."""
    told = message.rpartition("(at line ")[2].partition(",")[0]
    return int(told) if told.isdecimal() else text.count("\n") + 1


def _yaml(text: str, file: str) -> Table:
    try:
        data, lines = yaml_table(text)
    except YamlError as error:
        raise CatalogError(f"{file}:{error.line}: not valid YAML: {error}") from error
    return Table(file, data, lambda: lines)


# --------------------------------------------------------------------------------------------- CSV


def _csv(text: str, file: str) -> Table:
    """Read a table of entities; the catalog is called like the file."""
    lines: dict[Steps, int] = {}
    entities: list[dict[str, Any]] = []
    for line, row in _csv_rows(text, file):
        lines["entities", len(entities)] = line
        entities.append(row)
    return Table(file, {"name": PurePath(file).stem, "entities": entities}, lambda: lines)


def _csv_rows(text: str, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    line = 1
    try:
        for cells in reader:
            if not columns:
                columns = _csv_columns(cells, f"{file}:{line}")
            elif any(cell.strip() for cell in cells):
                if len(cells) > len(columns):
                    raise CatalogError(f"{file}:{line}: expected {len(columns)} cells as above, got {len(cells)}")
                yield line, _csv_entity(dict(zip(columns, cells, strict=False)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise CatalogError(f"{file}:{line}: not valid CSV: {error}") from error
    if not columns:
        raise CatalogError(f"{file}:1: expected a line with the names of the columns: {', '.join(_COLUMNS)}")


def _csv_columns(cells: list[str], where: str) -> list[str]:
    columns = [cell.strip() for cell in cells]
    for column in columns:
        if column not in _COLUMNS:
            raise CatalogError(f"{where}: unknown column {column!r}; known are {', '.join(_COLUMNS)}")
        if columns.count(column) > 1:
            raise CatalogError(f"{where}: column {column!r} stands there twice")
    if {"name", "name_zh"} <= set(columns) or {"name", "name_en"} <= set(columns):
        raise CatalogError(f"{where}: expected a column name, or name_zh and name_en, not both")
    return columns


def _csv_entity(cells: Mapping[str, str]) -> dict[str, Any]:
    """Return a row as the other formats have it; an empty cell says nothing."""
    said = {column: cell.strip() for column, cell in cells.items() if cell.strip()}
    row: dict[str, Any] = {key: said[key] for key in ("id", "type", "name", "fiscal_year_start") if key in said}
    names = {key.removeprefix("name_"): said[key] for key in ("name_zh", "name_en") if key in said}
    lists = {key: [part.strip() for part in said[key].split(_SEPARATOR)] for key in _LISTS & said.keys()}
    return {**row, **({"name": names} if names else {}), **lists}
