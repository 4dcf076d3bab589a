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
from tracer.outputs.live.blocks import Block, beside
from tracer.outputs.live.notes import Note
from tracer.outputs.live.search import Search
from tracer.outputs.live.styled import Line, cut, line
from tracer.outputs.units import bytes_text, time_text

SHOWN = 6
OLD_SECONDS = 10
"""From that age on it is said when the figures were read."""


def slow_services(report: Report, search: Search) -> list[Note]:
    """Return which services have connections that are held up, and by what, if there are any that are looked for."""
    table = _table(report)
    table = table[table["why"] != NO_RULE]
    ports = _service_ports(table)
    found = Counter(
        (ROLES[role], number, RULES[rule].cause)
        for role, number, rule in zip(table["role"].tolist(), ports.tolist(), table["why"].tolist(), strict=True)
        if search.fits(str(number))
    )
    shown = [f"{role} {number} {count:,} by {cause}" for (role, number, cause), count in found.most_common(SHOWN)]
    texts = tuple("; ".join(shown[:n]) for n in range(len(shown), 0, -1))
    return [Note("slow", texts, "warn")] if texts else []


def open_block(report: Report, service: Service) -> Block:
    """Return the open connections of a service, those that are held up first; none without a dump that has figures."""
    rows = [open_cells(one) for one in listed(report, service.role, service.port)[:SHOWN]]
    return Block((f"open connections{_when(report)}", "sent", "received", "rtt", "slow by"), rows)


def listed(report: Report, role: str, port: str) -> NDArray[np.void]:
    """Return the open connections of a service, those that are held up first, dtype OPEN."""
    table = _table(report)
    return _worst_first(table[(table["role"] == ROLE.get(role, 0)) & (_service_ports(table).astype(str) == port)])


def slowest(report: Report, width: int, height: int) -> list[Line]:
    """Return the open connections of all services in at most so many lines, those that are held up first."""
    table = _worst_first(_table(report))
    held_up = np.count_nonzero(table["why"] != NO_RULE)
    text = f" {held_up:,} of {len(table):,} open connections are held up{_when(report)}"
    rows = [(_service(one), *open_cells(one)) for one in table[: max(height - 3, 0)]]
    block = Block(("service", "peer", "sent", "received", "rtt", "slow by"), rows)
    return [cut(line(text if len(table) else " no open connection is known"), width), (), *beside([block], width)][:height]


def _worst_first(table: NDArray[np.void]) -> NDArray[np.void]:
    """Return connections in the order of what is wrong: held up or not, then by what waits, then by what was carried."""
    waiting = table["queues"].astype(np.int64).sum(axis=1)
    carried = table["figures"][:, :2].astype(np.int64).sum(axis=1)
    return table[np.lexsort((table["cookie"], -carried, -waiting, table["why"] == NO_RULE))]


def _when(report: Report) -> str:
    age = report.figures_age_seconds or 0
    return f", {age:.0f} s ago" if age >= OLD_SECONDS else ""


def _service(one: np.void) -> str:
    server = one["role"] == ROLE["server"]
    return f"{ROLES[one['role']]} {one['local_port'] if server else one['remote_port']}"


def open_cells(one: np.void) -> tuple[str, str, str, str, str]:
    """Return a connection's peer, bytes sent and received, round-trip time, and what it is slow by."""
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
