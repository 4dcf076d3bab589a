"""The list of sockets against what ss and /proc/net/sockstat say of the same namespace while it is quiet."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.kernel.net import CLIENT, SERVER, Link, Namespace
from tests.kernel.timewait import SPREAD, leave_timewait, timewait_objects
from tests.kernel.traffic import connect, listening, talk
from tests.kernel.until import until
from tests.needs import tool
from tracer.ingest.decode import EVENT
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.snapshot import Dump, Snapshot
from tracer.ingest.sockdiag import TIMER_TIME_WAIT
from tracer.kernel.filters import Filters
from tracer.kernel.handles import find_namespaces, open_handles
from tracer.model.openfigures import Looks, open_figures
from tracer.model.sockets import Summarizer, summed
from tracer.model.tcp import STATE
from tracer.watch import Watch

SS_NAMES = {
    "ESTAB": "established",
    "SYN-SENT": "syn_sent",
    "SYN-RECV": "syn_recv",
    "FIN-WAIT-1": "fin_wait1",
    "FIN-WAIT-2": "fin_wait2",
    "TIME-WAIT": "time_wait",
    "CLOSE-WAIT": "close_wait",
    "LAST-ACK": "last_ack",
    "LISTEN": "listen",
    "CLOSING": "closing",
}
TIME_WAITS = 20_000
TIMES = 23


@contextmanager
def tables(side: Namespace) -> Iterator[Namespaces]:
    """Yield what reads the sockets of a namespace, opened there and read from here."""
    with side.inside():
        handles = open_handles(own_only=True)
    namespaces = Namespaces(handles)
    try:
        yield namespaces
    finally:
        namespaces.close()


def dump_of(side: Namespace) -> Dump:
    with tables(side) as namespaces:
        return namespaces.read()


def test_a_plain_dump_has_the_same_sockets_and_details_of_listeners_alone(side: Namespace) -> None:
    with side.inside():
        handles = open_handles(own_only=True)
    with listening(side, "127.0.0.1") as listener, connect(side, "127.0.0.1", listener.getsockname()[1]), listener.accept()[0]:
        namespaces = Namespaces(handles, with_details=True)
        whole, plain = namespaces.read(), namespaces.read(plain=True)
        namespaces.close()
    assert sorted(whole.sockets["cookie"].tolist()) == sorted(plain.sockets["cookie"].tolist())
    assert len(whole.details) == len(whole.sockets) == 3
    assert plain.sockets["state"][plain.details["place"]].tolist() == [STATE["listen"]]
    assert open_figures(plain, np.zeros(3, bool), Filters(), Looks()) is None


def by_ss(side: Namespace) -> dict[str, int]:
    lines = side.run(tool("ss"), "-tanH").splitlines()
    return dict(Counter(SS_NAMES[line.split()[0]] for line in lines))


def nonzero(snapshot: Snapshot) -> dict[str, int]:
    return {state: count for state, count in snapshot.states.items() if count}


@pytest.mark.needs("ss")
@pytest.mark.parametrize(
    ("listener", "client"),
    [
        (SERVER[4], SERVER[4]),
        (SERVER[6], SERVER[6]),
        ("::", SERVER[4]),
        ("::", SERVER[6]),
        ("::", f"::ffff:{SERVER[4]}"),
        (f"::ffff:{SERVER[4]}", SERVER[4]),
    ],
    ids=["IPv4", "IPv6", "IPv4 to both", "IPv6 to both", "mapped to both", "IPv4 to mapped"],
)
def test_all_states_equal_those_of_ss_and_timewait_that_of_sockstat(link: Link, port: int, listener: str, client: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(listening(link.server, listener, port))
        for _ in range(5):
            stack.enter_context(connect(link.client, client, port))
            stack.enter_context(server.accept()[0])
        stack.enter_context(connect(link.client, client, port)).shutdown(socket.SHUT_WR)
        waiting = stack.enter_context(server.accept()[0])
        talk(link.client, server, client, times=TIMES)
        assert waiting.recv(1) == b""
        ends = {
            "client": {"established": 5, "fin_wait2": 1, "time_wait": TIMES},
            "server": {"established": 5, "close_wait": 1, "listen": 1},
        }
        until(lambda: by_ss(link.server) == ends["server"], "the last ends are gone")
        until(lambda: by_ss(link.client) == ends["client"], "the last FIN is acknowledged")
        client_dump, server_dump = dump_of(link.client), dump_of(link.server)
        for side, dump in ((link.client, client_dump), (link.server, server_dump)):
            assert nonzero(summed(dump)) == by_ss(side)
            assert summed(dump).waiting_objects == timewait_objects(side)
    assert nonzero(summed(client_dump)) == ends["client"]
    assert nonzero(summed(server_dump)) == ends["server"]
    family = 6 if ":" in client and "." not in client else 4
    address = CLIENT[family], SERVER[family]
    (use,) = summed(client_dump).ports
    assert (use.local_address, use.used) == (address[0], TIMES + 6)
    place = f"{address[1]}:{port}" if family == 4 else f"[{address[1]}]:{port}"
    assert (use.destination, summed(client_dump).time_wait) == (place, ((place, TIMES),))
    open_ones = server_dump.sockets[server_dump.sockets["state"] == STATE["established"]]
    assert set(open_ones["family"]) == {family}
    assert summed(server_dump).ports == ()


@pytest.mark.needs("ss")
def test_the_queue_of_a_listener_and_the_half_open_are_seen(link: Link, port: int) -> None:
    # SYN-ACKs that never arrive leave the server's end half open
    link.client.drop(f"tcp sport {port} tcp flags & (syn|ack) == syn|ack", first=4, count=1000)
    with listening(link.server, SERVER[4], port), ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(link.client, SERVER[4], port))
        with link.client.inside():
            hanging = stack.enter_context(socket.socket())
        hanging.setblocking(False)
        hanging.connect_ex((SERVER[4], port))
        until(lambda: summed(dump_of(link.server)).states["syn_recv"] == 1, "the server has answered")
        dump = dump_of(link.server)
        (listener,) = dump.sockets[dump.sockets["state"] == STATE["listen"]]
        assert (listener["rqueue"], listener["wqueue"]) == (3, 4096)
        assert summed(dump).unaccepted == 3
        assert summed(dump_of(link.client)).states["syn_sent"] == 1


def test_orphans_are_those_that_their_process_has_closed(link: Link, port: int) -> None:
    with listening(link.server, SERVER[4], port) as listener, ExitStack() as stack:
        clients = [connect(link.client, SERVER[4], port) for _ in range(TIMES)]
        for _ in range(TIMES):
            stack.enter_context(listener.accept()[0])
        link.client.drop(f"tcp sport {port}", count=100_000)
        for client in clients:
            client.close()
        snapshot = summed(dump_of(link.client))
        assert (snapshot.states["fin_wait1"], snapshot.orphans) == (TIMES, TIMES)


@pytest.mark.needs("gcc", "ss")
def test_many_timewait_sockets_equal_sockstat_and_ss_exactly(side: Namespace, port: int) -> None:
    leave_timewait(side, port, TIME_WAITS)
    with tables(side) as namespaces:
        snapshots = [summed(namespaces.read()) for _ in range(3)]
    there = timewait_objects(side)
    # the kernel may use a port again whose timewait object is older than a second (tcp_tw_reuse)
    assert TIME_WAITS * 0.99 < there <= TIME_WAITS
    for snapshot in snapshots:
        assert snapshot.states["time_wait"] == there
        assert sum(count for _, count in snapshot.time_wait) == there
        assert there / SPREAD <= max(use.used for use in snapshot.ports) <= TIME_WAITS / SPREAD
    assert by_ss(side) == {"time_wait": there}


def record_of(found: np.void) -> np.void:
    """Return a record with the ends of a socket, as of its connection's close."""
    records = np.zeros(1, EVENT)
    for name in ("netns", "family", "local_address", "local_port", "remote_address", "remote_port"):
        records[name] = found[name]
    record: np.void = records[0]
    return record


@pytest.mark.parametrize(
    ("listener", "client"),
    [(SERVER[4], SERVER[4]), (SERVER[6], SERVER[6]), ("::", f"::ffff:{SERVER[4]}")],
    ids=["IPv4", "IPv6", "mapped"],
)
def test_a_connection_in_time_wait_is_found_with_the_rest_of_its_minute(
    link: Link, port: int, listener: str, client: str
) -> None:
    with tables(link.client) as namespaces, listening(link.server, listener, port) as service:
        talk(link.client, service, client, times=3)
        record = record_of(namespaces.read(1 << STATE["time_wait"]).sockets[0])
        first = namespaces.time_wait(record)
        assert first is not None
        assert first.state == STATE["time_wait"]
        assert 58 <= first.seconds <= 60.1

        def elapsed() -> bool:
            left = namespaces.time_wait(record)
            return left is not None and left.seconds < first.seconds - 0.1

        until(elapsed, "it counts down")


def test_an_orphan_that_waits_for_the_peers_fin_is_found_as_such(link: Link, port: int) -> None:
    with tables(link.client) as namespaces, listening(link.server, SERVER[4], port) as listener:
        client = connect(link.client, SERVER[4], port)
        with listener.accept()[0]:
            client.close()
            (found,) = until(lambda: orphans(namespaces), "our FIN is acknowledged")
            left = namespaces.time_wait(record_of(found))
            assert left is not None
            assert left.state == STATE["fin_wait2"]
            assert 50 <= left.seconds <= 60.1


def orphans(namespaces: Namespaces) -> list[np.void]:
    sockets = namespaces.read(1 << STATE["fin_wait2"]).sockets
    return [found for found in sockets if found["timer"] == TIMER_TIME_WAIT]


@pytest.mark.parametrize("name", ["remote_port", "local_port", "netns"])
def test_what_is_not_in_time_wait_or_elsewhere_is_not_found(link: Link, port: int, name: str) -> None:
    with tables(link.client) as namespaces, listening(link.server, SERVER[4], port) as service:
        talk(link.client, service, SERVER[4], times=1)
        record = record_of(namespaces.read(1 << STATE["time_wait"]).sockets[0])
        record[name] = 1
        assert namespaces.time_wait(record) is None


def test_ephemeral_ports_are_those_of_the_namespace_also_when_they_change(side: Namespace) -> None:
    side.set("net.ipv4.ip_local_port_range", "40000 40010")
    side.set("net.ipv4.ip_local_reserved_ports", "40003,40005-40006")
    with tables(side) as namespaces:
        ((_, before),) = namespaces.ports().items()
        side.set("net.ipv4.ip_local_port_range", "40000 40020")
        ((_, after),) = namespaces.ports().items()
    assert (before.limit, after.limit) == (8, 18)


def test_a_namespace_that_a_process_lives_in_is_found_and_its_sockets_are_told_apart(link: Link, port: int) -> None:
    with subprocess.Popen(link.server.command("sleep", "300")) as sleeper, listening(link.server, SERVER[4], port) as listener:
        try:
            netns = Path(f"/proc/{sleeper.pid}/ns/net")
            own = Path("/proc/thread-self/ns/net").stat().st_ino
            until(lambda: netns.stat().st_ino != own, "the process has entered the namespace")
            talk(link.client, listener, SERVER[4], times=1)
            assert netns.stat().st_ino in find_namespaces()
            handles = open_handles(own_only=False)
            namespaces = Namespaces(handles)
            dump = namespaces.read()
            namespaces.close()
            assert handles[0].netns == own == next(iter(dump.ports))
            assert Path("/proc/thread-self/ns/net").stat().st_ino == own
            listeners = dump.sockets[(dump.sockets["state"] == STATE["listen"]) & (dump.sockets["local_port"] == port)]
            assert list(listeners["netns"]) == [netns.stat().st_ino]
        finally:
            sleeper.kill()


def test_snapshots_are_taken_by_a_thread_until_it_is_closed(side: Namespace, port: int) -> None:
    with side.inside():
        handles = open_handles(own_only=True)
    namespaces = Namespaces(handles)
    watch = Watch(namespaces, Summarizer())
    before, began = threading.active_count(), time.monotonic()
    watch.start()
    try:
        first = until(lambda: watch.latest, "there is a first snapshot")
        assert first is not None
        with listening(side, "127.0.0.1", port):
            until(lambda: watch.latest is not None and watch.latest.states["listen"] == 1, "the listener is seen")
        assert first.states["listen"] == 0
        assert 0 < first.duration_seconds < time.monotonic() - began
    finally:
        watch.close()
    assert threading.active_count() == before
    watch.close()
    namespaces.close()
