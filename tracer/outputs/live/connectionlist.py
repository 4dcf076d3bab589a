"""The live view's list of a service's connections, and the ladder of one of them. Pure functions.

Open ones are those of the last dump, those that are held up first, with those that were opened since; then come those that have
ended lately, the latest first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import EVENT, Events
from tracer.ingest.sets import is_in
from tracer.model.follow.followed import Followed
from tracer.model.history import History
from tracer.model.naming import address_text
from tracer.model.oneconnection import OneConnection, mirrored, overlapping
from tracer.model.openfigures import ends_key
from tracer.model.services import service_ports
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, KIND, ROLE, close_reasons, failure_reasons
from tracer.model.unfolded import unfolded
from tracer.outputs.ladder import NARROWEST, Style, head_lines, ladder_lines
from tracer.outputs.live.openblock import listed, open_cells
from tracer.outputs.live.styled import Line, Piece, cut, line, restyled
from tracer.outputs.live.window import Key
from tracer.outputs.units import UNKNOWN, bytes_text, time_text

MOST_ENDED = 200
_HEAD = ("peer", "", "sent", "received", "rtt", "")
_FROM_THEN = "its first records are not kept, or it began before the tracing; 'tcptrace follow' draws all that comes"


@dataclass(frozen=True)
class Listed:
    """A connection in the list. key: both of its ends and its namespace as one number. cells: as _HEAD has them."""

    key: int
    cells: tuple[str, ...]
    open: bool = True


def connections_of(history: History, service: Key) -> list[Listed]:
    """Return the connections of a service, by its role and port."""
    table = listed(history.report, service[0], service[1])
    found = {}
    for one in table:
        peer, *figures = open_cells(one)
        found[int(one["key"])] = Listed(int(one["key"]), (peer, "open", *figures))
    ended = _ended(history, service)
    for record in _of_kinds(history, service, "handshake"):
        key = int(ends_key(record)[0])
        if key not in found and key not in ended:
            found[key] = Listed(key, (_peer(record), "open", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN))
    open_now = [one for key, one in found.items() if key not in ended]
    return [*open_now, *list(ended.values())[:MOST_ENDED]]


def _ended(history: History, service: Key) -> dict[int, Listed]:
    """Return the connections that have ended, by their keys, unless their ends are in use again; the latest first."""
    found: dict[int, Listed] = {}
    opened: set[int] = set()
    for record in reversed(list(_of_kinds(history, service, "handshake", "close", "failure"))):
        key = int(ends_key(record)[0])
        if key in found or key in opened:
            continue
        if record["kind"][0] == KIND["handshake"]:
            opened.add(key)
        else:
            found[key] = Listed(key, _ended_cells(record), open=False)
    return found


def _of_kinds(history: History, service: Key, *kinds: str) -> Iterator[Events]:
    """Yield the records of these kinds of a service, one by one."""
    numbers = [KIND[kind] for kind in kinds]
    for batch in history.records:
        ours = is_in(batch["kind"], numbers) & (batch["role"] == ROLE.get(service[0], 0))
        ours &= service_ports(batch).astype(str) == service[1]
        places = np.flatnonzero(ours)
        yield from (batch[at : at + 1] for at in places.tolist())


def _ended_cells(record: Events) -> tuple[str, ...]:
    failed = record["kind"][0] == KIND["failure"]
    (code,) = (failure_reasons if failed else close_reasons)(record["from_state"], record["error"], record["flags"])
    reason = f"failed: {FAILURE_REASONS[code]}" if failed else f"closed: {CLOSE_REASONS[code]}"
    sent, received = (UNKNOWN if failed else bytes_text(int(record[name][0])) for name in ("sent_bytes", "received_bytes"))
    rtt = time_text(int(record["srtt_us"][0]) / 1e6 or None)
    again = int(record["retransmitted_segments"][0])
    return _peer(record), reason, sent, received, rtt, f"{again} resent" if again else UNKNOWN


def _peer(record: Events) -> str:
    port = record["remote_port"][0] if record["role"][0] == ROLE["server"] else record["local_port"][0]
    return f"{address_text(record['remote_address'][0].tobytes(), int(record['netns'][0]))} {port}"


def connections_lines(history: History, service: Key, chosen: int | None, width: int, height: int) -> list[Line]:
    """Return the list in at most so many lines; the chosen one is always there."""
    rows = connections_of(history, service)
    if not rows:
        return [cut(line(Piece(" no connection of this service is known", "dim")), width)][:height]
    table = [_HEAD, *(row.cells for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEAD))]
    room = max(height - 1, 1)
    at = next((place for place, row in enumerate(rows) if row.key == chosen), 0)
    first = max(0, at - room + 1)
    head = cut(line(Piece("  " + _text(_HEAD, widths), "bold")), width)
    return [head, *(_one(row, widths, width, chosen=row.key == chosen) for row in rows[first : first + room])][:height]


def _text(cells: tuple[str, ...], widths: list[int]) -> str:
    left = {0, 1, len(widths) - 1}
    padded = (
        cell.ljust(wide) if at in left else cell.rjust(wide) for at, (cell, wide) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def _one(row: Listed, widths: list[int], width: int, *, chosen: bool) -> Line:
    text = line(Piece(f"{'>' if chosen else ' '} {_text(row.cells, widths)}", "" if row.open else "dim"))
    return restyled(text, "chosen", width) if chosen else cut(text, width)


def ladder(history: History, connection: int | None, width: int, height: int, skip: int = 0) -> list[Line]:
    """Return the ladder of one connection, from so many lines below its first on, in at most so many lines."""
    records = _records(history, connection)
    if not len(records):
        return [cut(line(Piece(f" {_FROM_THEN}", "dim")), width)][:height]
    style = Style(width=max(width - 1, NARROWEST))
    asked = history.report.context.asked
    followed = Followed(dict(history.report.context.reset_reasons), segments="segments" in asked, positions="follow" in asked)
    head = head_lines(style)[:1]
    lines = ladder_lines(followed.add(records), style)
    part = lines[min(skip, max(len(lines) - (height - 1), 0)) :]
    return [cut(line(Piece(f" {text}", "" if at else "bold")), width) for at, text in enumerate([*head, *part])][:height]


def _records(history: History, connection: int | None) -> Events:
    """Return the records of the last connection between the two ends, with the changes of state that they stand for.

    Where its other end is on this machine, the records of that, too.
    Where `follow` was asked for (a recording), these are among them.
    """
    if connection is None:
        return np.empty(0, EVENT)
    together = np.concatenate([np.empty(0, EVENT), *history.records])
    ours = ends_key(together) == np.uint64(connection)
    numbers: NDArray[np.uint64] = together["connection"][ours]
    last = numbers[numbers != 0][-1:]
    # by its number, too: the first change of state comes before a client has a port
    both = _both_ends(together, last)
    chosen = together[is_in(together["connection"], both) | (ours & (together["connection"] == 0))]
    return chosen if "follow" in history.report.context.asked else unfolded(chosen)


def _both_ends(records: Events, number: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the number of a connection, shape (1,), and that of its other end, where there are records of it."""
    own = records[is_in(records["connection"], number)]
    end = mirrored(own)
    if end is None:
        return number
    found = OneConnection(end)
    found.add(records)
    return np.concatenate((number, overlapping(found.records, int(number[0]))["connection"]))
