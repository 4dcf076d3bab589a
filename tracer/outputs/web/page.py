"""The page for people at `/`: what is traced and what was seen, in one self-contained HTML document.

A pure function of a Report. No script, no external resource: it works behind any proxy, offline, and under the strictest
content policy; the browser itself reloads it every few seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tracer import __version__
from tracer.model.report import Report, Service, services, summed
from tracer.model.tcp import STATES
from tracer.outputs.snapshot import forecast_text, limit_text
from tracer.outputs.units import UNKNOWN, count_text, time_text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
RELOAD_SECONDS = 5
SERVICES_SHOWN = 50

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c2128; --soft: #656d76; --line: #d8dee4; --card: #f6f8fa; --bad: #b42318; --good: #1a7f37;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #8d96a0; --line: #30363d; --card: #161b22; --bad: #ff7b72; --good: #3fb950; }
  body { background: #0d1117; }
}
body { color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
p { color: var(--soft); margin: .2rem 0; } a { color: inherit; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .9rem; min-width: 6.5rem; }
.card b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
.bad { color: var(--bad); } .good { color: var(--good); }
footer { margin-top: 2rem; color: var(--soft); font-size: .85rem; }
"""

Row = Sequence[str]


def page(report: Report, *, healthy: bool = True) -> str:
    """Return the HTML document of a Report."""
    shown = _shown(report)
    body = (
        _header(report),
        _cards(report, healthy=healthy),
        _section("Handshakes", ("service", "count", "p50", "p90", "p99", "max"), map(_handshakes, shown)),
        _section("Failures", ("service", "reason", "count"), _by_name(shown, "failures")),
        _section("Closes", ("service", "reason", "count"), _by_name(shown, "closes")),
        _section("Retransmitted segments", ("service", "kind", "count"), _by_name(shown, "retransmitted")),
        _section("Failures and resets of ports without a service", ("port", "failures", "resets"), _elsewhere(report)),
        _ports(report),
        _section("Listeners", ("port", "process", "waiting", "limit", "dropped"), _listeners(report)),
        _section("Closed by one side only", ("service", "state", "sockets"), _leaks(report)),
        _section("State changes", ("from", "to", "count"), _transitions(report)),
        f'<footer><a href="/metrics">/metrics</a> · <a href="/healthz">/healthz</a> · tcptrace {escape(__version__)}</footer>',
    )
    return _document("\n".join(body))


def _document(body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>tcptrace</title>\n'
        f'<meta http-equiv="refresh" content="{RELOAD_SECONDS}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _shown(report: Report) -> list[Service]:
    found = services(report)
    rest = found[SERVICES_SHOWN:]
    return found[:SERVICES_SHOWN] + ([summed(report, rest)] if rest else [])


def _header(report: Report) -> str:
    context = report.context
    return (
        f"<h1>tcptrace</h1>\n<p>TCP connections of this machine, as the kernel sees them, for {report.duration_seconds:.0f} s. "
        f"Kernel {escape(context.kernel)}, bcc {escape(context.bcc)}.</p>\n{_programs(report)}"
    )


def _programs(report: Report) -> str:
    attached = ", ".join(escape(program.name) for program in report.programs if program.attached)
    missing = ", ".join(map(escape, report.context.missing))
    lines = [f"<p>Attached: {attached}</p>"] if attached else []
    return "\n".join(lines + ([f'<p class="bad">Not shown by this kernel: {missing}</p>'] if missing else []))


def _cards(report: Report, *, healthy: bool) -> str:
    series = report.series
    cards = (
        _card("health", "good" if healthy else "not reading", bad=not healthy, good=healthy),
        _card("handshakes", count_text(int(series.handshakes.sum()))),
        _card("failures", count_text(int(series.failures.sum()))),
        _card("open now", count_text(int(series.connections.sum()))),
        _card("closed", count_text(int(series.closes.sum()))),
        _card("in TIME_WAIT", count_text((report.sockets or {}).get("time_wait"))),
        _card("events lost", count_text(report.events_lost), bad=bool(report.events_lost)),
        _card("untracked", count_text(report.untracked), bad=bool(report.untracked)),
    )
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(label: str, value: str, *, bad: bool = False, good: bool = False) -> str:
    style = ' class="bad"' if bad else ' class="good"' if good else ""
    return f'<div class="card"><b{style}>{escape(value)}</b><span>{escape(label)}</span></div>'


def _section(title: str, head: Row, rows: Iterable[Row]) -> str:
    lines = [_row("td", row) for row in rows]
    if not lines:
        return f"<h2>{escape(title)}</h2>\n<p>none yet</p>"
    table = "\n".join([_row("th", head), *lines])
    return f'<h2>{escape(title)}</h2>\n<div class="scroll"><table>\n{table}\n</table></div>'


def _row(cell: str, values: Row) -> str:
    return "<tr>" + "".join(f"<{cell}>{escape(value)}</{cell}>" for value in values) + "</tr>"


def _handshakes(service: Service) -> Row:
    return (service.name, f"{service.handshakes:,}", *(time_text(service.quantile(q)) for q in (0.5, 0.9, 0.99, 1)))


def _by_name(shown: Iterable[Service], column: str) -> Iterable[Row]:
    for service in shown:
        for name, count in getattr(service, column).items():
            yield service.name, name, f"{count:,}"


def _elsewhere(report: Report) -> Iterable[Row]:
    """Yield the largest of what is counted under `other`, because no connection to that port ever was established."""
    for tried in report.elsewhere:
        yield f"{tried.role} {tried.port}", f"{tried.failures:,}", f"{tried.resets:,}"


def _listeners(report: Report) -> Iterable[Row]:
    for row in report.listeners:
        numbers = (UNKNOWN if number is None else f"{number:,}" for number in (row.waiting, row.limit, row.drops))
        yield row.port, row.process or UNKNOWN, *numbers


def _leaks(report: Report) -> Iterable[Row]:
    for leak in report.leaks or ():
        yield leak.name, leak.state.upper(), f"{leak.sockets:,}"


def _ports(report: Report) -> str:
    if report.places is None:
        return ""
    rows = [
        (use.destination, use.local_address, f"{use.used:,}", limit_text(use), forecast_text(use))
        for use in report.places.ports
    ]
    return _section("Ephemeral ports in use", ("destination", "from", "used", "limit", "exhausted"), rows)


def _transitions(report: Report) -> Iterable[Row]:
    if report.transitions is None:
        return [(UNKNOWN, UNKNOWN, UNKNOWN)]
    return [(STATES[a], STATES[b], f"{report.transitions[a, b]:,}") for a, b in zip(*report.transitions.nonzero(), strict=True)]
