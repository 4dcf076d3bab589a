"""The same link-local address on two links is two destinations, each with its interface."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.kernel.net import Link
from tests.kernel.tracing import Scrape, tracing
from tests.kernel.traffic import Peer, listening
from tests.kernel.until import PATIENCE, until
from tests.kernel.watching import Event, watching
from tests.needs import ROOT, tool

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


def peers(lines: list[Event]) -> dict[str, set[str]]:
    """Return the interfaces of the peers that events name, by role."""
    return {
        role: {line["remote_address"].partition("%")[2] for line in lines if line["role"] == role}
        for role in ("client", "server")
    }


def test_interfaces_of_other_namespaces_have_their_names_in_events_and_recordings(
    link: Link, port: int, tmp_path: Path
) -> None:
    link.server.run(tool("ip"), "link", "add", "another", "type", "veth", "peer", "name", "beyond")  # so that indexes differ
    add_second_link(link)
    file = tmp_path / "recording"
    command = (sys.executable, "-m", "tracer", "record", "-o", str(file), "--port", str(port), "--no-view")
    with (
        Peer(link.client) as client,
        Peer(link.server) as server,
        watching("--port", str(port)) as watch,
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as record,
    ):
        assert record.stderr is not None
        assert b"recording to" in record.stderr.readline()
        server.listen("::", port)
        client.connect(f"{THERE}%second", port)
        server.accept()
        until(lambda: all(peers(watch.events).values()), "both sides are told")
        client.close()
        server.close()
        until(lambda: len(watch.events) == 4, "both have ended")
        record.terminate()
        record.communicate(timeout=PATIENCE)
    replay = (sys.executable, "-m", "tracer", "replay", str(file), "events", "--json")
    done = subprocess.run(replay, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE)
    named = {"client": {"second"}, "server": {"second"}}
    assert (peers(watch.events), peers(list(map(json.loads, done.stdout.splitlines())))) == (named, named)
