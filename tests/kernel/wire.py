"""The other end of a wire, played by the test: IPv4 segments read from and written to a TUN device, byte by byte as wanted.

For what no real peer can be made to do, such as a reset in the middle of two sides opening at once.
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

from tests.kernel.net import Namespace
from tests.kernel.relay import open_tun
from tests.kernel.until import PATIENCE
from tests.needs import tool

HERE, THERE = "10.25.0.1", "10.25.0.2"
"""The address of the namespace's end of the wire, and the one that is played."""


@dataclass(frozen=True)
class Segment:
    """A TCP segment without options."""

    sport: int
    dport: int
    sequence: int
    acknowledgment: int
    flags: int
    data: bytes = b""


class Wire:
    """The played end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self) -> Segment:
        """Wait for the next TCP segment."""
        while True:
            assert select.select([self._fd], [], [], PATIENCE)[0], "no segment came"
            packet = os.read(self._fd, 65_536)
            if packet[0] >> 4 == 4 and packet[9] == 6:
                tcp = packet[(packet[0] & 15) * 4 :]
                data = tcp[(tcp[12] >> 4) * 4 :]
                sport, dport, sequence, acknowledgment = struct.unpack_from(">HHII", tcp)
                return Segment(sport, dport, sequence, acknowledgment, tcp[13], data)

    def hear(self, flags: int) -> Segment:
        """Wait for a segment with these flags."""
        while (segment := self.read()).flags & flags != flags:
            pass
        return segment

    def write(self, segment: Segment) -> None:
        """Send a segment from THERE to HERE; an even number of bytes, as its checksum is taken of words."""
        assert len(segment.data) % 2 == 0
        ends = IPv4Address(THERE).packed + IPv4Address(HERE).packed
        tcp = struct.pack(
            ">HHIIBBHHH",
            *(segment.sport, segment.dport, segment.sequence, segment.acknowledgment),
            *(5 << 4, segment.flags, 65_535, 0, 0),
        )
        tcp += segment.data
        pseudo = ends + struct.pack(">HH", 6, len(tcp))
        tcp = tcp[:16] + _checksum(pseudo + tcp) + tcp[18:]
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + ends
        os.write(self._fd, ip[:10] + _checksum(ip) + ip[12:] + tcp)


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)


@contextmanager
def wire(side: Namespace) -> Iterator[Wire]:
    """Yield the far end of a device that the namespace has."""
    fd = open_tun(side, "wire")
    try:
        side.run(tool("ip"), "-batch", "-", text=f"link set wire up\naddress add {HERE}/24 dev wire")
        yield Wire(fd)
    finally:
        os.close(fd)
