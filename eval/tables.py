"""Tables of the page: headed, scrolling in boxes of their own, and unfolding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .markup import Markup, tag


def grid(head: Sequence[str], rows: Sequence[Markup], *, words: int) -> Markup:
    """Return a table; all but the first `words` columns are figures."""
    cells = (tag("th", name, scope="col", class_=None if place < words else "n") for place, name in enumerate(head))
    return tag("table", tag("thead", tag("tr", *cells)), tag("tbody", *rows))


def figures_row(names: Sequence[str], figures: Iterable[object]) -> Markup:
    """Return a row of a table: the first name heads it."""
    first, *others = names
    cells = (tag("td", one, class_="n") for one in figures)
    return tag("tr", tag("th", first, scope="row"), *(tag("td", other) for other in others), *cells)


def scroll(label: str, table: Markup) -> Markup:
    """Return a table in a box of its own that scrolls, by keyboard too."""
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def unfold(title: str, table: Markup) -> Markup:
    """Return a table that unfolds under `title`."""
    return tag("details", tag("summary", title), scroll(title, table))


def figures_of(label: str, table: Markup) -> Markup:
    """Return a plot's figures in a table that unfolds."""
    return tag("details", tag("summary", "The figures"), scroll(f"{label}: the figures", table))


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun.

    >>> counted(1, "query", "queries"), counted(2, "turn")
    ('1 query', '2 turns')
    """
    return f"{count} {one if count == 1 else many or one + 's'}"
