"""Documents, the passages they are split into, and hits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .. import InputError

Value = str | int | float | bool | tuple[str, ...]
"""What a metadata field may hold; a tuple matches a filter when any of its members does."""

MAX_ID_CHARS = 512
"""A longer document id is refused."""

PASSAGE_CHARS = 1_200
"""Sources that are split (Markdown, plain text) aim at passages of at most this many characters."""


@dataclass(frozen=True, slots=True)
class Document:
    """What the caller stores: an id, a text, perhaps a title and metadata.

    Raises InputError for an id that is empty, over `MAX_ID_CHARS`, or holds tabs or line ends, and for
    text that is not valid Unicode. A document without any text is stored but never found.
    """

    doc_id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_doc_id(self.doc_id)
        for name, text in (("title", self.title), ("text", self.text)):
            _check_unicode(f"document {self.doc_id!r}: {name}", text)
        for key, value in self.metadata.items():
            for text in (key, *(value if isinstance(value, tuple) else (value,))):
                if isinstance(text, str):
                    _check_unicode(f"document {self.doc_id!r}: metadata", text)


@dataclass(frozen=True, slots=True)
class Passage:
    """The part of a document that is indexed and returned; `passage_id` is `DOC_ID#ORDINAL`."""

    passage_id: str
    doc_id: str
    title: str
    text: str
    metadata: Mapping[str, Value] = field(default_factory=dict)

    @property
    def indexed_text(self) -> str:
        """The text that both legs index: the title, then the text."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result; `rank` counts from 1."""

    rank: int
    score: float
    doc_id: str
    passage_id: str
    title: str
    text: str
    metadata: Mapping[str, Value]


def check_doc_id(doc_id: str) -> None:
    """Raise InputError unless `doc_id` may name a document."""
    _check_unicode("doc_id", doc_id)
    if not doc_id or len(doc_id) > MAX_ID_CHARS or re.search(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", doc_id):
        raise InputError(
            f"doc_id: expected 1 to {MAX_ID_CHARS} characters without tabs or line ends, got {doc_id[:40]!r}"
        )


def _check_unicode(name: str, text: str) -> None:
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(f"{name}: not valid Unicode text (a lone surrogate or NUL)")
