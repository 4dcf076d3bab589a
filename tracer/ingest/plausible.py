"""Whether what a recording says can be: a recording may come from a stranger, and what follows believes its source.

The kernel's own records need no such look. Bounds are wide: what no machine reaches, and what arithmetic in 64 bits bears.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import LAYOUT, Events

MAX_NS = 1 << 61
"""73 years: twice as much, and a wall clock of today, still are 64-bit times."""

MAX_BYTES = 1 << 56

_CHANGES = 16
"""The first cells are 16 rows of 16 (event.h): changes of state by from and to."""


def _most(enum: str) -> int:
    return max(LAYOUT.enums[enum].values())


BOUNDS: Mapping[str, tuple[int, int]] = {
    "kind": (1, _most("event_kind")),
    "role": (0, _most("role")),
    "from_state": (0, _most("tcp_state")),
    "to_state": (0, _most("tcp_state")),
    "retransmit_kind": (0, _most("retransmit_kind")),
    "call": (0, _most("call")),
    "visited": (0, (1 << _most("tcp_state") + 1) - 1),
    "family": (0, 6),
    **dict.fromkeys(("time_ns", "handshake_ns", "duration_ns", "state_ns"), (0, MAX_NS)),
    **dict.fromkeys(("sent_bytes", "received_bytes"), (0, MAX_BYTES)),
}
"""The least and the most that each member of a record can be."""


def implausible(events: Events) -> str | None:
    """Return the name of a member that is out of its bounds in one of these records, None when all can be."""
    if len(events):
        for name, (least, most) in BOUNDS.items():
            column = events[name]
            if int(column.max()) > most or int(column.min()) < least:
                return name
    return None


def are_counts(cells: NDArray[np.uint64]) -> bool:
    """Say whether cells can be counts, and count no change from or to a state that does not exist."""
    if not len(cells):
        return True
    changes = cells[: _CHANGES**2].reshape(_CHANGES, _CHANGES)
    states = _most("tcp_state") + 1
    return int(cells.max()) <= MAX_NS and not changes[states:].any() and not changes[:, states:].any()


def checked(document: Any, kinds: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """Return a JSON object whose values are of the kinds that their names have; raises ValueError or TypeError for others.

    Names without a kind are left to who takes the object.
    """
    found: dict[str, Any] = dict(document)
    for name, value in found.items():
        if name in kinds and type(value) not in kinds[name]:
            raise ValueError(f"{name} is of another kind")
    return found
