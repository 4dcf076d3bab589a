"""The live view's lines below the table: failures, retransmissions, TIME_WAIT, ports, what was lost, the audit.

Each is one line with a name, always at the same place, so that the eye finds what changes. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tracer.ingest.snapshot import PortUse, Snapshot
from tracer.model.backlogs import Listener
from tracer.model.history import History
from tracer.model.report import Report, Service
from tracer.outputs.live.search import Search
from tracer.outputs.live.styled import Line, Piece, cut, line
from tracer.outputs.surveytext import CROWDED, LEAK, forecast_text, share, share_text, soonest
from tracer.outputs.units import UNKNOWN, count_text, exact_text

Number = TypeVar("Number", int, float)

NAME_WIDTH = 11
_URGENCY = ("alarm", "warn", "", "dim")
HALF_FULL = 0.5
"""Share of a listener's queue from which on it is shown."""

LEAKS = {"close_wait": "the peer has closed, we have not", "fin_wait2": "we have closed, the peer has not"}


@dataclass(frozen=True)
class Note:
    """One line. texts: the same thing said ever shorter; the first that fits is shown. style: of the text."""

    name: str
    texts: tuple[str, ...]
    style: str = ""


def notes(history: History, services: Sequence[Service], search: Search) -> list[Note]:
    """Return the lines on these services, and on what else is looked for."""
    report = history.report
    snapshot = _looked_for(report.places, search)
    found = [_failures(services), _retransmissions(services), _time_wait(snapshot), _ports(snapshot)]
    missing = ", ".join(report.context.missing)
    unseen = [Note("not shown", (f"by this kernel: {missing}",), "warn")] if missing else []
    waits = [*_listeners(report, search), *_leaks(report, search)]
    return [*found, *waits, *_elsewhere(report, search), _lost(report), _audit(history), *unseen]


def note_lines(found: Sequence[Note], width: int, height: int) -> list[Line]:
    """Return the notes that so many lines have room for, in their order.

    The last dim one is the first to go; of alarms it is the first one, since failures show in the table too.
    """
    ranks = {note: (_URGENCY.index(note.style), -at if note.style == "alarm" else at) for at, note in enumerate(found)}
    urgent = sorted(found, key=lambda note: ranks[note])[:height]
    return [_line(note, width) for note in found if note in urgent]


def _line(note: Note, width: int) -> Line:
    room = width - NAME_WIDTH
    text = next((text for text in note.texts if len(text) <= room), note.texts[-1])
    return cut(line(Piece(f" {note.name}".ljust(NAME_WIDTH), "bold"), Piece(text, note.style)), width)


def largest_first(counts: Mapping[str, Number]) -> list[tuple[str, Number]]:
    """Return names and numbers, the largest first, equal ones by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def counts_text(counts: Mapping[str, int]) -> str:
    """Return names with their counts in words."""
    return ", ".join(f"{name} {count_text(count)}" for name, count in largest_first(counts))


def fewer(shown: Sequence[str], head: str = "", between: str = ", ") -> tuple[str, ...]:
    """Return a list in words, then the same without its last, and so on to the first alone: for as much room as there is."""
    return tuple(head + between.join(shown[:count]) for count in range(len(shown), 0, -1))


def ratio_text(ratio: float) -> str:
    """Return a ratio with one decimal, or with one digit if it is less than that."""
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.1g}"


def added(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of counts by name."""
    sums: dict[str, int] = {}
    for counts in many:
        for name, count in counts.items():
            sums[name] = sums.get(name, 0) + count
    return sums


def per_hundred(counts: Mapping[str, int], seen: int) -> dict[str, float]:
    """Return segments for every hundred connections seen; nothing where none was, as with connections that never complete."""
    return {name: 100 * count / seen for name, count in counts.items()} if seen else {}


def _failures(services: Sequence[Service]) -> Note:
    reasons = added(service.failures for service in services)
    if not reasons:
        return Note("failures", ("none",), "dim")
    return Note("failures", (f"{count_text(sum(reasons.values()))}: {counts_text(reasons)}",), "alarm")


def _elsewhere(report: Report, search: Search) -> list[Note]:
    """Return the largest of what `other` has because no connection to that port ever was established, if there is any."""
    tried = [each for each in report.elsewhere if search.fits(str(each.port))]
    shown = [f"{each.role} {each.port} {count_text(max(each.failures, each.resets))}" for each in tried]
    return [Note("elsewhere", fewer(shown, "on ports without a service: "))] if shown else []


def _retransmissions(services: Sequence[Service]) -> Note:
    kinds = added(service.retransmitted for service in services)
    if not kinds:
        return Note("resent", ("no segment",), "dim")
    shares = per_hundred(kinds, sum(service.seen for service in services))
    ratios = ", ".join(f"{kind} {ratio_text(ratio)}" for kind, ratio in largest_first(shares))
    texts = (f"segments per 100 connections: {ratios}", f"per 100 connections: {ratios}", f"per 100: {ratios}")
    return Note("resent", texts if shares else (f"segments: {counts_text(kinds)}",), "warn")


def _looked_for(snapshot: Snapshot | None, search: Search) -> Snapshot | None:
    if snapshot is None or not search:
        return snapshot
    waiting = tuple(row for row in snapshot.time_wait if search.fits_destination(row[0]))
    ports = tuple(use for use in snapshot.ports if search.fits_destination(use.destination))
    return replace(snapshot, time_wait=waiting, ports=ports)


def _time_wait(snapshot: Snapshot | None) -> Note:
    if snapshot is None:
        return Note("TIME_WAIT", (UNKNOWN,), "dim")
    total = sum(count for _, count in snapshot.time_wait)
    if not total:
        return Note("TIME_WAIT", ("none",), "dim")
    shown = [f"{name} {count:,}" for name, count in snapshot.time_wait]
    return Note("TIME_WAIT", tuple(f"{total:,}: {text}{', …' * bool(at)}" for at, text in enumerate(fewer(shown))))


def _share(use: PortUse) -> str:
    """Return how many ports are used, and of how many where that is known."""
    return f"{use.used:,}" if use.limit is None else f"{use.used:,} of {exact_text(use.limit)} ({share_text(use)} %)"


def _ports(snapshot: Snapshot | None) -> Note:
    if snapshot is None or not snapshot.ports:
        return Note("ports", ("no ephemeral port in use" if snapshot else UNKNOWN,), "dim")
    use = soonest(snapshot) or snapshot.ports[0]
    coming = soonest(snapshot) is not None
    style = "alarm" if coming or (share(use) or 0) >= CROWDED else ""
    end = f", exhausted {forecast_text(use)}" if coming else ""
    return Note(
        "ports",
        (
            f"{_share(use)} to {use.destination} in use{end}",
            f"{share_text(use)} % to {use.destination}{end}",
            f"{share_text(use)} %{end}, {use.destination}",
        ),
        style,
    )


def _listeners(report: Report, search: Search) -> list[Note]:
    """Return the listeners whose queue is half full, or that had no room for a connection, if there are any."""
    chosen = [row for row in report.listeners if search.fits(row.port, row.process)]
    rows = [row for row in chosen if row.fullness >= HALF_FULL or row.drops]
    shown = [f"{row.port} {row.process}".strip() + _queue(row) for row in rows]
    style = "alarm" if any(row.drops for row in rows) else "warn"
    return [Note("listeners", fewer(shown, between="; "), style)] if shown else []


def _queue(row: Listener) -> str:
    waiting = f" {row.waiting:,} of {row.limit:,} wait" if row.waiting else ""
    return waiting + (f"{',' * bool(waiting)} {row.drops:,} dropped" if row.drops else "")


def _leaks(report: Report, search: Search) -> list[Note]:
    """Return whose connections only one side has closed, if there are any."""
    found = []
    for state, what in LEAKS.items():
        rows = [leak for leak in report.leaks or () if leak.state == state and search.fits(leak.port, leak.process)]
        shown = [f"{leak.name} {leak.sockets:,}" for leak in rows]
        many = sum(leak.sockets for leak in rows) >= LEAK
        found += [Note(state.upper(), fewer(shown, f"{what}: "), "warn" if many else "")] if shown else []
    return found


def _lost(report: Report) -> Note:
    if report.events_lost is None:
        return Note("lost", (UNKNOWN,), "dim")
    counts = {
        "events": report.events_lost,
        "untracked": report.untracked or 0,
        "partial": report.partial or 0,
        "misses": sum(program.misses for program in report.programs),
        "label overflow": report.label_overflow,
    }
    texts = {name: f"{count_text(count)} {name}" for name, count in counts.items()}
    lost = [name for name, count in counts.items() if count]
    few = ", ".join(texts[name] for name in lost) or "nothing"
    return Note("lost", (" · ".join(texts.values()), few), "alarm" if set(lost) - {"partial"} else "dim")


def _audit(history: History) -> Note:
    if not history.report.audit:
        return Note("audit", (UNKNOWN,), "dim")
    counts = {line.counter: line.kernel for line in history.report.audit if line.traced is not None}
    drifts = [f"{name} {drift:+,} of {counts[name]:,}" for name, drift in history.drifts.items()]
    if drifts:
        return Note("audit", (f"drift from the kernel's own counts: {', '.join(drifts)}", ", ".join(drifts)), "alarm")
    return Note("audit", (f"drift 0 ({', '.join(counts)})", "drift 0"), "dim")
