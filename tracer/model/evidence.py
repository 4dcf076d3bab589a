"""What two looks at open connections say of them, for the rules in why.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.sockdiag import Sockets
from tracer.ingest.tcpinfo import Details
from tracer.model.why import Evidence

_BEFORE = np.dtype(
    [
        ("cookie", "=u8"),
        *((name, "=u8") for name in ("busy_us", "window_limited_us", "buffer_limited_us")),
        *((name, "=u8") for name in ("acknowledged_bytes", "received_bytes")),
        *((name, "=u4") for name in ("sent_segments", "received_segments", "retransmitted_segments", "out_of_order_segments")),
        ("unread", "=u4"),
    ]
)


class Look:
    """What has to be kept of a look for the next one; sockets, details: shape (n,) each, of the same connections."""

    def __init__(self, sockets: Sockets, details: Details, end_ns: int) -> None:
        self.end_ns = end_ns
        table = np.zeros(len(sockets), _BEFORE)
        table["cookie"], table["unread"] = sockets["cookie"], sockets["rqueue"]
        for name in _BEFORE.names[1:-1] if _BEFORE.names else ():
            table[name] = details["info"][name]
        self._table = table[np.argsort(table["cookie"])]

    def has(self, cookies: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which sockets were there, shape (n,)."""
        return np.isin(cookies, self._table["cookie"])

    def of(self, cookies: NDArray[np.uint64]) -> NDArray[np.void]:
        """Return what was known of these sockets, shape (n,), zeros for those that were not there."""
        found = np.zeros(len(cookies), _BEFORE)
        if len(self._table):
            places = np.searchsorted(self._table["cookie"], cookies).clip(max=len(self._table) - 1)
            same = self._table["cookie"][places] == cookies
            found[same] = self._table[places[same]]
        return found


def evidence(sockets: Sockets, details: Details, look: Look, end_ns: int) -> Evidence:
    """Return what is known of connections, by this look, which ended at end_ns, and the one before."""
    info, before = details["info"], look.of(sockets["cookie"])
    seconds = max((end_ns - look.end_ns) / 1e9, 1e-9)
    grown = {
        name: np.where(info[name] > before[name], info[name] - before[name], 0).astype(np.float64)
        for name in (_BEFORE.names or ())[1:-1]
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
        unread=np.minimum(sockets["rqueue"], before["unread"]).astype(np.float64),
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
