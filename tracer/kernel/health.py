"""The doctor's examination: every condition that loading and running need, tested for real, with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tracer.errors import TcptraceError
from tracer.kernel import confinement
from tracer.kernel.btf import Btf
from tracer.kernel.cache import directory, is_kept
from tracer.kernel.fields import field_macros
from tracer.kernel.filters import Filters
from tracer.kernel.launch import load_programs, privileges_hint
from tracer.kernel.loader import UNLOCK, lockdown, refusal
from tracer.kernel.machine import machine_obstacle
from tracer.kernel.privileges import missing_capability, unprivileged_user
from tracer.kernel.programs import TRACEPOINTS, Tracepoint, losses, lost_of_lists
from tracer.kernel.settings import Reads, Settings
from tracer.kernel.sizes import ENTRY_BYTES, connection_entries
from tracer.kernel.starter import SYSTEM_PYTHON

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What sudo searches on Debian and Ubuntu (secure_path)."""

INSTALLED = Path("/opt/tcptrace")


LOADED = {
    "run, record, report, audit": Settings(Filters()),
    "events --kind state": Settings(Filters(), states=True),
    "follow": Settings(Filters(), follow=True),
    "follow --segments": Settings(Filters(), follow=True, segments=True),
}
"""What the commands load, by their names."""

READS = {
    Reads.CASTS: "direct loads",
    Reads.TYPED: "direct loads; by helper calls, which cost more, where this kernel takes none",
    Reads.CALLS: "helper calls, which cost more: this kernel refuses direct loads",
}
"""How the kernel's memory is read, in words."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. status: ok, warning (something will be missing) or problem (a command would fail)."""

    name: str
    status: str
    detail: str
    remedy: str | None = None


def examine() -> list[Finding]:
    """Return all findings, in the order in which a start would meet them."""
    if obstacle := machine_obstacle():
        return [*_kernel(), Finding("machine", "problem", obstacle.what, obstacle.hint)]
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        *(_kernel, _types, _bcc, _lockdown, _privileges, _user),
        *(_confinement, _command),
    )
    findings = [finding for check in checks for finding in check()]
    if not any(finding.status == "problem" for finding in findings):
        findings += [*_load(), *_cache()]
    return findings


def _kernel() -> Iterator[Finding]:
    yield Finding("kernel", "ok", f"Linux {platform.release()} on {platform.machine()}; kernel headers are not needed")


def _types() -> Iterator[Finding]:
    try:
        btf = Btf()
        _, missing = field_macros(btf)
    except TcptraceError as error:
        yield Finding("kernel types (BTF)", "problem", error.what, error.hint)
        return
    yield Finding("kernel types (BTF)", "ok", "every required field found")
    for what in (*missing, *lost_of_lists(btf)):
        yield Finding("kernel types (BTF)", "warning", f"this kernel does not show {what}")
    for point in TRACEPOINTS:
        yield from _tracepoint(point, btf.tracepoint_arguments(point.name))
    yield _connection_table()
    yield _ring_buffers(btf)
    btf.close()


def _tracepoint(point: Tracepoint, arguments: int | None) -> Iterator[Finding]:
    if arguments is None and not point.loses:
        yield Finding("tracepoints", "problem", f"{point.name} does not exist: connections cannot be traced")
    for what in losses(point, arguments):
        lack = f"{point.name} does not exist" if arguments is None else f"{point.name} does not tell enough"
        yield Finding("tracepoints", "warning", f"this kernel does not show {what} ({lack})")


def _connection_table() -> Finding:
    entries = connection_entries(None)
    return Finding("connection table", "ok", f"{entries} entries, {entries * ENTRY_BYTES >> 20} MiB of kernel memory")


def _ring_buffers(btf: Btf) -> Finding:
    if btf.has_function("bpf_ringbuf_reserve"):
        return Finding("ring buffers", "ok", "supported")
    return Finding("ring buffers", "problem", "this kernel has no BPF ring buffers", "Linux 5.8 or newer is needed")


def _bcc() -> Iterator[Finding]:
    remedy = "apt-get install python3-bpfcc"
    command = [SYSTEM_PYTHON, "-I", "-c", "import bcc; bcc.BPF; print(bcc.__version__)"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        yield Finding("bcc", "problem", f"cannot run {SYSTEM_PYTHON}: {error.strerror}", f"apt-get install python3; {remedy}")
        return
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        yield Finding("bcc", "problem", f"{SYSTEM_PYTHON} cannot import it: {last[0]}", remedy)
    else:
        yield Finding("bcc", "ok", f"version {result.stdout.strip()} for {SYSTEM_PYTHON}")


def _cache() -> Iterator[Finding]:
    place = directory()
    if is_kept():
        yield Finding("compiled programs", "ok", f"kept in {place}: only the first start compiles")
    else:
        yield Finding("compiled programs", "ok", f"not kept: {place} has to be writable by root alone")


def _lockdown() -> Iterator[Finding]:
    mode = lockdown()
    if mode == "confidentiality":
        yield Finding("lockdown", "problem", "the kernel is locked down (confidentiality)", UNLOCK)
    else:
        yield Finding("lockdown", "ok", mode or "not in this kernel")


def _privileges() -> Iterator[Finding]:
    if lacking := missing_capability():
        yield Finding("privileges", "problem", lacking.what, privileges_hint())
        return
    try:
        refused = refusal()
    except TcptraceError as error:  # no libbpf
        refused = error
    if refused:
        yield Finding("privileges", "problem", refused.what, refused.hint)
    else:
        yield Finding("privileges", "ok", "BPF programs may be loaded")


def _user() -> Iterator[Finding]:
    try:
        user = unprivileged_user(None)
    except TcptraceError as error:
        yield Finding("user", "problem", error.what, error.hint)
    else:
        yield Finding("user", "ok", f"metrics are served as {user.name} (uid {user.uid}), unprivileged")


def _confinement() -> Iterator[Finding]:
    yield confined_by(confinement.version())


def confined_by(found: int) -> Finding:
    """Return what a version of Landlock keeps the serving process from; 0: there is none."""
    if not found:
        what = "this kernel has no Landlock, or it is not switched on (lsm=): the server is confined by its user alone"
        return Finding("confinement", "warning", what)
    network = (
        ", nor open connections" if found >= min(confinement.NETWORK) else "; it can open connections (Linux 6.7 denies them)"
    )
    return Finding("confinement", "ok", f"by Landlock {found}: the server cannot start programs or write files{network}")


def _command() -> Iterator[Finding]:
    """Debian's package tcptrace, an analyser of captures, has a command of the same name."""
    ours = Path(sys.argv[0]).resolve()
    first = shutil.which("tcptrace", path=ROOT_PATH)
    if first is None or Path(first).resolve() == ours or INSTALLED in Path(first).resolve().parents:
        yield Finding("command", "ok", str(ours))
    else:
        yield Finding(
            "command", "warning", f"'sudo tcptrace' starts {first}, another program", f"use {ours}, or 'make install'"
        )


def _load() -> Iterator[Finding]:
    """Load what each command loads, one after the other, and let go of it again."""
    for commands, settings in LOADED.items():
        try:
            loaded = load_programs(settings)
        except TcptraceError as error:
            yield Finding(commands, "problem", f"would fail: {error.what}", error.hint)
            continue
        for fd in (loaded.ring, loaded.counters, *loaded.held, *(fd for pair in loaded.programs.values() for fd in pair)):
            os.close(fd)
        for fd in (fd for handle in loaded.handles for fd in handle.descriptors):
            os.close(fd)
        how = READS[Reads(loaded.reads)]
        yield Finding(commands, "ok", f"all {len(loaded.programs)} programs load and attach; sockets are read by {how}")
