"""Which process has a socket open, from /proc/*/fd: of other users' processes only as root.

The kernel does not tell with the socket, and looking costs a system call for every open file of the machine; so it is done
once, for a question of a person, and never by what runs all the time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tracer.errors import TcptraceError
from tracer.ingest.names import name_text
from tracer.kernel.processes import process_ids

PROC = Path("/proc")
_PREFIX = "socket:["


@dataclass(frozen=True, order=True)
class Owner:
    """A process."""

    pid: int
    process: str


def find_owners(inodes: Collection[int]) -> tuple[dict[int, Owner], int]:
    """Return the owner of each of these sockets, as far as they are found, and how many processes could not be looked into.

    Of several that share a socket (a server and its workers) it is the one with the smallest pid.
    """
    wanted = {f"{_PREFIX}{inode}]": inode for inode in inodes}
    found: dict[int, Owner] = {}
    closed = 0
    for pid in process_ids() if wanted else []:
        try:
            held = {wanted[target] for target in _targets(pid) if target in wanted}
        except PermissionError:
            closed += 1
            continue
        for inode in held - found.keys():
            found[inode] = Owner(pid, process_name(pid))
    return found, closed


def inodes_of(pid: int) -> set[int]:
    """Return the inodes of the sockets that a process has open; raises TcptraceError when it may not be asked."""
    try:
        targets = list(_targets(pid))
    except PermissionError as error:
        raise TcptraceError(f"the sockets of process {pid} are not shown to you", "ask as root, or as its user") from error
    return {int(target[len(_PREFIX) : -1]) for target in targets if target.startswith(_PREFIX)}


def _targets(pid: int) -> Iterator[str]:
    """Yield what each open file of a process is; raises PermissionError when it may not be asked."""
    try:
        files = list((PROC / str(pid) / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return
    for file in files:
        try:
            yield str(file.readlink())
        except (FileNotFoundError, ProcessLookupError):
            continue  # closed in the meantime


def process_name(pid: int) -> str:
    """Return a process's name, `` when it has ended."""
    try:
        return name_text((PROC / str(pid) / "comm").read_bytes())
    except OSError:
        return ""
