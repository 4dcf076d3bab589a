"""A batch of events of one kind, of which columns become the values that formats show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.ingest.source import Context
from tracer.model.tcp import FLAG

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class OneKind:
    """Records of one kind, and what turns their numbers into names. container: the name of a cgroup, by its id."""

    kind: str
    events: Events
    context: Context
    container: Callable[[int], str]

    def column(self, name: str) -> NDArray[Any]:
        """Return a column, shape (n,) or (n, elements)."""
        return self.events[name]

    def has(self, flag: str) -> Mask:
        """Return which records have a flag, shape (n,)."""
        found: Mask = (self.events["flags"] & FLAG[flag]) != 0
        return found


FieldValues = Callable[[OneKind], list[Any]]


def without(values: NDArray[Any], unknown: Mask) -> list[Any]:
    """Return values as Python's own, None where they are not known."""
    if not unknown.any():
        return list(values.tolist())
    result = values.astype(object)
    result[unknown] = None
    return list(result)
