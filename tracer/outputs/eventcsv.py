"""Events as CSV: one line an event, all kinds in the same columns, so that any program reads it as one table.

A field that a kind does not have is empty, as is one that is not known. A name that a spreadsheet would take for a formula
has an apostrophe before it. `states` is one cell, `syn_sent=0.000042;…`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tracer.outputs.eventfields import EVENT_FIELDS
from tracer.outputs.jsonl import BY_KIND, EVENT_KINDS, Event

CSV_COLUMNS = tuple(name for name in EVENT_FIELDS if any(name in BY_KIND[kind] for kind in EVENT_KINDS))

HEAD = ",".join(CSV_COLUMNS)


def csv_lines(events: Sequence[Event]) -> list[str]:
    """Return a line for each event, without line ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_cell(value) for value in map(event.get, CSV_COLUMNS)] for event in events)
    return text.getvalue().split("\n")[:-1]


def _text(text: str) -> str:
    """Return a cell that a spreadsheet takes for text, and not for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _cell(value: Any) -> Any:
    convert = _CONVERT.get(type(value))
    return value if convert is None else convert(value)


_CONVERT: Mapping[type, Callable[[Any], str]] = {
    str: _text,
    bool: lambda value: "true" if value else "false",
    dict: lambda value: ";".join(f"{state}={seconds}" for state, seconds in value.items()),
}
