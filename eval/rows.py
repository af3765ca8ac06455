"""Rows of data files, read so that every mistake names its file, line and field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .. import DatasetError, InputError
from ..retrieval.sources import read_jsonl, read_lines

_Line = TypeVar("_Line")


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object of a file, with the place it stands at."""

    path: Path
    line: int
    data: Mapping[str, object]

    def error(self, field: str, expected: str) -> DatasetError:
        """Return the error that says what was expected of `field`."""
        return DatasetError(f"{self.path}:{self.line}: {field}: {expected}")

    def string(self, field: str) -> str:
        """Return the non-blank string under `field`."""
        value = self.text(field)
        if not value.strip():
            raise self.error(field, "expected some text, got only white space")
        return value

    def text(self, field: str) -> str:
        """Return the string under `field`, which may be empty."""
        if field not in self.data:
            raise self.error(field, "expected a string, but the key is missing")
        return self.checked(field, self.data[field])

    def optional_string(self, field: str) -> str | None:
        """Return the non-blank string under `field`, None where the key is absent or null."""
        return None if self.data.get(field) is None else self.string(field)

    def identifier(self, field: str) -> str:
        """Return the id under `field`: any non-empty string without tabs or line ends."""
        value = self.text(field)
        if not value or value.splitlines() != [value] or "\t" in value:
            raise self.error(field, f"expected a non-empty string without tabs or line ends, got {value[:40]!r}")
        return value

    def checked(self, field: str, value: object) -> str:
        """Return `value` when it is a string of valid Unicode without NUL."""
        if not isinstance(value, str):
            raise self.error(field, f"expected a string, got {kind(value)}")
        if "\x00" in value or not _encodes(value):
            raise self.error(field, "expected valid Unicode text, got a lone surrogate or NUL")
        return value


def json_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSONL file, plain or .gz.

    Raises DatasetError that names file and line where a line is no JSON object or not UTF-8.
    """
    for number, data in _dataset_errors(read_jsonl(path)):
        yield Row(path, number, data)


def refuse_twice(row: Row, identifier: str, lines: dict[str, int]) -> None:
    """Note in `lines` that `identifier` stands in `row`; raise DatasetError where an earlier one has it."""
    first = lines.setdefault(identifier, row.line)
    if first != row.line:
        raise row.error("_id", f"expected ids to differ, but line {first} has {identifier[:80]!r} already")


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line numbers (from 1) and lines that are not blank of a text file, plain or .gz.

    Raises DatasetError for what is not UTF-8, a damaged .gz, or a file that cannot be read.
    """
    for number, line in _dataset_errors(read_lines(path)):
        if line.strip():
            yield number, line


def find_file(folder: Path, *names: str) -> Path:
    """Return the first of `names` that is a file of `folder`, plain or with `.gz` behind it.

    Raises DatasetError when there is none.
    """
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise DatasetError(f"{folder}: {names[0]}: expected {' or '.join(names)} (plain or .gz), but there is none")


def _encodes(text: str) -> bool:
    """Say whether `text` is valid Unicode: lone surrogates cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind(value: object) -> str:
    """Return JSON's word for the type of `value`."""
    if value is None:
        return "null"
    words = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return words.get(type(value), "an object")


def _dataset_errors(lines: Iterator[_Line]) -> Iterator[_Line]:
    """Yield `lines`; what is wrong with them is wrong with a data set."""
    try:
        yield from lines
    except InputError as error:
        raise DatasetError(str(error)) from error
