"""The short root process: compile, attach, hand the descriptors over, leave.

Runs under the distribution's Python, with the standard library and bcc only, since bcc comes from the distribution and no
code of a virtual environment should run as root longer than it must. The compiler's memory leaves with it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import platform
import resource
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator
from typing import Any

from tracer.errors import TcptraceError
from tracer.kernel.btf import Btf
from tracer.kernel.filters import Filters
from tracer.kernel.handoff import Loaded, send_error, send_loaded
from tracer.kernel.listeners import find_listening
from tracer.kernel.namespaces import open_doors
from tracer.kernel.privileges import missing_right
from tracer.kernel.programs import MAX_LISTENERS, ProgramText, Settings, program_text, ring_bytes, wanted_tracepoints
from tracer.kernel.sources import shipped

# bcc says what it thinks of code that is its own
CFLAGS = [
    "-Wall",
    "-Wno-unused-function",
    "-Wno-unused-variable",
    "-Wno-macro-redefined",
    "-Werror=implicit-function-declaration",
]

TRACING = 26
"""BPF_PROG_TYPE_TRACING in include/uapi/linux/bpf.h, which bcc's Python does not name everywhere."""

OWNERS_BEFORE = "the processes of servers that listened before the start"

UNLOCK = "boot with lockdown=integrity or none"

NO_DEBUG = "-g0"
"""Without debug information the start takes a tenth less; nothing that loads needs it."""


def main(channel_fd: int, settings_json: str) -> None:
    """Do all of the loader's work and end the process; the outcome goes over the channel, never up the stack."""
    channel = socket.socket(fileno=channel_fd)
    try:
        send_loaded(channel, load(settings_from_json(settings_json)))
    except TcptraceError as error:
        send_error(channel, error)
    except Exception as error:  # noqa: BLE001 - this process has no other door
        traceback.print_exc()
        send_error(channel, TcptraceError(f"the loader failed: {error}", "please report this with what is above"))
    # bcc's exit hook would switch the programs off again, and they are to live in the other process
    sys.stderr.flush()
    os._exit(0)


def settings_from_json(text: str) -> Settings:
    """Return the settings that the main process wrote with dataclasses.asdict."""
    document = json.loads(text)
    filters = document.pop("filters")
    filters["ports"], filters["addresses"] = tuple(filters["ports"]), tuple(filters["addresses"])
    return Settings(filters=Filters(**filters), **document)


def load(settings: Settings) -> Loaded:
    """Compile and attach, and return the open descriptors; raises TcptraceError with the remedy for whatever is missing."""
    if lacking := missing_right():
        raise lacking
    if lockdown() == "confidentiality":
        raise TcptraceError("the kernel is locked down (confidentiality): BPF may not read its memory", UNLOCK)
    bcc = import_bcc()
    btf = Btf()
    own_netns = os.stat("/proc/self/ns/net").st_ino
    cpus = possible_cpus()
    program = program_text(btf, settings, own_netns, cpus, os.stat("/proc/self/ns/pid").st_ino)
    bpf = compile_program(bcc, program)
    seed_listeners(bpf)
    unknown = () if seed_owners(bcc, bpf) else (OWNERS_BEFORE,)
    names = [point.name for point in program.tracepoints]
    functions = {name: bpf.load_func(f"raw_tracepoint__{name}", bcc.BPF.RAW_TRACEPOINT).fd for name in names}
    seconds = [attach_again(bcc, bpf, point.name) for point in program.tracepoints if point.twice]
    return Loaded(
        ring=bpf["events"].map_fd,
        counters=bpf["counters"].map_fd,
        programs={name: (fd, bpf.raw_tracepoint_fds[name.encode()]) for name, fd in functions.items()},
        held=tuple(seconds),
        ring_bytes=ring_bytes(settings, cpus),
        cpus=cpus,
        own_netns=own_netns,
        kernel=platform.release(),
        bcc=str(bcc.__version__),
        missing=program.missing + unknown,
        absent=tuple(point.name for point in wanted_tracepoints(settings) if point.name not in names),
        reset_reasons=reset_reasons(btf),
        doors=tuple(open_doors(own_only=settings.filters.own_netns)) if settings.snapshots or settings.follow else (),
    )


def reset_reasons(btf: Btf) -> dict[int, str]:
    """Return the running kernel's reasons for a reset by number, in lower case without what all have in front."""
    return {number: name.removeprefix("SK_RST_REASON_").lower() for number, name in btf.enumerators("sk_rst_reason").items()}


def import_bcc() -> Any:
    """Return the distribution's bcc module, and not the unrelated one of that name on PyPI."""
    try:
        import bcc  # noqa: PLC0415 - it takes root's time to import, and may be missing
    except (ImportError, OSError) as error:  # OSError: a library of its own is missing or damaged
        raise TcptraceError(
            f"cannot import bcc: {error}", "install the distribution's package: apt-get install python3-bpfcc"
        ) from error
    if not hasattr(bcc, "BPF"):
        raise TcptraceError(f"{next(iter(bcc.__path__))} is not the BPF Compiler Collection", "apt-get install python3-bpfcc")
    return bcc


def compile_program(bcc: Any, program: ProgramText) -> Any:
    """Compile, load and attach; what compiler or verifier say goes into the error."""
    os.environ["BCC_KERNEL_SOURCE"] = str(shipped("bpf") / "kernel")
    # before Linux 5.11 maps are charged against RLIMIT_MEMLOCK
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with captured_stderr() as said:
        try:
            return bcc.BPF(text=program.text, cflags=[*CFLAGS, NO_DEBUG])
        except Exception as error:  # bcc raises plain Exception for all that can go wrong
            with contextlib.suppress(Exception):
                bcc.BPF(text=program.text, cflags=CFLAGS)  # so that the verifier's log shows the lines of our files
            raise explain_refusal(error, said()) from error


def explain_refusal(error: Exception, said: str) -> TcptraceError:
    """Return what stopped bcc as a sentence with a remedy, with the last lines that compiler or verifier wrote."""
    detail = "\n".join(line for line in said.strip().splitlines()[-20:])
    what = f"the kernel refused the BPF programs: {error}" + (f"\n{detail}" if detail else "")
    if lockdown() not in {"none", ""}:
        return TcptraceError(what, f"the kernel is locked down ({lockdown()}): {UNLOCK}")
    if getattr(error, "errno", None) == errno.EPERM or "Operation not permitted" in f"{error}{said}":
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


def attach_again(bcc: Any, bpf: Any, name: str) -> int:
    """Attach the second program of a tracepoint behind its first; return the descriptor of the attachment.

    bcc's own function attaches one program to a tracepoint, so its C library is called.
    """
    second = bpf.load_func(f"again__{name}", bcc.BPF.RAW_TRACEPOINT)
    attached = int(bcc.lib.bpf_attach_raw_tracepoint(second.fd, name.encode()))
    if attached < 0:
        raise TcptraceError(f"cannot attach a second program to {name}", "please report this")
    return attached


def seed_listeners(bpf: Any) -> None:
    """Tell the programs which ports were listened on already; what began since they were attached they have seen themselves."""
    table = bpf["listening"]
    for (netns, port), sockets in itertools.islice(find_listening().items(), MAX_LISTENERS):
        key = table.Key(netns << 16 | port)
        if key not in table:
            table[key] = table.Leaf(sockets)


def seed_owners(bcc: Any, bpf: Any) -> bool:
    """Tell the programs which processes held listening sockets already; returns whether this kernel could be asked.

    bcc's Python does not know iterators, so its C library is called.
    """
    with captured_stderr():
        try:
            program = bpf.load_func("bpf_iter__task_file", TRACING)
        except Exception:  # noqa: BLE001 - bcc raises plain Exception
            return False
        link = bcc.lib.bcc_iter_attach(program.fd, None, 0)
        reader = bcc.lib.bcc_iter_create(link) if link >= 0 else -1
    if reader < 0:
        return False
    try:
        return not os.read(reader, 1)  # it writes nothing, and is at its end when all was seen
    finally:
        os.close(reader)
        os.close(link)
        os.close(program.fd)


@contextlib.contextmanager
def captured_stderr() -> Iterator[Any]:
    """Catch what C libraries write to descriptor 2; yields a function that returns it so far."""
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)

        def said() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield said
        finally:
            os.dup2(saved, 2)
            os.close(saved)
