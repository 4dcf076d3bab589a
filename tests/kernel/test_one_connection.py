"""`tcptrace report FILE --connection` beside a capture of the same connection, both ends of which are traced."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.capture import Frame, capture, retransmitted
from tests.kernel.path import CLIENT, DEVICE, SERVER, route
from tests.kernel.scene import exchange
from tests.kernel.test_record import recording, stop, tcptrace
from tests.kernel.traffic import connect, listening
from tests.kernel.until import PATIENCE, until
from tests.needs import tool

pytestmark = pytest.mark.kernel

SIZE = 300_000


def lossy(side: Any, port: int) -> None:
    rules = f"table inet l {{ chain i {{ type filter hook input priority 0; tcp dport {port} numgen inc mod 37 5 drop; }}; }}"
    subprocess.run(side.command(tool("nft"), rules), check=True, timeout=PATIENCE)


def test_a_lossy_connection_is_told_as_it_was_captured(service: int, tmp_path: Path) -> None:
    file = tmp_path / "r"
    with (
        route() as way,
        recording(way.client, "--segments", "-o", str(file), "--port", str(service)) as process,
        capture(way.client, DEVICE, service, tmp_path / "pcap", marker_to=SERVER[4]) as captured,
    ):
        lossy(way.server, service)
        with (
            listening(way.server, SERVER[4], service) as listener,
            connect(way.client, SERVER[4], service) as client,
            listener.accept()[0] as server,
        ):
            client_port = client.getsockname()[1]
            exchange(client, server, SIZE)
            server.sendall(b"thanks")
            assert client.recv(10) == b"thanks"
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
        for side in way.ends.values():
            until(lambda side=side: side.open_sockets() == 0, "all have ended")  # type: ignore[misc]
        stop(process)
        frames = captured.frames()
    found = json.loads(tcptrace("report", file, "--connection", f"{CLIENT[4]}:{client_port}", "--format", "json"))
    assert len(found["connections"]) == 2
    rows = {row["name"]: row for row in found["directions"]}
    ours = [f for f in frames if f.dport == service]
    check(rows, "a_to_b", ours, SIZE)
    assert rows["unique bytes"]["b_to_a"] == len(b"thanks")
    assert rows["retransmitted packets"]["a_to_b"] > 0
    for number in found["connections"]:
        again = json.loads(tcptrace("report", file, "--connection", number, "--format", "json"))
        assert again == found
    graph = tmp_path / "graph.xpl"
    tcptrace("report", file, "--connection", f"{CLIENT[4]}:{client_port}", "--xpl", graph)
    check_graph(graph.read_text(encoding="ascii").splitlines(), ours, SIZE)
    text = tcptrace("report", file, "--connection", f"{CLIENT[4]}:{client_port}").decode().splitlines()
    assert max(map(len, text)) < 80
    assert text[0].startswith(f"a: {CLIENT[4]}:{client_port} (client")


def check(rows: dict[str, Any], way: str, frames: list[Frame], size: int) -> None:
    """Compare a direction with the frames of it that left; a frame may be several segments."""
    assert rows["unique bytes"][way] == size
    first = next(frame for frame in frames if frame.length == 0)
    assert rows["initial sequence"][way] == first.sequence
    again = retransmitted(frames)
    assert rows["retransmitted packets"][way] == len(again)
    kinds = ("syn", "syn_ack", "fast", "timeout", "tail_loss_probe", "fin", "mtu")
    assert sum(rows[kind][way] for kind in kinds) == len(again)
    assert rows["packets"][way] >= len(frames)
    assert rows["pure acks and control"][way] == sum(frame.length == 0 for frame in frames)
    assert rows["largest packet"][way] >= rows["average packet"][way] >= rows["smallest packet"][way] > 0


def check_graph(lines: list[str], frames: list[Frame], size: int) -> None:
    """Compare the graph of what was sent with the frames: every retransmission, every byte, and the last acknowledgement."""
    initial = next(frame.sequence for frame in frames if frame.length == 0)
    again = [(f.time_ns / 1e9, (f.sequence - initial) % 2**32) for f in retransmitted(frames)]
    drawn = [(float(time), int(number)) for word, time, number in (li.split() for li in lines if li.startswith("diamond"))]
    assert [number for _, number in drawn] == [number for _, number in again]
    apart = sorted(abs(mine - its) for (mine, _), (its, _) in zip(drawn, again, strict=True))
    assert apart[len(apart) // 2] < 0.001
    segments = [tuple(map(float, li.split()[1:])) for li in colored(lines, "white")]
    covered = {(f.sequence - initial) % 2**32 for f in frames if f.length}
    assert {int(first) for _, first, _, _ in segments} <= covered
    assert max(last for *_, last in segments) == size + 1
    acknowledged = [float(li.split()[-1]) for li in colored(lines, "green")]
    assert max(acknowledged) == size + 1
    assert acknowledged == sorted(acknowledged)


def colored(lines: list[str], color: str) -> list[str]:
    """Return the lines that are drawn in a color."""
    found = []
    for line in lines[lines.index(color) + 1 :]:
        if not line.startswith("line"):
            break
        found.append(line)
    return found
