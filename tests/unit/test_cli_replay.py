"""`tcptrace replay` as its users meet it: files that are none, signals, closed pipes, and what is printed and served."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.needs import ROOT
from tests.unit.command import COMMAND, ENVIRONMENT, as_ordinary_user, failed, tcptrace
from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.ingest.decode import LAYOUT
from tracer.ingest.recorder import Recorder
from tracer.ingest.recording import MAGIC
from tracer.ingest.source import Program


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 client and 5 server handshakes, 2 failures and 7 closes in half a second."""
    path = tmp_path_factory.mktemp("recordings") / "small.tcptrace"
    programs = (Program("inet_sock_set_state", True, 46, 0.000046, 0),)
    with path.open("wb") as file:
        recorder = Recorder(file, CONTEXT)
        recorder.write(reading(time_ns=SECOND, programs=programs))
        handshakes = events("handshake", 23, handshake_ns=33_000), events("handshake", 5, role="server", port=80)
        recorder.write(reading(*handshakes, time_ns=SECOND + SECOND // 4, programs=programs))
        rest = events("failure", 2, from_state="syn_sent", error=111), events("close", 7, from_state="fin_wait2")
        transitions = {("close", "syn_sent"): 25, ("syn_sent", "established"): 23}
        recorder.write(reading(*rest, time_ns=SECOND + SECOND // 2, transitions=transitions, programs=programs))
    return path


def test_an_unknown_file_exits_1_with_a_sentence_and_a_hint(tmp_path: Path) -> None:
    what, hint = failed(tcptrace("replay", tmp_path / "missing"))
    assert what == f"cannot read {tmp_path / 'missing'}: No such file or directory"
    assert "tcptrace record" in hint


def test_a_directory_exits_1(tmp_path: Path) -> None:
    what, _ = failed(tcptrace("replay", tmp_path))
    assert what == f"cannot read {tmp_path}: it is not an ordinary file"


@pytest.mark.parametrize("content", [b"", b"\xd4\xc3\xb2\xa1 a capture, say", MAGIC])
def test_a_file_that_is_no_recording_exits_1(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "capture.pcap"
    path.write_bytes(content)
    what, hint = failed(tcptrace("replay", path))
    assert what == f"{path} is no recording of tcptrace"
    assert "tcptrace record" in hint


def test_a_recording_of_another_layout_exits_1(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.tcptrace"
    path.write_bytes(recording.read_bytes().replace(LAYOUT.identity.encode(), b"0123456789abcdef"))
    what, hint = failed(tcptrace("replay", path))
    assert "made with record layout 0123456789abcdef" in what
    assert "version that made it" in hint


def test_a_damaged_recording_shows_what_was_whole_and_then_exits_1(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tcptrace"
    path.write_bytes(recording.read_bytes()[:-5])
    result = tcptrace("replay", path)
    what, _ = failed(result)
    assert what == f"{path} is damaged: it ends in the middle of a frame"
    assert "23 handshakes" in result.stdout


def test_an_address_in_use_exits_1_and_names_the_option(recording: Path) -> None:
    with serving(recording) as (_, address):
        what, hint = failed(tcptrace("replay", "--listen", address, recording))
    assert what.startswith(f"cannot listen on {address}: address already in use")
    assert "--listen" in hint


def test_a_replay_ends_with_a_summary_on_standard_output_and_nothing_else(recording: Path) -> None:
    result = tcptrace("replay", recording)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("traced for 0.5 s\n")
    assert "client 443\n  23 handshakes" in result.stdout
    assert "server 80\n  5 handshakes" in result.stdout
    assert "2 failures: refused 2" in result.stdout


def test_json_is_one_object_with_the_counts(recording: Path) -> None:
    result = tcptrace("replay", "--json", recording)
    assert result.returncode == 0
    (line,) = result.stdout.splitlines()
    document = json.loads(line)
    assert {(row["role"], row["count"]) for row in document["handshakes"]} == {("client", 23), ("server", 5)}
    assert [(row["reason"], row["count"]) for row in document["failures"]] == [("refused", 2)]
    assert {"from": "close", "to": "syn_sent", "count": 25} in document["transitions"]
    assert document["events_lost"] == document["connections_untracked"] == 0


def test_at_its_own_speed_a_replay_takes_as_long_as_it_took(recording: Path) -> None:
    began = time.monotonic()
    result = tcptrace("replay", "--speed", "0.2", "--no-view", recording)
    assert result.returncode == 0
    # half a second at a fifth of the speed, with a line a second
    assert time.monotonic() - began >= 2.5
    assert "handshakes=28" in result.stderr
    assert "23 handshakes" in result.stdout


@contextmanager
def serving(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a replay that serves; yield it and its address once it is at the end of the recording."""
    command = [*COMMAND, "replay", "--listen", "127.0.0.1:0", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stderr is not None
            match = re.search(r"http://(\S+:\d+)/metrics", process.stderr.readline())
            assert match is not None
            assert "still serving, Ctrl-C ends" in process.stderr.readline()
            yield process, match[1]
        finally:
            process.kill()


def test_a_replay_serves_its_metrics_until_it_is_stopped(recording: Path) -> None:
    with serving(recording) as (process, address):
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=10) as answer:
            assert answer.status == 200
        assert process.poll() is None
    assert re.search(r'^tcptrace_handshakes_total\{.*role="client".*\} 23(\.0)?$', text, flags=re.MULTILINE)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)])
def test_a_signal_ends_it_after_the_summary(number: signal.Signals, status: int, recording: Path) -> None:
    with serving(recording) as (process, _):
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert out.startswith("traced for 0.5 s\n")
    assert out.endswith("0 events lost, 0 connections untracked\n")
    assert err == ""


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_a_closed_pipe_leaves_no_traceback(options: list[str], recording: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = tcptrace("replay", *options, recording, stdout=writer)
    finally:
        os.close(writer)
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr
    assert "bug" not in result.stderr
    assert result.returncode != 3


def test_a_recording_can_be_replayed_unprivileged(recording: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "small.tcptrace"
        path.write_bytes(recording.read_bytes())
        path.chmod(0o644)
        result = as_ordinary_user(Path("tcptrace"), "replay", str(path))
    assert result.returncode == 0, result.stderr
    assert "23 handshakes" in result.stdout
