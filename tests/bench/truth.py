"""Situations in which well-known tools mislead: what each of them printed, side by side, and what was true.

All tracers watch the same connections at the same time. What is true is known to the program that made them, or read from the
kernel's counters of that namespace. A dash stands for what a tool does not set out to tell.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import pack

from tests.bench.process import wait_until_quiet
from tests.bench.tables import show
from tests.bench.tools import BCC_TCPRETRANS, TCPLIFE, TCPSTATES, Line, Running, Tool, line_up, lines_with, running
from tests.kernel.net import CLIENT, SERVER, Link, link
from tests.kernel.tracing import Scrape, Summary, tracing
from tests.kernel.traffic import connect, listening, refuse
from tests.needs import tool as path_of

PEERS = (TCPLIFE, TCPSTATES, BCC_TCPRETRANS)
BYTES = 1_000
REFUSED = 5
BLACKOUT_SECONDS = 3.0


@dataclass(frozen=True)
class Seen:
    """What everybody reported of one scenario. lines: of each peer, those about its port, as words."""

    summary: Summary
    scrape: Scrape
    lines: Mapping[str, list[list[str]]]

    def peer(self, tool: Tool, tell: Callable[[list[list[str]]], object]) -> str:
        """Return what a peer told, `absent` where it did not run."""
        return str(tell(self.lines[tool.name])) if tool.name in self.lines else "absent"


@dataclass(frozen=True)
class Row:
    """One question: the truth, and the four answers; None is what a tool does not tell."""

    question: str
    truth: str
    ours: str
    life: Callable[[list[list[str]]], object] | None = None
    states: Callable[[list[list[str]]], object] | None = None
    retrans: Callable[[list[list[str]]], object] | None = None

    def cells(self, seen: Seen) -> list[str]:
        """Return the row of the table."""
        tells = zip(PEERS, (self.life, self.states, self.retrans), strict=True)
        return [self.question, self.truth, self.ours, *("-" if tell is None else seen.peer(tool, tell) for tool, tell in tells)]


class Watch:
    """All tracers at work on one port. seen: filled when they have stopped."""

    def __init__(self, tools: Sequence[Tool], port: int) -> None:
        self._tools = tools
        self._port = port
        self.seen: Seen | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have the tracers run meanwhile."""
        with ExitStack() as stack:
            ours = stack.enter_context(tracing("--port", str(self._port)))
            peers = [stack.enter_context(running(tool, _directory(stack))) for tool in self._tools]
            yield
            for peer in peers:
                wait_until_quiet(peer.pid)
                peer.stop()
            scrape = ours.scrape()
            self.seen = Seen(ours.stop(), scrape, {peer.tool.name: self._lines(peer) for peer in peers})

    def _lines(self, peer: Running) -> list[list[str]]:
        return lines_with(peer.output, self._port)


def _directory(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory()))


@contextmanager
def _connected(side: Link, port: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends of a connection, the client's first."""
    with (
        listening(side.server, SERVER[4], port) as listener,
        connect(side.client, SERVER[4], port) as client,
        listener.accept()[0] as server,
    ):
        yield client, server


def lost_acks(side: Link, port: int, watch: Watch) -> Iterator[Row]:
    """The ACK that ends the handshake is lost twice; the server sends its SYN-ACK again after 1 s, and after 2 s more."""
    rule = f"tcp dport {port} tcp flags & (syn | ack) == ack numgen inc mod 1000000 0-1 drop"
    chain = f"chain losses {{ type filter hook input priority 0; {rule}; }}"
    side.server.run(path_of("nft"), "-f", "-", text=f"table inet bench {{\n{chain}\n}}\n")
    with watch.watching(), listening(side.server, SERVER[4], port) as listener:
        begin = time.monotonic()
        with connect(side.client, SERVER[4], port) as client, listener.accept()[0] as server:
            milliseconds = (time.monotonic() - begin) * 1e3
            client.close()
            assert server.recv(1) == b""
    summary = _seen(watch).summary
    (ours,) = [row for row in summary.document["handshakes"] if row["role"] == "server"]
    yield Row(
        "server's handshake, ms",
        f"{milliseconds:,.1f}",
        f"{ours['max_seconds'] * 1e3:,.1f}",
        states=lambda lines: next(
            (words[-1] for words in lines if words[-4:-1] == ["SYN_RECV", "->", "ESTABLISHED"]), "nothing"
        ),
    )
    yield Row(
        "SYN-ACKs retransmitted", "2", f"{summary.count('retransmitted_segments', role='server', kind='syn_ack')}", retrans=len
    )


def _handshake(lines: list[list[str]]) -> str:
    """Return the time that tcpstates gives with a server's SYN_RECV -> ESTABLISHED."""
    return next((words[-1] for words in lines if words[-4:-1] == ["SYN_RECV", "->", "ESTABLISHED"]), "nothing")


def some_bytes(side: Link, port: int, watch: Watch) -> Iterator[Row]:
    """The client sends 1,000 bytes and closes."""
    with watch.watching(), _connected(side, port) as (client, server):
        client.sendall(bytes(BYTES))
        client.close()
        assert server.recv(2 * BYTES, socket.MSG_WAITALL) == bytes(BYTES)
    scrape = _seen(watch).scrape
    for role, metric, column in (("client", "sent_bytes_total", -3), ("server", "received_bytes_total", -2)):
        yield Row(
            f"bytes, as the {role} counts",
            f"{BYTES:,}",
            f"{scrape.value(metric, role=role) or 0:,.0f}",
            life=lambda lines, role=role, column=column: _kilobytes(lines, role, column),  # type: ignore[misc]
        )


def _kilobytes(lines: list[list[str]], role: str, column: int) -> str:
    """Return a column of tcplife's line of one side: PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS."""
    own = {"client": CLIENT[4], "server": SERVER[4]}[role]
    return next((f"{words[column]} KB" for words in lines if words[-7] == own), "nothing")


def no_route(side: Link, port: int, watch: Watch) -> Iterator[Row]:
    """The client has data to send when its route goes: its timers try again and again, and nothing leaves."""
    with watch.watching(), _connected(side, port) as (client, _):
        before = side.client.counters()["RetransSegs"]
        side.client.run(path_of("ip"), "route", "flush", "table", "main")
        client.sendall(bytes(BYTES))
        time.sleep(BLACKOUT_SECONDS)
        truth = side.client.counters()["RetransSegs"] - before
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
    ours = _seen(watch).summary.count("retransmitted_segments", role="client")
    yield Row("segments retransmitted", f"{truth}", f"{ours}", retrans=len)


def closed_port(side: Link, port: int, watch: Watch) -> Iterator[Row]:
    """The client tries a port on which nobody listens."""
    with watch.watching():
        for _ in range(REFUSED):
            refuse(side.client, SERVER[4], port)
    summary = _seen(watch).summary
    yield Row("connections refused", f"{REFUSED}", f"{summary.count('failures', reason='refused')}")
    yield Row("connections that lived", "0", f"{summary.count('closes')}", life=len)


SCENARIOS: Sequence[tuple[str, Callable[[Link, int, Watch], Iterator[Row]]]] = (
    ("the last ACK is lost twice", lost_acks),
    (f"{BYTES:,} bytes are sent", some_bytes),
    ("the route is withdrawn", no_route),
    ("nobody listens", closed_port),
)


def _seen(watch: Watch) -> Seen:
    assert watch.seen is not None
    return watch.seen


def truth() -> None:
    """Print what every tool reported of each scenario, and what was true."""
    with tempfile.TemporaryDirectory() as directory:
        line = line_up(PEERS, Path(directory))
        rows = [cells for number, scenario in enumerate(SCENARIOS) for cells in _told(line, 7907 + number, *scenario)]
    show(
        "Truth: what each tool reported, and what was true",
        ["", "true", "tcptrace", "tcplife", "tcpstates", "tcpretrans"],
        rows,
        "-: the tool does not tell. tcplife and tcpstates are libbpf-tools', tcpretrans is bcc's.",
        "0.98 KB is what tcplife prints of anything from 999 to 1,008 bytes.",
        *(f"absent: {name} {why}" for name, why in line.left_out.items()),
        *line.notes,
    )


def _told(line: Line, port: int, title: str, scenario: Callable[[Link, int, Watch], Iterator[Row]]) -> list[list[str]]:
    watch = Watch(line.tools, port)
    with link() as side:
        found = list(scenario(side, port, watch))
    return [[f"{title}:", *([""] * 5)], *([f"  {row.question}", *row.cells(_seen(watch))[1:]] for row in found)]
