"""Files that come over the wire, read as those of a folder are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import InputError
from ..retrieval.passage import Document
from ..retrieval.sources import keeps_whole, read_source
from .files import file_errors

SUFFIXES = (".md", ".markdown", ".txt", ".jsonl")
"""What is taken. Nothing packed: what it holds could be of any size."""


@contextmanager
def uploaded(name: str, data: bytes) -> Iterator[tuple[Iterator[Document], bool]]:
    """Give the documents of a file and whether each is one passage already.

    Raises InputError for another kind of file, a name that could lead elsewhere, a text without text, and whatever is
    wrong in it; StorageError where there is no room for the file while it is read.
    """
    check_file_name(name)
    with ExitStack() as stack:
        with file_errors("the folder for temporary files"):
            folder = stack.enter_context(TemporaryDirectory(prefix="querywright-"))
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        whole = keeps_whole(path)
        try:
            # A text's name in its folder is its id.
            yield read_source(path) if whole else _with_text(read_source(Path(folder)), name), whole
        except InputError as error:
            raise InputError(str(error).replace(str(path), name).replace(folder, name)) from error


def _with_text(documents: Iterator[Document], name: str) -> Iterator[Document]:
    for document in documents:
        if not document.text.strip():
            raise InputError(f"{name}: there is no text in it")
        yield document


def check_file_name(name: str) -> str:
    """Return `name`; raises InputError unless it is the relative path of a file that can be read."""
    parts = name.split("/") if isinstance(name, str) else []
    if not parts or len(name) > 500 or not name.isprintable() or not all(map(_is_plain, parts)):
        raise InputError("file: expected a file's name, perhaps with folders: no leading dots, at most 500 characters")
    if not name.lower().endswith(SUFFIXES):
        raise InputError(f"file: expected a name that ends in {', '.join(SUFFIXES)}")
    return name


def _is_plain(part: str) -> bool:
    return bool(part) and not part.startswith(".") and "\\" not in part and len(part.encode(errors="replace")) <= 255
