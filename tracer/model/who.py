"""Whose connections a label set has: the process and the peer of its last handshake, and whether there were others before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.names import name_text
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

_LATEST = ("process", "remote_address", "netns")
_SHOWN = (("processes", "process", "process"), ("peers", "address", "remote_address"))
"""Members of the table, and of records, that are shown."""


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

    def opened(self, alike: Alike) -> None:
        """Note who had the connections of these records."""
        table, part, starts, rows = self._table, alike.part, alike.starts, alike.rows
        last = np.full(len(table), -1)
        np.maximum.at(last, rows, part.index[starts + alike.numbers.view(np.intp) - 1])
        last[:FIXED] = -1
        own = np.flatnonzero(last >= 0)
        seen, latest = table["seen"][own], part.records.some(last[own], _LATEST)
        for several, name, column in _SHOWN:
            if not part.has(column):
                continue
            marks = table[several]
            marks[own] |= seen & _differ(table[name][own], latest[column])
            table[name][own] = latest[column]
            if not marks[own].all():  # others may have come before the latest
                for word in part.records.words_with(column):
                    different = word.take(part.index) != alike.spread(word[last[rows]])
                    marks[rows[np.logical_or.reduceat(different, starts)]] = True
            marks[:FIXED] = False
        table["netns"][own], table["seen"][own] = latest["netns"], True

    def fold(self, rows: Rows, _onto: Rows) -> None:
        """Forget the rows of label sets that leave."""
        self._table[rows] = np.zeros(1, _WHO)

    def snapshot(self, rows: Rows) -> Who:
        """Return what is known of some rows."""
        return Who(self._table[rows])


def _differ(some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values differ, names of shape (n,) or addresses of shape (n, 16)."""
    different: NDArray[np.bool_] = some != others
    if different.ndim > 1:
        different = np.logical_or.reduce(different, axis=1)
    return different
