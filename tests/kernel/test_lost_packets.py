"""One packet lost on its way, in every place where it matters: times and retransmissions as tshark and the kernel have them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kernel.capture import ACK, SYN, Frame, measured
from tests.kernel.path import DELAY, SERVER
from tests.kernel.scene import HANDSHAKES, ROLES, Scene, converse, kinds, retransmitted_frames, scene
from tests.kernel.watching import Event, Watching

pytestmark = pytest.mark.needs("tcpdump", "tshark", "nft")

SYNS = "tcp dport {port} tcp flags & (syn | ack) == syn"
SYN_ACKS = "tcp sport {port} tcp flags & (syn | ack) == (syn | ack)"
ACKS = "tcp dport {port} tcp flags == ack meta length < 100"
DATA = "tcp dport {port} meta length > 900"
ANSWERS = "tcp sport {port} meta length > 900"
CLIENT_FINS = "tcp dport {port} tcp flags & fin == fin"
SERVER_FINS = "tcp sport {port} tcp flags & fin == fin"

NO_PROBES = {"net.ipv4.tcp_early_retrans": "0"}


@dataclass(frozen=True)
class Loss:
    """What is lost, counted from the first of its kind, and which kinds of retransmission must make up for it, by role."""

    what: str = ""
    first: int = 1
    count: int = 1
    family: int = 4
    delay: float = 0
    client: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    client_waits: bool = False
    settings: dict[str, str] = field(default_factory=dict)


LOSSES = {
    "nothing": Loss(),
    "nothing, IPv6": Loss(family=6),
    "nothing, delayed": Loss(delay=DELAY),
    "nothing, IPv6, delayed": Loss(delay=DELAY, family=6),
    "first SYN": Loss(SYNS, client=("syn",)),
    "first SYN, IPv6, delayed": Loss(SYNS, client=("syn",), delay=DELAY, family=6),
    "first two SYNs": Loss(SYNS, count=2, client=("syn",)),
    "first SYN-ACK": Loss(SYN_ACKS, client=("syn",), server=("syn_ack",)),
    "first SYN-ACK, delayed": Loss(SYN_ACKS, client=("syn",), server=("syn_ack",), delay=DELAY),
    "first two SYN-ACKs, IPv6": Loss(SYN_ACKS, count=2, client=("syn",), server=("syn_ack",), family=6),
    "ACK, then data": Loss(ACKS),
    "ACK, then silence": Loss(ACKS, server=("syn_ack",), client_waits=True),
    "two ACKs, then silence, delayed": Loss(ACKS, count=2, server=("syn_ack",), client_waits=True, delay=DELAY),
    "second segment": Loss(DATA, first=2, client=("fast",)),
    "second segment, IPv6, delayed": Loss(DATA, first=2, client=("fast",), family=6, delay=DELAY),
    "second and third segment": Loss(DATA, first=2, count=2, client=("fast",)),
    "second segment of the answer": Loss(ANSWERS, first=2, server=("fast",)),
    "last segment": Loss(DATA, first=7, client=("tail_loss_probe",)),
    "last segment, delayed": Loss(DATA, first=7, client=("tail_loss_probe",), delay=DELAY),
    "last segment of the answer, IPv6": Loss(ANSWERS, first=7, server=("tail_loss_probe",), family=6),
    "last segment and its probe": Loss(DATA, first=7, count=2, client=("tail_loss_probe", "timeout")),
    "last segment, without probes": Loss(DATA, first=7, client=("timeout",), settings=NO_PROBES),
    "last segment twice, without probes, delayed": Loss(
        DATA, first=7, count=2, client=("timeout",), settings=NO_PROBES, delay=DELAY
    ),
    "client's FIN": Loss(CLIENT_FINS, client=("fin",)),
    "client's FIN, IPv6, delayed": Loss(CLIENT_FINS, client=("fin",), family=6, delay=DELAY),
    "server's FIN": Loss(SERVER_FINS, server=("fin",)),
}


@pytest.mark.parametrize("loss", [pytest.param(loss, id=name) for name, loss in LOSSES.items()])
def test_a_lost_packet_shows_in_times_and_retransmissions_as_it_was(
    watch: Watching, service: int, tmp_path: Path, loss: Loss
) -> None:
    with scene(watch, service, tmp_path, loss.delay) as here:
        for name, value in loss.settings.items():
            here.route.set(name, value)
        if loss.what:
            here.route.lose(loss.what.format(port=service), first=loss.first, count=loss.count)
        client_port = converse(here, SERVER[loss.family], client_waits=loss.client_waits)
        frames = here.frames(client_port)
        for role in ROLES:
            end = watch.one(client_port, "close", role, reason="normal")
            check_handshake(watch.one(client_port, "handshake", role), frames[role], role)
            check_initial_sequences(end, frames[role])
            check_retransmissions(here, client_port, frames[role], role, expected=set(getattr(loss, role)))


def check_handshake(event: Event, frames: list[Frame], role: str) -> None:
    truth = HANDSHAKES[role](frames)
    print(f"handshake {role}: tcptrace {event['handshake_seconds']:.6f} s, tshark {truth:.6f} s")
    assert event["handshake_seconds"] == measured(truth)


def check_initial_sequences(event: Event, frames: list[Frame]) -> None:
    syn = next(f for f in frames if f.has(SYN) and not f.has(ACK))
    syn_ack = next(f for f in frames if f.has(SYN, ACK))
    numbers = (event["initial_sequence"], event["peer_initial_sequence"])
    own, peer = numbers if event["role"] == "client" else reversed(numbers)
    assert (own, peer) == (syn.sequence, syn_ack.sequence)


def check_retransmissions(here: Scene, client_port: int, frames: list[Frame], role: str, *, expected: set[str]) -> None:
    events = here.watch.of(client_port, "retransmit", role)
    again, counts, kernel = retransmitted_frames(frames, here.port, role), kinds(events), here.kernel(role)
    print(f"retransmitted {role}: tcptrace {dict(counts)}, tshark {len(again)}, RetransSegs {kernel['RetransSegs']}")
    print(f"runs of programs that the kernel has skipped: {here.watch.misses()}", *events, sep="\n  ")
    assert set(counts) == expected
    assert counts.total() == len(again) == kernel["RetransSegs"]
    assert sorted(e["sequence"] for e in events) == sorted(f.sequence for f in again)
    assert counts["syn"] + counts["syn_ack"] == kernel["TCPSynRetrans"]
    assert counts["fast"] == kernel["TCPFastRetrans"]
    check_timers(counts, kernel)
    for sequence in {e["sequence"] for e in events}:
        attempts = [e["attempt"] for e in events if e["sequence"] == sequence]
        assert attempts == list(range(1, len(attempts) + 1))
    assert here.watch.one(client_port, "close", role)["retransmitted_segments"] == counts.total()


def check_timers(counts: Counter[str], kernel: Counter[str]) -> None:
    """A SYN-ACK goes out again when its timer runs out, or when another SYN comes; a FIN by either timer."""
    by_timer = counts["syn"] + counts["timeout"]
    if counts["fin"]:
        assert by_timer + counts["tail_loss_probe"] + counts["fin"] == kernel["TCPTimeouts"] + kernel["TCPLossProbes"]
    else:
        assert by_timer <= kernel["TCPTimeouts"] <= by_timer + counts["syn_ack"]
        assert counts["tail_loss_probe"] == kernel["TCPLossProbes"]
