"""Addresses as records and sockets have them: 16 bytes, IPv4 in its mapped form."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
from numpy.typing import NDArray


def mapped(address: str) -> bytes:
    """Return the bytes of an address in text."""
    packed = ip_address(address).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


def column(address: str) -> NDArray[np.uint8]:
    """Return the same as a column of an array has it."""
    return np.frombuffer(mapped(address), np.uint8)
