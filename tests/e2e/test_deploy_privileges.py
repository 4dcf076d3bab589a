"""Each privilege that deploy/README.md names, by real runs: with it something is seen, without it it is not.

systemd is not there to start a service; setpriv gives a process the user and capabilities that the unit says, and a container
engine's that the manifests say.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.kernel import net
from tests.kernel.mounts import with_mounts
from tests.kernel.tracing import RUN, Tracing, start, tracing
from tests.kernel.traffic import Peer, listening, meet, talk
from tests.kernel.until import until
from tests.needs import ROOT, tool

pytestmark = pytest.mark.kernel

PORT = 600 + os.getpid() % 400  # this session's alone, on a machine with others
TIMES = 23
USER = 23456
READABLE = Path("/mnt")
"""Where the checkout is shown, as it may lie in a home that the service's user cannot enter."""

TRACING = ["bpf", "perfmon"]
COVERED = [Path("/sys/kernel/tracing"), Path("/sys/kernel/debug"), Path("/run/netns")]
"""Two that tracing does not use; and names of namespaces, by which CAP_SYS_ADMIN alone could enter those that have one."""


def names(words: str) -> list[str]:
    return [word.lower().removeprefix("cap_") for word in words.split()]


def of_the_unit() -> list[str]:
    text = (ROOT / "deploy/systemd/tcptrace.service").read_text(encoding="utf-8")
    found = [re.findall(rf"^{name}=(.*)$", text, re.MULTILINE) for name in ("AmbientCapabilities", "CapabilityBoundingSet")]
    assert found[0] == found[1]
    return names(" ".join(found[0]))


def of_the_daemon_set() -> list[str]:
    document = yaml.safe_load((ROOT / "deploy/kubernetes/daemonset.yaml").read_text(encoding="utf-8"))
    (container,) = document["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    return names(" ".join(container["securityContext"]["capabilities"]["add"]))


def of_the_compose_file() -> list[str]:
    document = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text(encoding="utf-8"))
    assert document["services"]["tcptrace"]["cap_drop"] == ["ALL"]
    return names(" ".join(document["services"]["tcptrace"]["cap_add"]))


def as_service(*capabilities: str, user: int = USER, variables: Sequence[str] = ()) -> list[str]:
    """Return the command of a `tcptrace run` by a user who has these capabilities, and no way to others."""
    held = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    sets = [f"--bounding-set={held}", f"--inh-caps={held}", f"--ambient-caps={held}"]
    become = [tool("setpriv"), f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", *sets]
    there = ["sh", "-c", f'cd {READABLE} && exec "$@"', "sh", "env", *variables]
    python = sys.executable.replace(str(ROOT), str(READABLE))
    return with_mounts(*become, *there, python, *RUN, bind={ROOT: READABLE}, empty=COVERED)


@contextmanager
def manager() -> Iterator[socket.socket]:
    """Yield the socket of a service manager, in the abstract namespace, where every user finds it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0tcptrace-manager-{os.getpid()}")
        sock.settimeout(60)
        yield sock


def heard(sock: socket.socket) -> set[str]:
    return set(sock.recv(4096).decode().splitlines())


def make_connections(side: net.Namespace) -> None:
    with listening(side, "127.0.0.1", PORT) as listener:
        talk(side, listener, "127.0.0.1", times=TIMES)


def assert_no_privileges(tracer: Tracing, user: int) -> None:
    assert len(tracer.thread_statuses()) > 1
    for status in tracer.thread_statuses():
        sets = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
        assert sets == dict.fromkeys(sets, 0)
        assert status["Uid"].split() == [str(user)] * 4
        assert status["NoNewPrivs"] == "1"


def test_the_unit_s_privileges_are_enough_to_trace_every_namespace_and_systemd_hears_of_it() -> None:
    with manager() as sock, net.namespace() as side:
        address = f"NOTIFY_SOCKET=@tcptrace-manager-{os.getpid()}"
        command = as_service(*of_the_unit(), variables=[address, "WATCHDOG_USEC=30000000"])
        with tracing("--port", str(PORT), command=command) as tracer:
            assert "READY=1" in heard(sock)
            assert_no_privileges(tracer, USER)
            make_connections(side)
            tracer.wait_for_transitions({("fin_wait2", "close"): TIMES, ("last_ack", "close"): TIMES})
            assert "WATCHDOG=1" in heard(sock)
            summary = tracer.stop(signal.SIGTERM)
        while "STOPPING=1" not in heard(sock):
            pass  # what the watchdog was told before
    assert summary.status == 0
    for role in ("client", "server"):
        assert summary.count("handshakes", role=role, port=PORT) == TIMES
    assert "handshakes=" not in summary.log, "for a journal, which keeps all lines"


def ends_with(command: list[str]) -> str:
    """Return what a run that fails says."""
    with start("--duration", "1", command=command) as process:
        _, log = process.communicate(timeout=60)
    assert process.returncode == 1, log.decode()
    assert "hint: " in log.decode()
    return log.decode()


@pytest.mark.parametrize("without", TRACING)
def test_nothing_is_traced_without_either_of_the_unit_s_privileges(without: str) -> None:
    privileges = [name for name in of_the_unit() if name != without]
    assert len(privileges) == 1
    assert "loading BPF programs needs CAP_BPF and CAP_PERFMON" in ends_with(as_service(*privileges))


@pytest.mark.parametrize("privileges", [of_the_daemon_set(), of_the_compose_file()], ids=["kubernetes", "compose"])
def test_a_container_s_privileges_are_enough_to_trace_and_to_become_nobody(privileges: list[str]) -> None:
    with net.namespace() as side, tracing("--port", str(PORT), command=as_service(*privileges, user=0)) as tracer:
        assert_no_privileges(tracer, 65534)
        make_connections(side)
        tracer.wait_for_transitions({("fin_wait2", "close"): TIMES, ("last_ack", "close"): TIMES})
        assert tracer.stop().count("handshakes", role="server", port=PORT) == TIMES


@pytest.mark.parametrize(
    ("without", "said"), [("bpf", "BPF programs"), ("perfmon", "BPF programs"), ("setuid", "nobody"), ("setgid", "nobody")]
)
def test_each_of_a_container_s_privileges_is_needed(without: str, said: str) -> None:
    privileges = [name for name in of_the_daemon_set() if name != without]
    assert len(privileges) == 3
    assert said in ends_with(as_service(*privileges, user=0))


def test_existing_servers_have_names_without_more_privileges() -> None:
    with net.namespace() as side, Peer(side) as client, Peer(side) as server:
        server.listen("127.0.0.1", PORT)
        with tracing("--port", str(PORT), "--label", "process", command=as_service(*TRACING)) as tracer:
            meet(client, server, "127.0.0.1", PORT, times=1)
            tracer.wait_for_transitions({("fin_wait2", "close"): 1, ("last_ack", "close"): 1})
            assert tracer.scrape().value("handshakes_total", role="server", process=Path(sys.executable).name) == 1


@pytest.mark.parametrize(
    ("privileges", "known"),
    [([], False), (["sys_admin"], False), (["sys_ptrace"], False), (["sys_ptrace", "sys_admin"], True)],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_the_limit_of_other_namespaces_is_known_only_with_two_more_privileges_and_their_sockets_without(
    privileges: list[str], known: bool
) -> None:
    with net.namespace() as side, net.namespace() as other, Peer(other) as server:
        other.set("net.ipv4.ip_local_port_range", "40000 40009")
        server.listen("127.0.0.1", PORT)
        with tracing(side=side, command=as_service(*TRACING, *privileges)) as tracer:
            # tcptrace's own, which is alone in its namespace; and the server's, with whatever else listens on this machine
            until(lambda: (tracer.scrape().value("sockets", state="listen") or 0) >= 2, "sockets were counted")
            netns = str(Path(other.path).stat().st_ino)
            assert tracer.scrape().value("ephemeral_ports_limit", netns=netns) == (10 if known else None)
            log = tracer.stop().log
    assert ("the ephemeral ports of other network namespaces have no limit" in log) is not known
