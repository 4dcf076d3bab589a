"""The kernel's counters of this network namespace: TCP's in /proc/net/snmp, and some of TcpExt's in /proc/net/netstat."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tracer.errors import TcptraceError

SNMP = "/proc/net/snmp"
NETSTAT = "/proc/net/netstat"

EXTENDED = ("EmbryonicRsts", "ListenOverflows", "ListenDrops", "TCPReqQFullDrop", "TCPTimeWaitOverflow", "TCPRetransFail")
"""Those of TcpExt that are read; each reading is kept in recordings, and there are 130 of them."""


@dataclass(frozen=True)
class KernelCounts:
    """The kernel's counters right before and right after our own were read, by name (ActiveOpens, ...).

    Our counts belong to a moment in between, so that they agree whenever they lie between the two.
    """

    before: dict[str, int]
    after: dict[str, int]


def parse_snmp(text: bytes, protocol: str = "Tcp") -> dict[str, int]:
    """Return the counters of one protocol: two lines with its name, first the columns, then the values.

    Raises ValueError when they are not there.
    """
    lines = [line.split()[1:] for line in text.decode("ascii").splitlines() if line.startswith(f"{protocol}:")]
    if len(lines) != 2:
        raise ValueError(f"no counters of {protocol}")
    return {name: int(value) for name, value in zip(*lines, strict=True)}


class KernelCounters:
    """The open files of this network namespace's counters; read anew at every call."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}
        for path in (SNMP, NETSTAT):
            try:
                self._fds[path] = os.open(path, os.O_RDONLY)
            except OSError as error:
                self.close()
                raise TcptraceError(f"cannot read {path}: {error.strerror}", "mount /proc") from error

    def read(self) -> dict[str, int]:
        """Return the present counters by name: all of Tcp, and of TcpExt those in EXTENDED that this kernel has."""
        tcp, extended = parse_snmp(self._text(SNMP)), parse_snmp(self._text(NETSTAT), "TcpExt")
        return tcp | {name: extended[name] for name in EXTENDED if name in extended}

    def close(self) -> None:
        """Close the files."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}

    def _text(self, path: str) -> bytes:
        return os.pread(self._fds[path], 1 << 16, 0)
