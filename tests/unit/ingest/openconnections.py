"""Looks at open connections in a line, for tests of what is kept and made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.unit.model.builder import SECOND, reading
from tests.unit.model.dumps import sockets
from tracer.ingest.figures import OPEN, Figures
from tracer.ingest.openrows import BEFORE, OpenRows
from tracer.ingest.snapshot import Snapshot
from tracer.ingest.source import Reading
from tracer.ingest.tcpinfo import DETAIL
from tracer.model.tcp import STATE


def open_rows(
    count: int, *, time_ns: int = SECOND, total: int | None = None, acknowledged: int = 24, state: int = 1
) -> OpenRows:
    """Return clients of 192.0.2.1:443, of which a second before each had half of its bytes acknowledged."""
    found = sockets("established", n=count, cookie=1)
    found["cookie"], found["inode"], found["state"] = np.arange(count) + 5, np.arange(count) + 1000, state
    details, before = np.zeros(count, DETAIL), np.zeros(count, BEFORE)
    details["info"]["tcp_state"], details["info"]["acknowledged_bytes"] = STATE["established"], acknowledged
    details["info"]["rtt_us"], before["cookie"] = 20_000, found["cookie"]
    before["acknowledged_bytes"] = acknowledged // 2
    return OpenRows(found, details, before, np.zeros(count, bool), 1.0, time_ns, count if total is None else total)


def reading_with(rows: OpenRows, time_ns: int, base: Reading | None = None) -> Reading:
    """Return a reading whose snapshot has these."""
    table = np.zeros(len(rows.sockets), OPEN)
    for name in ("cookie", "netns", "local_port", "remote_port", "remote_address", "family", "state"):
        table[name] = rows.sockets[name]
    figures = Figures(table, frozenset({7}), 0, rows.time_ns, rows=rows)
    return replace(base or reading(), time_ns=time_ns, snapshot=Snapshot(figures=figures))
