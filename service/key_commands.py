"""The commands around API keys: add, list, remove."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .keys import Keys, Scope, keys_of
from .schemas import to_json
from .settings import Settings

app = typer.Typer(no_args_is_help=True, help="Look after the API keys of a service.")

Home = Annotated[Path | None, typer.Option("--home", help="Where collections live [~/.querywright].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="What the key is called, in logs too.")]


def register(root: typer.Typer) -> None:
    """Add the commands to the command line, as `keys add` and so on."""
    root.add_typer(app, name="keys")


@app.callback()
def keys() -> None:
    """Look after the API keys of a service."""


@app.command()
def add(
    name: Name,
    scope: Annotated[Scope, typer.Option(help="What it is good for; each includes those before it.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once; a running service takes it at once."""
    text = _keys(home).add(name, scope)
    _say(as_json, text, {"name": name, "scope": scope, "key": text})


@app.command("list")
def list_keys(home: Home = None, as_json: AsJson = False) -> None:
    """Print the names of the keys, what they are good for and when they were made."""
    found = [{"name": key.name, "scope": key.scope, "created": key.created} for key in _keys(home).all()]
    text = "\n".join(f"{row['name']}  {row['scope']}  {row['created']}" for row in found)
    _say(as_json, text or "there are no keys", found)


@app.command()
def remove(name: Name, home: Home = None, as_json: AsJson = False) -> None:
    """Forget a key: a running service refuses it at once."""
    _keys(home).remove(name)
    _say(as_json, f"{name}: opens nothing any more", {"name": name, "removed": True})


def _keys(home: Path | None) -> Keys:
    return keys_of(Settings.load(home=home))


def _say(as_json: bool, text: str, value: Any) -> None:  # noqa: ANN401 # a row or several
    sys.stdout.buffer.write((to_json(value) if as_json else text.encode()) + b"\n")
    sys.stdout.flush()
