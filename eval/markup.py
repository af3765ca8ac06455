"""HTML and SVG put together so that nothing unescaped can slip in."""

from __future__ import annotations

from html import escape

Attribute = str | int | float | bool | None


class Markup(str):
    """Text that is HTML already; any other string is escaped where it is put in."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: Attribute) -> Markup:
    """Return an element; children that are not `Markup` are escaped, None is left out.

    Underscores of attribute names become hyphens; one at the end, as of `class_`, goes. True stands for an attribute
    without a value; False and None leave it out.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    opened = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    if name in _VOID:
        return Markup(opened)
    return Markup(f"{opened}{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Return `children` one after the other, escaped where they are not `Markup`."""
    return Markup("".join(child if isinstance(child, Markup) else _text(child) for child in children))


def number(value: float) -> str:
    """Return a coordinate or a percentage, short.

    >>> number(12.0), number(1 / 3)
    ('12', '0.333')
    """
    return f"{value:.3f}".rstrip("0").rstrip(".") or "0"


_VOID = frozenset({"br", "col", "hr", "link", "meta"})


def _text(child: object) -> str:
    return "" if child is None else escape(str(child), quote=False)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = number(value) if isinstance(value, float) else str(value)
    return f' {name}="{escape(text)}"'
