"""How `connections` and `replay FILE connections` write a list of open connections: the same way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from tracer.errors import UsageError
from tracer.ingest.owners import Owner
from tracer.model.openlist import SORTS, OpenList
from tracer.outputs.openlines import connections_csv, connections_document, connections_table

LIST_FORMATS = ("table", "json", "csv")
SHOWN = 20

FindOwners = Callable[[set[int]], Mapping[int, Owner]]
"""Tells the owners of sockets, by their inodes."""


def check_sort(sort: str) -> str:
    """Return the name of an order; raises UsageError for one that there is not."""
    if sort not in SORTS:
        raise UsageError(f"--sort {sort} is not known", f"give one of {', '.join(SORTS)}")
    return sort


def list_text(found: OpenList, owners_of: FindOwners, *, sort: str, count: int | None, format_name: str) -> str:
    """Return the connections that count, CSV without its head; owners_of: tells the owners of sockets, of those shown."""
    places = found.order(sort)
    total, places = len(places), places[: count or (SHOWN if format_name == "table" else len(places))]
    rows, services = found.connections(places.tolist(), owners_of(found.inodes(places))), found.services()
    if format_name == "csv":
        lines = connections_csv(rows)
    elif format_name == "json":
        lines = [json.dumps(connections_document(rows, services, total))]
    else:
        lines = connections_table(rows, services, total)
    return "\n".join(lines)
