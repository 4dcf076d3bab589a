"""`tcptrace audit`: ten thousand connections of every kind, and no difference from the kernel's own counters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.announced import attached
from tests.kernel.load import COUNTS
from tests.kernel.net import Namespace
from tests.kernel.unreached import Unreached
from tests.kernel.until import PATIENCE, until
from tests.needs import ROOT, tool
from tracer.model.audit import UNSEEN

pytestmark = pytest.mark.needs("nft")

AUDIT = ("-m", "tracer", "audit", "--duration", "300")
COUNTERS = ["ActiveOpens", "PassiveOpens", "EstabResets", "RetransSegs"]


@contextmanager
def auditing(side: Namespace, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Yield an audit of a namespace that has begun to count."""
    process = subprocess.Popen(
        side.command(sys.executable, *AUDIT, *options),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("SUDO_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with attached(process, "counting"):
        yield process


def end(process: subprocess.Popen[str], status: int = 0) -> str:
    """Stop the audit and return what it prints; fails unless it says that all is well, or ends with this status."""
    process.send_signal(signal.SIGTERM)
    out, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, out + log
    return out


def make_load(side: Namespace, port: int) -> None:
    """Make all the connections, of which some lose packets and some are not let out again, and wait for their ends."""
    lossy = f"tcp dport {port + 2} numgen random mod 20 0 drop; tcp sport {port + 2} numgen random mod 20 0 drop"
    chain = f"chain loss {{ type filter hook input priority 0; {lossy}; }}"
    side.run(tool("nft"), "-f", "-", text=f"table inet lossy {{ {chain}; }}")
    side.set("net.ipv4.ip_local_port_range", "24000 65535")
    side.drop(f"tcp dport {port + 2} meta length > 900", first=7, count=5, hook="output")
    done = subprocess.run(
        side.command(sys.executable, "-m", "tests.kernel.load", str(port)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == COUNTS
    until(lambda: side.open_sockets() == 0, "every connection has ended")


def test_ten_thousand_connections_of_every_kind_end_without_drift(side: Namespace, service: int, unreached: Unreached) -> None:
    """But for hits that reached no program, and exactly those."""
    with auditing(side, "--json") as process:
        before = side.counters()
        make_load(side, service)
        after = side.counters()
        missed = unreached.hits().at(service, service + 1, service + 2).audited()
        document = json.loads(end(process, status=int(any(missed.values()))))
    print(document, missed)
    assert sum(COUNTS.values()) == 10_000
    assert list(document["counters"]) == [*COUNTERS, *UNSEEN]
    for name, line in document["counters"].items():
        kernel = after[name] - before[name]
        if name in UNSEEN:
            assert line == {"kernel": kernel, "traced": None, "drift": None}
        else:
            assert line == {"kernel": kernel, "traced": kernel - missed[name], "drift": -missed[name]}
    assert document["duration_seconds"] > 0
    opened = {name: line["kernel"] for name, line in document["counters"].items()}
    assert opened["ActiveOpens"] == 10_000
    assert opened["PassiveOpens"] >= 10_000 - COUNTS["refused"]  # a duplicate SYN may have opened one more
    assert opened["EstabResets"] == 2 * (COUNTS["aborted"] + COUNTS["unread"])
    assert opened["RetransSegs"] > 0


def test_a_retransmission_that_a_firewall_refuses_is_no_drift(side: Namespace, service: int) -> None:
    """The kernel counts it, and so does the audit, although it never left."""
    with auditing(side) as process:
        side.drop(f"tcp dport {service} meta length > 900", hook="input")
        side.drop(f"tcp dport {service} meta length > 900", first=2, count=3, hook="output")
        code = (
            "import socket\n"
            f"listener = socket.create_server(('127.0.0.1', {service}))\n"
            f"client = socket.create_connection(('127.0.0.1', {service}))\n"
            "server = listener.accept()[0]\n"
            "client.sendall(bytes(1000))\n"
            "assert len(server.recv(1000, socket.MSG_WAITALL)) == 1000\n"
        )
        side.run(sys.executable, "-I", "-c", code)
        until(lambda: side.open_sockets() == 0, "every connection has ended")
        kernel = side.counters()
        table = end(process)
    assert kernel["TCPRetransFail"] == 3
    assert kernel["RetransSegs"] == 4
    (line,) = [line for line in table.splitlines() if line.startswith("RetransSegs")]
    assert line.split() == ["RetransSegs", "4", "4", "0"]
