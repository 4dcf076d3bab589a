"""Namespaces that come and go while tcptrace runs: counted soon, let go of soon, and told by events where nothing else is."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.kernel.net import SERVER, Link, Namespace
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import Peer, connect, listening, talk
from tests.kernel.until import PATIENCE, until
from tests.needs import tool
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.proctable import ProcTable
from tracer.ingest.residents import identity_of
from tracer.ingest.sockdiag import TIMER_TIME_WAIT, Sockets
from tracer.kernel.handles import NamespaceHandle, open_handles
from tracer.model.tcp import STATE

OPEN, ENDED = 23, 7
COMPARED = ("family", "state", "local_port", "remote_port", "local_address", "remote_address", "uid", "inode")


@pytest.fixture(name="tracer", scope="module")
def fixture_tracer(service: int) -> Iterator[Tracing]:
    """Return a tracer of all namespaces, older than those of the tests."""
    with tracing("--port", str(service), "--label", "netns") as tracer:
        yield tracer


def number_of(side: Namespace) -> str:
    return str(Path(side.path).stat().st_ino)


@contextmanager
def traffic(link: Link, port: int) -> Iterator[None]:
    """Have connections open, and others ended, the client's side first."""
    with listening(link.server, SERVER[4], port) as listener, ExitStack() as stack:
        for _ in range(OPEN):
            stack.enter_context(connect(link.client, SERVER[4], port))
            stack.enter_context(listener.accept()[0])
        talk(link.client, listener, SERVER[4], times=ENDED)
        yield


def by_destination(scrape: Scrape, name: str, port: int) -> dict[tuple[str, str], float]:
    """Return what a metric says of the destination, by namespace and by what tells it."""
    return {
        (dict(has).get("netns", ""), dict(has).get("seen", "")): value
        for (found, has), value in scrape.samples.items()
        if found == f"tcptrace_{name}" and ("destination", f"{SERVER[4]}:{port}") in has
    }


def are_open(scrape: Scrape, link: Link) -> bool:
    """Return whether as many connections are open, on each side under its namespace."""
    sides = (("client", link.client), ("server", link.server))
    return [scrape.value("connections", role=role, netns=number_of(side)) for role, side in sides] == [OPEN, OPEN]


def test_a_namespace_that_began_later_is_counted_by_its_sockets(tracer: Tracing, service: int, link: Link) -> None:
    def told() -> bool:
        scrape = tracer.scrape()
        used, waiting = (by_destination(scrape, name, service) for name in ("ephemeral_ports_used", "time_wait_sockets"))
        return used == {(number_of(link.client), ""): OPEN + ENDED} and waiting == {("", ""): ENDED} and are_open(scrape, link)

    with Peer(link.client), Peer(link.server), traffic(link, service):
        until(told, "its sockets are counted, once, under its number")
        assert (tracer.scrape().value("namespaces", seen="sockets") or 0) >= 3


def test_of_a_namespace_in_which_nobody_lives_events_tell(tracer: Tracing, service: int, link: Link) -> None:
    def told() -> bool:
        scrape = tracer.scrape()
        used, waiting = (by_destination(scrape, name, service) for name in ("ephemeral_ports_used", "time_wait_sockets"))
        return (
            used.get((number_of(link.client), "events")) == OPEN + ENDED
            and (waiting.get(("", "events")) or 0) >= ENDED
            and are_open(scrape, link)
            and (scrape.value("namespaces", seen="events") or 0) >= 2
        )

    with traffic(link, service):
        until(told, "events tell of it")


def handles_of(*numbers: int) -> list[NamespaceHandle]:
    """Return handles of the own namespace and these."""
    own, *others = open_handles(own_only=False)
    for handle in others:
        if handle.netns not in numbers:
            handle.close()
    return [own, *(handle for handle in others if handle.netns in numbers)]


def is_gone(device: str, side: Namespace, namespaces: Namespaces) -> bool:
    namespaces.look()
    return device not in side.run(tool("ip"), "link")


def test_a_namespace_that_its_last_process_left_goes_with_its_devices(side: Namespace) -> None:
    device = "shortlived"
    with subprocess.Popen([tool("unshare"), "--net", "sleep", str(PATIENCE)]) as pod:
        until(lambda: identity_of(pod.pid) != identity_of(1), "the process has a namespace of its own")
        side.run(tool("ip"), "link", "add", device, "type", "veth", "peer", "name", "veth", "netns", str(pod.pid))
        netns = Path(f"/proc/{pod.pid}/ns/net").stat().st_ino
        namespaces = Namespaces(handles_of(netns))
        try:
            namespaces.look()
            assert netns in namespaces.read().ports
            pod.kill()
            pod.wait()
            until(lambda: is_gone(device, side, namespaces), "the device is gone")
            assert netns not in namespaces.read().ports
        finally:
            namespaces.close()


def rows(sockets: Sockets) -> list[tuple[object, ...]]:
    return sorted((row["timer"] == TIMER_TIME_WAIT, *(row[name].tolist() for name in COMPARED)) for row in sockets)


@pytest.mark.parametrize("family", [4, 6])
def test_the_table_in_proc_has_the_same_sockets_as_sock_diag(link: Link, port: int, family: int) -> None:
    with Peer(link.client) as resident, listening(link.server, "::", port) as listener, ExitStack() as stack:
        with link.client.inside():
            namespaces = Namespaces(open_handles(own_only=True))
            stack.callback(namespaces.close)
        resident.listen("0.0.0.0", port)
        for _ in range(OPEN):
            stack.enter_context(connect(link.client, SERVER[family], port))
            stack.enter_context(listener.accept()[0])
        talk(link.client, listener, SERVER[family], times=ENDED)
        stack.enter_context(connect(link.client, SERVER[family], port)).shutdown(socket.SHUT_WR)
        stack.enter_context(listener.accept()[0])
        identity = identity_of(resident.pid)
        assert identity is not None
        table = ProcTable(resident.pid, identity, int(number_of(link.client)))
        until(lambda: STATE["fin_wait1"] not in table.read()["state"], "the FIN is acknowledged")
        dump = namespaces.read().sockets
        found = table.read()
    assert rows(found) == rows(dump)
    assert len(found) == OPEN + ENDED + 2
    assert set(found["family"]) == {family, 4}
    assert set(found["netns"]) == {int(number_of(link.client))}
    assert table.whole
    assert (len(table.read()), table.whole) == (0, False), "the process has ended"


def test_a_table_in_proc_that_is_too_long_is_left_to_the_events(link: Link, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(link.client) as resident, listening(link.server, SERVER[4], port) as listener:
        talk(link.client, listener, SERVER[4], times=ENDED)
        identity = identity_of(resident.pid)
        assert identity is not None
        table = ProcTable(resident.pid, identity, int(number_of(link.client)))
        assert (len(table.read()), table.whole) == (ENDED, True), "timewait objects"
        for most, whole in ((ENDED, True), (ENDED - 1, False)):
            monkeypatch.setattr("tracer.ingest.proctable.MOST_SOCKETS", most)
            assert (len(table.read()), table.whole) == (ENDED if whole else 0, whole)
