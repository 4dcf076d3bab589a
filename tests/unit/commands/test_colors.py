"""When there are colors: on a terminal, unless something says no; never in a pipe that has not asked for them."""

from __future__ import annotations

import sys

import pytest

from tests.emulator import on_terminal
from tests.needs import ROOT
from tests.unit.command import tcptrace

DEMO = ROOT / "tracer/data/demo.tcptrace"
EVENTS = [sys.executable, "-m", "tracer", "replay", str(DEMO), "events", "--count", "3"]


def has_colors(terminal_output: str) -> bool:
    return "\x1b[3" in terminal_output


def test_a_pipe_has_colors_only_where_they_are_asked_for() -> None:
    words = ["replay", str(DEMO), "events", "--count", "3"]
    assert not has_colors(tcptrace(*words).stdout)
    assert has_colors(tcptrace(*words, "--color").stdout)
    assert not has_colors(tcptrace(*words, "--color", "--json").stdout)


@pytest.mark.parametrize(
    ("before", "after", "wanted"), [([], [], True), (["env", "NO_COLOR=1"], [], False), ([], ["--no-color"], False)]
)
def test_a_terminal_has_them_unless_something_says_no(before: list[str], after: list[str], wanted: bool) -> None:
    with on_terminal([*before, *EVENTS, *after]) as terminal:
        terminal.until_seen("status 0")
        assert "handshake" in terminal.text
        kinds = {cell.fg for row in terminal.screen.buffer.values() for cell in row.values() if cell.data.strip()}
    assert (kinds != {"default"}) == wanted
