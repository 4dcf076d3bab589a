"""Every abort in every state: what is told of it beside what the kernel counted.

The client's socket is brought into a state, and then ended there. A reset of ours leaves *after* the change of state, or it
leaves before, or never: what the kernel sent is in its OutRsts, and the reason has to say just that.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.kernel import net
from tests.kernel.capture import ACK, FIN, RST, SYN
from tests.kernel.ends import CLIENT_IN, Pair, abort, bring_client_to, connected, disconnect, reach, unread
from tests.kernel.net import Link, Namespace
from tests.kernel.path import SERVER
from tests.kernel.tracing import tracing
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.kernel.watching import Watching
from tests.kernel.wire import THERE, Segment, wire
from tests.needs import needs_mptcp, shown, tool
from tracer.model.tcp import STATE

pytestmark = pytest.mark.needs("nft", "ss")

OPEN = ("established", "close_wait")
NEED_RESET = (*OPEN, "fin_wait1", "fin_wait2")
"""In these the kernel's abort sends a reset (tcp_need_reset); in the others both FINs have been sent."""

TIMES = 7

COUNTERS = ("TCPAbortOnData", "TCPAbortOnClose", "TCPAbortOnLinger", "TCPAbortOnMemory", "TCPAbortOnTimeout")


@dataclass(frozen=True)
class Abort:
    """A way to end a socket: what to do, and what must be told of it, with a reset or without.

    before: what to do while the connection is open. always: whether it sends a reset in every state.
    """

    end: Callable[[Pair], None]
    why: str
    counter: str = ""
    number: int | None = None
    before: Callable[[Pair], None] = lambda _: None
    always: bool = False


def leave_unread(pair: Pair) -> None:
    pair.server.sendall(bytes(23))
    until(lambda: unread(pair.client) == 23, "the data are there")


def destroy(pair: Pair) -> None:
    pair.way.client.run(tool("ss"), "-K", "dst", SERVER[4], "dport", "=", str(pair.port))


ABORTS = {
    "linger 0": Abort(lambda pair: abort(pair.client), "tcp_state", "TCPAbortOnData"),
    "unread data": Abort(
        lambda pair: pair.client.close(), "tcp_abort_on_close", "TCPAbortOnClose", before=leave_unread, always=True
    ),
    "disconnect": Abort(lambda pair: disconnect(pair.client), "tcp_state"),
    "ss -K": Abort(destroy, "tcp_state", number=errno.ECONNABORTED),
}


@pytest.mark.parametrize("state", CLIENT_IN)
@pytest.mark.parametrize("how", ABORTS)
def test_an_abort_is_told_as_what_the_kernel_did_in_every_state(watch: Watching, service: int, how: str, state: str) -> None:
    way = ABORTS[how]
    with connected(service) as pair:
        port = pair.client.getsockname()[1]
        way.before(pair)
        bring_client_to(pair, state)
        pair.way.rule(f"tcp sport {service} drop")  # a FIN that is retransmitted would be answered with a reset of its own
        sent = pair.way.client.counters()["OutRsts"]
        way.end(pair)
        end = watch.one(port, "close", "client")
        kernel = pair.way.client.counters()
        abort(pair.server)
    resets = kernel["OutRsts"] - sent
    assert resets == (way.always or state in NEED_RESET)
    assert (end["from"], end["reason"]) == (state, "reset_sent" if resets else "other")
    assert end["reset_reason"] == (shown("reset_reason", way.why) if resets else None)
    assert end["errno"] == way.number
    assert len(watch.of(port, "reset", "client", direction="sent")) == resets
    assert {name: kernel[name] for name in COUNTERS if kernel[name]} == ({way.counter: 1} if way.counter else {})
    assert kernel["EstabResets"] == (state in OPEN)


@pytest.mark.parametrize("state", CLIENT_IN)
def test_a_reset_by_the_peer_is_one_that_was_received_in_every_state(watch: Watching, service: int, state: str) -> None:
    with connected(service) as pair:
        port = pair.client.getsockname()[1]
        bring_client_to(pair, state)
        abort(pair.server)
        end = watch.one(port, "close", "client")
        kernel = pair.way.client.counters()
    assert (end["from"], end["reason"]) == (state, "reset_received")
    assert end["errno"] == (errno.EPIPE if state == "close_wait" else errno.ECONNRESET)
    assert len(watch.of(port, "reset", "client", direction="received")) == 1
    assert watch.of(port, "reset", "client", direction="sent") == []
    assert kernel["OutRsts"] == 0
    assert kernel["EstabResets"] == (state in OPEN)


def test_a_listener_that_is_destroyed_from_outside_is_no_connection(watch: Watching, service: int) -> None:
    with connected(service) as pair:
        port = pair.client.getsockname()[1]
        pair.way.server.run(tool("ss"), "-K", "state", "listening", "sport", "=", str(service))
        pair.client.close()
        assert pair.server.recv(1) == b""
        pair.server.close()
        watch.one(port, "close", "server")
    assert [end for end in watch.events if end["kind"] == "close" and end["from"] in {"close", "listen"}] == []


def test_children_that_nobody_accepted_are_reset_when_their_listener_closes(watch: Watching, service: int) -> None:
    with connected(service) as pair:
        waiting = [reach(pair.way, service) for _ in range(3)]
        ports = [client.getsockname()[1] for client in waiting]
        pair.way.server.run(tool("ss"), "-K", "state", "listening", "sport", "=", str(service))
        ends = [watch.one(port, "close", "server") for port in ports]
        others = [watch.one(port, "close", "client") for port in ports]
        kernel = pair.way.server.counters()
        for client in waiting:
            client.close()
    assert [(end["reason"], end["reset_reason"]) for end in ends] == [("reset_sent", shown("reset_reason", "tcp_state"))] * 3
    assert [end["reason"] for end in others] == ["reset_received"] * 3
    assert kernel["OutRsts"] == 3


def test_data_that_overlap_the_peers_fin_are_answered_with_a_reset(watch: Watching, service: int, side: Namespace) -> None:
    with wire(side) as peer, side.inside(), socket.socket() as client:
        client.setblocking(False)
        client.connect_ex((THERE, service))
        syn = peer.read()
        ours, port = syn.sequence + 1, syn.sport
        peer.write(Segment(service, port, 1000, ours, SYN | ACK))
        assert peer.read().flags == ACK
        peer.write(Segment(service, port, 1001, ours, FIN | ACK))
        assert peer.read().acknowledgment == 1002
        peer.write(Segment(service, port, 1001, ours, ACK, bytes(10)))
        assert peer.read().flags & RST
        end = watch.one(port, "close", "client")
        kernel = side.counters()
    assert (end["from"], end["reason"], end["errno"]) == ("close_wait", "reset_sent", errno.EPIPE)
    assert watch.of(port, "reset", direction="received") == []
    assert len(watch.of(port, "reset", direction="sent")) == 1
    assert (kernel["TCPAbortOnData"], kernel["OutRsts"], kernel["EstabResets"]) == (1, 1, 1)


@pytest.mark.parametrize("unread_bytes", [0, 23], ids=["linger 0", "unread data"])
def test_a_subflow_of_an_mptcp_connection_that_is_aborted_was_reset(
    watch: Watching, service: int, link: Link, unread_bytes: int
) -> None:
    needs_mptcp()
    with listening(link.server, net.SERVER[4], service, protocol=socket.IPPROTO_MPTCP) as listener:
        client = connect(link.client, net.SERVER[4], service, protocol=socket.IPPROTO_MPTCP)
        with client, listener.accept()[0] as server:
            port = client.getsockname()[1]
            client.sendall(bytes(23))
            assert server.recv(23, socket.MSG_WAITALL) == bytes(23)
            if unread_bytes:
                server.sendall(bytes(unread_bytes))
                until(lambda: unread(client) == unread_bytes, "the data are there")
                client.close()
            else:
                abort(client)
            ends = [watch.one(port, "close", role) for role in ("client", "server")]
            kernel = link.client.counters()
    assert kernel["OutRsts"] == kernel["MPFastcloseTx"] == 1
    assert [end["reason"] for end in ends] == ["reset_sent", "reset_received"]
    assert [end["sent_bytes"] for end in ends] == [23, unread_bytes]


def cut_off(client: socket.socket, server: socket.socket, how: str) -> None:
    """End a connection over loopback by a reset of the client's; wait until the server has it."""
    if how == "unread data":
        server.sendall(bytes(23))
        until(lambda: unread(client) == 23, "the data are there")
        client.close()
    elif how == "data after shutdown":
        client.shutdown(socket.SHUT_RDWR)
        assert server.recv(1) == b""
        server.sendall(bytes(23))
    else:
        abort(client)
    until(lambda: server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == STATE["close"], "the server has been reset")


def test_over_loopback_every_abort_is_counted_once_while_no_counter_ever_falls(side: Namespace, port: int) -> None:
    hows = ("unread data", "data after shutdown", "linger 0")
    fallen: list[object] = []
    with tracing("--port", str(port)) as tracer, listening(side, "127.0.0.1", port) as listener:
        before = tracer.scrape()
        for how in hows * TIMES:
            client, server = connect(side, "127.0.0.1", port), listener.accept()[0]
            with client, server:
                cut_off(client, server, how)
            now = tracer.scrape()
            fallen += [key for key, value in before.samples.items() if "_total" in key[0] and now.samples.get(key, 0) < value]
            before = now
        until(lambda: tracer.scrape().value("connections_closed_total") == 6 * TIMES, "all ends are counted")
        scrape = tracer.scrape()
        kernel = side.counters()
    assert fallen == []
    assert kernel["OutRsts"] == 3 * TIMES
    assert scrape.value("connections_closed_total", role="client", reason="reset_sent") == 3 * TIMES
    assert scrape.value("connections_closed_total", role="server", reason="reset_received") == 3 * TIMES
    assert scrape.value("resets_sent_total") == scrape.value("resets_sent_total", role="client") == 3 * TIMES
    assert scrape.value("resets_received_total") == scrape.value("resets_received_total", role="server") == 3 * TIMES
    assert scrape.value("time_wait_entries_total") in {0, None}
    assert scrape.value("connections") == 0
