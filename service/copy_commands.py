"""The command `copy`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .copying import Place, copy_collection
from .schemas import to_json
from .settings import Settings

Home = Annotated[Path | None, typer.Option("--home", help="Where local collections live [~/.querywright].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(root: typer.Typer) -> None:
    """Add the command to the command line."""
    root.command()(copy)


def copy(
    source: Annotated[str, typer.Argument(help="local:NAME, milvus:NAME, or NAME in the engine that is set.")],
    target: Annotated[str, typer.Argument(help="The same; there must be none of that name.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Copy a collection from one engine to another, or within one, with its vectors, catalog and fusion."""
    settings = Settings.load(home=home)
    copied = copy_collection(settings, Place.of(source, settings.engine), Place.of(target, settings.engine))
    told = {"source": source, "target": target, "documents": copied}
    line = to_json(told) if as_json else f"{target}: {copied} documents of {source}".encode()
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()
