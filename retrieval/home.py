"""The collections in one folder."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import ConflictError, InputError, NotFoundError, QuerywrightError, StorageError
from .collection import STORE_FILE, Collection
from .encoders import Encoder
from .index_files import sync_folder
from .restoring import settle
from .segment import Indexing
from .spaces import Spaces, spaces_of
from .store import DiskFullError, Store

_DROPPED = ".dropped-"
_TAKEN = "collection {!r}: there is one already, or another folder of that name"


def check_name(name: str) -> str:
    """Return `name`; raises InputError unless it is 1 to 64 of a-z, 0-9, `_` and `-`."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_-]{1,64}", name):
        raise InputError("collection: expected a name of 1 to 64 characters of a-z, 0-9, _ and -")
    return name


class Collections:
    """The collections in one folder, each opened once and kept open; safe to use from several threads.

    `encoder_factory` is called once, when the first collection is opened. `load` returns an encoder by its name, for
    collections whose vectors come from another one; without it they are refused. Folders that hold no collection are
    ignored.
    """

    def __init__(
        self,
        home: Path,
        encoder_factory: Callable[[], Encoder | Spaces | None] = lambda: None,
        indexing: Indexing = Indexing(),  # noqa: B008 # frozen
        load: Callable[[str], Encoder] | None = None,
    ) -> None:
        self._home = home
        self._encoder_factory = encoder_factory
        self._indexing = indexing
        self._load = load
        self._encoder: list[Encoder | Spaces | None] = []
        self._open: dict[str, Collection] = {}
        self._files: dict[str, tuple[int, int] | None] = {}  # which file each open collection holds
        self._lock = threading.RLock()

    def encoders(self) -> Spaces:
        """Return the encoders that are wanted; raises what making them raises."""
        with self._lock:
            if not self._encoder:
                self._encoder.append(self._encoder_factory())
            return spaces_of(self._encoder[0])

    def open(self, name: str) -> Collection:
        """Return the collection called `name`; raises NotFoundError if there is none."""
        settle(self._home / check_name(name))
        with self._lock:
            if self._forget_replaced(name) is None:
                raise NotFoundError(f"collection {name!r}: there is none of that name")
            return self._opened(name)

    def opened(self) -> list[Collection]:
        """Return the collections that are open, without waiting for one that is being opened."""
        return list(self._open.values())

    def count(self, name: str) -> int:
        """Return how many documents the collection called `name` holds; no encoder is needed for that."""
        with self._lock:
            self._forget_replaced(name)
            if name in self._open:
                return self._open[name].count()
            if not self._exists(name):
                raise NotFoundError(f"collection {name!r}: there is none of that name")
        try:
            store = Store(self._home / name / STORE_FILE)
        except StorageError:
            if self._exists(name):
                raise
            raise NotFoundError(f"collection {name!r}: there is none of that name") from None
        try:
            return store.count()
        finally:
            store.close()

    def create(self, name: str) -> Collection:
        """Make an empty collection; raises ConflictError if there is one, or another folder, of that name."""
        with self._lock, _home_errors(self._home):
            folder = self._home / check_name(name)
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise ConflictError(_TAKEN.format(name))
            self._forget(name)
            return self._opened(name)

    def adopt(self, name: str, folder: Path) -> None:
        """Move a folder that holds a collection here, whole; raises ConflictError as `create` does."""
        with self._lock, _home_errors(self._home):
            self._home.mkdir(parents=True, exist_ok=True)
            try:
                folder.rename(self._home / check_name(name))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                raise ConflictError(_TAKEN.format(name)) from error
            sync_folder(self._home)

    def index(self, folder: Path) -> None:
        """Make and save the index of a collection that stands elsewhere, as those here have theirs."""
        with Collection(folder, self.encoders(), self._indexing, self._load) as collection:
            collection.flush()

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        if not self._home.is_dir():
            return []
        with _home_errors(self._home):
            return sorted(
                path.parent.name
                for path in self._home.glob(f"*/{STORE_FILE}")
                if re.fullmatch(r"[a-z0-9_-]{1,64}", path.parent.name)
            )

    def drop(self, name: str) -> None:
        """Delete a collection with all its documents; raises NotFoundError if there is none."""
        with self._lock, _home_errors(self._home):
            if not self._exists(name):
                raise NotFoundError(f"collection {name!r}: there is none of that name")
            self._forget(name)
            # Renamed first, so that whatever interrupts the deletion leaves no half collection behind.
            doomed = self._home / f"{_DROPPED}{name}"
            shutil.rmtree(doomed, ignore_errors=True)
            (self._home / name).rename(doomed)
            sync_folder(self._home)
            shutil.rmtree(doomed, ignore_errors=True)

    def flush(self) -> None:
        """Save the indexes of all collections that were opened, as `Collection.flush` does.

        Raises what one raised that could not be saved, after all others were.
        """
        with self._lock:
            opened = list(self._open.values())
        failed: list[QuerywrightError] = []
        for collection in opened:
            try:
                collection.flush()
            except QuerywrightError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def close(self) -> None:
        """Close every collection that was opened."""
        with self._lock:
            opened = list(self._open.values())
            self._open.clear()
            self._files.clear()
        for collection in opened:
            collection.close()

    def _exists(self, name: str) -> bool:
        return (self._home / check_name(name) / STORE_FILE).is_file()

    def _opened(self, name: str) -> Collection:
        if name not in self._open:
            before = self._file(name)  # were it replaced while it is opened, the next call would see that
            self._open[name] = Collection(self._home / name, self.encoders(), self._indexing, self._load)
            self._files[name] = before or self._file(name)
        return self._open[name]

    def _file(self, name: str) -> tuple[int, int] | None:
        """Say which file the collection called `name` is now; None if there is none."""
        try:
            found = os.stat(f"{self._home}/{check_name(name)}/{STORE_FILE}")  # noqa: PTH116 # a Path costs more than the call
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None

    def _forget_replaced(self, name: str) -> tuple[int, int] | None:
        """Close a collection that another process dropped, and perhaps made anew: writes to it would be lost.

        Returns which file is the collection called `name` now.
        """
        file = self._file(name)
        if file != self._files.get(name):
            self._forget(name)
        return file

    def _forget(self, name: str) -> None:
        self._files.pop(name, None)
        collection = self._open.pop(name, None)
        if collection is not None:
            collection.close(wait=False)  # others must not wait for its merge


@contextmanager
def _home_errors(home: Path) -> Iterator[None]:
    """Turn what the file system raises into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"{home}: the disk is full; nothing was made") from error
        raise StorageError(f"{home}: cannot be read or written: {error.strerror or error}") from error
