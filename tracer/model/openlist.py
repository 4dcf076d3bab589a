"""Open connections one by one, from two looks at the sockets: what `tcptrace connections` shows.

All of it stays in arrays until it is known which connections are shown; only these become objects.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.openrows import OpenRows
from tracer.ingest.owners import Owner
from tracer.ingest.sets import is_in
from tracer.ingest.snapshot import Dump
from tracer.kernel.filters import Filters
from tracer.model.columns import columns
from tracer.model.evidence import Look, evidence, sending_bytes, unread_bytes
from tracer.model.naming import address_text
from tracer.model.openservices import chosen_connections
from tracer.model.sides import ephemeral_ports, server_sides
from tracer.model.tcp import STATES
from tracer.model.why import NO_RULE, RULES, sentence, verdicts

SORTS = ("wrong", "sent", "received", "rtt", "lost", "queued", "unread")


@dataclass(frozen=True)
class Connection:
    """One open connection. Rates are per second, between the two looks; None for one that only the second has.

    age_seconds: since it was established; None for one that has carried payload both ways, of which the kernel does not tell.
    age_least_seconds: a bound that the kernel tells of each. idle_seconds: since payload left or came; else the age.
    retransmitted_share: of the segments sent, since its beginning.
    cause, why: one of model/why.py's, and its sentence; None where nothing holds it up.
    """

    state: str
    role: str
    family: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    netns: int
    pid: int | None
    process: str | None
    age_seconds: float | None
    age_least_seconds: float
    idle_seconds: float
    sent_bytes: int
    received_bytes: int
    sent_bytes_rate: float | None
    received_bytes_rate: float | None
    rtt_seconds: float | None
    min_rtt_seconds: float | None
    sent_segments: int
    received_segments: int
    retransmitted_segments: int
    retransmitted_share: float | None
    unsent_bytes: int
    unacknowledged_bytes: int
    receive_queue_bytes: int
    congestion_window: int
    cause: str | None
    why: str | None


@dataclass(frozen=True)
class ServiceSum:
    """The connections of one service: how many, how many are held up by each cause, and their rates together."""

    role: str
    port: int
    connections: int
    causes: Mapping[str, int]
    sent_bytes_rate: float
    received_bytes_rate: float


def rows_of(first: Dump, second: Dump, filters: Filters) -> OpenRows:
    """Return the open connections of the second of two dumps, which both have details, as far as the filters choose them."""
    places = second.details["place"].astype(np.intp)
    at = columns(second.sockets, {netns: place for place, netns in enumerate(second.ports)})
    server = server_sides(second.sockets, at, ephemeral_ports(at, second.ports))
    kept = chosen_connections(second.sockets, server, filters, second.own_netns)[places]
    look = Look(first.sockets[first.details["place"]], first.details, first.end_ns)
    return look.then(second.sockets[places[kept]], second.details[kept], server[places[kept]], second.end_ns)


def largest_rows(rows: OpenRows, most: int) -> OpenRows:
    """Return the rows, of more than so many those that are held up, and those that carried most."""
    return rows if len(rows.sockets) <= most else rows.take(OpenList(rows).order("wrong")[:most])


class OpenList:
    """Open connections by two looks. kept: which of them count, shape (n,)."""

    def __init__(self, rows: OpenRows) -> None:
        self._sockets, self._details, self.server = rows.sockets, rows.details, rows.server
        self._seconds, self._known = max(rows.seconds, 1e-9), rows.known
        self._fin = is_in(self._details["info"]["tcp_state"], (8, 9, 11))
        self.evidence = evidence(rows)
        self.verdicts = verdicts(self.evidence)
        self.kept = np.ones(len(self._sockets), bool)

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Have only these count, shape (n,), of those that do."""
        self.kept &= which

    def chosen(self, filters: Filters, own_netns: int) -> NDArray[np.bool_]:
        """Return which connections the filters let through, but for those for a pid or a cgroup, shape (n,)."""
        return chosen_connections(self._sockets, self.server, filters, own_netns)

    def of_inodes(self, inodes: Collection[int]) -> NDArray[np.bool_]:
        """Return which sockets are among these, shape (n,)."""
        return is_in(self._sockets["inode"], list(inodes))

    def in_cgroups(self, ids: Collection[int]) -> NDArray[np.bool_]:
        """Return which sockets belong to one of these cgroups, shape (n,)."""
        return is_in(self._details["cgroup"], list(ids))

    def inodes(self, places: NDArray[np.intp]) -> set[int]:
        """Return the inodes of the sockets at these places."""
        return set(self._sockets["inode"][places].tolist()) - {0}

    def order(self, sort: str) -> NDArray[np.intp]:
        """Return the places of the connections that count in an order of SORTS, the largest first."""
        e = self.evidence
        held_up = (self.verdicts != NO_RULE).astype(np.float64)
        by = {
            "wrong": (held_up, e.lost, e.queued + e.unread, e.sent + e.received),
            "sent": (e.sent,),
            "received": (e.received,),
            "rtt": (e.rtt,),
            "lost": (e.lost,),
            "queued": (e.queued,),
            "unread": (e.unread,),
        }[sort]
        order: NDArray[np.intp] = np.lexsort((self._sockets["cookie"], *(-column for column in reversed(by))))
        return order[self.kept[order]]

    def connections(self, places: Sequence[int], owners: Mapping[int, Owner]) -> list[Connection]:
        """Return some of them one by one."""
        return [self._one(place, owners) for place in places]

    def services(self) -> list[ServiceSum]:
        """Return the sums by role and port of the connections that count, those with most of them first."""
        kept = np.flatnonzero(self.kept)
        port = np.where(self.server, self._sockets["local_port"], self._sockets["remote_port"]).astype(np.int64)
        keys, rows, counts = np.unique(
            (self.server.astype(np.int64) << 16 | port)[kept], return_inverse=True, return_counts=True
        )
        sent, received = (
            np.bincount(rows, column[kept], len(keys)) / self._seconds
            for column in (self.evidence.sent, self.evidence.received)
        )
        causes: list[dict[str, int]] = [{} for _ in keys]
        width = len(RULES) + 1
        by_rule = np.bincount(rows * width + self.verdicts[kept] + 1, minlength=len(keys) * width).reshape(len(keys), width)
        for row, number in np.argwhere(by_rule[:, 1:]):
            cause = RULES[number].cause
            causes[row][cause] = causes[row].get(cause, 0) + int(by_rule[row, number + 1])
        found = [
            ServiceSum("server" if key >> 16 else "client", key & 0xFFFF, *rest)
            for key, *rest in zip(keys.tolist(), counts.tolist(), causes, sent.tolist(), received.tolist(), strict=True)
        ]
        return sorted(found, key=lambda row: (-row.connections, row.role, row.port))

    def _one(self, place: int, owners: Mapping[int, Owner]) -> Connection:
        socket, info, number = self._sockets[place], self._details["info"][place], int(self.verdicts[place])
        owner = owners.get(int(socket["inode"]))
        known, server = bool(self._known[place]), bool(self.server[place])
        sent = int(info["acknowledged_bytes"]) - (not server) - (STATES[info["tcp_state"]] == "fin_wait2")
        segments, again = int(info["sent_segments"]), int(info["retransmitted_segments"])
        unsent, unacknowledged = sending_bytes(socket, self._details[place])
        ends: dict[str, Any] = {
            f"{side}_address": address_text(socket[f"{side}_address"].tobytes(), int(socket["netns"]))
            for side in ("local", "remote")
        }
        return Connection(
            state=STATES[socket["state"]],
            role="server" if server else "client",
            family=int(socket["family"]),
            **ends,
            local_port=int(socket["local_port"]),
            remote_port=int(socket["remote_port"]),
            netns=int(socket["netns"]),
            pid=owner.pid if owner else None,
            process=owner.process if owner else None,
            **_times(info),
            sent_bytes=max(sent, 0),
            received_bytes=max(int(info["received_bytes"]) - bool(self._fin[place]), 0),
            sent_bytes_rate=float(self.evidence.sent[place]) / self._seconds if known else None,
            received_bytes_rate=float(self.evidence.received[place]) / self._seconds if known else None,
            rtt_seconds=int(info["rtt_us"]) / 1e6 or None,
            min_rtt_seconds=_known_minimum(int(info["min_rtt_us"])),
            sent_segments=segments,
            received_segments=int(info["received_segments"]),
            retransmitted_segments=again,
            retransmitted_share=again / segments if segments else None,
            unsent_bytes=int(unsent),
            unacknowledged_bytes=int(unacknowledged),
            receive_queue_bytes=int(unread_bytes(socket)),
            congestion_window=int(info["congestion_window"]),
            cause=None if number == NO_RULE else RULES[number].cause,
            why=sentence(number, self.evidence, place),
        )


def _times(info: np.void) -> dict[str, Any]:
    """Return what the times of the last payload say of a connection's age.

    Both begin with the moment at which it was established (tcp_finish_connect(), tcp_create_openreq_child(), and
    tcp_rcv_state_process()), and stay there until payload is sent, or received.
    """
    sent, received = (int(info[f"last_{way}_ms"]) / 1e3 for way in ("sent", "received"))
    one_way = not info["sent_data_segments"] or not info["received_data_segments"]
    oldest = max(sent, received)
    return {"age_seconds": oldest if one_way else None, "age_least_seconds": oldest, "idle_seconds": min(sent, received)}


def _known_minimum(microseconds: int) -> float | None:
    """Return the least round-trip time in seconds; the kernel's ~0 is none."""
    return None if microseconds in {0, 0xFFFFFFFF} else microseconds / 1e6
