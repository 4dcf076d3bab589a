"""Events as lines that people read, each under 80 columns: when, what, who with whom, and what matters of it.

    time         event      connection                      what
    20:41:07.123 handshake  10.0.0.1:40312 > 10.0.0.2:80    1.02 ms curl/4711

The local side stands left; the arrow points from client to server (`-`: nobody knows). Times are local. What matters comes in
the order of its weight, and as much of it as there is room for. Where even the first of it has none, as with long IPv6
addresses, the middle of an address becomes `…`, never its ends nor the port; JSON and CSV have all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from tracer.outputs.jsonl import Event
from tracer.outputs.units import bytes_text, error_name, shortened, time_text

WIDTH = 79
CONNECTION = 31
"""Room for two short IPv4 addresses; longer ones push the rest to the right."""

SHORTEST = 6
"""What at least stays of an address."""

KIND_COLORS = {"handshake": "32", "failure": "31", "retransmit": "33", "reset": "35"}
"""SGR codes: green, red, yellow, magenta."""

ARROWS = {"client": ">", "server": "<"}

HEAD = f"{'time':<12} {'event':<10} {'connection':<{CONNECTION}} what"


def table_lines(events: Sequence[Event]) -> list[str]:
    """Return one line an event, at most WIDTH characters each."""
    return [_line(event) for event in events]


def colored_lines(events: Sequence[Event]) -> list[str]:
    """Return the same lines with their kinds in color."""
    return [_colored(line, event["kind"]) for line, event in zip(table_lines(events), events, strict=True)]


def _colored(line: str, kind: str) -> str:
    code = KIND_COLORS.get(kind)
    return line.replace(kind, f"\x1b[{code}m{kind}\x1b[0m", 1) if code else line


def _line(event: Event) -> str:
    moment = datetime.fromisoformat(event["time"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    what = [part for part in _WHAT[event["kind"]](event) if part]
    start = f"{moment} {event['kind']:<10} "
    if len(start) + sum(map(len, _addresses(event))) + _fixed(event) + 1 + len(what[0]) > WIDTH:
        start = f"{moment} {event['kind']} "
    connection = _connection(event, WIDTH - len(start) - 1 - len(what[0]))
    return start + _fill(f"{connection:<{CONNECTION}}", what, WIDTH - len(start))


def _fill(text: str, parts: Sequence[str], width: int) -> str:
    """Return text and as many of the parts as fit behind it, the first in any case."""
    if len(text) + 1 + len(parts[0]) > width:
        text = text.rstrip()
    text += f" {parts[0]}"
    for part in parts[1:]:
        if len(text) + 1 + len(part) > width:
            break
        text += f" {part}"
    return text


def _fixed(event: Event) -> int:
    """Return the length of what is never shortened in a connection: ports, brackets and the arrow."""
    return sum(map(len, _ports(event))) + len(": > :") + (4 if event["family"] == 6 else 0)


def _connection(event: Event, width: int) -> str:
    local, remote = _shorten(*_addresses(event), width - _fixed(event))
    if event["family"] == 6:
        local, remote = f"[{local}]", f"[{remote}]"
    local_port, remote_port = _ports(event)
    return f"{local}:{local_port} {ARROWS.get(event['role'], '-')} {remote}:{remote_port}"


def _addresses(event: Event) -> tuple[str, str]:
    """Return both addresses, of which a listener has its own alone."""
    return event["local_address"], event["remote_address"] or "-"


def _ports(event: Event) -> tuple[str, str]:
    """Return both ports, of which the kernel has not every one at each time."""
    return str(event["local_port"] or "-"), str(event["remote_port"] or "-")


def _shorten(local: str, remote: str, room: int) -> tuple[str, str]:
    """Return both addresses within room characters together; the shorter one stays whole when it takes no more than half."""
    if len(local) + len(remote) <= room:
        return local, remote
    half = max(room // 2, SHORTEST)
    local_room = max(half, room - len(remote)) if len(local) > half else len(local)
    remote_room = max(room - min(local_room, len(local)), SHORTEST)
    return shortened(local, local_room), shortened(remote, remote_room)


def _handshake(event: Event) -> list[str]:
    return [_time(event["handshake_seconds"]), "fast open" if event["fast_open"] else "", _lost(event), _owner(event)]


def _failure(event: Event) -> list[str]:
    reason = event["reason"]
    if reason == "other" and event["errno"]:
        reason = error_name(event["errno"])
    return [reason, _range(event), _time(event["duration_seconds"]), _lost(event), _owner(event)]


def _range(event: Event) -> str:
    return f"of its own {event['port_range']}" if event["port_range"] else ""


def _close(event: Event) -> list[str]:
    traffic = f"↑{_bytes(event['sent_bytes'])} ↓{_bytes(event['received_bytes'])}"
    age = "partial" if event["partial"] else _time(event["duration_seconds"])
    return [event["reason"], traffic, age, _lost(event), event["reset_reason"] or ""]


def _retransmit(event: Event) -> list[str]:
    return [
        event["retransmit_kind"] or "unknown",
        f"never left: {error_name(event['errno'])}" if event["failed"] else "",
        f"{event['segments']} segments" if event["segments"] > 1 else "",
        f"attempt {event['attempt']}" if event["attempt"] > 1 else "",
    ]


def _reset(event: Event) -> list[str]:
    return [event["direction"], event["reset_reason"] or ""]


def _state(event: Event) -> list[str]:
    if event["backlog"] is not None:
        return ["listen()", f"backlog {event['backlog']}", _owner(event)]
    spent = (event["states"] or {}).get(event["from"])
    return [f"{event['from']}→{event['to']}", "" if spent is None else _time(spent)]


def _call(event: Event) -> list[str]:
    result = event["result"]
    return [event["call"] or "", f"{result}" if result >= 0 else error_name(-result), _owner(event)]


def _segment(event: Event) -> list[str]:
    return [" ".join(event["control_bits"]), f"{event['payload_bytes']} B"]


_WHAT: Mapping[str, Callable[[Event], list[str]]] = {
    "handshake": _handshake,
    "failure": _failure,
    "close": _close,
    "retransmit": _retransmit,
    "reset": _reset,
    "state": _state,
    "call": _call,
    "segment": _segment,
}


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else time_text(seconds)


def _bytes(count: int) -> str:
    return bytes_text(count).replace(" ", "")


def _lost(event: Event) -> str:
    count = event["retransmitted_segments"]
    return f"{count} retransmitted" if count else ""


def _owner(event: Event) -> str:
    return f"{event['process']}/{event['pid']}" if event["process"] else ""
