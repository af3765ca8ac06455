"""API keys: who may read, write or administer. Only their hashes are kept."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from .. import ConflictError, InputError, NotFoundError, StorageError
from .files import replacing
from .settings import Settings

_PREFIX = "qw_"
_log = logging.getLogger(__name__)


class Scope(StrEnum):
    """What a key is good for; each includes those before it."""

    READ = "read"
    """Asking, and looking at what there is."""
    WRITE = "write"
    """Making collections; changing documents and catalogs."""
    ADMIN = "admin"
    """Dropping collections, reloading the service."""

    def includes(self, other: Scope) -> bool:
        """Say whether whoever has this scope may do what needs `other`.

        >>> Scope.WRITE.includes(Scope.READ), Scope.WRITE.includes(Scope.ADMIN)
        (True, False)
        """
        order = list(Scope)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept: its name, what it is good for, the SHA-256 of its text in hex, and when it was made."""

    name: str
    scope: Scope
    sha256: str
    created: str


@dataclass(frozen=True, slots=True)
class _File:
    format: Literal[1]
    keys: tuple[Key, ...]


class Keys:
    """The keys in one file, read anew when it changes. Safe to use from several threads.

    The text of a key has 256 random bits, so a plain hash keeps it safe. Raises StorageError where the file cannot be
    read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._signature: tuple[int, int, int] | None = None
        self._known: tuple[Key, ...] = ()

    def all(self) -> tuple[Key, ...]:
        """Return all keys, by name. A file that broke while the service runs leaves those that were known."""
        with self._lock:
            signature = self._signed()
            if signature != self._signature:
                try:
                    self._known = self._read() if signature else ()
                except StorageError as error:
                    if self._signature is None:
                        raise
                    _log.error("%s; the keys known before stay", error)
                self._signature = signature
            return self._known

    def find(self, text: str) -> Key | None:
        """Return the key whose text this is, in a time that does not tell how much of it is right."""
        digest, found = _digest(text), None
        for key in self.all():
            if hmac.compare_digest(digest, key.sha256):
                found = key
        return found

    def add(self, name: str, scope: Scope) -> str:
        """Make a key and return its text, which is not kept. Raises ConflictError when there is one of that name."""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
            raise InputError("key: expected a name of 1 to 64 letters, digits, dots, hyphens and underscores")
        text = _PREFIX + secrets.token_urlsafe(32)
        made = Key(name, scope, _digest(text), datetime.now(UTC).isoformat(timespec="seconds"))
        with self._alone():
            known = self.all()
            if name in {key.name for key in known}:
                raise ConflictError(f"key {name!r}: there is one of that name: remove it first, or choose another name")
            self._write((*known, made))
        return text

    def remove(self, name: str) -> None:
        """Forget a key: from now on it opens nothing. Raises NotFoundError when there is none of that name."""
        with self._alone():
            known = self.all()
            kept = tuple(key for key in known if key.name != name)
            if len(kept) == len(known):
                raise NotFoundError(f"key {name!r}: there is none of that name")
            self._write(kept)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else change the file meanwhile: a key that was removed would come back."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _signed(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be read: {error.strerror}") from error
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> tuple[Key, ...]:
        try:
            return TypeAdapter(_File).validate_json(self._path.read_bytes()).keys
        except (OSError, ValidationError) as error:
            raise StorageError(f"{self._path}: cannot be read as keys: make them anew") from error

    def _write(self, keys: tuple[Key, ...]) -> None:
        rows = [asdict(key) for key in sorted(keys, key=lambda key: key.name)]
        try:
            with replacing(self._path) as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(orjson.dumps({"format": 1, "keys": rows}, option=orjson.OPT_INDENT_2))
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error


def keys_of(settings: Settings) -> Keys:
    """Return the keys of a service with these settings."""
    return Keys(settings.keys or settings.home / "keys.json")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
