"""Filters decide in the kernel: what nobody asked for is neither in the records nor in the exact counts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.net import CLIENT, SERVER, SERVER_TOO, Link
from tests.kernel.tracing import RUN, Summary, Tracing, Transitions, tracing
from tests.kernel.traffic import Peer, connect, converse, listening, meet, talk
from tests.kernel.until import until

TIMES = 23
CLIENT_SIDE: Transitions = {
    ("close", "syn_sent"): TIMES,
    ("syn_sent", "established"): TIMES,
    ("established", "fin_wait1"): TIMES,
    ("fin_wait1", "fin_wait2"): TIMES,
    ("fin_wait2", "close"): TIMES,
}
SERVER_SIDE: Transitions = {
    ("listen", "syn_recv"): TIMES,
    ("syn_recv", "established"): TIMES,
    ("established", "close_wait"): TIMES,
    ("close_wait", "last_ack"): TIMES,
    ("last_ack", "close"): TIMES,
}
BOTH_SIDES = CLIENT_SIDE | SERVER_SIDE


def connections_only(transitions: Transitions) -> Transitions:
    """Leave out listeners, which come and go with the tests."""
    return {edge: count for edge, count in transitions.items() if edge not in {("close", "listen"), ("listen", "close")}}


def wait_until_quiet(link: Link) -> None:
    for side in (link.client, link.server):
        until(lambda side=side: side.open_sockets() == 0, "every connection has ended")  # type: ignore[misc]


def end(tracer: Tracing, link: Link, wanted: Transitions) -> Summary:
    """Wait until both namespaces are quiet and all that is wanted was counted; then stop."""
    wait_until_quiet(link)
    tracer.wait_for_transitions(wanted)
    return tracer.stop()


def handshakes(summary: Summary) -> dict[tuple[str, int], int]:
    return {(row["role"], row["port"]): row["count"] for row in summary.document["handshakes"]}


def test_a_port_filter_leaves_other_ports_out(link: Link, port: int) -> None:
    other = port + 50
    with tracing("--port", str(port)) as tracer:
        for number in (port, other):
            with listening(link.server, SERVER[4], number) as listener:
                talk(link.client, listener, SERVER[4], times=TIMES)
        summary = end(tracer, link, BOTH_SIDES)
    assert summary.transitions == BOTH_SIDES | {("close", "listen"): 1, ("listen", "close"): 1}
    assert handshakes(summary) == {("client", port): TIMES, ("server", port): TIMES}


def test_several_ports_can_be_asked_for(link: Link, port: int) -> None:
    ports = [port, port + 50]
    with tracing("--port", str(ports[0]), "--port", str(ports[1])) as tracer:
        for number in ports:
            with listening(link.server, SERVER[4], number) as listener:
                talk(link.client, listener, SERVER[4], times=TIMES)
        summary = end(tracer, link, {edge: 2 * count for edge, count in BOTH_SIDES.items()})
    assert handshakes(summary) == {(role, number): TIMES for role in ("client", "server") for number in ports}


MAPPED = "::ffff:"


@pytest.mark.parametrize(
    ("network", "address", "others"),
    [
        pytest.param(f"{SERVER[4]}/32", SERVER[4], [SERVER_TOO[4], SERVER[6]], id="an IPv4 address"),
        pytest.param("10.23.1.0/24", SERVER_TOO[4], [SERVER[4], SERVER[6]], id="an IPv4 network"),
        pytest.param("10.23.1.0/24", MAPPED + SERVER_TOO[4], [MAPPED + SERVER[4], SERVER[6]], id="IPv4 on IPv6 sockets"),
        pytest.param(f"{SERVER[6]}/128", SERVER[6], [SERVER[4], SERVER_TOO[6]], id="an IPv6 address"),
        pytest.param("fd23:1::/64", SERVER_TOO[6], [SERVER[4], SERVER[6]], id="an IPv6 network"),
        pytest.param("fd23:1::2", SERVER_TOO[6], [SERVER[4], SERVER[6]], id="an address without a length"),
    ],
)
def test_an_address_filter_leaves_other_networks_out(
    link: Link, port: int, network: str, address: str, others: list[str]
) -> None:
    with tracing("--port", str(port), "--address", network) as tracer:
        with listening(link.server, "::", port) as listener:
            for each in (*others, address):
                talk(link.client, listener, each, times=TIMES)
        summary = end(tracer, link, BOTH_SIDES)
    assert connections_only(summary.transitions) == BOTH_SIDES
    assert handshakes(summary) == {("client", port): TIMES, ("server", port): TIMES}


def test_an_address_filter_takes_the_clients_address_as_well(link: Link, port: int) -> None:
    with tracing("--port", str(port), "--address", CLIENT[4]) as tracer:
        with listening(link.server, "::", port) as listener:
            talk(link.client, listener, SERVER[6], times=TIMES)
            talk(link.client, listener, SERVER[4], times=TIMES)
        summary = end(tracer, link, BOTH_SIDES)
    assert connections_only(summary.transitions) == BOTH_SIDES


@pytest.mark.parametrize(("role", "wanted"), [("client", CLIENT_SIDE), ("server", SERVER_SIDE)])
def test_a_role_filter_leaves_the_other_side_out(link: Link, port: int, role: str, wanted: Transitions) -> None:
    with tracing("--port", str(port), "--role", role) as tracer:
        with listening(link.server, SERVER[4], port) as listener:
            talk(link.client, listener, SERVER[4], times=TIMES)
        summary = end(tracer, link, wanted)
    assert connections_only(summary.transitions) == wanted
    assert handshakes(summary) == {(role, port): TIMES}


def test_a_pid_filter_shows_what_the_process_opens(link: Link, port: int) -> None:
    with Peer(link.client) as client, Peer(link.client) as stranger, Peer(link.server) as server:
        server.listen(SERVER[4], port)
        with tracing("--port", str(port), "--pid", str(client.pid)) as tracer:
            for opener in (stranger, client):
                meet(opener, server, SERVER[4], port, times=TIMES)
            summary = end(tracer, link, CLIENT_SIDE)
    assert connections_only(summary.transitions) == CLIENT_SIDE
    assert handshakes(summary) == {("client", port): TIMES}


@pytest.mark.parametrize("listens", ["before the start", "after the start"])
def test_a_pid_filter_shows_what_the_process_listens_for(link: Link, port: int, listens: str) -> None:
    with Peer(link.client) as client, Peer(link.server) as server, Peer(link.server) as stranger:
        stranger.listen(SERVER[4], port + 50)
        if listens == "before the start":
            server.listen(SERVER[4], port)
        with tracing("--pid", str(server.pid)) as tracer:
            if listens == "after the start":
                server.listen(SERVER[4], port)
            meet(client, stranger, SERVER[4], port + 50, times=TIMES)
            meet(client, server, SERVER[4], port, times=TIMES)
            summary = end(tracer, link, SERVER_SIDE)
    assert connections_only(summary.transitions) == SERVER_SIDE
    assert handshakes(summary) == {("server", port): TIMES}


def cgroup_mount() -> Path | None:
    lines = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    return next((Path(line[1]) for line in lines if line[2] == "cgroup2"), None)


@pytest.fixture(name="cgroup")
def fixture_cgroup() -> Iterator[Path]:
    """Return a fresh cgroup with one below it, `below`."""
    mount = cgroup_mount()
    if mount is None:
        pytest.skip("no cgroup2 file system is mounted")
    own = mount / f"tcptrace-test-{os.getpid()}"
    (own / "below").mkdir(parents=True)
    yield own
    for path in (own / "below", own):
        until(lambda path=path: not (path / "cgroup.procs").read_text(encoding="ascii"), "the cgroup is empty")  # type: ignore[misc]
        path.rmdir()


@pytest.mark.needs_kernel("cgroups")
@pytest.mark.parametrize("place", ["", "below"])
def test_a_cgroup_filter_shows_its_processes_and_those_below(link: Link, port: int, cgroup: Path, place: str) -> None:
    with Peer(link.client) as client, Peer(link.client) as stranger, Peer(link.server) as server:
        (cgroup / place / "cgroup.procs").write_text(str(client.pid), encoding="ascii")
        server.listen(SERVER[4], port)
        with tracing("--port", str(port), "--cgroup", str(cgroup)) as tracer:
            for opener in (stranger, client):
                meet(opener, server, SERVER[4], port, times=TIMES)
            summary = end(tracer, link, CLIENT_SIDE)
    assert connections_only(summary.transitions) == CLIENT_SIDE


@pytest.mark.needs_kernel("cgroups")
def test_a_cgroup_filter_shows_accepted_connections_of_its_listeners(link: Link, port: int, cgroup: Path) -> None:
    with Peer(link.client) as client, Peer(link.server) as server:
        (cgroup / "cgroup.procs").write_text(str(server.pid), encoding="ascii")
        server.listen(SERVER[4], port)
        with tracing("--port", str(port), "--cgroup", str(cgroup)) as tracer:
            meet(client, server, SERVER[4], port, times=TIMES)
            summary = end(tracer, link, SERVER_SIDE)
    assert connections_only(summary.transitions) == SERVER_SIDE


@pytest.mark.needs_kernel("cgroups")
def test_a_cgroup_filter_holds_in_a_cgroup_namespace_with_a_mount_of_its_own(
    link: Link, port: int, cgroup: Path, tmp_path: Path
) -> None:
    enter = f"echo $$ > {cgroup}/cgroup.procs; exec unshare --cgroup --mount bash -c"
    mounts = f'mount -t cgroup2 none {tmp_path}; exec "$0" "$@" --cgroup {tmp_path}/below'
    command = ("bash", "-c", f'{enter} \'{mounts}\' "$0" "$@"', sys.executable, *RUN)
    with Peer(link.client) as client, Peer(link.client) as stranger, Peer(link.server) as server:
        for opener, place in ((client, "below"), (stranger, "")):
            (cgroup / place / "cgroup.procs").write_text(str(opener.pid), encoding="ascii")
        server.listen(SERVER[4], port)
        with tracing("--port", str(port), command=command) as tracer:
            for opener in (stranger, client):
                meet(opener, server, SERVER[4], port, times=TIMES)
            summary = end(tracer, link, CLIENT_SIDE)
    assert connections_only(summary.transitions) == CLIENT_SIDE


def test_the_own_namespace_filter_leaves_every_other_namespace_out(link: Link, port: int) -> None:
    with tracing("--port", str(port), "--netns", "own", side=link.client) as tracer:
        with listening(link.server, SERVER[4], port) as listener:
            talk(link.client, listener, SERVER[4], times=TIMES)
        summary = end(tracer, link, CLIENT_SIDE)
    assert summary.transitions == CLIENT_SIDE


def test_filters_of_different_kinds_must_all_hold(link: Link, port: int) -> None:
    with tracing("--port", str(port), "--address", "10.23.1.0/24", "--role", "server") as tracer:
        with listening(link.server, "::", port) as listener:
            for address in (SERVER[4], SERVER_TOO[6], SERVER_TOO[4]):
                talk(link.client, listener, address, times=TIMES)
        summary = end(tracer, link, SERVER_SIDE)
    assert connections_only(summary.transitions) == SERVER_SIDE


def test_a_service_above_the_ephemeral_ports_does_not_confuse_the_roles(link: Link, high_port: int) -> None:
    with (
        tracing("--netns", "own", "--role", "server", side=link.client) as at_client,
        tracing("--netns", "own", "--role", "client", side=link.server) as at_server,
    ):
        with listening(link.server, SERVER[4], high_port) as listener:
            talk(link.client, listener, SERVER[4], times=TIMES)
        wait_until_quiet(link)
        summaries = [at_client.stop(), at_server.stop()]
    # a tracer may have seen its own listener, of the metrics
    assert [connections_only(summary.transitions) for summary in summaries] == [{}, {}]


def test_a_port_filter_does_not_take_a_clients_own_port_for_the_service(link: Link, port: int, high_port: int) -> None:
    link.client.set("net.ipv4.ip_local_port_range", f"{port} {port}")
    with tracing("--port", str(port)) as tracer:
        with listening(link.server, SERVER[4], high_port) as listener:
            talk(link.client, listener, SERVER[4], times=1)
        wait_until_quiet(link)
        summary = tracer.stop()
    assert summary.transitions == {}


def test_a_server_whose_listener_has_gone_is_no_client(link: Link, port: int) -> None:
    with tracing("--netns", "own", "--role", "client", side=link.server) as tracer:
        with listening(link.server, SERVER[4], port) as listener:
            client, server = connect(link.client, SERVER[4], port), listener.accept()[0]
        converse(client, server)
        wait_until_quiet(link)
        summary = tracer.stop()
    assert summary.transitions == {}
