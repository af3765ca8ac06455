"""The commands `backup` and `restore`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .. import InputError
from .backups import Backup, check_backup
from .local import Querywright
from .schemas import to_json

Home = Annotated[Path | None, typer.Option("--home", help="Where collections live [~/.querywright].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(root: typer.Typer) -> None:
    """Add the commands to the command line."""
    root.command()(backup)
    root.command()(restore)


def backup(
    collection: Annotated[str, typer.Argument(help="The collection's name.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; one of that name is replaced.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write a collection as it is now to one file, while services go on with it."""
    with Querywright(home=home, encoder="none") as querywright:
        made = querywright.backup(collection, out)
    size = out.stat().st_size
    _say(as_json, f"{out}: {_told(made)}, {size} bytes", made, {"out": str(out), "bytes": size})


def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    collection: Annotated[str | None, typer.Option("--collection", help="The name that it gets.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a collection of that name.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only check the file.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a collection of a backup, while services go on with it, or check one."""
    if check == (collection is not None):
        raise InputError("restore: expected either --collection NAME or --check")
    if collection is None:
        _say(as_json, f"{file}: {_told(found := check_backup(file))}", found, {"file": str(file)})
        return
    with Querywright(home=home) as querywright:
        restored = querywright.restore(file, collection, replace=replace)
    _say(as_json, f"{collection}: {_told(restored)}", restored, {"file": str(file), "restored": collection})


def _told(backup: Backup) -> str:
    return f"{backup.documents} documents of {backup.collection}, made {backup.created}"


def _say(as_json: bool, text: str, backup: Backup, more: dict[str, object]) -> None:
    sys.stdout.buffer.write((to_json({**asdict(backup), **more}) if as_json else text.encode()) + b"\n")
    sys.stdout.flush()
