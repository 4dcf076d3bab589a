"""A report as lines of less than 80 columns. Pure: Findings in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracer.model.findings import Findings
from tracer.model.report import Report, Service, services
from tracer.outputs.findings.reportjson import outstanding
from tracer.outputs.findings.rows import (
    CONNECTION_COLUMNS,
    PEER_COLUMNS,
    TIMES,
    Row,
    begun,
    connection_rows,
    count_rows,
    handshake_rows,
    not_reported,
    peer_rows,
    reset_rows,
    state_time_rows,
    totals,
)
from tracer.outputs.lines import audit_lines
from tracer.outputs.units import shortened

WIDTH = 79
ROWS = 20
"""Of a table; what else there is, JSON has."""


def report_lines(findings: Findings) -> list[str]:
    """Return the report: what happened, then tables, each only where it has a row."""
    report = findings.counts
    found = services(report)
    sections = (
        _head(report, found),
        _table("Handshakes", TIMES, handshake_rows(found)),
        _table("Failed handshakes by reason", ("count",), count_rows((s, s.failures) for s in found)),
        _table("Closes by reason", ("count",), count_rows((s, s.closes) for s in found)),
        _table("Retransmitted segments by kind", ("count",), count_rows((s, s.retransmitted) for s in found)),
        _table("Time in each state", TIMES, state_time_rows(report)),
        _table("Peers, worst first", PEER_COLUMNS, peer_rows(findings)),
        _table("Resets", ("count",), reset_rows(findings)),
        *(
            _table(title_of(name), CONNECTION_COLUMNS, connection_rows(events, report))
            for name, events in outstanding(findings).items()
        ),
        audit_lines(report) if report.audit else [],
    )
    return [line[:WIDTH].rstrip() for section in sections if section for line in ("", *section)][1:]


def title_of(name: str) -> str:
    """Return the title of a list of connections that stand out."""
    return name.replace("_", " ").capitalize()


def _head(report: Report, found: Sequence[Service]) -> list[str]:
    lines = [f"{report.duration_seconds:,.1f} s{begun(report)}, Linux {report.context.kernel}", totals(found)]
    lost = not_reported(report)
    return [*lines, *([f"not in this report: {', '.join(lost)}"] if lost else [])]


def _table(title: str, columns: Row, rows: Iterable[Row]) -> list[str]:
    """Return a title with the columns' names, and the rows; the first cell of each takes what the others leave."""
    found = list(rows)
    if not found:
        return []
    width = WIDTH - 9 * len(columns)
    lines = [
        f"  {shortened(row[0], width - 3):<{width - 2}}" + "".join(f"{cell:>9}" for cell in row[1:]) for row in found[:ROWS]
    ]
    more = [f"  and {len(found) - ROWS:,} more"] if len(found) > ROWS else []
    return [f"{title:<{width}}" + "".join(f"{name:>9}" for name in columns), *lines, *more]
