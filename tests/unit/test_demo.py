"""The recording that ships: whole, of the present layout, and with something of everything in it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.needs import ROOT

DEMO = ROOT / "tracer/data/demo.tcptrace"


def replayed(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tracer", "replay", str(DEMO), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_the_demo_replays_to_its_end_and_shows_something_of_everything() -> None:
    done = replayed("--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    for table in ("handshakes", "failures", "closes", "retransmitted_segments", "transitions"):
        assert document[table], table
    assert {row["port"] for row in document["handshakes"]} == {443, 5432, 6379, 8080}
    assert document["events_lost"] == document["connections_untracked"] == 0


def test_the_demo_can_be_printed_event_by_event() -> None:
    done = replayed("events", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    kinds = {json.loads(line)["kind"] for line in done.stdout.splitlines()}
    assert kinds == {"handshake", "failure", "close", "retransmit", "reset"}
