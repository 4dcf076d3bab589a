"""One connection as two columns, as lines below 80 columns or as a JSON object. Pure: a Dossier in, text or values out."""

from __future__ import annotations

from typing import Any

from tracer.ingest.source import Context
from tracer.model.dossier import Dossier, DossierRow, Unknown, Value
from tracer.outputs.jsonl import describe
from tracer.outputs.units import endpoint_text, time_text

NAME, COLUMN = 41, 18


def dossier_lines(found: Dossier, context: Context) -> list[str]:
    """Return the report of a connection; what is not known is `-` with the number of its reason, which stand below."""
    reasons: dict[str, int] = {}
    head = dossier_head(found, context)
    rows = [
        _row(_with_unit(row), *(_cell(value, row.unit, reasons) for value in (row.forward, row.backward))) for row in found.rows
    ]
    shared = [_row(name, _cell(value, "seconds", reasons)) for name, value in found.common.items()]
    notes = [f"-{number}: {why}" for why, number in reasons.items()]
    lines = [*head, *shared, "", _row("", "a to b", "b to a"), *rows, "", *notes]
    return [line.rstrip() for line in lines]


def connection_document(found: Dossier, context: Context) -> dict[str, Any]:
    """Return the same as an object: values, null for what is not known, and why."""
    rows = describe(found.own[-1:], context)[0]
    return {
        **{name: rows[name] for name in ("role", "local_address", "local_port", "remote_address", "remote_port", "process")},
        "connection": str(int(found.own["connection"][0])),
        "peer_connection": str(int(found.peer["connection"][0])) if len(found.peer) else None,
        "connections": [str(int(end["connection"][0])) for end in (found.own, found.peer) if len(end)],
        **{f"{name}_seconds": _plain(value) for name, value in found.common.items()},
        "directions": [
            {"name": row.name.strip(), "unit": row.unit or None, "a_to_b": _plain(row.forward), "b_to_a": _plain(row.backward)}
            | _whys(row)
            for row in found.rows
        ],
    }


def _whys(row: DossierRow) -> dict[str, str]:
    values = {"why_a_to_b": row.forward, "why_b_to_a": row.backward}
    return {name: value.why for name, value in values.items() if isinstance(value, Unknown)}


def _with_unit(row: DossierRow) -> str:
    return f"{row.name} ({row.unit})" if row.unit.startswith("bytes") and "bytes" not in row.name else row.name


def _row(name: str, *cells: str) -> str:
    return f"  {name:<{NAME}}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)


def _plain(value: Value) -> Any:
    return None if isinstance(value, Unknown) else value


def dossier_head(found: Dossier, context: Context) -> list[str]:
    """Return who the ends are, when it began, how it ended, and what is traced; the last line is empty."""
    events = describe(found.own, context)
    last = events[-1]
    ends = {side: endpoint_text(last[f"{side}_address"], last[f"{side}_port"]) for side in ("local", "remote")}
    process = f", {last['process']}/{last['pid']}" if last["pid"] else ""
    traced = "both ends are traced" if len(found.peer) else "this end is traced, the other is elsewhere"
    end = next((f"closed: {e['reason']}" for e in reversed(events) if e["kind"] == "close"), "open, as far as is known")
    failed = next((f"failed: {e['reason']}" for e in reversed(events) if e["kind"] == "failure"), end)
    resets = [f"reset {e['direction']}" + (f": {e['reset_reason']}" if e["reset_reason"] else "") for e in _resets(events)]
    return [
        f"a: {ends['local']} ({last['role']}{process})",
        f"b: {ends['remote']}",
        f"from {events[0]['time']}; {', '.join((failed, *resets))}",
        f"{traced}; {len(found.own) + len(found.peer):,} records",
        "",
    ]


def _cell(value: Value, unit: str, reasons: dict[str, int]) -> str:
    if isinstance(value, Unknown):
        return f"-{reasons.setdefault(value.why, len(reasons) + 1)}"
    return value_text(value, unit)


def value_text(value: float | str, unit: str) -> str:
    """Return a value that is known, as text."""
    if isinstance(value, str):
        return value
    if unit == "seconds":
        return time_text(value)
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:,.1f}"


def _resets(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == "reset"]
