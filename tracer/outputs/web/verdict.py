"""One verdict on what is known, from the worst of it: what the head of the page says. Pure functions.

Three levels, so that nothing is called good beside something that is not. What this kernel cannot show is nobody's fault, and
stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tracer.ingest.snapshot import PortUse
from tracer.model.report import Report
from tracer.outputs.surveytext import CROWDED, LEAK, SOON_SECONDS, forecast_text

GOOD, LOOK, BAD = 0, 1, 2


@dataclass(frozen=True)
class Verdict:
    """level: the worst that was found. sentences: all that was found, the worst first; none where all is good."""

    level: int
    sentences: tuple[str, ...]

    @property
    def word(self) -> str:
        """The level in words."""
        return ("good: nothing is wrong as far as is known", "worth a look", "something is wrong")[self.level]


def verdict(report: Report, *, healthy: bool, lately: Mapping[str, float], span: str, drifts: Mapping[str, int]) -> Verdict:
    """Return what is to be said. lately: how many of model/spans.py's TRENDS a span had, in words; drifts: lasting ones."""
    found = [*_tracing(report, healthy=healthy, drifts=drifts), *_network(report), *_lately(lately, span)]
    found.sort(key=lambda one: -one[0])
    return Verdict(max((level for level, _ in found), default=GOOD), tuple(sentence for _, sentence in found))


def _tracing(report: Report, *, healthy: bool, drifts: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    """Yield what makes figures wrong."""
    if not healthy:
        yield BAD, "not reading: a program is detached, or events or sockets are not read"
    if report.events_lost:
        yield BAD, f"{report.events_lost:,} events lost: figures are too low by as much"
    if report.untracked:
        yield BAD, f"{report.untracked:,} connections untracked: the table was full"
    if misses := sum(program.misses for program in report.programs):
        yield BAD, f"{misses:,} runs of programs skipped by the kernel"
    if drifts:
        counters = {line.counter: line.kernel for line in report.audit}
        names = ", ".join(f"{name} {drift:+,} of {counters.get(name, 0):,}" for name, drift in drifts.items())
        yield BAD, f"drift from the kernel's counters: {names}"
    if report.label_overflow:
        yield LOOK, f"{report.label_overflow:,} records counted under other, for want of label sets"


def _network(report: Report) -> Iterator[tuple[int, str]]:
    """Yield what runs out."""
    for use in report.places.ports if report.places else ():
        if _is_short(use):
            end = f", exhausted {forecast_text(use)}" if use.forecast_seconds is not None else ""
            yield BAD, f"ephemeral ports to {use.destination}: {use.used:,} in use of {use.limit or 0:,}{end}"
    drops = {row.port: row.drops for row in report.listeners if row.drops}
    if drops:
        names = ", ".join(f"port {port} {count:,}" for port, count in drops.items())
        yield LOOK, f"listeners had no room for connections: {names}"
    for state, who in (("close_wait", "this machine's processes have"), ("fin_wait2", "peers have")):
        sockets = sum(leak.sockets for leak in report.leaks or () if leak.state == state)
        if sockets >= LEAK:
            yield LOOK, f"{sockets:,} connections in {state.upper()}: {who} not closed them"


def _is_short(use: PortUse) -> bool:
    soon = use.forecast_seconds is not None and use.forecast_seconds <= SOON_SECONDS
    return soon or (bool(use.limit) and use.used >= CROWDED * (use.limit or 1))


def _lately(lately: Mapping[str, float], span: str) -> Iterator[tuple[int, str]]:
    failed, again = round(lately.get("failures", 0)), round(lately.get("retransmitted", 0))
    if failed:
        yield LOOK, f"{failed:,} handshake{'s' * (failed != 1)} failed {span}"
    if again:
        yield LOOK, f"{again:,} segment{'s' * (again != 1)} retransmitted {span}"
