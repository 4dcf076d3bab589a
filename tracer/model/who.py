"""Whose connections a label set has: the process and the peer of its last handshake, and whether there were others before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.names import name_text
from tracer.ingest.transposed import RecordColumns, words_of
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


class Handshakes:
    """Takes in handshakes, and knows each row's last one."""

    def __init__(self) -> None:
        self._table = np.zeros(FIXED, _WHO)

    def reserve(self, rows: int) -> None:
        """Have room for so many rows."""
        if rows > len(self._table):
            self._table = np.concatenate([self._table, np.zeros(rows - len(self._table), _WHO)])

    def opened(self, part: RecordColumns, rows: Rows) -> None:
        """Note who had the connections of these records, rows: their label sets."""
        table, last = self._table, np.full(len(self._table), -1)
        last[rows] = np.arange(len(rows))
        last[:FIXED] = -1
        own = np.flatnonzero(last >= 0)
        latest = part[last[own]]
        for several, name, column in (("processes", "process", "process"), ("peers", "address", "remote_address")):
            table[several][own] |= table["seen"][own] & _differ(table[name][own], latest[column])
            table[name][own] = latest[column]
            if not table[several][own].all():  # others may have come before the latest
                for word in words_of(part, column):
                    if not word.any():
                        continue
                    its = word[np.maximum(last, 0)]
                    table[several][rows[np.flatnonzero(its[rows] != word)]] = True
        table["netns"][own], table["seen"][own] = latest["netns"], True
        table[:FIXED] = np.zeros(1, _WHO)

    def fold(self, rows: Rows, _onto: Rows) -> None:
        """Forget the rows of label sets that leave."""
        self._table[rows] = np.zeros(1, _WHO)

    def snapshot(self, rows: Rows) -> Who:
        """Return what is known of some rows."""
        return Who(self._table[rows])


def _differ(some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values differ, names or addresses, of 16 bytes each, shape (n,)."""
    ours, its = (np.ascontiguousarray(values).view(np.uint64).reshape(-1, 2) for values in (some, others))
    different: NDArray[np.bool_] = (ours != its).any(axis=1)
    return different
