"""Words that point to something: pronouns and demonstratives, and whether a query itself says what they stand for."""

from __future__ import annotations

import re

from .grounding import QUOTED
from .language import Language

_THING = (
    r"(?:feature|function|product|service|tool|option|method|process|one|thing|topic|approach|system|plan|type|kind)"
)
_POINTING = {
    Language.EN: [
        re.compile(rf"\b(?:this|that|these|those|the same|such a)\s+{_THING}s?\b", re.IGNORECASE),
        re.compile(r"\b(?:its|their)\b", re.IGNORECASE),
        re.compile(r"\b(?:it|they|them)\b(?!'s\s+(?:possible|better|worth|necessary|important|time)\b)", re.IGNORECASE),
        re.compile(r"\b(?:this|that|these|those)\b(?=\s*(?:[?.!,;]|$|(?:is|are|was|were|work|works|mean|means|cost|happen)\b))", re.IGNORECASE),
    ],
    Language.ZH: [
        re.compile(
            r"(?:这|那|该|此)(?:一|两)?(?:个|款|种|项|件|部|首|座|家|本|条|位)?"
            r"(?:功能|产品|服务|系统|东西|电影|片子|歌曲|歌|景点|地方|公司|书|人|问题|方案|方法|活动|工具)"
        ),
        re.compile(r"(?:它们|他们|她们|它|他|她)(?!们)"),
        re.compile(r"(?:这|那)(?:个|款|种|部|首|座|家)(?![\u4e00-\u9fff]{0,2}(?:时候|月|星期|周|年|小时))"),
    ],
}  # fmt: skip
_EXPLETIVE = re.compile(
    r"\b(?:is|was|would|will|makes?|make|does|should) it\b\s+(?:\w+\s+)?(?:to|that|worth|possible|safe|legal|ok|okay|better|best|necessary|"
    r"matter|good|bad|normal|common|true|wise|smart|(?:take|cost|mean)\b.*\bto)\b|\bit(?:'s| is| was| would be) \w+ (?:to|that|if|for)\b|\bit takes\b",
    re.IGNORECASE,
)
_OWN_NOUN = re.compile(
    r"\b(?:an?|the|my|our|your|this|that|these|those|each|every|any|some) (?!(?:same|other|first|second|last|next)\b)[a-z-]{3,}",
    re.IGNORECASE,
)
"""What a query introduces itself is what its pronoun stands for."""


def pointing_span(text: str, language: Language) -> tuple[int, int] | None:
    """Return where `text` points to something that it does not name, outside quotations; None if nowhere."""
    quoted = [match.span() for match in (*QUOTED.finditer(text), *_EXPLETIVE.finditer(text))]
    for pattern in _POINTING[language]:
        for match in pattern.finditer(text):
            abbreviation = match[0] == "IT" and not text.isupper()
            if not abbreviation and not any(start <= match.start() < end for start, end in quoted):
                return match.span()
    return None


def names_before(text: str, position: int) -> bool:
    """Say whether `text` names something of its own before `position`, which a pronoun there stands for."""
    return _OWN_NOUN.search(text[:position]) is not None
