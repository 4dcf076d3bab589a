"""The rows of a report's tables as text, for the terminal and for the page: so that no two forms of a report can disagree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from tracer.ingest.decode import Events
from tracer.model.findings import Findings
from tracer.model.report import Report, Service
from tracer.outputs.findings.reportjson import QUANTILES, start_of, state_rows
from tracer.outputs.jsonl import describe
from tracer.outputs.units import UNKNOWN, bytes_text, endpoint_text, time_text

TIMES = ("count", "p50", "p90", "p99", "p99.9", "max")
PEER_COLUMNS = ("opened", "failed", "abnormal", "retrans", "p50", "p99")
CONNECTION_COLUMNS = ("lasted", "sent", "received", "retrans")

Row = tuple[str, ...]


def begun(report: Report) -> str:
    """Return when a report begins, to stand behind its duration."""
    start = start_of(report)
    return "" if start is None else f" from {datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M:%S} UTC"


def totals(found: Sequence[Service]) -> str:
    """Return the sums over all services."""
    return (
        f"{sum(s.handshakes for s in found):,} handshakes, {sum(s.failed for s in found):,} failed, "
        f"{sum(s.closed for s in found):,} connections closed, {sum(s.segments for s in found):,} segments retransmitted"
    )


def not_reported(report: Report) -> list[str]:
    """Return what is not in a report, as far as there is something."""
    counted = (
        (report.events_lost, "events lost"),
        (report.untracked, "connections untracked"),
        (report.unreached, "changes of state that no program saw"),
    )
    return [f"{number:,} {what}" for number, what in counted if number]


def handshake_rows(found: Iterable[Service]) -> Iterable[Row]:
    """Yield count and times of each service with handshakes."""
    for service in found:
        if service.handshakes:
            yield (service.name, f"{service.handshakes:,}", *(time_text(service.quantile(q)) for q in QUANTILES.values()))


def count_rows(rows: Iterable[tuple[Service, Any]]) -> Iterable[Row]:
    """Yield counts by name, the largest of each service first."""
    for service, by_name in rows:
        for name, count in sorted(by_name.items(), key=lambda row: -row[1]):
            yield f"{service.name} {name}", f"{count:,}"


def state_time_rows(report: Report) -> Iterable[Row]:
    """Yield how long connections that ended were in each state."""
    for row in state_rows(report):
        yield (row["state"], f"{row['count']:,}", *(time_text(row[name]) for name in QUANTILES))


def peer_rows(findings: Findings) -> Iterable[Row]:
    """Yield the peers where most is wrong."""
    for peer, service in findings.peers:
        abnormal = service.closed - service.closes.get("normal", 0)
        numbers = (f"{number:,}" for number in (service.handshakes, service.failed, abnormal, service.segments))
        yield (peer, *numbers, time_text(service.quantile(0.5)), time_text(service.quantile(0.99)))


def reset_rows(findings: Findings) -> Iterable[Row]:
    """Yield resets by direction and cause."""
    for (direction, reason), count in findings.resets.items():
        yield f"{direction}{f': {reason}' if reason else ''}", f"{count:,}"


def connection_rows(events: Events, report: Report) -> Iterable[Row]:
    """Yield ends, duration, bytes and retransmissions of closes."""
    for row in describe(events, report.context):
        yield (
            ends_text(row),
            UNKNOWN if row["partial"] else time_text(row["duration_seconds"]),
            bytes_text(row["sent_bytes"]),
            bytes_text(row["received_bytes"]),
            f"{row['retransmitted_segments']:,}",
        )


def ends_text(row: dict[str, Any]) -> str:
    """Return both ends of an event's connection, with an arrow from the client to the server."""
    return " ".join((_end(row, "local"), "<-" if row["role"] == "server" else "->", _end(row, "remote")))


def _end(row: dict[str, Any], side: str) -> str:
    return endpoint_text(row[f"{side}_address"], row[f"{side}_port"])
