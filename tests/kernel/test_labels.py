"""Whose series it is: listeners before anybody connects, workloads and groups of peers by real cgroups and addresses."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel.cgroups import cgroups
from tests.kernel.net import Namespace
from tests.kernel.tracing import Scrape, tracing
from tests.kernel.traffic import Peer, connect, converse, listening
from tests.kernel.until import until
from tests.kernel.watching import watching

ADDRESS, OFFICE = "127.0.0.1", "127.7.0.1"
CLIENTS = 23

CLIENT = """
import os, socket, sys
place, name, source, port = sys.argv[1:]
with open(place + "/cgroup.procs", "w") as procs: procs.write(str(os.getpid()))
with open("/proc/self/comm", "w") as comm: comm.write(name)
client = socket.create_connection(("127.0.0.1", int(port)), source_address=(source, 0))
print(os.getpid(), client.getsockname()[1])
"""


def connect_from(side: Namespace, place: Path, name: str, port: int, source: str = ADDRESS) -> tuple[int, int]:
    """Have a process of that cgroup and name connect, and end at once; return its pid and the connection's port."""
    out = side.run(sys.executable, "-I", "-c", CLIENT, str(place), name, source, str(port))
    pid, client_port = map(int, out.split())
    return pid, client_port


@contextmanager
def served_from(side: Namespace, place: Path, port: int) -> Iterator[Peer]:
    """Yield a process of that cgroup that listens."""
    place.mkdir(parents=True, exist_ok=True)
    with Peer(side) as server:
        Path(place, "cgroup.procs").write_text(str(server.pid), encoding="ascii")
        server.listen(ADDRESS, port)
        yield server


def test_a_service_has_series_when_it_listens_and_keeps_them_while_it_does(side: Namespace, port: int) -> None:
    with (
        listening(side, ADDRESS, port) as before,
        tracing("--netns", "own", "--label-ttl", "2", side=side) as tracer,
        listening(side, "::", port + 7000),
    ):

        def handshakes(number: int) -> float | None:
            return tracer.scrape().value("handshakes_total", role="server", port=str(number))

        until(lambda: handshakes(port) == handshakes(port + 7000) == 0, "both have series, with zeros")
        converse(connect(side, ADDRESS, port), before.accept()[0])
        until(lambda: tracer.scrape().value("handshakes_total", role="client", port=str(port)) is None, "the client is idle")
        assert (handshakes(port), handshakes(port + 7000)) == (1, 0)
        before.close()
        until(lambda: handshakes(port) is None, "it listens no more, and leaves")
        assert tracer.scrape().value("handshakes_total", port="other", role="server") == 1


@pytest.mark.needs("nft")
def test_what_a_services_first_connection_lost_is_in_its_own_series(side: Namespace, port: int) -> None:
    side.drop(f"tcp dport {port} tcp flags & (syn|ack) == syn", count=2)
    with listening(side, ADDRESS, port) as listener, tracing("--netns", "own", "--role", "client", side=side) as tracer:
        converse(connect(side, ADDRESS, port), listener.accept()[0])
        until(lambda: tracer.scrape().value("connections_closed_total", port=str(port)) == 1, "it was counted")
        scrape = tracer.scrape()
        assert scrape.value("retransmitted_segments_total", kind="syn", port=str(port)) == 2
        assert not scrape.value("retransmitted_segments_total", kind="syn", port="other")


@pytest.mark.needs_kernel("cgroups")
def test_a_listener_has_the_workload_of_its_cgroup(side: Namespace, port: int) -> None:
    unit = f"tcptrace-test-{os.getpid()}.service"
    with (
        cgroups() as top,
        served_from(side, top / unit, port) as server,
        tracing("--netns", "own", "--label", "workload", side=side) as tracer,
    ):

        def handshakes() -> float | None:
            return tracer.scrape().value("handshakes_total", role="server", port=str(port), workload=unit)

        until(lambda: handshakes() == 0, "it has series before anybody connects")
        connect_from(side, top, "the-client", port)
        server.accept()
        until(lambda: handshakes() == 1, "its connection is in the same series")


def seen(scrape: Scrape, role: str, port: int) -> dict[tuple[str | None, str | None], float]:
    """Return the handshakes by workload and group of peers."""
    return {
        (dict(labels).get("workload"), dict(labels).get("peer_group")): value
        for (name, labels), value in scrape.samples.items()
        if name == "tcptrace_handshakes_total" and {("role", role), ("port", str(port))} <= labels and value
    }


@pytest.mark.needs_kernel("cgroups")
def test_workloads_and_groups_of_peers_are_told_apart(side: Namespace, port: int) -> None:
    container, uid = secrets.token_hex(32), "7d3f2b1c-0000-1111-2222-333344445555"
    groups = ("--peer-group", "office=127.7.0.0/16", "--peer-group", "all=127.0.0.0/8", "--peer-rest", "other")
    with (
        cgroups() as top,
        served_from(
            side, top / f"kubepods-pod{uid.replace('-', '_')}.slice" / f"cri-containerd-{container}.scope", port
        ) as server,
        tracing("--netns", "own", "--port", str(port), "--label", "workload", *groups, side=side) as tracer,
    ):
        clients = {"a.service": (ADDRESS, 3), "b.service": (OFFICE, 5), f"docker-{container[::-1]}.scope": (OFFICE, 7)}
        for place, (source, times) in clients.items():
            (top / place).mkdir()
            for _ in range(times):
                connect_from(side, top / place, "the-client", port, source)
                server.accept()
        total = sum(times for _, times in clients.values())
        until(lambda: sum(seen(tracer.scrape(), "server", port).values()) == total, "all were counted")
        scrape = tracer.scrape()
    assert seen(scrape, "client", port) == {("a.service", "all"): 3, ("b.service", "all"): 5, (container[::-1][:12], "all"): 7}
    assert seen(scrape, "server", port) == {(uid, "all"): 3, (uid, "office"): 12}


@pytest.mark.needs_kernel("cgroups")
def test_clients_that_end_at_once_and_their_server_are_named_on_both_sides(side: Namespace, port: int) -> None:
    with (
        cgroups() as top,
        served_from(side, top / "the-server.service", port) as server,
        watching("--port", str(port), side=side) as watch,
    ):
        (top / "the-clients.service").mkdir()
        found = []
        for number in range(CLIENTS):
            name = f"client-{number}"
            found.append((name, *connect_from(side, top / "the-clients.service", name, port)))
            server.accept()
            server.close()
        for name, pid, client_port in found:
            for kind in ("handshake", "close"):
                client, served = (watch.one(client_port, kind, role) for role in ("client", "server"))
                assert (client["pid"], client["process"], client["container"]) == (pid, name, "the-clients.service")
                assert (served["pid"], served["container"]) == (server.pid, "the-server.service")
                assert served["process"] == Path(f"/proc/{server.pid}/comm").read_text(encoding="ascii").strip()
