"""Load the programs without one of their parts, and keep them until standard input ends.

`/usr/bin/python3 -I tests/bench/partial.py PART`, as root: what tests/bench/parts.py measures. Nobody reads the ring; it is as
large as it can be.
"""

from __future__ import annotations

import contextlib
import struct
import sys
from dataclasses import replace
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tracer.kernel.attached import attach_as  # noqa: E402 - the path comes first
from tracer.kernel.bpf import put  # noqa: E402
from tracer.kernel.btf import Btf  # noqa: E402
from tracer.kernel.buckets import edges  # noqa: E402
from tracer.kernel.filters import Filters  # noqa: E402
from tracer.kernel.layout import parse_tables, size_of  # noqa: E402
from tracer.kernel.loader import possible_cpus  # noqa: E402
from tracer.kernel.programs import ProgramText, program_text  # noqa: E402
from tracer.kernel.settings import Reads, Settings  # noqa: E402
from tracer.kernel.shipped import read_source  # noqa: E402
from tracer.kernel.sizes import MANY_CONNECTIONS  # noqa: E402

RING_BYTES = 1 << 26

NOTHING = "nothing"
READS = {"loads of what has no type (helper calls instead)": Reads.TYPED, "loads of sockets, too": Reads.CALLS}
"""Parts by how the kernel's memory is read without them."""
OWNERS = "nothing, and processes and cgroups are asked for"
RECORDS = "counts of busy places (records instead)"
HASHED = "slots (a hash table instead)"
EMPTY = "all: two programs that return at once"

PASSING = ("\tif (passes_on(ctx, sk, socket))\n\t\treturn;\n", "")
BEGINNING = ("\tif (begins(ctx, sk, socket))\n\t\treturn;\n", "")
NOBODY = (
    "\tconn = usual_conn(socket);\n\tif (MOSTLY(continues(conn, from, to))) {\n",
    "\tif (!is_listener(from, to)) {\n\t\tconn = NULL;\n\t} else if (false) {\n",
)

PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    NOTHING: (),
    **dict.fromkeys(READS, ()),
    OWNERS: (),
    RECORDS: (),
    HASHED: (),
    "TIME_WAIT lookup": (("\t\treturn finds_timewait(sk);\n", "\t\treturn true;\n"),),
    "records and counts": (
        ("events.ringbuf_reserve(RECORD_BYTES);", "NULL;"),
        ("\tif (WITH_TALLIES)\n\t\ttally_handshake(sk, conn, now_ns);\n", ""),
    ),
    "times in each state, as they are counted": (("\tcount_states(here, conn);\n", ""),),
    "state times": (("\t\tconn->state_ns[left] += now_ns - conn->since_ns;\n", "\t\t;\n"),),
    "counters": (
        ("\tif (row && index < COUNTER_CELLS) {\n", "\tif (0) {\n"),
        ("\tif (row && (row->cell[COUNTER_EVENTS_SENT] & WAKE_MASK) < 4)\n", "\tif (0)\n"),
    ),
    "times that segments bring (the clock instead)": (("\tif (WHOLE_RECORDS || /*", "\tif (true || /*"),),
    "beginnings of which nothing is asked, by themselves": (BEGINNING,),
    "steps on which nothing is told, by themselves": (PASSING,),
    "addresses and ports": (("\tread_tuple(sk, t);\n\tif (to", "\tt->family = 4;\n\tif (to"),),
    "end remembered for a reset": (("\tremember_end(sk, conn, t, from, ending);\n", ""),),
    "how the second program tells what was handled": (
        ("\tif (!IS_SECOND && !DISTANCE)\n\t\tnote_handled(ctx);\n", ""),
        ("\t\tif (was_handled(ctx))\n\t\t\treturn 0;\n", "\t\tif (true)\n\t\t\treturn 0;\n"),
    ),
    "that count of the kernel's (notes instead)": (("#define DISTANCE CONSTANT(1)\n", "#define DISTANCE 0\n"),),
    "the connection (all but the audit)": (PASSING, BEGINNING, NOBODY),
    EMPTY: (("PROGRAM(inet_sock_set_state)\n{\n", "PROGRAM(inet_sock_set_state)\n{\n\treturn 0;\n"),),
}
"""What is taken out, and how: text of bpf/*.c and *.h, and what stands there instead. A part that is not found is an error."""


def without(program: ProgramText, part: str) -> ProgramText:
    """Return the programs without a part."""
    head, typed = program.head, program.typed
    for old, new in PARTS[part]:
        if old not in head + typed:
            raise SystemExit(f"partial: {part}: there is no {old!r} in bpf/")
        head, typed = head.replace(old, new), typed.replace(old, new)
    return replace(program, head=head, typed=typed)


def have_counted(table: int, cpus: int) -> None:
    """Have busy places counted from now on, which the reader of the ring does else; table: `stays` in bpf/maps.h."""
    tables = parse_tables(read_source("places.h"), "places.h")
    row = tables.structs["stays"]
    edge = next(field for field in row if field.name == "edges")
    each = struct.pack("=Q", 1).ljust(edge.offset, b"\0") + struct.pack(f"={edge.count}Q", *edges(edge.count))
    for cpu in range(cpus):
        put(table, struct.pack("=I", cpu), each.ljust(size_of(row), b"\0"))


def main() -> None:
    """Load, say so, and wait."""
    owners = sys.argv[1] == OWNERS
    settings = Settings(
        Filters(),
        ring_bytes=RING_BYTES,
        owners=owners,
        counts=not owners and sys.argv[1] != RECORDS,
        max_connections=MANY_CONNECTIONS - 1 if sys.argv[1] == HASHED else None,
    )
    btf = Btf()
    program = program_text(btf, settings, Path("/proc/self/ns/net").stat().st_ino, possible_cpus())
    kept = attach_as(btf, without(program, sys.argv[1]), READS.get(sys.argv[1], program.ways_to_read(btf)[0]))
    have_counted(kept.tables["stays"], possible_cpus() if settings.counts else 0)
    print(len(kept.programs), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()


if __name__ == "__main__":
    main()
