"""Figures of all open connections, as a recording keeps them, so that a replay counts what these have carried.

A counter needs two dumps: the first of a namespace, from which existing connections count, and the last one. So a recording has
these, and some in between, in case it is cut off. What follows a recording that was cut has no figures: its last reading has
none, whereas end() writes a frame into the last one, empty where the latest figures are written already.
"""

from __future__ import annotations

import json

from tracer.ingest.decode import LAYOUT
from tracer.ingest.figures import OPEN, Figures
from tracer.ingest.names import cleaned_json
from tracer.ingest.openrows import LOOK_NS
from tracer.ingest.planes import planes, tables_of
from tracer.ingest.plausible import MAX_BYTES, MAX_NS, checked

MOST = 1 << 20
"""Connections of which a frame is written; of more there is none, since the reader takes no frame of such a length."""

NS_A_ROW = 100_000_000
"""Between two frames that are not necessary, for each connection, which takes some 40 bytes; and a minute at least."""

UNCHANGED = b""

_DTYPES = {"table": OPEN}
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("rows", "start_ns", "end_ns"), (int,)),
    "netns": (list,),
    "all": (bool,),
}
_MOST = {"state": max(LAYOUT.enums["tcp_state"].values()), "role": max(LAYOUT.enums["role"].values()), "figures": MAX_BYTES}


def pack(figures: Figures) -> bytes:
    """Return what unpack() is given: a line of JSON, and the table."""
    head = {
        "rows": len(figures.table),
        "netns": sorted(figures.netns),
        "start_ns": figures.start_ns,
        "end_ns": figures.end_ns,
        "all": figures.all,
    }
    return json.dumps(head).encode() + b"\n" + planes([figures.table])


def unpack(payload: bytes) -> Figures:
    """Return what was packed; raises ValueError, KeyError, TypeError or RecursionError for what it cannot have been."""
    line, _, packed = payload.partition(b"\n")
    head = checked(cleaned_json(line), _KINDS)
    if not 0 <= head["rows"] <= MOST or not 0 <= head["start_ns"] <= head["end_ns"] <= MAX_NS:
        raise ValueError("figures of open connections make no sense")
    table = tables_of(packed, head["rows"], _DTYPES)["table"]
    if len(table) and any(int(table[name].max()) > most for name, most in _MOST.items()):
        raise ValueError("a figure of an open connection is out of range")
    return Figures(table, frozenset(map(int, head["netns"])), head["start_ns"], head["end_ns"], head["all"])


class FigureWriter:
    """Says which figures a recording keeps."""

    def __init__(self) -> None:
        self._last: Figures | None = None
        self._netns: frozenset[int] = frozenset()
        self._written_ns = -1
        self._due_ns = 0

    def due(self, figures: Figures | None, now_ns: int) -> bytes | None:
        """Take a reading's figures; return what is to be written of them, if anything."""
        self._last = figures or self._last
        if figures is None or figures.end_ns <= self._written_ns:
            return None
        return self._pack(figures, now_ns) if is_first(figures, self._netns) or now_ns >= self._due_ns else None

    def last(self, now_ns: int) -> bytes | None:
        """Return what ends a recording, None where there were no figures."""
        if self._last is None:
            return None
        return UNCHANGED if self._last.end_ns <= self._written_ns else self._pack(self._last, now_ns)

    def _pack(self, figures: Figures, now_ns: int) -> bytes | None:
        if len(figures.table) > MOST:
            return None
        self._netns |= figures.netns
        self._written_ns = figures.end_ns
        self._due_ns = now_ns + max(LOOK_NS, len(figures.table) * NS_A_ROW)
        return pack(figures)


def is_first(figures: Figures | None, known: frozenset[int]) -> bool:
    """Say whether figures are the first ones of a namespace, given those of which there are some."""
    return figures is not None and not figures.netns <= known
