"""Elements of HTML and SVG as text: whatever is not Markup already is escaped, so that nothing from outside becomes markup.

No template library: the few elements are made in one place, and a template would have to be told what is safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

VOID = frozenset({"meta", "br", "hr", "link"})


class Markup(str):
    """Text that is markup, and goes into a document as it is."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """Return an element. Children and attributes that are no Markup are escaped; None and False are left out.

    Names of attributes: `class_` for class, `text_anchor` for text-anchor. Numbers have at most two decimals.
    """
    named = "".join(f' {_name(name)}="{_value(value)}"' for name, value in attributes.items() if value not in (None, False))
    if tag in VOID:
        return Markup(f"<{tag}{named}>")
    return Markup(f"<{tag}{named}>{joined(children)}</{tag}>")


def joined(children: Iterable[object], between: str = "") -> Markup:
    """Return children one after the other, those that are no Markup escaped."""
    return Markup(
        between.join(
            child if isinstance(child, Markup) else escape(str(child)) for child in children if child not in (None, "")
        )
    )


def number_text(value: float) -> str:
    """Return a coordinate in as few characters as two decimals need."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    if value is True:
        return ""
    return number_text(value) if isinstance(value, float) else escape(str(value))
