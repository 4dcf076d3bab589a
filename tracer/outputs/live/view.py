"""The live view: from what is known and what the user has chosen to the lines of a screen. Pure functions.

table.py has the services, notes.py the lines below them, detail.py one service's screen, keys.py what keys do.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracer.model.history import History
from tracer.model.report import Report, Service
from tracer.outputs.live.blocks import Block, beside
from tracer.outputs.live.detail import detail
from tracer.outputs.live.keys import ViewState
from tracer.outputs.live.notes import note_lines, notes, per_hundred, ratio_text, share_text
from tracer.outputs.live.opened import slow_services, worst
from tracer.outputs.live.styled import Line, Piece, cut, length, line
from tracer.outputs.live.table import FEW_ROWS, LINES_AROUND, arranged, services_table
from tracer.outputs.snapshot import forecast_text, limit_text
from tracer.outputs.units import count_text

SMALLEST_TABLE = LINES_AROUND + FEW_ROWS
LEAST_TABLES = 2
"""Lines of the smallest of those tables that are shown only where there is room."""

_HINTS = {
    "services": ("? help", "q quit", "s sort", "↑↓ Enter detail", "w worst", "/ port", "space pause"),
    "detail": ("Esc back", "? help", "q quit", "↑↓ next service", "space pause"),
    "worst": ("w Esc back", "? help", "q quit", "space pause"),
    "help": ("any key: back", "q quit"),
}
_HELP = (
    ("↑ ↓  j k", "choose a service (PgUp, PgDn, Home, End too)"),
    ("Enter", "show the chosen service alone; Esc goes back"),
    ("w", "the worst open connections of all services; w or Esc goes back"),
    ("s S  > <", "sort by the next column, the previous; at first: by what is wrong"),
    ("/  f", "show one port only: digits, Enter; Esc or no digit: all"),
    ("space  p", "pause; the tracing goes on, and so do the metrics"),
    ("?  h", "this help"),
    ("q  Ctrl-C", "quit, with a summary (Ctrl-C: exit status 130)"),
    ("", ""),
    ("/s", "handshakes a second, in the last second"),
    ("times", "of handshakes, since the start; p99: 99 % took no longer"),
    ("last minute", "█ the row's highest; /s: ▁ is none; p99: a bar less is a quarter"),
    ("resent", "retransmitted segments; for every 100 connections seen, open,"),
    ("", "ended and failed ones, each of them once"),
    ("ports", "ephemeral ones in use from one address to a destination"),
    ("lost", "events: ring full; untracked: table full; partial: older than"),
    ("", "the tracing; misses: runs the kernel skipped; overflow: 'other'"),
    ("audit", "our counts less the kernel's own, of tcptrace's namespace"),
)


def frame(state: ViewState, history: History | None, width: int, height: int) -> list[Line]:
    """Return a screen: so many lines of at most so many columns, fewer only before the first Report; the last has the keys."""
    shown = state.paused or history
    if shown is None:
        return [cut(line(Piece(" tcptrace", "bold"), " has begun; the first figures come in a second"), width)][:height]
    if height < 2:
        return [_title(state, shown.report, width)][:height]
    room = height - 2
    if state.screen == "help":
        body = [cut(line(Piece(f" {key:<13}", "bold"), text), width) for key, text in _HELP][:room]
    elif state.screen == "detail":
        body = detail(shown, state.chosen, width, room)
    elif state.screen == "worst":
        body = worst(shown.report, width, room)
    else:
        body = _services(state, shown, width, room)
    return [_title(state, shown.report, width), *body, *[()] * (room - len(body)), _footer(state, width)]


def _services(state: ViewState, history: History, width: int, height: int) -> list[Line]:
    """Return the table and what is below it; the table has what the notes leave, and at least the smaller half."""
    rows = arranged(history, state.sort, state.port)
    services = [row.service for row in rows]
    found = [*slow_services(history.report, state.port), *notes(history, services, state.port)]
    wanted = len(rows) + LINES_AROUND
    below = note_lines(found, width, min(len(found), max(height - wanted, (height - SMALLEST_TABLE) // 2 + 1, 0)))
    gap = [()] if below and height - len(below) > min(wanted, SMALLEST_TABLE) else []
    table = services_table(
        history, rows, sort=state.sort, chosen=state.chosen, width=width, height=height - len(below) - len(gap)
    )
    room = height - len(table) - len(gap) - len(below) - 1
    more = beside(_tables(history.report, services), width) if room >= LEAST_TABLES else []
    return [*table, *gap, *below, *([(), *more] if 0 < len(more) <= room else [])]


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
            [(use.destination, f"{use.used:,}", limit_text(use), share_text(use), forecast_text(use)) for use in uses],
        ),
    ]


def _matrix(title: str, cells: Sequence[tuple[Service, dict[str, str]]]) -> Block:
    rows = [(service.name, texts) for service, texts in cells if texts]
    names = sorted({name for _, texts in rows for name in texts})
    return Block((title, *names), [(label, *(texts.get(name, "-") for name in names)) for label, texts in rows])


def _title(state: ViewState, report: Report, width: int) -> Line:
    series = report.series
    parts = [
        duration_text(report.duration_seconds),
        f"{count_text(int(series.connections.sum()))} open",
        f"{count_text(int(series.handshakes.sum()))} handshakes",
        f"{count_text(int(series.failures.sum()))} failed",
    ]
    name = " ".join(filter(None, state.chosen)) if state.screen == "detail" and state.chosen else "tcptrace"
    left = line(Piece(f" {name}", "bold"), f"  {' · '.join(parts)}")
    marks = [Piece(" paused ", "chosen")] if state.paused else []
    marks += [Piece(f" port {state.port} ", "chosen")] if state.port else []
    marks += [Piece(f" {state.mark} ", "chosen")] if state.mark else []
    room = width - sum(len(mark.text) for mark in marks)
    left = cut(left, max(room, 0))
    return cut((*left, Piece(" " * (room - length(left))), *marks), width)


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
        return cut(line(Piece(f" port: {state.typing}", "bold"), Piece("_ Enter applies, Esc cancels", "dim")), width)
    text, *more = _HINTS[state.screen]
    for hint in more:
        text += f"  {hint}" if len(text) + len(hint) + 3 <= width else ""
    return cut(line(Piece(f" {text}", "dim")), width)
