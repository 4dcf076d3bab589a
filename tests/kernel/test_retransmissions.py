"""What a retransmission is counted as: in segments, and apart when it never left."""

from __future__ import annotations

import errno

import pytest

from tests.kernel import net
from tests.kernel.net import Link
from tests.kernel.path import SERVER, route
from tests.kernel.scene import SEGMENTS, SIZE, exchange, kinds, receive
from tests.kernel.tracing import tracing
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.kernel.watching import Watching
from tests.needs import tool

pytestmark = pytest.mark.needs("nft")


def test_a_large_packet_that_is_retransmitted_counts_as_its_segments(watch: Watching, service: int, link: Link) -> None:
    link.server.drop(f"tcp dport {service} meta length > 9000", first=2, count=3)
    with listening(link.server, net.SERVER[4], service) as listener:
        client = connect(link.client, net.SERVER[4], service)
        with client, listener.accept()[0] as server:
            client_port = client.getsockname()[1]
            exchange(client, server, 1_000_000)
    end = watch.one(client_port, "close", "client")
    events, kernel = watch.of(client_port, "retransmit", "client"), link.client.counters()
    print(f"{len(events)} events, {kinds(events)}, RetransSegs {kernel['RetransSegs']}")
    assert kinds(events).total() == kernel["RetransSegs"] == end["retransmitted_segments"] > len(events)
    assert kinds(events)["fast"] == kernel["TCPFastRetrans"]


def refuse_output(match: str) -> str:
    chain = f"chain out {{ type filter hook output priority 0; {match} drop; }}"
    return f"table inet refusal {{ {chain}; }}"


@pytest.mark.needs_kernel("retransmit_err")
@pytest.mark.parametrize(("cause", "number"), [("a firewall of its own", errno.EPERM), ("no route", errno.EHOSTUNREACH)])
def test_a_retransmission_that_never_left_is_counted_apart(watch: Watching, service: int, cause: str, number: int) -> None:
    with (
        tracing("--port", str(service)) as tracer,
        route() as way,
        listening(way.server, SERVER[4], service) as listener,
        connect(way.client, SERVER[4], service) as client,
        listener.accept()[0] as server,
    ):
        client_port = client.getsockname()[1]
        way.rule(f"tcp dport {service} drop")  # what is sent is lost, and must be retransmitted
        for _ in range(SEGMENTS):
            client.send(bytes(SIZE))
        if cause == "no route":
            way.client.run(tool("ip"), "route", "del", "default")
        else:
            way.client.run(tool("nft"), "-f", "-", text=refuse_output(f"tcp dport {service}"))
        until(lambda: len(watch.of(client_port, "retransmit", "client", failed=True)) >= 3, "three attempts have failed")
        if cause == "no route":
            way.client.run(tool("ip"), "route", "add", "default", "via", "10.24.0.254")
        else:
            way.client.run(tool("nft"), "flush", "ruleset")
        way.router.run(tool("nft"), "flush", "ruleset")
        receive(server, SEGMENTS * SIZE)
        client.close()
        assert server.recv(1) == b""
        server.close()
        watch.one(client_port, "close", "server")
        until(lambda: way.client.open_sockets() == 0, "the client's end")
        kernel = way.client.counters()
        events = watch.of(client_port, "retransmit", "client")
        failed = [event for event in events if event["failed"]]
        print(f"{len(failed)} failed, errno {failed[0]['errno']}, {kinds(events)}, RetransSegs {kernel['RetransSegs']}")
        assert {event["errno"] for event in failed} == {number}
        # The kernel counts a segment when it is about to be sent, and again when that was refused.
        assert kinds(events).total() == kernel["RetransSegs"] - kernel["TCPRetransFail"]
        assert kernel["TCPRetransFail"] == (len(failed) if number == errno.EPERM else 0)
        assert watch.one(client_port, "close", "client")["retransmitted_segments"] == kinds(events).total()
        summary = tracer.stop()
    assert summary.count("retransmitted_segments", role="client", port=service) == kinds(events).total()
