"""Ports that never had a service and were tried nevertheless: the largest of what has no label set of its own.

The exact sums are under `other`; this is for people, who want to know which port it was. A scan of all ports must not cost
memory for each: of more than LIMIT the smallest are forgotten, and come back with less than there was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracer.model.alike import Alike
from tracer.model.tcp import ROLES

LARGEST = 10
LIMIT = 4096
AT_ONCE = 1024


@dataclass(frozen=True)
class Tried:
    """A role and port without a service. failures, resets: at least so many, as small ones may have been forgotten."""

    role: str
    port: int
    failures: int
    resets: int


class Elsewhere:
    """Counts by role and port."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}

    def add(self, alike: Alike, *, resets: bool) -> None:
        """Count failures, or resets, by their roles and service ports."""
        role = np.minimum(alike.examples["role"], len(ROLES) - 1).astype(np.int64)
        codes, which = np.unique(role << 16 | alike.services & 0xFFFF, return_inverse=True)
        counts = np.bincount(which, alike.numbers).astype(np.int64)
        largest = np.argsort(-counts, kind="stable")[:AT_ONCE]
        for code, count in zip(codes[largest].tolist(), counts[largest].tolist(), strict=True):
            self._counts.setdefault(code, [0, 0])[resets] += count
        if len(self._counts) > LIMIT:
            self._counts = dict(self._in_order()[: LIMIT // 2])

    def largest(self) -> tuple[Tried, ...]:
        """Return the largest few, the largest first."""
        return tuple(Tried(ROLES[code >> 16], code & 0xFFFF, *counts) for code, counts in self._in_order()[:LARGEST])

    def _in_order(self) -> list[tuple[int, list[int]]]:
        return sorted(self._counts.items(), key=lambda item: (-sum(item[1]), item[0]))
