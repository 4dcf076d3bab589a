"""The live view: from what is known and what the user has chosen to the lines of a screen. Pure functions.

table.py has the services, notes.py the lines below them, detail.py one service's screen, connections.py its connections and
their ladders, keys.py what keys do.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracer.model.history import History
from tracer.model.report import Report, Service
from tracer.outputs.live.blocks import Block, beside
from tracer.outputs.live.connectionlist import connections_lines, ladder
from tracer.outputs.live.detail import detail
from tracer.outputs.live.keys import ViewState
from tracer.outputs.live.notes import note_lines, notes, per_hundred, ratio_text
from tracer.outputs.live.openblock import slow_services, slowest
from tracer.outputs.live.search import Search
from tracer.outputs.live.styled import Line, Piece, cut, length, line
from tracer.outputs.live.table import FEW_ROWS, LINES_AROUND, NOTHING, arranged, services_table
from tracer.outputs.live.window import SINCE_START, SPANS, Window, span_text, window
from tracer.outputs.surveytext import forecast_text, share_text
from tracer.outputs.units import count_text, exact_text

SMALLEST_TABLE = LINES_AROUND + FEW_ROWS
LEAST_TABLES = 2
"""Lines of the smallest of those tables that are shown only where there is room."""

_HINTS = {
    "services": ("? help", "q quit", "t span", "↑↓ Enter detail", "s sort", "w worst", "/ search", "space pause"),
    "detail": ("Esc back", "? help", "q quit", "Enter connections", "↑↓ next service", "space pause"),
    "connections": ("Esc back", "? help", "q quit", "↑↓ Enter ladder", "space pause"),
    "ladder": ("Esc back", "? help", "q quit", "↑↓ scroll", "space pause"),
    "worst": ("w Esc back", "? help", "q quit", "space pause"),
    "help": ("any key: back", "q quit"),
}
_HELP = (
    ("↑ ↓  j k", "choose a service (PgUp, PgDn, Home, End too)"),
    ("Enter", "the chosen service, its connections, the ladder of one; Esc: back"),
    ("t", "count the last minute, the last 10 s, or all since the start"),
    ("w", "the worst open connections of all services; w or Esc goes back"),
    ("s S  > <", "sort by the next column, the previous; at first: by what is wrong"),
    ("/  f", "find the beginning of a port, or text in process and peer; Enter"),
    ("space  p", "pause; the tracing goes on, and so do the metrics"),
    ("?  h", "this help"),
    ("q  Ctrl-C", "quit, with a summary (Ctrl-C: exit status 130)"),
    ("", ""),
    ("/s", "handshakes a second, in the last second"),
    ("times", "of handshakes; p99: 99 % took no longer"),
    ("last minute", "█ the row's highest; /s: ▁ is none; p99: a bar less is a quarter"),
    ("resent", "retransmitted segments; for every 100 connections seen, open,"),
    ("", "ended and failed ones, each of them once"),
    ("ports", "ephemeral ones in use from one address to a destination"),
    ("lost", "since the start: events, ring full; untracked, table full; partial,"),
    ("", "existing ones; misses, runs the kernel skipped; overflow, 'other'"),
    ("audit", "our counts less the kernel's own, of tcptrace's namespace"),
)


def frame(state: ViewState, history: History | None, width: int, height: int) -> list[Line]:
    """Return a screen: so many lines of at most so many columns, fewer only before the first Report; the last has the keys."""
    shown = state.paused or history
    if shown is None:
        return [cut(line(Piece(" tcptrace", "bold"), " has begun; the first figures come in a second"), width)][:height]
    figures = window(shown, state.span)
    if height < 2:
        return [_title(state, shown.report, figures, width)][:height]
    room = height - 2
    body = _body(state, shown, figures, width, room)
    return [_title(state, shown.report, figures, width), *body, *[()] * (room - len(body)), _footer(state, width)]


def _body(state: ViewState, shown: History, figures: Window, width: int, height: int) -> list[Line]:
    if state.screen == "help":
        return [cut(line(Piece(f" {key:<11}", "bold"), text), width) for key, text in _HELP][:height]
    if state.screen == "detail":
        return detail(shown, state.chosen, width, height)
    if state.screen == "connections" and state.chosen:
        return connections_lines(shown, state.chosen, state.connection, width, height)
    if state.screen == "ladder":
        return ladder(shown, state.connection, width, height, state.skip)
    return slowest(shown.report, width, height) if state.screen == "worst" else _services(state, shown, figures, width, height)


def _services(state: ViewState, history: History, figures: Window, width: int, height: int) -> list[Line]:
    """Return the table and what is below it; the table has what the notes leave, and at least the smaller half."""
    search = Search(state.search)
    rows = arranged(history, figures, state.sort, search)
    services = [row.service for row in rows]
    found = [*slow_services(history.report, search), *notes(history, services, search)]
    wanted = len(rows) + LINES_AROUND
    below = note_lines(found, width, min(len(found), max(height - wanted, (height - SMALLEST_TABLE) // 2 + 1, 0)))
    gap = [()] if below and height - len(below) > min(wanted, SMALLEST_TABLE) else []
    table_height, nothing = height - len(below) - len(gap), _nothing(state, history)
    table = services_table(rows, sort=state.sort, chosen=state.chosen, width=width, height=table_height, nothing=nothing)
    room = height - len(table) - len(gap) - len(below) - 1
    more = beside(_tables(history.report, services), width) if room >= LEAST_TABLES else []
    return [*table, *gap, *below, *([(), *more] if 0 < len(more) <= room else [])]


def _nothing(state: ViewState, history: History) -> str:
    """Return why there is no service."""
    if not history.services:
        return NOTHING
    span = span_text(state.span) if state.span == SINCE_START else f"in the {span_text(state.span)}"
    return f"nothing {f'with {state.search} ' if state.search else ''}happened {span}; t: another span"


def _tables(report: Report, services: Sequence[Service]) -> list[Block]:
    """Return what the notes sum up, service by service and destination by destination."""
    snapshot = report.places
    waiting = snapshot.time_wait if snapshot else ()
    uses = snapshot.ports if snapshot else ()
    return [
        _matrix("failures", [(s, {name: count_text(n) for name, n in s.failures.items()}) for s in services]),
        _matrix(
            "resent per 100 connections",
            [(s, {k: ratio_text(n) for k, n in per_hundred(s.retransmitted, s.seen).items()}) for s in services],
        ),
        Block(("TIME_WAIT by destination", "count"), [(name, f"{count:,}") for name, count in waiting]),
        Block(
            ("ephemeral ports to", "used", "of", "%", "exhausted"),
            [(use.destination, f"{use.used:,}", exact_text(use.limit), share_text(use), forecast_text(use)) for use in uses],
        ),
    ]


def _matrix(title: str, cells: Sequence[tuple[Service, dict[str, str]]]) -> Block:
    rows = [(service.name, texts) for service, texts in cells if texts]
    names = sorted({name for _, texts in rows for name in texts})
    return Block((title, *names), [(label, *(texts.get(name, "-") for name in names)) for label, texts in rows])


def _title(state: ViewState, report: Report, figures: Window, width: int) -> Line:
    name = _name(state)
    left = line(Piece(f" {name}", "bold"), f"  {' · '.join(_figures(state, report, figures))}")
    marks = [Piece(" paused ", "chosen")] if state.paused else []
    marks += [Piece(f" {'port' if Search(state.search).is_port else 'with'} {state.search} ", "chosen")] if state.search else []
    marks += [Piece(f" {state.mark} ", "chosen")] if state.mark else []
    room = width - sum(len(mark.text) for mark in marks)
    left = cut(left, max(room, 0))
    return cut((*left, Piece(" " * (room - length(left))), *marks), width)


def _name(state: ViewState) -> str:
    if state.screen in {"detail", "connections", "ladder"} and state.chosen:
        return " ".join(filter(None, state.chosen))
    return "tcptrace"


def _figures(state: ViewState, report: Report, figures: Window) -> list[str]:
    """Return what the head counts: of the span where services are listed, else since the start."""
    opened = f"{count_text(int(report.series.connections.sum()))} open"
    since = duration_text(report.duration_seconds)
    if state.screen == "services" and SINCE_START < state.span < report.duration_seconds:
        counted = f"{count_text(figures.handshakes)} handshakes", f"{count_text(figures.failed)} failed"
        return [f"{span_text(state.span)} of {since}", opened, *counted]
    series = report.series
    counted = f"{count_text(int(series.handshakes.sum()))} handshakes", f"{count_text(int(series.failures.sum()))} failed"
    longer = state.screen == "services" and report.duration_seconds > min(filter(None, SPANS))
    return [f"{since} since the start" if longer else since, opened, *counted]


def duration_text(seconds: float) -> str:
    """Return how long something has lasted: `13 s`, `13:02` (minutes), `1:13:02` (hours), `2 d 1:13:02`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days or hours:
        return f"{f'{days} d ' if days else ''}{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def _footer(state: ViewState, width: int) -> Line:
    if state.typing is not None:
        return cut(line(Piece(f" find: {state.typing}", "bold"), Piece("_ Enter applies, Esc cancels", "dim")), width)
    text, *more = _HINTS[state.screen]
    for hint in more:
        text += f"  {hint}" if len(text) + len(hint) + 3 <= width else ""
    return cut(line(Piece(f" {text}", "dim")), width)
