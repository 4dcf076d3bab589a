"""Connections of the last records, kept as arrays until the next dump of all sockets has told of them."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.sets import is_among, is_in

Keys = NDArray[np.uint64]
Rows = NDArray[np.intp]

MOST = 1 << 18
"""Records that are kept at most: what a processor makes in longer than any dump takes to arrive. The oldest leave first."""


class Recent:
    """Keys of connections with the times of their records, and an array of more for each name."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._batches: deque[tuple[Keys, NDArray[np.int64], dict[str, NDArray[Any]]]] = deque()
        self._count = 0

    def add(self, keys: Keys, times_ns: NDArray[np.uint64], **more: NDArray[Any]) -> None:
        """Keep some records, of later batches behind those of earlier ones; all of shape (n,)."""
        if len(keys):
            self._batches.append((keys, times_ns.view(np.int64), more))
            self._count += len(keys)
        while self._count > MOST and len(self._batches) > 1:
            self._count -= len(self._batches.popleft()[0])

    def forget(self, before_ns: int) -> None:
        """Let go of the batches that have no record from then on."""
        while self._batches and int(self._batches[0][1].max()) < before_ns:
            self._count -= len(self._batches.popleft()[0])

    def columns(self, name: str) -> list[NDArray[Any]]:
        """Return the arrays of that name, in which values may be changed."""
        return [more[name] for _, _, more in self._batches]

    def since(self, keys: Keys, from_ns: int) -> NDArray[np.bool_]:
        """Return which of these keys have a record from then on, shape (n,)."""
        late = [known[times >= from_ns] for known, times, _ in self._batches]
        if not late:
            return np.zeros(len(keys), bool)
        known = np.concatenate(late)
        found: NDArray[np.bool_] = is_in(keys, known[_of_any(known, keys)])
        return found

    def find(self, keys: Keys) -> tuple[NDArray[np.bool_], dict[str, NDArray[Any]]]:
        """Return which of these keys have a record, and of those the arrays of each name, as the latest record has them."""
        known = np.concatenate([np.empty(0, np.uint64), *(batch for batch, _, _ in self._batches)])
        likely = _of_any(known, keys)
        if not len(likely):
            return np.zeros(len(keys), bool), {name: np.empty(0, np.intp) for name in self._names}
        known = known[likely]
        times = np.concatenate([times for _, times, _ in self._batches])[likely]
        order = np.lexsort((times, known))
        places = order[np.searchsorted(known[order], keys, side="right") - 1]
        hits: NDArray[np.bool_] = known[places] == keys
        return hits, {name: np.concatenate(self.columns(name))[likely[places[hits]]] for name in self._names}


def _of_any(known: Keys, keys: Keys) -> Rows:
    """Return the places of what is known of these keys, which are few beside it: to sort all would take longer."""
    return np.flatnonzero(is_among(known, np.sort(keys)))


def renumber(values: NDArray[Any], rows: Rows, onto: Rows) -> None:
    """Put other rows in the place of rows that leave, both of shape (n,), in an array of rows."""
    moved = is_in(values, rows)
    if moved.any():
        order = np.argsort(rows)
        values[moved] = onto[order][np.searchsorted(rows[order], values[moved])]
