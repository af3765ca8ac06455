"""The line that each key, table and element of a TOML text stands on, which tomllib does not tell."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from contextlib import suppress

_PIECE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # the longest run of quotes closes: up to two of them belong to the text
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}=,\n]"
    r"|\."
    r"|[^\s\[\]{}=,.\"'#]+",
    re.DOTALL,
)
Steps = tuple[str | int, ...]


def toml_lines(text: str) -> Mapping[tuple[str | int, ...], int]:
    """Return the line of each part of `text`, by the keys and indexes that lead to it; `text` must be valid TOML."""
    scanner = _Scanner(text)
    with suppress(RecursionError):  # what nests as deep as tomllib just takes: the lines so far must do
        scanner.scan()
    return scanner.lines


class _Scanner:
    """Walks over the pieces of a valid text; nothing is checked again."""

    def __init__(self, text: str) -> None:
        self.pieces = [(match[0], match.start()) for match in _PIECE.finditer(text) if not match[0].startswith("#")]
        self.ends = [match.start() for match in re.finditer("\n", text)]
        self.at = 0
        self.lines: dict[Steps, int] = {}
        self.counts: dict[Steps, int] = {}

    def scan(self) -> None:
        table: Steps = ()
        while piece := self.peek():
            if piece == "\n":
                self.next()
            elif piece == "[":
                table = self.header()
            else:
                self.pair(table)

    @property
    def line(self) -> int:
        """The line of the next piece."""
        return bisect_left(self.ends, self.pieces[self.at][1]) + 1

    def peek(self) -> str:
        return self.pieces[self.at][0] if self.at < len(self.pieces) else ""

    def next(self) -> str:
        self.at += 1
        return self.pieces[self.at - 1][0]

    def header(self) -> Steps:
        """Take [a.b] or [[a.b]]; one inside an array of tables belongs to its latest element."""
        line = self.line
        self.next()
        array = self.peek() == "["
        if array:
            self.next()
        *outer, name = self.keys("]")
        path: Steps = ()
        for key in outer:
            path = self.latest((*path, key))
        path = (*path, name)
        self.lines.setdefault(path, line)
        if array:
            self.next()
            self.counts[path] = self.counts.get(path, 0) + 1
            path = self.latest(path)
            self.lines[path] = line
        return path

    def latest(self, path: Steps) -> Steps:
        return (*path, self.counts[path] - 1) if path in self.counts else path

    def keys(self, end: str) -> list[str]:
        """Take the parts of a dotted key, and the `end` behind them."""
        keys = []
        while (piece := self.next()) != end:
            if piece != ".":
                keys.append(str(tomllib.loads(f"key = {piece}")["key"]) if piece[0] in "\"'" else piece)
        return keys

    def pair(self, path: Steps) -> None:
        line = self.line
        for key in self.keys("="):
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.value(path)

    def value(self, path: Steps) -> None:
        piece = self.next()
        if piece == "[":
            self.array(path)
        elif piece == "{":
            while self.skipped_to() != "}":
                self.pair(path)
            self.next()
        else:
            while self.peek() not in {"", "\n", ",", "]", "}"}:  # 1.5 and 2024-07-15 10:00 are several pieces
                self.next()

    def array(self, path: Steps) -> None:
        index = 0
        while self.skipped_to() != "]":
            self.lines[*path, index] = self.line
            self.value((*path, index))
            index += 1
        self.next()

    def skipped_to(self) -> str:
        """Skip commas and line ends, and return what comes."""
        while self.peek() in {",", "\n"}:
            self.next()
        return self.peek()
