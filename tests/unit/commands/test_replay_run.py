"""`tcptrace replay FILE`: what open connections carried is in its summary, and it says where the recording does not tell."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.needs import ROOT
from tests.unit.ingest.recordings import CONTEXT
from tests.unit.model.builder import SECOND, reading
from tests.unit.model.test_ledger import NETNS, close, connection, dump, handshake
from tracer.ingest.recorder import Recorder
from tracer.ingest.snapshot import OpenService

OPEN = (OpenService(NETNS, "client", 443, 1),)


def recording(*, end: bool, figures: bool = True) -> bytes:
    """Return one of an existing connection, of a new one that stays open, and of one that ends; with a dump a second."""
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT)
    ended, began = close(time_ns=2 * SECOND, duration_ns=SECOND), handshake(50124, time_ns=1)
    for at, batches in enumerate(((began, handshake(time_ns=2)), (), (ended,)), start=1):
        old = connection(50125, 3, sent_bytes=10_000 + 100 * at, received_bytes=50)
        snapshot = replace(dump(old, connection(50124, 2, sent_bytes=11 * at + 1), at=at), open=OPEN)
        snapshot = snapshot if figures else replace(snapshot, figures=None)
        recorder.write(reading(*batches, snapshot=snapshot, time_ns=at * SECOND + SECOND // 2))
    if end:
        recorder.end()
    return file.getvalue()


@pytest.mark.parametrize(
    ("end", "figures", "sent", "said"),
    [
        (True, True, 1000 + 200 + 33, ""),
        (False, True, 1000 + 11, "up to 2 s before its end, as it was cut off\n"),
        (True, False, 1000, "not at all\n"),
    ],
)
def test_bytes_are_those_of_ended_and_of_open_connections(
    end: bool, figures: bool, sent: int, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "recording"
    file.write_bytes(recording(end=end, figures=figures))
    command = [sys.executable, "-m", "tracer", "replay", str(file), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert [row["sent_bytes"] for row in json.loads(done.stdout)["bytes"]] == [sent]
    assert done.stderr == (f"tcptrace: {file} tells what open connections carried {said}" if said else "")
