"""How large the kernel's tables and the ring are, which is nothing that has to be compiled."""

from __future__ import annotations

import mmap
import os
import platform

ENTRY_BYTES = 280
"""An entry of the connection table with the kernel's own part: struct conn, its key, 48 bytes of links, and its bucket."""

MOST_CONNECTIONS = 262_144
"""Entries of the connection table, unless asked for more or fewer: 70 MiB."""

STAYING, MANY_CONNECTIONS = 8192, 65_536
"""Entries that stay in it, where there is room for so many connections; as claim_of() in bpf/conn.h has it."""

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

    ring, connections, counts: as Settings has them.
    """
    return {
        "events": ring_bytes(ring, cpus),
        "counters": cpus,
        "claims": max(staying_entries(connections), 1),
        "places": tally_rows(cpus) * cpus if counts else 1,
        "tallies": tally_rows(cpus) * cpus if counts else 1,
        "stays": cpus if counts else 1,
        "conns": connection_entries(connections) + staying_entries(connections),
        "listeners": MAX_LISTENERS,
        "listening": MAX_LISTENERS,
        "servers": MAX_LISTENERS,
    }


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


def staying_entries(asked: int | None) -> int:
    """Return how many entries of that table stay for the next connection (bpf/conn.h): beside those that were asked for."""
    return STAYING if platform.machine() == "x86_64" and (asked is None or asked >= MANY_CONNECTIONS) else 0


def connection_entries(asked: int | None) -> int:
    """Return how many connections the table has room for: as asked, else 262,144 or what fits into a 64th of the memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    return asked or min(MOST_CONNECTIONS, memory // 64 // ENTRY_BYTES)
