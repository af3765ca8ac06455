"""The SDK over HTTP: the same methods, types and errors as in process."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from httpx_sse import EventSource
from tenacity import AsyncRetrying, Retrying

from ..retrieval.passage import Document
from ..rewrite.query import Answered, Query, Rewrite
from . import calls
from .answer import Answer, Event
from .attempts import policy
from .calls import DEFAULT_URL, Call
from .catalogs import CatalogInfo, StoredCatalog
from .schemas import Info

_T = TypeVar("_T")


class Client:
    """Talk to a Querywright service. Use as a context manager, or call `close`. Safe to use from several threads.

    Raises what the in-process SDK raises; UnavailableError where the service is busy or cannot be reached, AuthError
    where it does not take the key.

    `api_key`, or else what QUERYWRIGHT_API_KEY holds, goes with every request in the clear: to other machines use an
    https address. `timeout` is how many seconds a call waits for the service, its repetitions and their pauses among
    them. A call is made again, up to `retries` times and after growing pauses or those that the service asks for, where
    nothing was done: it was not reached, or said that it was busy. One that was lost midway is made again only where
    twice comes to the same as once. That leaves out create_collection, drop_collection, delete_catalog and a
    put_catalog with `expected`; a `delete` may then count too few. A stream that has begun is never begun anew.
    The default of `retries` spans a few seconds, as of a busy moment, not a restart of the service: for that give more
    of them, up to `timeout`.

    >>> with Client() as client:
    ...     _ = client.create_collection("manual")
    ...     _ = client.upsert("manual", [{"doc_id": "profiles", "text": "How to use customer profiles"}])
    ...     answer = client.query(
    ...         "How do I use it?",
    ...         collection="manual",
    ...         history=[{"role": "user", "text": "I heard there are customer profiles now. What are they for?"}],
    ...     )
    ...     client.drop_collection("manual")
    >>> answer.rewrite.rewrite
    'How do I use customer profiles?'
    >>> answer.hits[0].doc_id
    'profiles'
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, api_key: str | None = None, timeout: float = 60.0, retries: int = 2
    ) -> None:
        self._http = httpx.Client(**calls.connection(url, api_key))
        self._timeout = timeout
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def query(  # as Querywright.query
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | Sequence[str] | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Answer:
        """Rewrite and search: the original at once, the rewrite after it, both fused.

        `collection` may be several, searched as one; hits then name theirs, and the first that has a catalog gives it.
        `budget_ms` is how long the rewriters may take instead of the setting; `clarification` the answer to a question
        that came back, as {"token", "value"}.

        >>> told = [{"role": "user", "text": "I heard there are customer profiles now. What are they for?"}]
        >>> answer = client.query("How do I use this feature?", collection="handbook", history=told)
        >>> answer.rewrite.rewrite, answer.hits[0].doc_id
        ('How do I use customer profiles?', 'profiles')
        """
        body = calls.query_row(query, history, profile, now, clarification)
        body |= calls.search_row(collection, k, legs, filter) | {"rewriter": rewriter, "budget_ms": budget_ms}
        return self._done(calls.query(body))

    def query_stream(  # as `query`
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | Sequence[str] | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Generator[Event, None, None]:
        """Do as `query` does, and tell of each part as soon as it is there; the last event is the Answer.

        Before it come each Stage, the EarlyHits of the query as it was typed and the Rewrite. What `query` would
        raise is raised when the first event is asked for, or where it happens. Closing the iterator ends the work.

        >>> for event in client.query_stream("How do I use invoices?", collection="handbook"):
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
        body = calls.query_row(query, history, profile, now, clarification)
        body |= calls.search_row(collection, k, legs, filter) | {"rewriter": rewriter, "budget_ms": budget_ms}
        with closing(calls.checked(self._responded(calls.query_stream(body), streamed=True))) as response:
            answered = False
            try:
                for sse in EventSource(response).iter_sse():
                    if event := calls.heard(sse, response):
                        answered |= isinstance(event, Answer)
                        yield event
            except httpx.TransportError as error:
                raise calls.broken_off(error) from error
            if not answered:
                raise calls.broken_off()

    def search(
        self,
        query: str,
        *,
        collection: str | Sequence[str] | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
    ) -> Answer:
        """Search with the text as it is, one collection or several."""
        body = {"query": query} | calls.search_row(collection, k, legs, filter)
        return self._done(calls.search(body))

    def rewrite(  # as Querywright.rewrite
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Rewrite:
        """Rewrite without searching, with the catalog of `collection`, else of the default one if it is there."""
        body = calls.query_row(query, history, profile, now, clarification)
        body |= {"collection": collection, "rewriter": rewriter, "budget_ms": budget_ms}
        return self._done(calls.rewrite(body))

    def collections(self) -> list[Info]:
        """Return every collection with the number of its documents, by name; None where it cannot be read."""
        return self._done(calls.collections())

    def create_collection(self, name: str) -> Info:
        """Make an empty collection. Raises ConflictError when there is one of that name."""
        return self._done(calls.create_collection(name))

    def drop_collection(self, name: str) -> None:
        """Delete a collection and all its documents. Raises NotFoundError when there is none."""
        self._done(calls.drop_collection(name))

    def upsert(self, collection: str, documents: Iterable[Document | Mapping[str, Any]]) -> int:
        """Add or replace documents; return how many. When it returns, they are on disk and findable.

        >>> row = {"doc_id": "exports", "title": "导出", "text": "打开客户列表。", "metadata": {"lang": "zh"}}
        >>> client.upsert("handbook", [row])
        1
        >>> client.search("客户列表", collection="handbook", filter={"lang": "zh"}).hits[0].doc_id
        'exports'
        """
        return self._done(calls.upsert(collection, documents))

    def add_file(self, collection: str, name: str, data: bytes) -> int:
        """Add the documents of one file; return how many. When it returns, they are on disk and findable.

        `name` says what it is, .md, .markdown, .txt or .jsonl; that of a text, folders and all, becomes its doc_id.
        Raises InputError that begins with the file's name and the line that is wrong.
        """
        return self._done(calls.add_file(collection, name, data))

    def document(self, collection: str, doc_id: str) -> Document:
        """Return one document. Raises NotFoundError when there is none of that id."""
        return self._done(calls.document(collection, doc_id))

    def documents(self, collection: str, *, after: str | None = None, limit: int = 100) -> list[Document]:
        """Return documents in the order of their ids, those after the id `after`."""
        return self._done(calls.documents(collection, after, limit))

    def iter_documents(self, collection: str, *, page: int = 100) -> Iterator[Document]:
        """Go through all documents in the order of their ids, reading `page` at a time as they are asked for.

        Documents that are there all the while come exactly once, whatever is written meanwhile.

        >>> sorted(document.doc_id for document in client.iter_documents("handbook"))
        ['invoices', 'profiles']
        """
        after = None
        while found := self.documents(collection, after=after, limit=page):
            yield from found
            after = found[-1].doc_id

    def delete(self, collection: str, doc_ids: Iterable[str]) -> int:
        """Delete documents by id; return how many there were."""
        return sum(self._done(call) for call in calls.deletes(collection, doc_ids))

    def flush(self, collection: str) -> None:
        """Make a collection's index as a clean build would, and save it; searches go on meanwhile."""
        self._done(calls.flush(collection))

    def catalog(self, collection: str) -> StoredCatalog:
        """Return a collection's own catalog as it was written. Raises NotFoundError when it has none."""
        return self._done(calls.catalog(collection))

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
        return self._done(calls.put_catalog(collection, text, format, expected))

    def delete_catalog(self, collection: str) -> None:
        """Take a collection's own catalog away. Raises NotFoundError when it has none."""
        self._done(calls.delete_catalog(collection))

    def _done(self, call: Call[_T]) -> _T:
        return call.read(calls.checked(self._responded(call)))

    def _responded(self, call: Call[_T], *, streamed: bool = False) -> httpx.Response:
        """Return the response, after as many attempts as the call may have."""
        until = time.monotonic() + self._timeout

        def attempt() -> httpx.Response:
            request = call.request(self._http, max(until - time.monotonic(), 0.001))
            response = self._http.send(request, stream=streamed)
            if not response.is_success:
                response.read()
            return response

        retrying = Retrying(**policy(repeatable=call.repeatable, retries=self._retries, seconds=self._timeout))
        try:
            return retrying(attempt)
        except httpx.TransportError as error:
            raise calls.unreachable(error) from error


class AsyncClient:
    """`Client` for asyncio: the same methods, awaited; `query_stream` and `iter_documents` are for `async for`.

    >>> async def told():
    ...     async with AsyncClient() as client:
    ...         await client.upsert("handbook", [{"doc_id": "new", "text": "Customer profiles can be exported."}])
    ...         ids = [document.doc_id async for document in client.iter_documents("handbook")]
    ...         async for event in client.query_stream("export customer profiles", collection="handbook"):
    ...             match event:
    ...                 case EarlyHits():
    ...                     print("so far:", event.hits[0].doc_id)
    ...                 case Answer():
    ...                     print("in the end:", event.hits[0].doc_id, "of", len(ids))
    >>> asyncio.run(told())
    so far: new
    in the end: new of 3
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, api_key: str | None = None, timeout: float = 60.0, retries: int = 2
    ) -> None:
        self._http = httpx.AsyncClient(**calls.connection(url, api_key))
        self._timeout = timeout
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def query(  # as Querywright.query
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | Sequence[str] | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Answer:
        """Rewrite and search: the original at once, the rewrite after it, both fused.

        `collection` may be several, searched as one; hits then name theirs, and the first that has a catalog gives it.
        `budget_ms` is how long the rewriters may take instead of the setting; `clarification` the answer to a question
        that came back, as {"token", "value"}.
        """
        body = calls.query_row(query, history, profile, now, clarification)
        body |= calls.search_row(collection, k, legs, filter) | {"rewriter": rewriter, "budget_ms": budget_ms}
        return await self._done(calls.query(body))

    async def query_stream(  # as `query`
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | Sequence[str] | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Do as `query` does, and tell of each part as soon as it is there; the last event is the Answer.

        Before it come each Stage, the EarlyHits of the query as it was typed and the Rewrite. What `query` would
        raise is raised when the first event is asked for, or where it happens. Closing the iterator ends the work.
        """
        body = calls.query_row(query, history, profile, now, clarification)
        body |= calls.search_row(collection, k, legs, filter) | {"rewriter": rewriter, "budget_ms": budget_ms}
        response = calls.checked(await self._responded(calls.query_stream(body), streamed=True))
        async with aclosing(response), aclosing(EventSource(response).aiter_sse()) as heard:
            answered = False
            try:
                async for sse in heard:
                    if event := calls.heard(sse, response):
                        answered |= isinstance(event, Answer)
                        yield event
            except httpx.TransportError as error:
                raise calls.broken_off(error) from error
            if not answered:
                raise calls.broken_off()

    async def search(
        self,
        query: str,
        *,
        collection: str | Sequence[str] | None = None,
        k: int = 10,
        legs: Sequence[str] = ("lexical", "dense"),
        filter: Mapping[str, Any] | None = None,  # noqa: A002 # the word of the field
    ) -> Answer:
        """Search with the text as it is, one collection or several."""
        body = {"query": query} | calls.search_row(collection, k, legs, filter)
        return await self._done(calls.search(body))

    async def rewrite(  # as Querywright.rewrite
        self,
        query: str | Query | Mapping[str, Any],
        *,
        collection: str | None = None,
        history: Sequence[Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        now: datetime | str | None = None,
        rewriter: str = "auto",
        budget_ms: int | None = None,
        clarification: Answered | Mapping[str, Any] | None = None,
    ) -> Rewrite:
        """Rewrite without searching, with the catalog of `collection`, else of the default one if it is there."""
        body = calls.query_row(query, history, profile, now, clarification)
        body |= {"collection": collection, "rewriter": rewriter, "budget_ms": budget_ms}
        return await self._done(calls.rewrite(body))

    async def collections(self) -> list[Info]:
        """Return every collection with the number of its documents, by name; None where it cannot be read."""
        return await self._done(calls.collections())

    async def create_collection(self, name: str) -> Info:
        """Make an empty collection. Raises ConflictError when there is one of that name."""
        return await self._done(calls.create_collection(name))

    async def drop_collection(self, name: str) -> None:
        """Delete a collection and all its documents. Raises NotFoundError when there is none."""
        await self._done(calls.drop_collection(name))

    async def upsert(self, collection: str, documents: Iterable[Document | Mapping[str, Any]]) -> int:
        """Add or replace documents; return how many. When it returns, they are on disk and findable."""
        return await self._done(calls.upsert(collection, documents))

    async def add_file(self, collection: str, name: str, data: bytes) -> int:
        """Add the documents of one file; return how many. When it returns, they are on disk and findable.

        `name` says what it is, .md, .markdown, .txt or .jsonl; that of a text, folders and all, becomes its doc_id.
        Raises InputError that begins with the file's name and the line that is wrong.
        """
        return await self._done(calls.add_file(collection, name, data))

    async def document(self, collection: str, doc_id: str) -> Document:
        """Return one document. Raises NotFoundError when there is none of that id."""
        return await self._done(calls.document(collection, doc_id))

    async def documents(self, collection: str, *, after: str | None = None, limit: int = 100) -> list[Document]:
        """Return documents in the order of their ids, those after the id `after`."""
        return await self._done(calls.documents(collection, after, limit))

    async def iter_documents(self, collection: str, *, page: int = 100) -> AsyncIterator[Document]:
        """Go through all documents in the order of their ids, reading `page` at a time as they are asked for.

        Documents that are there all the while come exactly once, whatever is written meanwhile.
        """
        after = None
        while found := await self.documents(collection, after=after, limit=page):
            for document in found:
                yield document
            after = found[-1].doc_id

    async def delete(self, collection: str, doc_ids: Iterable[str]) -> int:
        """Delete documents by id; return how many there were."""
        return sum([await self._done(call) for call in calls.deletes(collection, doc_ids)])

    async def flush(self, collection: str) -> None:
        """Make a collection's index as a clean build would, and save it; searches go on meanwhile."""
        await self._done(calls.flush(collection))

    async def catalog(self, collection: str) -> StoredCatalog:
        """Return a collection's own catalog as it was written. Raises NotFoundError when it has none."""
        return await self._done(calls.catalog(collection))

    async def put_catalog(
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
        return await self._done(calls.put_catalog(collection, text, format, expected))

    async def delete_catalog(self, collection: str) -> None:
        """Take a collection's own catalog away. Raises NotFoundError when it has none."""
        await self._done(calls.delete_catalog(collection))

    async def _done(self, call: Call[_T]) -> _T:
        return call.read(calls.checked(await self._responded(call)))

    async def _responded(self, call: Call[_T], *, streamed: bool = False) -> httpx.Response:
        """Return the response, after as many attempts as the call may have."""
        until = time.monotonic() + self._timeout

        async def attempt() -> httpx.Response:
            request = call.request(self._http, max(until - time.monotonic(), 0.001))
            response = await self._http.send(request, stream=streamed)
            if not response.is_success:
                await response.aread()
            return response

        retrying = AsyncRetrying(**policy(repeatable=call.repeatable, retries=self._retries, seconds=self._timeout))
        try:
            return await retrying(attempt)
        except httpx.TransportError as error:
            raise calls.unreachable(error) from error
