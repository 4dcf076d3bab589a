"""The audit: what we counted beside what the kernel counted of the same things, and how far apart the two are.

Theory of operation. Four of the kernel's counters (RFC 4022's) follow from state changes and retransmissions:

* ActiveOpens: entries into SYN_SENT, without those that ended before a SYN was sent (no free port) and those of sockets that
  TCP_REPAIR restores. Of one that is there still nobody says whether its SYN was sent (with TCP_FASTOPEN_CONNECT it waits for
  the first send()); it counts if the kernel has counted one, so that our count never falls.
* PassiveOpens: LISTEN -> SYN_RECV.
* EstabResets: ESTABLISHED or CLOSE_WAIT -> CLOSE.
* RetransSegs: segments of retransmissions that the kernel tried to send, SYN-ACKs among them; it counts first, and a firewall
  of this host's may still refuse them. Where the tracepoint does not fire for those (before Linux 6.17), the kernel's count of
  them, TCPRetransFail, is added to ours: __tcp_retransmit_skb adds a failed segment to both counters.

What no tracepoint shows is in UNSEEN: the kernel's count alone, which has no drift. A half-open connection has no socket yet,
so that it ends without a change of state; so does a connection that a listener's queue has no room for.

Both sides count on, while we look: ours are read between two looks at the kernel's, and drift is the distance to what lies
between. A connect() under way has been counted by one and not yet by the other for some microseconds; such a drift goes away
by itself, a real one stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.kernelcounters import KernelCounts
from tracer.model.tcp import CELL

Cells = NDArray[np.uint64]


Bounds = tuple[int, int]


def _cell(name: str) -> Callable[[Cells], Bounds]:
    return lambda cells: (int(cells[CELL[name]]), int(cells[CELL[name]]))


def _active_opens(cells: Cells) -> Bounds:
    """Return how many have left SYN_SENT after a SYN, and how many may have; who leaves may have entered before us."""
    entered, left, none = (int(cells[CELL[name]]) for name in ("syn_sent", "syn_left", "no_syn"))
    return min(left, entered - none), entered - none


AUDITED: dict[str, Callable[[Cells], Bounds]] = {
    "ActiveOpens": _active_opens,
    "PassiveOpens": _cell("passive_opens"),
    "EstabResets": _cell("estab_resets"),
    "RetransSegs": _cell("retrans_segs"),
}
"""Our count of each, between two bounds."""


FAILED = "TCPRetransFail"

UNSEEN = ("AttemptFails", "EmbryonicRsts", "ListenOverflows", "ListenDrops", "TCPReqQFullDrop", "TCPTimeWaitOverflow")
"""Counters of what no tracepoint shows, or not all of it."""


@dataclass(frozen=True)
class AuditLine:
    """One counter since the start of the tracing: the kernel's count, and ours, None where only the kernel counts."""

    counter: str
    kernel: int
    traced: int | None

    @property
    def drift(self) -> int | None:
        """How many more we counted than the kernel did; negative where we missed some, None where only the kernel counts."""
        return None if self.traced is None else self.traced - self.kernel


class Audit:
    """Remembers where both sides began, and compares them from there.

    failures_unseen: whether this kernel's tracepoint does not fire for a retransmission that failed to leave.
    """

    def __init__(self, *, failures_unseen: bool = False) -> None:
        self._failures_unseen = failures_unseen
        self._start: tuple[KernelCounts, dict[str, Bounds]] | None = None
        self._traced = dict.fromkeys(AUDITED, 0)
        self.lines: tuple[AuditLine, ...] = ()

    def add(self, kernel_counts: KernelCounts, cells: Cells) -> None:
        """Take one look at both sides; the first one is the beginning."""
        traced = {name: count(cells) for name, count in AUDITED.items()}
        if self._start is None:
            self._start = kernel_counts, traced
        start, ours = self._start
        counted = {name: _since(ours[name], traced[name]) for name in AUDITED}
        if self._failures_unseen:
            failed = kernel_counts.after.get(FAILED, 0) - start.after.get(FAILED, 0)
            counted["RetransSegs"] = counted["RetransSegs"][0] + failed, counted["RetransSegs"][1] + failed
        sides = (start.before, start.after, kernel_counts.before, kernel_counts.after)
        known = set.intersection(*map(set, sides))
        audited = [self._compare(name, start, kernel_counts, counted[name]) for name in AUDITED if name in known]
        unseen = [AuditLine(name, kernel_counts.after[name] - start.after[name], None) for name in UNSEEN if name in known]
        self.lines = (*audited, *unseen)

    def _compare(self, name: str, start: KernelCounts, now: KernelCounts, bounds: Bounds) -> AuditLine:
        """Return the line with the counts that are nearest to each other, among those that both sides may have had then."""
        least = now.before[name] - start.after[name]
        most = now.after[name] - start.before[name]
        traced = self._traced[name] = max(self._traced[name], min(max(bounds[0], least), bounds[1]))
        return AuditLine(name, min(max(traced, least), most), traced)


def _since(start: Bounds, now: Bounds) -> Bounds:
    """Return the bounds of what came since then: what was undecided at the start may have been counted before it, or not."""
    return now[0] - start[1], now[1] - start[0]
