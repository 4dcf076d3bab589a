"""How large the kernel's tables and the ring are, which is nothing that has to be compiled."""

from __future__ import annotations

import mmap
import os
import platform

ENTRY_BYTES = 336
"""What a connection takes at most: struct conn in a slot, and 80 bytes where it is displaced; in a hash table 8 less."""

MOST_CONNECTIONS = 262_144
"""Entries of the connection table, unless asked for more or fewer: 84 MiB at most, 68 from the start on in slots."""

MANY_CONNECTIONS = 65_536
"""From so many entries on they lie in slots (bpf/slots.h), which can be a little less than full; fewer are in a hash table."""

MAX_LISTENERS = 16_384
"""Listening sockets, over all namespaces, whose processes are known."""

MOST_PLACES, TALLY_BYTES, TALLIES_BYTES = 256, 2480, 8 << 20
"""Busy places that a CPU counts at most (bpf/tally.h), what each of them takes, and what all of all CPUs may take."""

WHOLE_BYTES, BEGINNING_BYTES = 512, 256
"""More than a whole record takes in the ring, and what its beginning takes."""

WAKE_SHARE = 4
"""The reader of the ring is woken when a quarter may be full: what is left holds what comes until it runs."""


def table_entries(ring: int, connections: int | None, cpus: int, *, counts: bool = False) -> dict[str, int]:
    """Return the entries of the tables whose size bpf/maps.h leaves open, by name: of the ring the bytes.

    ring, connections, counts: as Settings has them. Connections are in slots or in conns, of which kept_in() leaves one.
    """
    slots = slot_entries(connections)
    return {
        "events": ring_bytes(ring, cpus),
        "counters": counter_rows(cpus),
        "slots": slots,
        "displaced": slots,
        "places": tally_rows(cpus) * cpus if counts else 1,
        "tallies": tally_rows(cpus) * cpus if counts else 1,
        "stays": cpus if counts else 1,
        "conns": connection_entries(connections),
        "listeners": MAX_LISTENERS,
        "listening": MAX_LISTENERS,
        "servers": MAX_LISTENERS,
    }


def counter_rows(cpus: int) -> int:
    """Return the rows of the counters: two for each CPU (bpf/maps.h)."""
    return 2 * cpus


def tally_rows(cpus: int) -> int:
    """Return how many busy places each CPU can count, a power of two."""
    fit = min(MOST_PLACES, TALLIES_BYTES // TALLY_BYTES // cpus)
    return 1 << max(fit, 2).bit_length() - 1


def ring_bytes(asked: int, cpus: int) -> int:
    """Return the size of the ring: as asked, else 4 MiB a CPU (8 at least, 64 at most), since CPUs bound what can come."""
    return asked or min(max(8 << 20, 1 << ((cpus << 22) - 1).bit_length()), 64 << 20)


def wake_mask(ring: int, cpus: int, *, whole: bool) -> int:
    """Return 2**n - 1: a CPU wakes the reader whenever it has sent 2**n records, its share of a quarter of the ring."""
    share = ring // (WHOLE_BYTES if whole else BEGINNING_BYTES) // WAKE_SHARE // cpus
    return (1 << max(share.bit_length() - 1, 0)) - 1


def slot_entries(asked: int | None) -> int:
    """Return how many slots there are for connections (bpf/slots.h), 1: all are in a hash table."""
    connections = connection_entries(asked)
    return connections if platform.machine() == "x86_64" and connections >= MANY_CONNECTIONS else 1


def kept_in(entries: dict[str, int], *, casts: bool) -> dict[str, int]:
    """Return table_entries() without room for connections where they are not; casts: whether programs can use slots."""
    unused = ["conns"] if casts and entries["slots"] > 1 else ["slots", "displaced"]
    return entries | dict.fromkeys(unused, 1)


def connection_entries(asked: int | None) -> int:
    """Return how many connections the table has room for: as asked, else 262,144 or what fits into a 64th of the memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    return asked or min(MOST_CONNECTIONS, memory // 64 // ENTRY_BYTES)
