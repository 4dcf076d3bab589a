"""Processes and cgroups whose names are meant to break what shows them: real ones, in every output."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.emulator import Emulator, on_terminal
from tests.kernel.cgroups import cgroups
from tests.kernel.net import Namespace, namespace
from tests.kernel.tracing import Tracing, tracing
from tests.kernel.traffic import listening
from tests.kernel.until import PATIENCE, until
from tests.needs import ROOT
from tests.unit.outputs.metricfamily import families, labels_of
from tracer.outputs.prometheus import OPENMETRICS, PROTOBUF

ADDRESS = "127.0.0.1"

PROCESSES = {
    b'a"b\\c': r'a"b\c',
    b"x\ny 1": r"x\ny 1",
    b"\x1b]0;pwn\x07": r"\x1b]0;pwn\x07",
    b"\x1b[2J\x1b[31m": r"\x1b[2J\x1b[31m",
    "\x9b2J".encode(): r"\x9b2J",
    b"\x9b2J\x85": r"\x9b2J\x85",
    "\u202egnp.exe".encode(): r"\u202egnp.exe",
    "process-xnöööö".encode()[:15]: r"process-xnöö\xc3",
    b"\xff\xfe": r"\xff\xfe",
    b"=1+1": "=1+1",
    b"<b>&amp;'": "<b>&amp;'",
}
SHORT = 7
"""How long a name may be that has room on a line of 80 columns, beside a time of 7 characters and a process id of 7 digits."""

PORT = 443
"""A short port, in a namespace of its own, which leaves that room."""

CGROUPS = {
    b'a"b\\x2dc.service': r'a"b\x2dc.service',
    b"\x1b]0;pwn\x07.service": r"\x1b]0;pwn\x07.service",
    b"\xff\xfe.service": r"\xff\xfe.service",
    "\u202e\x9b.service".encode(): r"\u202e\x9b.service",
    b"lxc.payload.\x1b[2J": r"\x1b[2J",
    b"@SUM(A1).service": "@SUM(A1).service",
}

CLIENT = """
import ctypes, os, socket, sys
place, name, port = sys.argv[1:]
with open(os.path.join(bytes.fromhex(place), b"cgroup.procs"), "w") as procs: procs.write(str(os.getpid()))
assert ctypes.CDLL(None).prctl(15, bytes.fromhex(name), 0, 0, 0) == 0
socket.create_connection(("127.0.0.1", int(port)), timeout=30).close()
"""


class Printing:
    """A command that prints events; text: all of it, when it has been stopped."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._process = process
        self.text = ""
        assert b"attached" in process.stderr.readline()

    def stop(self) -> None:
        """End it, and read what it printed."""
        self._process.send_signal(signal.SIGINT)
        self.text = self._process.communicate(timeout=PATIENCE)[0].decode()


@contextmanager
def printing(command: list[str]) -> Iterator[Printing]:
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        try:
            yield Printing(process)
        finally:
            process.kill()


@dataclass(frozen=True)
class Shown:
    """What there is to see: a run, a live view, and what events and follow printed; and a recording of it all."""

    tracer: Tracing
    view: Emulator
    csv: str
    ladders: str
    recording: Path

    def replayed(self, form: str) -> str:
        """Return the events of the recording."""
        command = [sys.executable, "-m", "tracer", "replay", str(self.recording), "events", "--format", form]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=PATIENCE).stdout.decode()


@pytest.fixture(name="shown", scope="module")
def fixture_shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Have a connection of a process of each name, each in a cgroup; of those there are fewer, used in turn."""
    file = tmp_path_factory.mktemp("names") / "a.tcptrace"
    labels = ("--label", "process", "--label", "container", "--netns", "own")
    with ExitStack() as stack:
        side = stack.enter_context(namespace())
        top = stack.enter_context(cgroups())
        places = [os.fsencode(top) + b"/" + name for name in CGROUPS]
        for place in places:
            Path(os.fsdecode(place)).mkdir()
        listener = stack.enter_context(listening(side, ADDRESS, PORT))
        port = str(PORT)
        view = stack.enter_context(on_terminal(tracer_of(side, port, "record", "-o", str(file)), 200, 40))
        tracer = stack.enter_context(tracing(*labels, "--port", port, side=side))
        printed = [stack.enter_context(printing(tracer_of(side, port, *names))) for names in (CSV, ("follow",))]
        view.until_seen("no connection was opened")
        for number, name in enumerate(PROCESSES):
            place = places[number % len(places)]
            command = side.command(sys.executable, "-c", CLIENT, place.hex(), name.hex(), port)
            subprocess.run(command, check=True, timeout=PATIENCE)
            listener.accept()[0].close()
        until(lambda: handshakes(tracer) == len(PROCESSES), "every handshake was counted")
        view.until(lambda: f" {len(PROCESSES)} " in view.text, "every handshake is in the view")
        for each in printed:
            each.stop()
        view.type("q")
        view.until_seen("status 0")
        yield Shown(tracer, view, printed[0].text, printed[1].text, file)


CSV = ("events", "--format", "csv")


def tracer_of(side: Namespace, port: str, *arguments: str) -> list[str]:
    return side.command(sys.executable, "-m", "tracer", *arguments, "--netns", "own", "--port", port)


def handshakes(tracer: Tracing) -> float | None:
    return tracer.scrape().value("handshakes_total", role="client")


def unseen(text: str) -> set[str]:
    """Return the characters of a text that are not visible where they stand, line ends apart."""
    return {char for char in text if unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"} - {"\n"}


def assert_both_labels(found: list[dict[str, str]]) -> None:
    assert {labels["process"] for labels in found if labels["role"] == "client"} == set(PROCESSES.values())
    assert {labels["container"] for labels in found if labels["role"] == "client"} == set(CGROUPS.values())


@pytest.mark.needs_kernel("cgroups")
def test_plain_text(shown: Shown) -> None:
    text = shown.tracer.get("/metrics")[0].decode()
    assert unseen(text) == set()
    found = [sample.labels for family in parse_text(text) for sample in family.samples]
    assert_both_labels([labels for labels in found if {"process", "role"} <= labels.keys()])


@pytest.mark.needs_kernel("cgroups")
def test_openmetrics(shown: Shown) -> None:
    text = shown.tracer.get("/metrics", Accept=OPENMETRICS)[0].decode()
    assert unseen(text) == set()
    found = [s.labels for family in parse_openmetrics(text) for s in family.samples]  # type: ignore[no-untyped-call]
    assert_both_labels([labels for labels in found if {"process", "role"} <= labels.keys()])


@pytest.mark.needs_kernel("cgroups")
def test_protobuf(shown: Shown) -> None:
    found = {family.name: family for family in families(shown.tracer.get("/metrics", Accept=PROTOBUF)[0])}
    labels = [labels_of(metric) for metric in found["tcptrace_handshakes_total"].metric]
    assert_both_labels(labels)
    assert unseen("".join(value for each in labels for value in each.values())) == set()


def test_json_has_an_object_a_line_with_the_names_that_the_metrics_have(shown: Shown) -> None:
    text = shown.replayed("json")
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    assert unseen(text) == unseen("".join(json.dumps(row, ensure_ascii=False) for row in rows)) == set()
    assert {row["process"] for row in rows if row["role"] == "client"} == set(PROCESSES.values())


@pytest.mark.needs_kernel("cgroups")
def test_csv_has_a_line_an_event_and_no_formula(shown: Shown) -> None:
    text = shown.csv
    assert unseen(text) == set()
    rows = list(csv.DictReader(io.StringIO(text), strict=True))
    assert len(rows) + 1 == text.count("\n")
    clients = [row for row in rows if row["role"] == "client"]
    assert {row["process"] for row in clients} == {"'=1+1" if name == "=1+1" else name for name in PROCESSES.values()}
    assert "'@SUM(A1).service" in {row["container"] for row in clients}


def test_the_ladders_of_follow(shown: Shown) -> None:
    text = shown.ladders
    assert unseen(text) == set()
    assert [name for name in PROCESSES.values() if f"{name}/" not in text] == []


def test_the_table_on_a_terminal_that_obeys_no_name(shown: Shown) -> None:
    command = [sys.executable, "-m", "tracer", "--color", "replay", str(shown.recording), "events"]
    with on_terminal(command, 200, 80) as terminal:
        terminal.until_seen("status 0")
        assert_unharmed(terminal)
        short = [name for name in PROCESSES.values() if len(name) <= SHORT]
        assert len(short) == 4
        assert [name for name in short if f"{name}/" not in terminal.text] == []


def test_the_live_view(shown: Shown) -> None:
    assert_unharmed(shown.view)


def assert_unharmed(terminal: Emulator) -> None:
    assert terminal.screen.title == ""
    assert unseen(terminal.text) == set()


def test_the_page(shown: Shown) -> None:
    text = shown.tracer.get("/")[0].decode()
    assert unseen(text) == set()
    assert "<b>&" not in text
