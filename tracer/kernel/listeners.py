"""On which TCP ports a process listens, from /proc: what the pid filter needs to know of servers older than the tracer."""

from __future__ import annotations

import os

LISTEN = "0A"


def listening_ports(pid: int) -> set[tuple[int, int]]:
    """Return (network namespace inode, port) of the process's listening sockets; empty when it has gone."""
    inodes = _socket_inodes(pid)
    try:
        netns = os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return set()
    listeners = _listeners(f"/proc/{pid}/net/tcp") + _listeners(f"/proc/{pid}/net/tcp6")
    return {(netns, port) for port, inode in listeners if inode in inodes}


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


def _listeners(path: str) -> list[tuple[int, str]]:
    """Return (port, inode) of the lines of /proc/net/tcp in state LISTEN; a kernel without IPv6 has no tcp6."""
    try:
        with open(path, encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:]]
    except OSError:
        return []
    return [(int(row[1].rsplit(":", 1)[1], 16), row[9]) for row in rows if row[3] == LISTEN]
