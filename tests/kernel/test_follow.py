"""`tcptrace follow` as people start it: what it prints in each of its forms, and every way in which it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.kernel.follow_command import HERE, ended, following
from tests.kernel.net import Namespace
from tests.kernel.traffic import BACKLOG, connect, listening, refuse, talk
from tests.kernel.until import PATIENCE, complaints
from tests.needs import shown


def test_json_is_the_events_with_their_connection_and_what_it_left(side: Namespace, port: int) -> None:
    with following("--format", "json", "--count", "2", "--netns", "own", "--segments", port=port, side=side) as process:
        with listening(side, HERE, port) as listener:
            talk(side, listener, HERE, times=1)
        lines = [json.loads(line) for line in ended(process).splitlines()]
    kinds = {line["kind"] for line in lines}
    assert {"state", "handshake", shown("calls", "call"), "segment", "close", "time_wait"} - {None} <= kinds
    heard = [line for line in lines if line["connection"] == "0"]
    assert [(line["from"], line["to"], line["backlog"]) for line in heard] == [("close", "listen", BACKLOG)]
    assert len({line["connection"] for line in lines}) == 3
    opened = next(line for line in lines if line["kind"] == "state" and line["to"] == "syn_sent")
    assert (opened["pid"], opened["descriptor"] > 2, opened["local_port"]) == (os.getpid(), True, None)
    assert {line[name] for line in (opened, *heard) for name in ("send_next", "receive_window", "sent_bytes")} == {None}
    ends = [line for line in lines if line["kind"] == "close"]
    assert {line["receive_next"] - line["peer_initial_sequence"] for line in ends if line["role"] == "server"} <= {6, 6 - 2**32}
    assert all(line["time"].endswith("Z") for line in lines)


def test_a_refused_connection_is_four_lines(side: Namespace, port: int) -> None:
    with following("--count", "1", "--role", "client", port=port) as process:
        refuse(side, HERE, port)
        lines = ended(process).splitlines()[2:]
    assert [bool(re.search(pattern, line)) for pattern, line in zip(WORDS_OF_REFUSAL, lines, strict=True)] == [True] * 4


WORDS_OF_REFUSAL = (
    r"/\d+ connects, descriptor \d+: 127.0.0.1 > 127.0.0.1:\d+$",
    r"0 s  SYN_SENT     ──SYN──────────▶  port \d+, seq \d+",
    r"◀──RST──────────  reset by the peer",
    r"CLOSE        failed: refused, the application gets ECONNREFUSED",
)


def test_segments_end_in_sparklines(side: Namespace, port: int) -> None:
    with following("--count", "1", "--role", "client", "--segments", "--ascii", port=port) as process:
        with listening(side, HERE, port) as listener:
            talk(side, listener, HERE, times=1)
        text = ended(process)
    assert text.isascii()
    assert re.search(r"<--(PSH,)?ACK-+  seq 1.* cwnd 10, ssthresh -, srtt ", text)
    assert re.search(r"c1 +cwnd +[_.\-~=+*#]+  [\d to]+ segments$", text, re.MULTILINE)


def test_every_step_is_explained_when_asked(side: Namespace, port: int) -> None:
    with following("--count", "1", "--explain", "--role", "server", port=port) as process:
        with listening(side, HERE, port) as listener:
            talk(side, listener, HERE, times=1)
        text = ended(process)
    said = re.sub(r"\n[a-z]\d+ +│ (?![A-Z])", " ", text)
    explanations = re.findall(r"│ (.*)", said)
    assert len(explanations) > 5
    assert len(set(explanations)) == len(explanations)


def test_a_reader_that_goes_away_ends_it_although_nothing_happens(port: int) -> None:
    with following(port=port) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("id ")
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert complaints(process.stderr.read()) == ""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_at_once(port: int, number: int, status: int) -> None:
    with following(port=port) as process:
        process.send_signal(number)
        _, log = process.communicate(timeout=PATIENCE)
        assert (process.returncode, complaints(log)) == (status, "")


def test_it_ends_when_its_time_is_over(port: int) -> None:
    with following("--duration", "0.1", port=port) as process:
        assert ended(process).count("\n") == 2


def test_two_connections_at_once_keep_their_names(side: Namespace, port: int) -> None:
    with following("--count", "2", "--role", "client", port=port) as process:
        with listening(side, HERE, port) as listener:
            threads = [threading.Thread(target=talk, args=(side, listener, HERE), kwargs={"times": 1}) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        text = ended(process)
    for name in ("c1", "c2"):
        story = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        assert " connects, " in story[0]
        assert sum("closed: normal" in line for line in story) == 1


def test_it_serves_unprivileged_and_in_little_memory(port: int) -> None:
    with following(port=port) as process:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in values["Uid"].split()
    assert int(values["CapEff"], 16) == 0
    assert int(values["VmRSS"].split()[0]) < 60 * 1024


def test_the_end_of_time_wait_is_told_when_its_ports_are_used_again(side: Namespace, port: int) -> None:
    with following("--role", "server", "--netns", "own", port=port, side=side) as process:
        assert process.stdout is not None
        with listening(side, HERE, port) as listener:
            client = connect(side, HERE, port)
            used = client.getsockname()[1]
            with client, listener.accept()[0] as server:
                server.close()
                assert client.recv(1) == b""
            next(line for line in process.stdout if "left in TIME_WAIT" in line)
            with side.inside(), socket.socket() as again:
                again.bind((HERE, used))
                again.connect((HERE, port))
                over = next(line for line in process.stdout if "the small object is gone" in line)
    assert re.match(r"s2 +\S+ m?s +CLOSE +the small object is gone, too; \S+ m?s in TIME_WAIT$", over)
