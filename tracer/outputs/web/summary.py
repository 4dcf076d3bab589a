"""The page `/report`: everything that was counted since the start, service by service. A pure function of a Report.

`tcptrace report` has more, of a recording: a running tracer keeps counts, and forgets connections that have ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tracer import __version__
from tracer.model.histogram import quantile
from tracer.model.report import Report, Service, services, summed
from tracer.model.tcp import STATES
from tracer.outputs.graphic.htmlparts import html_document, section, table
from tracer.outputs.graphic.markup import Markup, element
from tracer.outputs.units import bytes_text, time_text
from tracer.outputs.web.pagelook import PAGE_STYLE, REPORT_POLICY, in_document
from tracer.outputs.web.sections import QUANTILES, sections

SERVICES_SHOWN = 500


def summary_page(report: Report) -> str:
    """Return the HTML document."""
    found = services(report)
    rest = found[SERVICES_SHOWN:]
    shown = [*found[:SERVICES_SHOWN], *([summed(report, rest)] if rest else [])]
    body = (
        element("h1", "tcptrace report"),
        element("p", f"Everything since the start, {report.duration_seconds:,.0f} s ago. Kernel {report.context.kernel}."),
        element("nav", element("a", "back", href="/")),
        _section("Handshakes", ("service", "count", *(name for name, _ in QUANTILES)), _handshakes(shown)),
        _section("Failures", ("service", "reason", "count"), _by_name(shown, "failures")),
        _section("Closes", ("service", "reason", "count"), _by_name(shown, "closes")),
        _section("Retransmitted segments", ("service", "kind", "count"), _by_name(shown, "retransmitted")),
        _section("Payload of connections", ("service", "sent", "received", "segments sent"), _payload(report, shown)),
        _section("Time in each state, of ended connections", ("state", "count", "p50", "p90", "p99", "max"), _states(report)),
        *sections(report, {}),
        element("footer", f"tcptrace {__version__}"),
    )
    return html_document("tcptrace report", body, policy=in_document(REPORT_POLICY), style=PAGE_STYLE)


def _section(title: str, head: Sequence[str], rows: Iterator[Sequence[object]]) -> Markup:
    ident = title.split(",", maxsplit=1)[0].lower().replace(" ", "-")
    return section(title, table(head, rows, ident=f"{ident}-table"))


def _handshakes(shown: Sequence[Service]) -> Iterator[Sequence[object]]:
    for service in shown:
        if service.handshakes:
            yield service.name, f"{service.handshakes:,}", *(time_text(service.quantile(q)) for _, q in QUANTILES)


def _by_name(shown: Sequence[Service], column: str) -> Iterator[Sequence[object]]:
    for service in shown:
        for name, count in getattr(service, column).items():
            yield service.name, name, f"{count:,}"


def _payload(report: Report, shown: Sequence[Service]) -> Iterator[Sequence[object]]:
    series = report.series
    rows = {labels: row for row, labels in enumerate(series.labels)}
    for service in shown:
        row = rows.get(service.key)
        if row is not None:
            sent, received = (bytes_text(int(column[row])) for column in (series.sent_bytes, series.received_bytes))
            yield service.name, sent, received, f"{int(series.sent_segments[row]):,}"


def _states(report: Report) -> Iterator[Sequence[object]]:
    totals = report.state_times.totals
    columns = [quantile(report.state_times, q) for q in (0.5, 0.9, 0.99, 1.0)]
    for row in np.flatnonzero(totals).tolist():
        yield STATES[row].upper(), f"{totals[row]:,}", *(time_text(float(column[row])) for column in columns)
