"""Files that appear whole or not at all, and what is raised where they cannot."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .. import StorageError
from ..retrieval.store import DiskFullError


@contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """Give a file beside `target` to write; it takes the name `target` when all of it is on disk, else it goes."""
    unfinished = target.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def file_errors(place: str | Path) -> Iterator[None]:
    """Turn what the file system raises about `place` into StorageError; DiskFullError where there is no room."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"{place}: the disk is full; nothing was written") from error
        raise StorageError(f"{place}: cannot be read or written: {error.strerror or error}") from error
