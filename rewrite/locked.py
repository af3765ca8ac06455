"""What a rewrite must not lose: names that stand for themselves, numbers with their units, negations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from .catalog import Catalog
from .language import bounded, fold
from .quantities import quantities
from .query import Edit, Query, Source, apply_edits

QUOTED = re.compile(r"“[^”]+”|「[^」]+」|『[^』]+』|\"[^\"]+\"|《[^》]+》")
URL = re.compile(r"\b(?:[a-z][a-z0-9+.-]{1,20}://|www\.)[^\s<>\"'“”，。；、）】》一-鿿]+(?<![.,;:!?)])", re.IGNORECASE)
EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_PATH = re.compile(
    r"(?<![\w/.:])(?:[A-Za-z]:\\|~/|\.{1,2}/|/(?=\w))[\w.\\/-]*\w"  # from a root: C:\x, ~/x, ./x, /x
    r"|(?<![\w/.])[\w-]+(?:[/\\][\w.-]+)*\.(?:py|js|ts|java|c|h|cpp|go|rs|sh|sql|md|txt|csv|tsv|xlsx?|docx?|pptx?|pdf|png|"
    r"jpe?g|zip|gz|json|jsonl|ya?ml|toml|ini|conf|cfg|log|xml|html?)\b"
)
_VERSION = re.compile(r"(?<![\w.])[vV]?\d+(?:\.\d+){2,}(?:-[A-Za-z0-9.]+)?(?![\w])|(?<![\w.])[vV]\d+(?:\.\d+)*(?![\w])")
_TOKEN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

_SPELLED_OUT = frozenset({Source.CLOCK, Source.CATALOG})
"""What the calendar or the catalog itself writes differently (Q3, K8s) is meant to change."""


def locked_spans(text: str, catalog: Catalog | None = None) -> list[str]:
    """Return what names something by itself: quotes, addresses, paths, versions, codes, the catalog's patterns.

    >>> locked_spans('ERR-4012 beim "Save as" button')
    ['"Save as"', 'ERR-4012']
    """
    return [text[start:end] for start, end in _named(text, catalog)]


def _named(text: str, catalog: Catalog | None) -> list[tuple[int, int]]:
    """Return the spans of names, none inside another."""
    patterns = (QUOTED, *(catalog.locked if catalog else ()), URL, EMAIL, _PATH, _VERSION)
    found = [match.span() for pattern in patterns for match in pattern.finditer(text)]
    # A code holds a letter and a digit, "ERR-4012", "iPhone15".
    codes = (m for m in _TOKEN.finditer(text) if any(map(str.isdigit, m[0])) and any(map(str.isalpha, m[0])))
    return _outermost([*found, *(match.span() for match in codes)])


def _outermost(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for start, end in spans:
        if not any(first <= start and end <= last for first, last in kept):
            kept.append((start, end))
    return kept


def lost(query: Query, edits: tuple[Edit, ...], catalog: Catalog | None = None) -> list[str]:
    """Return what must be carried over and would not be: names, numbers with their units, negations.

    Looks at each edit alone, and at the whole text that all of them make. Raises ValueError where edits overlap.
    """
    text = query.query
    rewritten = apply_edits(text, edits)
    staying = _without(text, [edit for edit in edits if edit.evidence.source in _SPELLED_OUT])
    gone = [
        text[start:end]
        for start, end in _locked(text, catalog)
        if _is_cut(text, start, end, edits) or _is_fewer(text[start:end], staying, rewritten)
    ]
    return gone + list(_negations_lost(text, edits, rewritten))


def _without(text: str, edits: Iterable[Edit]) -> str:
    """Blank what `edits` replace."""
    for edit in edits:
        text = text[: edit.start] + " " * (edit.end - edit.start) + text[edit.end :]
    return text


def _locked(text: str, catalog: Catalog | None) -> list[tuple[int, int]]:
    amounts = [(found.start, found.end) for found in quantities(text) if found.unit]
    numbers = [match.span() for match in _NUMBER.finditer(text)]
    return _outermost([*_named(text, catalog), *amounts, *numbers])


def _is_cut(text: str, start: int, end: int, edits: Iterable[Edit]) -> bool:
    """Say whether an edit touches the span and does not write it again."""
    touching = (edit for edit in edits if edit.start < end and start < edit.end)
    changing = (edit for edit in touching if edit.evidence.source not in _SPELLED_OUT)
    return any(not _holds(edit.replacement, text[start:end]) for edit in changing)


def _is_fewer(span: str, staying: str, rewritten: str) -> bool:
    """Say whether a text holds `span` less often than it did, and not as the same amount."""
    return _count(rewritten, span) < _count(staying, span) and not _holds_amount(rewritten, span)


def _holds(text: str, span: str) -> bool:
    """Say whether `span` stands in `text`, not as a part of a longer word or number, or the same amount does."""
    return _count(text, span) > 0 or _holds_amount(text, span)


def _holds_amount(text: str, span: str) -> bool:
    amounts = [found for found in quantities(span) if found.unit]
    return bool(amounts) and all(any(one.same(other) for other in quantities(text)) for one in amounts)


def _count(text: str, span: str) -> int:
    found, start = 0, text.find(span)
    while start >= 0:
        found += bounded(text, start, start + len(span))
        start = text.find(span, start + 1)
    return found


# --------------------------------------------------------------------------------------- negations

_DENIES_ZH = (
    r"(?P<a>\w)[不没](?P=a)"  # 是不是, 有没有: a question
    r"|[不没](?=[\s?？。!！了呢啊呀]*$)"  # 能撤回不?: a question, too
    r"|特别|区别|分别|级别|类别|性别|别人|别的|识别|个别|鉴别|辨别|告别|差别|别名|别墅"
    r"|非常|非洲|是非|非得|南非|无线|无锡|无论|无人机|无所谓|未来|未必|未婚夫"
    r"|不(?:太|是很|大|怎么)?(?:知道|清楚|确定|明白|懂|记得|了解)"  # of the asker, not of what is asked about
    r"|不过|不仅|不但|不错|不管|不断|不论|不妨|不禁|对不起|差不多|要不|只不过|不只|不光|没关系|没事"
)
_NEGATION_ZH = re.compile(rf"(?:{_DENIES_ZH})|(?P<except>除非|除了|除外|除去|除开)|(?P<deny>[不没未无别非])")
_NEGATION_EN = re.compile(
    r"(?:\bnot|n['’]t)\s+(?:(?:quite|really|so)\s+)?(?:sure|certain|know|get it|understand|remember|mind)\b"  # likewise
    r"|\bno idea\b|\bnot only\b|\bwhether or not\b|\bor not\b|\bno\.\s?\d"
    r"|\b(?P<except>except(?:ing|\s+for)?|excluding|unless|other than|apart from)\b"
    r"|(?P<deny>n['’]t\b|\b(?:not|cannot|no|never|without|neither|nor|none|nobody|nothing)\b)"
)
_ONE_WORDING = {"n't": "not", "n’t": "not", "cannot": "not", "except for": "except", "excepting": "except"}


def negations(text: str) -> Counter[tuple[str, str]]:
    """Count the negations of `text`, each by its kind (`deny`, `except`) and its wording.

    >>> negations("why doesn't it work without 除了")
    Counter({('deny', 'not'): 1, ('deny', 'without'): 1, ('except', '除了'): 1})
    """
    folded = fold(text)
    return Counter(
        (kind, _ONE_WORDING.get(match[kind], match[kind]))
        for pattern in (_NEGATION_EN, _NEGATION_ZH)
        for match in pattern.finditer(folded)
        for kind in ("deny", "except")
        if match[kind]
    )


def _negations_lost(text: str, edits: tuple[Edit, ...], rewritten: str) -> Iterator[str]:
    """Yield the negations that the rewrite has fewer of, unless an edit words one anew and negates no less."""
    missing = negations(text) - negations(rewritten)
    for (kind, wording), count in missing.items():
        anew = sum(
            (kind, wording) in negations(text[edit.start : edit.end])
            and _of_kind(edit.replacement, kind) >= _of_kind(text[edit.start : edit.end], kind)
            for edit in edits
        )
        if anew < count:
            yield wording


def _of_kind(text: str, kind: str) -> int:
    return sum(count for (found, _), count in negations(text).items() if found == kind)
