"""The page for people at `/`: a verdict, what was counted, and each service with its last ten minutes.

A pure function of a Report and of Spans. One self-contained document with a small script that keeps it up to date
(pagelook.py); it works without, offline, and behind any proxy. It shows SERVICES_SHOWN services at most, so that making it
stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer import __version__
from tracer.model.report import Report, Service, services, summed
from tracer.model.spans import STEP_SECONDS, TRENDS, Spans, trends
from tracer.outputs.graphic.htmlparts import card, cards, html_document, table
from tracer.outputs.graphic.markup import Markup, element, joined
from tracer.outputs.graphic.smallcharts import spark_bars, sparkline
from tracer.outputs.units import UNKNOWN, bytes_text, exact_text, time_text
from tracer.outputs.web.pagelook import PAGE_POLICY, PAGE_STYLE, RELOAD_SECONDS, SCRIPT, in_document
from tracer.outputs.web.sections import QUANTILES, folded, sections
from tracer.outputs.web.verdict import Verdict, verdict

SERVICES_SHOWN = 50
LINKS = ("/report", "/metrics", "/dashboards/overview", "/dashboards/connections", "/dashboards/fleet", "/rules", "/healthz")

Rates = NDArray[np.float32]


@dataclass(frozen=True)
class PageRow:
    """A service on the page. rates: a second, of each step of the last ten minutes, columns of TRENDS. row: in Series."""

    service: Service
    rates: Rates | None = None
    row: int | None = None


def page(report: Report, past: Spans | None = None, *, healthy: bool = True, links: Sequence[str] = LINKS) -> str:
    """Return the HTML document of a Report; past: up to some moment before it. links: of LINKS, those that there are."""
    lately = trends(past, report.series) if past else {}
    sums = _sums(report, past)
    span = "in the last ten minutes" if past else "since the start"
    found = verdict(report, healthy=healthy, lately=sums, span=span, drifts=past.drifts if past else {})
    body = (
        element("p", id="state"),
        element("h1", "tcptrace"),
        _head(found),
        _about(report),
        element("nav", joined((element("a", link.removeprefix("/"), href=link) for link in links), " ")),
        _cards(report, sums),
        element("section", folded("services", "Services", _services(report, lately), opened=True)),
        *sections(report, past.drifts if past else {}),
        element("footer", f"tcptrace {__version__}"),
    )
    policy = in_document(PAGE_POLICY)
    reload = {"reload_seconds": RELOAD_SECONDS, "script": SCRIPT}
    return html_document("tcptrace", body, policy=policy, style=PAGE_STYLE, **reload)  # type: ignore[arg-type]


def _head(found: Verdict) -> Markup:
    """Return the one verdict, with its reasons: the worst first."""
    first = element("p", element("strong", found.word))
    return element(
        "div", first, *(element("p", each) for each in found.sentences), class_=f"verdict l{found.level}", role="status"
    )


def _about(report: Report) -> Markup:
    context = report.context
    lines = [
        f"TCP connections of this machine, as the kernel sees them, for {report.duration_seconds:,.0f} s. "
        f"Kernel {context.kernel}, bcc {context.bcc}."
    ]
    if context.missing:
        lines.append(f"Not shown by this kernel: {', '.join(context.missing)}.")
    return joined(element("p", line) for line in lines)


def _sums(report: Report, past: Spans | None) -> dict[str, float]:
    """Return how many of each of TRENDS there were in the last ten minutes; where these are not known, since the start."""
    if past is None:
        return {name: float(getattr(report.series, name).sum()) for name in TRENDS}
    counts = sum((step.counts.sum(axis=0, dtype=np.float64) for step in past.steps), np.zeros(len(TRENDS)))
    return dict(zip(TRENDS, counts.tolist(), strict=True))


def _cards(report: Report, sums: dict[str, float]) -> Markup:
    series = report.series
    failed = int(series.failures.sum())
    waiting = (report.sockets or {}).get("time_wait")
    return cards(
        card("handshakes", f"{int(series.handshakes.sum()):,}"),
        card("failures", f"{failed:,}", bad=bool(sums.get("failures"))),
        card("retransmitted", f"{int(series.retransmitted.sum()):,}"),
        card("open now", f"{int(series.connections.sum()):,}"),
        card("closed", f"{int(series.closes.sum()):,}"),
        card("in TIME_WAIT", exact_text(waiting)),
        card("events lost", exact_text(report.events_lost), bad=bool(report.events_lost)),
        card("untracked", exact_text(report.untracked), bad=bool(report.untracked)),
    )


def _services(report: Report, lately: dict[tuple[str, ...], Rates]) -> Markup:
    """Return the table, those first of which most went wrong in the last ten minutes, then since the start."""
    found = services(report)
    rows = {labels: row for row, labels in enumerate(report.series.labels)}
    shown = [PageRow(service, lately.get(service.key), rows[service.key]) for service in found]
    shown.sort(key=lambda one: (one.service.role == "other", -_wrong(one.rates)))
    rest = [one.service for one in shown[SERVICES_SHOWN:]]
    more = [PageRow(summed(report, rest))] if rest else []
    head = ("service", "failed", "retransmitted", "10 min", "open", "handshakes", "10 min", "p50", "p99")
    note = element("p", "Counts are since the start; click a service for its reasons and times.", class_="soft")
    lines = [_service(report, one) for one in (*shown[:SERVICES_SHOWN], *more)]
    return joined((note, element("div", table(head, lines, ident="services-table"), class_="services")))


def _wrong(rates: Rates | None) -> float:
    return 0.0 if rates is None else float(rates[:, 1:].sum())


def _service(report: Report, one: PageRow) -> tuple[object, ...]:
    service = one.service
    ident = f"service {service.name}" if one.row is not None else "service others"
    return (
        element("details", element("summary", service.name), _reasons(report, one), id=ident),
        _failed(one),
        f"{service.segments:,}",
        _spark(one.rates, 2, "retransmitted segments"),
        f"{service.connections:,}",
        f"{service.handshakes:,}",
        _spark(one.rates, 0, "handshakes"),
        *(time_text(service.quantile(q)) for q in (0.5, 0.99)),
    )


def _failed(one: PageRow) -> object:
    """Return how many failed, marked where some did lately."""
    text = f"{one.service.failed:,}"
    return element("span", text, class_="bad") if one.rates is not None and one.rates[:, 1].any() else text


def _spark(rates: Rates | None, column: int, name: str) -> object:
    if rates is None or not rates[:, column].any():
        return UNKNOWN
    values = rates[:, column].tolist()
    label = f"{name}: at most {max(values):.3g}, now {values[-1]:.3g} a second, last {_minutes(len(values))}"
    return sparkline(values, label) if column == 0 else spark_bars(values, label, color=2)


def _minutes(steps: int) -> str:
    minutes = round(steps * STEP_SECONDS / 60)
    return f"{minutes} min" if minutes else "minute"


def _reasons(report: Report, one: PageRow) -> Markup:
    """Return what folds out below a service's name."""
    service = one.service
    known = service.quantile(1) is not None
    times = ", ".join(f"{name} {time_text(service.quantile(q))}" for name, q in QUANTILES) if known else ""
    facts = [
        ("handshake times", times),
        ("failures", _counted(service.failures)),
        ("closes", _counted(service.closes)),
        ("retransmitted segments", _counted(service.retransmitted)),
        *(_figures(report, one.row) if one.row is not None else ()),
    ]
    return element("dl", *(joined((element("dt", name), element("dd", text))) for name, text in facts if text))


def _counted(counts: object) -> str:
    assert isinstance(counts, dict)
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _figures(report: Report, row: int) -> list[tuple[str, str]]:
    series = report.series
    whose = report.who.of(row) if len(report.who.table) else None
    sent, received = (bytes_text(int(column[row])) for column in (series.sent_bytes, series.received_bytes))
    return [
        ("payload", f"{sent} sent, {received} received"),
        ("process", whose.process if whose else ""),
        ("peer", whose.peer if whose else ""),
    ]
