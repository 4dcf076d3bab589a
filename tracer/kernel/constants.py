"""Numbers of one run that the C text calls CONSTANT(n), so that it need not be compiled anew for each."""

from __future__ import annotations

from tracer.kernel.bytecode import OWN


class Constants:
    """The values of a text's constants, in the order in which they were asked for, behind those that are each program's own."""

    def __init__(self) -> None:
        self._values = [0] * OWN

    def text(self, value: int) -> str:
        """Return the C expression of a value, an unsigned number of 64 bits."""
        self._values.append(value)
        return f"CONSTANT({len(self._values) - 1})"

    @property
    def values(self) -> tuple[int, ...]:
        """The value of each, by number."""
        return tuple(self._values)
