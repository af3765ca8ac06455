"""Querywright as a LangChain retriever: in process or over HTTP, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from ..rewrite.query import Role
from .answer import Answer
from .client import AsyncClient, Client
from .local import Querywright


class QuerywrightRetriever(BaseRetriever):
    """Retrieve with rewriting. Each document's metadata holds its score, its ids and the rewrite.

    `backend` is a Querywright, a Client or an AsyncClient; the last only for `ainvoke`. `history` takes
    LangChain messages or {"role", "text"} rows. `history`, `profile`, `now` and `filter` may also be given to
    `invoke` and `ainvoke`, for that call alone.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    backend: Querywright | Client | AsyncClient
    collection: str | Sequence[str] | None = None
    k: int = 10
    legs: str | Sequence[str] = ("lexical", "dense")
    filter: Mapping[str, Any] | None = None
    rewriter: str = "auto"
    history: Sequence[Any] = ()
    profile: Mapping[str, Any] = {}
    now: str | None = None

    def with_history(self, history: Sequence[Any]) -> QuerywrightRetriever:
        """Return this retriever with another conversation; retrievers keep nothing between calls."""
        return self.model_copy(update={"history": history})

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what to ask with, `given` for this call before what the retriever has."""
        if unknown := sorted(given.keys() - _PER_CALL):
            raise TypeError(f"{', '.join(unknown)}: a call takes {', '.join(sorted(_PER_CALL))} and nothing else")
        names = ("collection", "history", "profile", "now", "k", "legs", "filter", "rewriter")
        options = {name: getattr(self, name) for name in names} | dict(given)
        return options | {"history": turn_rows(options["history"] or ())}

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        **given: Any,  # noqa: ANN401 # checked in _options
    ) -> list[Document]:
        del run_manager
        return to_documents(self._ask(query, given))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        **given: Any,  # noqa: ANN401 # checked in _options
    ) -> list[Document]:
        del run_manager
        if isinstance(self.backend, AsyncClient):
            return to_documents(await self.backend.query(query, **self._options(given)))
        return to_documents(await asyncio.to_thread(self._ask, query, given))

    def _ask(self, query: str, given: Mapping[str, Any]) -> Answer:
        if isinstance(self.backend, AsyncClient):
            raise TypeError("an AsyncClient only answers ainvoke; give the retriever a Client for invoke")
        return self.backend.query(query, **self._options(given))


_PER_CALL = frozenset({"history", "profile", "now", "filter"})

_ROLES = {
    "human": Role.USER,
    "HumanMessageChunk": Role.USER,
    "ai": Role.ASSISTANT,
    "AIMessageChunk": Role.ASSISTANT,
}


def turn_rows(history: Iterable[object]) -> list[object]:
    """Return the messages with text of user and assistant as turns, without those of others.

    What is no LangChain message passes through.
    """
    rows: list[object] = []
    for turn in history:
        if not isinstance(turn, BaseMessage):
            rows.append(turn)
        elif turn.type in _ROLES and (text := str(turn.text)).strip():
            rows.append({"role": _ROLES[turn.type].value, "text": text})
    return rows


def to_documents(answer: Answer) -> list[Document]:
    """Return the hits as LangChain documents."""
    rewrite = asdict(answer.rewrite)
    return [
        Document(
            id=hit.passage_id,
            page_content=hit.text,
            metadata={
                **hit.metadata,
                "title": hit.title,
                "doc_id": hit.doc_id,
                "passage_id": hit.passage_id,
                "collection": hit.collection,
                "rank": hit.rank,
                "score": hit.score,
                "rewrite": rewrite,
                "degraded": answer.degraded,
            },
        )
        for hit in answer.hits
    ]
