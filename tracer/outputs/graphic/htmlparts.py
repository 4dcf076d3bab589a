"""Documents and what they are made of besides charts: cards with a figure, sections with a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracer.outputs.graphic.look import POLICY, STYLE
from tracer.outputs.graphic.markup import Markup, element, joined

Row = Sequence[object]


def html_document(
    title: str,
    body: Iterable[object],
    *,
    reload_seconds: int | None = None,
    policy: str = POLICY,
    style: str = STYLE,
    script: str = "",
) -> str:
    """Return a whole document, which loads nothing, and runs nothing but the script that is given, which the policy must allow.

    reload_seconds: when the browser is to load it again, where it runs no script.
    """
    again = element("meta", http_equiv="refresh", content=reload_seconds) if reload_seconds else ""
    head = (
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("title", title),
        element("noscript", again) if script else again,
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("style", Markup(style)),
        element("script", Markup(script)) if script else "",
    )
    whole = element("html", element("head", *head), "\n", element("body", joined(body, "\n")), lang="en")
    return f"<!doctype html>\n{whole}"


def cards(*each: Markup) -> Markup:
    """Return cards beside each other."""
    return element("div", *each, class_="cards")


def card(label: str, value: str, *, bad: bool = False, good: bool = False) -> Markup:
    """Return a figure with its name below."""
    return element(
        "div", element("b", value, class_="bad" if bad else "good" if good else None), element("span", label), class_="card"
    )


def section(title: str, *parts: object, anchor: str | None = None) -> Markup:
    """Return a heading and what stands below it."""
    return joined((element("h2", title, id=anchor), *parts), "\n")


def table(head: Row, rows: Iterable[Row], *, none: str = "none yet", ident: str | None = None) -> Markup:
    """Return a table that scrolls sideways where it is too wide; cells that are Markup stay what they are.

    none: what is said where there is no row.
    """
    lines = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    if not lines:
        return element("p", none)
    top = element("tr", *(element("th", name, scope="col") for name in head))
    return element("div", element("table", joined((top, *lines), "\n")), class_="scroll", tabindex="0", id=ident)
