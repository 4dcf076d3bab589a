from __future__ import annotations

import base64
import errno
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading, report_of
from tracer.ingest.decode import Events
from tracer.ingest.snapshot import PortUse, Snapshot
from tracer.ingest.source import Context, Program
from tracer.model.audit import AuditLine
from tracer.model.backlogs import Listener
from tracer.model.leaks import Leak
from tracer.model.report import Report
from tracer.model.spans import Spans, spans
from tracer.model.totals import Model
from tracer.outputs.web.page import SERVICES_SHOWN, page
from tracer.outputs.web.pagelook import PAGE_POLICY
from tracer.outputs.web.summary import summary_page


class Words(HTMLParser):
    """The text of a document as rows of words, and every address that it mentions."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        if self.lasttag not in {"style", "script"}:
            self.text.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - its own signature
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src", "action"}]


def text(html: str) -> str:
    return " ".join(" ".join(Words(html).text).split())


def with_past(*seconds: Sequence[Events], **fields: object) -> tuple[Report, Spans]:
    """Return the Report and the spans after seconds with these records each."""
    model = Model(CONTEXT, start_ns=0)
    past: Spans | None = None
    for second, batches in enumerate(seconds, 1):
        model.add(reading(*batches, time_ns=second * SECOND, cells={"events_lost": 0, "untracked": 0}))
        past = spans(replace(model.report(), **fields), past)  # type: ignore[arg-type]
    assert past is not None
    return replace(model.report(), **fields), past  # type: ignore[arg-type]


def test_a_service_has_its_figures_in_one_row(report: Report) -> None:
    assert "5 3 - 16 23 - 1.00 ms 1.00 ms" in text(page(report))
    assert "failures refused 5 closes normal 7 retransmitted segments timeout 3" in text(page(report))


def test_the_page_tells_state_changes_listeners_and_what_was_lost(report: Report) -> None:
    found = text(page(report))
    assert "CLOSE SYN_SENT 28" in found.upper()
    assert "0 events lost 0 untracked" in found


def test_what_is_not_known_is_a_dash() -> None:
    assert "- events lost - untracked" in text(page(Model(CONTEXT).report()))


def test_the_page_loads_nothing_and_links_only_to_its_neighbours(report: Report) -> None:
    html = page(report, links=("/report", "/metrics"))
    assert Words(html).addresses == ["/report", "/metrics"]
    assert "url(" not in html
    assert "@import" not in html


def test_what_runs_and_how_it_looks_is_allowed_by_its_hash_alone(report: Report) -> None:
    html = page(report)
    for tag, source in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in PAGE_POLICY
    assert not re.findall(r" (?:style|on\w+)=", html)
    assert "unsafe" not in PAGE_POLICY
    assert PAGE_POLICY.startswith("default-src 'none'")


def test_without_a_script_the_browser_loads_the_page_again(report: Report) -> None:
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page(report)


def test_text_from_outside_is_escaped() -> None:
    context = Context(kernel="6.1<script>alert(1)</script>", bcc="&", anchor_ns=0, netns=1, missing=("<b>resets</b>",))
    model = Model(context, labels=("process",))
    model.add(
        reading(
            events("handshake", process=b"<img src=x>"),
            programs=(Program('<img src="x">', attached=True, runs=0, run_seconds=0.0, misses=0),),
        )
    )
    for html in (page(model.report()), summary_page(model.report())):
        assert "<img" not in html
        assert "<script>alert" not in html
        assert "&lt;b&gt;resets&lt;/b&gt;" in html or "/report" not in html


def test_services_beyond_the_first_are_one_line() -> None:
    report = report_of(*(events("handshake", port=port) for port in range(1, SERVICES_SHOWN + 4)))
    html = page(report)
    assert "among the others: 3" in text(html)
    assert html.count('id="service ') == SERVICES_SHOWN + 1


def test_those_services_come_first_of_which_most_went_wrong_lately() -> None:
    old = [events("retransmit", 9, port=80, segments=1, retransmit_kind="fast"), events("handshake", port=80)]
    new = [events("retransmit", 2, port=81, segments=1, retransmit_kind="fast"), events("handshake", port=81)]
    html = page(*with_past(old, *[[]] * 700, new))
    assert html.index('"service client 81"') < html.index('"service client 80"')


def test_the_last_ten_minutes_are_drawn_and_said() -> None:
    html = page(*with_past([events("handshake", 30)], *[[]] * 19, [events("handshake", 10)]))
    assert "handshakes: at most 3, now 0.909 a second" in text(html)
    assert html.count("<svg") == 1


def test_all_is_good_only_where_nothing_is_wrong() -> None:
    calm = with_past([events("handshake")], [])
    assert "good: nothing is wrong" in text(page(*calm))
    assert 'class="bad"' not in page(*calm)


@pytest.mark.parametrize(
    ("fields", "sentence", "level"),
    [
        ({"events_lost": 1}, "1 events lost", 2),
        ({"untracked": 2}, "2 connections untracked", 2),
        ({"label_overflow": 3}, "3 records counted under other", 1),
        ({"audit": (AuditLine("ActiveOpens", 30, 28),)}, "drift from the kernel's counters: ActiveOpens -2 of 30", 2),
        ({"listeners": (Listener("443", "nginx", 3, 128, 7),)}, "no room for connections: port 443 7", 1),
        ({"leaks": (Leak("close_wait", "server", "443", "nginx", 100),)}, "100 connections in CLOSE_WAIT", 1),
        (
            {"snapshot": Snapshot(ports=(PortUse(1, "192.0.2.9", "192.0.2.1:443", 26_050, 28_232, 253.0),))},
            "ephemeral ports to 192.0.2.1:443: 26,050 in use of 28,232, exhausted in 253 s",
            2,
        ),
    ],
)
def test_the_verdict_is_that_of_the_worst_thing_known(fields: dict[str, object], sentence: str, level: int) -> None:
    html = page(*with_past([events("handshake")], [], **fields))
    assert sentence in text(html)
    assert f'class="verdict l{level}"' in html
    assert "good" not in text(html)
    assert 'class="good"' not in html


def test_failures_of_late_are_worth_a_look_and_old_ones_are_not() -> None:
    failure = [events("handshake"), events("failure", error=errno.ECONNREFUSED)]
    html = page(*with_past(failure))
    assert "worth a look 1 handshake failed in the last ten minutes" in text(html)
    assert 'class="bad">1<' in html
    html = page(*with_past(failure, *[[]] * 620))
    assert "good: nothing is wrong" in text(html)
    assert 'class="bad"' not in html


def test_a_detached_program_is_the_worst_of_all() -> None:
    report, past = with_past([events("handshake")])
    assert "something is wrong not reading" in text(page(report, past, healthy=False))


def test_the_report_has_every_service_with_its_quantiles_and_times_in_states(report: Report) -> None:
    found = text(summary_page(report))
    assert "client 443 23 1.00 ms 1.00 ms 1.00 ms 1.00 ms 1.00 ms" in found
    assert "client 443 refused 5" in found
    assert "client 443 timeout 3" in found
    assert "ESTABLISHED" in found
    assert "<script" not in summary_page(report)


def test_where_the_last_minutes_are_not_known_the_verdict_is_of_all_since_the_start() -> None:
    found = text(page(report_of(events("failure", 2, from_state="syn_sent", error=111), events("handshake", 5))))
    assert "worth a look 2 handshakes failed since the start" in found
