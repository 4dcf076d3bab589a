"""A scan of ports and a flood of peers: samples and memory are bounded, sums are the kernel's, and nobody is hidden by them."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict

from tests.kernel.net import Namespace
from tests.kernel.tracing import Scrape, Tracing, tracing
from tests.kernel.traffic import listening, talk
from tests.kernel.until import PATIENCE, until

ADDRESS = "127.0.0.1"
SERIES = 4000
PORTS = 20_000
PEERS = 50_000
HALF = PEERS // 2
TIMES = 5

GROWN = 48_000
"""kB that the second half of the flood may add. Measured: 2,000 to 23,000, as batches differ with the machine's load; with a
label set for each peer (no MAX_SETS) 760,000."""

SCAN = """
import socket
for port in range(8_000, 28_000):
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) == 111
"""

FLOOD = """
import socket, struct, sys
port, first, count = map(int, sys.argv[1:])
listener = socket.create_server(("127.0.0.1", port), backlog=64)
for number in range(first, first + count):
    source = f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    client = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
    server = listener.accept()[0]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT
    client.close()
    server.close()
"""

RISING = ("_total", "_count", "_sum")


def run(side: Namespace, script: str, *arguments: int) -> None:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    subprocess.run(side.command(*command), check=True, timeout=5 * PATIENCE)


def sums(scrape: Scrape) -> dict[str, float]:
    """Return the sum of each counter over all its series."""
    found: dict[str, float] = defaultdict(float)
    for (name, _), value in scrape.samples.items():
        if name.startswith("tcptrace_") and name.endswith(RISING):
            found[name] += value
    return found


def looked(tracer: Tracing, before: dict[str, float]) -> tuple[Scrape, dict[str, float]]:
    """Scrape; no sum may have fallen, and there are no more samples than are allowed."""
    scrape = tracer.scrape()
    now = sums(scrape)
    assert {name: (value, now[name]) for name, value in before.items() if now[name] < value * (1 - 1e-12)} == {}
    assert len(scrape.samples) <= SERIES
    return scrape, now


def resident(tracer: Tracing) -> int:
    """Return the tracer's memory in kB."""
    return int(tracer.status()["VmRSS"].split()[0])


def test_a_scan_and_a_flood_of_peers_hide_nobody_and_cost_no_memory(side: Namespace, port: int) -> None:
    with tracing("--label", "peer", "--max-series", str(SERIES), "--netns", "own", side=side) as tracer:
        before = side.counters()
        run(side, SCAN)
        until(lambda: tracer.scrape().value("handshake_failures_total", reason="refused") == PORTS, "the scan was counted")
        scrape, now = looked(tracer, {})
        assert scrape.value("handshake_failures_total", role="client", port="other") == PORTS
        assert scrape.value("label_overflow_total") == 0
        with listening(side, ADDRESS) as listener:  # a service right after the scan
            first = listener.getsockname()[1]
            talk(side, listener, ADDRESS, times=TIMES)
            scrape, now = looked(tracer, now)
        assert scrape.value("handshakes_total", role="client", port=str(first), peer=ADDRESS) == TIMES

        run(side, FLOOD, port, 0, HALF)
        scrape, now = looked(tracer, now)
        half = resident(tracer)
        run(side, FLOOD, port, HALF, HALF)
        scrape, now = looked(tracer, now)
        assert resident(tracer) < half + GROWN
        until(lambda: sums(tracer.scrape())["tcptrace_handshakes_total"] >= 2 * PEERS, "all peers were counted")
        scrape, now = looked(tracer, now)
        assert (scrape.value("label_overflow_total") or 0) > 0
        with listening(side, ADDRESS) as listener:  # and one after the flood
            last = listener.getsockname()[1]
            talk(side, listener, ADDRESS, times=TIMES)
            scrape, now = looked(tracer, now)
        assert scrape.value("handshakes_total", role="client", port=str(last), peer=ADDRESS) == TIMES
        assert scrape.value("handshakes_total", role="server", port=str(last), peer=ADDRESS) == TIMES
        kernel = {name: count - before[name] for name, count in side.counters().items()}
    # the kernel counts the scrapes as well, and so does the tracer: these are in the same namespace
    assert now["tcptrace_handshakes_total"] + PORTS == kernel["ActiveOpens"] + kernel["PassiveOpens"]
