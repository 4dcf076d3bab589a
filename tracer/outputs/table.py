"""The live table on a terminal: handshakes, failures, closes and retransmissions by role and port.

A pure function from two Reports to something rich can draw; readable at 80 columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracer.model.report import Report, Service, services, summed
from tracer.outputs.snapshot import forecast_text, soonest
from tracer.outputs.units import UNKNOWN, count_text, rate_text, time_text

COLUMNS = ("service", "hand-\nshakes", "\n/s", "\np50", "\np90", "\np99", "\nmax", "\nfailed", "\nclosed", "re-\ntrans")


def table(report: Report, previous: Report | None, width: int = 80, *, rows: int = 15) -> RenderableType:
    """Return the view of a Report, with rates since the previous one, at most so many services, the biggest first.

    The services that do not fit are one summed line.
    """
    grid = Table(box=None, padding=(0, 1, 0, 0), width=width, show_edge=False, header_style="bold")
    for name in COLUMNS:
        first = name == COLUMNS[0]
        grid.add_column(name, justify="left" if first else "right", no_wrap=True, ratio=1 if first else None)
    for service, rate in _lines(report, previous, rows):
        grid.add_row(*_cells(service, rate), style="dim" if service.role == "other" else None)
    return Group(grid, Text(), *footer(report))


def footer(report: Report) -> Sequence[Text]:
    """Return the lines below the table: time, open connections, and what was not seen."""
    seen = f"{report.duration_seconds:.0f} s · {count_text(int(report.series.connections.sum()))} open"
    missed = f"{count_text(report.events_lost)} events lost · {count_text(report.untracked)} connections untracked"
    style = "bold red" if report.events_lost or report.untracked else "dim"
    lines = [Text.assemble((f"{seen} · ", "dim"), (missed, style))]
    if use := soonest(report.snapshot):
        ports = f"{use.used:,} of {use.limit:,} ports to {use.destination} in use, exhausted {forecast_text(use)}"
        lines.append(Text(ports, style="bold red", overflow="ellipsis"))
    if report.context.missing:
        lines.append(
            Text(f"not shown by this kernel: {', '.join(report.context.missing)}", style="yellow", overflow="ellipsis")
        )
    return lines


def _lines(report: Report, previous: Report | None, rows: int) -> list[tuple[Service, float | None]]:
    found = services(report)
    shown, rest = (found, []) if len(found) <= rows else (found[: rows - 1], found[rows - 1 :])
    together = [*shown, summed(report, rest)] if rest else shown
    before = _handshakes_before(previous, shown)
    seconds = report.duration_seconds - previous.duration_seconds if previous else 0.0
    return [(service, _rate(service, before, seconds)) for service in together]


def _handshakes_before(previous: Report | None, shown: Sequence[Service]) -> dict[tuple[str, str], int]:
    """Return handshakes of each service then; all that are not among those shown now count for the summed line."""
    counts = {(s.role, s.port): s.handshakes for s in services(previous)} if previous else {}
    names = {(s.role, s.port) for s in shown}
    counts["rest", ""] = sum(count for name, count in counts.items() if name not in names)
    return counts


def _rate(service: Service, before: dict[tuple[str, str], int], seconds: float) -> float | None:
    if seconds <= 0:
        return None
    name = ("rest", "") if service.port.startswith("(") else (service.role, service.port)
    return max(0, service.handshakes - before.get(name, 0)) / seconds


def _cells(service: Service, rate: float | None) -> list[str | Text]:
    times = [time_text(service.quantile(q)) for q in (0.5, 0.9, 0.99, 1)]
    return [
        service.name,
        count_text(service.handshakes),
        rate_text(rate),
        *times,
        _count(service.failed, "red"),
        count_text(service.closed),
        _count(service.segments, "yellow"),
    ]


def _count(count: int, style: str) -> Text:
    return Text(count_text(count), style=style) if count else Text(UNKNOWN, style="dim")
