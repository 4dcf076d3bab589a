"""The records of one connection among all those of a recording: found by its number, or by the address and port of an end."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import numpy as np
from numpy.typing import NDArray

from tracer.errors import UsageError
from tracer.ingest.decode import EVENT, Events
from tracer.ingest.sets import is_in
from tracer.model.tcp import ROLE

MOST = 4_000_000
"""Records of one connection, at most, so that memory has a bound."""

_BYTES = f"V{EVENT.itemsize}"


def parse_wanted(text: str) -> int | tuple[bytes, int]:
    """Return the number of a connection, or an end as 16 bytes of address and a port; raises UsageError for neither."""
    if text.isdecimal() and 0 < int(text) < 1 << 64:
        return int(text)
    address, _, port = text.rpartition(":")
    try:
        found = ip_address(address.strip("[]"))
        if not 0 < int(port) < 1 << 16:
            raise ValueError(port)
    except ValueError as error:
        raise UsageError(
            f"--connection {text} is no connection", "give ADDRESS:PORT of an end, [ADDRESS]:PORT of IPv6, or its number"
        ) from error
    return _packed(found), int(port)


def _packed(address: IPv4Address | IPv6Address) -> bytes:
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


class OneConnection:
    """Collects the records of what is asked for. numbers: the connections that match, in their order."""

    def __init__(self, wanted: int | tuple[bytes, int]) -> None:
        self._wanted = wanted
        self._parts: list[Events] = []
        self._kept = 0

    def add(self, events: Events) -> None:
        """Take in a batch."""
        mine = events[self._matches(events) & (events["connection"] != 0)]
        if len(mine) and self._kept < MOST:
            self._parts.append(mine[: MOST - self._kept])
            self._kept += len(mine)

    @property
    def records(self) -> Events:
        """All that match."""
        return np.concatenate([part.view(_BYTES) for part in self._parts]).view(EVENT) if self._parts else np.empty(0, EVENT)

    def _matches(self, events: Events) -> NDArray[np.bool_]:
        if isinstance(self._wanted, int):
            found: NDArray[np.bool_] = events["connection"] == np.uint64(self._wanted)
            return found
        address, port = np.frombuffer(self._wanted[0], np.uint8), self._wanted[1]
        either: NDArray[np.bool_] = np.zeros(len(events), bool)
        for side in ("local", "remote"):
            either |= (events[f"{side}_port"] == port) & (events[f"{side}_address"] == address).all(axis=1)
        return either


def ends_of(records: Events) -> tuple[Events, Events] | None:
    """Return the records of both ends of the only connection among these, the client's or only one first; None for several."""
    numbers = list(dict.fromkeys(records["connection"].tolist()))
    each = [records[records["connection"] == number] for number in numbers]
    if len(each) == 1:
        return each[0], records[:0]
    if len(each) == 2 and _are_ends(*each):
        own, peer = sorted(each, key=lambda one: int(one["role"][-1] == ROLE["server"]))
        return own, peer
    return None


def _are_ends(first: Events, second: Events) -> bool:
    """Say whether two connections are the ends of one: each one's local end is the other one's remote end."""
    one, two = first[-1], second[-1]
    swapped = (("local", "remote"), ("remote", "local"))
    return all(
        one[f"{mine}_port"] == two[f"{its}_port"] and (one[f"{mine}_address"] == two[f"{its}_address"]).all()
        for mine, its in swapped
    )


def mirrored(records: Events) -> tuple[bytes, int] | None:
    """Return the client's end of a connection that was asked for by number, as its other end has it; None where not known."""
    known = records[(records["local_port"] != 0) & (records["remote_port"] != 0)]
    if not len(known):
        return None
    side = "remote" if known["role"][-1] == ROLE["server"] else "local"
    return known[f"{side}_address"][-1].tobytes(), int(known[f"{side}_port"][-1])


def overlapping(records: Events, number: int) -> Events:
    """Return of all that share a client's end the records of a connection, and of the other end of it at that time."""
    own: Events = records[records["connection"] == number]
    if not len(own):
        return own
    first, last = own["time_ns"].min(), own["time_ns"].max()
    others = [n for n in dict.fromkeys(records["connection"].tolist()) if n != number]
    fitting = [n for n in others if _overlaps(records[records["connection"] == n], own, first, last)]
    both: Events = records[is_in(records["connection"], np.array([number, *fitting[:1]], np.uint64))]
    return both


def _overlaps(other: Events, own: Events, first: np.uint64, last: np.uint64) -> bool:
    return bool(_are_ends(other, own) and other["time_ns"].min() <= last and other["time_ns"].max() >= first)


def connection_names(records: Events, limit: int = 5) -> Sequence[str]:
    """Return the numbers of the first connections among these records, as text."""
    return [str(number) for number in dict.fromkeys(records["connection"].tolist())][:limit]
