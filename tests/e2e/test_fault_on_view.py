"""A fault on the live view, as whoever watches it sees it: there within three seconds, and gone a minute after its end.

Times are those of the view's first line, which is the clock of the readings; so that a slow machine proves nothing else.
"""

from __future__ import annotations

import re

import pytest

from tests.emulator import Emulator
from tests.kernel.net import SERVER, link
from tests.kernel.test_view import row_of, shown
from tests.kernel.traffic import listening, refuse, talk
from tests.kernel.until import PATIENCE

pytestmark = pytest.mark.kernel

MINUTE = 60
LATE = 3 * MINUTE + PATIENCE
NOBODY = 81


def seconds_shown(terminal: Emulator) -> int:
    """Return how long it has traced, as the first line says."""
    found = re.match(r" tcptrace  (?:last minute of )?(?:(\d+):(\d\d)|(\d+) s) ", terminal.display[0])
    assert found, terminal.display[0]
    return int(found[1] or 0) * 60 + int(found[2] or found[3])


def has_failures(terminal: Emulator) -> bool:
    return re.search(r" failures  \d+: refused \d+", terminal.text) is not None


def test_a_minutes_fault_is_seen_by_the_third_second_and_leaves_the_last_minute() -> None:
    with link() as both, shown(both.client, columns=120) as terminal, listening(both.server, SERVER[4], 443) as listener:
        talk(both.client, listener, SERVER[4], times=1)
        terminal.until(lambda: row_of(terminal, "client 443"), "the service is there")
        began = seconds_shown(terminal)
        refuse(both.client, SERVER[4], NOBODY)
        terminal.until(lambda: has_failures(terminal), "the fault is seen")
        assert seconds_shown(terminal) - began <= 4  # the second in which it began, and three
        while seconds_shown(terminal) < began + MINUTE:
            refuse(both.client, SERVER[4], NOBODY)
            terminal.look(0.5)
        last = seconds_shown(terminal)
        terminal.until(lambda: seconds_shown(terminal) >= last + MINUTE // 2, "half a minute has passed", LATE)
        assert has_failures(terminal)
        assert row_of(terminal, "client other")
        terminal.until_seen("last minute of")
        terminal.until(lambda: not has_failures(terminal), "it has left the last minute", LATE)
        assert " failures  none" in terminal.text
        assert row_of(terminal, "client other") == []
        assert seconds_shown(terminal) <= last + MINUTE + 10
        for span in ("last 10 s of", "since the start"):
            terminal.type("t")
            terminal.until_seen(span)
        assert has_failures(terminal)
