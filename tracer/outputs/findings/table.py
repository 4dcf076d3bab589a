"""A report as lines of less than 80 columns. Pure: Findings in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from tracer.model.findings import Findings
from tracer.model.report import Report, Service, services
from tracer.outputs.findings.document import QUANTILES, outstanding, start_of, state_rows
from tracer.outputs.jsonl import describe
from tracer.outputs.lines import audit
from tracer.outputs.units import UNKNOWN, bytes_text, endpoint_text, shortened, time_text

WIDTH = 79
ROWS = 20
"""Of a table; what else there is, JSON has."""

TIMES = ("count", "p50", "p90", "p99", "p99.9", "max")
PEER_COLUMNS = ("opened", "failed", "abnormal", "retrans", "p50", "p99")

Row = tuple[str, ...]


def report_lines(findings: Findings) -> list[str]:
    """Return the report: what happened, then tables, each only where it has a row."""
    report = findings.counts
    found = services(report)
    sections = (
        _head(report, found),
        _table("Handshakes", TIMES, map(_handshakes, (s for s in found if s.handshakes))),
        _table("Failed handshakes by reason", ("count",), _counts((s, s.failures) for s in found)),
        _table("Closes by reason", ("count",), _counts((s, s.closes) for s in found)),
        _table("Retransmitted segments by kind", ("count",), _counts((s, s.retransmitted) for s in found)),
        _table("Time in each state", TIMES, map(_state, state_rows(report))),
        _table("Peers, worst first", PEER_COLUMNS, _peers(findings)),
        _table("Resets", ("count",), _resets(findings)),
        *(_connections(title, events, report) for title, events in outstanding(findings).items()),
        audit(report) if report.audit else [],
    )
    return [line[:WIDTH].rstrip() for section in sections if section for line in ("", *section)][1:]


def _head(report: Report, found: Sequence[Service]) -> list[str]:
    start = start_of(report)
    when = "" if start is None else f" from {datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"{report.duration_seconds:,.1f} s{when}, Linux {report.context.kernel}",
        f"{sum(s.handshakes for s in found):,} handshakes, {sum(s.failed for s in found):,} failed, "
        f"{sum(s.closed for s in found):,} connections closed, {sum(s.segments for s in found):,} segments retransmitted",
    ]
    lost = [f"{number:,} {what}" for number, what in _losses(report) if number]
    return [*lines, *([f"not in this report: {', '.join(lost)}"] if lost else [])]


def _losses(report: Report) -> tuple[tuple[int | None, str], ...]:
    return (
        (report.events_lost, "events lost"),
        (report.untracked, "connections untracked"),
        (report.unreached, "changes of state that no program saw"),
    )


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


def _handshakes(service: Service) -> Row:
    return (service.name, f"{service.handshakes:,}", *(time_text(service.quantile(q)) for q in QUANTILES.values()))


def _counts(rows: Iterable[tuple[Service, Any]]) -> Iterable[Row]:
    for service, counts in rows:
        for name, count in sorted(counts.items(), key=lambda row: -row[1]):
            yield f"{service.name} {name}", f"{count:,}"


def _state(row: dict[str, Any]) -> Row:
    return (row["state"], f"{row['count']:,}", *(time_text(row[name]) for name in QUANTILES))


def _peers(findings: Findings) -> Iterable[Row]:
    for peer, service in findings.peers:
        abnormal = service.closed - service.closes.get("normal", 0)
        counts = (f"{number:,}" for number in (service.handshakes, service.failed, abnormal, service.segments))
        yield (peer, *counts, time_text(service.quantile(0.5)), time_text(service.quantile(0.99)))


def _resets(findings: Findings) -> Iterable[Row]:
    for (direction, reason), count in findings.resets.items():
        yield f"{direction}{f': {reason}' if reason else ''}", f"{count:,}"


def _connections(title: str, events: Any, report: Report) -> list[str]:
    rows = (
        (
            " ".join((_end(row, "local"), "<-" if row["role"] == "server" else "->", _end(row, "remote"))),
            UNKNOWN if row["partial"] else time_text(row["duration_seconds"]),
            bytes_text(row["sent_bytes"]),
            bytes_text(row["received_bytes"]),
            f"{row['retransmitted_segments']:,}",
        )
        for row in describe(events, report.context)
    )
    return _table(title.replace("_", " ").capitalize(), ("lasted", "sent", "received", "retrans"), rows)


def _end(row: dict[str, Any], side: str) -> str:
    return endpoint_text(row[f"{side}_address"], row[f"{side}_port"])
