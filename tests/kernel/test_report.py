"""`tcptrace report --duration`: known traffic, counted exactly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.until import PATIENCE
from tests.needs import ROOT

CONNECTIONS = 23
QUESTION, ANSWER = b"x" * 100, b"y" * 5000


def test_a_live_report_has_what_was_opened_refused_and_carried_while_it_traced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        ports = server.getsockname()[1], nobody.getsockname()[1]
        command = [sys.executable, "-m", "tracer", "report", "--duration", "300", "--format", "json", "--role", "client"]
        command += [option for port in ports for option in ("--port", str(port))]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                line = process.stderr.readline()
                assert "tracing for 300 s" in line, line + process.stderr.read()
                for _ in range(CONNECTIONS):
                    exchange(server)
                with socket.socket() as refused:
                    assert refused.connect_ex(("127.0.0.1", ports[1])) != 0
                process.send_signal(signal.SIGTERM)
                out, log = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
    assert process.returncode == 0, log
    found = json.loads(out)
    assert [(row["port"], row["count"]) for row in found["handshakes"]] == [(ports[0], CONNECTIONS)]
    assert [(row["reason"], row["count"]) for row in found["failures"]] == [("refused", 1)]
    assert [(row["reason"], row["count"]) for row in found["closes"]] == [("normal", CONNECTIONS)]
    (peer, other) = found["peers"]
    assert (peer["peer"], peer["handshakes"], other["peer"]) == ("127.0.0.1", CONNECTIONS, "other")
    largest = found["largest_connections"]
    assert {(row["sent_bytes"], row["received_bytes"], row["pid"]) for row in largest} == {(100, 5000, os.getpid())}
    assert {row["state"]: row["count"] for row in found["states"]}["established"] == CONNECTIONS


@pytest.mark.parametrize("form", ["json", "html"])
def test_one_connection_of_the_next_seconds_is_told_with_both_of_its_ends(form: str, tmp_path: Path) -> None:
    file, graph = tmp_path / "report", tmp_path / "graph"
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "tracer", "report", "--duration", "300", "--connection", end, "--format", form]
        command += ["--port", end.partition(":")[2], "-o", str(file), "--xpl", str(graph)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                line = process.stderr.readline()
                assert "tracing for 300 s" in line, line + process.stderr.read()
                exchange(server)
                process.send_signal(signal.SIGTERM)
                out, log = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
    assert (process.returncode, out) == (0, ""), log
    text = file.read_text(encoding="utf-8")
    assert graph.read_text(encoding="ascii").startswith("timeval double")
    if form == "html":
        assert "SYN_SENT" in text
        assert "Time-sequence graph" in text
        return
    found = json.loads(text)
    assert len(found["connections"]) == 2
    sent = next(row for row in found["directions"] if row["name"] == "unique bytes")
    assert (sent["a_to_b"], sent["b_to_a"]) == (len(QUESTION), len(ANSWER))


def exchange(server: socket.socket) -> None:
    """Have a connection ask and be answered; the client closes first, and its end is through when this returns."""
    with socket.create_connection(server.getsockname()) as client:
        served, _ = server.accept()
        with served:
            client.sendall(QUESTION)
            read(served, len(QUESTION))
            served.sendall(ANSWER)
            read(client, len(ANSWER))
            client.close()
            assert served.recv(1) == b""


def read(sock: socket.socket, wanted: int) -> None:
    while wanted:
        wanted -= len(sock.recv(wanted))
