"""A dump's sockets in columns, and their ends as numbers.

An address is a number: of IPv4 the address itself, of IPv6 2**32 and its rank among those in the dump. With the port and the
namespace's place it fits into 64 bits, and groups are found by sorting such keys, which is what all this costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.interfaces import interface_text, split_address
from tracer.ingest.sockdiag import Sockets

Keys = NDArray[np.uint64]
Mask = NDArray[np.bool_]

IPV6 = 1 << 32
PORT_BITS, ADDRESS_BITS = 16, 33
PORT, ADDRESS = (1 << PORT_BITS) - 1, (1 << ADDRESS_BITS) - 1


@dataclass(frozen=True)
class Columns:
    """A dump's sockets in columns of shape (n,), uint64: place (rank of the namespace), address numbers and ports.

    six: the IPv6 addresses by rank, shape (k, 16); netns: the namespace in which each occurs, one of them, shape (k,).
    """

    place: Keys
    local: Keys
    remote: Keys
    local_port: Keys
    remote_port: Keys
    six: NDArray[np.uint8]
    netns: NDArray[np.uint32]

    def address(self, number: int) -> str:
        """Return an address as text."""
        if number < IPV6:
            return str(IPv4Address(number))
        plain, interface = split_address(self.six[number - IPV6].tobytes())
        behind = f"%{interface_text(int(self.netns[number - IPV6]), interface)}" if interface else ""
        return f"{IPv6Address(plain)}{behind}"

    def endpoint(self, key: int) -> str:
        """Return the address:port of a key that ends in them, `[address]:port` for IPv6."""
        address = self.address(key >> PORT_BITS & ADDRESS)
        return f"[{address}]:{key & PORT}" if ":" in address else f"{address}:{key & PORT}"


def columns(sockets: Sockets, places: Mapping[int, int]) -> Columns:
    """Return the columns of sockets; places: rank of each namespace by its inode."""
    both = np.concatenate((sockets["local_address"], sockets["remote_address"])).view(">u8").astype(np.uint64)
    numbers, six, first = _address_numbers(both[:, 0], both[:, 1])
    return Columns(
        _places(sockets["netns"], places),
        numbers[: len(sockets)],
        numbers[len(sockets) :],
        sockets["local_port"].astype(np.uint64),
        sockets["remote_port"].astype(np.uint64),
        six,
        sockets["netns"][first % max(len(sockets), 1)],
    )


def _places(netns: NDArray[np.uint32], places: Mapping[int, int]) -> Keys:
    found = np.zeros(len(netns), np.uint64)
    for inode, place in places.items():
        if place:
            found[netns == inode] = place
    return found


def _address_numbers(high: Keys, low: Keys) -> tuple[Keys, NDArray[np.uint8], NDArray[np.intp]]:
    """Return the number of each address, those of IPv6 by rank, and where each of these occurs."""
    numbers = low & np.uint64(0xFFFFFFFF)
    others = np.flatnonzero((high != 0) | (low >> np.uint64(32) != 0xFFFF))
    order = others[np.lexsort((low[others], high[others]))]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    numbers[order] = np.cumsum(fresh).astype(np.uint64) + np.uint64(IPV6 - 1)
    first = order[fresh]
    return numbers, np.stack((high[first], low[first]), axis=1).astype(">u8").view(np.uint8).reshape(-1, 16), first


def key(place: Keys | int, address: Keys, port: Keys) -> Keys:
    """Return namespace, address and port as one number each, shape (n,)."""
    found: Keys = np.uint64(place) << np.uint64(PORT_BITS + ADDRESS_BITS) | address << np.uint64(PORT_BITS) | port
    return found
