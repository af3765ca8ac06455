"""Read documents from files: BEIR folders, JSONL, Markdown and plain text.

Whatever is wrong with a file is an InputError that begins with `FILE:LINE:` and says what was expected.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from .. import InputError
from .passage import Document, Value

_TEXT_SUFFIXES = (".md", ".markdown", ".txt")
_ROW_SUFFIXES = (".jsonl", ".jsonl.gz")
_ID_FIELDS = ("_id", "doc_id", "id")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.*?)[ \t#]*$", re.MULTILINE)
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_PAIR = re.compile(r"(\w[\w.-]*):(?:[ \t]+(.*))?")


def read_source(path: Path) -> Iterator[Document]:
    """Yield the documents of `path`, in a fixed order.

    `path` is a BEIR folder (it holds corpus.jsonl or corpus.jsonl.gz), a .jsonl or .jsonl.gz file, a
    Markdown or plain-text file, perhaps with .gz, or a folder of such files, whose relative paths become the
    doc_ids. Front matter of Markdown (`key: value` between lines `---` at the top) becomes title and metadata.
    Raises InputError naming file, line and field for what cannot be read, for an id that comes twice, and for
    a folder without corpus.jsonl that holds JSONL: such a file is to be named itself.
    """
    if path.is_dir():
        corpus = _corpus_file(path)
        return _read_folder(path) if corpus is None else _read_rows(corpus)
    if path.name.lower().endswith(_ROW_SUFFIXES):
        return _read_rows(path)
    if _is_text(path):
        return iter([_read_text(path, path.name)])
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    raise InputError(
        f"{path}: expected a BEIR folder, .jsonl, .jsonl.gz, {', '.join(_TEXT_SUFFIXES)} (or these with .gz), "
        "or a folder of Markdown or plain text"
    )


def keeps_whole(path: Path) -> bool:
    """Say whether each document of `path` is one passage already: rows of BEIR and JSONL files are.

    Hand it on: `collection.upsert(read_source(path), whole=keeps_whole(path))`.
    """
    return path.name.lower().endswith(_ROW_SUFFIXES) or (path.is_dir() and _corpus_file(path) is not None)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number (from 1) and object of each line that is not blank; `path` may end in .gz.

    Raises InputError "FILE:LINE: ..." for a line that is not one JSON object; NaN and Infinity are no JSON.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected a JSON object, got {_kind(row)}")
        yield number, row


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line number (from 1) and text of each line, without its end; `path` may end in .gz.

    A byte order mark is skipped. Raises InputError for what is not UTF-8, cannot be read or not unpacked.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for line in file:
                number += 1
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, text.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:{number}: not UTF-8 text (byte {error.start + 1} of the line)") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}:{number + 1}: broken gzip data: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _corpus_file(folder: Path) -> Path | None:
    """Return the corpus of a BEIR folder, None for a folder of another kind."""
    files = (folder / "corpus.jsonl", folder / "corpus.jsonl.gz")
    return next((file for file in files if file.is_file()), None)


def _read_rows(path: Path) -> Iterator[Document]:
    lines: dict[str, int] = {}
    for number, row in read_jsonl(path):
        try:
            document = _row_document(row)
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from error
        first = lines.setdefault(document.doc_id, number)
        if first != number:
            raise InputError(f"{path}:{number}: the id of line {first} again")
        yield document


def _row_document(row: Mapping[str, Any]) -> Document:
    """Turn a row into a document; other fields that hold plain values become metadata."""
    id_field = next((name for name in _ID_FIELDS if name in row), None)
    if id_field is None:
        raise InputError("field '_id': missing; expected a string (doc_id or id will do)")
    metadata = {
        key: value
        for key, value in row.items()
        if key not in (id_field, "text", "title", "metadata") and isinstance(value, (str, int, float))
    }
    return Document(
        _string(row, id_field),
        _string(row, "text"),
        _string(row, "title", default=""),
        metadata | _metadata(row.get("metadata")),
    )


def _string(row: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = row.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        found = _kind(value) if name in row else "nothing"
        raise InputError(f"field {name!r}: expected a string, got {found}")
    return value


def _metadata(value: object) -> dict[str, Value]:
    """Check the field `metadata`: null, or an object of strings, numbers, booleans and lists of strings."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"field 'metadata': expected an object, got {_kind(value)}")
    metadata: dict[str, Value] = {}
    for key, member in value.items():
        if isinstance(member, list) and all(isinstance(text, str) for text in member):
            metadata[key] = tuple(member)
        elif isinstance(member, (str, int, float)):
            metadata[key] = member
        elif member is not None:
            raise InputError(
                f"field 'metadata': {key!r}: expected a string, number, boolean or list of strings, got {_kind(member)}"
            )
    return metadata


def _kind(value: object) -> str:
    """Name the JSON type of `value`."""
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else kinds.get(type(value), "a number")


def _read_folder(folder: Path) -> Iterator[Document]:
    paths = sorted(_text_files(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not paths:
        raise InputError(f"{folder}: expected corpus.jsonl, corpus.jsonl.gz or {', '.join(_TEXT_SUFFIXES)} files")
    return (_read_text(path, path.relative_to(folder).as_posix()) for path in paths)


def _text_files(folder: Path) -> Iterator[Path]:
    """Yield the text files under `folder`; hidden ones and links that lead out of it are passed over."""
    inside = folder.resolve()
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            if name.startswith(".") or not (_is_text(path) or name.lower().endswith(_ROW_SUFFIXES)):
                continue
            if path.resolve().is_relative_to(inside) and path.is_file():
                if not _is_text(path):
                    raise InputError(f"{path}: rows inside a folder without corpus.jsonl: name the file itself")
                yield path


def _unpacked(path: Path) -> Path:
    """Return the name that `path` has without .gz."""
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def _is_text(path: Path) -> bool:
    return _unpacked(path).suffix.lower() in _TEXT_SUFFIXES


def _read_text(path: Path, doc_id: str) -> Document:
    """Read one text file; its title is that of its front matter, else its first heading, else its name."""
    text = "\n".join(line for _, line in read_lines(path))
    name, heading = _unpacked(path), None
    metadata: dict[str, str] = {}
    if name.suffix.lower() != ".txt":
        metadata, text = _front_matter(text)
        heading = _HEADING.search(text)
    title = metadata.pop("title", "") or (heading and heading[1].strip()) or name.stem
    try:
        return Document(doc_id, text, title, metadata)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _front_matter(text: str) -> tuple[dict[str, str], str]:
    """Cut front matter off; what is not flat `key: value` lines throughout is no front matter but text."""
    block = _FRONT_MATTER.match(text)
    lines = [line for line in block[1].splitlines() if line.strip() and not line.startswith("#")] if block else []
    pairs = [_PAIR.fullmatch(line.rstrip()) for line in lines]
    if block is None or not pairs or None in pairs:
        return {}, text
    values = {pair[1]: _unquoted(pair[2] or "") for pair in pairs if pair}
    return {key: value for key, value in values.items() if value}, text[block.end() :].lstrip("\n")


def _unquoted(value: str) -> str:
    value = value.strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
