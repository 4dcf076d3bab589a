"""Programs with few slots for connections (bpf/slots.h), which usually are for many; says what is in them.

`/usr/bin/python3 -I tests/kernel/crowded.py ENTRIES NETNS [PORT]`, as root: says "attached", then for each line that it reads,
in JSON, what Crowd in test_slots.py has. Connections of that network namespace, by its inode number, have entries; with a port,
its clients alone, wherever they are. "miss" has the programs miss every change of state until "see". Nobody reads the ring.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tracer.kernel import sizes  # noqa: E402 - the path comes first
from tracer.kernel.attached import Attached, attach_programs  # noqa: E402 - the path comes first
from tracer.kernel.bpf import attach, keys_of  # noqa: E402
from tracer.kernel.btf import Btf  # noqa: E402
from tracer.kernel.filters import Filters  # noqa: E402
from tracer.kernel.layout import parse_layout  # noqa: E402
from tracer.kernel.loader import possible_cpus  # noqa: E402
from tracer.kernel.programs import ProgramText, program_text  # noqa: E402
from tracer.kernel.settings import Settings  # noqa: E402
from tracer.kernel.shipped import read_source  # noqa: E402

PROGRAMS = ("inet_sock_set_state", "again_inet_sock_set_state")

SLOT_BYTES, DISPLACED_AT, AWAY_AT, STATE_AT = 256, 8, 12, 55
"""Of struct conn in bpf/maps.h."""


def mapped(table: int, size: int) -> mmap.mmap:
    """Map a table of so many bytes, to read."""
    return mmap.mmap(table, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ)


def rows(table: mmap.mmap, count: int, size: int) -> Iterator[bytes]:
    """Yield so many rows of a table."""
    return (table[at : at + size] for at in range(0, count * size, size))


def looked_at(attached: Attached, program: ProgramText) -> dict[str, object]:
    """Return what there is now."""
    layout = parse_layout(read_source("event.h")).enums["counter"]
    cells, entries = layout["COUNTER_CELLS"], program.entries["slots"]
    slots = list(rows(mapped(attached.tables["slots"], entries * SLOT_BYTES), entries, SLOT_BYTES))
    counters = mapped(attached.tables["counters"], program.entries["counters"] * cells * 8)
    counts = [struct.unpack(f"={cells}Q", row) for row in rows(counters, program.entries["counters"], cells * 8)]
    used = [row for row in slots if row[:8] != bytes(8)]
    return {
        "states": sorted(row[STATE_AT] for row in used),
        "flagged": sum(struct.unpack_from("=I", row, DISPLACED_AT)[0] for row in slots),
        "away": sum(struct.unpack_from("=I", row, AWAY_AT)[0] for row in slots),
        "displaced": len(list(keys_of(attached.tables["displaced"], 8))),
        "twice": len(used) - len({row[:8] for row in used}),
        "untracked": sum(row[layout["COUNTER_UNTRACKED"]] for row in counts),
        "unreached": sum(row[layout["COUNTER_UNREACHED"]] for row in counts),
    }


def main() -> None:
    """Attach, and answer."""
    entries, netns, *ports = map(int, sys.argv[1:])
    sizes.MANY_CONNECTIONS = 1
    filters = Filters(ports=tuple(ports), role="client") if ports else Filters(own_netns=True)
    settings = Settings(filters, ring_bytes=1 << 20, max_connections=entries, owners=False)
    program = program_text(Btf(), settings, netns, possible_cpus())
    attached = attach_programs(Btf(), program)
    print("attached" if attached.reads == "casts" else attached.reads, flush=True)
    for line in sys.stdin:
        for name in PROGRAMS:
            if line.strip() == "miss":
                os.close(attached.attachments.pop(name))
            elif line.strip() == "see":
                attached.attachments[name] = attach(attached.programs[name], None)
        print(json.dumps(looked_at(attached, program)), flush=True)


if __name__ == "__main__":
    main()
