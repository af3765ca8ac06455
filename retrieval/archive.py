"""Several files in one: a tar that begins with a manifest, in which stand the size and SHA-256 of every other.

It is written and read in pieces, whatever its size. It is not compressed: that would take ten times as long, and
whoever wants it can compress the file. What is read is distrusted: no name, size or kind of entry is believed but
those that the manifest may have.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import orjson

from .. import InputError

_MANIFEST = "manifest.json"
_MOST_MANIFEST = 2**20
_CHUNK = 2**20
_BLOCK = tarfile.BLOCKSIZE
_REST = tarfile.RECORDSIZE + 2 * _BLOCK
"""At most so many zeros end a tar."""


def write_archive(file: IO[bytes], about: Mapping[str, Any], members: Mapping[str, Path]) -> None:
    """Write `members` by their names, under a manifest that holds `about`. Raises OSError."""
    sizes = {name: path.stat().st_size for name, path in members.items()}
    files = {name: {"size": sizes[name], "sha256": _sha256(path)} for name, path in members.items()}
    body = {**about, "files": files}
    manifest = orjson.dumps({"sha256": _digest(body), "body": body}, option=orjson.OPT_INDENT_2)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(_entry(_MANIFEST, len(manifest)), io.BytesIO(manifest))
        for name, path in members.items():
            with path.open("rb") as member:
                tar.addfile(_entry(name, sizes[name]), member)


class Archive:
    """An archive that is read from its beginning; `path` is what messages call it.

    Raises InputError that says what is wrong: no archive, cut short, damaged.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self.about: Mapping[str, Any] = self._manifest()

    def extract(self, folder: Path | None, allowed: re.Pattern[str]) -> dict[str, int]:
        """Check every file, and write them below `folder` where that is given; return their sizes by name.

        Raises InputError, too, for names that `allowed` does not match, OSError where they cannot be written.
        """
        files = self._files(allowed)
        for name, (size, sha256) in files.items():
            if self._header() != (name, size):
                raise self._wrong(f"damaged: {name!r} does not stand where it should")
            if self._copied(size, folder and folder / name) != sha256:
                raise self._wrong(f"damaged: {name!r} is not what was written")
        rest = self._file.read(_REST + 1)
        if len(rest) > _REST or len(rest) < 2 * _BLOCK or any(rest):
            raise self._wrong("damaged: it does not end where it should")
        return {name: size for name, (size, _) in files.items()}

    def _manifest(self) -> Mapping[str, Any]:
        name, size = self._header()
        if name != _MANIFEST or size > _MOST_MANIFEST:
            raise self._wrong("no backup of a collection: it does not begin with a manifest")
        content = b"".join(self._pieces(size))
        try:
            read = orjson.loads(content)
            body, sha256 = read["body"], read["sha256"]
        except (ValueError, TypeError, KeyError) as error:
            raise self._wrong("damaged, or no backup of a collection: its manifest cannot be read") from error
        if not isinstance(body, dict) or sha256 != _digest(body):
            raise self._wrong("damaged: its manifest is not what was written")
        return body

    def _files(self, allowed: re.Pattern[str]) -> dict[str, tuple[int, str]]:
        try:
            files = {str(name): (int(row["size"]), str(row["sha256"])) for name, row in self.about["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._wrong("its manifest does not name the files") from error
        for name in files:
            if not allowed.fullmatch(name):
                raise self._wrong(f"it holds {name[:100]!r}, which no backup does")
        return files

    def _header(self) -> tuple[str, int]:
        """Return name and size of the next file. Only plain ones are taken: no links, no holes, no further headers."""
        try:
            entry = tarfile.TarInfo.frombuf(self._file.read(_BLOCK), "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:  # of which Unicode's are
            raise self._wrong("cut short, damaged or no backup of a collection") from error
        if entry.type != tarfile.REGTYPE or entry.size < 0:
            raise self._wrong(f"it holds {entry.name[:100]!r}, which is no plain file")
        return entry.name, entry.size

    def _copied(self, size: int, target: Path | None) -> str:
        """Read a file, write it to `target` where that is given, and return its SHA-256."""
        digest = hashlib.sha256()
        if target is None:
            for piece in self._pieces(size):
                digest.update(piece)
            return digest.hexdigest()
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for piece in self._pieces(size):
                digest.update(piece)
                file.write(piece)
        return digest.hexdigest()

    def _pieces(self, size: int) -> Iterator[bytes]:
        """Yield `size` bytes, then skip what fills the block."""
        left = size
        while left:
            piece = self._file.read(min(left, _CHUNK))
            if not piece:
                raise self._wrong("cut short")
            left -= len(piece)
            yield piece
        if any(self._file.read(-size % _BLOCK)):
            raise self._wrong("damaged")

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._path}: {what}")


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(body: object) -> str:
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
