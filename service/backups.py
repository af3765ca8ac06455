"""Backups of collections: documents, catalog and fusion in one file, made and restored while services run."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import CatalogError, ConflictError, InputError, NotFoundError, QuerywrightError, StorageError, __version__
from ..retrieval.archive import Archive, write_archive
from ..retrieval.backup import StoreState, check_store, copy_store, damage_of, renumber, state_of
from ..retrieval.fitting import FILE as FUSION
from ..retrieval.fitting import load_fusion
from ..retrieval.home import Collections, check_name
from ..retrieval.index_files import sync_folder
from ..retrieval.restoring import alone, put_in_place, scratch, sync_tree
from ..retrieval.store import STORE_FILE, Store, UnreadableError
from ..rewrite.catalog import Catalog
from ..rewrite.catalog_formats import Format
from .catalogs import EARLIER, Catalogs

FORMAT = 1
"""The version of the file; a newer one is refused. The documents in it have a version of their own."""

_CATALOGS = tuple(f"catalog.{kind}" for kind in Format)
_SUFFIXES = "|".join(Format)
_EARLIER = rf"{EARLIER}/[0-9a-f]{{16}}\.({_SUFFIXES})"
_ALLOWED = re.compile(rf"{re.escape(STORE_FILE)}|{re.escape(FUSION)}|catalog\.({_SUFFIXES})|{_EARLIER}")
"""The names that files in a backup may have."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds: of which collection, when and by which version it was made, and the state it shows."""

    collection: str
    created: str
    version: str
    generation: int
    documents: int


class Backups:
    """Makes and restores backups of the collections in one home."""

    def __init__(self, home: Path, collections: Collections, catalogs: Catalogs) -> None:
        self._home = home
        self._collections = collections
        self._catalogs = catalogs

    def make(self, collection: str, path: Path) -> Backup:
        """Write what a collection holds at this moment to a file, which appears whole or not at all.

        Raises NotFoundError where there is no such collection, StorageError where it cannot be read, InputError where
        the file cannot be written there or the collection's catalog is none.
        """
        target = path.absolute()
        self._check(collection, target)
        with _file_errors(path, "written"), scratch(target.parent) as work:
            kept, written = work / "kept", work / "written"
            kept.mkdir()
            state = self._copied(collection, kept)
            _check_side_files(kept, f"{self._home / collection}/")
            created = datetime.now(UTC).isoformat(timespec="seconds")
            about = asdict(Backup(collection, created, __version__, state.generation, state.documents))
            with written.open("xb") as file:
                write_archive(file, {"format": FORMAT, **about}, dict(_files(kept)))
                file.flush()
                os.fsync(file.fileno())
            backup = _read(written, None)
            written.replace(target)
            sync_folder(target.parent)
        return backup

    def restore(self, path: Path, collection: str, *, replace: bool = False) -> Backup:
        """Make a collection of a backup; with `replace` in place of one that has the name.

        The whole file is checked before anything is touched. Whoever searches or writes the collection meanwhile sees
        all that was before or all that was restored. Raises InputError that says what is wrong with the file,
        ConflictError where the name is taken.
        """
        folder = self._home / check_name(collection)
        there = (folder / STORE_FILE).exists()
        if there and not replace:
            raise ConflictError(
                f"collection {collection!r}: there is one already; --replace puts the backup in its place"
            )
        with _file_errors(self._home, "written"), self._scratch() as work:
            given = work / collection
            backup = _checked(path, given)
            if there:
                self._replace(folder, given)
            else:
                self._index(given)
                sync_tree(given)
                self._collections.adopt(collection, given)
        return backup

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        self._home.mkdir(parents=True, exist_ok=True)
        with scratch(self._home) as work:
            yield work

    def _check(self, collection: str, target: Path) -> None:
        if not (self._home / check_name(collection) / STORE_FILE).is_file():
            raise NotFoundError(f"collection {collection!r}: there is none of that name")
        if target.is_dir() or (target.parent / STORE_FILE).exists():
            raise InputError(f"{target}: expected the name of a file outside of collections")

    def _copied(self, collection: str, kept: Path) -> StoreState:
        """Copy a collection's files; their state is that in which nobody restores it or changes its catalog."""
        folder = self._home / collection
        with ExitStack() as held:

            def begun() -> None:
                self._copy_side_files(collection, kept)
                held.close()

            held.enter_context(alone(folder))
            return copy_store(folder / STORE_FILE, kept / STORE_FILE, begun)

    def _copy_side_files(self, collection: str, kept: Path) -> None:
        folder = self._home / collection
        catalog = self._catalogs.path(collection)
        names = [FUSION, *([catalog.name] if catalog else [])]
        names += [name for name, _ in _files(folder / EARLIER, f"{EARLIER}/") if _ALLOWED.fullmatch(name)]
        for name in names:
            if (folder / name).is_file():
                (kept / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(folder / name, kept / name)

    def _replace(self, folder: Path, given: Path) -> None:
        """Put what was given in place of a collection, whose catalog becomes one of the earlier ones."""
        if damage_of(folder / STORE_FILE):  # nobody can use it, and nothing can be written to it
            self._index(given)
            sync_tree(given)
            self._collections.drop(folder.name)
            self._collections.adopt(folder.name, given)
            return
        Store(folder / STORE_FILE).close()  # it may be of an older format
        renumber(given / STORE_FILE, state_of(folder / STORE_FILE).generation)
        self._index(given)
        files = {name: path for name, path in _files(given) if name != STORE_FILE and _ALLOWED.fullmatch(name)}
        gone = {*_CATALOGS, FUSION} - files.keys()
        with alone(folder):
            if earlier := self._earlier(folder.name):
                name, text = earlier
                (given / EARLIER).mkdir(exist_ok=True)
                (given / name).write_bytes(text)
                files[name] = given / name
            put_in_place(folder, given, files, gone)

    def _earlier(self, collection: str) -> tuple[str, bytes] | None:
        """Return the catalog in force under the name that it gets when another comes."""
        try:
            stored = self._catalogs.read(collection)
        except CatalogError:  # not even a text
            return None
        return (f"{EARLIER}/{stored.version}.{stored.format}", stored.text.encode()) if stored else None

    def _index(self, given: Path) -> None:
        """Make the index before anybody waits for it."""
        try:
            self._collections.index(given)
        except QuerywrightError as error:  # no encoder, say; then the first search makes it
            _log.warning("%s", error)


def check_backup(path: Path) -> Backup:
    """Check all of a file that restoring it would check. Raises InputError that says what is wrong."""
    with TemporaryDirectory(prefix="querywright-") as folder:
        return _checked(path, Path(folder) / "given")


def _checked(path: Path, given: Path) -> Backup:
    """Extract a backup into the new folder `given` and check whether it can be a collection."""
    given.mkdir()
    backup = _read(path, given)
    store = given / STORE_FILE
    try:
        state = check_store(store)
    except UnreadableError as error:
        raise InputError(f"{path}: {str(error).replace(f'{given}/', '')}") from error
    if state != StoreState(backup.generation, backup.documents):
        raise InputError(f"{path}: damaged: its manifest and its documents are not of one state")
    _check_side_files(given, f"{path}: ")
    return backup


def _read(path: Path, given: Path | None) -> Backup:
    """Read a backup, check what its manifest says of each file, and extract them where `given` says where to."""
    if not path.is_file():
        raise InputError(f"{path}: cannot be read: {'not a file' if path.exists() else 'there is none of that name'}")
    with _file_errors(path, "read or unpacked"), path.open("rb") as file:
        archive = Archive(file, path)
        backup = _backup_of(archive, path)
        if STORE_FILE not in archive.extract(given, _ALLOWED):
            raise InputError(f"{path}: damaged: it holds no documents")
        return backup


def _backup_of(archive: Archive, path: Path) -> Backup:
    about = archive.about
    format_ = about.get("format")
    if format_ != FORMAT:
        raise InputError(f"{path}: a backup of format {format_!r}; this version, {__version__}, reads format {FORMAT}")
    try:
        created = datetime.fromisoformat(about["created"]).isoformat()
        numbers = int(about["generation"]), int(about["documents"])
        return Backup(check_name(about["collection"]), created, str(about["version"]), *numbers)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(f"{path}: damaged: its manifest does not say what it holds") from error


def _check_side_files(folder: Path, called: str) -> None:
    """Raise InputError unless what stands beside the store can be used; `called` is what messages call `folder`."""
    try:
        for name in _CATALOGS:
            if (folder / name).exists():
                Catalog.load(folder / name)
        load_fusion(folder)
    except QuerywrightError as error:
        raise InputError(called + str(error).removeprefix(f"{folder}/")) from error


def _files(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Yield every file below a folder, in the order of their names, with its name there."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield prefix + path.relative_to(folder).as_posix(), path


@contextmanager
def _file_errors(path: Path, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise StorageError(f"{path}: cannot be {done}: {error.strerror}") from error
        raise InputError(f"{path}: cannot be {done}: {error.strerror or error}") from error
