"""What received segments say of a connection's pace, and a bounded number of such samples.

A long transfer brings a million segments, of which a line of text shows forty: when there are too many, every second one goes,
and from then on only every second one comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIMIT = 512
NO_THRESHOLD = 0x7FFFFFFF
"""The kernel's slow start threshold before the first loss."""

MEASURES = ("congestion_window", "slow_start_threshold", "srtt_seconds", "send_window", "receive_window")


def measures(record: Any) -> dict[str, float | None]:
    """Return what a segment's record measures, None where there is nothing yet: segments (the first two), seconds, bytes."""
    threshold = record.slow_start_threshold
    return {
        "congestion_window": record.congestion_window,
        "slow_start_threshold": None if threshold >= NO_THRESHOLD else threshold,
        "srtt_seconds": record.srtt_us / 1e6 if record.srtt_us else None,
        "send_window": record.send_window,
        "receive_window": record.receive_window,
    }


class Samples:
    """The measures of a connection in the order of its segments, at most LIMIT of them, evenly spread."""

    def __init__(self) -> None:
        self._rows: list[tuple[float | None, ...]] = []
        self._every = 1
        self._count = 0

    def add(self, values: Mapping[str, float | None]) -> None:
        """Take in one more, by the names in MEASURES."""
        if self._count % self._every == 0:
            self._rows.append(tuple(values[name] for name in MEASURES))
        self._count += 1
        if len(self._rows) == LIMIT:
            self._rows = self._rows[::2]
            self._every *= 2

    def series(self) -> dict[str, tuple[float, ...]]:
        """Return each measure's values without the unknown ones; those that have none are left out."""
        columns = zip(*self._rows, strict=True)
        known = {name: tuple(v for v in column if v is not None) for name, column in zip(MEASURES, columns, strict=False)}
        return {name: values for name, values in known.items() if values}
