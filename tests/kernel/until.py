"""Waiting for conditions: the only way in which a kernel test lets time pass."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SLOWNESS = float(os.environ.get("TCPTRACE_SLOWNESS", "1"))
"""How many times longer everything may take here, as in an emulated machine (tests/guests)."""

PATIENCE = 60 * SLOWNESS
"""Seconds after which nothing more is expected to come."""

SOON, SELDOM = 0.02, 0.1
"""Seconds between two looks, of which many are a whole scrape: at first, and after a while."""


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Return the first true value of condition(); fails, saying what never came, when none comes in time."""
    end, pause = time.monotonic() + seconds, SOON
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain until {what}"
        time.sleep(pause)
        pause = min(1.2 * pause, SELDOM)
    return value


def complaints(log: str) -> str:
    """Return what a command wrote to standard error, without the lines that name what this kernel cannot show."""
    return "".join(line for line in log.splitlines(keepends=True) if "this kernel does not show" not in line)
