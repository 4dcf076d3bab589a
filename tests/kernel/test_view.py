"""The live view of `tcptrace run` on a real terminal, with real connections: what is seen, and how the terminal is left."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.emulator import Emulator, on_terminal
from tests.kernel.net import SERVER, Link, Namespace
from tests.kernel.tracing import MAX_RESIDENT_KB
from tests.kernel.traffic import listening, refuse, talk
from tests.kernel.until import until

TIMES = 23


@contextmanager
def shown(side: Namespace, *options: str, columns: int = 80, lines: int = 24) -> Iterator[Emulator]:
    """Yield a terminal with a tracer of one namespace that has drawn its first figures."""
    command = side.command(sys.executable, "-m", "tracer", "run", "--listen", "127.0.0.1:0", "--netns", "own", *options)
    with on_terminal(command, columns, lines) as terminal:
        terminal.until(lambda: terminal.full_screen, "the view has the terminal")
        terminal.until_seen("no connection was opened"[: columns - 2])
        yield terminal


def row_of(terminal: Emulator, name: str) -> list[str]:
    """Return the cells of a row of the table, none while it is not there."""
    return next((line.split() for line in terminal.display if line.strip(" >").startswith(name)), [])


def assert_given_back(terminal: Emulator, settings: list[object]) -> None:
    terminal.until(lambda: not terminal.full_screen and not terminal.screen.cursor.hidden, "the normal screen is back")
    until(lambda: terminal.settings == settings, "the settings are what they were")


@pytest.fixture(name="settings")
def fixture_settings() -> list[object]:
    """Return the settings of a terminal on which nothing has run."""
    with on_terminal(["true"]) as terminal:
        terminal.until_seen("status 0")
        return terminal.settings


def test_real_connections_are_seen_in_any_size_and_q_ends_it(link: Link, settings: list[object]) -> None:
    with shown(link.client) as terminal, listening(link.server, SERVER[4], 443) as listener:
        talk(link.client, listener, SERVER[4], times=TIMES)
        refuse(link.client, SERVER[4], 81)
        terminal.until(lambda: row_of(terminal, "client 443")[2:3] == [str(TIMES)], "every handshake is counted")
        terminal.until_seen(" failures  1: refused 1")
        terminal.until_seen(f" TIME_WAIT {TIMES}: 10.23.0.2:443 {TIMES}")
        terminal.until_seen(f" ports     {TIMES} of 28,232 (0 %) to 10.23.0.2:443 in use")
        terminal.until_seen(" audit     drift 0 (ActiveOpens, PassiveOpens, EstabResets, RetransSegs)")
        terminal.resize(200, 60)
        terminal.until_seen("TIME_WAIT by destination")
        assert row_of(terminal, "client 443")[2] == str(TIMES)
        terminal.resize(40, 10)
        terminal.until(lambda: row_of(terminal, "client 443")[2:3] == [str(TIMES)], "it fits into a small window")
        terminal.type("q")
        terminal.until_seen("status 0")
        assert_given_back(terminal, settings)


def test_ports_that_run_out_are_seen_with_their_forecast(link: Link) -> None:
    link.client.set("net.ipv4.ip_local_port_range", "40000 40099")
    with shown(link.client) as terminal, listening(link.server, SERVER[4], 443) as listener:
        for tens in range(1, 8):  # a forecast needs growth from one snapshot to another
            talk(link.client, listener, SERVER[4], times=10)
            terminal.until_seen(f" ports     {10 * tens} of 100 ({10 * tens} %) to 10.23.0.2:443 in use")
        assert re.search("in use, exhausted in [0-9.]+ m?s", terminal.text)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_with_the_summary_on_the_normal_screen(
    side: Namespace, settings: list[object], number: int, status: int
) -> None:
    with shown(side) as terminal:
        if number == signal.SIGINT:
            terminal.type("\x03")
        else:
            os.kill(terminal.command, number)
        terminal.until_seen(f"status {status}")
        assert_given_back(terminal, settings)
        assert "metrics on http://" in terminal.text
        assert "no TCP connection was opened or closed" in terminal.text


def test_with_its_view_it_is_unprivileged_and_alone(side: Namespace) -> None:
    with shown(side) as terminal:
        assert terminal.children(terminal.command) == []
        status = Path(f"/proc/{terminal.command}/status").read_text(encoding="utf-8")
        assert re.findall(r"Uid:\s+(\d+)", status) != ["0"]
        assert re.findall(r"CapEff:\s+(\w+)", status) == ["0" * 16]


def test_with_its_view_it_stays_within_its_memory(side: Namespace) -> None:
    with shown(side) as terminal, listening(side, "127.0.0.1", 443) as listener:
        talk(side, listener, "127.0.0.1", times=TIMES)
        terminal.until(lambda: row_of(terminal, "client 443"), "the service is there")
        terminal.type("\r")
        terminal.until_seen("handshake times")
        status = Path(f"/proc/{terminal.command}/status").read_text(encoding="utf-8")
        resident = int(re.findall(r"VmRSS:\s+(\d+)", status)[0])
        print(f"resident with the view: {resident / 1024:.1f} MiB")
        assert resident < MAX_RESIDENT_KB


def test_a_fault_is_seen_by_the_third_second_and_leaves_the_last_10_seconds(link: Link) -> None:
    """Of the last minute the same is told with the clock of the readings (tests/unit/model/test_spans.py)."""
    with shown(link.client, columns=120) as terminal, listening(link.server, SERVER[4], 443) as listener:
        talk(link.client, listener, SERVER[4], times=1)
        terminal.type("t")
        terminal.until_seen("last 10 s of")
        refuse(link.client, SERVER[4], 81)
        heads = {terminal.display[0]}
        while " failures  1: refused 1" not in terminal.text:
            terminal.look(0.05)
            heads.add(terminal.display[0])
            assert len(heads) <= 4, terminal.text  # the one that was there, and one a second
        terminal.until_seen(" failures  none")
        assert row_of(terminal, "client other") == []
        terminal.type("t")
        terminal.until_seen(" failures  1: refused 1")
        assert "since the start" in terminal.display[0]


def test_enter_leads_to_the_connections_of_a_service_and_the_ladder_of_one(link: Link) -> None:
    with shown(link.client, columns=100) as terminal, listening(link.server, SERVER[4], 443) as listener:
        talk(link.client, listener, SERVER[4], times=1)
        terminal.until(lambda: row_of(terminal, "client 443"), "the service is there")
        terminal.type("\r")
        terminal.until_seen("Enter connections")
        terminal.type("\r")
        terminal.until_seen("closed: normal")
        terminal.type("\r")
        for state in ("SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "CLOSE "):
            terminal.until_seen(f"  {state}")
        assert re.search(r"python\S*/\d+ connects: 10\.23\.0\.1:\d+ > 10\.23\.0\.2:443", terminal.text)
        terminal.type("\x1b")
        terminal.until_seen("Enter ladder")


def test_processes_and_peers_are_shown_and_found(link: Link) -> None:
    with shown(link.client, columns=200) as terminal, listening(link.server, SERVER[4], 443) as listener:
        talk(link.client, listener, SERVER[4], times=1)
        terminal.until_seen("10.23.0.2")
        assert re.search(r"client 443 .* python\S* +10\.23\.0\.2 ", terminal.text)
        terminal.type("/no such process\r")
        terminal.until(lambda: row_of(terminal, "client 443") == [], "it is not looked for")
        for text in ("PYTH", "10.23.", "44"):
            terminal.type(f"/{chr(127) * 20}{text}\r")
            terminal.until(lambda: row_of(terminal, "client 443"), "it is found")
