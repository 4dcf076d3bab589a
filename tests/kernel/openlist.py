"""`tcptrace connections` for tests: what it says of a connection that is at hand, and of work that goes on meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.kernel.ends import Pair, connected
from tests.kernel.traffic import Peer
from tests.kernel.until import PATIENCE
from tests.needs import ROOT

CHUNK = bytes(1 << 16)
DELAY = 0.02


def listed(*options: str) -> dict[str, Any]:
    """Return what `tcptrace connections` says as JSON."""
    command = [sys.executable, "-m", "tracer", "connections", "--format", "json", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def one(pair: Pair, role: str) -> dict[str, Any]:
    (row,) = listed("--port", str(pair.port), "--role", role)["connections"]
    assert isinstance(row, dict)
    return row


@contextmanager
def working(*actions: Callable[[], object]) -> Iterator[None]:
    """Do these again and again meanwhile, each in a thread of its own."""
    stop = threading.Event()

    def work(action: Callable[[], object]) -> None:
        while not stop.is_set():
            try:
                action()
            except OSError:
                stop.wait(0.01)

    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def pair_of(port: int, delay: float = 0) -> Iterator[Pair]:
    """Yield a connection in whose namespaces somebody lives, so that these are found; calls take a second at most."""
    with connected(port, delay) as pair, Peer(pair.way.client), Peer(pair.way.server):
        for end in (pair.client, pair.server):
            end.settimeout(1)
        yield pair
