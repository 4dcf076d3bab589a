"""What `replay FILE connections` prints: the last look at the open connections that a recording has, and when that was."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from tracer.commands.listed import LIST_FORMATS, check_sort, list_text
from tracer.commands.options import known_format
from tracer.commands.recorded import become_unprivileged, open_recording
from tracer.errors import TcptraceError
from tracer.ingest.openrows import OpenRows
from tracer.ingest.recording import RecordedSource
from tracer.ingest.source import Reading
from tracer.kernel.filters import Filters
from tracer.model.openers import Openers
from tracer.model.openlist import OpenList
from tracer.outputs.openlines import CSV_HEAD

NO_LOOK = "has no look at the open connections"
WHY_NONE = "record for three seconds, without --pid and --cgroup, where the kernel has sock_diag (modprobe tcp_diag)"


def replay_connections(path: Path, filters: Filters, *, sort: str, count: int | None, format_name: str) -> None:
    """Print the open connections of a recording; raises TcptraceError for one that has no look at them, or is damaged."""
    known_format(format_name, LIST_FORMATS)
    check_sort(sort)
    recorded = open_recording(path)
    become_unprivileged()
    openers = Openers()
    try:
        last, damage = read_to_the_end(recorded, openers)
    finally:
        recorded.close()
    if recorded.open_rows is None or last is None:
        raise damage or TcptraceError(f"{path} {NO_LOOK}", WHY_NONE)
    rows = recorded.open_rows
    found, owners = OpenList(rows), openers.owners(rows)
    found.keep(found.chosen(filters, recorded.context.netns))
    if filters.pid is not None:
        found.keep(found.of_inodes([inode for inode, owner in owners.items() if owner.pid == filters.pid]))
    print(as_of(rows, last, recorded.context.at(last).anchor_ns), file=sys.stderr, flush=True)
    if format_name == "csv":
        print(CSV_HEAD)
    print(list_text(found, lambda _: owners, sort=sort, count=count, format_name=format_name), flush=True)
    if damage:
        raise damage


def read_to_the_end(recorded: RecordedSource, openers: Openers) -> tuple[Reading | None, TcptraceError | None]:
    """Return the last reading, and what is damaged behind it."""
    last: Reading | None = None
    try:
        while (reading := recorded.read()) is not None:
            openers.add(reading.events)
            last = reading
    except TcptraceError as error:
        return last, error
    return last, None


def as_of(rows: OpenRows, last: Reading, anchor_ns: int) -> str:
    """Return when the look was, how long before the end, and what it does not have."""
    moment = datetime.fromtimestamp((rows.time_ns + anchor_ns) / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    before = max(last.time_ns - rows.time_ns, 0) / 1e9
    said = f"tcptrace: open connections as of {moment} UTC, {before:.1f} s before the recording ends"
    if rows.total > len(rows.sockets):
        said += f"; it has {len(rows.sockets):,} of {rows.total:,}, those that are held up and those that carried most"
    return f"{said}\ntcptrace: a process is known of connections whose beginning was recorded"
