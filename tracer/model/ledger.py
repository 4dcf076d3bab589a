"""What connections have carried: counters that rise while a connection is open, and are exact at its end.

Theory of operation. A dump has every open connection's figures since its beginning. The ledger remembers, of each, what it
counted of them, so that a dump adds what has come since the last one, and the record of the end adds the rest. So a counter
only ever rises, nothing is counted twice, and after the end it has what the record says. Three things need care:

- Connections that were there before the tracing count from the first dump of their namespace on. If the record of the end says
  that the connection was seen from its start after all, the rest is all that was not counted. In a recording that goes on where
  another one has ended (`--rotate`), that one has counted what was before start_ns.
- A dump takes time, and arrives later than records: a connection whose end was recorded since the dump began is left out of it.
- A connection whose end is in no record stays as it was counted last. It is kept for KEPT_NS, in case a dump has missed it.

A connection counts for the label set of its handshake, or else for that which its ends, namespace and cgroup have.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import EVENT
from tracer.ingest.figures import FIGURES, QUEUES, Figures
from tracer.ingest.sets import is_in
from tracer.ingest.snapshot import MARGIN_NS, Snapshot
from tracer.ingest.transposed import in_word
from tracer.model.alike import Alike
from tracer.model.batch import Part
from tracer.model.dumped import Dumped
from tracer.model.grid import Grid
from tracer.model.labels import LabelSets
from tracer.model.leaks import Leak, leaks
from tracer.model.openfigures import ends_key
from tracer.model.recent import Recent, renumber
from tracer.model.tcp import FLAG, KIND, ROLE

Rows = NDArray[np.intp]
Counts = NDArray[np.uint64]

KEPT_NS = 600_000_000_000
AT_ONCE = 4096
"""New connections whose label sets are looked up together."""

_IN_WORDS = [
    (place, in_word(name.replace("_us", "_ms")), 1000 if name.endswith("_us") else 1) for place, name in enumerate(FIGURES)
]
_AT_END = {word: tuple(figures) for word, figures in groupby(_IN_WORDS, lambda figure: figure[1].word)}
"""By the words of a record, which FIGURES stand in them: the place, where in the word, and how many one of these is."""

RTT_QUANTILES = (0.5, 0.9, 0.99)

_SEGMENTS = slice(2, 5)
"""Of FIGURES, those that the kernel counts in 32 bits."""

_LEDGER = np.dtype(
    [
        ("cookie", "=u8"),
        ("key", "=u8"),
        ("last", "=u8", (len(FIGURES),)),
        ("counted", "=u8", (len(FIGURES),)),
        ("seen_ns", "=i8"),
        ("row", "=i8"),
        ("netns", "=u4"),
        ("process", "S16"),
        ("syn", "?"),
        ("gone", "?"),
    ]
)
"""A connection that a dump has found. last: its figures then; counted: what was added of them; syn: whether it sent a SYN."""


class Ledger:
    """What was counted of each open connection. figures: where it is added, a column each of FIGURES.

    queues, rtt: of the last dump, by label set: bytes, a column each of QUEUES; seconds, a column each of RTT_QUANTILES, 0
    where none is known. leaks: as of the last dump, None before the first one. start_ns: see above.
    """

    def __init__(self, sets: LabelSets, figures: Grid[np.uint64], start_ns: int = 0) -> None:
        self.queues: Grid[np.uint64] = Grid(len(QUEUES), np.uint64)
        self.rtt: Grid[np.float64] = Grid(len(RTT_QUANTILES), np.float64)
        self.leaks: tuple[Leak, ...] | None = None
        self._sets = sets
        self._figures = figures
        self._start_ns = start_ns
        self._table = np.empty(0, _LEDGER)
        self._by_key: NDArray[np.intp] = np.empty(0, np.intp)
        self._opened = Recent("row", "syn", "process")
        self._closed = Recent()
        self._dumped = Dumped()
        self._last_ns = -1

    def opened(self, alike: Alike) -> None:
        """Note the connections of records that say that they are open now."""
        part, examples = alike.part, alike.examples
        syn = examples["role"] == ROLE["client"]
        if alike.flags & FLAG["repair"]:
            syn &= examples["flags"] & FLAG["repair"] == 0
        keys, process = part.once(ends_key), part["process"]
        self._opened.add(keys, part["time_ns"], row=alike.spread(alike.rows), syn=alike.spread(syn), process=process)

    def closed(self, alike: Alike) -> None:
        """Add what was not counted yet of the connections of EVENT_CLOSE records."""
        part, starts = alike.part, alike.starts
        keys = part.once(ends_key)
        self._closed.add(keys, part["time_ns"])
        exact = _at_end(part)
        hits, places = self._find(keys, part)
        if len(hits):
            entries = self._table[places]
            elder = (part["flags"][hits] & FLAG["partial"] != 0) | (_began(part)[hits] < self._start_ns)
            before = np.where(elder[:, None], entries["last"], entries["counted"])
            now = np.zeros((len(hits), len(FIGURES)), np.uint64)
            for place, column in exact.items():
                now[:, place] = column[hits]
            for place, column in exact.items():
                column[hits] = _growth(before, now)[:, place]
            self._table["gone"][places] = True
        self._figures.reserve(len(self._sets))
        if exact:
            cells = alike.rows * self._figures.columns + np.array(list(exact))[:, None]
            sums = [np.add.reduceat(column, starts) for column in exact.values()]
            self._figures.add_at(cells.reshape(-1), np.concatenate(sums))

    def add_snapshot(self, snapshot: Snapshot, now_ns: int) -> None:
        """Add what the open connections of a dump have carried since the one before; it may come more than once."""
        figures = snapshot.figures
        if figures is None or figures.end_ns <= self._last_ns:
            return
        self._last_ns = figures.end_ns
        since = figures.start_ns - MARGIN_NS
        found = figures.table[~self._closed.since(figures.table["key"], since)]
        entries = self._entries(found, figures, now_ns)
        found, entries = found[entries["row"] >= 0], entries[entries["row"] >= 0]
        self._figures.reserve(len(self._sets))
        now = _without_syn(found["figures"], entries["syn"])
        growth = _growth(entries["last"], now)
        np.add.at(self._figures.values, entries["row"], growth)
        entries["counted"] += growth
        entries["last"], entries["seen_ns"] = now, figures.end_ns + MARGIN_NS
        self._show(found, entries["row"])
        self.leaks = leaks(found, entries["process"])
        self._keep(entries)
        self._dumped.add(figures.netns)
        self._opened.forget(since)
        self._closed.forget(since)

    def fold(self, rows: Rows, onto: Rows) -> None:
        """Have the connections of label sets that leave count for others, both of shape (n,)."""
        for values in (self._table["row"], *self._opened.columns("row")):
            renumber(values, rows, onto)
        self.queues.fold(rows, onto)
        self.rtt.values[rows] = 0

    def reserve(self, rows: int) -> None:
        """Have room for so many label sets."""
        self.queues.reserve(rows)
        self.rtt.reserve(rows)

    def _find(self, keys: Counts, part: Part) -> tuple[Rows, Rows]:
        """Return which records have an entry, each entry once, and the places of these; shape (k,) each."""
        if not len(self._table):
            return np.empty(0, np.intp), np.empty(0, np.intp)
        known = self._table["key"][self._by_key]
        ranks = np.searchsorted(known, keys).clip(max=len(known) - 1)
        likely = np.flatnonzero(known.take(ranks) == keys)
        places = self._by_key[ranks[likely]]
        entries, whole = self._table[places], part["flags"][likely] & FLAG["partial"] == 0
        same = np.flatnonzero(~entries["gone"] & ~(whole & (_began(part)[likely] > entries["seen_ns"])))
        _, first = np.unique(places[same], return_index=True)
        return likely[same[first]], places[same[first]]

    def _entries(self, found: NDArray[np.void], figures: Figures, now_ns: int) -> NDArray[np.void]:
        """Return the entry of each connection of a dump, old or new; row -1 where it is not certain that it is traced."""
        entries = np.zeros(len(found), _LEDGER)
        known, places = np.zeros(len(found), bool), np.empty(0, np.intp)
        if len(self._table):
            places = np.searchsorted(self._table["cookie"], found["cookie"]).clip(max=len(self._table) - 1)
            before = self._table[places]
            known = (before["cookie"] == found["cookie"]) & (before["key"] == found["key"]) & ~before["gone"]
            places = places[known]
        entries[~known] = self._begun(found[~known], figures, now_ns)
        entries[known] = self._table[places]  # not before, as label sets may have left for those that have begun
        return entries

    def _begun(self, found: NDArray[np.void], figures: Figures, now_ns: int) -> NDArray[np.void]:
        """Return entries of connections that no dump has had before."""
        entries = np.zeros(len(found), _LEDGER)
        for name in ("cookie", "key", "netns"):
            entries[name] = found[name]
        entries["row"], entries["syn"] = -1, found["role"] == ROLE["client"]
        seen, noted = self._opened.find(found["key"])
        if figures.all and not seen.all():
            entries["row"][~seen] = self._rows(found[~seen], now_ns)
            seen, noted = self._opened.find(found["key"])  # once more, as label sets may have left for these
        for name, values in noted.items():
            entries[name][seen] = values
        old = ~seen & ~self._dumped.has(found["netns"])
        entries["last"][old] = _without_syn(found["figures"][old], entries["syn"][old])
        return entries

    def _rows(self, found: NDArray[np.void], now_ns: int) -> Rows:
        """Return the label sets of connections whose beginning is in no record, as far as a dump tells, shape (n,)."""
        parts = [np.empty(0, np.intp)]
        for at in range(0, len(found), AT_ONCE):
            some = found[at : at + AT_ONCE]
            events = np.zeros(len(some), EVENT)
            events["kind"] = KIND["state"]
            for name in ("cgroup", "netns", "local_port", "remote_port", "remote_address", "family", "role"):
                events[name] = some[name]
            parts.append(self._sets.rows(events, now_ns, noted=False))
        return np.concatenate(parts)

    def _keep(self, entries: NDArray[np.void]) -> None:
        """Have these entries, and those that this dump lacks and no record has ended."""
        before = self._table
        absent = ~before["gone"] & (before["seen_ns"] > self._last_ns - KEPT_NS) & ~is_in(before["cookie"], entries["cookie"])
        together = np.concatenate([part.view(f"V{_LEDGER.itemsize}") for part in (entries, before[absent])]).view(_LEDGER)
        self._table = together[np.argsort(together["cookie"])]
        self._by_key = np.argsort(self._table["key"])

    def _show(self, found: NDArray[np.void], rows: Rows) -> None:
        """Take the gauges of a dump."""
        self.reserve(len(self._sets))
        self.queues.values[:] = 0
        np.add.at(self.queues.values, rows, found["queues"])
        self.rtt.values[:] = 0
        measured = found["rtt_us"] > 0
        rows, times = rows[measured], found["rtt_us"][measured]
        order = np.lexsort((times, rows))
        starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
        counts = np.diff(starts, append=len(order))
        for column, quantile in enumerate(RTT_QUANTILES):
            ranks = np.ceil(quantile * counts).astype(np.intp) - 1
            self.rtt.values[rows[order[starts]], column] = times[order[starts + ranks]] / 1e6


def _began(part: Part) -> NDArray[np.int64]:
    """Return when the connections of records of ends began, as far as that was seen, shape (n,)."""
    began: NDArray[np.int64] = part["time_ns"].astype(np.int64) - part["duration_ns"].astype(np.int64)
    return began


def _at_end(part: Part) -> dict[int, Counts]:
    """Return those FIGURES of records of ends that are not all 0, shape (n,), by place; what a kernel does not tell is 0."""
    found = {}
    for word, figures in _AT_END.items():
        words = part.records.words[word].take(part.index)
        for place, where, factor in figures if np.count_nonzero(words) else ():
            column = where.of(words)
            if np.count_nonzero(column):
                found[place] = column if factor == 1 else column * np.uint64(factor)
    return found


def _growth(before: Counts, now: Counts) -> Counts:
    """Return by how much figures have grown, shape (n, columns); those of segments in 32 bits, beyond which they begin anew."""
    growth = np.where(now > before, now - before, 0)
    low = before[:, _SEGMENTS] & np.uint64(0xFFFFFFFF)
    wrapped = (now[:, _SEGMENTS] - low) & np.uint64(0xFFFFFFFF)
    growth[:, _SEGMENTS] = np.where((now[:, _SEGMENTS] >= low) | (wrapped < 1 << 31), wrapped, 0)
    return growth


def _without_syn(figures: Counts, syn: NDArray[np.bool_]) -> Counts:
    """Return a copy of figures, shape (n, columns), without the SYN of ours that sent_bytes has where syn is true."""
    figures = figures.copy()
    figures[:, 0] -= syn & (figures[:, 0] > 0)
    return figures
