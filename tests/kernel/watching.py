"""A running `tcptrace events --format json` for tests: what it has printed so far, by connection."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.kernel.net import Namespace
from tests.kernel.tracing import figures_of_descriptors
from tests.kernel.until import PATIENCE, until
from tests.needs import ROOT

Event = dict[str, Any]

EVENTS = ("-m", "tracer", "events", "--format", "json")
ATTACHED = re.compile(rb"attached after")


class Watching:
    """A running command. events: all that it has printed, in their order."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._process = process
        self.events: list[Event] = []
        line = process.stderr.readline()
        assert ATTACHED.search(line), f"tcptrace ended at its start: {(line + process.stderr.read()).decode()}"
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    def of(self, client_port: int | None, kind: str = "", role: str = "", **fields: object) -> list[Event]:
        """Return the events of a connection, whose client has this port (None: has none yet), that have these fields."""
        wanted = {name: value for name, value in {"kind": kind, "role": role, **fields}.items() if value != ""}
        ports = [("local_port", "client"), ("remote_port", "server")]
        return [
            event
            for event in list(self.events)
            if any(event[name] == client_port and event["role"] == side for name, side in ports)
            and wanted.items() <= event.items()
        ]

    def one(self, client_port: int, kind: str, role: str, **fields: object) -> Event:
        """Wait for such an event, and return it; fails when there are more."""
        found = until(lambda: self.of(client_port, kind, role, **fields), f"{role}'s {kind} {fields or ''} is printed")
        assert len(found) == 1, found
        return found[0]

    def misses(self) -> int:
        """Return how often the kernel has not run a program, since it was running already."""
        return sum(figures_of_descriptors(self._process.pid, "recursion_misses"))

    def stop(self) -> None:
        """End it, having read everything that it prints."""
        self._process.terminate()
        self._reader.join(60)
        self._process.wait(PATIENCE)


@contextmanager
def watching(*options: str, side: Namespace | None = None) -> Iterator[Watching]:
    """Yield a running command with options such as --port; afterwards it is gone."""
    command = [sys.executable, *EVENTS, *options]
    process = subprocess.Popen(
        side.command(*command) if side else command,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("SUDO_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            yield Watching(process)
        finally:
            process.kill()
