"""Recordings: a replay prints byte by byte what the live commands printed of the same run, with and without segments."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import load
from tests.kernel.ends import Pair
from tests.kernel.net import Namespace
from tests.kernel.path import SERVER, route
from tests.kernel.taping import OUTPUTS
from tests.kernel.test_closes import CLOSES
from tests.kernel.traffic import BACKLOG, connect, listening, talk
from tests.kernel.until import PATIENCE, until
from tests.needs import ROOT, shown, tool
from tracer.commands.recorded import open_recording
from tracer.model.findings import FindingsSearch
from tracer.outputs.findings.reportjson import report_document

pytestmark = pytest.mark.kernel

HERE = "127.0.0.1"
SLOW = {"silence", "host unreachable"}
TIMES = 23


@contextmanager
def taping(side: Namespace, directory: Path, *ports: int) -> Iterator[None]:
    """Record, and print beside it, into a directory; in a namespace whose TIME_WAIT is asked for."""
    command = [sys.executable, "-m", "tests.kernel.taping", str(directory), *map(str, ports)]
    process = subprocess.Popen(side.command(*command), cwd=ROOT, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"attached\n"
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def tcptrace(*arguments: object, status: int = 0) -> bytes:
    """Return what a command prints."""
    command = [sys.executable, "-m", "tracer", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=PATIENCE)
    assert done.returncode == status, done.stderr
    return done.stdout


def play_closes(service: int) -> None:
    for name, close in CLOSES.items():
        if name not in SLOW:
            with route(close.delay) as way, listening(way.server, SERVER[close.family], service) as listener:
                client = connect(way.client, SERVER[close.family], service)
                with client, listener.accept()[0] as server:
                    close.end(Pair(client, server, way, service))


def play_mixture(side: Namespace, service: int) -> None:
    """Make connections that end in every way, are refused, and lose packets."""
    rules = (
        f"table inet l {{ chain i {{ type filter hook input priority 0; tcp dport {service + 1} numgen inc mod 7 0 drop; }}; }}"
    )
    subprocess.run(side.command(tool("nft"), rules), check=True, timeout=PATIENCE)
    with side.inside():
        with listening(side, HERE, service) as listener:
            for end in load.ENDS.values():
                for _ in range(TIMES):
                    client = connect(side, HERE, service)
                    end(client, listener.accept()[0])
        for _ in range(TIMES):
            load.refuse(service)
        load.lose(service + 1, TIMES)
    until(lambda: side.open_sockets() == 0, "all have ended")


def open_some(side: Namespace, stack: ExitStack, service: int) -> None:
    """Open connections that stay so: one with unread bytes, one that only the client has closed, one that carried something."""
    listener = stack.enter_context(listening(side, HERE, service))
    for number in range(3):
        client = stack.enter_context(connect(side, HERE, service))
        server = stack.enter_context(listener.accept()[0])
        client.sendall(bytes(TIMES))
        if number:
            assert len(server.recv(TIMES, socket.MSG_WAITALL)) == TIMES
        if number == 2:
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""


def test_open_connections_are_replayed_as_the_live_command_lists_them(side: Namespace, service: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        with taping(side, tmp_path, service):
            open_some(side, stack, service)
            live = json.loads(tcptrace("connections", "--json", "--port", service))
        text = tcptrace("replay", tmp_path / "recording", "connections", "--json")
    assert text == (tmp_path / "connections").read_bytes()
    replayed = json.loads(text)
    rows = [sorted(map(without_times, found["connections"]), key=str) for found in (live, replayed)]
    assert rows[0] == rows[1]
    assert [found["services"] for found in (live, replayed)] == [live["services"]] * 2
    assert {row["state"] for row in rows[0]} == {"established", "fin_wait2", "close_wait"}
    assert {row["pid"] for row in rows[0]} == {os.getpid()}


def test_what_open_connections_carried_is_replayed_as_it_was_counted(side: Namespace, service: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        elders = [open_pair(side, stack, service + 1) for _ in range(2)]
        for client, server in elders:
            carry(client, server, 10_000)
        with taping(side, tmp_path, service, service + 1):
            until(lambda: b"FIGS" in (tmp_path / "recording").read_bytes(), "there is a dump")
            ended = open_pair(side, stack, service)
            carry(*ended, 1_000)
            open_some(side, stack, service)
            for client, server in elders:
                carry(client, server, 100)
            for one in (*elders[0], *ended):
                one.close()
        text = tcptrace("replay", tmp_path / "recording", "--json")
    assert text == (tmp_path / "run").read_bytes()
    carried = {(row["role"], row["port"]): (row["sent_bytes"], row["received_bytes"]) for row in json.loads(text)["bytes"]}
    assert carried == {
        ("client", service): (1_000 + 3 * TIMES, 0),
        ("server", service): (0, 1_000 + 3 * TIMES),
        ("client", service + 1): (200, 0),
        ("server", service + 1): (0, 200),
    }


def open_pair(side: Namespace, stack: ExitStack, service: int) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection that stays open."""
    with listening(side, HERE, service) as listener:
        client = stack.enter_context(connect(side, HERE, service))
        return client, stack.enter_context(listener.accept()[0])


def carry(client: socket.socket, server: socket.socket, count: int) -> None:
    client.sendall(bytes(count))
    assert len(server.recv(count, socket.MSG_WAITALL)) == count


def test_a_replay_prints_what_the_live_commands_printed(side: Namespace, service: int, tmp_path: Path) -> None:
    with taping(side, tmp_path, service, service + 1):
        play_closes(service)
        play_mixture(side, service)
    printed = {name: (tmp_path / name).read_bytes() for name in OUTPUTS}
    events = [json.loads(line) for line in printed["events"].splitlines()]
    assert {event["kind"] for event in events} == {"handshake", "failure", "close", "retransmit", "reset"}
    assert sum(event["kind"] == "close" for event in events) >= 2 * TIMES * (len(load.ENDS) + 1)
    kinds = {json.loads(line)["kind"] for line in printed["segments"].splitlines()}
    assert {"state", shown("calls", "call"), "segment", "time_wait"} - {None} <= kinds
    assert f"listen() with a backlog of {BACKLOG}\n".encode() in re.sub(rb"\nl\d+  (?=[a-z]+ )", b" ", printed["ladder"])
    for name, arguments in OUTPUTS.items():
        assert tcptrace("replay", tmp_path / "recording", *arguments) == printed[name], name
    assert tcptrace("report", tmp_path / "recording", "--format", "json") == printed["report"]


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in {"age_seconds", "age_least_seconds", "idle_seconds"}}


@contextmanager
def recording(side: Namespace, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a `tcptrace record` that is attached; afterwards it has ended well."""
    command = side.command(sys.executable, "-m", "tracer", "record", "--no-view", *options)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stderr is not None
        try:
            line = b""
            while b"recording to" not in line:
                line = process.stderr.readline()
                assert line, "it has ended"
            yield process
        finally:
            process.kill()


def stop(process: subprocess.Popen[bytes]) -> bytes:
    """End a recording, and return its standard output."""
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, log
    return out


def reported(file: Path) -> dict[str, Any]:
    """Return the report of a recording."""
    source = open_recording(file)
    search = FindingsSearch(source.context)
    while (reading := source.read()) is not None:
        search.add(reading)
    source.close()
    return report_document(search.findings())


def test_rotated_files_are_recordings_of_their_own_and_nothing_is_in_two(side: Namespace, service: int, tmp_path: Path) -> None:
    file = tmp_path / "r"
    with recording(side, "-o", str(file), "--rotate", "10k", "--keep", "30", "--port", str(service)) as process:
        written = [Path(f"{file}.{number}") for number in range(1, 31)]
        with listening(side, HERE, service) as listener:
            for done in range(1, 4):
                talk(side, listener, HERE, times=101)
                until(lambda done=done: written[done].stat().st_size > 0, "the next file has begun")  # type: ignore[misc]
        until(lambda: side.open_sockets() == 0, "all have ended")
        stop(process)
    used = [one for one in written if one.stat().st_size]
    assert len(used) > 3
    reports = [reported(one) for one in used]
    assert sum(row["count"] for report in reports for row in report["closes"]) == 2 * 3 * 101
    for before, after in pairwise(reports):
        assert before["start"] + before["duration_seconds"] == pytest.approx(after["start"], abs=1e-5)
    for report in reports:
        assert {row["counter"]: row["drift"] for row in report["audit"] if row["traced"] is not None} == dict.fromkeys(
            ("ActiveOpens", "PassiveOpens", "EstabResets", "RetransSegs"), 0
        )


def test_a_recording_goes_to_standard_output_and_is_replayed_from_standard_input(
    side: Namespace, service: int, tmp_path: Path
) -> None:
    with recording(side, "-o", "-", "--port", str(service)) as process:
        with listening(side, HERE, service) as listener:
            talk(side, listener, HERE, times=TIMES)
        until(lambda: side.open_sockets() == 0, "all have ended")
        data = stop(process)
    (tmp_path / "same").write_bytes(data)
    command = [sys.executable, "-m", "tracer", "replay", "-", "events", "--format", "json"]
    piped = subprocess.run(command, cwd=ROOT, input=data, capture_output=True, check=True, timeout=PATIENCE).stdout
    assert piped == tcptrace("replay", tmp_path / "same", "events", "--format", "json")
    assert piped.count(b'"kind":"close"') == 2 * TIMES


def test_a_recording_without_follow_says_so(side: Namespace, service: int, tmp_path: Path) -> None:
    file = tmp_path / "plain"
    with recording(side, "-o", str(file), "--port", str(service)) as process:
        stop(process)
    command = [sys.executable, "-m", "tracer", "replay", str(file), "follow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")
    assert "was recorded without --follow\nhint: record with 'tcptrace record --follow -o FILE'" in done.stderr
