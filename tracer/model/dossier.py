"""All that the records of one connection tell, one direction beside the other.

Of each direction the sender's own records tell most, and the receiver's some. Of a connection within the machine both ends are
traced, and each direction is told by its sender; of another one this machine's end tells both, and of what the peer sends it
knows what has arrived. What is not known has a reason in its place, and never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracer.ingest.decode import Events
from tracer.ingest.sets import is_in
from tracer.ingest.source import Context
from tracer.kernel.fields import PACE
from tracer.model.follow.pace import NO_THRESHOLD
from tracer.model.tcp import FLAG, KIND, RETRANSMIT_KINDS


@dataclass(frozen=True)
class Unknown:
    """A value that is not known, and why."""

    why: str


ABROAD = Unknown("the peer's kernel knows, and it is not traced here")
NO_FOLLOW = Unknown("it is in recordings made with --follow or --segments")
NO_SEGMENTS = Unknown("it is in recordings made with --segments")
OPEN = Unknown("the connection has not ended in this recording")
NO_RECORD = Unknown("no record has it; of open ones see 'tcptrace connections'")
NOT_TOLD = Unknown("the kernel that was traced does not tell")
NO_SAMPLE = Unknown("the kernel has had no sample of it")

Value = int | float | str | Unknown


@dataclass(frozen=True)
class DossierRow:
    """A line of the report. unit: "", bytes, seconds, or bytes/s."""

    name: str
    unit: str
    forward: Value
    backward: Value


@dataclass(frozen=True)
class Dossier:
    """One connection. own: the records of the end that is reported first, the client's if it is traced; peer: of the other end.

    Both of shape (n,), peer may be empty. rows: forward is what own sends. common: what both directions share.
    """

    own: Events
    peer: Events
    common: Mapping[str, Value]
    rows: tuple[DossierRow, ...]


def dossier(own: Events, peer: Events, context: Context) -> Dossier:
    """Return what is known of a connection; own has one record at least."""
    ends = End(own, context), End(peer, context) if len(peer) else None
    forward, backward = directions(*ends)
    rows = tuple(DossierRow(name, unit, forward[name], backward[name]) for name, unit in UNITS.items())
    return Dossier(own, peer, common(ends[0]), rows)


def directions(own: End, peer: End | None) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return the values of what own sends, and of what it receives, by the names in UNITS."""
    if peer is None:
        return own.sent() | dict.fromkeys(ARRIVING, ABROAD), own.received()
    return own.sent() | _known(peer.received(), ARRIVING), peer.sent() | _known(own.received(), ARRIVING)


def _known(values: Mapping[str, Value], names: Sequence[str]) -> dict[str, Value]:
    return {name: values[name] for name in names}


class End:
    """The records of one end. context: of the recording, or the tracing."""

    def __init__(self, records: Events, context: Context) -> None:
        asked, self._missing = context.asked, context.missing
        self.records = records
        self.last = self._last()
        self._follows = bool({"follow", "segments"} & set(asked))
        self._segments = records[records["kind"] == KIND["segment"]] if "segments" in asked else None

    def _last(self) -> Any:
        closes = self.records[is_in(self.records["kind"], (KIND["close"], KIND["failure"]))]
        return closes[-1] if len(closes) else None

    def sent(self) -> dict[str, Value]:
        """Return what this end knows of what it has sent."""
        again = self.records[(self.records["kind"] == KIND["retransmit"]) & (self.records["flags"] & FLAG["failed"] == 0)]
        return {
            "packets": self._at_end("sent_segments"),
            "data packets": self._followed("sent_data_segments"),
            "pure acks and control": self._without_data("sent_segments", "sent_data_segments"),
            "unique bytes": self._at_end("sent_bytes"),
            "unacknowledged bytes": self._at_end("unacknowledged_bytes"),
            "retransmitted packets": self._at_end("retransmitted_segments"),
            **{f"  {kind}": int(again["segments"][again["retransmit_kind"] == n].sum()) for n, kind in _KINDS},
            "out of order packets": NO_RECORD,
            "initial sequence": self._initial("initial_sequence"),
            "mss, options, window scale": NO_RECORD,
            **self._over_segments("window of the receiver", "send_window"),
            **self._over_segments("cwnd (packets)", "congestion_window"),
            "ssthresh at the end (packets)": self._threshold(),
            "smallest packet": ABROAD,
            "average packet": ABROAD,
            "largest packet": ABROAD,
            "smallest round trip": self._rtt("min_rtt_us"),
            "smoothed round trip at the end": self._rtt("srtt_us"),
            "round trips": NO_RECORD,
            "throughput": self._throughput("sent_bytes"),
            "longest pause": ABROAD,
            "time with data to send": self._pace("busy_ms"),
            "  limited by the receiver's window": self._pace("window_limited_ms"),
            "  limited by the send buffer": self._pace("buffer_limited_ms"),
        }

    def received(self) -> dict[str, Value]:
        """Return what this end knows of what the other one has sent."""
        known = {
            "packets": self._at_end("received_segments"),
            "data packets": self._followed("received_data_segments"),
            "pure acks and control": self._without_data("received_segments", "received_data_segments"),
            "unique bytes": self._at_end("received_bytes"),
            "out of order packets": self._out_of_order(),
            "initial sequence": self._initial("peer_initial_sequence"),
            "mss, options, window scale": NO_RECORD,
            **self._over_segments("window of the receiver", "receive_window"),
            **self._sizes(),
            "throughput": self._throughput("received_bytes"),
            "longest pause": self._pause(),
        }
        return dict.fromkeys(UNITS, ABROAD) | known

    def _at_end(self, name: str) -> Value:
        return OPEN if self.last is None else int(self.last[name])

    def _followed(self, name: str) -> Value:
        if not self._follows:
            return NO_FOLLOW
        return OPEN if self.last is None else int(self.last[name])

    def _without_data(self, every: str, data: str) -> Value:
        if not self._follows or self.last is None:
            return self._followed(data)
        return int(self.last[every]) - int(self.last[data])

    def _initial(self, name: str) -> Value:
        known = self.records[is_in(self.records["kind"], (KIND["handshake"], KIND["close"]))]
        known = known[(known["initial_sequence"] != 0) | (known["peer_initial_sequence"] != 0)]
        return int(known[name][0]) if len(known) else Unknown("its handshake was not seen")

    def _over_segments(self, what: str, column: str) -> dict[str, Value]:
        if self._segments is None or not len(self._segments):
            return dict.fromkeys((f"smallest {what}", f"largest {what}"), NO_SEGMENTS)
        values = self._segments[column]
        return {f"smallest {what}": int(values.min()), f"largest {what}": int(values.max())}

    def _threshold(self) -> Value:
        if not self._follows or self.last is None:
            return NO_FOLLOW if not self._follows else OPEN
        value = int(self.last["slow_start_threshold"])
        return Unknown("there was none yet: nothing was lost") if value >= NO_THRESHOLD else value

    def _rtt(self, name: str) -> Value:
        if self.last is None:
            return OPEN
        value = int(self.last[name])
        return value / 1e6 if 0 < value < 2**32 - 1 else NO_SAMPLE

    def _throughput(self, name: str) -> Value:
        if self.last is None:
            return OPEN
        if self.last["flags"] & FLAG["partial"] or not self.last["duration_ns"]:
            return Unknown("its beginning was not seen")
        return int(self.last[name]) / (int(self.last["duration_ns"]) / 1e9)

    def _pace(self, name: str) -> Value:
        if self.last is None:
            return OPEN
        return NOT_TOLD if PACE in self._missing else int(self.last[name]) / 1e3

    def _sizes(self) -> dict[str, Value]:
        names = ("smallest packet", "average packet", "largest packet")
        if self._segments is None:
            return dict.fromkeys(names, NO_SEGMENTS)
        sizes = self._segments["payload_bytes"]
        sizes = sizes[sizes > 0]
        if not len(sizes):
            return dict.fromkeys(names, Unknown("no data arrived while it was established"))
        return dict(zip(names, (int(sizes.min()), float(sizes.mean()), int(sizes.max())), strict=True))

    def _out_of_order(self) -> Value:
        """Return how many arriving packets with data began behind a gap, or before what was there already."""
        if self._segments is None:
            return NO_SEGMENTS
        data = self._segments[self._segments["payload_bytes"] > 0]
        return int((data["sequence"] != data["receive_next"]).sum())

    def _pause(self) -> Value:
        if self._segments is None:
            return NO_SEGMENTS
        if len(self._segments) < 2:
            return Unknown("no two packets arrived while it was established")
        return float(np.diff(self._segments["time_ns"].astype(np.int64)).max()) / 1e9


_KINDS: tuple[tuple[int, str], ...] = tuple((n, kind) for n, kind in enumerate(RETRANSMIT_KINDS) if kind != "unknown")

UNITS: Mapping[str, str] = {
    **dict.fromkeys(("packets", "data packets", "pure acks and control"), ""),
    **dict.fromkeys(("unique bytes", "unacknowledged bytes"), "bytes"),
    "retransmitted packets": "",
    **{f"  {kind}": "" for _, kind in _KINDS},
    **dict.fromkeys(("out of order packets", "initial sequence", "mss, options, window scale"), ""),
    **dict.fromkeys(("smallest window of the receiver", "largest window of the receiver"), "bytes"),
    **dict.fromkeys(("smallest cwnd (packets)", "largest cwnd (packets)", "ssthresh at the end (packets)"), ""),
    **dict.fromkeys(("smallest packet", "average packet", "largest packet"), "bytes"),
    **dict.fromkeys(("smallest round trip", "smoothed round trip at the end", "round trips"), "seconds"),
    "throughput": "bytes/s",
    "longest pause": "seconds",
    "time with data to send": "seconds",
    **dict.fromkeys(("  limited by the receiver's window", "  limited by the send buffer"), "seconds"),
}
"""What is told of each direction, in its order, and in which unit."""

ARRIVING = ("out of order packets", "smallest packet", "average packet", "largest packet", "longest pause")
"""What only the receiver knows."""


def common(end: End) -> dict[str, Value]:
    """Return what belongs to both directions: beginning, handshake, duration."""
    records = end.records
    handshakes = records[records["kind"] == KIND["handshake"]]
    partial = bool((records["flags"] & FLAG["partial"]).any())
    honest = len(handshakes) and handshakes["handshake_ns"][0] and not handshakes["flags"][0] & FLAG["handshake_unknown"]
    return {
        "handshake": int(handshakes["handshake_ns"][0]) / 1e9 if honest else Unknown("the kernel has no honest value"),
        "duration": OPEN
        if end.last is None
        else Unknown("it began before the tracing")
        if partial
        else int(end.last["duration_ns"]) / 1e9,
    }
