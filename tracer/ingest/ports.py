"""Ephemeral ports: those that the kernel may give to a connect(), from two sysctls of each network namespace."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tracer.errors import TcptraceError


@dataclass(frozen=True)
class EphemeralPorts:
    """A namespace's range, both ends included, and which of it are reserved; known: whether the namespace said so itself."""

    low: int
    high: int
    reserved: frozenset[int] = frozenset()
    known: bool = True

    @property
    def limit(self) -> int:
        """How many there are: so many connections from one address to one address and port."""
        return self.high - self.low + 1 - sum(self.low <= port <= self.high for port in self.reserved)


UNKNOWN_PORTS = EphemeralPorts(32768, 60999, known=False)
"""What a new namespace begins with (inet_init_net() in net/ipv4/af_inet.c)."""


def parse_ports(port_range: bytes, reserved: bytes) -> EphemeralPorts:
    """Return the ports from the text of ip_local_port_range (two numbers) and of ip_local_reserved_ports (`8080,9148-9150`).

    Raises ValueError for anything else.
    """
    low, high = map(int, port_range.split())
    spans = [span.partition(b"-") for span in reserved.split(b",") if span.strip()]
    ports = (port for first, _, last in spans for port in range(int(first), int(last or first) + 1))
    return EphemeralPorts(low, high, frozenset(ports))


def read_ports(range_fd: int, reserved_fd: int) -> EphemeralPorts:
    """Return what the two open sysctl files say now; raises TcptraceError when they cannot be read."""
    try:
        return parse_ports(os.pread(range_fd, 4096, 0), _whole(reserved_fd))
    except (OSError, ValueError) as error:
        raise TcptraceError(f"cannot read the range of ephemeral ports: {error}", "mount /proc with /proc/sys") from error


def _whole(fd: int) -> bytes:
    """Return a file that may be longer than a page: the kernel writes as much as is asked for."""
    return os.pread(fd, 1 << 16, 0)
