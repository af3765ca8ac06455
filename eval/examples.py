"""The queries that lost and gained most, as the page shows them: both rankings side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..rewrite.language import language_of
from .breakdown import QueryRow, change
from .extremes import Example, Extremes, Listed
from .headline import signed
from .markup import Markup, tag
from .measures import MAIN_MEASURE
from .tables import counted


def both_ends(ends: Extremes, heading: str) -> Iterator[Markup]:
    """Yield the worst and the best queries of a cell, each under a heading of its own."""
    for title, examples in (("Lost most", ends.worst), ("Gained most", ends.best)):
        if examples:
            yield tag(heading, title)
            yield tag("div", *map(_example, examples), class_="queries")
        else:
            yield tag("p", f"{title}: no query.", class_="lead")


def _example(example: Example) -> Markup:
    row = example.row
    gained = change(row)
    return tag(
        "details",
        tag(
            "summary",
            tag("b", signed(gained, 2), class_=f"change {'gain' if gained > 0 else 'loss'}"),
            _text(row["original"], "typed"),
        ),
        tag("dl", *_story(row), class_="story"),
        tag(
            "div",
            _ranking("As typed", row["none"][MAIN_MEASURE], example.none),
            _ranking(row["arm"], row["values"][MAIN_MEASURE], example.ours),
            class_="rankings",
        ),
        _missed(example.missed),
        class_="query",
    )


def _story(row: QueryRow) -> Iterator[Markup]:
    """Yield what is to know of a query and its rewrite."""
    yield _pair("Query", _text(row["original"]))
    yield _pair("Rewrite", _text(row["rewrite"]))
    if row["gold"]:
        yield _pair("Gold rewrite", _text(row["gold"]))
    degraded = f"; degraded: {row['degraded']}" if row["degraded"] else ""
    yield _pair("Decision", f"{row['decision']} by {row['rewriter']}, confidence {row['confidence']:.2f}{degraded}")
    labels = [f"{name} {value}" for name, value in row["labels"].items()]
    yield _pair("About", "; ".join([f"id {row['id']}", f"{counted(row['turn'], 'user turn')} before", *labels]))
    if row["edits"]:
        yield _pair("Edits", tag("ul", *(tag("li", *_edit(edit)) for edit in row["edits"])))


def _edit(edit: Mapping[str, object]) -> Iterator[object]:
    yield f"{edit.get('slot') or edit.get('problem')}: "
    yield _text(str(edit.get("replacement", "")))
    evidence = edit.get("evidence")
    if isinstance(evidence, Mapping):
        yield f" (from {evidence.get('source')}: “"
        yield _text(str(evidence.get("text", "")))
        yield "”)"


def _ranking(title: str, value: float, docs: Sequence[Listed] | None) -> Markup:
    head = tag("h5", title, tag("small", f"{MAIN_MEASURE} {value:.3f}"))
    if docs is None:
        return tag("div", head, tag("p", "The run is not there.", class_="lead"))
    if not docs:
        return tag("div", head, tag("p", "Nothing found.", class_="lead"))
    return tag("div", head, tag("ol", *map(_listed, docs)))


def _listed(doc: Listed) -> Markup:
    relevant = doc.grade is not None and doc.grade > 0
    badge = None if doc.grade is None else tag("em", f"relevant, {doc.grade}" if relevant else "judged not relevant")
    title = _text(doc.title) if doc.title else None
    return tag("li", title, tag("code", doc.doc_id), badge, class_="relevant" if relevant else None)


def _missed(docs: Sequence[Listed]) -> Markup | None:
    if not docs:
        return None
    return tag("div", tag("h5", "Relevant, in neither list"), tag("ul", *map(_listed, docs)), class_="missed")


def _text(text: str, class_: str | None = None) -> Markup:
    """Return text of a data set with its language, which decides on glyphs and line breaks."""
    return tag("span", text, lang=str(language_of(text)), dir="auto", class_=class_)


def _pair(name: str, value: object) -> Markup:
    return tag("div", tag("dt", name), tag("dd", value))
