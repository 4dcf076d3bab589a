"""What a report says beyond the counts by service: the peers where most is wrong, the connections that stand out, and resets.

The counts are the Model's, twice: by service, and by peer. Beside them some records are kept as they came: those of the closes
that are largest by some measure. So memory does not grow with the connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import EVENT, Events
from tracer.ingest.source import Context, Reading
from tracer.model.naming import OTHER
from tracer.model.overtime import HandshakesOverTime, RetransmissionsOverTime, Timeline
from tracer.model.report import Report, Service, services, summed
from tracer.model.tcp import FLAG, KIND, ROLE
from tracer.model.totals import Model

SHOWN = 10
"""Peers, and connections of each kind, at most."""

PEERS_OVER_TIME = 6
"""Peers whose retransmissions are told over time, at most, besides the rest."""

_BYTES = f"V{EVENT.itemsize}"


@dataclass(frozen=True)
class Courses:
    """What happened when, handshakes by role. retransmissions: a row each of peers (a record), and of the rest."""

    handshakes: Mapping[str, Timeline]
    peers: Events
    retransmissions: Timeline


@dataclass(frozen=True)
class Findings:
    """A report. counts: by service. peers: where most is wrong first; role and port say how many services each stands for.

    longest, largest, retransmitting: records of closes, shape (n,), n <= SHOWN, the first one most so. resets: how many, by
    direction and, of those sent, the kernel's reason for them; None where it gave none. courses: None where not asked for.
    """

    counts: Report
    peers: tuple[tuple[str, Service], ...]
    longest: Events
    largest: Events
    retransmitting: Events
    resets: Mapping[tuple[str, str | None], int]
    courses: Courses | None = None


class FindingsSearch:
    """Takes readings in their order, and finds what is to be reported. start_ns: as for Model; courses: what happened when."""

    def __init__(self, context: Context, start_ns: int | None = None, *, courses: bool = False) -> None:
        self._context = context
        self._services = Model(context, start_ns=start_ns, label_ttl=None, unlisted=False, whose=False)
        self._peers = Model(context, start_ns=start_ns, label_ttl=None, labels=("peer",), unlisted=False, whose=False)
        self._longest = Largest(lambda closes: np.where(closes["flags"] & FLAG["partial"], 0, closes["duration_ns"]))
        self._largest = Largest(lambda closes: closes["sent_bytes"] + closes["received_bytes"])
        self._retransmitting = Largest(lambda closes: closes["retransmitted_segments"])
        self._resets: Counter[tuple[bool, int]] = Counter()
        start = start_ns if start_ns is not None else context.start_ns or None
        self._handshakes = HandshakesOverTime(start) if courses else None
        self._retransmissions = RetransmissionsOverTime(start) if courses else None

    def add(self, reading: Reading) -> None:
        """Take in a reading."""
        self._services.add(reading)
        self._peers.add(replace(reading, snapshot=None, kernel_counts=None))
        events = reading.events
        closes = events[events["kind"] == KIND["close"]]
        for kept in (self._longest, self._largest, self._retransmitting):
            kept.add(closes)
        resets = events[events["kind"] == KIND["reset"]]
        if len(resets):
            received, known = (resets["flags"] & FLAG[flag] != 0 for flag in ("reset_received", "reset_reason"))
            reasons = np.where(known & ~received, resets["reset_reason"].astype(np.int64), -1)
            self._resets.update(zip(received.tolist(), reasons.tolist(), strict=True))
        for course in (self._handshakes, self._retransmissions):
            if course:
                course.add(events)

    def findings(self) -> Findings:
        """Return what was found; at the end, as what waits for its label set is counted without it."""
        for model in (self._services, self._peers):
            model.finish()
        names = self._context.reset_reasons
        counts = self._services.report()
        return Findings(
            counts=counts,
            peers=tuple(_worst_peers(self._peers.report())),
            longest=self._longest.records,
            largest=self._largest.records,
            retransmitting=self._retransmitting.records,
            resets={
                ("received" if received else "sent", names.get(reason)): count
                for (received, reason), count in self._resets.most_common()
            },
            courses=self._courses(counts.time_ns),
        )

    def _courses(self, end_ns: int) -> Courses | None:
        if self._handshakes is None or self._retransmissions is None:
            return None
        handshakes = {role: self._handshakes.timeline(ROLE[role], end_ns) for role in ("client", "server")}
        return Courses(handshakes, *self._retransmissions.largest(PEERS_OVER_TIME, end_ns))


class Largest:
    """The records with the largest values of a measure, of equal ones the first. measure: values of records, shape (n,)."""

    def __init__(self, measure: Callable[[Events], NDArray[Any]]) -> None:
        self.records: Events = np.empty(0, EVENT)
        self._measure = measure

    def add(self, events: Events) -> None:
        """Take in records; those of which nothing is measured (0) are none."""
        values = self._measure(events)
        least = self._measure(self.records[-1:])[0] if len(self.records) == SHOWN else 0
        found = np.flatnonzero(values > least)
        if not len(found):
            return
        # of plain bytes, since numpy copies structured arrays member by member
        together = np.concatenate((self.records.view(_BYTES), events.view(_BYTES)[found])).view(EVENT)
        order = np.argsort(-self._measure(together).astype(np.int64), kind="stable")
        self.records = together[order[:SHOWN]]


def _worst_peers(report: Report) -> list[tuple[str, Service]]:
    """Return peers with all their services as one: most wrong first, then most connections; `other` last."""
    groups: dict[str, list[Service]] = {}
    for service in services(report):
        groups.setdefault(dict(service.labels)["peer"], []).append(service)

    def rank(peer: str) -> tuple[bool, int, int, str]:
        return peer == OTHER, -sum(s.wrong for s in groups[peer]), -sum(s.handshakes for s in groups[peer]), peer

    return [(peer, summed(report, groups[peer])) for peer in sorted(groups, key=rank)[:SHOWN]]
