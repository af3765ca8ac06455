"""Every I/O call by which a collection writes, SQLite's and those of index files, handed to a handler first."""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

_numbers = itertools.count()


@dataclass(frozen=True)
class Call:
    """An I/O call: `sqlite` or `index`, its name, its file and what it is given."""

    layer: str
    name: str
    path: str
    data: bytes = b""
    offset: int = 0
    to: str = ""


Real = Callable[..., Any]
Handler = Callable[[Call, Real], Any]
"""Gets the call and a function that makes it; that of a write takes what is to be written."""


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


@contextmanager
def intercepted(handler: Handler, root: Path) -> Iterator[None]:
    """Hand all I/O calls below `root` to `handler`. What it raises as OSError, SQLite gets as its own errors."""
    vfs = _Vfs(handler, str(root))
    real = {name: getattr(os, name) for name in _PATCHES}
    try:
        for name, patch in _PATCHES.items():
            setattr(os, name, patch(handler, str(root), real[name]))
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)
        vfs.unregister()


# ------------------------------------------------------------------------------------------- SQLite's


def _told(handler: Handler, call: Call, real: Real) -> Any:
    try:
        return handler(call, real)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise apsw.FullError(os.strerror(errno.ENOSPC)) from error
        raise apsw.IOError(os.strerror(error.errno or errno.EIO)) from error


class _Vfs(apsw.VFS):
    def __init__(self, handler: Handler, root: str) -> None:
        super().__init__(f"intercepted-{next(_numbers)}", "", makedefault=True)
        self._handler = handler
        self._root = root

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 # APSW's
        path = "" if name is None else name if isinstance(name, str) else name.filename()
        if not _below(path, self._root):
            return apsw.VFSFile("unix", name, flags)
        new = not Path(path).exists()
        call = Call("sqlite", "create" if new else "open", path)
        return _told(self._handler, call, lambda: _File(self._handler, path, name, flags))  # type: ignore[no-any-return]

    def xDelete(self, path: str, sync: bool) -> None:  # noqa: FBT001, N802 # APSW's
        def real() -> None:
            super(_Vfs, self).xDelete(path, sync)

        if _below(path, self._root):
            _told(self._handler, Call("sqlite", "delete_synced" if sync else "delete", path), real)
        else:
            real()


class _File(apsw.VFSFile):
    def __init__(self, handler: Handler, path: str, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._handler = handler
        self._path = path

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 # APSW's
        def real(data: bytes) -> None:
            super(_File, self).xWrite(data, offset)

        _told(self._handler, Call("sqlite", "write", self._path, bytes(data), offset), real)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 # APSW's
        def real() -> bytes:
            return super(_File, self).xRead(amount, offset)

        return _told(self._handler, Call("sqlite", "read", self._path, b"", offset), real)  # type: ignore[no-any-return]

    def xTruncate(self, size: int) -> None:  # noqa: N802 # APSW's
        def real() -> None:
            super(_File, self).xTruncate(size)

        _told(self._handler, Call("sqlite", "truncate", self._path, b"", size), real)

    def xSync(self, flags: int) -> None:  # noqa: N802 # APSW's
        def real() -> None:
            super(_File, self).xSync(flags)

        # SQLite's own VFS forces the folder to disk at the first sync of a journal.
        _told(self._handler, Call("sqlite", "sync", self._path), real)


# ------------------------------------------------------------------------------------------- index files


def _path(path: Any, folder: int | None = None) -> str:
    name = os.fspath(path)
    name = name.decode() if isinstance(name, bytes) else name
    return f"{_of(folder)}/{name}" if folder is not None else name


def _of(file: int) -> str:
    return str(Path(f"/proc/self/fd/{file}").readlink())


def _open(handler: Handler, root: str, real: Real) -> Real:
    def patched(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> Any:
        name = _path(path, dir_fd)
        if not _below(name, root) or not flags & os.O_CREAT:
            return real(path, flags, mode, dir_fd=dir_fd)
        new = not Path(name).exists()
        call = Call("index", "create" if new else "open", name)
        return handler(call, lambda: real(path, flags, mode, dir_fd=dir_fd))

    return patched


def _write(handler: Handler, root: str, real: Real) -> Real:
    def patched(file: int, data: Any) -> Any:
        name = _of(file)
        if not _below(name, root):
            return real(file, data)
        call = Call("index", "write", name, bytes(data), os.lseek(file, 0, os.SEEK_CUR))
        return handler(call, lambda data: real(file, data))

    return patched


def _sync(handler: Handler, root: str, real: Real) -> Real:
    def patched(file: int) -> Any:
        name = _of(file)
        if not _below(name, root):
            return real(file)
        call = Call("index", "sync_folder" if Path(name).is_dir() else "sync", name)
        return handler(call, lambda: real(file))

    return patched


def _one_path(kind: str) -> Callable[[Handler, str, Real], Real]:
    def patch(handler: Handler, root: str, real: Real) -> Real:
        def patched(path: Any, *more: Any, dir_fd: int | None = None) -> Any:
            name = _path(path, dir_fd)
            if not _below(name, root):
                return real(path, *more, dir_fd=dir_fd)
            return handler(Call("index", kind, name), lambda: real(path, *more, dir_fd=dir_fd))

        return patched

    return patch


def _rename(handler: Handler, root: str, real: Real) -> Real:
    def patched(path: Any, to: Any) -> Any:
        if not _below(_path(path), root):
            return real(path, to)
        return handler(Call("index", "rename", _path(path), to=_path(to)), lambda: real(path, to))

    return patched


_PATCHES: dict[str, Callable[[Handler, str, Real], Real]] = {
    "open": _open,
    "write": _write,
    "fsync": _sync,
    "mkdir": _one_path("mkdir"),
    "unlink": _one_path("delete"),
    "rmdir": _one_path("rmdir"),
    "rename": _rename,
    "replace": _rename,
}
