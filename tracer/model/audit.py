"""The audit: what we counted beside what the kernel counted of the same things, and how far apart the two are.

Theory of operation. Four of the kernel's counters (RFC 4022's) follow from state changes and retransmissions:

* ActiveOpens: entries into SYN_SENT, without those that ended before a SYN was sent (no free port).
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

from tracer.ingest.books import Books
from tracer.model.tcp import CELL

Cells = NDArray[np.uint64]


def _cells(*names: str, minus: tuple[str, ...] = ()) -> Callable[[Cells], int]:
    def total(cells: Cells) -> int:
        return sum(int(cells[CELL[name]]) for name in names) - sum(int(cells[CELL[name]]) for name in minus)

    return total


AUDITED: dict[str, Callable[[Cells], int]] = {
    "ActiveOpens": _cells("syn_sent", minus=("no_syn",)),
    "PassiveOpens": _cells("passive_opens"),
    "EstabResets": _cells("estab_resets"),
    "RetransSegs": _cells("retrans_segs"),
}


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
        self._start: tuple[Books, dict[str, int]] | None = None
        self.lines: tuple[AuditLine, ...] = ()

    def add(self, books: Books, cells: Cells) -> None:
        """Take one look at both sides; the first one is the beginning."""
        traced = {name: count(cells) for name, count in AUDITED.items()}
        if self._start is None:
            self._start = books, traced
        start, ours = self._start
        counted = {name: traced[name] - ours[name] for name in AUDITED}
        if self._failures_unseen:
            counted["RetransSegs"] += books.after.get(FAILED, 0) - start.after.get(FAILED, 0)
        audited = [_compare(name, start, books, counted[name]) for name in AUDITED]
        unseen = [AuditLine(name, books.after[name] - start.after[name], None) for name in UNSEEN if name in books.after]
        self.lines = (*audited, *unseen)


def _compare(name: str, start: Books, now: Books, traced: int) -> AuditLine:
    """Return the line with the kernel's count that is nearest to ours among those it may have had at that moment."""
    least = now.before[name] - start.after[name]
    most = now.after[name] - start.before[name]
    return AuditLine(name, min(max(traced, least), most), traced)
