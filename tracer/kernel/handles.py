"""A handle of each network namespace: what reads its sockets unprivileged, opened while there still are some.

sock_diag answers for the namespace in which its socket was made, and a sysctl file for the one in which it was opened, whoever
reads them later. The socket keeps its namespace alive for as long as it is open (the file does not), so that a handle carries
what tells later, unprivileged, whether anybody else does: see ingest/namespaces.py, which closes it when nobody does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from tracer.kernel.processes import process_ids

MAX_NAMESPACES = 64
"""Of which sockets are seen; their descriptors fit into the one message of the loader (253 at most)."""

NETLINK_SOCK_DIAG = 4
CLONE_NEWNET = 0x40000000
OWN = "/proc/thread-self/ns/net"
NAMED = "/run/netns"
PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
RESERVED_PORTS = "/proc/sys/net/ipv4/ip_local_reserved_ports"
TABLE = "net/tcp"
"""Of a process in /proc. The inode of this file is that of one network namespace, and anybody may see it."""


@dataclass(frozen=True)
class NamespaceHandle:
    """What is open in a network namespace (by its inode): a sock_diag socket, and the sysctls of the ephemeral ports.

    identity: inode of TABLE of whoever lives there. path: of the namespace, by which it was found.
    """

    netns: int
    identity: int
    path: str
    diag: int
    port_range: int
    reserved_ports: int

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """All of them, as they belong to whoever holds this."""
        return self.diag, self.port_range, self.reserved_ports

    def close(self) -> None:
        """Close all of them."""
        for fd in self.descriptors:
            os.close(fd)


def open_handles(*, own_only: bool) -> list[NamespaceHandle]:
    """Return a handle of tcptrace's own namespace, first, and of all others that processes live in or that have a name.

    What may not be entered is left out: unprivileged, that is every other one. At most MAX_NAMESPACES; none at all where the
    kernel has no sock_diag. Only the calling thread enters them.
    """
    own = os.stat(OWN).st_ino
    try:
        handles = [_open_here(own, OWN)]
    except OSError:
        return []
    others = {} if own_only else {netns: path for netns, path in find_namespaces().items() if netns != own}
    for netns, path in others.items():
        if len(handles) == MAX_NAMESPACES:
            break
        with contextlib.suppress(OSError), _inside(path):
            handles.append(_open_here(netns, path))
    return handles


def find_namespaces() -> dict[int, str]:
    """Return a path of every network namespace that can be seen, by inode: of /proc/*/ns/net, then of `ip netns`."""
    found: dict[int, str] = {}
    for path in _paths():
        with contextlib.suppress(OSError):  # ended in the meantime, or another user's
            found.setdefault(os.stat(path).st_ino, path)
    return found


def _paths() -> Iterator[str]:
    yield from (f"/proc/{pid}/ns/net" for pid in process_ids())
    yield from named_paths()


def named_paths() -> list[str]:
    """Return the paths of the namespaces that `ip netns` lists."""
    try:
        return [f"{NAMED}/{name}" for name in os.listdir(NAMED)]
    except OSError:
        return []


def _open_here(netns: int, path: str) -> NamespaceHandle:
    opened: list[int] = []
    try:
        identity = os.stat(f"/proc/thread-self/{TABLE}").st_ino
        opened.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG).detach())
        opened += [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in (PORT_RANGE, RESERVED_PORTS)]
        return NamespaceHandle(netns, identity, path, *opened)
    except OSError:
        for fd in opened:
            os.close(fd)
        raise


@contextlib.contextmanager
def _inside(path: str) -> Iterator[None]:
    """Have this thread in a network namespace; raises OSError when it may not enter."""
    libc = ctypes.CDLL(None, use_errno=True)
    before, there = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC), -1
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _enter(libc, there)
        try:
            yield
        finally:
            _enter(libc, before)
    finally:
        for fd in (before, there):
            if fd >= 0:
                os.close(fd)


def _enter(libc: ctypes.CDLL, fd: int) -> None:
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
