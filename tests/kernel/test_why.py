"""Each reason for which a connection is slow, made for real and named by `tcptrace connections`; and one that is not slow."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.cgroups import cgroups, mount
from tests.kernel.ends import Pair
from tests.kernel.net import Namespace
from tests.kernel.openlist import CHUNK, DELAY, listed, one, pair_of, working
from tests.kernel.path import SERVER
from tests.kernel.traffic import Peer, connect, listening
from tests.kernel.until import PATIENCE, until
from tests.needs import ROOT
from tests.ordinary import ordinary_user

pytestmark = pytest.mark.needs("nft")


def wait_for_cause(pair: Pair, role: str, cause: str, words: str) -> dict[str, Any]:
    """Return what is said of one side, once it is this."""
    seen: list[object] = []

    def look() -> dict[str, Any] | None:
        row = one(pair, role)
        seen.append((row["cause"], row["why"]))
        return row if row["cause"] == cause and words in row["why"] else None

    try:
        found = until(look, f"{role} is slow because of {cause}")
    except AssertionError:
        raise AssertionError(seen[-3:]) from None
    assert found is not None
    return found


def test_a_reader_that_sleeps_is_our_application_there_and_the_peers_here(port: int) -> None:
    with pair_of(port) as pair, working(lambda: pair.client.send(CHUNK)):
        row = wait_for_cause(pair, "client", "peer's application", "window")
        assert row["unsent_bytes"] + row["unacknowledged_bytes"] > 0
        row = wait_for_cause(pair, "server", "our application", "does not read")
        assert row["receive_queue_bytes"] > 0
        services = {row["role"]: row["causes"] for row in listed("--port", str(port))["services"]}
        assert services == {"client": {"peer's application": 1}, "server": {"our application": 1}}


def test_a_fin_that_nobody_has_read_is_no_byte_that_waits(port: int) -> None:
    with pair_of(port) as pair:
        pair.server.shutdown(socket.SHUT_WR)
        pair.wait_until("client", "close_wait")
        row = one(pair, "client")
        assert (row["state"], row["receive_queue_bytes"], row["why"]) == ("close_wait", 0, None)


def test_one_byte_before_a_fin_waits(port: int) -> None:
    with pair_of(port) as pair:
        pair.server.send(b"x")
        pair.server.shutdown(socket.SHUT_WR)
        pair.wait_until("client", "close_wait")
        row = wait_for_cause(pair, "client", "our application", "1 byte waits for it")
        assert (row["state"], row["receive_queue_bytes"]) == ("close_wait", 1)


def test_a_fin_of_ours_is_no_byte_that_waits(port: int) -> None:
    with pair_of(port) as pair:
        pair.cut()
        pair.client.send(b"five!")
        pair.client.shutdown(socket.SHUT_WR)
        pair.wait_until("client", "fin_wait1")
        row = one(pair, "client")
        assert (row["state"], row["unsent_bytes"], row["unacknowledged_bytes"]) == ("fin_wait1", 0, 5)


def test_a_fin_behind_a_closed_window_is_no_byte_that_was_not_sent(port: int) -> None:
    with pair_of(port) as pair:
        written = 0
        with suppress(TimeoutError):
            while True:
                written += pair.client.send(CHUNK)
        pair.client.shutdown(socket.SHUT_WR)
        row = one(pair, "client")
        assert (row["state"], row["unsent_bytes"] > 0) == ("fin_wait1", True)
        assert row["sent_bytes"] + row["unsent_bytes"] + row["unacknowledged_bytes"] == written


def test_a_small_send_buffer_is_ours(port: int) -> None:
    with pair_of(port, DELAY) as pair:
        pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with working(lambda: pair.client.send(CHUNK), lambda: pair.server.recv(1 << 20)):
            wait_for_cause(pair, "client", "our buffer", "send buffer")


def test_loss_is_the_networks(port: int) -> None:
    with pair_of(port) as pair:
        pair.way.rule(f"tcp dport {port} numgen random mod 20 0 drop")
        with working(lambda: pair.client.send(CHUNK), lambda: pair.server.recv(1 << 20)):
            row = wait_for_cause(pair, "client", "network", "loses segments")
            assert row["retransmitted_segments"] > 0
            wait_for_cause(pair, "server", "network", "out of order")


def test_delay_is_the_networks(port: int) -> None:
    with pair_of(port, DELAY) as pair, working(lambda: pair.client.send(CHUNK), lambda: pair.server.recv(1 << 20)):
        row = wait_for_cause(pair, "client", "network", "round trip")
        assert row["min_rtt_seconds"] >= 2 * DELAY


def test_a_peer_that_says_nothing_is_the_peer(port: int) -> None:
    with pair_of(port) as pair:
        pair.cut()
        pair.client.send(CHUNK)
        wait_for_cause(pair, "client", "peer", "does not answer")


def test_a_writer_that_pauses_is_our_application(port: int) -> None:
    pause = threading.Event()
    with pair_of(port) as pair, working(lambda: (pair.client.send(b"some"), pause.wait(0.6)), lambda: pair.server.recv(1000)):
        wait_for_cause(pair, "client", "our application", "does not write")


def test_a_healthy_fast_connection_is_called_none_of_them(port: int) -> None:
    with pair_of(port) as pair, working(lambda: pair.client.send(CHUNK), lambda: pair.server.recv(1 << 20)):
        rows = [row for _ in range(2) for row in listed("--port", str(port))["connections"]]
    assert [row["why"] for row in rows] == [None] * 4
    assert max(row["sent_bytes_rate"] for row in rows) > 0
    assert SERVER[4] in {row["remote_address"] for row in rows}


def test_filters_choose_by_process_and_by_cgroup(port: int) -> None:
    with pair_of(port), Peer(own_namespace()) as other:
        mine = os.getpid()
        assert {row["pid"] for row in listed("--port", str(port), "--pid", str(mine))["connections"]} == {mine}
        assert listed("--port", str(port), "--pid", str(other.pid))["connections"] == []
        with cgroups() as empty:
            found = [listed("--port", str(port), "--cgroup", str(path))["total"] for path in (mount() / own_cgroup(), empty)]
        assert found == [2, 0]


def own_namespace() -> Namespace:
    return Namespace(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))


def own_cgroup() -> str:
    """Return this process's cgroup of version 2, relative to their root."""
    lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    return next(line[3:].lstrip("/") for line in lines if line.startswith("0::"))


def test_an_ordinary_user_sees_the_connections_of_the_own_namespace(side: Namespace, port: int) -> None:
    command = [*side.command(), *ordinary_user("tcptrace", "connections", "--format", "json")]
    with listening(side, "127.0.0.1", port) as listener, connect(side, "127.0.0.1", port), listener.accept()[0]:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["connections"]
    assert sorted((row["role"], row["process"]) for row in rows) == [("client", None), ("server", None)]
    assert "only root sees other network namespaces" in done.stderr


def test_what_is_not_known_is_a_usage_error() -> None:
    for option in ("--format", "--sort"):
        command = [sys.executable, "-m", "tracer", "connections", option, "xml"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert (done.returncode, done.stdout) == (2, "")
        assert "xml is not known" in done.stderr


def test_the_table_has_less_than_80_columns_and_csv_a_line_for_each(port: int) -> None:
    with pair_of(port) as pair, working(lambda: pair.client.send(CHUNK)):
        wait_for_cause(pair, "client", "peer's application", "window")
        texts = {}
        for name in ("table", "csv"):
            command = [sys.executable, "-m", "tracer", "connections", "--format", name, "--port", str(port)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE)
            texts[name] = done.stdout.splitlines()
    assert max(map(len, texts["table"])) < 80
    assert any("peer's app" in line and f":{port}" in line for line in texts["table"])
    head, *rows = texts["csv"]
    assert {len(line.split(",")) >= len(head.split(",")) for line in rows} == {True}
    assert len(rows) == 2
