"""The sockets as they are now, as text and as JSON. Pure functions from a Survey."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tracer.ingest.snapshot import PortUse, Snapshot
from tracer.model.survey import HALF_CLOSED, Backlog, HalfClosed, Survey
from tracer.outputs.units import UNKNOWN, exact_text, percent_text, shortened, time_text

STATE_COLUMNS = 3
LISTENERS_SHOWN = 20
SOON_SECONDS = 3600.0
"""A forecast beyond this is not worth a line."""
CROWDED = 0.9
"""Share of the ephemeral ports in use that is worth a colour, whatever the forecast says."""
LEAK = 100
"""So many connections that only one side has closed are worth a colour."""

WIDTH = 79


def survey_lines(survey: Survey) -> list[str]:
    """Return the whole survey as lines of less than 80 columns."""
    sections = (
        _states(survey.snapshot),
        _counts("TIME_WAIT by destination", survey.clients),
        _counts("TIME_WAIT by local service", survey.servers),
        _port_uses(survey.snapshot),
        *(_half_closed(state, [row for row in survey.half_closed if row.state == state]) for state in HALF_CLOSED),
        _listeners(survey.listeners),
        _remarks(survey),
    )
    lines = [line for section in sections if section for line in ("", *section)]
    return [line[:WIDTH] for line in lines[1:]]


def _states(snapshot: Snapshot) -> list[str]:
    cells = [f"{state:<12}{count:>11,}" for state, count in snapshot.states.items()]
    rows = [cells[i : i + STATE_COLUMNS] for i in range(0, len(cells), STATE_COLUMNS)]
    return [f"{sum(snapshot.states.values()):,} sockets", *("  " + "   ".join(row) for row in rows)]


def _counts(title: str, counts: Sequence[tuple[str, int]]) -> list[str]:
    return [title, *(f"  {shortened(name, 62):<62}{count:>13,}" for name, count in counts)] if counts else []


def _port_uses(snapshot: Snapshot) -> list[str]:
    if not snapshot.ports:
        return []
    head = f"{'Ephemeral ports by destination':<36}{'from':<20}{'used':>7}{'limit':>7}{'%':>5}"
    return [head, *map(_port_use, snapshot.ports)]


def _port_use(use: PortUse) -> str:
    ends = f"  {shortened(use.destination, 33):<34}{shortened(use.local_address, 19):<20}"
    return f"{ends}{use.used:>7,}{exact_text(use.limit):>7}{share_text(use):>5}"


def share(use: PortUse) -> float | None:
    """Return the part of the ephemeral ports that is in use; None where it is not known how many there are."""
    if use.limit is None:
        return None
    return use.used / use.limit if use.limit > 0 else 1.0


def share_text(use: PortUse) -> str:
    """Return that part in hundredths."""
    return percent_text(share(use))


def _half_closed(state: str, rows: Sequence[HalfClosed]) -> list[str]:
    if not rows:
        return []
    head = f"{f'{state.upper()} by process':<34}{'pid':>10}{'count':>12}{'oldest':>12}"
    return [head, *(_process(row) for row in rows)]


def _process(row: HalfClosed) -> str:
    name = shortened(row.process, 31)
    return f"  {name:<32}{row.pid or UNKNOWN:>10}{row.count:>12,}{time_text(row.oldest_seconds):>12}"


def _listeners(rows: Sequence[Backlog]) -> list[str]:
    if not rows:
        return []
    head = f"{'Listeners, the fullest first':<34}{'process':<17}{'waiting':>9}{'limit':>9}{'dropped':>10}"
    lines = [head, *map(_listener, rows[:LISTENERS_SHOWN])]
    return lines + ([f"  and {len(rows) - LISTENERS_SHOWN:,} more"] if len(rows) > LISTENERS_SHOWN else [])


def _listener(row: Backlog) -> str:
    dropped = exact_text(row.drops)
    name = shortened(row.process or UNKNOWN, 16)
    return f"  {shortened(row.endpoint, 31):<32}{name:<17}{row.used:>9,}{row.limit:>9,}{dropped:>10}"


def _remarks(survey: Survey) -> list[str]:
    snapshot = survey.snapshot
    lines = [
        f"{snapshot.orphans:,} orphans (closed by their process), {snapshot.unaccepted:,} not accepted yet",
        f"{snapshot.waiting_objects:,} timewait objects (TIME_WAIT, and FIN_WAIT2 of orphans: sockstat's tw)",
        _namespaces(survey),
    ]
    if survey.owners_hidden:
        lines.append(f"processes of other users that could not be looked into, as root they can: {survey.owners_hidden:,}")
    return lines


def _namespaces(survey: Survey) -> str:
    others = [netns for netns in survey.snapshot.namespaces if netns != survey.own_netns]
    own = f"network namespaces: {survey.own_netns} (tcptrace's own)"
    if not others:
        return f"{own}, no other"
    shown = ", ".join(map(str, others[:3]))
    return f"{own}, {shown}" if len(others) <= 3 else f"{own}, {len(others)} more"


def soonest(snapshot: Snapshot | None) -> PortUse | None:
    """Return the use of ephemeral ports that is exhausted first, if any is within SOON_SECONDS."""
    coming = [use for use in snapshot.ports if (use.forecast_seconds or 0) <= SOON_SECONDS] if snapshot else []
    known = [use for use in coming if use.forecast_seconds is not None]
    return min(known, key=lambda use: use.forecast_seconds or 0, default=None)


def forecast_text(use: PortUse) -> str:
    """Return when the ports of a use will be exhausted, in words."""
    if use.forecast_seconds is None:
        return UNKNOWN
    return f"in {time_text(use.forecast_seconds)}" if use.forecast_seconds else "now"


def survey_document(survey: Survey) -> dict[str, Any]:
    """Return the survey as one JSON object."""
    snapshot = survey.snapshot
    return {
        "duration_seconds": round(snapshot.duration_seconds, 6),
        "netns": survey.own_netns,
        "namespaces": list(snapshot.namespaces),
        "sockets": dict(snapshot.states),
        "time_wait": {
            "by_destination": _rows("destination", survey.clients),
            "by_service": _rows("service", survey.servers),
            "objects": snapshot.waiting_objects,
        },
        "ephemeral_ports": {"limit": snapshot.ports_limit, "destinations": [_use(use) for use in snapshot.ports]},
        **{state: [_owner(row) for row in survey.half_closed if row.state == state] for state in HALF_CLOSED},
        "listeners": [_listener_row(row) for row in survey.listeners],
        "orphans": snapshot.orphans,
        "unaccepted": snapshot.unaccepted,
        "processes_hidden": survey.owners_hidden,
    }


def _rows(name: str, counts: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{name: key, "count": count} for key, count in counts]


def _use(use: PortUse) -> dict[str, Any]:
    names = {"netns": use.netns, "local_address": use.local_address, "destination": use.destination}
    part = share(use)
    return {**names, "used": use.used, "limit": use.limit, "percent": None if part is None else round(100 * part, 2)}


def _listener_row(row: Backlog) -> dict[str, Any]:
    queue = {"netns": row.netns, "service": row.endpoint, "backlog": row.used, "backlog_limit": row.limit, "drops": row.drops}
    return {**queue, "process": row.process or None, "pid": row.pid or None}


def _owner(row: HalfClosed) -> dict[str, Any]:
    return {"process": row.process, "pid": row.pid or None, "count": row.count, "oldest_seconds": row.oldest_seconds}
