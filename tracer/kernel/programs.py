"""The text that bcc compiles: our files in order, behind what only this machine and this call know.

One string, because bcc does not rewrite map calls in included files; #line keeps the compiler's messages on the right file.
"""

from __future__ import annotations

import mmap
import time
from dataclasses import dataclass

from tracer.errors import TcptraceError
from tracer.kernel.btf import Btf
from tracer.kernel.constants import Constants
from tracer.kernel.fields import field_macros
from tracer.kernel.filters import filter_macros
from tracer.kernel.layout import parse_layout, parse_tables
from tracer.kernel.settings import FAILED_RETRANSMISSIONS, Reads, Settings
from tracer.kernel.shipped import read_source
from tracer.kernel.sizes import kept_in, table_entries, tally_rows, wake_mask

HEADERS = (
    "event.h",
    "places.h",
    "read.h",
    "maps.h",
    "sock.h",
    "descriptor.h",
    "process.h",
    "owner.h",
    "follow.h",
    "filter.h",
    "slots.h",
    "conn.h",
    "listen.h",
    "failure.h",
    "end.h",
    "pace.h",
    "times.h",
    "tally.h",
    "emit.h",
    "handshake.h",
    "audit.h",
    "twice.h",
    "step.h",
    "begin.h",
)
TYPED = "state.c"
ITERATORS = ("holders.c", "runs.c")
"""Files with a program on_NAME each, which runs once."""
FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""Its inode number, PROC_PID_INIT_INO in include/linux/proc_ns.h."""

THREAD_BYTES = 16_384
"""A task's kernel stack (THREAD_SIZE on all 64-bit architectures, unless a page is larger)."""

CLOCK_MONOTONIC_COARSE = 6
"""include/uapi/linux/time.h"""


@dataclass(frozen=True)
class Argument:
    """An optional argument: its macro behind HAVE_, and what is missing without it."""

    macro: str
    loses: tuple[str, ...]


@dataclass(frozen=True)
class Tracepoint:
    """A raw tracepoint with the file of its program; loses: what is missing where the kernel has none, None if all is.

    optional: an argument that newer kernels pass after the first two. twice: whether a second program, again__NAME, follows the
    first (bpf/twice.h). only_for: the setting without which it is not even compiled, attached_for: the one without which it is
    compiled and not attached, None for always.
    """

    name: str
    file: str
    loses: str | None = None
    optional: Argument | None = None
    twice: bool = False
    only_for: str | None = None
    attached_for: str | None = None


# Linux 6.17 fires the tracepoint when sending failed, too, and passes the error
RETRANSMIT_ERROR = Argument("tcp_retransmit_skb_err", (FAILED_RETRANSMISSIONS,))
# Linux 6.10 passes the reason, and in the same series fires the tracepoint when there is no socket
RESET_REASON = Argument("tcp_send_reset_reason", ("why resets were sent", "resets for closed ports"))

TRACEPOINTS = (
    Tracepoint("inet_sock_set_state", TYPED, twice=True),
    Tracepoint("tcp_retransmit_skb", "retransmit.c", "retransmissions", RETRANSMIT_ERROR),
    Tracepoint("tcp_retransmit_synack", "retransmit.c", "retransmitted SYN-ACKs"),
    Tracepoint("tcp_send_reset", "reset.c", "resets sent", RESET_REASON),
    Tracepoint("tcp_receive_reset", "reset.c", "resets received"),
    Tracepoint("sched_process_fork", "process.c", "the processes of servers", attached_for="owners"),
    Tracepoint("sched_process_exit", "process.c", "the processes of servers", attached_for="owners"),
    Tracepoint("sock_send_length", "call.c", "what send() and recv() returned", only_for="follow"),
    Tracepoint("sock_recv_length", "call.c", "what send() and recv() returned", only_for="follow"),
    Tracepoint("tcp_probe", "segment.c", "segments as they arrive", only_for="segments"),
)


@dataclass(frozen=True)
class ProgramText:
    """What to compile, which programs of it to attach, and what this kernel cannot show.

    head: what every text begins with. typed: programs whose tracepoint has a typed socket, which they can read by direct loads
    (bpf/read.h). others: the other programs. constants: the value of each CONSTANT(n) in the texts. entries: of the tables
    whose size the texts leave open, by name. cast: the number of the kernel's bpf_rdonly_cast() (Linux 6.2), 0: it has none.
    """

    head: str
    typed: str
    others: str
    tracepoints: tuple[Tracepoint, ...]
    missing: tuple[str, ...]
    constants: tuple[int, ...]
    entries: dict[str, int]
    cast: int

    def texts(self, reads: Reads) -> tuple[str, str]:
        """Return what to compile, each by itself, reading the kernel's memory so."""
        casts = f"#define CASTS {int(reads is Reads.CASTS)}\n{self.head}"
        typed = f"#define DIRECT {int(reads is not Reads.CALLS)}\n#define OF_STATES 1\n{casts}{self.typed}"
        return typed, f"#define DIRECT 0\n#define OF_STATES 0\n{casts}{self.others}"

    def table_sizes(self, reads: Reads) -> dict[str, int]:
        """Return the entries of those tables for programs that read the kernel's memory so."""
        return kept_in(self.entries, casts=reads is Reads.CASTS)

    def ways_to_read(self, btf: Btf) -> tuple[Reads, ...]:
        """Return those for which the kernel has the functions, the fastest first. Whether it takes the programs is tried."""
        typed = btf.has_function("bpf_get_current_task_btf")  # Linux 5.11
        lacking = {Reads.CASTS: not self.cast or not typed, Reads.TYPED: not typed}
        return tuple(reads for reads in Reads if not lacking.get(reads))


def program_text(
    btf: Btf, settings: Settings, own_netns: int, cpus: int, pid_namespace: int = FIRST_PID_NAMESPACE
) -> ProgramText:
    """Return the whole program for the running kernel; namespaces by the inode numbers of tcptrace's own.

    Raises TcptraceError when the kernel lacks something without which nothing works.
    """
    macros, lost_fields = field_macros(btf)
    present = {point: btf.tracepoint_arguments(point.name) for point in _compiled_tracepoints(settings)}
    wanted = wanted_tracepoints(settings)
    lost_points = [what for point in wanted for what in losses(point, present[point])]
    if present[TRACEPOINTS[0]] is None:
        raise TcptraceError("this kernel has no tracepoint sock:inet_sock_set_state", "tcptrace needs Linux 5.8 or newer")
    if settings.filters.cgroup and btf.member("sock", "sk_cgrp_data.cgroup") is None:
        raise TcptraceError(
            "--cgroup: this kernel does not tell the cgroup of a socket", "leave it out, or use Linux 5.15 or newer"
        )
    if not btf.has_function("bpf_ringbuf_reserve"):
        raise TcptraceError("this kernel has no BPF ring buffers", "tcptrace needs Linux 5.8 or newer")
    entries = table_entries(settings.ring_bytes, settings.max_connections, cpus, counts=settings.counts)
    constants = Constants()
    own = constants.text(own_netns)
    head = [
        "".join(_setting_macros(btf, settings)),
        f"#define OWN_NETNS {own}\n",
        f"#define WITH_OWNERS {constants.text(int(settings.owners))}\n",
        f"#define WITH_SLOTS (CASTS && MOSTLY({constants.text(int(entries['slots'] > 1))}))\n",
        f"#define SLOTS {constants.text(entries['slots'])}\n",
        f"#define WITH_TALLIES MOSTLY({constants.text(int(settings.counts))})\n",
        f"#define TALLY_ROWS {constants.text(tally_rows(cpus))}\n",
        f"#define WHOLE_RECORDS RARELY({constants.text(int(settings.whole_records))})\n",
        f"#define TICK_US {constants.text(tick_us())}\n",
        f"#define TICK_MS {constants.text(0 if tick_us() % 1000 else tick_us() // 1000)}\n",
        f"#define WAKE_MASK {constants.text(wake_mask(entries['events'], cpus, whole=settings.whole_records))}\n",
        f"#define PID_NAMESPACE {constants.text(pid_namespace)}\n" if pid_namespace != FIRST_PID_NAMESPACE else "",
        filter_macros(settings.filters, constants),
        macros,
        "".join(_tracepoint_macros(present)),
        *(_file(name) for name in HEADERS),
        parse_layout(read_source("event.h")).assertions(),
        parse_tables(read_source("places.h"), "places.h").assertions(),
    ]
    files = dict.fromkeys(point.file for point in present if point.file != TYPED)
    attached = tuple(point for point in wanted if present[point] is not None)
    lost_sockets = lost_of_lists(btf) if settings.snapshots else ()
    missing = tuple(dict.fromkeys([*lost_points, *lost_fields, *lost_sockets]))
    others = "".join(_file(name) for name in (*files, *ITERATORS))
    cast = max(btf.function("bpf_rdonly_cast"), 0) if btf.structure("timespec64") > 0 else 0
    return ProgramText("".join(head), _file(TYPED), others, attached, missing, constants.values, entries, cast)


def losses(point: Tracepoint, arguments: int | None) -> tuple[str, ...]:
    """Return what is missing on a kernel that passes so many arguments to a tracepoint, None where it has no such one."""
    if arguments is None:
        return (point.loses,) if point.loses else ()
    return point.optional.loses if point.optional and not has_optional_argument(point, arguments) else ()


def lists_bound_ports(btf: Btf) -> bool:
    """Say whether the list of sockets has those that bind() gave a port and that have not connected yet."""
    return btf.has_name("TCP_BOUND_INACTIVE")


def lost_of_lists(btf: Btf) -> tuple[str, ...]:
    """Return what is missing in the kernel's list of sockets."""
    return () if lists_bound_ports(btf) else ("ports that bind() holds before connect()",)


def has_optional_argument(point: Tracepoint, arguments: int | None) -> bool:
    """Say whether the kernel passes a tracepoint's optional argument."""
    return point.optional is not None and (arguments or 0) > 2


def wanted_tracepoints(settings: Settings) -> tuple[Tracepoint, ...]:
    """Return those that a run with these settings looks at, whether the kernel has them or not."""
    return tuple(point for point in _compiled_tracepoints(settings) if _is_set(settings, point.attached_for))


def _compiled_tracepoints(settings: Settings) -> tuple[Tracepoint, ...]:
    return tuple(point for point in TRACEPOINTS if _is_set(settings, point.only_for))


def _is_set(settings: Settings, name: str | None) -> bool:
    return name is None or bool(getattr(settings, name))


def allocates_on_demand(btf: Btf) -> bool:
    """Say whether the entries of small tables are allocated when they are needed, and not all at the start.

    That is safe in tracing programs since the hash table has the BPF allocator (Linux 6.1).
    """
    return btf.has_function("bpf_mem_alloc_init")


def tick_us() -> int:
    """Return how many microseconds the kernel takes one of its ticks for: a coarse clock moves by ticks (TICK_NSEC)."""
    return int(time.clock_getres(CLOCK_MONOTONIC_COARSE) * 1e9) // 1000


def _setting_macros(btf: Btf, settings: Settings) -> list[str]:
    values = {
        "ON_DEMAND": int(allocates_on_demand(btf)),
        "THREAD_BYTES": max(THREAD_BYTES, mmap.PAGESIZE),
        "EMIT_STATES": int(settings.states or settings.follow),
        "EMIT_FOLLOW": int(settings.follow),
        "WORD_TYPE": btf.structure("timespec64"),
        "TCP_TYPE": btf.structure("tcp_sock"),
    }
    return [f"#define {name} {value}\n" for name, value in values.items()]


def _tracepoint_macros(present: dict[Tracepoint, int | None]) -> list[str]:
    lines = []
    for point, count in present.items():
        lines.append(f"#define HAVE_{point.name} {int(count is not None)}\n")
        if point.optional:
            lines.append(f"#define HAVE_{point.optional.macro} {int(has_optional_argument(point, count))}\n")
    return lines


def _file(name: str) -> str:
    return f'#line 1 "bpf/{name}"\n{read_source(name)}'
