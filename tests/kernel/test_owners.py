"""Whose connection it is: the process that serves or connects, or nobody; never a guess, never one that has ended."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kernel.net import SERVER, Link, Namespace
from tests.kernel.traffic import connect, listening
from tests.kernel.until import until
from tests.kernel.watching import EVENTS, Watching, watching
from tests.needs import needs_mptcp

LAYOUTS = Path(__file__).with_name("servers.py")
TIMES = 7
POOL = 3
"""As in servers.py."""
IPPROTO_MPTCP = 262
ADDRESS = {4: "127.0.0.1", 6: "::1"}


class Served(NamedTuple):
    """One connection: the client's port, and the pid of who served it."""

    port: int
    pid: int


@contextmanager
def serving(side: Namespace, layout: str, address: str, port: int) -> Iterator[list[int]]:
    """Run servers in that layout; yield the pids of those that live on."""
    command = side.command(sys.executable, "-I", str(LAYOUTS), layout, address, str(port))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready, *pids = process.stdout.readline().split()
        assert ready == "ready"
        yield [int(pid) for pid in pids]
        process.communicate()


INTERCEPT = """
table ip owners {{
    chain c {{
        type filter hook prerouting priority mangle;
        tcp dport {port} tproxy to {address}:{proxy} accept
    }}
}}
"""


def ask(side: Namespace, address: str, port: int) -> Served:
    """Make one connection."""
    with side.inside():
        client = socket.create_connection((address, port), timeout=30)
    with client:
        return Served(client.getsockname()[1], int(client.recv(16)))


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").rstrip("\n")


def asked(side: Namespace, watch: Watching, address: str, port: int) -> list[tuple[Served, int | None, str | None]]:
    """Make connections one after the other; return each with its handshake's pid and name. A close always has the right one."""
    found = []
    for _ in range(TIMES):
        served = ask(side, address, port)
        close = watch.one(served.port, "close", "server")
        assert (close["pid"], close["process"]) == (served.pid, comm(served.pid))
        handshake = watch.one(served.port, "handshake", "server")
        found.append((served, handshake["pid"], handshake["process"]))
    return found


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("begins", ["before", "after"])
@pytest.mark.parametrize("layout", ["single", "two_sockets", "threads", "polling", "becoming"])
def test_a_process_that_serves_its_own_socket_is_named(
    side: Namespace, port: int, layout: str, begins: str, family: int
) -> None:
    """With threads the process is named, not the thread; with two sockets on a port each process for its own.

    It may wait in poll(), and be another program by now than when it called listen().
    """
    address = ADDRESS[family]
    if begins == "before":
        with serving(side, layout, address, port) as pids, watching("--port", str(port), side=side) as watch:
            found = asked(side, watch, address, port)
            names = {pid: comm(pid) for pid in pids}
    else:
        with watching("--port", str(port), side=side) as watch, serving(side, layout, address, port) as pids:
            found = asked(side, watch, address, port)
            names = {pid: comm(pid) for pid in pids}
    assert [(pid, name) for _, pid, name in found] == [(served.pid, names[served.pid]) for served, _, _ in found]


@pytest.mark.parametrize("begins", ["before", "after"])
@pytest.mark.parametrize(
    ("layout", "name"),
    [("prefork", "the-worker"), ("activated", "the-service"), ("shared", "the-successor"), ("table", "the-successor")],
)
def test_of_several_processes_that_hold_a_socket_none_is_guessed(
    side: Namespace, port: int, layout: str, name: str, begins: str
) -> None:
    """Who has served gives the name, as long as all that did have the same."""
    if begins == "before":
        with serving(side, layout, ADDRESS[4], port), watching("--port", str(port), side=side) as watch:
            found = asked(side, watch, ADDRESS[4], port)
    else:
        with watching("--port", str(port), side=side) as watch, serving(side, layout, ADDRESS[4], port):
            found = asked(side, watch, ADDRESS[4], port)
    assert [pid for _, pid, _ in found] == [None] * TIMES
    assert [process for _, _, process in found] == [None] + [name] * (TIMES - 1)


@pytest.mark.parametrize("layout", ["daemon", "handed_over"])
def test_a_process_that_takes_a_socket_over_is_named_once_it_has_served(side: Namespace, port: int, layout: str) -> None:
    with watching("--port", str(port), side=side) as watch, serving(side, layout, ADDRESS[4], port):
        found = asked(side, watch, ADDRESS[4], port)
    assert [pid for _, pid, _ in found] == [None] + [served.pid for served, _, _ in found[1:]]


def waiting_in_accept(pid: int) -> int:
    """Return how many threads of a process wait in accept()."""
    return sum(path.read_text() == "inet_csk_accept" for path in Path(f"/proc/{pid}/task").glob("*/wchan"))


def test_a_pool_that_has_given_its_socket_away_is_not_named_in_a_burst(side: Namespace, port: int) -> None:
    """Its threads waited in accept() a moment ago, and those that do now are woken at once."""
    with watching("--port", str(port), side=side) as watch, serving(side, "pool", ADDRESS[4], port) as (old, new):
        until(lambda: waiting_in_accept(old) == POOL, "all threads wait")
        earlier = [ask(side, ADDRESS[4], port) for _ in range(POOL)]
        until(lambda: waiting_in_accept(new) == POOL, "all threads of the successor wait")
        with side.inside(), ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection((ADDRESS[4], port), timeout=30)) for _ in range(8 * POOL)]
            for client in clients:
                assert int(client.recv(16)) == new
                client.shutdown(socket.SHUT_WR)
            later = [client.getsockname()[1] for client in clients]
        told = [watch.one(client, "handshake", "server")["pid"] for client in later]
        before = [watch.one(served.port, "handshake", "server")["pid"] for served in earlier]
    assert {served.pid for served in earlier} == set(before) == {old}
    assert set(told) <= {new, None}


@pytest.mark.parametrize("layout", ["daemon", "handed_over"])
def test_a_process_that_has_taken_a_socket_over_before_the_start_is_named(side: Namespace, port: int, layout: str) -> None:
    with serving(side, layout, ADDRESS[4], port), watching("--port", str(port), side=side) as watch:
        found = asked(side, watch, ADDRESS[4], port)
    assert [pid for _, pid, _ in found] == [served.pid for served, _, _ in found]


def test_a_transparent_proxy_is_named_and_not_who_listens_on_the_port_that_it_intercepts(link: Link, service: int) -> None:
    rules = INTERCEPT.format(port=service, proxy=service + 1, address=SERVER[4])
    link.server.run("nft", "-f", "-", text=rules)
    with (
        watching("--port", str(service), "--role", "server") as watch,
        serving(link.server, "intercepted", SERVER[4], service) as (_, proxy),
    ):
        found = asked(link.client, watch, SERVER[4], service)
    assert [(served.pid, pid) for served, pid, _ in found] == [(proxy, proxy)] * TIMES


IN_A_PID_NAMESPACE = """
import os, socket, subprocess, sys
from tests.kernel.announced import attached
port, options, says, tracer = int(sys.argv[1]), sys.argv[2].split(), sys.argv[3], sys.argv[4:]
ready, stands = os.pipe()
server = os.fork()
if not server:
    listener = socket.create_server(("127.0.0.1", port))
    os.write(stands, b".")
    while True:
        connection, _ = listener.accept()
        connection.recv(1)
        connection.close()
os.read(ready, 1)
options += ["--pid", str(server)] if "--role" in options else []
process = subprocess.Popen([*tracer, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
with attached(process, says):
    socket.create_connection(("127.0.0.1", port)).close()
    print(os.getpid(), server, process.communicate()[0], sep="\\n")
"""


def in_a_pid_namespace(side: Namespace, port: int, options: str, *, mount: bool, says: str = "attached after") -> list[str]:
    """Have a server, a client, and a tracer that says that first, in a pid namespace; return both pids and what it prints."""
    tracer = (sys.executable, *EVENTS, "--port", str(port), "--kind", "handshake")
    unshare = ("unshare", "--pid", "--fork", "--kill-child", *(("--mount-proc",) if mount else ()))
    out = side.run(*unshare, sys.executable, "-c", IN_A_PID_NAMESPACE, str(port), options, says, *tracer)
    return out.strip().splitlines()


def test_pids_are_those_of_tcptraces_own_pid_namespace(side: Namespace, port: int) -> None:
    client, server, *lines = in_a_pid_namespace(side, port, "--count 2", mount=True)
    events = {event["role"]: event["pid"] for event in map(json.loads, lines)}
    assert events == {"client": int(client), "server": int(server)}


def test_a_process_can_be_asked_for_by_its_number_in_a_pid_namespace(side: Namespace, port: int) -> None:
    _, server, line = in_a_pid_namespace(side, port, "--count 1 --role server", mount=True)
    assert json.loads(line)["pid"] == int(server)


def test_a_process_cannot_be_asked_for_where_proc_shows_other_numbers(side: Namespace, port: int) -> None:
    says = "/proc shows another pid namespace"
    _, _, *lines = in_a_pid_namespace(side, port, "--count 1 --role server", mount=False, says=says)
    assert lines == []


def test_what_the_kernel_opens_for_itself_is_nobodys(side: Namespace, port: int) -> None:
    """A further subflow of a connection over several paths is opened by a kernel thread."""
    needs_mptcp()
    side.run("ip", "addr", "add", "127.1.0.1/8", "dev", "lo")
    side.run("ip", "mptcp", "limits", "set", "subflow", "2", "add_addr_accepted", "2")
    side.run("ip", "mptcp", "endpoint", "add", "127.1.0.1", "dev", "lo", "subflow")
    with (
        watching("--port", str(port), "--role", "client", side=side) as watch,
        listening(side, ADDRESS[4], port, protocol=IPPROTO_MPTCP) as listener,
        connect(side, ADDRESS[4], port, protocol=IPPROTO_MPTCP) as client,
        listener.accept()[0] as server,
    ):
        client.sendall(b"x")
        assert server.recv(1) == b"x"
        found = until(
            lambda: [e for e in watch.events if e["kind"] == "handshake" and e["local_address"] == "127.1.0.1"], "a second"
        )
        assert [(e["pid"], e["process"]) for e in found] == [(None, None)]
