"""Programs of state changes, and how many runs of the first one the kernel has passed over (bpf/twice.h).

`/usr/bin/python3 -I tests/kernel/passed_over.py count|notes`, as root: says how memory is read, then for each line that it
reads, in JSON, what Runs in test_twice.py has. notes: as on a kernel that does not tell where it counts. Nobody reads the ring.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tracer.kernel import attached as loading  # noqa: E402 - the path comes first
from tracer.kernel.bpf import libbpf  # noqa: E402
from tracer.kernel.btf import Btf  # noqa: E402
from tracer.kernel.filters import Filters  # noqa: E402
from tracer.kernel.layout import parse_layout  # noqa: E402
from tracer.kernel.loader import possible_cpus  # noqa: E402
from tracer.kernel.programs import program_text  # noqa: E402
from tracer.kernel.settings import Settings  # noqa: E402
from tracer.kernel.shipped import read_source  # noqa: E402

NOTES_BYTES = 32
"""struct notes in bpf/twice.h"""


def entry(table: int, key: int, size: int) -> bytes:
    """Return an entry of an array; of one for each CPU all of them."""
    found = ctypes.create_string_buffer(size)
    if libbpf().bpf_map_lookup_elem(table, struct.pack("=I", key), found):
        raise SystemExit(f"passed_over: there is no entry {key}")
    return found.raw


def main() -> None:
    """Attach, and answer."""
    if sys.argv[1] == "notes":
        loading.EACH_PROGRAM = "nothing"
    cpus = possible_cpus()
    program = program_text(Btf(), Settings(Filters(), ring_bytes=1 << 20), Path("/proc/self/ns/net").stat().st_ino, cpus)
    attached = loading.attach_programs(Btf(), program)
    layout = parse_layout(read_source("event.h")).enums["counter"]
    rescued, row_bytes = layout["COUNTER_RESCUED"], layout["COUNTER_CELLS"] * 8
    print(attached.reads, flush=True)
    for _ in sys.stdin:
        about = Path(f"/proc/self/fdinfo/{attached.programs['inet_sock_set_state']}").read_text(encoding="ascii")
        rows = [entry(attached.tables["counters"], row, row_bytes) for row in range(program.entries["counters"])]
        answer = {
            "passed_over": int(dict(line.split(":") for line in about.splitlines()).get("recursion_misses", -1)),
            "rescued": sum(struct.unpack_from("=Q", row, rescued * 8)[0] for row in rows),
            "noted": any(entry(attached.tables["notes"], 0, NOTES_BYTES * cpus)),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
