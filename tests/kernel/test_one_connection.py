"""`tcptrace report FILE --connection` beside a capture of the same connection, both ends of which are traced."""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.browser import NAME, chromium
from tests.kernel.capture import LAG, Frame, capture, retransmitted
from tests.kernel.path import CLIENT, DEVICE, SERVER, route
from tests.kernel.scene import exchange
from tests.kernel.test_record import recording, stop, tcptrace
from tests.kernel.traffic import connect, listening
from tests.kernel.until import PATIENCE, SLOWNESS, until
from tests.needs import tool

pytestmark = pytest.mark.kernel

SIZE = 300_000
MOST = 0.001
"""Seconds between capture and graph, of half of the retransmissions at least."""


def lossy(side: Any, port: int) -> None:
    rules = f"table inet l {{ chain i {{ type filter hook input priority 0; tcp dport {port} numgen inc mod 37 5 drop; }}; }}"
    subprocess.run(side.command(tool("nft"), rules), check=True, timeout=PATIENCE)


@dataclass(frozen=True)
class Taped:
    """A recording of a lossy connection, both ends of which are traced; the frames that its client sent; the client's port."""

    file: Path
    frames: list[Frame]
    end: str


@pytest.fixture(name="taped", scope="module")
def fixture_taped(service: int, tmp_path_factory: pytest.TempPathFactory) -> Taped:
    """Return a recording, and the capture beside it."""
    directory = tmp_path_factory.mktemp("taped")
    file = directory / "r"
    with (
        route() as way,
        recording(way.client, "--segments", "-o", str(file), "--port", str(service)) as process,
        capture(way.client, DEVICE, service, directory / "pcap", marker_to=SERVER[4]) as captured,
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
        frames = [frame for frame in captured.frames() if frame.dport == service]
    return Taped(file, frames, f"{CLIENT[4]}:{client_port}")


def test_a_lossy_connection_is_told_as_it_was_captured(taped: Taped) -> None:
    found = json.loads(tcptrace("report", taped.file, "--connection", taped.end, "--format", "json"))
    assert len(found["connections"]) == 2
    rows = {row["name"]: row for row in found["directions"]}
    check(rows, "a_to_b", taped.frames, SIZE)
    assert rows["unique bytes"]["b_to_a"] == len(b"thanks")
    assert rows["retransmitted packets"]["a_to_b"] > 0
    for number in found["connections"]:
        again = json.loads(tcptrace("report", taped.file, "--connection", number, "--format", "json"))
        assert again == found
    text = tcptrace("report", taped.file, "--connection", taped.end).decode().splitlines()
    assert max(map(len, text)) < 80
    assert text[0].startswith(f"a: {taped.end} (client")


def test_its_graph_has_what_was_captured(taped: Taped, tmp_path: Path) -> None:
    graph = tmp_path / "graph.xpl"
    tcptrace("report", taped.file, "--connection", taped.end, "--xpl", graph)
    check_graph(graph.read_text(encoding="ascii").splitlines(), taped.frames, SIZE)


@pytest.mark.needs(NAME)
@pytest.mark.parametrize("options", [(), ("--connection",)], ids=["report", "connection"])
def test_a_browser_shows_the_page_as_it_is_and_asks_for_nothing(taped: Taped, tmp_path: Path, options: tuple[str, ...]) -> None:
    file = tmp_path / "page.html"
    chosen = (*options, taped.end) if options else ()
    tcptrace("report", taped.file, *chosen, "--format", "html", "-o", file)
    found = json.loads(tcptrace("report", taped.file, "--format", "json"))
    again = sum(row["count"] for row in found["retransmitted_segments"] if row["kind"] not in {"syn", "syn_ack"})
    with chromium() as browser:
        for width, dark in product((1280, 800, 390), (False, True)):
            page = browser.open(file.as_uri(), width, dark=dark)
            assert page.requests == [file.as_uri()]
            assert page.complaints == []
            assert page.overflow <= 0
            assert (page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is not dark
        last = browser.open(file.as_uri())
        assert f"{again:,} retransmissions" in last.run("document.querySelector('svg.chart.wide:has(.s5)').ariaLabel")
        assert "ESTABLISHED" in last.run("document.querySelector('pre').innerText")
        last.printed(tmp_path / "page.pdf")
        assert last.complaints == []


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
    """Compare the graph of what was sent with the frames: every retransmission, every byte, and the last acknowledgement.

    A retransmission is traced when its segment has left (__tcp_retransmit_skb), which the device's capture sees before: some
    10 to 100 µs, but more where softirqs run on the way back from the device, or the processor is somebody else's. The socket
    is locked meanwhile, so that the connection's next segment leaves afterwards: that is the bound of each on any machine,
    and a millisecond that of most of them.
    """
    initial = next(frame.sequence for frame in frames if frame.length == 0)
    again = retransmitted(frames)
    drawn = [(float(time), int(number)) for word, time, number in (li.split() for li in lines if li.startswith("diamond"))]
    assert [number for _, number in drawn] == [(frame.sequence - initial) % 2**32 for frame in again]
    for (mine, _), frame in zip(drawn, again, strict=True):
        following = next((f.time_ns for f in frames if f.time_ns > frame.time_ns), frame.time_ns)
        assert frame.time_ns / 1e9 - LAG < mine < max(following, frame.time_ns) / 1e9 + LAG
    assert median(abs(mine - frame.time_ns / 1e9) for (mine, _), frame in zip(drawn, again, strict=True)) < MOST * SLOWNESS
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
