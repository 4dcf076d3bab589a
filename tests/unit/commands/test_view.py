"""The live view as users see it, on a real terminal: the recording that ships, replayed by an ordinary command."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulator import Emulator, on_terminal
from tests.kernel.until import until
from tests.needs import ROOT
from tests.unit.commands.replaying import REPLAY, SHOWN, replayed, replaying, state


def is_given_back(terminal: Emulator) -> bool:
    return not terminal.full_screen and not terminal.screen.cursor.hidden


def assert_given_back(terminal: Emulator, settings: list[object]) -> None:
    terminal.until(lambda: is_given_back(terminal), "the normal screen is back")
    until(lambda: terminal.settings == settings, "the settings are what they were")


@pytest.fixture(name="settings")
def fixture_settings() -> list[object]:
    """Return the settings of a terminal on which nothing has run."""
    with on_terminal(["true"]) as terminal:
        terminal.until_seen("status 0")
        return terminal.settings


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 60), (40, 10), (20, 5), (5, 2), (1, 1)])
def test_every_size_is_filled_and_no_line_wraps(columns: int, lines: int) -> None:
    with on_terminal([*REPLAY, "--speed", "1"], columns, lines) as terminal:
        terminal.until(lambda: terminal.full_screen, "the view has the terminal")
        terminal.until(lambda: lines == 1 or terminal.display[-1].startswith(" ? h"), "its last line is there")
        assert terminal.display[0].startswith(" tcptrace"[: columns - 1])


def test_a_resize_is_followed_at_once() -> None:
    with replaying() as terminal:
        for columns, lines, seen in ((200, 60, "closed"), (40, 10, "? help"), (80, 24, SHOWN)):
            terminal.resize(columns, lines)
            terminal.until_seen(seen)
            terminal.until(lambda: terminal.display[-1].startswith(" ? help"), "the last line is the new last one", seconds=10)


def test_keys_are_answered_without_waiting_for_the_next_second() -> None:
    with replayed() as terminal:
        for key, seen in (
            ("?", "retransmitted segments"),
            ("x", SHOWN),
            ("s", "service▴"),
            ("\x1b[B", ">"),
            ("\r", "Esc back"),
        ):
            terminal.type(key)
            terminal.until_seen(seen)
        terminal.type("\x1b")
        terminal.until_seen(SHOWN)
        terminal.type("/8080\r")
        terminal.until(lambda: "client 443" not in terminal.text, "the others are gone")
        assert " port 8080 " in terminal.text
        terminal.type(" ")
        terminal.until_seen("paused")


def test_q_ends_it_with_status_0_and_the_summary(settings: list[object]) -> None:
    with replaying() as terminal:
        assert terminal.settings != settings
        terminal.type("q")
        terminal.until_seen("status 0")
        assert_given_back(terminal, settings)
        assert "0 events lost, 0 connections untracked" in terminal.text


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)])
def test_a_signal_ends_it_with_the_summary(number: int, status: int, settings: list[object]) -> None:
    with replaying() as terminal:
        if number == signal.SIGINT:
            terminal.type("\x03")
        else:
            os.kill(terminal.command, number)
        terminal.until_seen(f"status {status}")
        assert_given_back(terminal, settings)
        assert "0 events lost, 0 connections untracked" in terminal.text


def test_a_second_ctrl_c_gives_the_terminal_back_too(settings: list[object]) -> None:
    with replaying() as terminal:
        os.kill(terminal.command, signal.SIGSTOP)
        until(lambda: state(terminal.command) == "T", "it is stopped, so that both signals wait for it")
        terminal.type("\x03")
        os.kill(terminal.command, signal.SIGCONT)
        terminal.type("\x03")
        terminal.until_seen("status 130")
        assert_given_back(terminal, settings)


def test_a_view_that_was_stopped_from_outside_gives_the_terminal_back(settings: list[object]) -> None:
    """It takes the terminal once more when it goes on, though nobody has taken it away."""
    with replaying() as terminal:
        os.kill(terminal.command, signal.SIGSTOP)
        until(lambda: state(terminal.command) == "T", "it is stopped")
        terminal.writes.clear()
        os.kill(terminal.command, signal.SIGCONT)
        terminal.until(lambda: b"\x1b[?1049h" in b"".join(terminal.writes), "it has taken the terminal once more")
        terminal.type("\x03")
        terminal.until_seen("status 130")
        assert_given_back(terminal, settings)


INTERRUPTED = """
import os, signal, sys
from tracer.commands.terminal import Terminal

def taken_and_given_back(interrupt_at):
    terminal, lines = Terminal(2, 0), 0

    def trace(frame, event, _):
        nonlocal lines
        if "/commands/terminal.py" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines += 1
            if lines == interrupt_at:
                sys.settrace(None)
                terminal.give_back()  # what a second Ctrl-C does
                os._exit(1)
        return trace

    terminal.take()
    sys.settrace(trace)
    terminal.close()
    os._exit(0)

at = 1
while True:
    if not (child := os.fork()):
        taken_and_given_back(at)
    ended = os.waitpid(child, 0)[1]
    os.write(2, b"ended ")
    if not ended:
        break
    at += 1
os.write(2, b"after %d lines" % (at - 1))
"""


def test_wherever_the_second_ctrl_c_comes_the_terminal_was_given_back_before_the_end() -> None:
    with on_terminal([sys.executable, "-c", INTERRUPTED]) as terminal:
        terminal.until_seen("status 0")
        seen = re.findall(r"\x1b\[\?1049([hl])|(ended)", b"".join(terminal.writes).decode())
    before_ends = [before[0] for before, this in itertools.pairwise(seen) if this[1]]
    assert len(before_ends) > 10
    assert set(before_ends) == {"l"}


def test_an_exception_gives_the_terminal_back(settings: list[object], tmp_path: Path) -> None:
    whole = (ROOT / "tracer/data/demo.tcptrace").read_bytes()
    broken = tmp_path / "broken.tcptrace"
    broken.write_bytes(whole[: len(whole) * 9 // 10])
    with on_terminal([*REPLAY[:-1], str(broken), "--speed", "10"]) as terminal:
        terminal.until(lambda: terminal.full_screen, "the view has the terminal")
        terminal.until_seen("status 1")
        assert_given_back(terminal, settings)


def test_a_terminal_that_takes_nothing_stops_nothing(tmp_path: Path) -> None:
    result = tmp_path / "result"
    program = f"""
from pathlib import Path
from tracer.commands.terminal import Terminal
terminal = Terminal(2, 0)
terminal.take()
terminal.write("x" * 1_000_000)
Path({str(result)!r}).write_text(str(terminal.busy))
terminal.give_back()
"""
    with on_terminal([sys.executable, "-c", program]) as terminal:
        until(result.exists, "it goes on though nobody reads what it writes")
        until(lambda: result.read_text() == "True", "something is left to be sent")
        until(lambda: not terminal.children(terminal.shell), "it ends nevertheless")


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again() -> None:
    bash = ("/bin/bash", "--norc", "--noprofile", "--noediting", "-i")
    with on_terminal([], shell=bash) as terminal:
        terminal.until_seen("$")
        before = terminal.settings
        terminal.type(" ".join([*REPLAY, "--speed 1 --listen 127.0.0.1:0"]) + "\n")
        terminal.until_seen(SHOWN)
        taken = terminal.settings
        for _ in range(2):
            terminal.type("\x1a")
            terminal.until_seen("Stopped")
            assert is_given_back(terminal)
            assert terminal.settings == before
            terminal.type("clear; fg\n")
            terminal.until(lambda: terminal.full_screen, "the view is back")
            terminal.until_seen(SHOWN)
            assert terminal.settings == taken
        terminal.type("q")
        terminal.until_seen("events lost")
        until(lambda: terminal.settings == before, "the settings are what they were")


def test_without_a_keyboard_the_table_is_shown_all_the_same() -> None:
    with replayed("/bin/sh", "-c", '"$@" </dev/null', "sh") as terminal:
        terminal.type("q?")
        terminal.look(0.5)
        assert terminal.full_screen


def test_a_frame_that_has_not_changed_is_not_sent() -> None:
    with replayed() as terminal:
        terminal.look(0.5)
        terminal.writes.clear()
        terminal.look(1.5)
        assert terminal.writes == []


def test_colors_can_be_switched_off() -> None:
    with on_terminal([*REPLAY[:3], "--no-color", *REPLAY[3:], "--speed", "1"]) as terminal:
        terminal.until_seen(SHOWN)
        codes = set(re.findall(rb"\x1b\[[0-9;]*m", b"".join(terminal.writes)))
        assert codes == set()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    with on_terminal(["env", "TERM=dumb", *REPLAY, "--speed", "1"]) as terminal:
        terminal.until_seen("handshakes=")
        assert not terminal.full_screen


def test_no_view_means_lines_on_a_terminal_too() -> None:
    with on_terminal([*REPLAY, "--speed", "1", "--no-view"]) as terminal:
        terminal.until_seen("handshakes=")
        assert not terminal.full_screen


def test_without_a_terminal_the_view_that_is_asked_for_is_printed_once_at_the_end() -> None:
    command = [*REPLAY, "--speed", "20", "--view"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stderr.count(SHOWN) == 1
    assert "\x1b" not in done.stderr
    assert "help" not in done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 80
