"""The page and the report of a server in a real browser: what is seen, asked for and complained of, beside /metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.browser import NAME, PATIENCE, Browser, Page, chromium
from tests.needs import ROOT

pytestmark = pytest.mark.needs(NAME)

REPLAY = (sys.executable, "-m", "tracer", "replay", "tracer/data/demo.tcptrace")
SIZES = ((1280, False), (800, True), (390, False), (390, True))


@contextmanager
def serving(speed: float) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield the address of a server that replays the recording that ships, and goes on when it is at its end."""
    command = (*REPLAY, "--no-view", "--listen", "127.0.0.1:0", "--speed", str(speed))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            found = next(match[1] for line in process.stderr if (match := re.search(r"metrics on (\S+)metrics", line)))
            yield found, process
        finally:
            process.kill()


@pytest.fixture(name="url", scope="module")
def fixture_url() -> Iterator[str]:
    """Return the address of a server at the end of the recording, so that nothing changes any more."""
    summary = json.loads(subprocess.run((*REPLAY, "--json"), cwd=ROOT, capture_output=True, check=True).stdout)
    handshakes = sum(row["count"] for row in summary["handshakes"])
    with serving(1000) as (url, _):
        until(lambda: counted(metrics(url), "tcptrace_handshakes_total") == handshakes, "the recording is at its end")
        yield url


@pytest.fixture(name="browser", scope="module")
def fixture_browser() -> Iterator[Browser]:
    """Return a browser for all tests here."""
    with chromium() as browser:
        yield browser


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.05)


Samples = dict[str, list[tuple[dict[str, str], float]]]


def metrics(url: str) -> Samples:
    """Return the samples of /metrics by their names."""
    with urllib.request.urlopen(f"{url}metrics", timeout=30) as answer:
        found: Samples = {}
        for family in text_string_to_metric_families(answer.read().decode()):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
        return found


def counted(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels."""
    return sum(value for has, value in samples.get(name, ()) if labels.items() <= has.items())


def rows(page: Page, table: str) -> list[list[str]]:
    """Return the cells of a table as they are seen."""
    cells = "[...row.cells].map((cell) => (cell.querySelector('summary') || cell).innerText.trim())"
    found: list[list[str]] = page.run(f"[...document.querySelectorAll('#{table} tr')].slice(1).map((row) => {cells})")
    return found


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_every_figure_of_a_service_is_that_of_the_metrics(url: str, browser: Browser) -> None:
    page, samples = browser.open(url), metrics(url)
    found = {row[0]: row for row in rows(page, "services-table")}
    assert len(found) >= 8
    for name, row in found.items():
        role, port = name.split()
        for at, metric in (
            (1, "tcptrace_handshake_failures_total"),
            (2, "tcptrace_retransmitted_segments_total"),
            (4, "tcptrace_connections"),
            (5, "tcptrace_handshakes_total"),
        ):
            assert number(row[at]) == counted(samples, metric, role=role, port=port), (name, metric)


def test_the_cards_are_the_sums_of_the_metrics(url: str, browser: Browser) -> None:
    page, samples = browser.open(url), metrics(url)
    texts = page.run("[...document.querySelectorAll('.card')].map((card) => [...card.children].map((e) => e.innerText))")
    cards = {label: number(value) for value, label in texts}
    for label, metric in (
        ("handshakes", "tcptrace_handshakes_total"),
        ("failures", "tcptrace_handshake_failures_total"),
        ("retransmitted", "tcptrace_retransmitted_segments_total"),
        ("open now", "tcptrace_connections"),
        ("closed", "tcptrace_connections_closed_total"),
    ):
        assert cards[label] == counted(samples, metric), label
    assert cards["in TIME_WAIT"] == counted(samples, "tcptrace_sockets", state="time_wait")


@pytest.mark.parametrize(("path", "sizes"), [("", SIZES), ("report", SIZES[1:3])])
def test_every_size_and_colour_shows_all_without_a_complaint_or_a_request_elsewhere(
    url: str, browser: Browser, path: str, sizes: tuple[tuple[int, bool], ...], tmp_path: Path
) -> None:
    for width, dark in sizes:
        page = browser.open(f"{url}{path}", width, dark=dark)
        page.run("document.querySelectorAll('details').forEach((each) => { each.open = true })")
        assert page.overflow <= 0, (width, dark)
        assert page.complaints == []
        assert {address.removeprefix(url) for address in page.requests} == {path}
        picture = tmp_path / f"{width}.png"
        page.picture(picture)
        assert picture.stat().st_size > 10_000
        lightness = page.run("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)[0]")
        assert (lightness < 128) == dark


def test_without_a_script_the_page_has_the_same_figures(url: str, browser: Browser) -> None:
    with urllib.request.urlopen(url, timeout=30) as answer:
        html = answer.read().decode()
    for _, _, _, _, _, handshakes, *_ in rows(browser.open(url), "services-table"):
        assert f"<td>{handshakes}</td>" in html


def test_the_page_keeps_itself_up_to_date_and_what_is_folded_out_stays_so() -> None:
    """Also where the browser is not allowed anything but this server, and until there is none: then it says so."""
    with chromium() as browser, serving(0.1) as (url, process):
        until(lambda: counted(metrics(url), "tcptrace_handshakes_total") > 0, "there is a service")
        page = browser.open(url)
        first = card(page, "handshakes")
        page.run("document.querySelector('#transitions').open = true")
        until(lambda: card(page, "handshakes") > first, "there are new figures")
        assert page.run("document.querySelector('#transitions').open")
        assert page.run("performance.getEntriesByType('navigation').length") == 1
        assert set(page.requests) == {url}
        assert page.complaints == []
        process.kill()
        until(lambda: "figures are old" in page.run("document.body.innerText"), "it says that nobody answers")


def card(page: Page, label: str) -> float:
    """Return the figure of a card."""
    cards = "[...document.querySelectorAll('.card')]"
    return number(page.run(f"{cards}.find((each) => each.innerText.includes('{label}')).querySelector('b').innerText"))
