"""What comes in from outside, checked: HTTP bodies, rows of files, arguments of the SDK. And what goes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from .. import InputError, NotFoundError
from ..retrieval.passage import Document, Hit
from ..rewrite.query import Answered, Query, Rewrite, Role, Turn
from .answer import Answer, Stage

MAX_HISTORY = 20_000
"""A longer history is refused; rewriters read as much of its end as they can use."""

MAX_BUDGET_MS = 60_000
"""No search waits longer for its rewriters."""

_BudgetMs = Annotated[int, Field(ge=1, le=MAX_BUDGET_MS, description="how long the rewriters may take")]
_Key = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_Scalar = str | int | float | bool
_SCALAR_SCHEMA = {"anyOf": [{"type": kind} for kind in ("string", "number", "boolean")]}
_Condition = Annotated[
    Any,  # check_filter has one message for each thing that can be wrong
    WithJsonSchema(
        {
            "anyOf": [
                *_SCALAR_SCHEMA["anyOf"],
                {"type": "array", "items": _SCALAR_SCHEMA, "description": "any of them"},
                {
                    "type": "object",
                    "description": "a range: numbers compare as numbers, strings as strings",
                    "properties": {
                        name: {"anyOf": [{"type": "string"}, {"type": "number"}]} for name in ("gte", "gt", "lte", "lt")
                    },
                    "additionalProperties": False,
                    "minProperties": 1,
                },
            ]
        }
    ),
]
_LEG_NAMES = ["lexical", "dense"]
_REWRITERS = "`auto` (what fits), `none` (as typed), `catalog`, `history`, `editor` or `llm` (where one is configured)"
_Legs = Annotated[
    Any,  # check_legs has one message for whatever else comes
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": [*_LEG_NAMES, "hybrid"]},
                {"type": "array", "items": {"type": "string", "enum": _LEG_NAMES}, "minItems": 1},
            ]
        }
    ),
]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Info:
    """A collection's name and how many documents it holds; None where its files cannot be read."""

    name: str
    documents: int | None


class NoDefaultError(NotFoundError):
    """No collection was named, and the default one is not there."""

    def __init__(self) -> None:
        super().__init__(
            "collection: none was named, and there is no default collection (QUERYWRIGHT_DEFAULT_COLLECTION)"
        )


class _Exact(BaseModel):
    """Holds nothing besides its fields; for another it is told which one may have been meant."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, row: object) -> object:
        fields = cls.model_fields
        unknown = next((key for key in row if key not in fields), None) if isinstance(row, dict) else None
        if unknown is None:
            return row
        close = nearest(str(unknown), fields)
        told = f"did you mean {close}?" if close else f"expected one of {', '.join(fields)}"
        kind = PydanticCustomError("unknown_field", "unknown field; {told}", {"told": told})
        # The key stands in the place, which `first_problem` tells to those only who may see it.
        raise ValidationError.from_exception_data(
            cls.__name__, [InitErrorDetails(type=kind, loc=(str(unknown),), input=None)]
        )


class TurnModel(BaseModel):
    """One earlier turn."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Annotated[Role, Field(strict=False)]
    text: str


class AnsweredModel(BaseModel):
    """The answer to a question back."""

    model_config = ConfigDict(extra="ignore", strict=True)

    token: Annotated[str, StringConstraints(max_length=10_000)]
    value: str = Field(description="of the option that was chosen; its label is taken too")


class QueryModel(BaseModel):
    """A query as the contract has it. Files may hold further keys; they are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    query: str = Field(description="what was typed, up to 4,000 characters")
    history: Annotated[list[TurnModel], Field(max_length=MAX_HISTORY)] | None = Field(
        None, description="the turns before it, oldest first"
    )
    profile: dict[_Key, str | list[str]] | None = Field(
        None, description="what is known of the asker: keys with a text or a list of texts; `facts` for sentences"
    )
    now: str | None = Field(None, description="the asker's clock, ISO 8601 with an offset; the server's if absent")
    id: str | None = Field(None, description="comes back in the rewrite")
    clarification: AnsweredModel | None = Field(None, description="the answer to a question that came back")

    def to_query(self) -> Query:
        """Return the query. Raises InputError for an empty text, a clock without an offset and the like."""
        return Query(
            self.query,
            tuple(Turn(turn.role, turn.text) for turn in self.history or ()),
            {k: v if isinstance(v, str) else tuple(v) for k, v in (self.profile or {}).items()},
            read_now(self.now),
            self.id,
            Answered(self.clarification.token, self.clarification.value) if self.clarification else None,
        )


class RewriteRequest(QueryModel, _Exact):
    """Body of POST /v1/rewrite."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rewriter: str = Field("auto", description=_REWRITERS)
    budget_ms: _BudgetMs | None = None
    collection: str | None = Field(None, description="whose catalog is used; the default collection's if absent")


class SearchOptions(_Exact):
    """What a search can say besides its text."""

    collection: str | Annotated[list[str], Field(min_length=1, max_length=100)] | None = Field(
        None, description="one, or several that are searched as one; the service's default collection if absent"
    )
    k: int = Field(10, ge=1, le=1000, description="how many hits")
    legs: _Legs = Field(["lexical", "dense"], description="by words, by meaning, or both")
    filter: dict[_Key, _Condition] | None = Field(
        None, description="conditions on metadata, all of which must hold: a value, a list of any, or a range"
    )


class QueryRequest(QueryModel, SearchOptions):
    """Body of POST /v1/query."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rewriter: str = Field("auto", description=_REWRITERS)
    budget_ms: _BudgetMs | None = None


class SearchRequest(SearchOptions):
    """Body of POST /v1/search."""

    query: str = Field(description="what is searched for, as it is")


class CollectionRequest(_Exact):
    """Body of POST /v1/collections."""

    name: str = Field(description="1 to 64 of a-z, 0-9, _ and -")


class DocumentModel(_Exact):
    """A document to store."""

    doc_id: str = Field(description="1 to 512 characters, without line ends and tabs; one that is there is replaced")
    text: str = Field(description="what is searched and found, split into passages")
    title: str = Field("", description="searched with each passage")
    metadata: dict[_Key, _Scalar | list[str]] = Field(
        {}, description="what filters look at: texts, numbers, true, false or lists of texts"
    )

    def to_document(self) -> Document:
        """Return the document. Raises InputError for an id that cannot be one, or text that is not Unicode."""
        metadata = {k: tuple(v) if isinstance(v, list) else v for k, v in self.metadata.items()}
        return Document(self.doc_id, self.text, self.title, metadata)


class DocumentsRequest(_Exact):
    """Body of POST /v1/collections/NAME/documents."""

    documents: list[DocumentModel] = Field(max_length=10_000)


class Count(BaseModel):
    """How many documents a call stored or deleted."""

    count: int


class Reloaded(BaseModel):
    """The settings were read anew."""

    problems: list[str] = Field(description="what could not be loaded, and why; answers without it say `degraded`")


class Problem(BaseModel):
    """What is answered instead, where something is wrong (RFC 9457); nothing of the request comes back in it."""

    title: str
    status: int
    detail: str = Field(examples=["k: expected less than or equal to 1000"])


ANSWER = TypeAdapter(Answer)
REWRITE = TypeAdapter(Rewrite)
INFO = TypeAdapter(Info)
INFOS = TypeAdapter(list[Info])
DOCUMENTS = TypeAdapter(list[Document])
DOCUMENT = TypeAdapter(Document)
_QUERY = TypeAdapter(QueryModel)
_ANSWERED = TypeAdapter(AnsweredModel)
_DOCUMENT_MODEL = TypeAdapter(DocumentModel)

__all__ = ["ANSWER", "REWRITE", "Answer", "Hit", "Info", "Stage"]


def to_json(value: object) -> bytes:
    """Write a dataclass or a plain value as JSON; the same value always gives the same bytes."""
    return orjson.dumps(value, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not serialisable: {type(value).__name__}")


def read_now(text: str | None) -> datetime | None:
    """Read a clock. Raises InputError unless it is ISO 8601 with an offset."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError("now: expected ISO 8601 with an offset, e.g. 2024-07-15T09:00:00+08:00") from error


def read_query(
    query: str | Query | Mapping[str, Any],
    history: Sequence[Any] | None = None,
    profile: Mapping[str, Any] | None = None,
    now: datetime | str | None = None,
    clarification: Answered | Mapping[str, Any] | None = None,
) -> Query:
    """Return a Query from what the SDK was given. Raises InputError that names the field."""
    if isinstance(query, Query):
        return replace(query, clarification=read_answered(clarification)) if clarification else query
    row: dict[str, Any] = dict(query) if isinstance(query, Mapping) else {"query": query}
    given = {"history": history, "profile": profile, "now": now, "clarification": clarification}
    row |= {key: value for key, value in given.items() if value is not None}
    if isinstance(row.get("clarification"), Answered):
        row["clarification"] = asdict(row["clarification"])
    if isinstance(row.get("now"), datetime):
        row["now"] = row["now"].isoformat()
    if isinstance(row.get("history"), Sequence) and not isinstance(row["history"], str):
        row["history"] = [_turn_row(turn) for turn in row["history"]]
    if isinstance(row.get("profile"), Mapping):
        row["profile"] = {k: list(v) if isinstance(v, tuple) else v for k, v in row["profile"].items()}
    return validated(_QUERY, row).to_query()


def read_answered(given: Answered | Mapping[str, Any]) -> Answered:
    """Return the answer to a question back from what the SDK was given. Raises InputError that names the field."""
    if isinstance(given, Answered):
        return given
    read = validated(_ANSWERED, dict(given))
    return Answered(read.token, read.value)


def check_budget(budget_ms: int | None) -> int | None:
    """Return `budget_ms`. Raises InputError unless it is a number of milliseconds that a search may wait."""
    whole = isinstance(budget_ms, int) and not isinstance(budget_ms, bool)
    if budget_ms is not None and not (whole and 1 <= budget_ms <= MAX_BUDGET_MS):
        raise InputError(f"budget_ms: expected a whole number from 1 to {MAX_BUDGET_MS:,}, got {budget_ms!r:.50}")
    return budget_ms


def _turn_row(turn: object) -> object:
    return {"role": turn.role.value, "text": turn.text} if isinstance(turn, Turn) else turn


def read_document(document: Document | Mapping[str, Any], where: str) -> Document:
    """Return a Document from what the SDK was given. Raises InputError that begins with `where`."""
    if isinstance(document, Document):
        return document
    try:
        return validated(_DOCUMENT_MODEL, dict(document)).to_document()
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error


def validated(adapter: TypeAdapter[_T], value: object) -> _T:
    """Validate `value`. Raises InputError with the first field that is wrong and what was expected there."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise InputError(first_problem(error.errors(include_url=False, include_input=False))) from error


_SENT = frozenset(
    name
    for model in (
        TurnModel,
        AnsweredModel,
        RewriteRequest,
        QueryRequest,
        SearchRequest,
        CollectionRequest,
        DocumentModel,
    )
    for name in model.model_fields
) | {"documents", "doc_id", "after", "limit", "file"}
"""The names of fields and parameters that a request may hold."""


def first_problem(errors: Sequence[Mapping[str, Any]], *, remote: bool = False) -> str:
    """Say the first of pydantic's errors as "history[2].role: ...", without any value of the input.

    With `remote`, keys that the caller made up stay out too: the message goes back over HTTP.

    >>> error = {"loc": ("profile", "region", "str"), "msg": "Input should be a valid string", "type": "string_type"}
    >>> first_problem([error])
    'profile.region: expected a valid string'
    >>> first_problem([error], remote=True)
    'profile: expected a valid string'
    """
    first = errors[0]
    place = _place(first["loc"])
    # A union complains once for each of its members.
    others = [error for error in errors[1:] if _place(error["loc"]) == place]
    members = dict.fromkeys(_expected(error).removeprefix("expected ") for error in others)
    expected = " or ".join((_expected(first), *members))
    where = ""
    for part in place:
        if isinstance(part, int):
            where += f"[{part}]"
        elif part in _SENT or not remote:
            where += f".{part}" if where else part
    return f"{where or 'body'}: {expected}"[:500]


def _place(loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """Return where an error is, without pydantic's names for the members of a union."""
    return tuple(part for part in loc if part not in _MEMBERS and not str(part).startswith("list["))


_LONGEST_NAME = 100
"""Comparing takes the square of a name's length."""

_MEMBERS = frozenset({"str", "int", "float", "bool", "[key]"})


def _expected(error: Mapping[str, Any]) -> str:
    """Say what was expected in place of an error."""
    kind, message = error["type"], str(error["msg"])
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return "expected an object"
    if kind == "path_type":
        return "expected a path"
    if kind == "missing":
        return "required, but missing"
    if message.startswith("Input should be "):
        return f"expected {message.removeprefix('Input should be ')}"
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `name` is most like, None where it is like none of them.

    >>> nearest("collections", ["query", "collection"]), nearest("top", ["query", "collection"])
    ('collection', None)
    """
    close = get_close_matches(name.lower(), list(known), 1) if len(name) <= _LONGEST_NAME else []
    return close[0] if close else None
