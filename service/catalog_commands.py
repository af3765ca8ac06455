"""The commands around catalogs: put, get, delete, check, suggest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import ConflictError, InputError
from ..retrieval.passage import Document
from ..rewrite.catalog import Catalog
from .catalogs import CatalogInfo, read_catalog
from .files import replacing
from .local import Querywright
from .schemas import to_json
from .suggesting import suggest_catalog

app = typer.Typer(no_args_is_help=True, help="Look after the catalogs of collections.")

Home = Annotated[Path | None, typer.Option("--home", help="Where collections live [~/.querywright].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Collection = Annotated[str, typer.Argument(help="The collection's name.")]
File = Annotated[Path, typer.Argument(help="A catalog: .toml, .yaml or .csv.")]


def register(root: typer.Typer) -> None:
    """Add the commands to the command line, as `catalog put` and so on."""
    root.add_typer(app, name="catalog")


@app.callback()
def catalog() -> None:
    """Look after the catalogs of collections."""


@app.command()
def put(
    collection: Collection,
    file: File,
    expected: Annotated[
        str | None, typer.Option("--expect", help="Only if this is the version of the catalog in place.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Give a collection a catalog of its own; a running service uses it with the next query."""
    given = read_catalog(file)
    with Querywright(home=home, encoder="none") as querywright:
        info = querywright.put_catalog(collection, given.text, given.format, expected)
    _say(as_json, f"{collection}: {_told(info)}", {"collection": collection, **_row(info)})


@app.command()
def get(collection: Collection, home: Home = None, as_json: AsJson = False) -> None:
    """Print a collection's own catalog as it was written."""
    with Querywright(home=home, encoder="none") as querywright:
        stored = querywright.catalog(collection)
    _write(to_json(stored) if as_json else stored.text.removesuffix("\n").encode())


@app.command()
def delete(collection: Collection, home: Home = None, as_json: AsJson = False) -> None:
    """Take a collection's own catalog away."""
    with Querywright(home=home, encoder="none") as querywright:
        querywright.delete_catalog(collection)
    _say(as_json, f"{collection}: the catalog is gone", {"collection": collection})


@app.command()
def check(file: File, home: Home = None, as_json: AsJson = False) -> None:
    """Read a catalog's file and say what it holds, or which line is wrong."""
    del home  # taken, as every command does
    info = CatalogInfo.of(Catalog.load(file))
    _say(as_json, f"{file}: {_told(info)}", {"file": str(file), **_row(info)})


@app.command()
def suggest(
    collection: Collection,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write, instead of printing it.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Draft a catalog from a collection's documents, for a person to edit."""
    if out is not None and out.exists():
        raise ConflictError(f"{out}: there is a file already, perhaps an edited draft: give another name")
    with Querywright(home=home, encoder="none") as querywright:
        draft = suggest_catalog(collection, _documents(querywright, collection))
    if out is None:
        _write(to_json({"text": draft}) if as_json else draft.removesuffix("\n").encode())
        return
    try:
        with replacing(out) as written:
            written.write(draft.encode())
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error
    info = CatalogInfo.of(Catalog.load(out))
    _say(as_json, f"{out}: a draft with {_told(info)}: edit it, then `catalog put`", {"out": str(out), **_row(info)})


def _documents(querywright: Querywright, collection: str) -> Iterator[Document]:
    after = None
    while page := querywright.documents(collection, after=after, limit=1000):
        yield from page
        after = page[-1].doc_id


def _told(info: CatalogInfo) -> str:
    counts = f"{info.entities} entities, {info.dimensions} dimensions, {info.intents} intents"
    return f"{counts}, version {info.version}"


def _row(info: CatalogInfo) -> dict[str, Any]:
    return {
        "version": info.version,
        "entities": info.entities,
        "dimensions": info.dimensions,
        "intents": info.intents,
    }


def _say(as_json: bool, text: str, row: dict[str, Any]) -> None:
    _write(to_json(row) if as_json else text.encode())


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.flush()
