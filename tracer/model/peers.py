"""Groups of peers: which network that the user has named a remote address belongs to.

The longest prefix wins. What no group has is told apart by its own network, /24 of IPv4 and /48 of IPv6, or is `other`. Groups
are found for a whole batch at a time, a few array operations for each network: a table per address would grow with the peers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

import numpy as np
from numpy.typing import NDArray

from tracer.errors import UsageError
from tracer.ingest.names import name_text

Halves = NDArray[np.uint64]
Network = IPv4Network | IPv6Network

REST = ("network", "other")
OTHER_PEERS = "other"
REST_BITS = {4: 24, 6: 48}

_ALL = (1 << 64) - 1
_MAPPED = 0xFFFF << 32
"""The lower half of ::ffff:0.0.0.0, by which IPv4 comes mapped into IPv6."""


@dataclass(frozen=True)
class PeerGroups:
    """Names and networks, shortest prefix first, so that the last one that fits is the longest.

    rest: what becomes of other peers, of REST.
    """

    groups: tuple[tuple[str, Network], ...] = ()
    rest: str = "network"

    def columns(self, address: NDArray[np.uint8]) -> tuple[Halves, Halves, Halves]:
        """Return what tells groups apart, of addresses of shape (n, 16): number (0: none), and both halves of the network."""
        high, low = np.ascontiguousarray(address).view(">u8").astype(np.uint64).T
        # of a link-local address (fe80::/10) without its interface, which is in no network that can be named
        high = np.where(high >> np.uint64(54) == np.uint64(0xFE80 >> 6), high & np.uint64(_ALL ^ 0xFFFFFFFF), high)
        four = (high == 0) & (low >> np.uint64(32) == np.uint64(0xFFFF))
        number = np.zeros(len(high), np.uint64)
        for at, (_, network) in enumerate(self.groups, 1):
            number[_inside(network, high, low, four)] = at
        kept = (number == 0) if self.rest == "network" else np.zeros(len(high), bool)
        mask = np.where(four, np.uint64(_ALL ^ (1 << 32 - REST_BITS[4]) - 1), np.uint64(0))
        high = np.where(kept, high & np.uint64(_ALL ^ (1 << 64 - REST_BITS[6]) - 1), np.uint64(0))
        return number, high, np.where(kept, low & mask, np.uint64(0))

    def name(self, address: bytes) -> str:
        """Return the group of one address, 16 bytes."""
        number, high, low = (int(column[0]) for column in self.columns(np.frombuffer(address, np.uint8).reshape(1, 16)))
        if number:
            return self.groups[number - 1][0]
        if self.rest == "other":
            return OTHER_PEERS
        network = high << 64 | low
        if high == 0 and low >> 32 == _MAPPED >> 32:
            return str(IPv4Network((network & 0xFFFFFFFF, REST_BITS[4])))
        return str(IPv6Network((network, REST_BITS[6])))


def _inside(network: Network, high: Halves, low: Halves, four: NDArray[np.bool_]) -> NDArray[np.bool_]:
    base, mask = int(network.network_address), int(network.netmask)
    inside: NDArray[np.bool_] = four if network.version == 4 else ~four
    for half, part in ((high, base >> 64), (low, base & _ALL)):
        bits = mask >> 64 if half is high else mask & _ALL
        inside = inside & (half & np.uint64(bits) == np.uint64(part))
    return inside


def peer_groups(texts: Sequence[str], rest: str = "network") -> PeerGroups:
    """Return the groups of `NAME=CIDR` texts, several networks of a group with commas; raises UsageError."""
    if rest not in REST:
        raise UsageError(f"--peer-rest {rest} is not known", f"give {' or '.join(REST)}")
    names: set[str] = set()
    found: dict[Network, str] = {}
    for text in texts:
        name, equals, networks = name_text(text.encode(errors="surrogateescape")).partition("=")
        if not equals or not name or name == OTHER_PEERS:
            raise UsageError(f"--peer-group {text} has no name of its own", "give NAME=CIDR, as office=192.0.2.0/24")
        if name in names:
            raise UsageError(
                f"--peer-group {name} is given twice", "name every group once, NAME=CIDR,CIDR for several networks"
            )
        names.add(name)
        for part in networks.split(","):
            network = _network(name, part)
            if network in found:
                raise UsageError(f"{network} is in --peer-group {found[network]} and in {name}", "give every network once")
            found[network] = name
    return PeerGroups(
        tuple((name, network) for network, name in sorted(found.items(), key=lambda item: item[0].prefixlen)), rest
    )


def _network(name: str, text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise UsageError(
            f"--peer-group {name}: {text!r} is no network", "give one as 192.0.2.0/24 or 2001:db8::/32, without host bits"
        ) from error
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) and network.prefixlen >= 96 else None
    return IPv4Network((mapped, network.prefixlen - 96)) if mapped is not None else network
