"""Index files: a cache of what can be rebuilt from the store, under a manifest with the SHA-256 of every file.

One generation is one folder, `index-GENERATION`, beside the store. It is written under another name, forced to
disk and renamed, so that it is whole or absent. Every file is checked before anything parses it: FAISS and numpy
open damaged files without a complaint. What fails the check is set aside and never read again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import mmap
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .. import StorageError
from .store import DiskFullError

FORMAT = 1
"""Files of another format are passed over."""

Part = NDArray[Any] | bytes
"""An array is kept as .npy, everything else as bytes."""

_MANIFEST = "manifest.json"
_FOLDER = re.compile(r"index-(\d+)")
_UNFINISHED = ".unfinished-index-"
_DAMAGED = "damaged-index"
_LOCK = "index.lock"
_CHUNK = 2**22
_HEADER = 2**16
"""More bytes than the header of an array has."""


@dataclass(frozen=True, slots=True)
class IndexFiles:
    """The checked files of one generation, mapped: they can be read after another process has removed them."""

    folder: Path
    generation: int
    about: Mapping[str, Any]
    """What the writer said of them."""
    _contents: Mapping[str, memoryview]

    def array(self, name: str) -> NDArray[Any]:
        """Return an array, read-only and mapped rather than read."""
        content = self._contents[f"{name}.npy"]
        header = io.BytesIO(content[:_HEADER])
        np.lib.format.read_magic(header)
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(header)
        values = np.frombuffer(content[header.tell() :], dtype)
        return values.reshape(shape, order="F" if fortran else "C")

    def bytes(self, name: str) -> bytes:
        """Return what was written as bytes."""
        return bytes(self._contents[name])


def write_index(folder: Path, generation: int, about: Mapping[str, Any], parts: Mapping[str, Part]) -> bool:
    """Write the files of a generation and remove those of others; False where another process is writing.

    Raises StorageError where they cannot be written; what was there before stays.
    """
    with _errors(folder), _locked(folder) as ours:
        if not ours:
            return False
        _remove(folder, _UNFINISHED)
        earlier = _folders(folder)  # what comes meanwhile is a restored collection's
        unfinished = folder / f"{_UNFINISHED}{secrets.token_hex(4)}"
        unfinished.mkdir()
        try:
            _fill(unfinished, generation, about, parts)
            final = folder / f"index-{generation}"
            shutil.rmtree(final, ignore_errors=True)
            unfinished.rename(final)
            sync_folder(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        for other in earlier:
            if other != final:
                shutil.rmtree(other, ignore_errors=True)
    return True


def read_index(folder: Path, about: Mapping[str, Any]) -> IndexFiles | None:
    """Return the newest files that hold what is wanted, None if there are none.

    Files that are about anything other than `about`, key by key, are passed over. Damaged ones are renamed to
    `damaged-index`, so that they can be looked at; the last ones are kept.
    """
    for candidate in _folders(folder):
        try:
            found = _checked(candidate)
        except FileNotFoundError:
            if (candidate / _MANIFEST).exists():
                _set_aside(candidate)
            elif _folders(folder)[:1] not in ([], [candidate]):
                return read_index(folder, about)  # another process has just put newer ones in their place
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            _set_aside(candidate)
            continue
        if found is not None and all(found.about.get(key) == value for key, value in about.items()):
            return found
    return None


def _fill(folder: Path, generation: int, about: Mapping[str, Any], parts: Mapping[str, Part]) -> None:
    """Write `parts` and the manifest, and force them to disk."""
    files = {}
    for name, part in parts.items():
        if isinstance(part, bytes):
            files[name] = _write(folder / name, part)
        else:
            array, header = np.ascontiguousarray(part), io.BytesIO()
            np.lib.format.write_array_header_2_0(header, np.lib.format.header_data_from_array_1_0(array))
            data = array.reshape(-1).view(np.uint8).data
            files[f"{name}.npy"] = _write(folder / f"{name}.npy", header.getvalue(), data)
    body = {"format": FORMAT, "generation": generation, "about": dict(about), "files": files}
    _write(folder / _MANIFEST, orjson.dumps({"sha256": _digest(body), "body": body}))
    sync_folder(folder)


def _checked(folder: Path) -> IndexFiles | None:
    """Return the files in `folder` once all are what their manifest says; None for those of another format.

    Raises ValueError and whatever reading a damaged manifest may raise.
    """
    manifest = orjson.loads(_regular(folder / _MANIFEST).read_bytes())
    body = manifest["body"]
    if manifest["sha256"] != _digest(body):
        raise ValueError(f"{folder}: the manifest is damaged")
    if body["format"] != FORMAT:
        return None
    if folder.name != f"index-{body['generation']}":
        raise ValueError(f"{folder}: the manifest of another generation")
    contents = {name: _mapped(folder / name) for name in body["files"]}
    for name, sha256 in body["files"].items():
        if hashlib.sha256(contents[name]).hexdigest() != sha256:
            raise ValueError(f"{folder / name}: damaged")
    return IndexFiles(folder, body["generation"], body["about"], contents)


def _mapped(path: Path) -> memoryview:
    """Map a file; raises OSError or ValueError where that cannot be done."""
    with _regular(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b"")


def _regular(path: Path) -> Path:
    """Return `path`; raises ValueError unless it is a file: a pipe would never answer, a device never end."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path}: not a file")
    return path


def _digest(body: object) -> str:
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _write(path: Path, *parts: bytes | memoryview) -> str:
    """Write one file and force it to disk; return its SHA-256."""
    digest = hashlib.sha256()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for part in parts:
            digest.update(part)
            rest = memoryview(part)
            while rest:  # the system may take less than it is given
                rest = rest[os.write(file, rest[:_CHUNK]) :]
        os.fsync(file)
    finally:
        os.close(file)
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk, where the file system does that."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(file)


def _folders(folder: Path) -> list[Path]:
    """Return the folders of all generations, the newest first."""
    with suppress(OSError):
        found = {int(match[1]): path for path in folder.iterdir() if (match := _FOLDER.fullmatch(path.name))}
        return [found[generation] for generation in sorted(found, reverse=True)]
    return []


def _remove(folder: Path, prefix: str) -> None:
    for path in folder.iterdir():
        if path.name.startswith(prefix):
            shutil.rmtree(path, ignore_errors=True)


def _set_aside(damaged: Path) -> None:
    """Rename a damaged folder, so that it is not read again; where even that fails, it will be found damaged again."""
    aside = damaged.with_name(_DAMAGED)
    with suppress(OSError):
        shutil.rmtree(aside, ignore_errors=True)
        damaged.rename(aside)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock on index files; say whether it was to be had. The system frees it when a process dies."""
    file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(file)


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    """Turn what the file system raises into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"{folder}: the disk is full; the index was not saved, nothing that is stored is lost"
            ) from error
        raise StorageError(f"{folder}: the index cannot be saved: {error.strerror or error}") from error
