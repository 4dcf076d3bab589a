"""The same link-local address on two links is two destinations, each with its interface."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack

from tests.kernel.net import Link
from tests.kernel.tracing import Scrape, tracing
from tests.kernel.traffic import listening
from tests.kernel.until import until
from tests.needs import tool

THERE = "fe80::1"
OPEN = {"veth": 3, "second": 5}


def add_second_link(link: Link) -> None:
    """Join the namespaces once more; the server has the same address on both links."""
    link.client.run(tool("ip"), "link", "add", "second", "type", "veth", "peer", "name", "second", "netns", link.server.path)
    for side, address in ((link.client, "fe80::c"), (link.server, THERE)):
        side.run(tool("ip"), "link", "set", "second", "up")
        for device in OPEN:
            side.run(tool("ip"), "address", "add", f"{address}/64", "dev", device, "nodad")


def connect_over(link: Link, device: str, port: int) -> socket.socket:
    with link.client.inside():
        client = socket.socket(socket.AF_INET6)
        client.connect((THERE, port, 0, socket.if_nametoindex(device)))
    return client


def test_an_address_on_two_links_is_two_destinations_in_records_and_in_the_sockets_list(link: Link, port: int) -> None:
    add_second_link(link)

    def told(scrape: Scrape) -> bool:
        peers = {d: scrape.value("connections", role="client", port=str(port), peer=f"{THERE}%{d}") for d in OPEN}
        used = {d: scrape.value("ephemeral_ports_used", destination=f"[{THERE}%{d}]:{port}") for d in OPEN}
        return peers == used == OPEN

    with (
        listening(link.server, "::", port) as listener,
        tracing("--port", str(port), "--netns", "own", "--label", "peer", side=link.client) as tracer,
        ExitStack() as stack,
    ):
        for device, times in OPEN.items():
            for _ in range(times):
                stack.enter_context(connect_over(link, device, port))
                stack.enter_context(listener.accept()[0])
        until(lambda: told(tracer.scrape()), "each link has its own")
        text = tracer.get("/")[0].decode()
    rows = [re.search(rf"<td>\[{THERE}%{d}]:{port}</td><td>fe80::\S+%{d}</td><td>(\d+)<", text) for d in OPEN]
    assert [row and int(row[1]) for row in rows] == list(OPEN.values())
