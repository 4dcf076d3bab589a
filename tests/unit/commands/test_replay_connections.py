"""`tcptrace replay FILE connections`: the list that the live command prints, and beside it what it is of."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import ROOT
from tests.unit.ingest.openconnections import open_rows, reading_with
from tests.unit.ingest.recordings import CONTEXT, recorded
from tests.unit.model.builder import SECOND, reading
from tests.unit.model.test_openers import records
from tracer.ingest.recorder import Recorder

TABLE = """\
state process  peer                     sent/s  recv/s     rtt lost% slow by
ESTAB -        →192.0.2.1:443             12 B     0 B 20.0 ms     -
ESTAB curl     →192.0.2.1:443             12 B     0 B 20.0 ms     -

service              open   sent/s   recv/s  slow by
client 443              2     24 B      0 B  -
"""
SAID = """\
tcptrace: open connections as of 2025-11-22 22:20:02 UTC, 1.5 s before the recording ends
tcptrace: a process is known of connections whose beginning was recorded
"""


def tcptrace(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tracer", "replay", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(name="file")
def fixture_file(tmp_path: Path) -> Path:
    """Return a recording with two open connections, of one of which it has the beginning."""
    data = io.BytesIO()
    recorder = Recorder(data, CONTEXT)
    recorder.write(reading_with(open_rows(2, time_ns=2 * SECOND), 3 * SECOND, reading(records("handshake", 5))))
    recorder.write(reading(time_ns=3 * SECOND + SECOND // 2))
    file = tmp_path / "recording"
    file.write_bytes(data.getvalue())
    return file


def test_it_is_the_table_of_the_live_command_and_says_of_when(file: Path) -> None:
    done = tcptrace(file, "connections")
    assert (done.returncode, done.stdout, done.stderr) == (0, TABLE, SAID)


@pytest.mark.parametrize(
    ("options", "ports"),
    [
        ((), [40_000, 40_001]),
        (("--pid", "23"), [40_001]),
        (("--pid", "24"), []),
        (("--port", "443"), [40_000, 40_001]),
        (("--port", "444"), []),
        (("--role", "server"), []),
        (("--address", "192.0.2.0/24"), [40_000, 40_001]),
        (("--address", "198.51.100.0/24"), []),
        (("--count", "1"), [40_000]),
    ],
)
def test_filters_choose_among_them(file: Path, options: tuple[str, ...], ports: list[int]) -> None:
    done = tcptrace(file, "connections", "--json", *options)
    assert done.returncode == 0, done.stderr
    assert [row["local_port"] for row in json.loads(done.stdout)["connections"]] == ports


def test_csv_has_a_head_and_a_line_for_each(file: Path) -> None:
    lines = tcptrace(file, "connections", "--format", "csv").stdout.splitlines()
    assert lines[0].startswith("state,role,family,local_address")
    assert [line.split(",")[4] for line in lines[1:]] == ["40000", "40001"]


def test_a_recording_that_was_cut_off_shows_what_it_has_and_then_says_so(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])
    done = tcptrace(file, "connections")
    assert (done.returncode, done.stdout) == (1, TABLE)
    assert "is damaged: it ends in the middle of a frame" in done.stderr


def test_a_recording_without_a_look_says_so(tmp_path: Path) -> None:
    file = tmp_path / "short"
    file.write_bytes(recorded([reading()]))
    done = tcptrace(file, "connections")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tcptrace: {file} has no look at the open connections\nhint: record for three seconds")


def test_of_more_connections_than_it_keeps_it_says_how_many_there_were(tmp_path: Path) -> None:
    data = io.BytesIO()
    Recorder(data, CONTEXT).write(reading_with(open_rows(2, total=12_345), SECOND))
    file = tmp_path / "many"
    file.write_bytes(data.getvalue())
    said = tcptrace(file, "connections").stderr
    assert "it has 2 of 12,345, those that are held up and those that carried most" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "html"), "--format html is not known"),
        (("--sort", "age"), "--sort age is not known"),
        (("--speed", "2"), "--speed means nothing to connections"),
    ],
)
def test_what_it_cannot_is_refused(file: Path, options: tuple[str, ...], said: str) -> None:
    done = tcptrace(file, "connections", *options)
    assert done.returncode == 2
    assert said in done.stderr
