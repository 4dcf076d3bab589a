"""Events as plain dictionaries, and as JSON, one object a line. Pure: a batch in, values out.

BY_KIND says which kind of event has which fields, in their order. The table and CSV are made of the same dictionaries, so
that no two formats can disagree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracer.ingest.decode import Events
from tracer.ingest.source import Context
from tracer.model.tcp import KIND
from tracer.outputs.eventfields import EVENT_FIELDS
from tracer.outputs.onekind import OneKind
from tracer.outputs.positionfields import BYTES, POSITION, WINDOWS

Event = dict[str, Any]


def describe(
    events: Events, context: Context, container: Callable[[int], str] = lambda _: "", more: Sequence[str] = ()
) -> list[Event]:
    """Return each event with the fields of its kind, in the order of the batch; what is not known is None.

    container: turns a cgroup's id into a container's or unit's name, "" for one that is not known. more: names of fields that
    every event has besides.
    """
    rows: list[Event | None] = [None] * len(events)
    for kind, own in BY_KIND.items():
        names = tuple(dict.fromkeys((*own, *more)))
        index = np.flatnonzero(events["kind"] == KIND[kind])
        if len(index):
            batch = OneKind(kind, events[index], context, container)
            columns = [EVENT_FIELDS[name](batch) for name in names]
            for at, values in zip(index.tolist(), zip(*columns, strict=True), strict=True):
                rows[at] = dict(zip(names, values, strict=True))
    return [row for row in rows if row is not None]


def json_lines(events: Sequence[Event]) -> list[str]:
    """Return one JSON object an event, in ASCII."""
    return [_encode(event) for event in events]


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


COMMON = tuple(EVENT_FIELDS)[: tuple(EVENT_FIELDS).index("partial") + 1]

_SEQUENCES = ("initial_sequence", "peer_initial_sequence")
_RTT = ("srtt_seconds", "min_rtt_seconds")
_SEGMENTS = ("sent_segments", "received_segments", "retransmitted_segments")

BY_KIND: Mapping[str, tuple[str, ...]] = {
    kind: (*COMMON, *names)
    for kind, names in {
        "handshake": ("handshake_seconds", "fast_open", "retransmitted_segments", *_RTT, *_SEQUENCES),
        "failure": ("reason", "errno", "port_range", "duration_seconds", *_SEGMENTS, "states", "from"),
        "close": (
            *("reason", "errno", "closed_first", "reset_reason", "handshake_seconds", "fast_open", "duration_seconds"),
            *(*BYTES, *_SEGMENTS, *_RTT, "states", *_SEQUENCES, "from"),
        ),
        "retransmit": ("retransmit_kind", "segments", "sequence", "attempt", "failed", "errno", "retransmitted_segments"),
        "reset": ("direction", "reset_reason"),
        "state": ("from", "to", "states", "backlog"),
        "call": ("call", "result", "descriptor"),
        "segment": ("control_bits", "sequence", "acknowledgement", "payload_bytes", "srtt_seconds", *WINDOWS),
    }.items()
}
"""The fields of each kind of event."""

FOLLOWED = ("connection", "descriptor", *_SEQUENCES, *POSITION, *BYTES, *WINDOWS)
"""What follow shows of every event besides: its connection's number (as text: it takes more than 53 bits) and position."""

EVENT_KINDS = tuple(kind for kind in BY_KIND if kind not in {"call", "segment"})
"""Those that users of `events` know; only follow asks the kernel for the others."""
