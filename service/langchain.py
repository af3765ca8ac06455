"""Querywright as a LangChain retriever: in process or over HTTP, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
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
    LangChain messages or {"role", "text"} rows; to set it for one call, use `with_history`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    backend: Querywright | Client | AsyncClient
    collection: str | None = None
    k: int = 10
    legs: Sequence[str] = ("lexical", "dense")
    filter: Mapping[str, Any] | None = None
    rewriter: str = "auto"
    history: Sequence[Any] = ()
    profile: Mapping[str, Any] = {}
    now: str | None = None

    def with_history(self, history: Sequence[Any]) -> QuerywrightRetriever:
        """Return this retriever with another conversation; retrievers keep nothing between calls."""
        return self.model_copy(update={"history": history})

    def _options(self) -> dict[str, Any]:
        return {
            "collection": self.collection,
            "history": [turn_row(turn) for turn in self.history],
            "profile": self.profile,
            "now": self.now,
            "k": self.k,
            "legs": self.legs,
            "filter": self.filter,
            "rewriter": self.rewriter,
        }

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager
        return to_documents(self._ask(query))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        del run_manager
        if isinstance(self.backend, AsyncClient):
            return to_documents(await self.backend.query(query, **self._options()))
        return to_documents(await asyncio.to_thread(lambda: self._ask(query)))

    def _ask(self, query: str) -> Answer:
        if isinstance(self.backend, AsyncClient):
            raise TypeError("an AsyncClient only answers ainvoke; give the retriever a Client for invoke")
        return self.backend.query(query, **self._options())


def turn_row(turn: object) -> object:
    """Return a LangChain message as a turn; anything else passes through."""
    if not isinstance(turn, BaseMessage):
        return turn
    role = Role.ASSISTANT if turn.type in {"ai", "AIMessageChunk"} else Role.USER
    return {"role": role.value, "text": turn.text if isinstance(turn.text, str) else str(turn.content)}


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
                "rank": hit.rank,
                "score": hit.score,
                "rewrite": rewrite,
                "degraded": answer.degraded,
            },
        )
        for hit in answer.hits
    ]
