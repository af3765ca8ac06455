"""Questions back to the asker: what to ask, in the asker's language, and which answers to offer.

An answer comes back as a turn of the conversation (`answered`), so that every rewriter finds it where it looks for
evidence anyway.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from .catalog import Entity, Value
from .language import Language, fold
from .query import Clarification, Option, Query, Role, Turn

MOST_OPTIONS = 5
"""More options than this are not offered: nobody reads them."""

_WHICH = {Language.ZH: "您问的是哪一个？", Language.EN: "Which one do you mean?"}
_WHICH_SENSE = {Language.ZH: "“{}”指的是哪一个？", Language.EN: "Which “{}” do you mean?"}


_ASKS_FOR_ANYTHING = {
    Language.ZH: re.compile(
        r"(?:请问|麻烦|帮我|给我|我想|想|最新的?|最近|近期|现在|目前|有没有|有|没有|什么|啥|哪些|新|消息|动态|情况|近况|新闻|资料|信息|"
        r"内容|介绍|简介|说说|讲讲|聊聊|说|讲|看看|看|查查|查|了解|知道|关于|相关|一下|一点|下|点|怎么样|咋样|如何|是|的|呢|吗|吧|啊|"
        r"[\W_])*+"
    ),
    Language.EN: re.compile(
        r"[\W_]*+(?:(?:please|pls|can|could|you|i|me|us|we|tell|give|show|find|get|know|want|need|like|to|a|an|the|some|any|more|"
        r"anything|something|about|on|of|for|with|what|what's|whats|is|are|was|up|new|news|latest|recent|current|now|today|lately|"
        r"facts?|info|information|updates?|details|status|story|overview|background|introduce|introduction|describe|explain|"
        r"happening|going|there|how|hows|how's|doing|look|read|hear|heard|s)(?:[\W_]++|$))*+",
        re.IGNORECASE,
    ),
}
"""Words that ask for whatever there is, and so for nothing that would tell one sense from another."""


def asks_for_anything(text: str, language: Language) -> bool:
    """Say whether `text` asks for whatever there is: news, facts, "tell me about"."""
    return _ASKS_FOR_ANYTHING[language].fullmatch(fold(text)) is not None


def ask_sense(said: str, senses: Sequence[Entity], language: Language) -> Clarification:
    """Ask which of its senses an ambiguous name has; what tells them apart stands beside names that are alike."""
    return Clarification(_WHICH_SENSE[language].format(said), _options(senses, language), "")


def ask_value(entries: Sequence[Entity | Value], language: Language) -> Clarification:
    """Ask which of a catalog's entries is meant, where a question names none."""
    return Clarification(_WHICH[language], _options(entries, language), "")


def answered(query: Query, question: str, answer: Option) -> Query:
    """Return `query` with the question and its answer as the last turns of its conversation."""
    turns = (Turn(Role.ASSISTANT, question), Turn(Role.USER, answer.label))
    return replace(query, history=(*query.history, *turns), clarification=None, chosen=answer.value)


def _options(entries: Sequence[Entity | Value], language: Language) -> tuple[Option, ...]:
    offered = entries[:MOST_OPTIONS]
    names = Counter(entry.name[language] for entry in offered)
    labels = [_label(entry, language, alike=names[entry.name[language]] > 1) for entry in offered]
    return tuple(
        Option(label if labels.count(label) == 1 else f"{label} {entry.id}", entry.where)
        for entry, label in zip(offered, labels, strict=True)
    )


def _label(entry: Entity | Value, language: Language, *, alike: bool) -> str:
    name = entry.name[language]
    return f"{name} ({' '.join(_tells(entry))})" if alike else name


def _tells(entry: Entity | Value) -> Sequence[str]:
    return (entry.cues[:2] or (entry.type,)) if isinstance(entry, Entity) else (entry.id,)
