from __future__ import annotations

from html.parser import HTMLParser

from tests.unit.model.builder import CONTEXT, events, reading, report_of
from tracer.ingest.source import Context, Program
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.outputs.web.page import SERVICES_SHOWN, page


class Words(HTMLParser):
    """The text of a document as rows of words, and every address that it mentions."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - its own signature
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src", "action"}]


def text(report: Report) -> str:
    return " ".join(" ".join(Words(page(report)).text).split())


def test_the_page_tells_handshakes_failures_closes_and_retransmissions(report: Report) -> None:
    found = text(report)
    assert "client 443 23 1.00 ms 1.00 ms 1.00 ms 1.00 ms" in found
    assert "client 443 refused 5" in found
    assert "client 443 normal 7" in found
    assert "client 443 timeout 3" in found
    assert "close syn_sent 28" in found


def test_the_page_tells_the_tracers_health(report: Report) -> None:
    assert "good health" in text(report)
    assert "0 events lost 0 untracked" in text(report)
    assert "not reading" in page(report, healthy=False)


def test_what_is_not_known_is_a_dash() -> None:
    assert "- events lost - untracked" in text(Model(CONTEXT).report())


def test_the_page_loads_nothing_and_links_only_to_its_neighbours(report: Report) -> None:
    html = page(report)
    assert set(Words(html).addresses) == {"/metrics", "/healthz"}
    assert "<script" not in html
    assert "url(" not in html
    assert "@import" not in html


def test_the_page_reloads_itself_and_knows_light_and_dark(report: Report) -> None:
    html = page(report)
    assert '<meta http-equiv="refresh" content="5">' in html
    assert "prefers-color-scheme: dark" in html


def test_text_from_outside_is_escaped() -> None:
    context = Context(kernel="6.1<script>", bcc="&", anchor_ns=0, netns=1, missing=("<b>resets</b>",))
    model = Model(context)
    model.add(reading(programs=(Program('<img src="x">', attached=True, runs=0, run_seconds=0.0, misses=0),)))
    html = page(model.report())
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;b&gt;resets&lt;/b&gt;" in html


def test_services_beyond_the_first_are_one_line() -> None:
    report = report_of(*(events("handshake", port=port) for port in range(1, SERVICES_SHOWN + 4)))
    assert "among the others: 3 3" in text(report)
