"""`tcptrace follow`'s ladder of a lossy connection beside what tshark has seen of it, and both ends as one drawing.

A ladder's lines are read into Rungs, and each is compared with a frame of the capture. For example, the line

    c1     1.03 s               ──SYN──────────▶  seq 2881, attempt 1: RTO

is Rung(seconds=1.03, state="", bits="SYN", out=True, inferred=False, words="seq 2881, attempt 1: RTO"), and the frame is the
second SYN that tshark saw leave: number("seq") must be its sequence number, and seconds its time since the first SYN. Arrows
of dots (┄) are inferred: what they stand for was concluded and not seen.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.capture import ACK, FIN, SYN, Frame, capture, measured, retransmitted
from tests.kernel.follow_command import ANSWER, HERE, converse, ended, following
from tests.kernel.net import Namespace
from tests.kernel.path import CLIENT, DEVICE, SERVER, route
from tests.kernel.scene import SEGMENTS, SIZE, receive
from tests.kernel.traffic import BACKLOG, connect, listening

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
    rest = re.search(r"([\d.]+) s left in TIME_WAIT", ladder)
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


LOOKS = 5
"""Drawings at most, until no look at the ring falls between a client's beginning and its server's."""

CLIENT_STATE, BOTH_ARROW, SERVER_STATE = slice(15, 26), slice(27, 41), slice(42, 53)
"""Columns of a drawing of both ends."""


def check_both_ends(text: str, sent: int) -> None:
    """Look at the drawing of a listener and of one connection whose client closes first, and has sent so many bytes."""
    heard = rf"^l1  \S+/\d+ listens, descriptor \d+: \S+:\d+, listen\(\) with a backlog of {BACKLOG}\nb2  "
    assert re.search(heard, text, re.MULTILINE), text
    joined = [line for line in text.splitlines() if line.startswith("b2 ")]
    arrows = [line[BOTH_ARROW].strip() for line in joined if line[BOTH_ARROW].strip()[:1] in set("◀─═┄")]
    fins = [arrow for arrow in arrows if "FIN" in arrow]
    assert [arrow[-1] == "▶" for arrow in fins] == [True, False], text
    assert sum(int(arrow.split()[1]) for arrow in arrows if " B " in arrow and arrow[-1] == "▶") == sent, text
    assert Counter(line[CLIENT_STATE].strip() for line in joined) >= Counter(("FIN_WAIT1", "FIN_WAIT2")), text
    assert Counter(line[SERVER_STATE].strip() for line in joined) >= Counter(("CLOSE_WAIT", "LAST_ACK", "CLOSE")), text


def one_drawing(draw: Callable[[], str]) -> str:
    """Return a drawing of both ends from the beginning: where a look falls between them, the client's alone begins."""
    for _ in range(LOOKS - 1):
        text = draw()
        if not re.search("^c2  ", text, re.MULTILINE):
            return text
    return draw()


def test_both_ends_on_loopback_are_one_drawing(side: Namespace, port: int) -> None:
    def draw() -> str:
        with following("--count", "2", "--netns", "own", port=port, side=side) as process:
            with listening(side, HERE, port) as listener:
                client = connect(side, HERE, port)
                with client, listener.accept()[0] as server:
                    client.sendall(bytes(SIZE))
                    receive(server, SIZE)
                    client.shutdown(socket.SHUT_WR)
                    assert server.recv(1) == b""
            return ended(process)

    check_both_ends(one_drawing(draw), SIZE)


@pytest.mark.needs("nft")
def test_both_ends_in_two_namespaces_are_one_drawing(port: int) -> None:
    def draw() -> str:
        with route() as way, following("--count", "2", port=port) as process:
            converse(way, port)
            return ended(process)

    check_both_ends(one_drawing(draw), SEGMENTS * SIZE)
