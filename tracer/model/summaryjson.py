"""The object that `run --json` ends with, of a Report; README and docs/commands.md name its members."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer import __version__
from tracer.model.report import Report, Service, services
from tracer.model.tcp import STATES


def summary_document(report: Report, host: str | None = None) -> dict[str, Any]:
    """Return the object; what is not known is None. host: the machine's name, where it is the one that was traced."""
    found = services(report)
    return {
        "host": host,
        "kernel": report.context.kernel,
        "version": __version__,
        "duration_seconds": round(report.duration_seconds, 6),
        "handshakes": [_handshakes(s) for s in found if s.handshakes],
        "failures": [_count(s, reason=reason, count=n) for s in found for reason, n in s.failures.items()],
        "closes": [_count(s, reason=reason, count=n) for s in found for reason, n in s.closes.items()],
        "retransmitted_segments": [_count(s, kind=kind, count=n) for s in found for kind, n in s.retransmitted.items()],
        "bytes": _bytes_carried(report),
        "resets": _resets(report),
        "transitions": _transitions(report),
        "sockets": None if report.sockets is None else dict(report.sockets),
        "ephemeral_ports": _ephemeral_ports(report),
        "events_lost": report.events_lost,
        "connections_untracked": report.untracked,
        "drift": _drift(report),
    }


def _bytes_carried(report: Report) -> list[dict[str, Any]]:
    """Return the payload of each service both ways: of ended connections, and of open ones as of the last dump."""
    series = report.series
    rows = np.flatnonzero(series.sent_bytes | series.received_bytes)
    return [
        _labeled(report, int(row), sent_bytes=int(series.sent_bytes[row]), received_bytes=int(series.received_bytes[row]))
        for row in rows
    ]


def _resets(report: Report) -> list[dict[str, Any]]:
    """Return the resets of each service; only those sent have the kernel's reason."""
    series = report.series
    sent = [
        _labeled(report, int(row), direction="sent", reason=reset_reason(report, int(number)), count=int(count))
        for (row, number), count in zip(
            np.argwhere(series.resets_sent), series.resets_sent[series.resets_sent > 0], strict=True
        )
    ]
    received = [
        _labeled(report, int(row), direction="received", reason=None, count=int(series.resets_received[row]))
        for row in np.flatnonzero(series.resets_received)
    ]
    return sent + received


def reset_reason(report: Report, number: int) -> str:
    """Return the kernel's name of a reset reason; `unspecified` where the kernel gives none."""
    return report.context.reset_reasons.get(number, f"reason_{number}" if number else "unspecified")


def _transitions(report: Report) -> list[dict[str, Any]] | None:
    """Return the transitions that happened, as {from, to, count}; None before the first reading."""
    if report.transitions is None:
        return None
    return [
        {"from": STATES[old], "to": STATES[new], "count": int(report.transitions[old, new])}
        for old, new in np.argwhere(report.transitions)
    ]


def _ephemeral_ports(report: Report) -> dict[str, Any] | None:
    """Return the limit of tcptrace's own namespace, and the destinations with most ports in use; None without a snapshot."""
    if report.snapshot is None:
        return None
    used = [
        {"destination": use.destination, "netns": use.netns, "count": use.used, "limit": use.limit, "seen": use.seen}
        for use in (*report.snapshot.ports, *report.unlisted.ports)
    ]
    return {"limit": report.snapshot.ports_limit, "used": used}


def _drift(report: Report) -> dict[str, int] | None:
    """Return how many more we counted than the kernel did, by counter; None where the two cannot be compared."""
    return {line.counter: line.drift for line in report.audit if line.drift is not None} or None


def _handshakes(service: Service) -> dict[str, Any]:
    return _count(
        service,
        count=service.handshakes,
        p50_seconds=service.quantile(0.5),
        p90_seconds=service.quantile(0.9),
        p99_seconds=service.quantile(0.99),
        max_seconds=service.quantile(1),
    )


def _count(service: Service, **values: Any) -> dict[str, Any]:
    return {**_service(service.role, service.port), **dict(service.labels), **values}


def _labeled(report: Report, row: int, **values: Any) -> dict[str, Any]:
    role, port, *more = report.series.labels[row]
    return {**_service(role, port), **dict(zip(report.series.names[2:], more, strict=True)), **values}


def _service(role: str, port: str) -> dict[str, Any]:
    return {"role": role, "port": int(port) if port.isdigit() else port}
