"""`tcptrace follow` as people start it: a lossy connection's ladder beside what tshark has seen of it, and every way out.

A ladder's lines are read into Rungs, and each is compared with a frame of the capture. For example, the line

    c1     1.03 s               ──SYN──────────▶  seq 2881, attempt 1: RTO

is Rung(seconds=1.03, state="", bits="SYN", out=True, inferred=False, words="seq 2881, attempt 1: RTO"), and the frame is the second SYN that tshark saw leave: number("seq") must be its sequence number, and seconds its time since the
first SYN. Arrows of dots (┄) are inferred: what they stand for was concluded and not seen.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.capture import ACK, FIN, SYN, Frame, capture, measured, retransmitted
from tests.kernel.net import Namespace
from tests.kernel.path import CLIENT, DEVICE, SERVER, Route, route
from tests.kernel.scene import SEGMENTS, SIZE, receive, send_segments, states
from tests.kernel.traffic import connect, listening, refuse, talk
from tests.kernel.until import PATIENCE, complaints, until
from tests.needs import ROOT, shown

FOLLOW = (sys.executable, "-m", "tracer", "follow")
HERE = "127.0.0.1"
ANSWER = 500

LINE = re.compile(
    r"(?P<id>[csx]\d+) +(?P<time>-?[\d.]+ (?:µs|ms|s))? +(?P<state>[A-Z_]+[12]?)? +"
    r"(?P<arrow>[◀─═┄][^▶✗]*?[▶✗─═┄])(?:  (?P<words>\w.*))?$"
)
UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Rung:
    """A line of a ladder that has an arrow. seconds: since the connection's beginning."""

    seconds: float
    state: str
    bits: str
    out: bool
    inferred: bool
    words: str

    def number(self, name: str) -> int:
        """Return the number behind a word, such as `seq 17`."""
        match = re.search(rf"\b{name} (\d+)", self.words)
        assert match, f"no {name} in {self}"
        return int(match[1])


def rungs(text: str) -> list[Rung]:
    """Return the lines of a ladder that have an arrow."""
    found = [match for line in text.splitlines() if (match := LINE.match(line))]
    return [
        Rung(
            seconds=float(match["time"].split()[0]) * UNITS[match["time"].split()[1]],
            state=match["state"] or "",
            bits=match["arrow"].strip("◀▶─═┄✗ "),
            out=not match["arrow"].startswith("◀"),
            inferred="┄" in match["arrow"],
            words=match["words"] or "",
        )
        for match in found
    ]


@contextmanager
def following(
    *options: str, port: int, side: Namespace | None = None, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Yield a running command, attached; afterwards it is gone."""
    command = [*FOLLOW, "--port", str(port), *options]
    process = subprocess.Popen(
        side.command(*command) if side else command,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert "attached after" in line, line + process.stderr.read()
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> str:
    """Return what a process that ends by itself has printed, after it ended well."""
    out, log = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaints(log)) == (0, "")
    return out or ""


def converse(way: Route, port: int) -> None:
    """Send segments one way and an answer the other, and close both ends, the client's first."""
    with listening(way.server, SERVER[4], port) as listener:
        client = connect(way.client, SERVER[4], port)
        with client, listener.accept()[0] as server:
            send_segments(client, server)
            server.sendall(bytes(ANSWER))
            receive(client, ANSWER)
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
            until(lambda: states(way.client)["fin_wait2"], "the client's FIN is acknowledged")
            server.close()
            assert client.recv(1) == b""
        until(lambda: way.client.open_sockets() + way.server.open_sockets() == 0, "both ends have closed")


def close_to(frame: Frame, first: Frame) -> Any:
    return measured((frame.time_ns - first.time_ns) / 1e9)


@pytest.mark.needs("tcpdump", "tshark", "nft")
def test_the_ladder_of_a_lossy_connection_is_what_was_on_the_wire(port: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        way = stack.enter_context(route())
        wires = {
            role: stack.enter_context(capture(side, DEVICE, port, tmp_path / role, marker_to=to))
            for (role, side), to in zip(way.ends.items(), (SERVER[4], CLIENT[4]), strict=True)
        }
        options = ("--count", "1", "--netns", "own", "--role")
        tracers = {
            role: stack.enter_context(following(*options, role, port=port, side=side)) for role, side in way.ends.items()
        }
        way.lose(f"tcp sport {port} tcp flags & (syn | ack) == (syn | ack)")
        way.lose(f"tcp dport {port} meta length > 900", first=2)
        converse(way, port)
        ladders = {role: ended(process) for role, process in tracers.items()}
        frames = {role: wire.frames() for role, wire in wires.items()}
    print(*ladders.values(), sep="\n")
    check_client(ladders["client"], frames["client"], port)
    check_server(ladders["server"], frames["server"], port)


def check_client(ladder: str, frames: list[Frame], port: int) -> None:
    steps = rungs(ladder)
    sent, came = [f for f in frames if f.dport == port], [f for f in frames if f.sport == port]
    again = retransmitted(sent)
    syn, fin = sent[0], next(f for f in sent if f.has(FIN))
    syn_ack = next(f for f in came if f.has(SYN, ACK))
    isn, peers = syn.sequence, syn_ack.sequence

    own_syn, *others = [step for step in steps if step.bits == "SYN" and step.out]
    assert (own_syn.number("seq"), own_syn.number("port"), own_syn.state) == (isn, syn.sport, "SYN_SENT")
    syns = [f for f in again if f.has(SYN)]  # one, unless the server's timer is the first, as in an emulated machine
    assert [(s.number("seq"), s.number("attempt")) for s in others] == [(isn, number + 1) for number in range(len(syns))]
    for step, frame in zip(others, syns, strict=True):
        assert step.seconds == close_to(frame, syn)

    answer = next(step for step in steps if step.bits == "SYN,ACK")
    assert (answer.number("seq"), answer.state, answer.seconds) == (peers, "ESTABLISHED", close_to(syn_ack, syn))

    lost = [f for f in again if not f.has(SYN)]
    repeated = [step for step in steps if step.bits == "data"]
    assert [step.number("seq") for step in repeated] == [(f.sequence - isn) % 2**32 for f in lost]
    for step, frame in zip(repeated, lost, strict=True):
        assert step.seconds == close_to(frame, syn)

    assert bytes_of(steps, out=True) == sum(f.length for f in sent) - sum(f.length for f in again) == SEGMENTS * SIZE
    assert bytes_of(steps, out=False) == sum(f.length for f in came) == ANSWER

    own_fin, peers_fin = (next(s for s in steps if s.bits == "FIN,ACK" and s.out is out) for out in (True, False))
    assert own_fin.number("seq") == (fin.sequence - isn) % 2**32 == SEGMENTS * SIZE + 1
    assert own_fin.seconds == close_to(fin, syn)
    last = next(f for f in came if f.has(FIN))
    assert peers_fin.number("seq") == (last.sequence - peers) % 2**32 == ANSWER + 1
    assert peers_fin.seconds == close_to(last, syn)
    acknowledged = next(step for step in steps if step.state == "FIN_WAIT2")
    confirmed = next(f for f in came if f.acknowledgment == fin.end)
    assert acknowledged.number("ack") == (confirmed.acknowledgment - isn) % 2**32
    assert acknowledged.seconds == close_to(confirmed, syn)
    rest = re.search(r"([\d.]+) s of TIME_WAIT left", ladder)
    assert rest, ladder
    assert 58 < float(rest[1]) <= 60
    assert re.search(r"TIME_WAIT +closed: normal, we first", ladder)


def check_server(ladder: str, frames: list[Frame], port: int) -> None:
    steps = rungs(ladder)
    sent, came = [f for f in frames if f.sport == port], [f for f in frames if f.dport == port]
    again = [f for f in retransmitted(sent) if f.has(SYN)]
    repeated = [step for step in steps if step.bits == "SYN,ACK" and "attempt" in step.words]
    assert [step.number("seq") for step in repeated] == [f.sequence for f in again]
    ack = next(f for f in came if f.has(ACK))
    established = next(step for step in steps if step.state == "ESTABLISHED")
    assert established.seconds - repeated[0].seconds == close_to(ack, again[0])
    assert bytes_of(steps, out=False) == SEGMENTS * SIZE
    assert bytes_of(steps, out=True) == ANSWER
    assert "closed: normal, the peer first" in ladder


def bytes_of(steps: list[Rung], *, out: bool) -> int:
    """Return the sum of the data in one direction, after seeing that each goes on where the one before ended."""
    ranges = [
        re.search(r"seq (\d+):(\d+)", step.words) for step in steps if step.out is out and re.fullmatch(r"\d+ B", step.bits)
    ]
    edges = [(int(match[1]), int(match[2])) for match in ranges if match]
    assert [start for start, _ in edges] == [1, *(end for _, end in edges[:-1])]
    return edges[-1][1] - 1


def test_json_is_the_events_with_their_connection_and_what_it_left(side: Namespace, port: int) -> None:
    with following("--format", "json", "--count", "2", "--netns", "own", "--segments", port=port, side=side) as process:
        with listening(side, HERE, port) as listener:
            talk(side, listener, HERE, times=1)
        lines = [json.loads(line) for line in ended(process).splitlines()]
    kinds = {line["kind"] for line in lines}
    assert {"state", "handshake", shown("calls", "call"), "segment", "close", "time_wait"} - {None} <= kinds
    assert len({line["connection"] for line in lines}) == 2
    opened = next(line for line in lines if line["kind"] == "state" and line["to"] == "syn_sent")
    assert (opened["pid"], opened["descriptor"] > 2, opened["local_port"]) == (os.getpid(), True, 0)
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


def test_it_serves_without_rights_and_in_little_memory(port: int) -> None:
    with following(port=port) as process:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in values["Uid"].split()
    assert int(values["CapEff"], 16) == 0
    assert int(values["VmRSS"].split()[0]) < 60 * 1024


CLIENT_STATE, BOTH_ARROW, SERVER_STATE = slice(15, 26), slice(27, 41), slice(42, 53)
"""Columns of a drawing of both ends."""


def check_both_ends(text: str, sent: int) -> None:
    """Look at the drawing of one connection whose client closes first, and has sent so many bytes."""
    joined = [line for line in text.splitlines() if line.startswith("b1 ")]
    arrows = [line[BOTH_ARROW].strip() for line in joined if line[BOTH_ARROW].strip()[:1] in set("◀─═┄")]
    fins = [arrow for arrow in arrows if "FIN" in arrow]
    assert [arrow[-1] == "▶" for arrow in fins] == [True, False], text
    assert sum(int(arrow.split()[1]) for arrow in arrows if " B " in arrow and arrow[-1] == "▶") == sent, text
    assert Counter(line[CLIENT_STATE].strip() for line in joined) >= Counter(("FIN_WAIT1", "FIN_WAIT2")), text
    assert Counter(line[SERVER_STATE].strip() for line in joined) >= Counter(("CLOSE_WAIT", "LAST_ACK", "CLOSE")), text


def test_both_ends_on_loopback_are_one_drawing(side: Namespace, port: int) -> None:
    with following("--count", "2", "--netns", "own", port=port, side=side) as process:
        with listening(side, HERE, port) as listener:
            client = connect(side, HERE, port)
            with client, listener.accept()[0] as server:
                client.sendall(bytes(SIZE))
                receive(server, SIZE)
                client.shutdown(socket.SHUT_WR)
                assert server.recv(1) == b""
        text = ended(process)
    check_both_ends(text, SIZE)


@pytest.mark.needs("nft")
def test_both_ends_in_two_namespaces_are_one_drawing(port: int) -> None:
    with route() as way, following("--count", "2", port=port) as process:
        converse(way, port)
        text = ended(process)
    check_both_ends(text, SEGMENTS * SIZE)


def test_the_end_of_time_wait_is_told_when_its_ports_are_used_again(side: Namespace, port: int) -> None:
    with following("--role", "server", "--netns", "own", port=port, side=side) as process:
        assert process.stdout is not None
        with listening(side, HERE, port) as listener:
            client = connect(side, HERE, port)
            used = client.getsockname()[1]
            with client, listener.accept()[0] as server:
                server.close()
                assert client.recv(1) == b""
            next(line for line in process.stdout if "of TIME_WAIT left" in line)
            with side.inside(), socket.socket() as again:
                again.bind((HERE, used))
                again.connect((HERE, port))
                over = next(line for line in process.stdout if "the small object is gone" in line)
    assert re.match(r"s1 +\S+ m?s +CLOSE +the small object is gone, too; \S+ m?s in TIME_WAIT$", over)
