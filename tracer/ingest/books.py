"""The kernel's own books: the TCP counters of this network namespace, from /proc/net/snmp."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tracer.errors import TcptraceError

SNMP = "/proc/net/snmp"


@dataclass(frozen=True)
class Books:
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


class KernelBooks:
    """The open file of this network namespace's counters; read anew at every call."""

    def __init__(self) -> None:
        try:
            self._fd = os.open(SNMP, os.O_RDONLY)
        except OSError as error:
            raise TcptraceError(f"cannot read {SNMP}: {error.strerror}", "mount /proc") from error

    def read(self) -> dict[str, int]:
        """Return the present TCP counters by name."""
        return parse_snmp(os.pread(self._fd, 1 << 16, 0))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
