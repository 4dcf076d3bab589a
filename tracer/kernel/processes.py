"""Which processes there are."""

from __future__ import annotations

import os


def process_ids() -> list[int]:
    """Return the ids of the processes that /proc shows, in ascending order."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
