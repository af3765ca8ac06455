"""What was computed before, kept by a digest of everything that it depends on.

One JSON Lines file a kind of work, a row a query. Rows are appended and synced in small groups, so that whatever
kills an evaluation costs it next to nothing; what a kill left torn, or anything else that is no row, is passed over.
Rows of one key never differ but in their timings, so that two evaluations may write side by side.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from .. import InputError, StorageError, __version__
from ..rewrite.editor import editor_folder
from ..rewrite.editor_weights import DESCRIPTION
from ..rewrite.language import Language
from ..service.settings import Settings
from .runs import safe_name

FOLDER = "eval-cache"
"""Where runs are kept under the home of the collections."""

_FORMAT = 1
_GROUP_SECONDS = 0.1
_ROOT = Path(__file__).parent.parent
_LIBRARIES = (
    "faiss-cpu",
    "faiss-gpu",
    "numpy",
    "onnxruntime",
    "PyStemmer",
    "rjieba",
    "sentence-transformers",
    "tokenizers",
    "torch",
)
_ELSEWHERE = {
    *("home", "catalog", "editor", "llm_prompt", "encoder", "default_collection", "threads", "max_body_mb"),
    *("rewrite_cache", "secret", "clarification_seconds"),
}
"""Settings that change no rewrite, or that enter a key by what they name."""


def digest(value: object) -> str:
    """Return the sha256 of `value` as canonical JSON; dataclasses and datetimes will do."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()


@cache
def code_digest(*places: str, without: tuple[str, ...] = ()) -> str:
    """Return the digest of the package's version and of the source files in `places`: files and folders of it."""
    named = {path.relative_to(_ROOT).as_posix(): path for place in places for path in _sources(_ROOT / place)}
    files = [(name, _file_digest(path)) for name, path in named.items() if name not in without]
    return digest([__version__, files])


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries whose numbers a ranking is made of."""
    return {name: _version(name) for name in _LIBRARIES}


def settings_digest(settings: Settings) -> str:
    """Return the digest of what a rewrite depends on beside its query; files count by what they say."""
    values = {key: value for key, value in settings.model_dump(mode="json").items() if key not in _ELSEWHERE}
    said = [None if path is None else _digest_of_given(path) for path in (settings.catalog, settings.llm_prompt)]
    return digest([values, *said, *_editors(settings.editor)])


def _editors(given: Path | None) -> list[str | None]:
    """Return the digest of each language's editor: its description holds the sums of its other files."""
    paths = [editor_folder(language, given) / DESCRIPTION for language in Language]
    return [_digest_of_given(path) if path.exists() else None for path in paths]


Row = Mapping[str, Any]
"""A row as it is kept; its key stands under `key`."""

_NOTHING: Mapping[str, Any] = {}


class Cache:
    """A folder of shelves; without a folder nothing is kept. What `fresh` finds there is not read, only replaced."""

    def __init__(self, folder: Path | None, *, fresh: bool = False) -> None:
        self._folder = folder
        self.fresh = fresh

    @classmethod
    def at(cls, home: Path, *, fresh: bool = False) -> Cache:
        """Return the cache under the home of the collections."""
        return cls(home / FOLDER, fresh=fresh)

    def shelf(self, group: str, name: str, about: Mapping[str, object]) -> Shelf:
        """Return the rows kept for what `about` says; `group` and `name` make the file easy to find."""
        if self._folder is None:
            return Shelf()
        about = {"format": _FORMAT, **about}
        path = self._folder / safe_name(group) / f"{safe_name(name)}-{digest(about)[:24]}.jsonl"
        return Shelf(path, about, {} if self.fresh else _read(path))


class Shelf:
    """Rows by their keys, on disk soon after they are put: a kill loses a tenth of a second."""

    def __init__(
        self, path: Path | None = None, about: Mapping[str, object] = _NOTHING, rows: Mapping[str, Row] = _NOTHING
    ) -> None:
        self._path = path
        self._about = about
        self._rows = rows
        self._new: list[bytes] = []
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()

    def get(self, key: str) -> Row | None:
        """Return the row kept under `key`, if there is one."""
        return self._rows.get(key)

    def put(self, key: str, row: Mapping[str, object]) -> None:
        """Keep `row`, on disk within the next group."""
        if self._path is None:
            return
        self._new.append(orjson.dumps({"key": key, **row}) + b"\n")
        if time.monotonic() - self._written >= _GROUP_SECONDS:
            self._write()

    def _write(self) -> None:
        """Append the new rows in one call, behind a line end where a kill left half a line, and sync."""
        self._written = time.monotonic()
        if self._path is None or not self._new:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            begun = _head(self._path, self._about)
            with self._path.open("ab", buffering=0) as file:
                file.write(begun + b"".join(self._new))
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror or error}") from error
        self._new.clear()


def _head(path: Path, about: Mapping[str, object]) -> bytes:
    """Return what must stand before the next row of `path`: a line end, or what the file is about."""
    if not path.is_file() or not path.stat().st_size:
        return orjson.dumps({"about": about}, default=str) + b"\n"
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return b"" if file.read(1) == b"\n" else b"\n"


def _read(path: Path) -> dict[str, Row]:
    """Return the rows of `path`; of two with one key the later counts."""
    try:
        lines = path.read_bytes().split(b"\n") if path.is_file() else []
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    rows: dict[str, Row] = {}
    for row in _objects(lines):
        if isinstance(row.get("key"), str):
            rows[row["key"]] = row
    return rows


def _objects(lines: Iterable[bytes]) -> Iterable[Row]:
    for line in lines:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict):
            yield row


def _sources(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    return sorted(path for kind in ("*.py", "prompts/*.toml") for path in place.rglob(kind))


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of_given(path: Path) -> str:
    try:
        return _file_digest(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
