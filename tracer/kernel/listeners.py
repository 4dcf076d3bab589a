"""Which TCP ports are listened on, from /proc: what the programs cannot have seen, because it was so before they started.

A listening socket need not belong to a process: the kernel's own servers have none. So these are read beside bpf/holders.c.
"""

from __future__ import annotations

import contextlib
import itertools
import os

from tracer.kernel.processes import process_ids

LISTEN_STATE = "0A"


def find_listening() -> dict[tuple[int, int], int]:
    """Return how many sockets listen, by (network namespace, port), in all namespaces that a process lives in."""
    ports: dict[tuple[int, int], int] = {}
    for place in _listening_sockets().values():
        ports[place] = ports.get(place, 0) + 1
    return ports


def _listening_sockets() -> dict[str, tuple[int, int]]:
    """Return (network namespace, port) by inode."""
    sockets = {}
    for netns, pids in _namespaces().items():
        for port, inode in _first_answer(netns, pids):
            sockets[inode] = (netns, port)
    return sockets


def _namespaces() -> dict[int, list[int]]:
    """Return the processes that live in each network namespace, this one first."""
    found: dict[int, list[int]] = {}
    for pid in [os.getpid(), *process_ids()]:
        with contextlib.suppress(OSError):  # ended in the meantime
            found.setdefault(_namespace_of(pid), []).append(pid)
    return found


def _namespace_of(pid: int) -> int:
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def _first_answer(netns: int, pids: list[int]) -> list[tuple[int, str]]:
    """Return the listeners of a namespace as the first of its processes shows them that still lives, and still lives there."""
    for pid in pids:
        with contextlib.suppress(OSError):
            rows = _rows(f"/proc/{pid}/net/tcp") + _rows_of_ipv6(pid)
            if _namespace_of(pid) == netns:
                return rows
    return []


def _rows_of_ipv6(pid: int) -> list[tuple[int, str]]:
    """Return nothing for a kernel without IPv6, which has no tcp6."""
    try:
        return _rows(f"/proc/{pid}/net/tcp6")
    except FileNotFoundError:
        return []


def _rows(path: str) -> list[tuple[int, str]]:
    """Return (port, inode) of the lines of /proc/net/tcp in state LISTEN.

    They come before all others, of which a busy machine has very many. The kernel gives the file a page at a time, and can
    pass over a line when the table changes in between, so that it is read twice.
    """
    return list(dict.fromkeys(_listening_rows(path) + _listening_rows(path)))


def _listening_rows(path: str) -> list[tuple[int, str]]:
    with open(path, encoding="ascii") as file:
        next(file)
        rows = itertools.takewhile(lambda row: row[3] == LISTEN_STATE, map(str.split, file))
        return [(int(row[1].rsplit(":", 1)[1], 16), row[9]) for row in rows]
