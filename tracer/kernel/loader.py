"""The short root process: compile, attach, hand the descriptors over, leave.

Runs under the distribution's Python, with the standard library, libbpf and bcc only, since these come from the distribution and
no code of a virtual environment should run as root longer than it must. The compiler's memory leaves with it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import socket
import struct
import sys

from tracer.errors import TcptraceError
from tracer.kernel.attached import Attached, attach_programs, lift_memory_limit, run_once
from tracer.kernel.bpf import ProgramRefusedError, create_table, keys_of, put_new
from tracer.kernel.btf import Btf
from tracer.kernel.bytecode import Table, put_together
from tracer.kernel.filters import Filters
from tracer.kernel.handles import open_handles
from tracer.kernel.handoff import Loaded, receive_asked, send_error, send_loaded
from tracer.kernel.listeners import find_listening
from tracer.kernel.privileges import missing_capability
from tracer.kernel.programs import ProgramText, program_text, wanted_tracepoints
from tracer.kernel.settings import Reads, Settings
from tracer.kernel.sizes import MAX_LISTENERS

ITERATOR = "bpf_iter_task_file"
"""The kernel's name for what holders.c goes through; the program in it is called on_holders."""

OWNERS_BEFORE = "the processes of servers that listened before the start"

SMALLEST = Table("smallest", type=9, key_bytes=4, value_bytes=4, entries=1, flags=0)
"""A table of a type (BPF_MAP_TYPE_LRU_HASH) that nobody may make unprivileged, whatever sysctls say."""

UNLOCK = "boot with lockdown=integrity or none"


def main(channel_fd: int) -> None:
    """Do all of the loader's work and end the process; the outcome goes over the channel, never up the stack."""
    channel = socket.socket(fileno=channel_fd)
    with contextlib.suppress(BrokenPipeError):  # whoever waited for it was ended meanwhile
        send_outcome(channel)
    # without the interpreter's tidying up, which takes time and can change nothing any more
    sys.stderr.flush()
    os._exit(0)


def send_outcome(channel: socket.socket) -> None:
    """Load what is asked for, and send what was opened or the error that stopped it.

    Raises BrokenPipeError where nobody waits any more.
    """
    try:
        try:
            btf = kernel_types()
        finally:  # in any case: what is unread when this process ends would be the reader's error
            asked = receive_asked(channel)
        send_loaded(channel, load(btf, settings_from_json(asked)))
    except TcptraceError as error:
        send_error(channel, error)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - nothing else reports errors here
        import traceback  # noqa: PLC0415 - only here, and it takes its time

        traceback.print_exc()
        send_error(channel, TcptraceError(f"the loader failed: {error}", "please report this with what is above"))


def settings_from_json(text: str) -> Settings:
    """Return the settings that the main process wrote with dataclasses.asdict."""
    document = json.loads(text)
    filters = document.pop("filters")
    filters["ports"], filters["addresses"] = tuple(filters["ports"]), tuple(filters["addresses"])
    return Settings(filters=Filters(**filters), reads=Reads(document.pop("reads")), **document)


def kernel_types() -> Btf:
    """Return the kernel's types; raises TcptraceError where they cannot be had, or no BPF is allowed, whatever is asked for."""
    if lacking := missing_capability():
        raise lacking
    if lockdown() == "confidentiality":
        raise TcptraceError("the kernel is locked down (confidentiality): BPF may not read its memory", UNLOCK)
    btf = Btf()
    if refused := refusal():
        raise refused
    return btf


def load(btf: Btf, settings: Settings) -> Loaded:
    """Compile and attach, and return the open descriptors; raises TcptraceError with the remedy for whatever is missing."""
    own_netns = os.stat("/proc/self/ns/net").st_ino
    cpus = possible_cpus()
    program = program_text(btf, settings, own_netns, cpus, os.stat("/proc/self/ns/pid").st_ino)
    try:
        attached = attach_programs(btf, program, settings.reads)
    except OSError as error:
        raise explain_refusal(error) from error
    tables = attached.tables
    seed_listeners(tables["listening"])
    held = seed_holders(btf, attached, program)
    unknown = (OWNERS_BEFORE,) if settings.owners and not held else ()
    names = [point.name for point in program.tracepoints]
    return Loaded(
        ring=tables["events"],
        counters=tables["counters"],
        programs={name: (attached.programs[name], attached.attachments[name]) for name in names},
        held=tuple(fd for name, fd in attached.attachments.items() if name not in names),
        ring_bytes=program.entries["events"],
        cpus=cpus,
        own_netns=own_netns,
        kernel=os.uname().release,
        bcc=attached.bytecode.bcc,
        reads=attached.reads,
        whole_records=settings.whole_records,
        missing=program.missing + unknown,
        absent=tuple(point.name for point in wanted_tracepoints(settings) if point.name not in names),
        reset_reasons=reset_reasons(btf),
        accepted=ports_in(tables["accepted"]),
        bound=ports_in(tables["bound"]),
        tallies=tuple(tables[name] for name in ("places", "tallies", "stays")) if settings.counts else (),
        tally_rows=program.entries["tallies"],
        handles=tuple(open_handles(own_only=settings.filters.own_netns)) if settings.snapshots or settings.follow else (),
    )


def ports_in(table: int) -> tuple[int, ...]:
    """Return the ports that are keys of a table, as in Loaded.accepted."""
    return tuple(int.from_bytes(key, sys.byteorder) for key in keys_of(table, 8))


def reset_reasons(btf: Btf) -> dict[int, str]:
    """Return the running kernel's reasons for a reset by number, in lower case without what all have in front."""
    return {number: name.removeprefix("SK_RST_REASON_").lower() for number, name in btf.enumerators("sk_rst_reason").items()}


def refusal() -> TcptraceError | None:
    """Return why the kernel takes not even the smallest table, None where it does.

    Capabilities do not tell: those of a container with a user namespace of its own do not count, and seccomp can forbid bpf().
    """
    lift_memory_limit()
    try:
        os.close(create_table(SMALLEST, SMALLEST.entries))
    except OSError as error:
        return explain_refusal(error)
    return None


def explain_refusal(error: OSError) -> TcptraceError:
    """Return what stopped the kernel as a sentence with a remedy, with the last lines that the verifier wrote."""
    name, said = (error.name, error.said) if isinstance(error, ProgramRefusedError) else ("", "")
    what = f"the kernel refused the BPF programs: {name}: {error.strerror}\n{said}".replace(": : ", ": ").rstrip()
    if lockdown() not in {"none", ""}:
        return TcptraceError(what, f"the kernel is locked down ({lockdown()}): {UNLOCK}")
    if error.errno == errno.EPERM:
        return TcptraceError(what, "BPF is not allowed here: in a container add CAP_BPF and CAP_PERFMON, or run on the host")
    return TcptraceError(what, "please report this with the output of 'tcptrace doctor'")


def lockdown() -> str:
    """Return the kernel's lockdown mode: none, integrity or confidentiality; empty when it has no such thing."""
    try:
        with open("/sys/kernel/security/lockdown", encoding="ascii") as file:
            text = file.read()
    except OSError:
        return ""
    return text[text.find("[") + 1 : text.find("]")]


def possible_cpus() -> int:
    """Return one more than the highest CPU number that this kernel can ever use."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
        return int(file.read().strip().replace("-", ",").split(",")[-1]) + 1


def seed_listeners(table: int) -> None:
    """Tell the programs which ports were listened on already; what began since they were attached they have seen themselves."""
    for (netns, port), sockets in itertools.islice(find_listening().items(), MAX_LISTENERS):
        with contextlib.suppress(FileExistsError):
            put_new(table, struct.pack("=Q", netns << 16 | port), struct.pack("=I", sockets))


def seed_holders(btf: Btf, attached: Attached, program: ProgramText) -> bool:
    """Tell the programs who held which sockets already (bpf/holders.c); returns whether this kernel could be asked."""
    code = put_together(attached.bytecode.programs["on_holders"], attached.tables, program.constants, program.cast)
    try:
        run_once("holders", code, btf.function(ITERATOR))
    except OSError:
        return False
    return True
