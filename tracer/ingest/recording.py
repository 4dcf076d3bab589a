"""Recordings: what a source gave, in a file (recorder.py writes it), and the source that reads it back.

    8 bytes   TCPTRACE
    u32       version of this format (3; 2 had no FIGS)
    u32       length of the header that follows
    header    JSON: identity and size of the record's layout, the Context
    frames    4 bytes tag, u32 length, u64 ns by the clock of the events, zlib-compressed payload

A reading is its frames up to and including CELL or DIFF: EVNT (records, when there are any), NOTE (recordingnotes.py, when
something has changed), OPEN and FIGS (open connections, now and then: openrows.py, figureframes.py), CELL (the counters) or
DIFF (those that differ from the last ones: pairs of place and count). All numbers are little-endian. A recording of another
layout is refused, because its bytes would decode into nonsense; a truncated one gives what is whole, and then says so.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tracer.errors import TcptraceError
from tracer.ingest.decode import EVENT, LAYOUT, Events
from tracer.ingest.figureframes import unpack as unpack_figures
from tracer.ingest.names import cleaned_json
from tracer.ingest.openrows import OpenRows, unpack
from tracer.ingest.plausible import MAX_NS, are_counts, checked, implausible
from tracer.ingest.recordingnotes import NoteReader
from tracer.ingest.source import Context, Reading
from tracer.ingest.workloads import Workload

MAGIC = b"TCPTRACE"
VERSION, OLDEST = 3, 2
START = struct.Struct("<8sII")
FRAME = struct.Struct("<4sIQ")
CELLS = LAYOUT.enums["counter"]["COUNTER_CELLS"]
MAX_FRAME = 1 << 28
PAIR = np.dtype([("cell", "<u2"), ("count", "<u8")])
"""What a DIFF frame has of each counter that has changed."""


_CONTEXT: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("kernel", "bcc", "reads"), (str,)),
    **dict.fromkeys(("anchor_ns", "netns", "start_ns"), (int,)),
    **dict.fromkeys(("missing", "asked"), (tuple,)),
    "reset_reasons": (dict,),
}


class RecordedSource:
    """Reads a recording; at its end read() returns None. name: of the file, for messages.

    open_rows: the last look at the open connections that was read. figures_ended: whether the figures of open connections are
    those of the end. Raises TcptraceError for a file that is no recording, or one of another format or layout.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self._notes = NoteReader()
        self.open_rows: OpenRows | None = None
        self.figures_ended = self._with_figures = False
        self._records: Events = np.empty(0, EVENT)
        self._read = 0
        self._counts = np.zeros(CELLS, np.uint64)
        self.context = self._read_start()

    def read(self) -> Reading | None:
        """Return the next reading, None at the end.

        Raises TcptraceError where the file is damaged or ends in the middle of a reading; all before it was given.
        """
        read = False
        while (frame := self._read_frame()) is not None:
            tag, time_ns, payload = frame
            read = True
            if time_ns > MAX_NS:
                raise self._damaged("a time makes no sense")
            if tag in {b"CELL", b"DIFF"}:
                self._counts = self._cells(payload) if tag == b"CELL" else self._changed_cells(payload)
                return self._reading(time_ns)
            self._take(tag, payload)
        if read:
            raise self._damaged("it ends in the middle of a reading")
        return None

    def _take(self, tag: bytes, payload: bytes) -> None:
        """Take a frame of the reading that follows."""
        if tag == b"EVNT":
            self._records = self._events(payload)
        elif tag == b"NOTE":
            self._take_note(payload)
        elif tag == b"OPEN":
            self._take_open(payload)
        elif tag == b"FIGS":
            self._take_figures(payload)
        else:
            raise self._damaged(f"unknown frame {tag!r}")

    def _reading(self, time_ns: int) -> Reading:
        notes = self._notes
        found = Reading(
            *(
                self._records,
                self._counts.copy(),
                time_ns,
                notes.programs,
                notes.snapshot,
                notes.kernel_counts,
                notes.anchor_ns,
                notes.remains,
            )
        )
        notes.next_reading()
        self.figures_ended, self._with_figures, self._records = self._with_figures, False, np.empty(0, EVENT)
        return found

    def named(self, netns: int, workload: Workload | None = None) -> str:
        """Return what a network namespace of the recorded machine is called, as far as it has been read."""
        return self._notes.named(netns, workload)

    def whose(self, cgroup: int) -> Workload:
        """Return whose a cgroup of the recorded machine is, as far as it has been read."""
        return self._notes.whose(cgroup)

    @property
    def position(self) -> int:
        """How many bytes of the file were read."""
        return self._read

    @property
    def size(self) -> int:
        """How many bytes the file has; 0 where that is not known."""
        return os.fstat(self._file.fileno()).st_size

    @property
    def is_seekable(self) -> bool:
        """Whether it can be read again: a pipe cannot."""
        return self._file.seekable()

    def again(self) -> RecordedSource:
        """Return a source that reads the same file from its beginning; instead of this one."""
        self._file.seek(0)
        return RecordedSource(self._file, self.name)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_start(self) -> Context:
        start = self._file.read(START.size)
        if len(start) < START.size or not start.startswith(MAGIC):
            raise TcptraceError(f"{self.name} is no recording of tcptrace", "make one with 'tcptrace record -o FILE'")
        _, version, length = START.unpack(start)
        if not OLDEST <= version <= VERSION:
            raise TcptraceError(
                f"{self.name} has recording format {version}, this tcptrace reads {VERSION}", "use the version that made it"
            )
        try:
            header = cleaned_json(self._file.read(min(length, MAX_FRAME)))
            layout, context = header["layout"], header["context"]
            context["reset_reasons"] = {int(k): str(v) for k, v in context["reset_reasons"].items()}
            for name in ("missing", "asked"):
                context[name] = tuple(map(str, context.get(name, ())))
            result = Context(**checked(context, _CONTEXT))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged("its header cannot be read") from error
        if layout != LAYOUT.identity:
            raise TcptraceError(
                f"{self.name} was made with record layout {layout}, this tcptrace has {LAYOUT.identity}",
                "replay it with the version that made it",
            )
        return result

    def _read_frame(self) -> tuple[bytes, int, bytes] | None:
        head = self._file.read(FRAME.size)
        if not head:
            return None
        if len(head) < FRAME.size:
            raise self._damaged("it ends in the middle of a frame")
        tag, length, time_ns = FRAME.unpack(head)
        if length > MAX_FRAME:
            raise self._damaged("a frame's length makes no sense")
        packed = self._file.read(length)
        self._read += FRAME.size + len(packed)
        if len(packed) < length:
            raise self._damaged("it ends in the middle of a frame")
        try:
            unpacker = zlib.decompressobj()
            payload = unpacker.decompress(packed, MAX_FRAME)
        except zlib.error as error:
            raise self._damaged("a frame cannot be unpacked") from error
        if not unpacker.eof or unpacker.unused_data:
            raise self._damaged("a frame is not whole")
        return tag, time_ns, payload

    def _array(self, payload: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
        if len(payload) % dtype.itemsize:
            raise self._damaged("a frame holds no whole number of records")
        return np.frombuffer(payload, dtype)

    def _events(self, payload: bytes) -> Events:
        events = self._array(payload, EVENT)
        if name := implausible(events):
            raise self._damaged(f"{name} of a record is out of range")
        return events

    def _cells(self, payload: bytes) -> NDArray[np.uint64]:
        cells = self._array(payload, np.dtype("<u8"))
        if len(cells) != CELLS:
            raise self._damaged("it has another number of counters")
        return self._plausible(cells)

    def _changed_cells(self, payload: bytes) -> NDArray[np.uint64]:
        pairs = self._array(payload, PAIR)
        if len(pairs) and int(pairs["cell"].max()) >= CELLS:
            raise self._damaged("it has another number of counters")
        cells = self._counts.copy()
        cells[pairs["cell"]] = pairs["count"]
        return self._plausible(cells)

    def _plausible(self, cells: NDArray[np.uint64]) -> NDArray[np.uint64]:
        if not are_counts(cells):
            raise self._damaged("a counter is out of range")
        return cells

    def _take_note(self, payload: bytes) -> None:
        try:
            self._notes.take(payload)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise self._damaged("a note cannot be read") from error

    def _take_open(self, payload: bytes) -> None:
        try:
            self.open_rows = unpack(payload)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._damaged("a look at the open connections cannot be read") from error

    def _take_figures(self, payload: bytes) -> None:
        try:
            self._notes.take_figures(unpack_figures(payload) if payload else None)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._damaged("the figures of open connections cannot be read") from error
        self._with_figures = True

    def _damaged(self, how: str) -> TcptraceError:
        return TcptraceError(f"{self.name} is damaged: {how}", "what came before it was read")
