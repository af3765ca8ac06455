"""Edit scripts: a rewrite as deletions, copied spans and connecting words over the units of a conversation.

A query of n units has n + 1 gaps. At each gap a script may insert, in this order: a connector, a span copied from
the context, a connector, a second span, a connector; each unit of the query is kept or deleted. Whatever a script
writes therefore stands in the context or in the list of connectors: it cannot invent. (The scheme widens the
slotted tagging of RaST, Hao et al., EMNLP 2021, by second spans and connectors.)
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from .language import fold, is_cjk
from .query import Source

LONGEST_SPAN = 20
"""Units that one copied span holds at most."""

_JOINER = "\u200d"
_UNIT = re.compile(r"h[ej]*|w[wej]*|(?:rr?|s)[ej]*(?:(?<=j)s[ej]*)*|[ej]+")
"""Units over the kinds of their characters: what is seen as one character (Unicode TR29) is never cut."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A word, a Han character or a mark of punctuation; `text` is folded, `start:end` are code points."""

    text: str
    start: int
    end: int


def split_units(text: str) -> list[Unit]:
    """Return the units of `text`; every code point that is no white space belongs to one.

    >>> [unit.text for unit in split_units("CRM 怎么用?")]
    ['crm', '怎', '么', '用', '?']
    """
    folded = fold(text)
    kinds = "".join(map(_kind, folded))
    return [Unit(folded[match.start() : match.end()], *match.span()) for match in _UNIT.finditer(kinds)]


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    """Return `h` for Han, `w` of a word, `e` extending, `j` joining, `r` half a flag, `s` another sign, or a blank."""
    if is_cjk(char) or char.isalnum():
        return "h" if is_cjk(char) else "w"
    if char.isspace():
        return " "
    if _extends(char):
        return "j" if char == _JOINER else "e"
    return "r" if "\U0001f1e6" <= char <= "\U0001f1ff" else "s"


def _extends(char: str) -> bool:
    """Say whether `char` belongs to the one before it: marks, zero-width joiners, skin tones, tags of flags."""
    invisible = char in {"\u200c", _JOINER} or "\U000e0020" <= char <= "\U000e007f"
    return invisible or "\U0001f3fb" <= char <= "\U0001f3ff" or unicodedata.category(char).startswith("M")


@dataclass(frozen=True, slots=True)
class Line:
    """One turn or fact that may be copied from, cut to the units that the budget takes."""

    source: Source
    where: str
    text: str
    units: tuple[Unit, ...]


Span = tuple[int, int]
"""Units `start` to `end`, both included, counted over the units of all lines."""


@dataclass(frozen=True, slots=True)
class Insertion:
    """What a script inserts at one gap: connectors (ids, 0 for none) around up to two spans, each by all its places."""

    connectors: tuple[int, int, int] = (0, 0, 0)
    spans: tuple[tuple[Span, ...], tuple[Span, ...]] = ((), ())


@dataclass(frozen=True, slots=True)
class Script:
    """How a query becomes its rewrite; `exact` says that nothing of the rewrite is lost."""

    deleted: frozenset[int]
    insertions: Mapping[int, Insertion]
    exact: bool = True

    @property
    def keeps(self) -> bool:
        """Say whether the script changes nothing."""
        return not self.deleted and not self.insertions


class Connectors:
    """The closed list of words that a script may write without finding them in the context; id 0 stands for none."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = ("", *texts)
        self._ids = {tuple(unit.text for unit in split_units(text)): i for i, text in enumerate(self.texts) if text}
        self.longest = max(map(len, self._ids), default=0)

    def __len__(self) -> int:
        return len(self.texts)

    def find(self, units: Sequence[str]) -> int:
        """Return the id of the connector that consists of `units`, 0 if there is none."""
        return self._ids.get(tuple(units), 0)


# ------------------------------------------------------------------------------------------- align


@dataclass(frozen=True, slots=True)
class _Step:
    """One move: what it does, where in query (i) and rewrite (j) it ends, how many units of the rewrite it covers."""

    kind: str
    i: int
    j: int
    length: int = 1


_COSTS = {"keep": 0.0, "delete": 0.1, "connect": 0.9, "copy": 1.0, "change": 3.0, "lose": 3.1}
_PER_COPIED = 0.001


def align(
    query: Sequence[str], rewrite: Sequence[str], lines: Sequence[Sequence[str]], connectors: Connectors
) -> Script:
    """Return the cheapest script that makes `rewrite` of `query`, or as much of it as copying can reach.

    All three are given as folded units. Found by dynamic programming; a unit that neither stands in the context
    nor in `connectors` is lost, which marks the script as not exact.
    """
    places = _places(rewrite, lines)
    return _to_script(_cheapest(query, rewrite, places, connectors), rewrite, places, connectors)


def _places(rewrite: Sequence[str], lines: Sequence[Sequence[str]]) -> list[dict[int, list[int]]]:
    """Return, for each position of the rewrite, how long a copy can be from there and where such copies start."""
    starts: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    base = 0
    for number, line in enumerate(lines):
        for i, unit in enumerate(line):
            starts[unit].append((number, i, base + i))
        base += len(line)
    found: list[dict[int, list[int]]] = []
    for j, unit in enumerate(rewrite):
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, i, place in starts.get(unit, ()):
            line, length = lines[number], 0
            while (
                i + length < len(line)
                and j + length < len(rewrite)
                and line[i + length] == rewrite[j + length]
                and length < LONGEST_SPAN
            ):
                length += 1
                by_length[length].append(place)
        found.append(by_length)
    return found


def _cheapest(
    query: Sequence[str], rewrite: Sequence[str], places: Sequence[Mapping[int, list[int]]], connectors: Connectors
) -> list[_Step]:
    """Return the steps of the cheapest way through query and rewrite."""
    n, m = len(query), len(rewrite)
    cost = [[float("inf")] * (m + 1) for _ in range(n + 1)]
    back: list[list[_Step | None]] = [[None] * (m + 1) for _ in range(n + 1)]
    cost[0][0] = 0.0
    for i in range(n + 1):
        for j in range(m + 1):
            for step in _moves(i, j, query, rewrite, places, connectors):
                total = cost[i][j] + _COSTS[step.kind] - _PER_COPIED * step.length
                if total < cost[step.i][step.j] - 1e-9:
                    cost[step.i][step.j], back[step.i][step.j] = total, step
    steps: list[_Step] = []
    i, j = n, m
    while (last := back[i][j]) is not None:
        steps.append(last)
        i, j = i - (last.kind in {"keep", "change", "delete"}), j - last.length
    return steps[::-1]


def _moves(
    i: int,
    j: int,
    query: Sequence[str],
    rewrite: Sequence[str],
    places: Sequence[Mapping[int, list[int]]],
    connectors: Connectors,
) -> Iterator[_Step]:
    """Yield what may come next after `i` units of the query and `j` of the rewrite."""
    if i < len(query):
        yield _Step("delete", i + 1, j, 0)
    if j == len(rewrite):
        return
    if i < len(query):
        yield _Step("keep" if query[i] == rewrite[j] else "change", i + 1, j + 1)
    for length in places[j]:
        yield _Step("copy", i, j + length, length)
    for length in range(1, min(connectors.longest, len(rewrite) - j) + 1):
        if connectors.find(rewrite[j : j + length]):
            yield _Step("connect", i, j + length, length)
    yield _Step("lose", i, j + 1)


@dataclass(slots=True)
class _Filling:
    """An insertion as it is put together."""

    connectors: list[int] = field(default_factory=lambda: [0, 0, 0])
    spans: list[tuple[Span, ...]] = field(default_factory=list)

    def connect(self, connector: int) -> bool:
        slot = len(self.spans)
        if self.connectors[slot]:
            return False
        self.connectors[slot] = connector
        return True

    def copy(self, spans: tuple[Span, ...]) -> bool:
        if len(self.spans) == 2:
            return False
        self.spans.append(spans)
        return True

    def done(self) -> Insertion:
        first, second = (*self.spans, (), ())[:2]
        a, b, c = self.connectors
        return Insertion((a, b, c), (first, second))


def _to_script(
    steps: Sequence[_Step],
    rewrite: Sequence[str],
    places: Sequence[Mapping[int, list[int]]],
    connectors: Connectors,
) -> Script:
    """Gather what is inserted between two kept units at one gap, before the first unit deleted there."""
    deleted: set[int] = set()
    fillings: dict[int, _Filling] = {}
    exact = True
    gap = 0
    for step in steps:
        if step.kind in {"keep", "change"}:
            gap = step.i
            exact &= step.kind == "keep"
        elif step.kind == "delete":
            deleted.add(step.i - 1)
        elif step.kind == "lose":
            exact = False
        else:
            filling = fillings.setdefault(gap, _Filling())
            start = step.j - step.length
            if step.kind == "copy":
                spans = tuple((place, place + step.length - 1) for place in places[start][step.length])
                exact &= filling.copy(spans)
            else:
                exact &= filling.connect(connectors.find(rewrite[start : step.j]))
    return Script(frozenset(deleted), {gap: filling.done() for gap, filling in fillings.items()}, exact)


# ------------------------------------------------------------------------------------------ render


_LEADING = re.compile(r"[(\[{“‘«¿¡/\\_@&=–—-]\Z|(?<!\w)[$€£¥#']\Z")
"""Ends of text that nothing is set apart from: an opening bracket, a hyphen, the sign of a currency."""

_CLINGING = re.compile(
    r"""[)\]}”»%…™®°，。；：？！、）】》」』〉]
    | [,.;:?!](?![A-Za-z0-9])  # not that of ".NET"
    | ['’](?:s|d|m|t|ll|re|ve)?(?![A-Za-z0-9])  # not that of "'Thriller'"
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Beginnings of text that are not set apart from what stands before them."""

_QUOTES = frozenset('"`')
_OPENS = re.compile('["`][A-Za-z0-9]')
_CLOSES = re.compile('[A-Za-z0-9,.!?]["`]')
"""Quotes that show by what stands beside them what they do, even where the other of the pair was not copied."""

_ADJOINING = frozenset("'’,.;:?!/\\_@&=–—-+*#<>|~^")
"""Signs that stay where they stood right behind a word, whatever takes its place."""


def padded(text: str, start: int, end: int, parts: Sequence[str]) -> list[str]:
    """Return `parts` with the blanks that they need when they stand, in this order, in place of `text[start:end]`.

    Each part has the blank in front of it; the last one that behind it, too.

    >>> padded("price?", 0, 0, ["the", "CRM", "'s"]), padded("价格", 0, 0, ["CRM", "的"])
    (['the', ' CRM', "'s "], ['CRM', '的'])
    """
    before, found = text[:start], []
    for part in parts:
        found.append(f" {part}" if spaced(before, part) else part)
        before += found[-1]
    after = text[end:]
    adjoins = after[:1] in _ADJOINING and bool(text[:end][-1:].strip())
    if found and (runs_on(before, after) if adjoins else spaced(before, after)):
        found[-1] += " "
    return found


def spaced(before: str, after: str) -> bool:
    """Say whether a blank is to be put between `before` and `after`, which stand without one."""
    if not before or not after or before[-1].isspace() or after[0].isspace():
        return False
    if runs_on(before, after):
        return True
    seen = next((char for char in reversed(before) if not _extends(char)), "")
    return not (_wide(seen) or _wide(after[0]) or _leads(before) or clings(before, after))


def runs_on(before: str, after: str) -> bool:
    """Say whether the last unit of `before` would take in the beginning of `after`."""
    units = split_units(before + after[:1])
    return bool(units) and units[-1].start < len(before) < units[-1].end


def clings(before: str, after: str) -> bool:
    """Say whether `after` is written right behind `before`: a closing sign, a comma, 's.

    Quotes look alike on both sides: an odd number of them before says that one is open.
    """
    if after[:1] in _QUOTES:
        alone = after[1:2].strip() == ""
        return alone or (before.count(after[0]) % 2 == 1 and not _OPENS.match(after))
    return _CLINGING.match(after) is not None


def _leads(before: str) -> bool:
    """Say whether what follows is written right behind `before`."""
    if before[-1] in _QUOTES:
        return before.count(before[-1]) % 2 == 1 and not _CLOSES.match(before[-2:])
    return _LEADING.search(before[-2:]) is not None


@lru_cache(maxsize=1024)
def _wide(char: str) -> bool:
    """Say whether `char` is as wide as a Han character, which needs no blank: these and their punctuation."""
    sign = "\u3000" <= char <= "\u303f" or "\uff00" <= char <= "\uffef"
    return is_cjk(char) or (sign and not char.isalnum())
