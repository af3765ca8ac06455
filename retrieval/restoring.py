"""What a restore puts in a collection's folder, there whole or not at all, whatever kills it when.

The store is replaced in one transaction, which decides: it leaves a token in the store. Before it, the files that
go with the store stand ready in a folder `restoring`, with a plan that has the same token. After it they are moved
to their places. Whoever opens the collection and finds such a folder that nobody works on does what is left: moves
the files where the token is in the store, else takes away what was made ready.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson

from .. import NotFoundError, StorageError, UnavailableError
from .backup import replace_store, replaced_by
from .index_files import sync_folder
from .store import STORE_FILE

_PENDING = "restoring"
_PLAN = "plan.json"
_SCRATCH = re.compile(r"\.querywright-[0-9a-f]{16}")
"""What scratch folders are called, and nothing else: a home may stand beside them as `.querywright-2`."""

_LONGEST_WAIT = 10.0


@contextmanager
def scratch(above: Path) -> Iterator[Path]:
    """Give a new folder below `above` that goes when done; those that killed processes have left go first."""
    for left in above.glob(".querywright-*"):
        if _SCRATCH.fullmatch(left.name):
            _sweep(left)
    while True:
        folder = _scratch_name(above)
        folder.mkdir()
        with _held(folder) as ours:
            if not ours:  # just swept by another
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a collection's folder, in which nothing is left half done, against all others who call this.

    Those are who restores, who begins a backup and who changes the catalog; searches and writes go on. Raises
    UnavailableError where another takes too long, NotFoundError where there is no folder.
    """
    until = time.monotonic() + _LONGEST_WAIT
    while True:
        with _held(folder) as ours:
            if ours:
                _finish(folder)
                yield
                return
        if not folder.exists():
            raise NotFoundError(f"collection {folder.name!r}: there is none of that name")
        if time.monotonic() > until:
            raise UnavailableError(f"collection {folder.name!r}: it is being restored or backed up; try again")
        time.sleep(0.01)


def settle(folder: Path) -> None:
    """Do what a killed restore has left to do in a collection's folder; nothing where one is at work."""
    if os.path.exists(f"{folder}/{_PENDING}"):  # noqa: PTH110 # of every search: a Path costs more than the call
        with _held(folder) as ours:
            if ours:
                _finish(folder)


def put_in_place(folder: Path, prepared: Path, files: Mapping[str, Path], gone: Iterable[str]) -> None:
    """Put a store and the files that go with it in place of what a collection has; the folder must be held.

    `prepared` holds the store and perhaps its index files; `files` have the names that they get in the collection's
    folder, where those of `gone` go. All of them are moved from where they are. Raises StorageError or
    UnavailableError, and then nothing has changed.
    """
    token = secrets.token_hex(16)
    try:
        _stand_ready(folder, prepared, {"token": token, "files": sorted(files), "gone": sorted(gone)}, files)
        replace_store(
            folder / STORE_FILE,
            prepared / STORE_FILE,
            token,
            lambda generation: _move_index(folder, prepared, generation),
        )
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        _finish(folder)


def sync_tree(folder: Path) -> None:
    """Force all files below `folder` to disk, and their names."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            _sync_file(path)
    sync_folder(folder)


def _stand_ready(folder: Path, prepared: Path, plan: Mapping[str, object], files: Mapping[str, Path]) -> None:
    """Put files and plan beside what they are to replace."""
    pending = prepared / _PENDING
    pending.mkdir()
    for name, path in files.items():
        (pending / name).parent.mkdir(exist_ok=True)
        path.rename(pending / name)
    index = next((path.name for path in prepared.glob("index-*")), None)
    (pending / _PLAN).write_bytes(orjson.dumps({**plan, "index": index}))
    sync_tree(pending)
    pending.rename(folder / _PENDING)
    sync_folder(folder)


def _move_index(folder: Path, prepared: Path, generation: int) -> None:
    """Give the collection its index, where it is of that generation: whoever sees the new documents finds it."""
    name = f"index-{generation}"
    if (prepared / name).exists():
        (prepared / name).rename(folder / name)


def _finish(folder: Path) -> None:
    """End what was begun: put in place what the store says was restored, or take it away."""
    pending = folder / _PENDING
    if not pending.exists():
        return
    try:
        plan = orjson.loads((pending / _PLAN).read_bytes())
        if replaced_by(folder / STORE_FILE) == plan["token"]:
            _place(folder, pending, plan["files"], plan["gone"])
        elif plan["index"]:
            shutil.rmtree(folder / plan["index"], ignore_errors=True)
        # Moved first, so that what is deleted only in part is not taken for what was made ready.
        doomed = _scratch_name(folder.parent)
        pending.rename(doomed)
        sync_folder(folder)
        shutil.rmtree(doomed, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{pending}: a restore cannot be ended: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{pending}: not what a restore leaves: remove that folder") from error


def _place(folder: Path, pending: Path, files: Iterable[str], gone: Iterable[str]) -> None:
    for name in files:
        if (pending / name).exists():  # else it was placed before the kill
            (folder / name).parent.mkdir(exist_ok=True)
            (pending / name).rename(folder / name)
            sync_folder((folder / name).parent)
    for name in gone:
        (folder / name).unlink(missing_ok=True)


def _scratch_name(above: Path) -> Path:
    return above / f".querywright-{secrets.token_hex(8)}"


def _sweep(left: Path) -> None:
    with _held(left) as ours:
        if ours:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold the lock on a folder; say whether it was to be had. The system frees it when a process dies."""
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        yield False
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            yield False
            return
        yield _is(file, folder)
    finally:
        os.close(file)


def _is(file: int, folder: Path) -> bool:
    """Say whether an open folder still has its name."""
    try:
        return os.path.samestat(os.fstat(file), folder.stat())
    except FileNotFoundError:
        return False


def _sync_file(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
