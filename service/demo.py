"""The demo collection that ships with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from .local import Querywright

NAME = "demo"


def folder() -> Path:
    """Return the folder with the demo's corpus, queries, judgments and catalog."""
    return Path(str(files("querywright"))) / "data" / "demo"


def build(querywright: Querywright) -> int:
    """Index the demo's corpus with its catalog; unchanged documents cost nothing. Return how many there are."""
    source = folder()
    return querywright.index([source], NAME, catalog=source / "catalog.toml")
