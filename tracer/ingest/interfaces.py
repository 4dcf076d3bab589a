"""The interface of a link-local address, which is a part of it: fe80::1 on two links are two addresses.

In records and dumps its index stands in the second word of the 16 bytes, which RFC 4291 (2.5.6) has as zeros: so it is in
every key that has the address, and no key needs another member. Its name is asked for when such an address comes by, by
number of the network namespace and index (links.py where there is no socket of ours), and recordings have it; where
nothing tells, the index is shown.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.names import name_text

SIOCGIFNAME = 0x8910
LINK_LOCAL = 0xFE
"""The first byte of fe80::/10, and of few other addresses."""

_IFREQ = struct.Struct("=16si20x")

NAMES: dict[tuple[int, int], str] = {}
"""By (network namespace, index), as they were when last asked for."""


def is_link_local(addresses: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which addresses, shape (n, 16), are in fe80::/10; shape (n,)."""
    local: NDArray[np.bool_] = (addresses[:, 0] == LINK_LOCAL) & (addresses[:, 1] & 0xC0 == 0x80)
    return local


def split_address(address: bytes) -> tuple[bytes, int]:
    """Return an address as it is on the wire, and the index of its interface: 0 for none."""
    if address[0] != 0xFE or address[1] & 0xC0 != 0x80:
        return address, 0
    return address[:4] + bytes(4) + address[8:], int.from_bytes(address[4:8], "big")


def interface_text(netns: int, index: int) -> str:
    """Return what stands behind the % of an address."""
    return NAMES.get((netns, index), str(index))


def learn(netns: NDArray[np.uint32], addresses: NDArray[np.uint8], name_of: Callable[[int, int], str | None]) -> None:
    """Ask for the names of the interfaces of these addresses, shapes (n,) and (n, 16)."""
    places = np.flatnonzero(is_link_local(addresses))
    if not len(places):
        return
    for number, address in {(int(netns[at]), addresses[at].tobytes()[4:8]) for at in places}:
        key = number, int.from_bytes(address, "big")
        name = name_of(*key) if key[1] else None
        if name:
            NAMES[key] = name
        else:
            NAMES.pop(key, None)


def name_here(index: int) -> str | None:
    """Return the name of an interface of this process's network namespace."""
    try:
        return name_text(os.fsencode(socket.if_indextoname(index)))
    except OSError:
        return None


def name_there(fd: int, index: int) -> str | None:
    """Return the name of an interface of the network namespace in which a socket was made."""
    try:
        answer = fcntl.ioctl(fd, SIOCGIFNAME, _IFREQ.pack(b"", index))
    except OSError:
        return None
    return name_text(_IFREQ.unpack(answer)[0])
