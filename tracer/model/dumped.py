"""Namespaces of which a dump of sockets has told, the latest ones: a host makes a new one for each container of its life."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.sets import is_in

MOST = 4096
"""Namespaces that are remembered, a hundred bytes each; more than any host has at a time."""


class Dumped:
    """The numbers of such namespaces."""

    def __init__(self) -> None:
        self._numbers: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, numbers: Iterable[int]) -> None:
        """Take in those of a dump."""
        for number in numbers:
            self._numbers.pop(number, None)
            self._numbers[number] = None
        while len(self._numbers) > MOST:
            del self._numbers[next(iter(self._numbers))]

    def has(self, numbers: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of these numbers are among them, same shape."""
        return is_in(numbers, list(self._numbers))
