"""Names of network namespaces, by inode: those that `ip netns` gave, in /run/netns, which everybody may look into.

A namespace that has no name there has that of the container whose connection is asked about, or else its number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tracer.ingest.names import name_text
from tracer.ingest.workloads import Workload

NAMED = Path("/run/netns")
AGAIN_SECONDS = 0.1
"""The directory is read at most so often, so that many new namespaces cost little."""

LIMIT = 16_384
"""Names that are remembered."""


class NamespaceNames:
    """Call it with a namespace's inode, and whose the connection is, for the name.

    A name that was given out stays: a counter must not move from one series to another.
    """

    def __init__(self, place: Path = NAMED, clock: Callable[[], float] = time.monotonic) -> None:
        self._place, self._clock = place, clock
        self._names: dict[int, str] = {}
        self._next_look = float("-inf")

    def __call__(self, netns: int, workload: Workload | None = None) -> str:
        """Return the name, or the number as text."""
        if netns not in self._names:
            self._look()
        return self._names.setdefault(netns, workload.name if workload and workload.container_id else str(netns))

    def _look(self) -> None:
        if self._clock() < self._next_look:
            return
        self._next_look = self._clock() + AGAIN_SECONDS
        if len(self._names) > LIMIT:
            self._names.clear()
        with suppress(OSError), os.scandir(self._place) as entries:
            for entry in entries:
                with suppress(OSError):
                    self._names[entry.stat().st_ino] = name_text(os.fsencode(entry.name))
