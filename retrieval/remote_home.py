"""The collections in one Milvus, with the interface of those in a folder."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .. import ConflictError, NotFoundError, QuerywrightError
from .encoders import Encoder
from .home import check_name
from .lexical import BM25
from .milvus_calls import Milvus
from .milvus_rows import indexes, schema
from .remote import RemoteCollection
from .spaces import Spaces, spaces_of
from .store import STORE_FILE

_PREFIX = "querywright_"

_LEAST_DIMENSIONS = 2


class RemoteCollections:
    """The collections in one Milvus, each opened once; safe to use from several threads.

    Others may make and drop collections meanwhile. What belongs to a collection besides its documents, such as its
    catalog, is in a folder of `home`. `encoder_factory` and `load` are as in `Collections`.
    """

    def __init__(
        self,
        milvus: Milvus,
        home: Path,
        encoder_factory: Callable[[], Encoder | Spaces | None] = lambda: None,
        bm25: BM25 = BM25(),  # noqa: B008 # frozen
        load: Callable[[str], Encoder] | None = None,
    ) -> None:
        self._milvus = milvus
        self._home = home
        self._encoder_factory = encoder_factory
        self._bm25 = bm25
        self._load = load
        self._encoder: list[Encoder | Spaces | None] = []
        self._open: dict[str, RemoteCollection] = {}
        self._lock = threading.RLock()

    def encoders(self) -> Spaces:
        """Return the encoders that are wanted; raises what making them raises."""
        with self._lock:
            if not self._encoder:
                self._encoder.append(self._encoder_factory())
            return spaces_of(self._encoder[0])

    def open(self, name: str) -> RemoteCollection:
        """Return the collection called `name`; raises NotFoundError if there is none."""
        opened = self._open.get(check_name(name))
        if not self._exists(name):
            self._open.pop(name, None)
            raise NotFoundError(f"collection {name!r}: there is none of that name")
        if opened is None:
            encoders = self.encoders()
            made = RemoteCollection(name, self._milvus, stored_as(name), encoders, self._bm25, self._load)
            (self._home / name).mkdir(parents=True, exist_ok=True)
            with self._lock:
                opened = self._open.setdefault(name, made)
        return opened

    def opened(self) -> list[RemoteCollection]:
        """Return the collections that are open."""
        return list(self._open.values())

    def count(self, name: str) -> int:
        """Return how many documents the collection called `name` holds; no encoder is needed for that."""
        if not self._exists(name):
            raise NotFoundError(f"collection {name!r}: there is none of that name")
        return RemoteCollection(name, self._milvus, stored_as(name)).count()

    def create(self, name: str, size: int = 0, dimensions: int = 0) -> RemoteCollection:
        """Make an empty collection; raises ConflictError if there is one of that name.

        `size` is how many passages it will have, as far as is known; `dimensions` how long its vectors are, where
        they do not come from the encoders that are wanted.
        """
        with self._lock:
            if self._exists(name):
                raise ConflictError(f"collection {name!r}: there is one already")
            self._open.pop(name, None)
            spaces = self.encoders()
            longest = max(_LEAST_DIMENSIONS, dimensions, *(spaces.dimensions(space) for space in spaces))
            stored = stored_as(name)
            self._milvus.write(
                "create_collection", collection_name=stored, schema=schema(longest), consistency_level="Strong"
            )
            # Nothing is there to be indexed: none of them need be waited for.
            self._milvus.write("create_index", collection_name=stored, index_params=indexes(size), sync=False)
            self._index_arrays(stored)
            self._milvus.write("load_collection", collection_name=stored)
            return self.open(name)

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        found: list[str] = list(self._milvus.read("list_collections"))
        return sorted(name_of(stored) for stored in found if stored.startswith(_PREFIX))

    def drop(self, name: str) -> None:
        """Delete a collection with all its documents; raises NotFoundError if there is none."""
        with self._lock:
            if not self._exists(name):
                raise NotFoundError(f"collection {name!r}: there is none of that name")
            self._open.pop(name, None)
            self._milvus.write("drop_collection", collection_name=stored_as(name))
            if not (self._home / name / STORE_FILE).exists():  # else a collection of that name is in the folder, too
                shutil.rmtree(self._home / name, ignore_errors=True)

    def flush(self) -> None:
        """Do nothing: what was acknowledged is in Milvus, which needs no goodbye."""

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._open.clear()
        self._milvus.close()

    def _exists(self, name: str) -> bool:
        return bool(self._milvus.read("has_collection", collection_name=stored_as(check_name(name))))

    def _index_arrays(self, stored: str) -> None:
        """Index what filters and statistics ask for, where the server can: milvus-lite looks at all rows instead."""
        with suppress(QuerywrightError):
            self._milvus.write("create_index", collection_name=stored, index_params=indexes(0, arrays=True), sync=False)


def stored_as(name: str) -> str:
    """Return what a collection is called in Milvus, where names have no hyphens.

    >>> stored_as("my-notes_1")
    'querywright_my_hnotes__1'
    """
    return _PREFIX + name.replace("_", "__").replace("-", "_h")


def name_of(stored: str) -> str:
    """Return the name of a collection that Milvus calls `stored`.

    >>> name_of("querywright_my_hnotes__1")
    'my-notes_1'
    """
    return "_".join(part.replace("_h", "-") for part in stored.removeprefix(_PREFIX).split("__"))
