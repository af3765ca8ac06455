"""The SDK in process: what the HTTP service does, without HTTP. The service itself is a skin over this class."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zoneinfo import ZoneInfo

from .. import InputError, NotFoundError, QuerywrightError, StorageError, UnavailableError
from ..retrieval.collection import Encode, Filter, Leg, check_legs
from ..retrieval.encoders import load_encoder
from ..retrieval.home import Collections, check_name
from ..retrieval.joined import AnyCollection, Joined, OneCollection
from ..retrieval.lexical import BM25
from ..retrieval.milvus_calls import Milvus
from ..retrieval.passage import Document
from ..retrieval.remote_home import RemoteCollections
from ..retrieval.segment import Indexing
from ..retrieval.sources import keeps_whole, read_source
from ..retrieval.spaces import Spaces, load_spaces
from ..rewrite.catalog import Catalog
from ..rewrite.query import Answered, Query, Rewrite, Role, Turn
from .answer import Answer, Event
from .backups import Backup, Backups
from .catalogs import CatalogInfo, Catalogs, StoredCatalog, read_catalog
from .cluster import Cluster
from .pipeline import BOTH_LEGS, Pipeline, about
from .remembering import Known
from .schemas import MAX_BUDGET_MS, Info, NoDefaultError, check_budget, read_document, read_query
from .settings import Engine, Settings
from .sharding import encoding_on, groups, rewritten_on
from .uploads import uploaded

MOST_COLLECTIONS = 100
"""More collections in one search are refused."""

_NO_CATALOG = "catalog: the collection has none of its own"

_log = logging.getLogger(__name__)


class Querywright:
    """Collections under one home, rewritten for and searched. Safe to use from several threads.

    >>> from tempfile import mkdtemp
    >>> with Querywright(home=mkdtemp(), encoder="none") as querywright:
    ...     _ = querywright.create_collection("notes")
    ...     _ = querywright.upsert("notes", [{"doc_id": "a", "text": "客户画像的操作指南"}])
    ...     querywright.search("客户画像", collection="notes").hits[0].doc_id
    'a'
    """

    def __init__(self, home: str | Path | None = None, **settings: Any) -> None:  # noqa: ANN401 # of Settings
        self._given = {"home": home} | settings
        self.settings = Settings.load(**self._given)
        self._closed = threading.Event()
        self._pipeline = Pipeline(self.settings)
        self.catalogs = Catalogs(self.settings.home)
        self.collection_store = collection_store(self.settings)

    def reloaded(self) -> Querywright:
        """Return one with the settings as the environment and files say now; this one stays as it is.

        The collections that are open are shared unless a setting changed that they hang on, so close only one of both.
        Raises InputError that names the setting which is wrong.
        """
        made = Querywright(**self._given)
        if made.settings.indexed == self.settings.indexed:
            made.collection_store = self.collection_store
        made.pipeline.share(self.pipeline)
        return made

    @property
    def local_collections(self) -> Collections:
        """The collections in the home. Raises InputError where they are elsewhere."""
        if not isinstance(self.collection_store, Collections):
            raise InputError("setting engine: this works on local collections: copy the collection to one")
        return self.collection_store

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that answers; the evaluation uses it directly."""
        return self._pipeline

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every collection and stop the rewriters."""
        self._closed.set()
        self._pipeline.close()
        self.collection_store.close()

    # ------------------------------------------------------------------------------------ asking

    def query(  # what can be said of a search; all but the first are named
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | Sequence[str] | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        k: int = 10,
        legs: Sequence[str] = BOTH_LEGS,
        filter: Filter | None = None,  # noqa: A002 # the word of the field
        rewriter: str = "auto",
        catalog: Catalog | None = None,
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Answer:
        """Rewrite and search: the original at once, the rewrite after it, both fused.

        `collection` may be several, searched as one; hits then name theirs, and the first that has a catalog gives it.
        `budget_ms` is how long the rewriters may take instead of the setting; `clarification` the answer to a question
        that came back, as {"token", "value"}.

        >>> told = [{"role": "user", "text": "I heard there are customer profiles now. What are they for?"}]
        >>> answer = querywright.query("How do I use this feature?", collection="handbook", history=told)
        >>> answer.rewrite.rewrite, answer.hits[0].doc_id
        ('How do I use customer profiles?', 'profiles')
        """
        asked = self._clocked(read_query(query, history, profile, now, clarification))
        opened, own = self._asked(collection, rewriter)
        known = Known(catalog or own, budget_ms=check_budget(budget_ms))
        return self._pipeline.answer(asked, opened, k=k, legs=legs, rewriter=rewriter, filter=filter, known=known)

    def query_stream(  # as `query`
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | Sequence[str] | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        k: int = 10,
        legs: Sequence[str] = BOTH_LEGS,
        filter: Filter | None = None,  # noqa: A002 # the word of the field
        rewriter: str = "auto",
        catalog: Catalog | None = None,
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Generator[Event, None, None]:
        """Do as `query` does, and tell of each part as soon as it is there; the last event is the Answer.

        Before it come each Stage, the EarlyHits of the query as it was typed and the Rewrite. What `query` would
        raise is raised when the first event is asked for, or where it happens. Closing the iterator ends the work.

        >>> for event in querywright.query_stream("How do I use invoices?", collection="handbook"):
        ...     match event:
        ...         case EarlyHits(hits):
        ...             print("so far:", hits[0].doc_id)
        ...         case Rewrite():
        ...             print(event.decision)
        ...         case Answer(hits):
        ...             print("in the end:", hits[0].doc_id)
        so far: invoices
        keep
        in the end: invoices
        """
        asked = self._clocked(read_query(query, history, profile, now, clarification))
        opened, own = self._asked(collection, rewriter)
        known = Known(catalog or own, budget_ms=check_budget(budget_ms))
        yield from self._pipeline.stream(asked, opened, k=k, legs=legs, rewriter=rewriter, filter=filter, known=known)

    def search(
        self,
        query: str,
        *,
        collection: str | Sequence[str] | None = None,
        k: int = 10,
        legs: Sequence[str] = BOTH_LEGS,
        filter: Filter | None = None,  # noqa: A002 # the word of the field
    ) -> Answer:
        """Search with the text as it is, one collection or several."""
        return self.query(query, collection=collection, k=k, legs=legs, filter=filter, rewriter="none")

    def rewrite(  # as `query`
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        rewriter: str = "auto",
        catalog: Catalog | None = None,
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Rewrite:
        """Rewrite without searching, with the catalog of `collection`, else of the default one if it is there."""
        asked = self._clocked(read_query(query, history, profile, now, clarification))
        known = self._known(collection, catalog, check_budget(budget_ms))
        return self._pipeline.rewrite(asked, rewriter=rewriter, known=known)

    def rewrite_all(
        self,
        queries: Sequence[Query],
        *,
        collection: str | None = None,
        rewriter: str = "auto",
        catalog: Catalog | None = None,
    ) -> list[Rewrite]:
        """Rewrite several queries as `rewrite` does, faster than one by one where the editor reads them."""
        asked = [self._clocked(query) for query in queries]
        known = self._known(collection, catalog)
        return self._pipeline.rewrite_all(asked, rewriter=rewriter, known=known)

    def rewrite_batches(
        self,
        queries: Iterable[Query],
        *,
        collection: str | None = None,
        rewriter: str = "auto",
        catalog: Catalog | None = None,
        cluster: Cluster | None = None,
    ) -> Iterator[list[Rewrite]]:
        """Yield the rewrites of any number of queries in order, 256 at a time as `rewrite_all` makes them.

        They are made on `cluster`, if one is given, and are the same, but for the times and tokens in them.
        """
        if cluster is None:
            for group in groups(queries):
                yield self.rewrite_all(group, collection=collection, rewriter=rewriter, catalog=catalog)
            return
        known = self._known(collection, catalog)
        asked = map(self._clocked, queries)
        yield from rewritten_on(cluster, self._pipeline, self.settings, asked, rewriter, known)

    def warm_up(self) -> list[str]:
        """Load what a first query would wait for: encoder, editors, the default catalog's index, the chat model.

        Returns what could not be loaded and why; the answers that miss it will be marked `degraded`.
        """
        turns = (Turn(Role.USER, "ready?"),)
        asked = (Query("好了吗", turns), Query("is it ready?", turns))
        work: list[Callable[[], object]] = [
            lambda: self.rewrite_all(asked, rewriter="editor"),
            lambda: [self.rewrite(query, rewriter="catalog", budget_ms=MAX_BUDGET_MS) for query in asked],
        ]
        work.append(lambda: self.collection_store.encoders().encode_queries([turn.query for turn in asked]))
        work.append(lambda: self.settings.default_collection in self.collection_store.names() and self.search("ready?"))
        if self.settings.llm:
            work.append(lambda: self._pipeline.rewriter("llm"))
        problems = []
        for load in work:
            try:
                load()
            except QuerywrightError as error:
                problems.append(str(error))
        return problems

    def _asked(self, names: str | Sequence[str] | None, rewriter: str) -> tuple[AnyCollection, Catalog | None]:
        """Return the collections to search and the catalog that comes with them, where `rewriter` needs one."""
        named = check_collections(names)
        wanted = named or [self.settings.default_collection]
        try:
            opened = [self.collection_store.open(name) for name in wanted]
        except NotFoundError as error:
            if named:
                raise
            raise NoDefaultError from error
        wanted = [] if rewriter == "none" else wanted
        catalog = next((found for name in wanted if (found := self._catalog(name))), None)
        return (opened[0] if len(opened) == 1 else Joined(opened)), catalog

    def catch_up(self) -> None:
        """Encode anew what comes from an earlier encoder, collection by collection, until done or closed.

        A service does so in the background; meanwhile each is searched by the vectors that it has.
        """
        if not isinstance(self.collection_store, Collections):
            return  # vectors in Milvus stay those of their encoder
        for name in self.collection_store.names():
            try:
                opened = self.collection_store.open(name)
                if opened.outdated and opened.reencode(stopped=self._closed.is_set):
                    opened.flush()
            except QuerywrightError as error:
                if self._closed.is_set():
                    return
                _log.warning("collection %r: %s", name, error)

    def stop_catching_up(self) -> None:
        """End `catch_up` after the batch that it is at."""
        self._closed.set()

    def _has_default(self) -> bool:
        """Say whether the default collection is there to be asked; what only rewrites can do without it."""
        try:
            return self.settings.default_collection in self.collection_store.names()
        except UnavailableError as error:
            _log.warning("collection %r: %s", self.settings.default_collection, error)
            return False

    def _known(self, collection: str | None, catalog: Catalog | None, budget_ms: int | None = None) -> Known:
        """Return what is known around a query about `collection`, which must exist, or the default one if it does."""
        name = self.settings.default_collection if collection is None else collection
        if collection is None and not self._has_default():
            return Known(catalog, budget_ms=budget_ms)
        opened = self.collection_store.open(name)
        known = Known(catalog or self._catalog(name), budget_ms=budget_ms)
        return about(known, opened, opened.snapshot())

    # ------------------------------------------------------------------------------- collections

    def collections(self) -> list[Info]:
        """Return every collection with the number of its documents, by name; None where it cannot be read."""
        found = []
        for name in self.collection_store.names():
            with suppress(NotFoundError):  # dropped meanwhile
                found.append(Info(name, self._count(name)))
        return found

    def _count(self, name: str) -> int | None:
        try:
            return self.collection_store.count(name)
        except NotFoundError:
            raise
        except QuerywrightError as error:
            _log.warning("collection %s: %s", name, error)
            return None

    def create_collection(self, name: str) -> Info:
        """Make an empty collection. Raises ConflictError when there is one of that name."""
        return Info(name, self.collection_store.create(name).count())

    def drop_collection(self, name: str) -> None:
        """Delete a collection and all its documents. Raises NotFoundError when there is none."""
        self.collection_store.drop(name)

    def upsert(self, collection: str, documents: Iterable[Document | Mapping[str, Any]]) -> int:
        """Add or replace documents; return how many. When it returns, they are on disk and findable.

        >>> row = {"doc_id": "exports", "title": "导出", "text": "打开客户列表。", "metadata": {"lang": "zh"}}
        >>> querywright.upsert("handbook", [row])
        1
        >>> querywright.search("客户列表", collection="handbook", filter={"lang": "zh"}).hits[0].doc_id
        'exports'
        """
        read = [read_document(document, f"documents[{i}]") for i, document in enumerate(documents)]
        return self.collection_store.open(collection).upsert(read)

    def add_file(self, collection: str, name: str, data: bytes) -> int:
        """Add the documents of one file; return how many. When it returns, they are on disk and findable.

        `name` says what it is, .md, .markdown, .txt or .jsonl; that of a text, folders and all, becomes its doc_id.
        Raises InputError that begins with the file's name and the line that is wrong.
        """
        opened = self.collection_store.open(collection)
        with uploaded(name, data) as (documents, whole):
            return opened.upsert(documents, whole=whole)

    def document(self, collection: str, doc_id: str) -> Document:
        """Return one document. Raises NotFoundError when there is none of that id."""
        return self.collection_store.open(collection).get(doc_id)

    def documents(self, collection: str, *, after: str | None = None, limit: int = 100) -> list[Document]:
        """Return documents in the order of their ids, those after the id `after`."""
        return self.collection_store.open(collection).documents(after, limit)

    def iter_documents(self, collection: str, *, page: int = 100) -> Iterator[Document]:
        """Go through all documents in the order of their ids, reading `page` at a time as they are asked for.

        Documents that are there all the while come exactly once, whatever is written meanwhile.

        >>> sorted(document.doc_id for document in querywright.iter_documents("handbook"))
        ['invoices', 'profiles']
        """
        after = None
        while found := self.documents(collection, after=after, limit=page):
            yield from found
            after = found[-1].doc_id

    def delete(self, collection: str, doc_ids: Iterable[str]) -> int:
        """Delete documents by id; return how many there were."""
        return self.collection_store.open(collection).delete(doc_ids)

    # ---------------------------------------------------------------------------------- catalogs

    def flush(self, collection: str) -> None:
        """Make a collection's index as a clean build would, and save it; searches go on meanwhile.

        A large collection scores what was written lately by the statistics of what was there before, until then.
        """
        self.collection_store.open(collection).flush()

    def catalog(self, collection: str) -> StoredCatalog:
        """Return a collection's own catalog as it was written. Raises NotFoundError when it has none."""
        found = self.catalogs.read(self._existing(collection))
        if found is None:
            raise NotFoundError(_NO_CATALOG)
        return found

    def put_catalog(
        self,
        collection: str,
        text: str,
        format: str = "toml",  # noqa: A002 # the word of the field
        expected: str | None = None,
    ) -> CatalogInfo:
        """Give a collection a catalog of its own, written as toml, yaml or csv; the next query uses it.

        Raises InputError that names the line and entry that is wrong, and then nothing changes; ConflictError when
        `expected` is given and the catalog in place has another version, or there is none.
        """
        return self.catalogs.put(self._existing(collection), text, format, expected)

    def delete_catalog(self, collection: str) -> None:
        """Take a collection's own catalog away. Raises NotFoundError when it has none."""
        if not self.catalogs.delete(self._existing(collection)):
            raise NotFoundError(_NO_CATALOG)

    def _existing(self, collection: str) -> str:
        """Return the name of a collection, without opening it. Raises NotFoundError when there is none."""
        if check_name(collection) not in self.collection_store.names():
            raise NotFoundError(f"collection {collection!r}: there is none of that name")
        return collection

    # ----------------------------------------------------------------------------------- backups

    def backup(self, collection: str, path: str | Path) -> Backup:
        """Write a collection as it is at this moment to one file, which appears whole; all else goes on meanwhile.

        Raises NotFoundError where there is no such collection, InputError where the file cannot be written.
        """
        return Backups(self.settings.home, self.local_collections, self.catalogs).make(collection, Path(path))

    def restore(self, path: str | Path, collection: str, replace: bool = False) -> Backup:  # noqa: FBT001, FBT002
        """Make a collection of a backup; with `replace`, in place of one that has the name, all at once.

        The whole file is checked before anything is touched. Searches and writes go on, in whatever process, and see
        all that was before or all that was restored. Raises InputError that says what is wrong with the file,
        ConflictError where the name is taken.
        """
        backups = Backups(self.settings.home, self.local_collections, self.catalogs)
        return backups.restore(Path(path), collection, replace=replace)

    # ---------------------------------------------------------------------------------- indexing

    def index(
        self,
        sources: Sequence[str | Path],
        collection: str,
        *,
        catalog: str | Path | None = None,
        progress: Callable[[int], None] | None = None,
        cluster: Cluster | None = None,
    ) -> int:
        """Read files and folders into a collection, made if need be; return how many documents were read.

        Texts are encoded on `cluster`, if one is given, and written here, in order. The catalog is put in place last.
        Raises InputError for an id that two sources have; what was stored before an error stays, a collection that
        was made and got nothing goes again.
        """
        given = read_catalog(Path(catalog)) if catalog is not None else None  # before anything is made
        with self._opened_or_made(collection) as opened:
            encode = encoding_on(cluster, self.settings.encoder) if cluster is not None else None
            total = _index(opened, list(map(Path, sources)), progress, encode)
            if given is not None:
                self.catalogs.put(collection, given.text, given.format)
            opened.reencode(encode=encode)
            try:
                opened.flush()
            except StorageError as error:  # all documents are stored; the next opening makes the index
                _log.warning("%s", error)
        return total

    @contextmanager
    def _opened_or_made(self, name: str) -> Iterator[OneCollection]:
        if name in self.collection_store.names():
            yield self.collection_store.open(name)
            return
        made = self.collection_store.create(name)
        try:
            yield made
        except BaseException:
            with suppress(QuerywrightError):  # the error that came first is the one to tell
                if not made.count():
                    self.collection_store.drop(name)
            raise

    def _catalog(self, collection: str) -> Catalog | None:
        return self.catalogs.load(collection)

    def _clocked(self, query: Query) -> Query:
        """Give a query without a clock the server's."""
        if query.now is not None:
            return query
        return replace(query, now=datetime.now(UTC).astimezone(ZoneInfo(self.settings.timezone)))


def check_collections(names: str | Sequence[str] | None) -> list[str]:
    """Return the names of the collections that are asked for, each once; none for the default one."""
    if names is None or isinstance(names, str):
        return [names] if names else []
    if not isinstance(names, Sequence) or not 0 < len(names) <= MOST_COLLECTIONS:
        raise InputError(f"collection: expected a name or a list of 1 to {MOST_COLLECTIONS} names")
    return list(dict.fromkeys(map(check_name, names)))


def collection_store(settings: Settings, engine: Engine | None = None) -> Collections | RemoteCollections:
    """Return the collections of the engine that is set, or of another; nothing is connected to before it is needed."""

    def encoders() -> Spaces:
        return load_spaces(settings.encoder, load_encoder)

    if (engine or settings.engine) is Engine.LOCAL:
        return Collections(settings.home, encoders, indexing(settings), load_encoder)
    if not settings.milvus_uri:
        raise InputError("setting milvus_uri: the engine milvus needs it: http://HOST:19530, or a file NAME.db")
    token = settings.milvus_token.get_secret_value() if settings.milvus_token else ""
    milvus = Milvus(settings.milvus_uri, token, settings.milvus_seconds)
    return RemoteCollections(milvus, settings.home, encoders, indexing(settings).bm25, load_encoder)


def indexing(settings: Settings) -> Indexing:
    """Return how `settings` say that passages are indexed."""
    return Indexing(BM25(settings.bm25_k1, settings.bm25_b), settings.lexical_engine, settings.device)


def _index(
    collection: OneCollection, sources: Sequence[Path], progress: Callable[[int], None] | None, encode: Encode | None
) -> int:
    seen: dict[str, Path] = {}
    total = 0
    for source in sources:
        told = partial(_add_to, progress, total) if progress else None
        documents = _once(read_source(source), source, seen)
        total += collection.upsert(documents, whole=keeps_whole(source), progress=told, encode=encode)
    return total


def _once(documents: Iterable[Document], source: Path, seen: dict[str, Path]) -> Iterator[Document]:
    """Pass documents on; raise InputError for one whose id another source has."""
    for document in documents:
        first = seen.setdefault(document.doc_id, source)
        if first != source:
            raise InputError(f"{source}: id {document.doc_id!r} comes from {first} already: give one of them another")
        yield document


def _add_to(progress: Callable[[int], None], base: int, done: int) -> None:
    progress(base + done)


def check_legs_text(text: str) -> tuple[Leg, ...]:
    """Read legs as the command line has them: "lexical", "dense", "lexical,dense" or "hybrid"."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return check_legs(names[0] if len(names) == 1 else names)
