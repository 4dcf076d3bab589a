"""Makes the recording that ships: real traffic of a small made-up site, between two namespaces, for a quarter of a minute.

`python -m tests.bench.demo` as root writes tracer/data/demo.tcptrace. To be run again whenever the record's layout changes.
Four services: a web server, a database, a cache, and one that misbehaves (refuses, resets, forgets); a lossy link.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from tests.kernel.net import SERVER, Link, link
from tests.kernel.traffic import connect, listening
from tests.needs import ROOT, tool

OUTPUT = ROOT / "tracer/data/demo.tcptrace"
SECONDS = 15
WEB, DATABASE, CACHE, TROUBLE, NOBODY = 443, 5432, 6379, 8080, 8081
RATES = {WEB: 12, DATABASE: 2, CACHE: 15, TROUBLE: 2, NOBODY: 1}
"""Connections a second."""

LINGER_ZERO = struct.pack("ii", 1, 0)


def main() -> None:
    """Record the traffic; the seed makes it the same mixture every time."""
    OUTPUT.parent.mkdir(exist_ok=True)
    with link() as joined, contextlib.ExitStack() as stack:
        loses(joined)
        for port in (WEB, DATABASE, CACHE, TROUBLE):
            listener = stack.enter_context(listening(joined.server, SERVER[4], port))
            threading.Thread(target=serve, args=(listener, port), daemon=True).start()
        recorder = record()
        clients = [threading.Thread(target=call, args=(joined, port, rate)) for port, rate in RATES.items()]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        recorder.send_signal(signal.SIGTERM)
        sys.exit(recorder.wait())


def loses(joined: Link) -> None:
    """Let the link lose one packet in fifty towards the server, whatever it is."""
    chain = "chain lossy { type filter hook input priority 0; tcp dport 1-9999 numgen random mod 100 < 2 drop; }"
    joined.server.run(tool("nft"), "-f", "-", text=f"table inet lossy {{ {chain}; }}")


def record() -> subprocess.Popen[bytes]:
    """Start the recorder and wait until it says that it is at work."""
    ports = [argument for port in RATES for argument in ("--port", str(port))]
    command = [sys.executable, "-m", "tracer", "record", "-o", str(OUTPUT), "--no-view", *ports]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert b"recording to" in process.stderr.readline()
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return process


def serve(listener: socket.socket, port: int) -> None:
    """Answer every connection in a thread of its own."""
    chance = random.Random(port)
    listener.settimeout(None)
    with contextlib.suppress(OSError):
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=answer, args=(sock, port, chance.random()), daemon=True).start()


def answer(sock: socket.socket, port: int, luck: float) -> None:
    """Read a question and answer it; the service that misbehaves resets half of its connections."""
    with sock, contextlib.suppress(OSError):
        sock.recv(4096)
        if port == TROUBLE and luck < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            return
        sock.sendall(bytes(int(luck * {WEB: 90_000, DATABASE: 20_000, CACHE: 500, TROUBLE: 100}[port])))
        while port == DATABASE and sock.recv(4096):
            sock.sendall(bytes(200))


def call(joined: Link, port: int, rate: int) -> None:
    """Ask one service so many times a second, at random moments."""
    chance = random.Random(-port)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        threading.Thread(target=ask, args=(joined, port, chance.randint(1, 5)), daemon=True).start()
        time.sleep(chance.expovariate(rate))


def ask(joined: Link, port: int, questions: int) -> None:
    """Ask and read the answer; of a database several times on one connection."""
    with contextlib.suppress(OSError), connect(joined.client, SERVER[4], port) as sock:
        for _ in range(questions if port == DATABASE else 1):
            sock.sendall(b"?" * 120)
            sock.recv(4096, socket.MSG_PEEK)
            time.sleep(0.02 * questions)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


if __name__ == "__main__":
    main()
