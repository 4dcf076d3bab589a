"""A report as one JSON object. Pure: Findings in, plain values out; what is not known is None."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer.model.findings import Findings
from tracer.model.histogram import quantile
from tracer.model.report import Report, Service, services
from tracer.model.summaryjson import summary_document
from tracer.model.tcp import STATES
from tracer.outputs.jsonl import describe

QUANTILES = {"p50_seconds": 0.5, "p90_seconds": 0.9, "p99_seconds": 0.99, "p999_seconds": 0.999, "max_seconds": 1.0}


def report_document(findings: Findings) -> dict[str, Any]:
    """Return the object that `report --format json` prints."""
    report = findings.counts
    counts = summary_document(report)
    return {
        "kernel": report.context.kernel,
        "start": start_of(report),
        "duration_seconds": counts["duration_seconds"],
        "handshakes": [_handshakes(service) for service in services(report) if service.handshakes],
        **{name: counts[name] for name in ("failures", "closes", "retransmitted_segments")},
        "states": state_rows(report),
        "peers": [{"peer": peer, **_peer(service)} for peer, service in findings.peers],
        "resets": [
            {"direction": direction, "reset_reason": reason, "count": count}
            for (direction, reason), count in findings.resets.items()
        ],
        **{name: describe(events, report.context) for name, events in outstanding(findings).items()},
        "audit": [
            {"counter": line.counter, "kernel": line.kernel, "traced": line.traced, "drift": line.drift}
            for line in report.audit
        ],
        "events_lost": report.events_lost,
        "connections_untracked": report.untracked,
        "missing": list(report.context.missing),
    }


def outstanding(findings: Findings) -> dict[str, Any]:
    """Return the records of the connections that stand out, by what for."""
    return {
        "longest_connections": findings.longest,
        "largest_connections": findings.largest,
        "most_retransmitting_connections": findings.retransmitting,
    }


def start_of(report: Report) -> float | None:
    """Return the Unix time at which the report begins, None before the first reading."""
    if not report.time_ns:
        return None
    return round((report.context.anchor_ns + report.time_ns) / 1e9 - report.duration_seconds, 6)


def state_rows(report: Report) -> list[dict[str, Any]]:
    """Return how long connections that ended were in each state, in the order of a connection's life."""
    times = report.state_times
    columns = {name: quantile(times, q) for name, q in QUANTILES.items()}
    order = sorted(np.flatnonzero(times.totals).tolist(), key=lambda state: _LIFE.get(STATES[state], len(_LIFE)))
    return [
        {
            "state": STATES[state],
            "count": int(times.totals[state]),
            "total_seconds": float(times.sums[state]),
            **{name: float(column[state]) for name, column in columns.items()},
        }
        for state in order
    ]


_LIFE = {
    name: at
    for at, name in enumerate(
        ("syn_sent", "syn_recv", "established", "fin_wait1", "fin_wait2", "closing", "time_wait", "close_wait", "last_ack")
    )
}


def _handshakes(service: Service) -> dict[str, Any]:
    port = int(service.port) if service.port.isdigit() else service.port
    times = {name: service.quantile(q) for name, q in QUANTILES.items()}
    return {"role": service.role, "port": port, **dict(service.labels), "count": service.handshakes, **times}


def _peer(service: Service) -> dict[str, Any]:
    return {
        "handshakes": service.handshakes,
        "failures": dict(service.failures),
        "closes": dict(service.closes),
        "retransmitted_segments": dict(service.retransmitted),
        "p50_seconds": service.quantile(0.5),
        "p99_seconds": service.quantile(0.99),
    }
