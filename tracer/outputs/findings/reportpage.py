"""A report as one self-contained page: figures, pictures, tables, the worst connections drawn. Pure: Findings in, HTML out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tracer import __version__
from tracer.model.drawn import Drawn
from tracer.model.findings import Courses, Findings
from tracer.model.histogram import quantile
from tracer.model.naming import address_text
from tracer.model.report import Report, Service, services
from tracer.outputs.findings.connection import dossier_head
from tracer.outputs.findings.connectionpage import drawings
from tracer.outputs.findings.pictures import handshake_histogram, handshakes_over_time, retransmissions_over_time
from tracer.outputs.findings.reportjson import QUANTILES, outstanding
from tracer.outputs.findings.reporttext import title_of
from tracer.outputs.findings.rows import (
    CONNECTION_COLUMNS,
    PEER_COLUMNS,
    TIMES,
    Row,
    begun,
    connection_rows,
    count_rows,
    handshake_rows,
    not_reported,
    peer_rows,
    reset_rows,
    state_time_rows,
)
from tracer.outputs.graphic.htmlparts import card, cards, html_document, section, table
from tracer.outputs.graphic.markup import Markup, element, joined
from tracer.outputs.units import exact_text

ROWS = 40
"""Of a table; what else there is, JSON has."""

LEGEND = "opened: handshakes. abnormal: closes that were not normal. retrans: retransmitted segments."


def report_page(findings: Findings, drawn: Sequence[Drawn], why_not_drawn: str = "") -> str:
    """Return the document. drawn: the connections to be drawn; why_not_drawn: what is said in their place."""
    report = findings.counts
    found = services(report)
    body = (
        element("h1", "tcptrace report"),
        element("p", f"{report.duration_seconds:,.1f} s{begun(report)}, Linux {report.context.kernel}"),
        _cards(findings, found),
        *_not_here(report),
        *_handshakes(findings, found),
        _section("Failed handshakes by reason", ("service and reason", "count"), count_rows((s, s.failures) for s in found)),
        _section("Closes by reason", ("service and reason", "count"), count_rows((s, s.closes) for s in found)),
        *_retransmissions(findings, found),
        _section("Resets", ("direction and cause", "count"), reset_rows(findings)),
        _section("Time in each state", ("state", *TIMES), state_time_rows(report)),
        section("Peers, worst first", element("p", LEGEND), _table(("peer", *PEER_COLUMNS), peer_rows(findings))),
        *_outstanding(findings),
        *_drawn(drawn, report, why_not_drawn),
        _audit(report),
        element("footer", f"tcptrace {__version__}. This page loads nothing and runs nothing; print it as it is."),
    )
    return html_document(f"tcptrace report{begun(report)}", (part for part in body if part))


def _cards(findings: Findings, found: Sequence[Service]) -> Markup:
    report = findings.counts
    failed, again = sum(s.failed for s in found), sum(s.segments for s in found)
    lost, untracked = report.events_lost or 0, report.untracked or 0
    return cards(
        card("handshakes", f"{sum(s.handshakes for s in found):,}"),
        card("failed handshakes", f"{failed:,}", bad=failed > 0),
        card("connections closed", f"{sum(s.closed for s in found):,}"),
        card("segments retransmitted", f"{again:,}", bad=again > 0),
        card("resets", f"{sum(findings.resets.values()):,}"),
        card("events lost", f"{lost:,}", bad=lost > 0),
        card("untracked", f"{untracked:,}", bad=untracked > 0),
    )


def _not_here(report: Report) -> Iterator[Markup]:
    if lost := not_reported(report):
        yield element("p", f"Not in this report: {', '.join(lost)}.", class_="bad")
    if report.context.missing:
        yield element("p", f"The kernel did not show: {', '.join(report.context.missing)}.", class_="bad")


def _section(title: str, head: Sequence[str], rows: Iterable[Row]) -> Markup:
    return section(title, _table(head, rows))


def _table(head: Sequence[str], rows: Iterable[Row]) -> Markup:
    found = list(rows)
    more = element("p", f"and {len(found) - ROWS:,} more, which --format json has") if len(found) > ROWS else ""
    return joined((table(head, found[:ROWS], none="none"), more))


def _handshakes(findings: Findings, found: Sequence[Service]) -> Iterator[Markup]:
    """Yield the table, the heat maps, and the histograms."""
    yield _section("Handshakes", ("service", *TIMES), handshake_rows(found))
    report, courses = findings.counts, findings.courses
    if courses:
        maps = [(role, line) for role, line in courses.handshakes.items() if line.counts.any()]
        yield from (handshakes_over_time(line, role, report.context) for role, line in maps)
    each = [histogram for role in ("client", "server") if (histogram := _histogram(report, role))]
    if each:
        yield element("div", *each, class_="pair")


def _histogram(report: Report, role: str) -> Markup | None:
    rows = np.array([row for row, labels in enumerate(report.series.labels) if labels[0] == role], np.intp)
    times = report.series.handshake_times.merged(rows)
    if not times.counts.any():
        return None
    values = [float(quantile(times, q)[0]) for q in QUANTILES.values()]
    return handshake_histogram(times, role, list(zip(TIMES[1:], values, strict=True)))


def _retransmissions(findings: Findings, found: Sequence[Service]) -> Iterator[Markup]:
    rows = count_rows((s, s.retransmitted) for s in found)
    yield _section("Retransmitted segments by kind", ("service and kind", "count"), rows)
    courses = findings.courses
    if courses and courses.retransmissions.counts.any():
        yield retransmissions_over_time(courses, _peers(courses), findings.counts.context)


def _peers(courses: Courses) -> list[str]:
    return [address_text(record["remote_address"].tobytes(), int(record["netns"])) for record in courses.peers]


def _outstanding(findings: Findings) -> Iterator[Markup]:
    for name, events in outstanding(findings).items():
        yield _section(title_of(name), ("connection", *CONNECTION_COLUMNS), connection_rows(events, findings.counts))


def _drawn(drawn: Sequence[Drawn], report: Report, why_not: str) -> Iterator[Markup]:
    if not drawn and not why_not:
        return
    yield element("h2", "The worst connections")
    if why_not:
        yield element("p", why_not)
    for each in drawn:
        first, *rest = (line for line in dossier_head(each.dossier, report.context) if line)
        yield element("h3", first.removeprefix("a: "))
        yield element("p", "; ".join(rest))
        yield from drawings(each, report.context)


def _audit(report: Report) -> Markup | None:
    if not report.audit:
        return None
    rows = [(line.counter, f"{line.kernel:,}", exact_text(line.traced), _drift(line.drift)) for line in report.audit]
    said = f"Our counts beside the kernel's own, of network namespace {report.context.netns} alone."
    return section("Audit", element("p", said), table(("counter", "kernel", "traced", "drift"), rows))


def _drift(drift: int | None) -> object:
    text = exact_text(drift, "+")
    return element("span", text, class_="bad") if drift else text
