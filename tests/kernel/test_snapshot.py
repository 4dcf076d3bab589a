"""What is made of the sockets' list: metrics and forecasts of `run`, and the answers of `tcptrace snapshot`."""

from __future__ import annotations

import errno
import json
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.net import CLIENT, SERVER, Link, Namespace
from tests.kernel.tracing import Tracing, tracing
from tests.kernel.traffic import Peer, connect, listening, talk
from tests.kernel.until import PATIENCE, until
from tests.needs import ROOT
from tests.ordinary import ordinary_user

ELEVEN = 11
TIMES = 23


def snapshot(*options: str, command: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what `tcptrace snapshot` says as JSON."""
    done = run_snapshot("--format", "json", *options, command=command)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_snapshot(*options: str, command: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    arguments = [*command, sys.executable, "-m", "tracer", "snapshot", *options]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)


def forecast(tracer: Tracing, destination: str) -> str | None:
    """Return when the page says that the ports to a destination will be exhausted."""
    text = tracer.get("/")[0].decode()
    row = re.search(rf"<tr><td>{re.escape(destination)}</td>(?:<td>[^<]*</td>){{3}}<td>([^<]*)</td></tr>", text)
    return row[1] if row else None


@pytest.mark.parametrize("family", [4, 6])
def test_eleven_ports_are_used_up_with_a_forecast_before_and_a_failure_after(link: Link, port: int, family: int) -> None:
    link.client.set("net.ipv4.ip_local_port_range", "40000 40010")
    destination = f"{SERVER[4]}:{port}" if family == 4 else f"[{SERVER[6]}]:{port}"
    forecasts, refused = [], 0
    with (
        Peer(link.client),  # who lives in the namespace, so that it is found
        listening(link.server, "::", port),
        tracing("--port", str(port), "--label", "peer") as tracer,
        ExitStack() as stack,
    ):
        for used in range(1, ELEVEN + 1):
            try:
                stack.enter_context(connect(link.client, SERVER[family], port))
            except OSError as error:
                # of an odd number the kernel tries all but one, which depends on chance (__inet_hash_connect)
                if used < ELEVEN or error.errno != errno.EADDRNOTAVAIL:
                    raise
                refused = 1
                stack.enter_context(connect_from_the_last_port(link.client, family, port))
            if used % 2 == 0:  # two by two, to spare some seconds
                continue
            wait_for_use(tracer, destination, used)
            forecasts.append(forecast(tracer, destination))
        with pytest.raises(OSError, match=r".*") as failed:
            connect(link.client, SERVER[family], port)
        until(lambda: failures(tracer, port, SERVER[family]) == 1 + refused, "the failure was counted")
        assert failed.value.errno == errno.EADDRNOTAVAIL
    assert forecasts[0] == "-"
    assert all(found is not None and found.startswith("in ") for found in forecasts[1:-1]), forecasts
    assert forecasts[-1] == "now"


def connect_from_the_last_port(side: Namespace, family: int, port: int) -> socket.socket:
    """Return a connection from the one port of 40000 to 40010 that is still free."""
    for local in range(40000, 40011):
        with side.inside():
            client = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
        try:
            client.bind((CLIENT[family], local))
            client.connect((SERVER[family], port))
        except OSError:
            client.close()
        else:
            return client
    raise AssertionError("no port was free")


def wait_for_use(tracer: Tracing, destination: str, used: int) -> None:
    until(lambda: tracer.scrape().value("ephemeral_ports_used", destination=destination) == used, f"{used} ports were in use")


def failures(tracer: Tracing, port: int, peer: str) -> float | None:
    labels = {"role": "client", "port": str(port), "peer": peer, "reason": "no_port"}
    return tracer.scrape().value("handshake_failures_total", **labels)


def test_run_counts_the_sockets_unprivileged_and_says_how_old_the_count_is(link: Link, port: int) -> None:
    began = time.monotonic()
    with listening(link.server, SERVER[4], port) as listener, tracing("--netns", "own", side=link.client) as tracer:
        talk(link.client, listener, SERVER[4], times=TIMES)
        place = f"{SERVER[4]}:{port}"
        until(lambda: tracer.scrape().value("time_wait_sockets", destination=place) == TIMES, "all were counted")
        scrape = tracer.scrape()
        summary = tracer.stop()
    states = [dict(labels)["state"] for (name, labels) in scrape.samples if name == "tcptrace_sockets"]
    assert len(states) == 11
    assert scrape.value("sockets", state="time_wait") == scrape.value("time_wait_sockets")
    assert scrape.value("ephemeral_ports_limit") == 60999 - 32768 + 1
    duration, age = scrape.value("snapshot_duration_seconds"), scrape.value("snapshot_age_seconds")
    assert duration is not None
    assert age is not None
    running = time.monotonic() - began
    assert 0 < duration < running
    assert 0 <= age < running
    assert summary.document["sockets"]["time_wait"] >= TIMES
    assert "cannot" not in summary.log


def test_a_server_that_forgets_to_close_is_named_by_process_pid_and_count(link: Link, port: int) -> None:
    began = time.monotonic()
    with Peer(link.client) as client, Peer(link.server) as server:
        server.listen("0.0.0.0", port)
        for _ in range(TIMES):
            client.connect(SERVER[4], port)
            server.accept()
            client.close()
        found = until(lambda: leaks(port, server.pid), "the leak is there")
        assert found is not None
        (row,) = [row for row in found["close_wait"] if row["pid"] == server.pid]
        name = Path(f"/proc/{server.pid}/comm").read_text(encoding="utf-8").strip()
        text = run_snapshot("--port", str(port)).stdout
    assert (row["process"], row["count"]) == (name, TIMES)
    assert 0 <= row["oldest_seconds"] <= time.monotonic() - began
    assert found["sockets"]["close_wait"] == TIMES
    assert re.search(rf"^  {re.escape(name)} +{server.pid} +{TIMES} ", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) < 80


def leaks(port: int, pid: int) -> dict[str, Any] | None:
    found = snapshot("--port", str(port))
    return found if any(row["pid"] == pid and row["count"] == TIMES for row in found["close_wait"]) else None


def test_it_tells_listeners_with_their_backlog_and_the_namespaces_it_has_seen(link: Link, port: int) -> None:
    with Peer(link.server), listening(link.server, "::", port), connect(link.client, SERVER[4], port):
        found = snapshot("--port", str(port))
        netns = Path(link.server.path).stat().st_ino
    (row,) = found["listeners"]
    queue = {"netns": netns, "service": f"[::]:{port}", "backlog": 1, "backlog_limit": 4096, "drops": 0}
    assert {name: row[name] for name in queue} == queue
    assert netns in found["namespaces"]
    assert found["unaccepted"] == 1


def test_only_its_own_namespace_is_seen_when_that_is_asked_for(side: Namespace, port: int) -> None:
    with Peer(side), listening(side, "127.0.0.1", port):
        found = snapshot("--netns", "own", "--port", str(port))
        inside = snapshot("--netns", "own", "--port", str(port), command=tuple(side.command()))
    assert found["namespaces"] == [found["netns"]] != inside["namespaces"] == [inside["netns"]]
    assert (found["listeners"], len(inside["listeners"])) == ([], 1)


def test_it_works_unprivileged_for_its_own_namespace_and_says_so(link: Link, port: int) -> None:
    command = [*link.client.command(), *ordinary_user("tcptrace", "snapshot", "--format", "json")]
    with listening(link.server, SERVER[4], port) as listener:
        talk(link.client, listener, SERVER[4], times=TIMES)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["time_wait"]["by_destination"] == [{"destination": f"{SERVER[4]}:{port}", "count": TIMES}]
    assert found["ephemeral_ports"]["destinations"][0]["local_address"] == CLIENT[4]
    assert found["namespaces"] == [found["netns"]]
    assert "only root sees other network namespaces" in done.stderr


def test_an_unknown_format_is_a_usage_error() -> None:
    done = run_snapshot("--format", "xml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "hint: choose from table, json" in done.stderr


def test_a_recording_shows_the_sockets_as_they_were(side: Namespace, port: int, tmp_path: Path) -> None:
    file = tmp_path / "a.tcptrace"
    with listening(side, "127.0.0.1", port) as listener:
        talk(side, listener, "127.0.0.1", times=TIMES)
        record = side.command(
            sys.executable, "-m", "tracer", "record", "--netns", "own", "--duration", "1.5", "--no-view", "-o", str(file)
        )
        done = subprocess.run(record, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
    replay = [sys.executable, "-m", "tracer", "replay", str(file), "--json"]
    shown = subprocess.run(replay, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE)
    sockets = json.loads(shown.stdout)["sockets"]
    assert (sockets["time_wait"], sockets["listen"]) == (TIMES, 1)
