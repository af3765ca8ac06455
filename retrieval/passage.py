"""Documents, the passages they are split into, and hits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .. import InputError

Value = str | int | float | bool | tuple[str, ...]
"""What a metadata field may hold; a tuple matches a filter when any of its members does."""

MAX_ID_CHARS = 512
"""A longer document id is refused."""

PASSAGE_CHARS = 1_200
"""Sources that are split (Markdown, plain text) aim at passages of at most this many characters."""

_MOST_INT = 2**63
_NO_UNICODE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """What the caller stores: an id, a text, perhaps a title and metadata.

    Raises InputError for an id that is empty, over `MAX_ID_CHARS`, or holds tabs or line ends, and for
    text that is no string or not valid Unicode, or metadata that is no `Value`. A document whose title and
    text are blank is stored but never found.
    """

    doc_id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_doc_id(self.doc_id)
        for name, text in (("title", self.title), ("text", self.text)):
            _check_unicode(name, text)
        for key, value in self.metadata.items():
            _check_value(key, value)


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
    """One search result; `rank` counts from 1. Where several collections were searched, it names its own."""

    rank: int
    score: float
    doc_id: str
    passage_id: str
    title: str
    text: str
    metadata: Mapping[str, Value]
    collection: str | None = None

    @classmethod
    def of(cls, passage: Passage, rank: int, score: float, collection: str | None = None) -> Hit:
        """Return a passage as a hit."""
        metadata = dict(passage.metadata)
        return cls(rank, score, passage.doc_id, passage.passage_id, passage.title, passage.text, metadata, collection)


def check_doc_id(doc_id: str) -> None:
    """Raise InputError unless `doc_id` may name a document."""
    _check_unicode("doc_id", doc_id)
    if not doc_id or len(doc_id) > MAX_ID_CHARS or re.search(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", doc_id):
        raise InputError(f"doc_id: expected 1 to {MAX_ID_CHARS} characters without tabs or line ends")


def split(document: Document, max_chars: int | None = PASSAGE_CHARS) -> list[Passage]:
    """Cut a document into passages of at most `max_chars`, or keep it whole where that is None.

    Cuts fall before headings and at blank lines, else after sentences (of either language), else at
    white space. Passages are numbered from 0; there is always at least one.
    """
    text = document.text
    spans = [(0, len(text))] if max_chars is None else _pack(text, max_chars)
    parts = [text] if max_chars is None else [text[start:end].strip() for start, end in spans]
    return [
        Passage(f"{document.doc_id}#{number}", document.doc_id, document.title, part, document.metadata)
        for number, part in enumerate([part for part in parts if part] or [""])
    ]


_HEADING = re.compile(r"#{1,6}[ \t]")
_BLOCK_END = re.compile(r"\n[ \t]*\n\s*|\n(?=#{1,6}[ \t])")
_SENTENCE_END = re.compile(r"[。！？；!?][\"'”’」』）)]*|[.;][\"'”’)]*(?=\s)|\n")
_SECTION_SHARE = 4
"""A heading opens a new passage once the current one has reached this fraction of its size."""


def _pack(text: str, max_chars: int) -> list[tuple[int, int]]:
    """Join neighbouring units of `text` while they fit into `max_chars`."""
    spans: list[tuple[int, int]] = []
    for start, end in _units(text, max_chars):
        if spans and end - spans[-1][0] <= max_chars:
            begun = spans[-1][0]
            if not (_HEADING.match(text, start) and start - begun >= max_chars // _SECTION_SHARE):
                spans[-1] = (begun, end)
                continue
        spans.append((start, end))
    return spans


def _units(text: str, max_chars: int) -> Iterator[tuple[int, int]]:
    """Yield what is not to be cut unless it must: blocks, then sentences, then pieces at white space."""
    for block in _pieces(_BLOCK_END, text, 0, len(text)):
        if block[1] - block[0] <= max_chars:
            yield block
            continue
        for sentence in _pieces(_SENTENCE_END, text, *block):
            yield from _chop(text, *sentence, max_chars)


def _pieces(ends: re.Pattern[str], text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield `start:end` of `text` cut after each match of `ends`."""
    for match in ends.finditer(text, start, end):
        yield start, match.end()
        start = match.end()
    if start < end:
        yield start, end


def _chop(text: str, start: int, end: int, max_chars: int) -> Iterator[tuple[int, int]]:
    """Yield `start:end` cut at white space, or anywhere where there is none in a second half."""
    while end - start > max_chars:
        space = text.rfind(" ", start + max_chars // 2, start + max_chars)
        cut = start + max_chars if space < 0 else space + 1
        yield start, cut
        start = cut
    yield start, end


def _check_value(key: object, value: object) -> None:
    """Refuse metadata that is no string, finite number, boolean or tuple of strings under a string key.

    Like every message that may travel over HTTP, these never repeat what came in.
    """
    texts = value if isinstance(value, tuple) else (value,) if isinstance(value, str) else ()
    valid = isinstance(key, str) and all(isinstance(text, str) for text in texts)
    if not valid or not isinstance(value, (str, int, float, tuple)):
        raise InputError("metadata: expected strings, numbers, true, false or tuples of strings, under string keys")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError("metadata: expected a finite number, got an infinite one or NaN")
    if isinstance(value, int) and not -_MOST_INT <= value < _MOST_INT:
        raise InputError("metadata: expected a whole number of at most 64 bits")
    for text in (str(key), *texts):
        _check_unicode("metadata", text)


def _check_unicode(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise InputError(f"{name}: expected a string")
    if _NO_UNICODE.search(text):
        raise InputError(f"{name}: not valid Unicode text (a lone surrogate or NUL)")
