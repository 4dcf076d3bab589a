"""Who listens on which TCP port, from /proc: what the programs cannot have seen, because it was so before they started."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from dataclasses import dataclass

LISTEN = "0A"

SEARCH_SECONDS = 0.2
"""How long owners are looked for; a machine with very many open files gets its ports without names."""


@dataclass(frozen=True)
class Listener:
    """A port with listening sockets: network namespace (inode), how many sockets, and one owner; pid 0 if not found."""

    netns: int
    port: int
    sockets: int
    pid: int
    process: bytes


def find_listeners(preferred_pid: int | None = None) -> list[Listener]:
    """Return all listening ports of all network namespaces that a process lives in, each with its owner.

    preferred_pid: the owner to name where several processes share a socket (a server and its workers).
    """
    sockets = _listening_sockets()
    owners = _owners(set(sockets), preferred_pid)
    ports: dict[tuple[int, int], list[str]] = {}
    for inode, place in sockets.items():
        ports.setdefault(place, []).append(inode)
    return [_listener(place, [owners.get(inode, 0) for inode in inodes], preferred_pid) for place, inodes in ports.items()]


def _listener(place: tuple[int, int], pids: list[int], preferred_pid: int | None) -> Listener:
    pid = preferred_pid if preferred_pid in pids else max(pids)
    return Listener(*place, len(pids), pid or 0, _process_name(pid or 0))


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
    for pid in [os.getpid(), *_pids()]:
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


def _owners(inodes: set[str], preferred_pid: int | None) -> dict[str, int]:
    """Return a pid by inode, as far as the time allows; the preferred process is looked at first."""
    owners: dict[str, int] = {}
    deadline = time.monotonic() + SEARCH_SECONDS
    first = [] if preferred_pid is None else [preferred_pid]
    for pid in first + _pids():
        for inode in _socket_inodes(pid) & inodes:
            owners.setdefault(inode, pid)
        if len(owners) == len(inodes) or time.monotonic() > deadline:
            break
    return owners


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _socket_inodes(pid: int) -> set[str]:
    inodes: set[str] = set()
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return inodes
    for name in names:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue  # closed in the meantime
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes


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
        rows = itertools.takewhile(lambda row: row[3] == LISTEN, map(str.split, file))
        return [(int(row[1].rsplit(":", 1)[1], 16), row[9]) for row in rows]


def _process_name(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().rstrip(b"\n")
    except OSError:
        return b""
