"""What the guests' JUnit files say, as one table: files of tests by kernel, and below it each failure and what was lacking."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tests.needs import LACKS

Cell = Counter[str]

FIRST, AGAIN, LOCKED = "junit.xml", "again.xml", "locked.xml"
"""What a guest leaves: of all its tests, of those that failed and were repeated, and of those that lock the kernel down."""

OUTPUT = "output"
TEST_LINE = re.compile(r"^tests/\S*?(\w+)\.py::(.+) (PASSED|FAILED|ERROR|SKIPPED|LACKS)\b", re.MULTILINE)
SAID = {"PASSED": "passed", "FAILED": "failed", "ERROR": "failed", "SKIPPED": "skipped", "LACKS": "lacks"}

COMMANDS = {
    "the programs load": "tests/kernel/test_verifier.py",
    "`run`": "tests/kernel/test_counting.py::test_every_connection_of_a_known_number_is_in_the_summary",
    "`events --kind state`": "tests/kernel/test_events.py::test_state_changes_come_when_they_are_asked_for",
    "`follow`": "tests/kernel/test_follow.py::test_a_refused_connection_is_four_lines",
    "`follow --segments`": "tests/kernel/test_follow.py::test_segments_end_in_sparklines",
    "`audit`": "tests/kernel/test_audit.py::test_a_retransmission_that_a_firewall_refuses_is_no_drift",
    "`snapshot`": "tests/kernel/test_snapshot.py::test_it_tells_listeners_with_their_backlog_and_the_namespaces_it_has_seen",
    "filters": "tests/kernel/test_filters.py::test_an_address_filter_takes_the_clients_address_as_well",
    "`record`": "tests/kernel/test_events.py::test_a_recording_prints_the_same_events_unprivileged",
}
"""The columns of the table in docs/kernels.md, and the test that each stands for."""

LOCKDOWN = "tests/guests/lockdown.py"
COLUMNS = {**COMMANDS, "lockdown": LOCKDOWN}
"""And the last one, whose tests run when all others have."""


def outcomes_in(place: Path) -> dict[str, tuple[str, str]]:
    """Return what became of each test of a guest, by its last try; nothing where nothing was reported."""
    files = [file for file in (place / FIRST, place / AGAIN, place / LOCKED) if file.exists()]
    if (place / FIRST) not in files and (place / OUTPUT).exists():
        return lines_of_tests((place / OUTPUT).read_text(errors="replace"))
    return {name: outcome for file in files for name, outcome in outcomes(file).items()}


def lines_of_tests(output: str) -> dict[str, tuple[str, str]]:
    """Return what became of each test by pytest's lines, for a guest that ended before it could write a report."""
    return {f"{file}::{name}": (SAID[word], "the guest was ended early") for file, name, word in TEST_LINE.findall(output)}


def outcomes(file: Path) -> dict[str, tuple[str, str]]:
    """Return each test of a JUnit file with what became of it (passed, failed, lacks, skipped), and why."""
    found = {}
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        found[name] = outcome(case)
    return found


def outcome(case: ElementTree.Element) -> tuple[str, str]:
    """Return what became of a test, and why where it did not pass."""
    for tag in ("failure", "error"):
        if (bad := case.find(tag)) is not None:
            return "failed", bad.get("message", "").split("\n")[0]
    if (skip := case.find("skipped")) is None:
        return "passed", ""
    why = skip.get("message", "")
    return ("lacks" if LACKS in why else "skipped"), why


def instructions(file: Path) -> str:
    """Return the most instructions that the verifier looked at for one program, as tests/kernel/test_verifier.py left it."""
    values = [int(item.get("value", "0")) for item in ElementTree.parse(file).getroot().iter("property")]
    return f"{max(values):,}" if values else "-"


def render(places: dict[str, Path]) -> str:
    """Return the table of all guests (release, directory of results), and the lists below it."""
    files = {name: place / FIRST for name, place in places.items()}
    results = {name: outcomes_in(place) for name, place in places.items()}
    rows = sorted({test.partition("::")[0] for result in results.values() for test in result})
    lines = [f"| tests | {' | '.join(results)} |", f"| --- |{' --- |' * len(results)}"]
    for row in rows:
        cells = [
            text(Counter(what for test, (what, _) in result.items() if test.startswith(f"{row}::")))
            for result in results.values()
        ]
        lines.append(f"| {row.removeprefix('test_')} | {' | '.join(cells)} |")
    most = [instructions(file) if file.exists() else "-" for file in files.values()]
    lines.append(f"| instructions verified, at most | {' | '.join(most)} |")
    for name, result in results.items():
        lines += [f"{name}: nothing was reported"] if not result else []
        lines += [f"{name}: {test} {what}: {why}" for test, (what, why) in result.items() if what != "passed"]
    return "\n".join(lines)


def by_command(places: dict[str, Path]) -> str:
    """Return the table of docs/kernels.md: kernels by command; the most instructions verified for one program."""
    lines = [f"| kernel | {' | '.join(COLUMNS)} |", f"| --- |{' --- |' * len(COLUMNS)}"]
    for name, place in places.items():
        file = place / FIRST
        cells = ["-"] * len(COLUMNS)
        if found := outcomes_in(place):
            cells = [command_cell(found, test) for test in COLUMNS.values()]
            cells[0] = f"{cells[0]}, {instructions(file)}".removesuffix(", -")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def command_cell(found: dict[str, tuple[str, str]], test: str) -> str:
    """Return what became of a test or of a file of tests: failed if one has, ok if one passed, else lacks or skipped."""
    file, _, name = test.rpartition("/")[2].partition("::")
    whats = {what for key, (what, _) in found.items() if key.startswith(f"{file.removesuffix('.py')}::{name}")}
    worst = next((what for what in ("failed", "passed", *whats) if what in whats), "-")
    return worst.replace("passed", "ok")


def text(cell: Cell) -> str:
    """Return a cell in words: green when all that can hold on that kernel held."""
    if not cell:
        return "-"
    words = [f"{cell['passed']} passed"] + [f"{cell[what]} {what}" for what in ("failed", "lacks", "skipped") if cell[what]]
    return ", ".join(words)
