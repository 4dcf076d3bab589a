"""What no tracepoint shows: the kernel's own counts of it stand in the audit, without a traced side and without drift."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.kernel.net import Namespace
from tests.kernel.test_audit import auditing, end
from tests.kernel.traffic import listening
from tests.kernel.until import until
from tracer.model.audit import UNSEEN

ADDRESS = "127.0.0.1"
TIMES = 7
SYN = 2


def syn(source: int, destination: int) -> bytes:
    """Return a SYN from and to ADDRESS, with its checksum."""
    head = struct.pack("!HHIIBBHHH", source, destination, source, 0, 5 << 4, SYN, 1000, 0, 0)
    address = socket.inet_aton(ADDRESS)
    words = struct.unpack("!16H", address + address + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head)) + head)
    folded = sum(words)
    folded = (folded & 0xFFFF) + (folded >> 16)
    return head[:16] + struct.pack("!H", ~(folded + (folded >> 16)) & 0xFFFF) + head[18:]


def probe(side: Namespace, port: int) -> None:
    """Send SYNs that no socket has sent: this side's kernel answers the SYN-ACKs with resets."""
    with side.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        for number in range(TIMES):
            raw.sendto(syn(50_000 + number, port), (ADDRESS, 0))


def scan(side: Namespace, port: int) -> None:
    """Have half-open probes end with a reset."""
    with listening(side, ADDRESS, port):
        probe(side, port)
        until(lambda: side.counters()["EmbryonicRsts"] == TIMES, "every probe was reset")


def fill_the_accept_queue(side: Namespace, port: int) -> None:
    """Have more clients than a listener has room for, until it has dropped some of them."""
    with ExitStack() as stack, side.inside():
        listener = stack.enter_context(socket.create_server((ADDRESS, port), backlog=1))
        for _ in range(TIMES):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((ADDRESS, port))
        until(lambda: side.counters()["ListenOverflows"] >= 3, "some have found no room")
        listener.close()


def fill_the_request_queue(side: Namespace, port: int) -> None:
    """Flood a listener without SYN cookies with SYNs that nobody completes."""
    side.set("net.ipv4.tcp_syncookies", "0")
    side.drop("tcp flags & (syn | ack) == (syn | ack)", count=1000, hook="input")
    with side.inside(), socket.create_server((ADDRESS, port), backlog=2):
        probe(side, port)
        until(lambda: side.counters()["TCPReqQFullDrop"] > 0, "some have found no room")


def overflow_time_wait(side: Namespace, port: int) -> None:
    """Close more connections than there may be TIME_WAIT entries."""
    side.set("net.ipv4.tcp_max_tw_buckets", "2")
    with listening(side, ADDRESS, port) as listener, side.inside():
        for _ in range(TIMES):
            client = socket.create_connection((ADDRESS, port))
            server, _ = listener.accept()
            client.close()
            assert server.recv(1) == b""
            server.close()
    until(lambda: side.counters()["TCPTimeWaitOverflow"] > 0, "some have found no room")


CASES: dict[str, tuple[Callable[[Namespace, int], None], set[str]]] = {
    "half-open probes": (scan, {"AttemptFails", "EmbryonicRsts"}),
    "a full accept queue": (fill_the_accept_queue, {"ListenOverflows", "ListenDrops"}),
    "a SYN flood": (fill_the_request_queue, {"TCPReqQFullDrop", "ListenDrops"}),
    "a full table of TIME_WAIT": (overflow_time_wait, {"TCPTimeWaitOverflow"}),
}


@pytest.mark.needs("nft")
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_the_kernels_count_is_shown_alone(
    side: Namespace, port: int, case: tuple[Callable[[Namespace, int], None], set[str]]
) -> None:
    happen, counters = case
    with auditing(side, "--json") as process:
        before = side.counters()
        happen(side, port)
        until(lambda: side.open_sockets() == 0, "every socket is closed")
        after = side.counters()
        document = json.loads(end(process))
    grown = {name: after[name] - before[name] for name in UNSEEN}
    assert {name for name in counters if grown[name]} == counters
    for name in UNSEEN:
        assert document["counters"][name] == {"kernel": grown[name], "traced": None, "drift": None}
