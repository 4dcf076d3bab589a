"""Open connections as a table of less than 80 columns, as JSON, and as CSV. Pure functions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from tracer.model.openlist import Connection, ServiceSum
from tracer.outputs.units import UNKNOWN, bytes_text, endpoint_text, percent_text, shortened, time_text

SERVICES_SHOWN = 10
_STATES = {"established": "ESTAB", "close_wait": "CLOSW", "fin_wait1": "FINW1", "fin_wait2": "FINW2", "last_ack": "LASTA"}
_CAUSES = {"peer's application": "peer's app", "our application": "our app"}
WIDTH = 79


def connections_table(connections: Sequence[Connection], services: Sequence[ServiceSum], total: int) -> list[str]:
    """Return the connections, and the services that all of them belong to; total: how many there are."""
    head = f"{'state':<6}{'process':<9}{'peer':<23}{'sent/s':>8}{'recv/s':>8}{'rtt':>8}{'lost%':>6} {'slow by':<10}"
    lines = [head, *map(_row, connections)]
    if total > len(connections):
        lines.append(f"and {total - len(connections):,} more (--count)")
    return [line[:WIDTH].rstrip() for line in [*lines, "", *_services(services)]]


def _row(row: Connection) -> str:
    peer = endpoint_text(row.remote_address, row.remote_port)
    place = f":{row.local_port}←{peer}" if row.role == "server" else f"→{peer}"
    lost = percent_text(row.retransmitted_share, 1)
    rates = f"{_rate(row.sent_bytes_rate):>8}{_rate(row.received_bytes_rate):>8}"
    who = f"{_STATES.get(row.state, row.state)[:5]:<6}{shortened(row.process or UNKNOWN, 8):<9}"
    cause = _CAUSES.get(row.cause or "", row.cause or "")
    return f"{who}{shortened(place, 22):<23}{rates}{time_text(row.rtt_seconds):>8}{lost:>6} {cause}"


def _services(rows: Sequence[ServiceSum]) -> list[str]:
    head = f"{'service':<17}{'open':>8}{'sent/s':>9}{'recv/s':>9}  slow by"
    lines = [head] if rows else ["no open connection"]
    for row in rows[:SERVICES_SHOWN]:
        causes = ", ".join(f"{cause} {count:,}" for cause, count in sorted(row.causes.items(), key=lambda item: -item[1]))
        rates = f"{_rate(row.sent_bytes_rate):>9}{_rate(row.received_bytes_rate):>9}"
        lines.append(f"{f'{row.role} {row.port}':<17}{row.connections:>8,}{rates}  {causes or UNKNOWN}")
    return lines


def connections_document(connections: Iterable[Connection], services: Iterable[ServiceSum], total: int) -> dict[str, Any]:
    """Return the same as an object for JSON; total: how many connections there are."""
    return {"connections": [asdict(row) for row in connections], "services": [asdict(row) for row in services], "total": total}


def connections_csv(connections: Iterable[Connection]) -> list[str]:
    """Return the connections as lines of CSV, without a head; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in connections:
        writer.writerow([_cell(value) for value in asdict(row).values()])
    return text.getvalue().splitlines()


CSV_HEAD = ",".join(field.name for field in fields(Connection))


def _cell(value: object) -> object:
    if isinstance(value, str) and value[:1] in "=+-@":
        return f"'{value}"  # a spreadsheet would take it for a formula
    return f"{value:.6f}" if isinstance(value, float) else value


def _rate(value: float | None) -> str:
    return UNKNOWN if value is None else bytes_text(round(value))
