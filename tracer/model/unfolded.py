"""Changes of state that records of handshakes and ends stand for, as records of their own: what a ladder is drawn from.

Without `follow` the programs report no single change of state. But a handshake's record tells how long it took, and the record
of an end how long the connection was in each state; and the order of states is the same for each way to close. So the times of
all changes are known. Where a record is partial, or has a gap, nothing is added.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tracer.ingest.decode import EVENT, Events
from tracer.model.tcp import FLAG, KIND, ROLE, STATE

_ORDER = tuple(
    STATE[name]
    for name in ("syn_sent", "syn_recv", "established", "fin_wait1", "fin_wait2", "closing", "close_wait", "last_ack")
)
"""In which states follow each other; of FIN_WAIT and CLOSE_WAIT a connection has only those of one side."""

_OPENING = (STATE["syn_sent"], STATE["syn_recv"])
_UNCERTAIN = FLAG["partial"] | FLAG["gap"]


def unfolded(events: Events) -> Events:
    """Return the records of one connection with those of the changes between them, in the order of their times."""
    found = np.concatenate([np.empty(0, EVENT), *(part for event in events for part in (*_before(event), event.reshape(1)))])
    found["descriptor"] = -1  # which only `follow` knows
    return found[np.argsort(found["time_ns"], kind="stable")]


def _before(event: np.void) -> list[Events]:
    if event["flags"] & _UNCERTAIN:
        return []
    if event["kind"] == KIND["handshake"]:
        return [] if event["flags"] & FLAG["handshake_unknown"] else [_beginning(event, int(event["handshake_ns"]))]
    if event["kind"] == KIND["failure"] and event["role"] == ROLE["client"]:
        return [_beginning(event, int(event["state_ns"][STATE["syn_sent"]]))]
    return _closing(event) if event["kind"] == KIND["close"] else []


def _beginning(event: np.void, ago_ns: int) -> Events:
    server = event["role"] == ROLE["server"]
    change = ("listen", "syn_recv") if server else ("close", "syn_sent")
    return _change(event, STATE[change[0]], STATE[change[1]], int(event["time_ns"]) - ago_ns)


def _closing(event: np.void) -> list[Events]:
    """Return the changes between ESTABLISHED and CLOSE."""
    visited = [state for state in _ORDER if event["visited"] >> state & 1 and state not in _OPENING]
    at, changes = int(event["time_ns"]), []
    for before, state in reversed(list(pairwise(visited))):
        at -= int(event["state_ns"][state])
        changes.append(_change(event, before, state, at))
    return changes[::-1]


def _change(event: np.void, old: int, new: int, time_ns: int) -> Events:
    record = np.zeros(1, EVENT)
    for name in ("connection", "role", "family", "netns", "cgroup", "pid", "process"):
        record[name] = event[name]
    for side in ("local", "remote"):
        record[f"{side}_address"], record[f"{side}_port"] = event[f"{side}_address"], event[f"{side}_port"]
    record["kind"], record["from_state"], record["to_state"], record["time_ns"] = KIND["state"], old, new, time_ns
    return record
