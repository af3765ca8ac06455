"""Copies of collections between engines: documents, passages, vectors and fusion as they are, nothing encoded anew."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

from .. import InputError, QuerywrightError
from ..retrieval.fitting import save_fusion
from ..retrieval.home import Collections, check_name
from ..retrieval.joined import OneCollection
from ..retrieval.remote import RemoteCollection
from ..retrieval.remote_home import RemoteCollections
from ..retrieval.store import StoredDocument
from .catalogs import Catalogs
from .local import collection_store
from .settings import Engine, Settings


@dataclass(frozen=True, slots=True)
class Place:
    """A collection of one engine."""

    engine: Engine
    name: str

    @classmethod
    def of(cls, text: str, engine: Engine) -> Place:
        """Read `local:NAME`, `milvus:NAME` or NAME, which is of `engine`; raises InputError for anything else."""
        kind, colon, name = text.rpartition(":")
        if kind not in list(Engine) and colon:
            raise InputError(f"copy: expected NAME, local:NAME or milvus:NAME, got {text!r:.80}")
        return cls(Engine(kind) if kind else engine, check_name(name))


def copy_collection(
    settings: Settings, source: Place, target: Place, progress: Callable[[int], None] | None = None
) -> int:
    """Copy a collection to one that is made for it; return how many documents it has.

    What is written to the source meanwhile may or may not be in the copy. Where anything fails, the target goes again.
    Raises NotFoundError where there is no source, ConflictError where there is a target.
    """
    with ExitStack() as opened:
        stores = {
            engine: opened.enter_context(closing(collection_store(settings, engine)))
            for engine in {source.engine, target.engine}
        }
        given = stores[source.engine].open(source.name)
        made, done = None, 0
        try:
            for batch in given.stored():
                made = made or _made(stores[target.engine], target.name, given, batch)
                made.put(batch)
                done += len(batch)
                if progress is not None:
                    progress(done)
            made = made or stores[target.engine].create(target.name)
            _copy_rest(settings, given, made, source, target)
            made.flush()
        except BaseException:
            with suppress(QuerywrightError):  # the error that came first is the one to tell
                if made is not None:
                    stores[target.engine].drop(target.name)
            raise
    return done


def _made(
    store: Collections | RemoteCollections, name: str, given: OneCollection, batch: list[StoredDocument]
) -> OneCollection:
    """Make the target, with room for vectors like those of the first documents."""
    if isinstance(store, Collections):
        return store.create(name)
    lengths = [len(one) // 4 for stored in batch for item in stored.passages for one in item.vectors.values()]
    return store.create(name, size=len(given.snapshot()), dimensions=max(lengths, default=0))


def _copy_rest(settings: Settings, given: OneCollection, made: OneCollection, source: Place, target: Place) -> None:
    """Copy what a collection has besides its documents: its fusion and its catalog."""
    fusion = given.fusion()
    if fusion is not None and isinstance(made, RemoteCollection):
        made.set_fusion(fusion)
    elif fusion is not None:
        save_fusion(settings.home / target.name, fusion)
    catalogs = Catalogs(settings.home)
    catalog = catalogs.read(source.name) if source.name != target.name else None  # else it is in its place
    if catalog is not None:
        catalogs.put(target.name, catalog.text, catalog.format)
