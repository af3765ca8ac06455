"""A collection's own catalog: one file beside its documents, as it was written, with a version."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .. import CatalogError, ConflictError, InputError, StorageError
from ..retrieval.home import check_name
from ..retrieval.restoring import alone, settle
from ..rewrite.catalog import Catalog
from ..rewrite.catalog_formats import Format, format_of
from .files import file_errors, replacing

EARLIER = "catalogs"
"""The folder in a collection's that holds its earlier catalogs, named by their versions."""

KEPT = 10
"""So many of them stay."""

MEDIA_TYPES: dict[str, str] = {Format.TOML: "application/toml", Format.YAML: "application/yaml", Format.CSV: "text/csv"}
"""What a catalog of each format is called over HTTP."""


@dataclass(frozen=True, slots=True)
class StoredCatalog:
    """A collection's catalog as it was written; `version` has 16 hex digits and changes with the text."""

    text: str
    format: str
    version: str


@dataclass(frozen=True, slots=True)
class CatalogInfo:
    """A catalog's version and how much it holds."""

    version: str
    entities: int
    dimensions: int
    intents: int

    @classmethod
    def of(cls, catalog: Catalog) -> CatalogInfo:
        """Describe `catalog`."""
        return cls(catalog.version, len(catalog.entities), len(catalog.dimensions), len(catalog.intents))


class Catalogs:
    """The catalogs of the collections in one home; safe to use from several threads.

    A file changed by hand is read anew like one that was put. Raises StorageError where files cannot be read or
    written, CatalogError where one is not a catalog.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._locks: dict[str, threading.Lock] = {}

    def load(self, collection: str) -> Catalog | None:
        """Return the catalog of `collection`, read once as long as its file stays the same; None if it has none."""
        with self._alone(collection):
            path = self.path(collection)
            if path is None:
                return None
            with _file_errors(path):
                found = path.stat()
            return _loaded(path, (found.st_mtime_ns, found.st_ino, found.st_size))

    def read(self, collection: str) -> StoredCatalog | None:
        """Return the catalog of `collection` as it was written; None if it has none."""
        with self._alone(collection):
            return _stored(self.path(collection))

    def path(self, collection: str) -> Path | None:
        """Return the file that holds the catalog of `collection`; None if it has none."""
        found = self._files(collection)
        return found[-1] if found else None

    def put(self, collection: str, text: str, format: str, expected: str | None = None) -> CatalogInfo:  # noqa: A002
        """Check `text` and put it in place; when this returns it is on disk, and the next query uses it.

        Raises CatalogError with the line and entry that is wrong, before anything is written; ConflictError where
        `expected` is given and not the version of the catalog in place.
        """
        kind, data = check_format(format), catalog_bytes(text)
        catalog = Catalog.loads(text, kind, f"catalog.{kind}")
        check_version(expected)
        with self._changing(collection):
            before = self.path(collection)
            _check_expected(before, expected)
            self._keep(before)
            target = self._home / check_name(collection) / f"catalog.{kind}"
            with _file_errors(target), replacing(target) as file:
                file.write(data)
            self._drop_all_but(collection, target)
        return CatalogInfo.of(catalog)

    def delete(self, collection: str) -> bool:
        """Delete the catalog of `collection`; return whether there was one."""
        if not (self._home / check_name(collection)).is_dir():
            return False
        with self._changing(collection):
            before = self.path(collection)
            self._keep(before)
            self._drop_all_but(collection, None)
        return before is not None

    def _files(self, collection: str) -> list[Path]:
        """Return the catalog files of `collection`, the one in force last.

        There is one, or after a write in another format was cut off two, of which the later counts.
        """
        found = []
        for kind in Format:
            path = self._home / check_name(collection) / f"catalog.{kind}"
            try:
                found.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
        return [path for _, path in sorted(found)]

    def _drop_all_but(self, collection: str, target: Path | None) -> None:
        for path in self._files(collection):
            if path != target:
                with _file_errors(path):
                    path.unlink(missing_ok=True)

    def _keep(self, path: Path | None) -> None:
        """Put a catalog that is about to go among the earlier ones, of which the oldest make room."""
        stored = _stored(path)
        if path is None or stored is None:
            return
        folder = path.with_name(EARLIER)
        with _file_errors(folder):
            folder.mkdir(exist_ok=True)
            with replacing(folder / f"{stored.version}{path.suffix}") as file:
                file.write(stored.text.encode())
            kept = sorted((one.stat().st_mtime_ns, one) for one in folder.iterdir())
            for _, oldest in kept[:-KEPT]:
                oldest.unlink(missing_ok=True)

    @contextmanager
    def _alone(self, collection: str) -> Iterator[None]:
        settle(self._home / check_name(collection))
        with self._locks.setdefault(collection, threading.Lock()):
            yield

    @contextmanager
    def _changing(self, collection: str) -> Iterator[None]:
        """Let no backup begin and nothing be restored meanwhile, in whatever process."""
        with alone(self._home / check_name(collection)), self._alone(collection):
            yield


def check_format(name: str) -> Format:
    """Return the format called `name`; raises InputError for another."""
    try:
        return Format(name)
    except ValueError as error:
        raise InputError(f"format: expected one of {', '.join(Format)}") from error


def catalog_bytes(text: str) -> bytes:
    """Return a catalog's text as it is stored and sent; raises InputError unless it is Unicode text."""
    try:
        return text.encode()
    except (AttributeError, UnicodeEncodeError) as error:
        raise InputError("catalog: expected Unicode text, without lone surrogates") from error


def read_catalog(path: Path) -> StoredCatalog:
    """Read a catalog's file and check it. Raises CatalogError that names the file, line and entry."""
    Catalog.load(path)
    return _read(path)


def check_version(version: str | None) -> None:
    """Raise InputError unless `version` is None or looks like one."""
    if version is not None and not (isinstance(version, str) and re.fullmatch("[0-9a-f]{16}", version)):
        raise InputError("expected version: 16 hex digits, as a catalog's version has")


def _check_expected(path: Path | None, expected: str | None) -> None:
    stored = _stored(path) if expected is not None else None
    if expected is not None and (stored is None or stored.version != expected):
        now = "there is none" if stored is None else f"it is at version {stored.version}"
        raise ConflictError(f"catalog: {now} now, not at {expected}: read it again and change that")


def _stored(path: Path | None) -> StoredCatalog | None:
    return None if path is None else _read(path)


def _read(path: Path) -> StoredCatalog:
    with _file_errors(path):
        text = path.read_bytes().decode("utf-8-sig")
    return StoredCatalog(text, format_of(path.name), version_of(text))


def version_of(text: str) -> str:
    """Return the version of a catalog's text: 16 hex digits that change with it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=64)
def _loaded(path: Path, _signature: tuple[int, int, int]) -> Catalog:
    return Catalog.load(path)


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        with file_errors(path):
            yield
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path}: byte {error.start}: expected UTF-8 text") from error
