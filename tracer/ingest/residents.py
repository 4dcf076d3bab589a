"""Which processes live in which network namespaces, told by any process of any other, unprivileged.

/proc/PID/ns/net is for those who may trace a process. But /proc/PID/net is for everybody: it is the namespace's own directory,
and its files have inode numbers of that namespace alone. So that of net/tcp tells namespaces apart, and who lives in them.
Such a file is opened for one reading and keeps no namespace alive. Where /proc hides processes (hidepid, ProtectProc=), and in
a pid namespace, only those that it shows are found.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from tracer.kernel.handles import TABLE, named_paths
from tracer.kernel.processes import process_ids


def identity_of(pid: int) -> int | None:
    """Return the inode that tells a process's network namespace; None when it has ended, or is hidden."""
    try:
        return Path(f"/proc/{pid}/{TABLE}").stat().st_ino
    except OSError:
        return None


def find_residents() -> dict[int, int]:
    """Return one process that lives in each network namespace, by the namespace's identity; a look at every process."""
    found: dict[int, int] = {}
    for pid in process_ids():
        if (identity := identity_of(pid)) is not None:
            found.setdefault(identity, pid)
    return found


def find_named() -> dict[int, str]:
    """Return the path of each network namespace that `ip netns` lists, by its inode."""
    found: dict[int, str] = {}
    for path in named_paths():
        with contextlib.suppress(OSError):  # deleted in the meantime
            found[Path(path).stat().st_ino] = path
    return found


def number_of(pid: int) -> int | None:
    """Return the inode of a process's network namespace itself; None without the right to trace that process."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None


def is_at(path: str, netns: int) -> bool:
    """Return whether a path leads to this network namespace."""
    try:
        return Path(path).stat().st_ino == netns
    except OSError:
        return False
