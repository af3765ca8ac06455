"""Ordinals that point into the conversation: "the second one", "the latter", 第二个, 后者.

The items are what the latest turn that lists at least two things lists: a numbered or bulleted list, the entities of
the catalog, or what follows a colon, parted by commas and "and".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .catalog import Catalog, Entity
from .language import Language
from .query import Turn

_EN_NUMBERS = {
    "first": 1, "1st": 1, "former": 1, "second": 2, "2nd": 2, "latter": -1, "third": 3, "3rd": 3, "fourth": 4,
    "4th": 4, "fifth": 5, "5th": 5, "last": -1, "other": 2,
}  # fmt: skip
_ZH_NUMBERS = {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10}
_THING = r"(?:one|option|item|point|feature|method|way|approach|step|choice|product|plan)s?"
_ORDINAL = {
    Language.EN: re.compile(
        rf"\bthe\s+(?P<n>first|second|third|fourth|fifth|last|other|1st|2nd|3rd|4th|5th)\s+{_THING}\b"
        r"|\bthe\s+(?P<m>former|latter)(?:\s+one)?\b",
        re.IGNORECASE,
    ),
    Language.ZH: re.compile(
        r"(?:那|这)?(?:第(?P<n>[一二三四五六七八九十]|\d{1,2})(?:个|种|款|项|条|点|步|部|首|家)(?:功能|产品|方法|方案|方式|选项)?"
        r"|最后一(?:个|种|款|项|条|点)|(?P<m>前者|后者))"
    ),
}
_SAYS_ITSELF = re.compile(r"\s+(?:to|of|in|for|that|which|from|on|at|when)\s+\w", re.IGNORECASE)
_NUMBERED = re.compile(
    r"(?:^|(?<=[\s。；;：:，,]))(?:\(?\d{1,2}[.)、）]|[①②③④⑤⑥⑦⑧⑨]|[-*•]|[一二三四五六]是|其[一二三四五六]是?)\s*",
    re.MULTILINE,
)
_AFTER_COLON = re.compile(r"[:：]\s*([^:：。.!?！？\n]+)")
_BETWEEN = re.compile(
    r"\s*(?:,\s*(?:and|or)\s+|,\s+|;\s*|\s+and\s+|\s+or\s+|[、，；]|(?<=\S)(?:以及|和|或|与)(?=\S))\s*"
)
_ITEM_ENDS = re.compile(r"[:：，,。；;\n]|\.(?=\s|$)|\s[-–—]\s|$")
_LONGEST_ITEM = 60


@dataclass(frozen=True, slots=True)
class Pointed:
    """An ordinal at `start:end` of the query, and the item of `turn` that it points to."""

    start: int
    end: int
    item: str
    turn: int
    entity: Entity | None = None


def find_ordinal(text: str, language: Language) -> re.Match[str] | None:
    """Find an ordinal that stands for a thing; "the first step to file taxes" says itself what it means."""
    match = _ORDINAL[language].search(text)
    return None if match and _SAYS_ITSELF.match(text, match.end()) else match


def resolve_ordinal(
    text: str, language: Language, turns: Sequence[tuple[int, Turn]], catalog: Catalog
) -> Pointed | None:
    """Find an ordinal in `text` and the item it points to, or None where either is missing.

    `turns` are the history's with their index, the latest first.

    >>> from .query import Role
    >>> said = Turn(Role.ASSISTANT, "There are two editions: Standard and Enterprise.")
    >>> resolve_ordinal("what about the second one?", Language.EN, [(0, said)], Catalog("")).item
    'Enterprise'
    """
    match = find_ordinal(text, language)
    if match is None:
        return None
    number = _number(match)
    for i, turn in turns:
        items = _entities(turn.text, catalog) or [(item, None) for item in _items(turn.text)]
        if len(items) > 1:
            if abs(number) > len(items):
                return None
            item, entity = items[number - 1 if number > 0 else number]
            return Pointed(match.start(), match.end(), item, i, entity)
    return None


def _number(match: re.Match[str]) -> int:
    said = (match["n"] or match["m"] or "last").lower()
    if said in {"前者", "后者"}:
        return 1 if said == "前者" else -1
    if said.isdigit():
        return max(int(said), 1)
    return _EN_NUMBERS.get(said) or _ZH_NUMBERS.get(said, -1)


def _entities(text: str, catalog: Catalog) -> list[tuple[str, Entity | None]]:
    """Return the entities that `text` lists: at least two of the kind that it names most, each once."""
    found: dict[str, tuple[str, Entity]] = {}
    for mention in catalog.mentions(text):
        entities = [name for name in mention.candidates if isinstance(name, Entity)]
        if len(entities) == 1:
            found.setdefault(entities[0].id, (text[mention.start : mention.end], entities[0]))
    kinds = [entity.type for _, entity in found.values()]
    most = max(kinds, key=kinds.count, default="")
    listed: list[tuple[str, Entity | None]] = [pair for pair in found.values() if pair[1].type == most]
    return listed if len(listed) > 1 else []


def _items(text: str) -> list[str]:
    starts = [match.end() for match in _NUMBERED.finditer(text)]
    if len(starts) > 1:
        return [item for item in (_item(text, start) for start in starts) if item]
    listed = (_BETWEEN.split(match[1]) for match in _AFTER_COLON.finditer(text))
    items = next((parts for parts in listed if len(parts) > 1), [])
    return [item.strip() for item in items if 0 < len(item.strip()) <= _LONGEST_ITEM]


def _item(text: str, start: int) -> str:
    end = _ITEM_ENDS.search(text, start)
    return text[start : end.start() if end else len(text)].strip(' *_`"“”')[:_LONGEST_ITEM]
