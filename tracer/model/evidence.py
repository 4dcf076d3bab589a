"""What two looks at open connections say of them, for the rules in why.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.openrows import BEFORE, OpenRows
from tracer.ingest.sets import is_in
from tracer.ingest.sockdiag import Sockets
from tracer.ingest.tcpinfo import Details
from tracer.model.tcp import STATE
from tracer.model.why import Evidence


def fin_received(states: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return for which states, shape (n,), the peer's FIN was received."""
    return is_in(states, [STATE[name] for name in ("close_wait", "last_ack", "closing")])


def unread_bytes(sockets: Sockets) -> NDArray[np.uint32]:
    """Return how many bytes the application has not read, shape (n,); the kernel counts the peer's FIN until it was read, too.

    rqueue is RCV.NXT less what was read, and FIN has the last number (tcp_diag_get_info()).
    """
    queued: NDArray[np.uint32] = sockets["rqueue"] - (fin_received(sockets["state"]) & (sockets["rqueue"] > 0))
    return queued


def sending_bytes(sockets: Sockets, details: Details) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return how many bytes were not sent yet, and how many were sent and are not acknowledged, shape (n,) each.

    wqueue is what was queued less SND.UNA, tcpi_notsent_bytes less SND.NXT (tcp_diag_get_info(), tcp_get_info()); in both our
    FIN has the last number, until it was acknowledged.
    """
    fin = is_in(sockets["state"], [STATE[name] for name in ("fin_wait1", "closing", "last_ack")])
    unsent = np.minimum(details["info"]["unsent_bytes"], sockets["wqueue"])
    unacknowledged = sockets["wqueue"] - unsent
    return unsent - (fin & (unsent > 0)), unacknowledged - (fin & (unsent == 0) & (unacknowledged > 0))


class Look:
    """What has to be kept of a look for the next one; sockets, details: shape (n,) each, of the same connections."""

    def __init__(self, sockets: Sockets, details: Details, end_ns: int) -> None:
        self.end_ns = end_ns
        table = np.zeros(len(sockets), BEFORE)
        table["cookie"], table["unread"] = sockets["cookie"], unread_bytes(sockets)
        for name in BEFORE.names[1:-1] if BEFORE.names else ():
            table[name] = details["info"][name]
        self._table = table[np.argsort(table["cookie"])]

    def of(self, cookies: NDArray[np.uint64]) -> NDArray[np.void]:
        """Return what was known of these sockets, shape (n,), zeros for those that were not there."""
        found = np.zeros(len(cookies), BEFORE)
        if len(self._table):
            places = np.searchsorted(self._table["cookie"], cookies).clip(max=len(self._table) - 1)
            same = self._table["cookie"][places] == cookies
            found[same] = self._table[places[same]]
        return found

    def then(self, sockets: Sockets, details: Details, server: NDArray[np.bool_], end_ns: int) -> OpenRows:
        """Return connections of the next look, which ended at end_ns, with what this one had of them; shape (n,) each."""
        seconds = (end_ns - self.end_ns) / 1e9
        return OpenRows(sockets, details, self.of(sockets["cookie"]), server, seconds, end_ns, len(sockets))


def evidence(rows: OpenRows) -> Evidence:
    """Return what is known of connections by two looks."""
    sockets, details, before, seconds = rows.sockets, rows.details, rows.before, max(rows.seconds, 1e-9)
    info = details["info"]
    grown = {
        name: np.where(info[name] > before[name], info[name] - before[name], 0).astype(np.float64)
        for name in (BEFORE.names or ())[1:-1]
    }
    busy, queued = grown["busy_us"], sockets["wqueue"].astype(np.float64)
    return Evidence(
        busy=busy / 1e6 / seconds,
        window=_share(grown["window_limited_us"], busy),
        buffer=_share(grown["buffer_limited_us"], busy),
        lost=_share(grown["retransmitted_segments"], grown["sent_segments"]),
        disordered=_share(grown["out_of_order_segments"], grown["received_segments"]),
        sent=grown["acknowledged_bytes"],
        received=grown["received_bytes"],
        unsent=np.minimum(info["unsent_bytes"], queued),
        queued=queued,
        unread=np.minimum(unread_bytes(sockets), before["unread"]).astype(np.float64),
        send_window=info["send_window"].astype(np.float64),
        receive_buffer=details["receive_buffer"].astype(np.float64),
        memory=_share(details["send_memory"].astype(np.float64), details["send_buffer"].astype(np.float64)),
        room=info["congestion_window"].astype(np.float64) - info["unacknowledged_segments"],
        backoff=info["backoff"].astype(np.float64),
        rtt=info["rtt_us"] / 1e6,
        silent=info["last_ack_received_ms"] / 1e3,
        pause=info["last_sent_ms"] / 1e3,
        quiet=info["last_received_ms"] / 1e3,
    )


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return quotients, 0 where there is nothing to divide by."""
    shares: NDArray[np.float64] = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return shares
