"""What the user looks for in the live view: the beginning of a port, or some text in process and peer. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Search:
    """A search. text: digits alone are the beginning of a port; anything else is looked for in names, in whatever case."""

    text: str = ""

    def __bool__(self) -> bool:
        """Whether something is looked for."""
        return bool(self.text)

    @property
    def is_port(self) -> bool:
        """Whether it is for ports."""
        return self.text.isdigit()

    def fits(self, port: str, *names: str) -> bool:
        """Say whether something with this port and these names is looked for."""
        if not self.text:
            return True
        if self.is_port:
            return port.startswith(self.text)
        wanted = self.text.casefold()
        return any(wanted in name.casefold() for name in names)

    def fits_destination(self, destination: str) -> bool:
        """Say the same of `address:port`, with or without a remark behind it."""
        address, _, rest = destination.rpartition(":")
        return self.fits(rest.split(" ")[0], address)
