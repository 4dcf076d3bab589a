"""`tcptrace report --format html` of the recording that ships: the figures of the JSON, in one file that asks for nothing."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from functools import cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.needs import ROOT
from tests.unit.commands.test_report import DEMO, recorded, report, tcptrace
from tracer.outputs.units import time_text

WHOLE = {"h2", "h3", "td", "th", "b"}
"""Elements that are read as a whole."""


class Tables(HTMLParser):
    """The tables of a page by the heading above each: rows of cells; every tag, attribute and text besides."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: set[str] = set()
        self.attributes: dict[str, list[str]] = {}
        self.cards: list[str] = []
        self._text: list[str] = []
        self._heading = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag == "tr":
            self.tables.setdefault(self._heading, []).append([])
        if tag in WHOLE:
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        text = "".join(self._text)
        if tag in {"h2", "h3"}:
            self._heading = text
        elif tag in {"td", "th"}:
            self.tables[self._heading][-1].append(text)
        elif tag == "b":
            self.cards.append(text)

    def handle_data(self, data: str) -> None:
        self._text.append(data)


@cache
def page(*options: str) -> str:
    done = tcptrace("report", str(DEMO), "--format", "html", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def end_of_a_client() -> tuple[dict[str, Any], str]:
    """Return the end of a connection as its client tells it, and the client's address and port, which no other one has."""
    ends = [event for event in recorded() if event["kind"] == "close" and event["role"] == "client" and not event["partial"]]
    ports = Counter(event["local_port"] for event in ends)
    close = next(event for event in ends if ports[event["local_port"]] == 1)
    return close, f"{close['local_address']}:{close['local_port']}"


def body(title: str) -> list[list[str]]:
    return Tables(page()).tables[title][1:]


def test_its_figures_are_those_of_the_json() -> None:
    document = report()
    assert body("Handshakes") == [
        [
            f"{row['role']} {row['port']}",
            f"{row['count']:,}",
            *(time_text(row[f"{name}_seconds"]) for name in ("p50", "p90", "p99", "p999", "max")),
        ]
        for row in document["handshakes"]
    ]
    for title, table, name in (
        ("Failed handshakes by reason", "failures", "reason"),
        ("Closes by reason", "closes", "reason"),
        ("Retransmitted segments by kind", "retransmitted_segments", "kind"),
    ):
        expected = sorted([f"{row['role']} {row['port']} {row[name]}", f"{row['count']:,}"] for row in document[table])
        assert sorted([cells[0].replace("other other", "other"), cells[1]] for cells in body(title)) == [
            [text.replace("other other", "other"), count] for text, count in expected
        ]
    assert [[name, count] for name, count, *_ in body("Time in each state")] == [
        [row["state"], f"{row['count']:,}"] for row in document["states"]
    ]
    assert [cells[0] for cells in body("Peers, worst first")] == [row["peer"] for row in document["peers"]]
    assert len(body("Audit")) == len(document["audit"])


def test_its_cards_are_the_sums_of_the_json() -> None:
    document = report()
    sums = [sum(row["count"] for row in document[name]) for name in ("handshakes", "failures", "closes")]
    sums += [sum(row["count"] for row in document[name]) for name in ("retransmitted_segments", "resets")]
    assert Tables(page()).cards == [
        f"{number:,}" for number in (*sums, document["events_lost"], document["connections_untracked"])
    ]


def test_it_loads_nothing_and_runs_nothing() -> None:
    found = Tables(page())
    assert not found.tags & {"script", "link", "img", "iframe", "object", "a", "image", "use"}
    assert not found.attributes.keys() & {"src", "href", "style", "action"}
    assert not [name for name in found.attributes if name.startswith("on")]
    assert "url(" not in page()
    (policy,) = [value for value in found.attributes["content"] if "default-src" in value]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_every_picture_says_in_words_what_it_shows() -> None:
    html = page()
    assert html.count("<svg") == html.count('role="img"') == html.count("<title>") - 1 > 4
    segments: Counter[str] = Counter()
    for event in recorded():
        if event["kind"] == "retransmit" and not event["failed"]:
            segments[event["remote_address"]] += event["segments"]
    said = "; ".join(f"{peer}: {count}" for peer, count in segments.most_common())
    assert f"Retransmitted segments over time by peer. {said}" in html


def test_a_recording_without_positions_says_what_would_have_them() -> None:
    assert "record --segments -o FILE" in unescape(page())
    client = end_of_a_client()[1]
    assert "'tcptrace record --follow -o FILE'" in unescape(page("--connection", client))


def test_one_connection_is_a_page_with_both_directions() -> None:
    close, client = end_of_a_client()
    options = ("--connection", client)
    rows = {cells[0]: cells[1:] for cells in Tables(page(*options)).tables["Both directions"]}
    assert rows["unique bytes"][0] == f"{close['sent_bytes']:,}"
    assert rows["data packets"][0].startswith("-")


def test_filters_choose_among_the_events_of_the_page() -> None:
    rows = Tables(page("--port", "443", "--role", "client")).tables["Handshakes"][1:]
    assert [cells[0] for cells in rows] == ["client 443"]


@pytest.mark.parametrize("form", ["html", "json", "table"])
def test_every_format_goes_into_a_file_of_the_callers_own(form: str, tmp_path: Path) -> None:
    file = tmp_path / "report"
    done = tcptrace("report", str(DEMO), "--format", form, "-o", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.read_text(encoding="utf-8") == tcptrace("report", str(DEMO), "--format", form).stdout
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_a_sentence_and_a_damaged_recording_leaves_it_as_it_was(tmp_path: Path) -> None:
    done = tcptrace("report", str(DEMO), "-o", str(tmp_path / "none/here"))
    assert (done.returncode, "cannot write" in done.stderr) == (1, True)
    cut, kept = tmp_path / "cut", tmp_path / "kept"
    cut.write_bytes(DEMO.read_bytes()[:20_000])
    kept.write_text("as it was", encoding="utf-8")
    done = tcptrace("report", str(cut), "--format", "html", "-o", str(kept))
    assert (done.returncode, "is damaged" in done.stderr) == (1, True)
    assert kept.read_text(encoding="utf-8") == "as it was"


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "{cut}", "-o", "{new}"),
        ("report", "{cut}", "--format", "html", "-o", "{new}"),
        ("report", "{none}", "-o", "{new}"),
        ("report", str(DEMO), "--connection", "192.0.2.1:1", "-o", "{new}"),
        ("report", str(DEMO), "--connection", "192.0.2.1:1", "--xpl", "{new}"),
    ],
)
def test_a_report_that_fails_leaves_no_new_file(arguments: tuple[str, ...], tmp_path: Path) -> None:
    cut, new = tmp_path / "cut", tmp_path / "new"
    cut.write_bytes(DEMO.read_bytes()[:20_000])
    done = tcptrace(*(text.format(cut=cut, new=new, none=tmp_path / "none") for text in arguments))
    assert done.returncode == 1, done.stderr
    assert list(tmp_path.iterdir()) == [cut]


def test_a_recording_from_a_pipe_has_its_page_too() -> None:
    command = [sys.executable, "-m", "tracer", "report", "-", "--format", "html"]
    done = subprocess.run(command, cwd=ROOT, input=DEMO.read_bytes(), capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == page()
