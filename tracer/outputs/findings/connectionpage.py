"""One connection as a part of a page, and as a page: both directions in columns, its graph, and its ladder. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracer.ingest.source import Context
from tracer.model.dossier import DossierRow, Unknown, Value
from tracer.model.drawn import Drawn
from tracer.model.follow.steps import Step
from tracer.outputs.findings.connection import dossier_head, value_text
from tracer.outputs.findings.sequence import sequence_figure
from tracer.outputs.graphic.htmlparts import html_document, section, table
from tracer.outputs.graphic.markup import Markup, element, joined
from tracer.outputs.ladder import Style, head_lines as ladder_head, ladder_lines

LADDER_WIDTH = 110
FIRST_LINES, LAST_LINES = 160, 60
"""Lines of a long ladder that are shown."""

NO_GRAPH = "The time-sequence graph needs a recording made with 'tcptrace record --segments -o FILE'."
NO_LADDER = "The ladder needs a recording made with 'tcptrace record --follow -o FILE', or --segments."
NO_SENDER = "There is no time-sequence graph: the end that has sent most is not traced, or told nothing. Record on its machine."
CUT = "It has more records than are drawn; 'tcptrace report FILE --connection' has all of them."


def connection_page(drawn: Drawn, context: Context) -> str:
    """Return the document of one connection."""
    head = dossier_head(drawn.dossier, context)
    parts = [element("p", line) for line in head if line]
    body = (element("h1", "tcptrace: one connection"), *parts, *both_directions(drawn), *drawings(drawn, context))
    return html_document(head[0].removeprefix("a: "), body)


def both_directions(drawn: Drawn) -> Iterable[Markup]:
    """Yield the table of both directions, and the reasons for what is not known."""
    reasons: dict[str, int] = {}
    shared = [(name, _cell(value, "seconds", reasons), "") for name, value in drawn.dossier.common.items()]
    rows = [
        (_name(row), *(_cell(value, row.unit, reasons) for value in (row.forward, row.backward))) for row in drawn.dossier.rows
    ]
    yield section("Both directions", table(("", "a to b", "b to a"), [*shared, *rows]))
    notes = [element("p", element("sup", number), f" {why}") for why, number in reasons.items()]
    yield joined(notes, "\n")


def _name(row: DossierRow) -> str:
    return f"{row.name.strip()} ({row.unit})" if row.unit.startswith("bytes") and "bytes" not in row.name else row.name.strip()


def _cell(value: Value, unit: str, reasons: dict[str, int]) -> object:
    if isinstance(value, Unknown):
        return joined(("-", element("sup", reasons.setdefault(value.why, len(reasons) + 1))))
    return value_text(value, unit)


def drawings(drawn: Drawn, context: Context) -> Iterable[Markup]:
    """Yield the graph and the ladder of a connection, or the sentence that says what they take."""
    if drawn.graph:
        way = "from a to b" if drawn.graph.forward else "from b to a"
        receiver = drawn.dossier.peer if drawn.graph.forward else drawn.dossier.own
        yield sequence_figure(drawn.graph, way, arrivals=bool(len(receiver)))
    else:
        yield element("p", NO_SENDER if "segments" in context.asked else NO_GRAPH)
    yield ladder_text(drawn.steps) if drawn.steps is not None else element("p", NO_LADDER)
    if drawn.cut:
        yield element("p", CUT)


def ladder_text(steps: Sequence[Step]) -> Markup:
    """Return the ladder as text; of a long one the beginning and the end."""
    style = Style(width=LADDER_WIDTH)
    lines = [*ladder_head(style), *ladder_lines(steps, style)]
    if len(lines) > FIRST_LINES + LAST_LINES:
        left_out = len(lines) - FIRST_LINES - LAST_LINES
        lines = [*lines[:FIRST_LINES], f"... {left_out:,} lines are left out here ...", *lines[-LAST_LINES:]]
    return element("pre", "\n".join(lines), tabindex="0")
