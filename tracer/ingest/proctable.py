"""The TCP sockets of another process's network namespace, from its /proc/PID/net/tcp and tcp6, which anybody may read.

For namespaces into which there is no sock_diag socket: it costs ten times as much, tells no interface and no bind(), and the
length of no listener's queue. But it is unprivileged, and keeps no namespace alive.
Facts: net/ipv4/tcp_ipv4.c (get_tcp4_sock() and its two neighbours), tcp_ipv6.c; proc.c for /proc/PID/net/sockstat. Addresses
are words of 32 bits in hexadecimal, each as the machine reads it from memory; times are in hundredths of a second.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import socket
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.sockdiag import ALL_STATES, SOCKET, Sockets, joined, normalize
from tracer.kernel.handles import TABLE

CHUNK = 1 << 20

MOST_SOCKETS = 5_000
"""A longer table is not read: a socket takes 15 us, and several times that where they come and go by the thousand."""

AT_ONCE = 256
"""Lines that are taken apart together: each has some twenty words, which take a kilobyte until they are numbers."""

_FAMILIES = (("", socket.AF_INET), ("6", socket.AF_INET6))
_TCP = re.compile(rb"^TCP6?: inuse (\d+)(?: orphan \d+ tw (\d+))?", re.MULTILINE)


class ProcTable:
    """The sockets of the network namespace with this identity, as long as this process lives there.

    netns: the namespace's number. whole: whether the last read() gave both tables, which it does not where they are too long.
    """

    def __init__(self, pid: int, identity: int, netns: int) -> None:
        self.pid = pid
        self.identity = identity
        self.netns = netns
        self.whole = True

    def read(self, states: int = ALL_STATES) -> Sockets:
        """Return all sockets in these states (bits), of both families; none when the process has ended or moved."""
        self.whole = self._length() <= MOST_SOCKETS
        if not self.whole:
            return joined([])
        parts = [parse_table(self._text(suffix), family) for suffix, family in _FAMILIES]
        sockets = joined([normalize(part, self.netns) for part in parts if len(part)])
        chosen: Sockets = sockets[(states >> sockets["state"].astype(np.int64) & 1).astype(bool)]
        return chosen

    def _length(self) -> int:
        """Return how many sockets the kernel has counted there, timewait objects among them; 0 where it does not tell."""
        found = 0
        for suffix in ("", "6"):
            with contextlib.suppress(OSError):
                for counts in _TCP.findall(Path(f"/proc/{self.pid}/net/sockstat{suffix}").read_bytes()):
                    found += sum(int(count or 0) for count in counts)
        return found

    def _text(self, suffix: str) -> bytes:
        """Return a table's text; of a kernel without IPv6 the second one is empty."""
        try:
            fd = os.open(f"/proc/{self.pid}/{TABLE}{suffix}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.whole &= bool(suffix)
            return b""
        try:
            # the path may lead elsewhere since it was looked at
            if not suffix and os.fstat(fd).st_ino != self.identity:
                self.whole = False
                return b""
            return b"".join(iter(lambda: os.read(fd, CHUNK), b"")) if self.whole else b""
        except OSError:
            self.whole = False
            return b""
        finally:
            os.close(fd)


def parse_table(text: bytes, family: int) -> Sockets:
    """Return the sockets of a table as sock_diag would give them, before normalize(); lines that are none are left out."""
    lines = io.BytesIO(text)
    next(lines, b"")
    return joined([_parsed(some, family) for some in iter(lambda: list(itertools.islice(lines, AT_ONCE)), [])])


def _parsed(lines: list[bytes], family: int) -> Sockets:
    rows = [row for row in map(bytes.split, lines) if len(row) > 9]
    found = np.zeros(len(rows), SOCKET)
    if not rows:
        return found
    columns = list(zip(*(row[:10] for row in rows), strict=True))
    found["family"] = family
    for side, column in (("local", columns[1]), ("remote", columns[2])):
        addresses, ports = zip(*(end.split(b":") for end in column), strict=True)
        words = _numbers(addresses, ">u4").astype("=u4").view("u1").reshape(len(rows), -1)
        found[f"{side}_address"][:, : words.shape[1]] = words
        found[f"{side}_port"] = _numbers(ports, ">u2")
    found["state"] = _numbers(columns[3], "u1")
    found["wqueue"], found["rqueue"] = _numbers(columns[4], ">u4", b":").reshape(-1, 2).T
    timers, times = zip(*(timer.split(b":") for timer in columns[5]), strict=True)
    found["timer"], found["expires_ms"] = _numbers(timers, "u1"), [int(time, 16) * 10 for time in times]
    found["uid"], found["inode"] = [int(uid) for uid in columns[7]], [int(inode) for inode in columns[9]]
    return found


def _numbers(words: tuple[bytes, ...], kind: str, without: bytes = b"") -> NDArray[np.unsignedinteger]:
    """Return hexadecimal words, all as long as their kind says, as an array."""
    text = b"".join(words)
    return np.frombuffer(bytes.fromhex((text.replace(without, b"") if without else text).decode("ascii")), kind)
