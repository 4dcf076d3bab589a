"""What the kernel counted without a record, because the ring or the connection table was full.

Such a count says what happened and in which role, and nothing else: not the port, and not the reason. It is added to the label
set of its role whose port is `other`, so that the sums over all label sets are exact; what fails or ends counts as `other`.
The kernel counts it at the moment when there is no room, so that nothing is counted both ways, and no sum ever falls.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import LAYOUT
from tracer.model.tcp import CELL, ROLES

WHAT = {name.removeprefix("UNRECORDED_").lower(): number for name, number in LAYOUT.enums["unrecorded"].items()}

_FIRST, _SHAPE = CELL["unrecorded"], (WHAT["nothing"], len(ROLES))


class Unrecorded:
    """Remembers what was seen of these counts, shape (kinds of WHAT, ROLES)."""

    def __init__(self) -> None:
        self._seen = np.zeros(_SHAPE, np.uint64)

    def add(self, cells: NDArray[np.uint64]) -> Iterator[tuple[int, int, int]]:
        """Yield kind, role and how many more there are than at the last call, where there are any."""
        now = cells[_FIRST : _FIRST + self._seen.size].reshape(_SHAPE)
        if now.tobytes() == self._seen.tobytes():  # as nearly always
            return
        more = now - self._seen
        self._seen = now.copy()
        for what, role in np.argwhere(more):
            yield int(what), int(role), int(more[what, role])
