"""`tcptrace events` as people start it: real connections on loopback become lines, and every way out is a clean one."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.announced import attached
from tests.kernel.net import Namespace
from tests.kernel.traffic import BACKLOG, PING, PONG, connect, converse, listening, refuse, talk
from tests.kernel.until import PATIENCE, complaints
from tests.needs import ROOT

EVENTS = (sys.executable, "-m", "tracer", "events")
HERE = {4: "127.0.0.1", 6: "::1"}


@contextmanager
def printing(*options: str, port: int, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """Yield a running `tcptrace events` for a port, attached; afterwards it is gone."""
    process = subprocess.Popen(
        (*EVENTS, "--port", str(port), *options), cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True
    )
    with attached(process):
        yield process


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what a process that ends by itself still said, after it ended well."""
    out, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, log
    return out or "", log


def next_event(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    event: dict[str, Any] = json.loads(process.stdout.readline())
    return event


@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_is_two_handshakes_and_two_closes(side: Namespace, port: int, family: int) -> None:
    with printing("--format", "json", "--count", "4", port=port) as process:
        with listening(side, HERE[family], port) as listener:
            talk(side, listener, HERE[family], times=1)
        out, log = ended(process)
    events = [json.loads(line) for line in out.splitlines()]
    handshakes, closes = events[:2], events[2:]
    assert complaints(log) == ""
    assert {(event["kind"], event["role"]) for event in handshakes} == {("handshake", "client"), ("handshake", "server")}
    assert {(event["kind"], event["role"]) for event in closes} == {("close", "client"), ("close", "server")}
    for event in events:
        assert (event["family"], event["local_address"], event["remote_address"]) == (family, HERE[family], HERE[family])
        assert event["local_port" if event["role"] == "server" else "remote_port"] == port
        assert event["partial"] is False
    client, server = sorted(closes, key=lambda event: str(event["role"]))
    assert (client["sent_bytes"], client["received_bytes"]) == (len(PING), len(PONG))
    assert (server["sent_bytes"], server["received_bytes"]) == (len(PONG), len(PING))
    assert (client["closed_first"], server["closed_first"]) == ("local", "remote")
    assert (client["reason"], server["reason"]) == ("normal", "normal")
    assert (client["pid"], client["process"]) == (os.getpid(), Path("/proc/self/comm").read_text().strip())
    assert client["initial_sequence"] == server["peer_initial_sequence"]
    assert set(client["states"]) == {"syn_sent", "established", "fin_wait1", "fin_wait2"}
    assert sum(client["states"].values()) == pytest.approx(client["duration_seconds"], abs=1e-6)
    assert 0 < client["handshake_seconds"] == pytest.approx(client["states"]["syn_sent"])


def test_the_time_of_an_event_is_when_it_happened(side: Namespace, port: int) -> None:
    with printing("--format", "json", "--kind", "failure", port=port) as process:
        before = datetime.now(UTC)
        refuse(side, HERE[4], port)
        after = datetime.now(UTC)
        assert before <= datetime.fromisoformat(next_event(process)["time"]) <= after


def test_a_refused_attempt_is_a_failure_with_its_errno(side: Namespace, port: int) -> None:
    with printing("--format", "json", "--kind", "failure", "--count", "1", port=port) as process:
        refuse(side, HERE[4], port)
        event = json.loads(ended(process)[0])
    assert (event["kind"], event["reason"], event["errno"]) == ("failure", "refused", errno.ECONNREFUSED)
    assert event["duration_seconds"] == event["states"]["syn_sent"] > 0


def test_an_attempt_that_was_given_up_says_how_long_it_had_waited(link: Any, port: int) -> None:
    link.server.drop(f"tcp dport {port}", count=1000)
    with printing("--format", "json", "--kind", "failure", "--count", "1", port=port) as process:
        with link.client.inside():
            client = socket.socket()
        with client:
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.connect(("10.23.0.2", port))
        event = json.loads(ended(process)[0])
    assert (event["reason"], event["errno"]) == ("canceled", None)
    assert 0.2 <= event["duration_seconds"] < PATIENCE


def test_syn_acks_that_were_lost_are_retransmissions_numbered_from_one(link: Any, port: int) -> None:
    link.client.drop(f"tcp sport {port} tcp flags syn,ack / syn,ack", count=2)
    with (
        printing("--format", "json", "--kind", "retransmit", "--role", "server", port=port) as process,
        listening(link.server, "10.23.0.2", port) as listener,
    ):
        talk(link.client, listener, "10.23.0.2", times=1)
        process.send_signal(signal.SIGTERM)
        events = [json.loads(line) for line in ended(process)[0].splitlines()]
    assert {event["retransmit_kind"] for event in events} == {"syn_ack"}
    assert [event["attempt"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["sequence"] for event in events}) == 1


def test_state_changes_come_when_they_are_asked_for(side: Namespace, port: int) -> None:
    with printing("--format", "json", "--kind", "state", "--role", "client", "--count", "5", port=port) as process:
        with listening(side, HERE[4], port) as listener:
            talk(side, listener, HERE[4], times=1)
        events = [json.loads(line) for line in ended(process)[0].splitlines()]
    path = ["close", "syn_sent", "established", "fin_wait1", "fin_wait2", "close"]
    assert [(event["from"], event["to"]) for event in events] == list(itertools.pairwise(path))
    assert list(events[-1]["states"]) == path[1:-1]


def test_every_state_of_a_server_names_its_peer(side: Namespace, port: int) -> None:
    """Before Linux 6.15 the socket has none yet when it enters SYN_RECV."""
    path = ["close", "listen", "syn_recv", "established", "close_wait", "last_ack", "close"]
    edges = list(itertools.pairwise(path))
    with printing("--format", "json", "--kind", "state", "--role", "server", "--count", str(len(edges)), port=port) as process:
        with listening(side, HERE[4], port) as listener:
            client = connect(side, HERE[4], port)
            peer = client.getsockname()
            converse(client, listener.accept()[0])
        events = [json.loads(line) for line in ended(process)[0].splitlines()]
    assert [(event["from"], event["to"]) for event in events] == edges
    assert [event["backlog"] for event in events] == [BACKLOG, *[None] * (len(edges) - 1)]
    assert {(event["remote_address"], event["remote_port"]) for event in events[1:]} == {peer}


def test_an_abort_is_a_reset_and_a_close_with_the_kernel_s_reason(side: Namespace, port: int) -> None:
    with printing("--format", "json", "--role", "client", "--kind", "close", "--kind", "reset", port=port) as process:
        with listening(side, HERE[4], port) as listener, connect(side, HERE[4], port) as client:
            server, _ = listener.accept()
            server.sendall(PONG)
            client.recv(1, socket.MSG_PEEK)
            client.close()
            server.close()
        close, reset = next_event(process), next_event(process)
    assert (reset["kind"], reset["direction"], reset["reset_reason"]) == ("reset", "sent", close["reset_reason"])
    assert (close["kind"], close["reason"], close["closed_first"]) == ("close", "reset_sent", None)


def test_each_event_is_there_before_the_next_one_happens(side: Namespace, port: int) -> None:
    with printing("--format", "json", "--role", "client", port=port) as process, listening(side, HERE[4], port) as listener:
        client = connect(side, HERE[4], port)
        assert next_event(process)["kind"] == "handshake"
        converse(client, listener.accept()[0])
        assert next_event(process)["kind"] == "close"


def test_csv_is_read_back_as_a_table(side: Namespace, port: int) -> None:
    with printing("--format", "csv", "--count", "5", port=port) as process:
        with listening(side, HERE[4], port) as listener:
            talk(side, listener, HERE[4], times=1)
        refuse(side, HERE[4], port)
        rows = list(csv.DictReader(ended(process)[0].splitlines(), strict=True))
    assert [row["kind"] for row in rows[:4]] == ["handshake", "handshake", "close", "close"]
    assert all(row["remote_port" if row["role"] == "client" else "local_port"] == str(port) for row in rows)
    assert len(rows) == 5


def test_the_table_is_the_default_and_under_80_columns(side: Namespace, port: int) -> None:
    with printing("--count", "46", port=port) as process:
        with listening(side, HERE[4], port) as listener:
            talk(side, listener, HERE[4], times=23)
        lines = ended(process)[0].splitlines()
    assert len(lines) == 47
    assert lines[0].split() == ["time", "event", "connection", "what"]
    assert max(map(len, lines)) < 80


def test_exactly_so_many_lines_are_printed_as_were_asked_for(side: Namespace, port: int) -> None:
    with printing("--format", "json", "--count", "7", port=port) as process:
        with listening(side, HERE[4], port) as listener:
            talk(side, listener, HERE[4], times=23)
        assert len(ended(process)[0].splitlines()) == 7


def test_a_reader_that_goes_away_ends_it_although_nothing_happens(port: int) -> None:
    with printing("--format", "csv", port=port) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("time,kind,role")
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert complaints(process.stderr.read()) == ""


def test_head_gets_its_line_and_everything_ends(side: Namespace, port: int) -> None:
    with subprocess.Popen(("head", "-1"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as head:
        assert head.stdin is not None
        with printing("--format", "json", port=port, stdout=head.stdin.fileno()) as process:
            head.stdin.close()
            with listening(side, HERE[4], port) as listener:
                talk(side, listener, HERE[4], times=1)
            assert head.stdout is not None
            assert json.loads(head.stdout.read())["kind"] == "handshake"
            assert process.wait(PATIENCE) == 0
            assert process.stderr is not None
            assert complaints(process.stderr.read()) == ""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_at_once(port: int, number: int, status: int) -> None:
    with printing(port=port) as process:
        process.send_signal(number)
        _, log = process.communicate(timeout=PATIENCE)
        assert (process.returncode, complaints(log)) == (status, "")


def test_it_ends_when_its_time_is_over(port: int) -> None:
    with printing("--duration", "0.1", port=port) as process:
        assert ended(process)[1] == ""


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--kind", "closes"), "choose from handshake, failure, close, retransmit, reset, state"),
        (("--format", "xml"), "choose from table, json, csv"),
    ],
)
def test_what_is_not_known_is_a_usage_error_that_names_what_is(options: tuple[str, ...], complaint: str) -> None:
    done = subprocess.run((*EVENTS, *options), cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


def test_a_recording_prints_the_same_events_unprivileged(side: Namespace, port: int, tmp_path: Path) -> None:
    file = tmp_path / "recording"
    record = subprocess.Popen(
        (sys.executable, "-m", "tracer", "record", "-o", str(file), "--port", str(port), "--no-view"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with record, printing("--format", "json", "--count", "92", port=port) as process:
        assert record.stderr is not None
        assert "recording to" in record.stderr.readline()
        with listening(side, HERE[4], port) as listener:
            talk(side, listener, HERE[4], times=23)
        live = [comparable(json.loads(line)) for line in ended(process)[0].splitlines()]
        record.send_signal(signal.SIGTERM)
        record.communicate(timeout=PATIENCE)
    replay = (sys.executable, "-m", "tracer", "replay", str(file), "events", "--json")
    done = subprocess.run(replay, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert [comparable(json.loads(line)) for line in done.stdout.splitlines()] == live


def comparable(event: dict[str, Any]) -> tuple[Any, ...]:
    """Return what two tracers must say alike of an event: not its times, which each of them took itself."""
    names = ("kind", "role", "local_port", "remote_port", "pid", "process", "sent_bytes", "received_bytes", "initial_sequence")
    return tuple(event.get(name) for name in names)
