"""Open connections one by one, by two looks at the sockets: what a Reading carries, and what a recording keeps of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import LAYOUT
from tracer.ingest.names import cleaned_json
from tracer.ingest.planes import planes, tables_of
from tracer.ingest.plausible import MAX_NS, checked
from tracer.ingest.sockdiag import SOCKET, Sockets
from tracer.ingest.tcpinfo import DETAIL, Details

MOST_ROWS = 5_000
"""Of a look that a recording keeps; of more it keeps those that are held up, then those that carried most."""

BEFORE = np.dtype(
    [
        ("cookie", "=u8"),
        *((name, "=u8") for name in ("busy_us", "window_limited_us", "buffer_limited_us")),
        *((name, "=u8") for name in ("acknowledged_bytes", "received_bytes")),
        *((name, "=u4") for name in ("sent_segments", "received_segments", "retransmitted_segments", "out_of_order_segments")),
        ("unread", "=u4"),
    ]
)
"""What is kept of a look for the next one: of struct tcp_info, by the names there, and the bytes that nobody had read."""


@dataclass(frozen=True)
class OpenRows:
    """Open connections at the second of two looks; sockets, details, before, server: shape (n,) each, in the same order.

    before: of the first look, zeros for a connection that it did not have. server: whether it is the service's side.
    seconds: between the looks. time_ns: of the second, by the clock of the events. total: how many there were; n may be less.
    """

    sockets: Sockets
    details: Details
    before: NDArray[np.void]
    server: NDArray[np.bool_]
    seconds: float
    time_ns: int
    total: int

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which connections the first look had, too, shape (n,)."""
        known: NDArray[np.bool_] = self.before["cookie"] == self.sockets["cookie"]
        return known

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        return self.sockets.nbytes + self.details.nbytes + self.before.nbytes

    def take(self, places: NDArray[np.intp]) -> OpenRows:
        """Return the rows at these places, of as many in all."""
        sockets, details, before = self.sockets[places], self.details[places], self.before[places]
        return replace(self, sockets=sockets, details=details, before=before, server=self.server[places])


_SERVER = np.dtype([("server", "u1")])
_TABLES = {"sockets": SOCKET, "details": DETAIL, "before": BEFORE, "server": _SERVER}
ROW_BYTES = sum(dtype.itemsize for dtype in _TABLES.values())
_KINDS: dict[str, tuple[type, ...]] = {"rows": (int,), "total": (int,), "time_ns": (int,), "seconds": (int, float)}
_STATES = max(LAYOUT.enums["tcp_state"].values())


def pack(rows: OpenRows) -> bytes:
    """Return what unpack() is given: a line of JSON, and the tables."""
    head = {"rows": len(rows.sockets), "total": rows.total, "time_ns": rows.time_ns, "seconds": rows.seconds}
    tables = (rows.sockets, rows.details, rows.before, rows.server.astype("u1"))
    return json.dumps(head).encode() + b"\n" + planes(tables)


def unpack(payload: bytes) -> OpenRows:
    """Return what was packed; raises ValueError, KeyError, TypeError or RecursionError for what it cannot have been."""
    line, _, packed = payload.partition(b"\n")
    head = checked(cleaned_json(line), _KINDS)
    count = int(head["rows"])
    if not 0 <= count <= head["total"] <= MAX_NS:
        raise ValueError("the rows do not fit their number")
    if not 0 < head["seconds"] < MAX_NS or not 0 <= head["time_ns"] <= MAX_NS:
        raise ValueError("a time of the open connections makes no sense")
    tables = tables_of(packed, count, _TABLES)
    sockets, details = tables["sockets"], tables["details"]
    _check_states(sockets["state"], details["info"]["tcp_state"])
    server = tables["server"]["server"] != 0
    return OpenRows(sockets, details, tables["before"], server, float(head["seconds"]), head["time_ns"], head["total"])


def _check_states(*columns: NDArray[np.uint8]) -> None:
    if any(len(column) and int(column.max()) > _STATES for column in columns):
        raise ValueError("an open connection is in no state")


class OpenWriter:
    """Says which looks a recording keeps: one with news, in some time; and the last one, when that is asked for.

    So that a recording that is cut off has one from shortly before, and the looks of a busy host take so much a second at most.
    """

    def __init__(self) -> None:
        self._last: OpenRows | None = None
        self._written: OpenRows | None = None
        self._news = b""
        self._due_ns = 0

    def due(self, rows: OpenRows | None, now_ns: int) -> bytes | None:
        """Take a reading's look; return what is to be written of it, if anything."""
        self._last = rows
        if rows is None or rows is self._written or now_ns < self._due_ns or (news := _news(rows)) == self._news:
            return None
        self._news = news
        return self._pack(rows, now_ns)

    def last(self, now_ns: int) -> bytes | None:
        """Return the last look, None when it was written, or there was none."""
        return None if self._last is None or self._last is self._written else self._pack(self._last, now_ns)

    def _pack(self, rows: OpenRows, now_ns: int) -> bytes:
        self._written = rows
        self._due_ns = now_ns + max(LOOK_NS, len(rows.sockets) * NS_A_ROW)
        return pack(rows)


LOOK_NS, NS_A_ROW = 60_000_000_000, 100_000_000
"""Between two looks that are written, at least: a minute, and a tenth of a second for each row, which takes some 30 bytes."""


def _news(rows: OpenRows) -> bytes:
    """Return what of a look is other than time alone."""
    info = rows.details["info"]
    columns = (rows.sockets["cookie"], rows.sockets["state"], rows.sockets["rqueue"], rows.sockets["wqueue"])
    more = (info["acknowledged_bytes"], info["received_bytes"], info["retransmitted_segments"])
    return b"".join(column.tobytes() for column in (*columns, *more))
