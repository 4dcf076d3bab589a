"""The live view's lines on open connections: who is held up and by what, and those of one service. Pure functions."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.figures import OPEN
from tracer.model.naming import address_text
from tracer.model.report import Report, Service
from tracer.model.tcp import ROLE, ROLES
from tracer.model.why import NO_RULE, RULES
from tracer.outputs.live.blocks import Block
from tracer.outputs.live.notes import Note
from tracer.outputs.units import bytes_text, time_text

SHOWN = 6
OLD_SECONDS = 10
"""From that age on it is said when the figures were read."""


def slow_services(report: Report, port: str) -> list[Note]:
    """Return which services have connections that are held up, and by what, if there are any; port: of those alone."""
    table = _table(report)
    table = table[table["why"] != NO_RULE]
    ports = _service_ports(table)
    found = Counter(
        (ROLES[role], number, RULES[rule].cause)
        for role, number, rule in zip(table["role"].tolist(), ports.tolist(), table["why"].tolist(), strict=True)
        if port in ("", str(number))
    )
    shown = [f"{role} {number} {count:,} by {cause}" for (role, number, cause), count in found.most_common(SHOWN)]
    texts = tuple("; ".join(shown[:n]) for n in range(len(shown), 0, -1))
    return [Note("slow", texts, "warn")] if texts else []


def open_block(report: Report, service: Service) -> Block:
    """Return the open connections of a service, those that are held up first; none without a dump that has figures."""
    table = _table(report)
    table = table[(table["role"] == ROLE.get(service.role, 0)) & (_service_ports(table).astype(str) == service.port)]
    order = np.lexsort((table["cookie"], -table["figures"][:, :2].sum(axis=1).astype(np.int64), table["why"] == NO_RULE))
    rows = [_row(table[place]) for place in order[:SHOWN]]
    age = report.figures_age_seconds or 0
    when = f", {age:.0f} s ago" if age >= OLD_SECONDS else ""
    return Block((f"open connections{when}", "sent", "received", "rtt", "slow by"), rows)


def _row(one: np.void) -> tuple[str, ...]:
    address = address_text(one["remote_address"].tobytes(), int(one["netns"]))
    port = one["remote_port"] if one["role"] == ROLE["server"] else one["local_port"]
    sent, received = (bytes_text(int(one["figures"][place])) for place in (0, 1))
    cause = "-" if one["why"] == NO_RULE else RULES[one["why"]].cause
    return f"{address} {port}", sent, received, time_text(int(one["rtt_us"]) / 1e6 or None), cause


def _table(report: Report) -> NDArray[np.void]:
    figures = report.snapshot.figures if report.snapshot else None
    return figures.table if figures else np.empty(0, OPEN)


def _service_ports(table: NDArray[np.void]) -> NDArray[np.uint16]:
    ports: NDArray[np.uint16] = np.where(table["role"] == ROLE["server"], table["local_port"], table["remote_port"])
    return ports
