"""Whose connections a label set has: the process and the peer of its last handshake, and whether there were others before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.names import name_text
from tracer.ingest.transposed import wide
from tracer.model.alike import Alike
from tracer.model.labels import FIXED
from tracer.model.naming import address_text

Rows = NDArray[np.intp]

MORE = " …"
"""Put behind a name where there were others."""

_WHO = np.dtype(
    [("process", "S16"), ("address", "u1", (16,)), ("netns", "=u4"), ("seen", "?"), ("processes", "?"), ("peers", "?")]
)
"""seen: whether there was a handshake; processes, peers: whether there were several."""


@dataclass(frozen=True)
class Whose:
    """A label set's process and peer for people, "" for what is not known, MORE behind the latest of several."""

    process: str = ""
    peer: str = ""


@dataclass(frozen=True)
class Who:
    """What is known of each row of a Report's Series, shape (rows,)."""

    table: NDArray[np.void]

    def of(self, row: int) -> Whose:
        """Return it for one row; a row of many services has nobody."""
        one = self.table[row]
        if not one["seen"]:
            return Whose()
        process = name_text(one["process"])
        peer = address_text(one["address"].tobytes(), int(one["netns"]))
        return Whose(process and process + MORE * bool(one["processes"]), peer + MORE * bool(one["peers"]))


NOBODY = Who(np.empty(0, _WHO))


class _Latest:
    """What each row's last handshake has of a member with two words, and whether there were others before."""

    def __init__(self, member: str) -> None:
        self.member = member
        self.words, self.several = np.zeros((2, FIXED), np.uint64), np.zeros(FIXED, bool)

    def reserve(self, rows: int) -> None:
        """Have room for so many rows."""
        more = rows - len(self.several)
        self.words = np.concatenate((self.words, np.zeros((2, more), np.uint64)), axis=1)
        self.several = np.concatenate((self.several, np.zeros(more, bool)))

    def note(self, alike: Alike, latest: Rows, rows: Rows, fresh: NDArray[np.bool_] | None) -> None:
        """Take in handshakes.

        latest: the last one of each sort, in their order; rows: of these; fresh: which rows had none, None if all had some.
        """
        words = alike.part.records.words_of(self.member)
        if fresh is not None:
            self.words[:, rows[fresh]] = words[:, latest[fresh]]
        if np.count_nonzero(self.several.take(rows)) < len(rows):
            for known, word in zip(self.words, words, strict=True):
                different = word.take(alike.part.index) != alike.spread(known.take(alike.rows))
                if np.count_nonzero(different):
                    self.several[alike.rows[np.logical_or.reduceat(different, alike.starts)]] = True
        if np.count_nonzero(self.several.take(rows)):  # else all are as before
            self.words[:, rows] = words[:, latest]


class Handshakes:
    """Takes in handshakes, and knows each row's last one."""

    def __init__(self) -> None:
        self._processes, self._peers = self._shown = _Latest("process"), _Latest("remote_address")
        self._netns, self._seen = np.zeros(FIXED, np.uint32), np.zeros(FIXED, bool)

    def reserve(self, rows: int) -> None:
        """Have room for so many rows."""
        more = rows - len(self._seen)
        if more > 0:
            self._netns = np.concatenate((self._netns, np.zeros(more, np.uint32)))
            self._seen = np.concatenate((self._seen, np.zeros(more, bool)))
            for shown in self._shown:
                shown.reserve(rows)

    def opened(self, alike: Alike) -> None:
        """Note who had the connections of these records."""
        part = alike.part
        latest = part.index.take(alike.ends - 1)
        order = latest.argsort()  # of what is put into a place more than once the last one stays
        latest, rows = latest.take(order), alike.rows.take(order)
        seen = self._seen.take(rows)
        fresh = None if np.count_nonzero(seen) == len(rows) else ~seen
        for shown in self._shown:
            if part.has(shown.member):
                shown.note(alike, latest, rows, fresh)
        self._netns[rows], self._seen[rows] = part.records.pick("netns", latest), True

    def fold(self, rows: Rows, _onto: Rows) -> None:
        """Forget the rows of label sets that leave."""
        self._netns[rows], self._seen[rows] = 0, False
        for shown in self._shown:
            shown.words[:, rows], shown.several[rows] = 0, False

    def snapshot(self, rows: Rows) -> Who:
        """Return what is known of some rows; nobody has those of many services."""
        table = np.zeros(len(rows), _WHO)
        table["process"] = wide(self._processes.words[:, rows], "process")
        table["address"] = wide(self._peers.words[:, rows], "remote_address")
        table["netns"], table["seen"] = self._netns[rows], self._seen[rows]
        table["processes"], table["peers"] = self._processes.several[rows], self._peers.several[rows]
        table[rows < FIXED] = np.zeros(1, _WHO)
        return Who(table)
