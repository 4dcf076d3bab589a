"""Whose connections were at some time, by the records of their beginnings: a look at the sockets does not tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.decode import Events
from tracer.ingest.names import name_text
from tracer.ingest.openrows import OpenRows
from tracer.ingest.owners import Owner
from tracer.model.openfigures import ends_key
from tracer.model.tcp import KIND

_OPENER = np.dtype([("key", "=u8"), ("time_ns", "=u8"), ("pid", "=u4"), ("process", "S16")])


class Openers:
    """The processes of all connections that began, in 36 bytes each; an end is kept as a connection of nobody's."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.void]] = []

    def add(self, events: Events) -> None:
        """Take records, in the order of their time."""
        kinds = events["kind"]
        began = kinds == KIND["handshake"]
        chosen = events[began | (kinds == KIND["close"])]
        if not len(chosen):
            return
        part = np.zeros(len(chosen), _OPENER)
        part["key"], part["time_ns"] = ends_key(chosen), chosen["time_ns"]
        part["pid"] = np.where(chosen["kind"] == KIND["handshake"], chosen["pid"], 0)
        part["process"] = chosen["process"].view("S16").reshape(-1)
        self._parts.append(part)

    def owners(self, rows: OpenRows) -> dict[int, Owner]:
        """Return whose the sockets of these connections are, by their inodes; those of nobody that is known are left out."""
        parts = np.concatenate([np.empty(0, _OPENER), *self._parts])
        past = parts[parts["time_ns"] <= rows.time_ns]
        past = past[np.argsort(past["key"], kind="stable")]
        keys = ends_key(rows.sockets)
        places = np.searchsorted(past["key"], keys, side="right") - 1
        found = {}
        for inode, key, place in zip(rows.sockets["inode"].tolist(), keys.tolist(), places.tolist(), strict=True):
            if inode and place >= 0 and past["key"][place] == key and past["pid"][place]:
                found[inode] = Owner(int(past["pid"][place]), name_text(past["process"][place]))
        return found
