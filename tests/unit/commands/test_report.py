"""`tcptrace report` of the recording that ships: it agrees with what replay says of it, connection by connection."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.needs import ROOT

DEMO = ROOT / "tracer/data/demo.tcptrace"


def tcptrace(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tracer", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@cache
def report(*options: str) -> dict[str, Any]:
    done = tcptrace("report", str(DEMO), "--format", "json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@cache
def recorded() -> list[dict[str, Any]]:
    return [json.loads(line) for line in tcptrace("replay", str(DEMO), "events", "--json").stdout.splitlines()]


def test_a_report_counts_what_the_summary_of_a_replay_counts() -> None:
    document, summary = report(), json.loads(tcptrace("replay", str(DEMO), "--json").stdout)
    for table in ("failures", "closes", "retransmitted_segments"):
        assert document[table] == summary[table]
    for mine, its in zip(document["handshakes"], summary["handshakes"], strict=True):
        assert its.items() <= mine.items()
        assert mine["p99_seconds"] <= mine["p999_seconds"] <= mine["max_seconds"]


@pytest.mark.parametrize(
    ("list_name", "measure"),
    [
        ("longest_connections", lambda e: 0 if e["partial"] else e["duration_seconds"]),
        ("largest_connections", lambda e: e["sent_bytes"] + e["received_bytes"]),
        ("most_retransmitting_connections", lambda e: e["retransmitted_segments"]),
    ],
)
def test_the_connections_that_stand_out_are_those_of_all_that_do(list_name: str, measure: Any) -> None:
    closes = [event for event in recorded() if event["kind"] == "close"]
    found = report()[list_name]
    assert [measure(event) for event in found] == sorted((measure(event) for event in closes), reverse=True)[: len(found)]
    assert all(event in closes for event in found)


def test_resets_are_counted_by_direction_and_reason() -> None:
    resets = [event for event in recorded() if event["kind"] == "reset"]
    rows = report()["resets"]
    assert sum(row["count"] for row in rows) == len(resets)
    for row in rows:
        same = [e for e in resets if (e["direction"], e["reset_reason"]) == (row["direction"], row["reset_reason"])]
        assert row["count"] == len(same)


def test_peers_are_whole_and_the_worst_comes_first() -> None:
    document = report()
    for table in ("handshakes", "failures", "closes"):
        each = [row[table] if isinstance(row[table], int) else sum(row[table].values()) for row in document["peers"]]
        assert sum(each) == sum(row["count"] for row in document[table])
    segments = [sum(row["retransmitted_segments"].values()) for row in document["peers"] if row["peer"] != "other"]
    assert segments == sorted(segments, reverse=True)


def test_filters_choose_among_the_events_of_a_recording() -> None:
    chosen = report("--port", "443", "--role", "client", "--address", "10.23.0.0/24")
    closes = [e for e in recorded() if e["kind"] == "close" and e["role"] == "client" and e["remote_port"] == 443]
    assert closes
    assert sum(row["count"] for row in chosen["closes"]) == len(closes)
    assert {(row["role"], row["port"]) for row in chosen["handshakes"]} == {("client", 443)}
    assert report("--address", "192.0.2.0/24")["handshakes"] == []
    process = closes[0]["pid"]
    assert sum(row["count"] for row in report("--pid", str(process))["closes"]) == sum(
        e["kind"] == "close" and e["pid"] == process for e in recorded()
    )


def test_the_table_fits_80_columns_and_has_every_section() -> None:
    done = tcptrace("report", str(DEMO))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) < 80
    for title in ("Handshakes", "Failed", "Closes", "Retransmitted", "Time in each", "Peers", "Resets", "Longest", "Largest"):
        assert any(line.startswith(title) for line in lines), title


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (("--format", "xml"), 2, "choose from table, json"),
        (("--duration", "1"), 2, "not for a FILE"),
        (("--cgroup", "/sys/fs/cgroup"), 2, "not for a FILE"),
        (("--role", "peer"), 2, "not a role"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: tuple[str, ...], status: int, says: str) -> None:
    done = tcptrace("report", str(DEMO), *options)
    assert done.returncode == status
    assert says in done.stderr
    assert not done.stdout


def test_a_damaged_recording_is_refused_with_a_sentence(tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(DEMO.read_bytes()[:20_000])
    done = tcptrace("report", str(cut))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is damaged" in done.stderr


def test_a_replay_chooses_the_same_events_by_the_same_filters() -> None:
    filters = ("--port", "443", "--role", "client")
    document = json.loads(tcptrace("replay", str(DEMO), "--json", *filters).stdout)
    assert document["closes"] == report(*filters)["closes"]
    assert (document["transitions"], document["sockets"]) == (None, None)
    lines = tcptrace("replay", str(DEMO), "events", "--json", *filters).stdout.splitlines()
    chosen = [event for event in recorded() if event["role"] == "client" and event["remote_port"] == 443]
    assert [json.loads(line) for line in lines] == chosen
