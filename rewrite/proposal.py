"""Reading what a chat model answers: repaired or rejected, never trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice

from pydantic import BaseModel, Field

from .chat_failures import LLMInvalidError, LLMRefusedError

MAX_CHARS = 64_000
"""A longer answer is not read."""

MOST_INTERPRETATIONS = 3
_MOST_OPTIONS = 8
_TRIES = 20
"""How many braces are tried as the beginning of the object."""

_MOST_JSON = 20_000
"""How long the object may be: several times the longest query."""


class Proposal(BaseModel):
    """What a model proposes for a query. Nothing in it says where a word is from: that is found out, not asked."""

    rewrite: str = Field(description="the self-contained query; the query as it is where nothing is missing")
    question: str | None = Field(default=None, description="a question back, only if it cannot be known what is meant")
    options: list[str] = Field(default=[], description="answers to the question to choose from")
    interpretations: list[str] = Field(
        default=[], description="self-contained queries, only if several are equally likely"
    )


def _schema() -> dict[str, object]:
    """Return the JSON Schema that models are asked for; all is required, as servers with strict schemas want it."""
    schema: dict[str, object] = Proposal.model_json_schema()
    return schema | {
        "description": "The query, rewritten.",
        "required": list(Proposal.model_fields),
        "additionalProperties": False,
    }


SCHEMA: Mapping[str, object] = _schema()


def read(answer: str | Mapping[str, object], asked: str) -> Proposal:
    """Return the proposal in a model's `answer` to the query `asked`: arguments of a tool call, or its text.

    Raises LLMRefusedError for a refusal, LLMInvalidError for what holds no proposal.
    """
    if isinstance(answer, str):
        said = _said(answer)
        proposal = _from_json(said) or Proposal(rewrite=_bare(said, asked))
    else:
        proposal = _of(answer)
    if _refuses(proposal.rewrite, asked):
        raise LLMRefusedError("the model declined")
    return proposal


def _of(value: Mapping[str, object]) -> Proposal:
    """Take of an object what is of the right type; without a rewrite it is none."""
    rewrite = value.get("rewrite")
    if not isinstance(rewrite, str):
        raise LLMInvalidError("the model's answer has no rewrite")
    question = value.get("question")
    return Proposal(
        rewrite=_unquoted(_unlabelled(_line(rewrite))),
        question=(_line(question) or None) if isinstance(question, str) else None,
        options=list(islice(_texts(value.get("options")), _MOST_OPTIONS)),
        interpretations=list(islice(_texts(value.get("interpretations")), MOST_INTERPRETATIONS)),
    )


def _texts(value: object) -> Iterator[str]:
    for each in value if isinstance(value, list) else ():
        if isinstance(each, str) and (text := _line(each)):
            yield text


_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")


def _line(text: str) -> str:
    return " ".join(_NOT_TEXT.sub(" ", text[:MAX_CHARS]).split())


# ------------------------------------------------------------------------------------------- texts

_TAG = "(?:think|thinking|thought|reasoning|reflection)"
_THOUGHT = re.compile(rf"<{_TAG}>.*?(?:</{_TAG}>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(rf"</{_TAG}>", re.IGNORECASE)


def _said(text: str) -> str:
    """Return what a model says when it has done thinking."""
    if len(text) > MAX_CHARS:
        raise LLMInvalidError(f"the model's answer has {len(text):,} characters")
    rest = _THOUGHT.sub("", _NOT_TEXT.sub(" ", text))
    return _THOUGHT_END.split(rest)[-1].strip()  # some prompts open the thought, so that only its end is answered


_LABEL = re.compile(
    r"""[\s>*_#]*(?:
        (?:sure|okay|ok|certainly)?[\s,.!]*here(?:\s+is|['’]s)\b[^:：]{0,60}
        | (?:the\s+)?(?:rewritten|reformulated|revised|standalone|self-contained)
          (?:\s+(?:search\s+)?(?:query|question|version))?
        | rewrite
        | (?:the\s+)?(?:search|final)\s+(?:query|question)
        | (?:好的[，,。！!\s]*)?(?:以下是)?(?:改写|重写)后?的?(?:检索|搜索)?(?:查询|问题|问句|句子|结果)?(?:为|是|如下)?
        | (?:检索|搜索)(?:查询|语句)
    )[\s*_]*[:：][\s*_]*""",
    re.IGNORECASE | re.VERBOSE,
)
_FENCE = re.compile(r"```[\w-]*\n?(.*?)(?:```|\Z)", re.DOTALL)


def _bare(text: str, asked: str) -> str:
    """Return the query in a text without JSON: its only line, or what a label announces."""
    if _refuses(text, asked):
        raise LLMRefusedError("the model declined")
    fenced = _FENCE.search(text)
    lines = [line for line in (fenced[1] if fenced else text).splitlines() if line.strip()]
    for at, line in enumerate(lines):
        label = _LABEL.match(line)
        if label:
            lines = [line, *lines[at + 1 : at + 2]] if label.end() == len(line) else [line]
            return _unquoted(_line(_unlabelled(" ".join(lines))))
    if len(lines) != 1 or lines[0].lstrip()[0] in "{[" or '"rewrite"' in text:
        raise LLMInvalidError("the model's answer is no query")
    return _unquoted(_line(lines[0]))


def _unlabelled(text: str) -> str:
    return _LABEL.sub("", text, count=1) if _LABEL.match(text) else text


_PAIRS = frozenset({'""', "''", "“”", "‘’", "「」", "『』", "``", "**"})


def _unquoted(text: str) -> str:
    """Take off the quotes around the whole."""
    inner = text[1:-1]
    around = text[:1] + text[-1:]
    quoted = inner.strip() and around in _PAIRS and not set(around) & set(inner)
    return inner.strip() if quoted else text


_REFUSAL = re.compile(
    r"""\W*(?:
        i['’]?m\s+(?:very\s+|so\s+|really\s+)?sorry | i\s+am\s+(?:very\s+|so\s+)?sorry | (?:i\s+|my\s+)apolog
        | sorry,?\s+(?:but\s+)?i\b | unfortunately,?\s+i\b | as\s+an?\s+(?:ai|language\s+model)\b
        | i\s+(?:can['’]?t|cannot|can\s+not|won['’]t|will\s+not|am\s+(?:unable|not\s+able)\s+to)\s+
          (?:help|assist|answer|provide|comply|fulfil|rewrite|process|discuss|support|share|create|generate|do)\b
        | i\s+must\s+decline | i['’]m\s+(?:unable|not\s+able)\s+to
        | (?:很|非常|十分)?(?:抱歉|对不起) | 作为(?:一个|一名)?(?:人工智能|AI|大?语言模型)
        | 我(?:无法|不能|没办法|没有办法|不便)(?:为您|为你|帮您|帮你)?
          (?:回答|提供|协助|帮助|完成|满足|处理|改写|讨论|执行|继续)
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def _refuses(text: str, asked: str) -> bool:
    """Say whether `text` declines; an asker may begin like that, too."""
    return bool(_REFUSAL.match(text)) and not _REFUSAL.match(asked)


# -------------------------------------------------------------------------------------------- JSON

_DECODER = json.JSONDecoder(strict=False)


def _from_json(text: str) -> Proposal | None:
    """Return the proposal of the last object with a rewrite: what stands before may be the form repeated."""
    found = None
    at = text.find("{")
    for _ in range(_TRIES):
        if at < 0:
            break
        value = _decoded(text[at : at + _MOST_JSON])
        found = value if isinstance(value, dict) and "rewrite" in value else found
        at = text.find("{", at + 1)
    if found is None and text.startswith("["):
        found = _only(_decoded(text[:_MOST_JSON]))
    return _of(found) if found is not None else None


def _only(value: object) -> dict[str, object] | None:
    """Return what a list with one text proposes."""
    return {"rewrite": value[0]} if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) else None


def _decoded(text: str) -> object:
    """Return the JSON value that `text` begins with, if it can be read or repaired; None otherwise."""
    for spelled in (text, _REPAIR.sub(_repaired, text)):
        with suppress(ValueError, RecursionError):
            value: object = _DECODER.raw_decode(spelled)[0]
            return value
    return None


_REPAIR = re.compile(
    r"""(?P<kept>"(?:[^"\\]|\\.)*")
    | '(?P<single>(?:[^'\\]|\\.|'(?!\s*[,:}\]]))*)'
    | (?P<comma>,)(?=\s*[}\]])
    | (?P<name>\b(?:None|True|False)\b)""",
    re.VERBOSE | re.DOTALL,
)
_NAMES = {"None": "null", "True": "true", "False": "false"}


def _repaired(found: re.Match[str]) -> str:
    if found["single"] is not None:
        return json.dumps(found["single"].replace("\\'", "'"), ensure_ascii=False)
    if found["comma"]:
        return ""
    return _NAMES[found["name"]] if found["name"] else found[0]
