"""Listeners' queues and drops as the kernel counts them, and whose connections only one side has closed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.kernel.net import SERVER, Link, Namespace
from tests.kernel.tracing import tracing
from tests.kernel.traffic import Peer, connect, listening, talk
from tests.kernel.until import PATIENCE, until
from tests.needs import ROOT

BACKLOG = 2
MORE = 5


def start_connecting(side: Namespace, port: int) -> socket.socket:
    """Return a socket that connects, and does not wait for it."""
    with side.inside():
        client = socket.socket()
    client.setblocking(False)
    client.connect_ex((SERVER[4], port))
    return client


def test_a_queue_that_overflows_is_full_and_its_drops_are_the_kernels(link: Link, port: int) -> None:
    with (
        Peer(link.client),
        Peer(link.server),
        listening(link.server, SERVER[4], port) as listener,
        tracing("--port", str(port), "--label", "process") as tracer,
        ExitStack() as stack,
    ):
        talk(link.client, listener, SERVER[4], times=1)  # so that it is known who serves
        until(lambda: tracer.scrape().value("listener_backlog_limit", port=str(port)), "the listener was found")
        listener.listen(BACKLOG)
        waiting = [stack.enter_context(connect(link.client, SERVER[4], port)) for _ in range(BACKLOG + 1)]
        trying = [start_connecting(link.client, port) for _ in range(MORE)]
        until(lambda: link.server.counters()["ListenDrops"] >= MORE, "the queue has overflown")
        for client in trying:
            client.close()  # nobody tries again
        process = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
        labels = {"port": str(port), "process": process}

        def agree() -> bool:
            counters, scrape = link.server.counters(), tracer.scrape()
            drops = scrape.value("listener_drops_total", port=str(port))
            return drops == counters["ListenDrops"] == counters["ListenOverflows"]

        until(agree, "the drops are the kernel's")
        scrape = tracer.scrape()
        assert scrape.value("listener_backlog", **labels) == BACKLOG + 1
        assert scrape.value("listener_backlog_limit", **labels) == BACKLOG
        assert scrape.value("listener_drops_total", **labels) == link.server.counters()["ListenDrops"]
        assert f"<td>{port}</td><td>{process}</td><td>{BACKLOG + 1}</td>" in tracer.get("/")[0].decode()
        command = [sys.executable, "-m", "tracer", "snapshot", "--port", str(port), "--format", "json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE)
        (row,) = json.loads(done.stdout)["listeners"]
        assert (row["backlog"], row["backlog_limit"]) == (BACKLOG + 1, BACKLOG)
        assert (row["drops"], row["process"]) == (link.server.counters()["ListenDrops"], process)
        assert len(waiting) == BACKLOG + 1


def test_drops_from_before_the_start_are_not_counted(link: Link, port: int) -> None:
    with Peer(link.client), Peer(link.server), listening(link.server, SERVER[4], port) as listener, ExitStack() as stack:
        listener.listen(BACKLOG)
        for _ in range(BACKLOG + 1):
            stack.enter_context(connect(link.client, SERVER[4], port))
        stack.enter_context(start_connecting(link.client, port)).fileno()
        until(lambda: link.server.counters()["ListenDrops"] >= 1, "the queue has overflown")
        stack.close()
        with tracing("--port", str(port), "--label", "process") as tracer:
            until(lambda: tracer.scrape().value("listener_backlog_limit", port=str(port)), "the listener was found")
            assert tracer.scrape().value("listener_drops_total", port=str(port)) == 0


def test_duplicates_of_a_syn_that_is_being_answered_are_drops_and_no_overflow(link: Link, port: int) -> None:
    with (
        Peer(link.client),
        Peer(link.server),
        listening(link.server, SERVER[4], port) as listener,
        tracing("--port", str(port), "--label", "process") as tracer,
    ):
        talk(link.client, listener, SERVER[4], times=1)
        until(lambda: tracer.scrape().value("listener_backlog_limit", port=str(port)), "the listener was found")
        link.client.drop(f"tcp sport {port} tcp flags & (syn|ack) == syn|ack", count=2)
        talk(link.client, listener, SERVER[4], times=1)
        until(lambda: tracer.scrape().value("listener_drops_total", port=str(port)), "the kernel dropped a SYN")
        counters = link.server.counters()
        assert (counters["ListenDrops"], counters["ListenOverflows"]) == (0, 0)


def test_connections_that_one_side_has_closed_are_counted_by_service_and_process(link: Link, port: int) -> None:
    with Peer(link.client) as client, Peer(link.server) as server, tracing("--port", str(port), "--label", "process") as tracer:
        server.listen(SERVER[4], port)
        for _ in range(MORE):
            client.connect(SERVER[4], port)
            server.accept()
            client.shut()
        name = Path(f"/proc/{server.pid}/comm").read_text(encoding="utf-8").strip()
        of = {"port": str(port), "process": name}
        until(lambda: tracer.scrape().value("close_wait_sockets", role="server", **of) == MORE, "all are in CLOSE_WAIT")
        until(lambda: tracer.scrape().value("fin_wait2_sockets", role="client", **of) == MORE, "all are in FIN_WAIT2")
        page = tracer.get("/")[0].decode()
        assert f"<td>server {port} {name}</td><td>CLOSE_WAIT</td><td>{MORE}</td>" in page
        for _ in range(MORE):
            server.close()
        until(lambda: not tracer.scrape().value("close_wait_sockets"), "none is left")
