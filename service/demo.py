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
    """Index the demo's corpus with its catalog, unless it is there: what was made of it stays. Return its size."""
    store = querywright.collection_store
    if NAME in store.names() and (documents := store.open(NAME).count()):
        return documents
    source = folder()
    return querywright.index([source], NAME, catalog=source / "catalog.toml")
