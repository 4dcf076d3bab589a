"""Recordings with a damage each, through what every command makes of one: `python -m tests.fuzz.damaged [TIMES [SEED [FILE]]]`.

FILE is a recording instead of the small one that is made here. A bit is flipped, or the end is cut off; of the file, or of what
a frame holds, which is packed again so that the damage gets past the checks of the packing. What comes out is a report or a
TcptraceError; another exception ends this with its number.
"""

from __future__ import annotations

import resource
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from tests.fuzz.texts import COMMANDS, Command
from tests.unit.ingest.openconnections import open_rows, reading_with
from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.commands.listed import LIST_FORMATS, list_text
from tracer.commands.oneconnection import both_ends, connection_text, only_one
from tracer.commands.worstconnections import draw_worst
from tracer.errors import TcptraceError
from tracer.ingest.decode import Events
from tracer.ingest.recorder import Recorder
from tracer.ingest.recording import FRAME, START, RecordedSource
from tracer.ingest.source import Context
from tracer.kernel.filters import Filters
from tracer.model.findings import FindingsSearch
from tracer.model.oneconnection import parse_wanted
from tracer.model.openers import Openers
from tracer.model.openlist import SORTS, OpenList
from tracer.model.tcp import STATE
from tracer.model.timesequence import time_sequence
from tracer.outputs.findings.reportjson import report_document
from tracer.outputs.findings.reportpage import report_page
from tracer.outputs.findings.reporttext import report_lines
from tracer.outputs.findings.xpl import xpl_lines

NUMBER = 7
MOST_BYTES = 600 << 20
ASKED = Context(**{**vars(CONTEXT), "asked": ("follow", "segments")})


def sample() -> bytes:
    """Return a small recording with everything: a connection with segments and losses, both ends, and others."""
    file = BytesIO()
    recorder = Recorder(file, ASKED)
    for at, batch in enumerate((_opening(), _transfer(), _ends())):
        time_ns = (at + 1) * SECOND
        recorder.write(reading_with(open_rows(3, time_ns=time_ns, total=4), time_ns, reading(batch)))
    recorder.end()
    return file.getvalue()


def _opening() -> Events:
    opened = events("state", from_state="close", time_ns=10)
    opened["to_state"] = STATE["syn_sent"]
    accepted = events("state", role="server", from_state="listen", time_ns=15)
    accepted["to_state"] = STATE["syn_recv"]
    return _numbered(opened, accepted, events("handshake", handshake_ns=5000, time_ns=20), events("handshake", 9, port=80))


def _transfer() -> Events:
    heard = events("segment", 30, send_window=65_535, congestion_window=10, srtt_us=20_000, control_bits=16)
    heard["time_ns"] = SECOND + np.arange(30) * 10_000_000
    heard["acknowledgement"], heard["send_next"] = (1001 + np.arange(start, start + 30) * 1448 for start in (0, 1))
    arrived = events("segment", 30, role="server", payload_bytes=1448, control_bits=16)
    arrived["time_ns"], arrived["sequence"] = heard["time_ns"] + 1_000_000, heard["acknowledgement"]
    again = events("retransmit", 3, retransmit_kind="timeout", sequence=2449, segments=1, time_ns=SECOND + 5_000_000)
    return _numbered(heard, arrived, again, events("retransmit", 2, peer="192.0.2.9", segments=2, time_ns=SECOND))


def _ends() -> Events:
    end = events("close", sent_bytes=43_440, retransmitted_segments=3, duration_ns=SECOND, time_ns=2 * SECOND, error=104)
    reset = events("reset", flags=("reset_received",), time_ns=2 * SECOND)
    failed = events("failure", from_state="syn_sent", error=111, port=81, time_ns=2 * SECOND)
    return _numbered(reset, end, events("close", role="server", from_state="last_ack", time_ns=2 * SECOND), failed)


def _numbered(*batches: Events) -> Events:
    together = np.concatenate(batches)
    mine = together["local_port"] == 50123
    together["connection"] = np.where(mine, NUMBER, NUMBER + 1)
    together["initial_sequence"], together["process"], together["pid"] = 1000, b"<b>&\x1b", 9
    return together


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a recording with one damage, of the file or of what a frame holds."""
    if rng.integers(4) == 0:
        return data[: rng.integers(len(data))]
    if rng.integers(3) == 0:
        return _flipped(data, rng)
    first = START.size + START.unpack(data[: START.size])[2]
    frames = list(_frames(data, first))
    chosen = int(rng.integers(len(frames)))
    parts = [_packed(head, _flipped(held, rng) if at == chosen else held) for at, (head, held) in enumerate(frames)]
    return data[:first] + b"".join(parts)


def _flipped(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if changed:
            changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _frames(data: bytes, at: int) -> Iterator[tuple[tuple[bytes, int], bytes]]:
    while at < len(data):
        tag, length, time_ns = FRAME.unpack(data[at : at + FRAME.size])
        at += FRAME.size + length
        yield (tag, time_ns), zlib.decompress(data[at - length : at])


def _packed(head: tuple[bytes, int], held: bytes) -> bytes:
    packed = zlib.compress(held, 1)
    return FRAME.pack(head[0], len(packed), head[1]) + packed


def every_report(data: bytes) -> None:
    """Make every form of a report; raises TcptraceError where it is damaged."""
    source = RecordedSource(BytesIO(data), "it")
    search = FindingsSearch(source.context, courses=True)
    while (found := source.read()) is not None:
        search.add(found)
    findings = search.findings()
    report_page(findings, *draw_worst(findings, source))
    report_document(findings)
    report_lines(findings)


def one_connection(wanted: str) -> Callable[[bytes], None]:
    """Return what makes every form of the report of one connection."""

    def make(data: bytes) -> None:
        source = RecordedSource(BytesIO(data), "it")
        records = both_ends(source, parse_wanted(wanted))
        if not len(records):
            return
        found = only_one(records, source.context, wanted)
        for form in ("html", "json", "table"):
            connection_text(found, source.context, form)
        if (graph := time_sequence(found.dossier)) is not None:
            list(xpl_lines(graph, "it", source.context.anchor_ns))

    return make


def open_connections(data: bytes) -> None:
    """Make every form of the list of open connections; raises TcptraceError where it is damaged."""
    source, openers = RecordedSource(BytesIO(data), "it"), Openers()
    while (found := source.read()) is not None:
        openers.add(found.events)
    if (rows := source.open_rows) is None:
        return
    listed, owners = OpenList(rows), openers.owners(rows)
    listed.keep(listed.chosen(Filters(ports=(443,), addresses=("192.0.2.0/24",), role="client"), source.context.netns))
    for sort in SORTS:
        for form in LIST_FORMATS:
            list_text(listed, lambda _: owners, sort=sort, count=None, format_name=form)


def through(command: Command) -> Callable[[bytes], None]:
    """Return what has a command read a recording to its end, or to the damage."""

    def make(data: bytes) -> None:
        source = RecordedSource(BytesIO(data), "it")
        command(source, iter(source.read, None))

    return make


REPORTS = {
    **{command.__name__.strip("_"): through(command) for command in COMMANDS},
    "connections": open_connections,
    "report": every_report,
    "number": one_connection(str(NUMBER)),
    "end": one_connection("192.0.2.1:443"),
}


def run(times: int, seed: int, whole: bytes) -> dict[str, int]:
    """Try so many damages; return how many gave a report, and how many a sentence, by report."""
    counts = dict.fromkeys((f"{name} {end}" for name in REPORTS for end in ("made", "refused")), 0)
    for number in range(seed, seed + times):
        data = damaged(whole, np.random.default_rng(number))
        for name, make in REPORTS.items():
            try:
                make(data)
            except TcptraceError:
                counts[f"{name} refused"] += 1
            except Exception as error:
                error.add_note(f"damage {number}, {name}")
                raise
            else:
                counts[f"{name} made"] += 1
    return counts


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    numbers = [int(text) for text in sys.argv[1:3]]
    recording = Path(sys.argv[3]).read_bytes() if len(sys.argv) > 3 else sample()
    start = time.monotonic()
    print(run(numbers[0] if numbers else 10_000, numbers[1] if len(numbers) > 1 else 0, recording))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{time.monotonic() - start:.0f} s, {used >> 10} MiB at most")
