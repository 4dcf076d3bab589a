"""Recordings: what a source gave, in a file, and the source that reads it back.

    8 bytes   TCPTRACE
    u32       version of this format (1)
    u32       length of the header that follows
    header    JSON: identity and size of the record's layout, the Context
    frames    4 bytes tag, u32 length, u64 ns by the clock of the events, zlib-compressed payload

A reading is its frames up to and including CELL: EVNT (records, when there are any), NOTE (JSON: programs, snapshot, books,
anchor, interfaces' names, when they changed), CELL (the counters). All numbers are little-endian. A recording of another layout
is refused, because its bytes would decode into nonsense; a truncated one gives what is whole, and then says so.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tracer.errors import TcptraceError
from tracer.ingest.books import Books
from tracer.ingest.decode import EVENT, LAYOUT, Events
from tracer.ingest.interfaces import NAMES
from tracer.ingest.names import cleaned_json
from tracer.ingest.plausible import MAX_NS, are_counts, checked, implausible
from tracer.ingest.snapshot import Snapshot, parse_snapshot, snapshot_document
from tracer.ingest.source import Context, Program, Reading

MAGIC = b"TCPTRACE"
VERSION = 1
_START = struct.Struct("<8sII")
_FRAME = struct.Struct("<4sIQ")
MAX_FRAME = 1 << 28


_CONTEXT: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("kernel", "bcc", "reads"), (str,)),
    **dict.fromkeys(("anchor_ns", "netns"), (int,)),
    "missing": (tuple,),
    "reset_reasons": (dict,),
}
_PROGRAM: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "attached": (bool,),
    **dict.fromkeys(("runs", "misses"), (int,)),
    "run_seconds": (int, float),
}


class Recorder:
    """Writes readings to a binary file, in their order."""

    def __init__(self, file: BinaryIO, context: Context) -> None:
        header = json.dumps(
            {
                "layout": LAYOUT.identity,
                "record_size": LAYOUT.size,
                "context": {**vars(context), "reset_reasons": dict(context.reset_reasons)},
            }
        ).encode()
        self._file = file
        self._note = b""
        file.write(_START.pack(MAGIC, VERSION, len(header)) + header)

    def write(self, reading: Reading) -> None:
        """Append one reading; raises OSError when the disk is full."""
        note = json.dumps(
            {
                "programs": [asdict(program) for program in reading.programs],
                "snapshot": snapshot_document(reading.snapshot) if reading.snapshot else None,
                "books": asdict(reading.books) if reading.books else None,
                "anchor_ns": reading.anchor_ns,
                "interfaces": [[*key, name] for key, name in NAMES.items()],
            }
        ).encode()
        if len(reading.events):
            self._frame(b"EVNT", reading.time_ns, reading.events.tobytes())
        if note != self._note or reading.books:  # books belong to their reading, also when nothing has changed in them
            self._frame(b"NOTE", reading.time_ns, note)
            self._note = note
        self._frame(b"CELL", reading.time_ns, reading.cells.astype("<u8").tobytes())

    def _frame(self, tag: bytes, time_ns: int, payload: bytes) -> None:
        packed = zlib.compress(payload, 1)
        self._file.write(_FRAME.pack(tag, len(packed), time_ns) + packed)


class RecordedSource:
    """Reads a recording; at its end read() returns None.

    Raises TcptraceError for a file that is no recording, or one of another format or layout.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._programs: tuple[Program, ...] = ()
        self._snapshot: Snapshot | None = None
        self._books: Books | None = None
        self._anchor_ns: int | None = None
        self.context = self._read_start()

    def read(self) -> Reading | None:
        """Return the next reading, None at the end.

        Raises TcptraceError where the file is damaged or ends in the middle of a reading; all before it was given.
        """
        events = np.empty(0, EVENT)
        empty = True
        while (frame := self._read_frame()) is not None:
            tag, time_ns, payload = frame
            empty = False
            if time_ns > MAX_NS:
                raise self._damaged("a time makes no sense")
            if tag == b"EVNT":
                events = self._events(payload)
            elif tag == b"NOTE":
                self._take_note(payload)
            elif tag == b"CELL":
                books, self._books = self._books, None
                return Reading(events, self._cells(payload), time_ns, self._programs, self._snapshot, books, self._anchor_ns)
            else:
                raise self._damaged(f"unknown frame {tag!r}")
        if not empty:
            raise self._damaged("it ends in the middle of a reading")
        return None

    @property
    def position(self) -> int:
        """How many bytes of the file were read."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_start(self) -> Context:
        start = self._file.read(_START.size)
        if len(start) < _START.size or not start.startswith(MAGIC):
            raise TcptraceError(f"{self._name} is no recording of tcptrace", "make one with 'tcptrace record -o FILE'")
        _, version, length = _START.unpack(start)
        if version != VERSION:
            raise TcptraceError(
                f"{self._name} has recording format {version}, this tcptrace reads {VERSION}", "use the version that made it"
            )
        try:
            header = cleaned_json(self._file.read(min(length, MAX_FRAME)))
            layout, context = header["layout"], header["context"]
            context["reset_reasons"] = {int(k): str(v) for k, v in context["reset_reasons"].items()}
            context["missing"] = tuple(map(str, context["missing"]))
            result = Context(**checked(context, _CONTEXT))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged("its header cannot be read") from error
        if layout != LAYOUT.identity:
            raise TcptraceError(
                f"{self._name} was made with record layout {layout}, this tcptrace has {LAYOUT.identity}",
                "replay it with the version that made it",
            )
        return result

    def _read_frame(self) -> tuple[bytes, int, bytes] | None:
        head = self._file.read(_FRAME.size)
        if not head:
            return None
        if len(head) < _FRAME.size:
            raise self._damaged("it ends in the middle of a frame")
        tag, length, time_ns = _FRAME.unpack(head)
        if length > MAX_FRAME:
            raise self._damaged("a frame's length makes no sense")
        packed = self._file.read(length)
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
        if len(cells) != LAYOUT.enums["counter"]["COUNTER_CELLS"]:
            raise self._damaged("it has another number of counters")
        if not are_counts(cells):
            raise self._damaged("a counter is out of range")
        return cells

    def _take_note(self, payload: bytes) -> None:
        try:
            note = cleaned_json(payload)
            self._programs = tuple(Program(**checked(p, _PROGRAM)) for p in note["programs"])
            self._snapshot = parse_snapshot(found) if (found := note.get("snapshot")) else None
            self._books = _books(found) if (found := note["books"]) else None
            NAMES.update({(int(netns), int(index)): str(name) for netns, index, name in note.get("interfaces", ())})
            self._anchor_ns = None if (anchor := note.get("anchor_ns")) is None else int(anchor)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise self._damaged("a note cannot be read") from error

    def _damaged(self, how: str) -> TcptraceError:
        return TcptraceError(f"{self._name} is damaged: {how}", "what came before it was read")


def _books(document: Any) -> Books:
    """Return the kernel's counters of a note; raises ValueError for what is none."""
    sides = checked(document, {"before": (dict,), "after": (dict,)})
    for side in sides.values():
        checked(side, dict.fromkeys(side, (int,)))
    return Books(**sides)
