"""Programs with few slots for connections (bpf/slots.h), which usually are for many; says what is in them.

`/usr/bin/python3 -I tests/kernel/crowded.py ENTRIES PORT`, as root: says "attached", then for each line that it reads, in JSON,
what Crowd in test_slots.py has. Clients of the port alone have entries; nobody reads the ring.
"""

from __future__ import annotations

import json
import mmap
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tracer.kernel import sizes  # noqa: E402 - the path comes first
from tracer.kernel.attached import attach_programs  # noqa: E402
from tracer.kernel.bpf import keys_of  # noqa: E402
from tracer.kernel.btf import Btf  # noqa: E402
from tracer.kernel.filters import Filters  # noqa: E402
from tracer.kernel.layout import parse_layout  # noqa: E402
from tracer.kernel.loader import possible_cpus  # noqa: E402
from tracer.kernel.programs import program_text  # noqa: E402
from tracer.kernel.settings import Settings  # noqa: E402
from tracer.kernel.shipped import read_source  # noqa: E402

SLOT_BYTES, STATE_AT = 256, 55
"""Of struct conn in bpf/maps.h."""


def mapped(table: int, size: int) -> mmap.mmap:
    """Map a table of so many bytes, to read."""
    return mmap.mmap(table, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ)


def rows(table: mmap.mmap, count: int, size: int) -> Iterator[bytes]:
    """Yield so many rows of a table."""
    return (table[at : at + size] for at in range(0, count * size, size))


def main() -> None:
    """Attach, and answer."""
    entries, port = map(int, sys.argv[1:])
    sizes.MANY_CONNECTIONS = 1
    settings = Settings(Filters(ports=(port,), role="client"), ring_bytes=1 << 20, max_connections=entries, owners=False)
    program = program_text(Btf(), settings, Path("/proc/self/ns/net").stat().st_ino, possible_cpus())
    attached = attach_programs(Btf(), program)
    layout = parse_layout(read_source("event.h")).enums["counter"]
    cells, untracked = layout["COUNTER_CELLS"], layout["COUNTER_UNTRACKED"]
    slots = mapped(attached.tables["slots"], entries * SLOT_BYTES)
    counters = mapped(attached.tables["counters"], program.entries["counters"] * cells * 8)
    print("attached" if attached.reads == "casts" else attached.reads, flush=True)
    for _ in sys.stdin:
        found = [(*struct.unpack_from("=QII", row), row[STATE_AT]) for row in rows(slots, entries, SLOT_BYTES)]
        counts = [struct.unpack(f"={cells}Q", row) for row in rows(counters, program.entries["counters"], cells * 8)]
        answer = {
            "states": sorted(state for socket, _, _, state in found if socket),
            "claims": sum(claims for _, claims, _, _ in found),
            "away": sum(away for _, _, away, _ in found),
            "displaced": len(list(keys_of(attached.tables["displaced"], 8))),
            "untracked": sum(row[untracked] for row in counts),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
