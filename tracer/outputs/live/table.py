"""The live view's table of services: which columns fit, in which order the rows come, and the rows. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isnan

from tracer.model.history import History, Moments
from tracer.model.naming import OTHER
from tracer.model.report import Service
from tracer.model.spans import Lately, together
from tracer.model.who import Whose
from tracer.outputs.live.names import Names, names_of
from tracer.outputs.live.search import Search
from tracer.outputs.live.styled import Line, Piece, cut, line, plain, restyled
from tracer.outputs.live.window import Key, Window
from tracer.outputs.spark import rate_spark, time_spark
from tracer.outputs.units import UNKNOWN, bytes_text, count_text, rate_text, shortened, time_text

SPARK_COLUMNS = (60, 30, 20, 15, 12, 10)
"""Parts of INTERVALS that a sparkline may be wide."""

CHOSEN = ">"
NOTHING = "no connection was opened or closed yet"


UNKNOWN_OWNER = Whose()


@dataclass(frozen=True)
class ServiceRow:
    """A service as the table shows it. rate: handshakes a second in the last interval; sent, received: bytes a second."""

    label: str
    service: Service
    rate: float | None
    sent: float = 0.0
    received: float = 0.0
    whose: Whose = UNKNOWN_OWNER
    moments: Moments | None = None


@dataclass(frozen=True)
class Column:
    """One column. group: what several are called together. width: with the blank before it. value: what rows are sorted by."""

    name: str
    width: int
    value: Callable[[ServiceRow], float | None]
    text: Callable[[float | None], str] = count_text
    group: str = ""
    style: str = ""


@dataclass(frozen=True)
class Words:
    """A column of names. width: with the blank before it."""

    name: str
    width: int
    words: Callable[[ServiceRow], str]
    group: str = ""


def _bytes(rate: float | None) -> str:
    return bytes_text(round(rate)) if rate else UNKNOWN


def _quantile(q: float) -> Callable[[ServiceRow], float | None]:
    return lambda row: row.service.quantile(q)


SERVICE = "service"
WRONG = "wrong"
_SERVICE_WIDTH = 13
"""Of role and port; more labels take what they need, up to half of the width."""
_TIMES = "handshake time"
_PAYLOAD = "payload a second"
_COLUMNS = (
    Column("count", 6, lambda row: row.service.handshakes, group="handshakes"),
    Column("/s", 6, lambda row: row.rate, rate_text, group="handshakes"),
    Column("p50", 8, _quantile(0.5), time_text, group=_TIMES),
    Column("p90", 8, _quantile(0.9), time_text, group=_TIMES),
    Column("p99", 8, _quantile(0.99), time_text, group=_TIMES),
    Column("max", 8, _quantile(1), time_text, group=_TIMES),
    Column("failed", 7, lambda row: row.service.failed, style="alarm"),
    Column("open", 6, lambda row: row.service.connections),
    Column("closed", 7, lambda row: row.service.closed),
    Column("resent", 7, lambda row: row.service.segments, style="warn"),
    Column("sent", 8, lambda row: row.sent, _bytes, group=_PAYLOAD),
    Column("received", 9, lambda row: row.received, _bytes, group=_PAYLOAD),
)
_WORDS = (Words("process", 17, lambda row: row.whose.process), Words("peer", 19, lambda row: row.whose.peer))
_NUMBERS = {column.name: column for column in _COLUMNS}
_BY_NAME: dict[str, Column | Words] = {**_NUMBERS, **{words.name: words for words in _WORDS}}
_FIRST = (
    *("count", "/s", "p99", "failed", "p50", "sparks", "resent", "open", "sent", "received", "process", "peer"),
    *("p90", "max", "closed"),
)
"""In this order they are given a place while there is room."""

SORTS = (WRONG, SERVICE, *_NUMBERS)
LINES_AROUND = 2
FEW_ROWS = 3
"""Where not even so many have room, the line that groups the columns is given up for one more."""


@dataclass(frozen=True)
class TableLayout:
    """What fits into a width: names of columns in their order, and how wide each of the two sparklines is (0: not there)."""

    columns: tuple[str, ...]
    spark: int
    label: int = _SERVICE_WIDTH


def label_width(rows: Sequence[ServiceRow], width: int) -> int:
    """Return how wide the column of services is: what their labels need with a blank on either side, at most half of it all."""
    return max(_SERVICE_WIDTH, min(max((len(row.label) + 2 for row in rows), default=0), width // 2))


def layout(width: int, label: int = _SERVICE_WIDTH, unknown: Collection[str] = ()) -> TableLayout:
    """Return what fits into so many columns; label: the width of the column of services; unknown: columns without a value."""
    room, fitting, bars = width - label, set(), 0
    for name in (name for name in _FIRST if name not in unknown):
        needed = 2 * (SPARK_COLUMNS[-1] + 1) if name == "sparks" else _BY_NAME[name].width
        if needed > room:
            break
        room -= needed
        if name == "sparks":
            bars = SPARK_COLUMNS[-1]
        else:
            fitting.add(name)
    if bars:
        bars = next(size for size in SPARK_COLUMNS if 2 * (size - SPARK_COLUMNS[-1]) <= room)
    return TableLayout(tuple(name for name in _BY_NAME if name in fitting), bars, label)


def arranged(history: History, window: Window, sort: str, search: Search) -> list[ServiceRow]:
    """Return the services as rows in their order, those alone that are looked for, `other` always last.

    The largest come first, in the order of ports for `service` and where values are equal, so that rows move only for a reason.
    With `wrong` those come first of which most went wrong, then those with most handshakes.
    """
    names: Names = names_of(history.records) if search and not search.is_port else {}
    rows = [row for row in (_row(history, window, one) for one in window.found) if _fits(row, search, names)]
    rows.sort(key=lambda row: (len(row.service.port), row.service.port, row.service.key))
    if sort == WRONG:
        rows.sort(key=lambda row: (-row.service.wrong, -row.service.handshakes))
    elif sort != SERVICE:
        value = _NUMBERS[sort].value
        rows.sort(key=lambda row: -1.0 if (number := value(row)) is None else number, reverse=True)
    return sorted(rows, key=lambda row: row.service.role == OTHER)


def _row(history: History, window: Window, one: Lately) -> ServiceRow:
    service = one.service
    moments = history.moments.get(service.key)
    rate = float("nan") if moments is None else float(moments[-1, 0])
    whose = window.whose.get(service.key, UNKNOWN_OWNER)
    return ServiceRow(service.name, service, None if isnan(rate) else rate, one.sent_rate, one.received_rate, whose, moments)


def _fits(row: ServiceRow, search: Search, names: Names) -> bool:
    service, shown = row.service, (row.whose.process, row.whose.peer)
    lately = names.get((service.role, service.port), ())
    return search.fits(service.port, *shown, *lately, *(value for _, value in service.labels))


def services_table(
    rows: Sequence[ServiceRow], *, sort: str, chosen: Key | None, width: int, height: int, nothing: str = NOTHING
) -> list[Line]:
    """Return the table in at most so many lines; what has no room is one summed row, and the chosen row is always there.

    nothing: what is said where there are no rows.
    """
    if not rows:
        return [cut(line(Piece(f" {nothing}", "dim")), width)][:height]
    unknown = [words.name for words in _WORDS if not any(words.words(row) for row in rows)]
    fits = layout(width, label_width(rows, width), unknown)
    whole = height >= LINES_AROUND + min(len(rows), FEW_ROWS)
    head = [_groups(fits), _head(fits, sort)] if whole else [_head(fits, sort)][:height]
    shown = _part(rows, chosen, height - len(head))
    lines = [*head, *(_body(row, fits, width, chosen=row.service.key == chosen) for row in shown)]
    return [cut(one, width) for one in lines]


def _part(rows: Sequence[ServiceRow], chosen: Key | None, height: int) -> list[ServiceRow]:
    if len(rows) <= height:
        return list(rows)
    size = max(height - 1, min(height, 1))
    at = next((i for i, row in enumerate(rows) if row.service.key == chosen), 0)
    start = max(0, at - size + 1)
    rest = [*rows[:start], *rows[start + size :]]
    rates = [row.rate for row in rest if row.rate is not None]
    carried = sum(row.sent for row in rest), sum(row.received for row in rest)
    total = ServiceRow(f"others: {len(rest)}", together([row.service for row in rest]), sum(rates) if rates else None, *carried)
    return [*rows[start : start + size], total][:height]


def _groups(fits: TableLayout) -> Line:
    pieces = [" " * fits.label]
    for group, columns in groupby((_BY_NAME[name] for name in fits.columns), key=lambda column: column.group):
        pieces.append(_over(group, sum(column.width for column in columns)))
    if fits.spark:
        pieces.append(_over("last minute", 2 * (fits.spark + 1)))
    return line(*(Piece(piece, "dim") for piece in pieces))


def _over(group: str, width: int) -> str:
    """Return a heading over several columns, with the blank before them; nothing where it does not fit."""
    room = width - 1
    if not group or len(group) > room:
        return " " * width
    return " " + (f" {group} ".center(room, "─") if len(group) + 4 <= room else group.rjust(room))


def _head(fits: TableLayout, sort: str) -> Line:
    mark = "▴" if sort == SERVICE else ""
    pieces = [f" {SERVICE}{mark}".ljust(fits.label)]
    pieces += [_heading(_BY_NAME[name], sort) for name in fits.columns]
    if fits.spark:
        pieces += [f" {name:<{fits.spark}}" for name in ("/s", "p99")]
    return line(*(Piece(piece, "bold") for piece in pieces))


def _heading(column: Column | Words, sort: str) -> str:
    if isinstance(column, Words):
        return f" {column.name}".ljust(column.width)
    return ("▾" * (column.name == sort) + column.name).rjust(column.width)


def _body(row: ServiceRow, fits: TableLayout, width: int, *, chosen: bool) -> Line:
    mark = CHOSEN if chosen else " "
    label = plain(cut(line(row.label), fits.label - 2))
    pieces = [Piece(f"{mark}{label}".ljust(fits.label))]
    pieces += [_cell(_BY_NAME[name], row) for name in fits.columns]
    if fits.spark and row.moments is not None:
        rates, p99s = row.moments.T.tolist()
        pieces += [Piece(f" {rate_spark(rates, fits.spark)}", "spark"), Piece(f" {time_spark(p99s, fits.spark)}", "spark")]
    return restyled(tuple(pieces), "chosen", width) if chosen else tuple(pieces)


def _cell(column: Column | Words, row: ServiceRow) -> Piece:
    if isinstance(column, Words):
        return Piece(f" {shortened(column.words(row) or UNKNOWN, column.width - 2)}".ljust(column.width))
    value = column.value(row)
    if column.style and not value:
        return Piece(UNKNOWN.rjust(column.width), "dim")
    return Piece(column.text(value).rjust(column.width), column.style)
