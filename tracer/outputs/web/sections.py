"""What stands on the page below the services, folded in where there is nothing to worry about. Pure functions of a Report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tracer.model.report import Report
from tracer.model.tcp import KINDS, STATES
from tracer.outputs.graphic.htmlparts import Row, table
from tracer.outputs.graphic.markup import Markup, element
from tracer.outputs.surveytext import forecast_text
from tracer.outputs.units import UNKNOWN, exact_text

ROWS_SHOWN = 30
"""Of each table here; the rest is one line that says how many."""

FULL = 0.5
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))


def sections(report: Report, drifts: Mapping[str, int]) -> Iterator[Markup]:
    """Yield them; each is open at first where something in it is worth a look. drifts: those of the audit that last."""
    listeners, leaks = report.listeners, report.leaks or ()
    short = any(use.forecast_seconds is not None for use in report.places.ports) if report.places else False
    full = any(row.drops or row.fullness >= FULL for row in listeners)
    yield _one("listeners", "Listeners", ("port", "process", "waiting", "limit", "dropped"), _listeners(report), opened=full)
    yield _one(
        "ports", "Ephemeral ports in use", ("destination", "from", "used", "limit", "exhausted"), _ports(report), opened=short
    )
    yield _one("time-wait", "TIME_WAIT by destination", ("destination", "sockets"), _waiting(report))
    yield _one("leaks", "Closed by one side only", ("service", "state", "sockets"), _leaks(report), opened=bool(leaks))
    tried = ("port", "failures", "resets")
    yield _one("elsewhere", "Ports without a service", tried, _elsewhere(report), opened=bool(report.elsewhere))
    audit = ("counter", "kernel", "traced", "drift")
    yield _one("audit", "Drift from the kernel's counters", audit, _audit(report, drifts), opened=bool(drifts))
    yield _one("sockets", "Sockets by state", ("state", "sockets"), _sockets(report))
    yield _one("transitions", "State changes", ("from", "to", "count"), _transitions(report))
    yield _one("tracing", "Tracing", ("program", "attached", "misses"), _programs(report))
    yield _one("events", "Events", ("kind", "count"), _events(report))


def folded(ident: str, title: str, *content: object, opened: bool = False, count: str = "") -> Markup:
    """Return something with a title that folds in and out."""
    head = element("summary", element("h2", title), element("span", f" {count}", class_="soft") if count else "")
    return element("details", head, *content, id=ident, open=opened)


def _one(ident: str, title: str, head: Row, rows: Iterable[Row], *, opened: bool = False) -> Markup:
    every = list(rows)
    shown = every[:ROWS_SHOWN]
    if len(every) > ROWS_SHOWN:
        shown.append((f"among the others: {len(every) - ROWS_SHOWN:,}", *[""] * (len(head) - 1)))
    content = table(head, shown, ident=f"{ident}-table")
    return element("section", folded(ident, title, content, opened=opened, count=f"{len(every):,}"))


def _listeners(report: Report) -> Iterator[Row]:
    for row in report.listeners:
        waiting, limit = exact_text(row.waiting), exact_text(row.limit)
        dropped = element("span", exact_text(row.drops), class_="bad") if row.drops else exact_text(row.drops)
        yield row.port, row.process or UNKNOWN, waiting, limit, dropped


def _ports(report: Report) -> Iterator[Row]:
    for use in report.places.ports if report.places else ():
        yield use.destination, use.local_address, f"{use.used:,}", exact_text(use.limit), forecast_text(use)


def _waiting(report: Report) -> Iterator[Row]:
    for destination, sockets in report.places.time_wait if report.places else ():
        yield destination, f"{sockets:,}"


def _leaks(report: Report) -> Iterator[Row]:
    for leak in report.leaks or ():
        yield leak.name, leak.state.upper(), f"{leak.sockets:,}"


def _elsewhere(report: Report) -> Iterator[Row]:
    """Yield the largest of what is counted under `other`, because no connection to that port ever was established."""
    for tried in report.elsewhere:
        yield f"{tried.role} {tried.port}", f"{tried.failures:,}", f"{tried.resets:,}"


def _audit(report: Report, drifts: Mapping[str, int]) -> Iterator[Row]:
    for line in report.audit:
        text = exact_text(line.drift, "+")
        drift = element("span", text, class_="bad") if line.counter in drifts else text
        yield line.counter, f"{line.kernel:,}", exact_text(line.traced), drift


def _sockets(report: Report) -> Iterator[Row]:
    for state, sockets in (report.sockets or {}).items():
        yield state.upper(), f"{sockets:,}"


def _transitions(report: Report) -> Iterator[Row]:
    if report.transitions is None:
        return
    for old, new in zip(*report.transitions.nonzero(), strict=True):
        yield STATES[old], STATES[new], f"{report.transitions[old, new]:,}"


def _programs(report: Report) -> Iterator[Row]:
    for program in report.programs:
        yield program.name, "yes" if program.attached else "no", f"{program.misses:,}"


def _events(report: Report) -> Iterator[Row]:
    for name, count in zip(KINDS, report.events.tolist(), strict=True):
        if count:
            yield name, f"{count:,}"
