"""How long the reader of the ring lets it fill up: a look costs much beyond its records, and in a burst the next one is near.

The programs wake the reader early (bpf/emit.h), since they cannot know how fast the ring fills. Here that is seen: so it waits
for half of the way to ENOUGH at a time. To have the programs wake it later was the alternative: what is early for one rate is
too late for another.
"""

from __future__ import annotations

FIRST_SECONDS = 0.005
"""Each CPU wakes the reader a few times in a row when the ring fills. So much later all have."""

ENOUGH = 3 / 8
"""Share of the ring with which a look is worth what it costs beyond its records."""

WORTH_SECONDS = 0.5
"""What takes longer to come is not waited for."""

LONGEST_SECONDS = 0.05
"""In so long the rest of the ring does not fill, whatever came before: 4 MiB a CPU would take 200,000 records a second."""


def next_pause(before: float, filled: float, pause: float) -> float:
    """Return how many seconds to wait until the next look at how full the ring is, 0 when it is time to read it.

    before, filled: shares of the ring, and pause: the seconds between the two.
    """
    rest, grown = ENOUGH - filled, filled - before
    if rest <= 0 or rest * pause > grown * WORTH_SECONDS:
        return 0.0
    return min(max(rest * pause / grown / 2, FIRST_SECONDS), LONGEST_SECONDS)
