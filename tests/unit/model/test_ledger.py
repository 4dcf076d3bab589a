"""What open connections carry is counted once, whatever a dump and the records of ends have in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer.ingest.decode import Events
from tracer.ingest.figures import FIGURES, OPEN, Figures
from tracer.ingest.snapshot import Moment, Snapshot
from tracer.ingest.source import Context
from tracer.model.openfigures import ends_key
from tracer.model.report import Report
from tracer.model.tcp import ROLE
from tracer.model.totals import Model

NETNS = 7
SENT, RECEIVED = 1000, 300


def handshake(port: int = 50123, time_ns: int = 0, process: bytes = b"") -> Events:
    return events("handshake", local_port=port, netns=NETNS, time_ns=time_ns, process=process)


def close(sent: int = SENT, time_ns: int = 9 * SECOND, duration_ns: int | None = None, flags: tuple[str, ...] = ()) -> Events:
    found = {"sent_bytes": sent, "received_bytes": RECEIVED, "sent_segments": 9, "received_segments": 8}
    found |= {"local_port": 50123, "netns": NETNS, "time_ns": time_ns}
    found["duration_ns"] = time_ns if duration_ns is None else duration_ns
    return events("close", flags=flags, **found)  # type: ignore[arg-type]


def connection(port: int = 50123, cookie: int = 1, role: str = "client", **figures: int) -> NDArray[np.void]:
    """Return an open connection as a dump has it; sent_bytes has the client's SYN."""
    found = np.zeros(1, OPEN)
    found["cookie"], found["netns"], found["role"] = cookie, NETNS, ROLE[role]
    found["local_port"], found["remote_port"] = port, 443
    like = handshake(port)
    found["remote_address"], found["key"] = like["remote_address"], ends_key(like)
    for name, value in figures.items():
        found["figures"][:, FIGURES.index(name)] = value
    return found


def dump(*connections: NDArray[np.void], at: int, everything: bool = True) -> Snapshot:
    """Return a dump that was taken from that second on, for a tenth of one."""
    start, end = at * SECOND, at * SECOND + SECOND // 10
    table = np.concatenate([np.zeros(0, OPEN), *connections])
    figures = Figures(table, frozenset({NETNS}), start, end, everything)
    return Snapshot(time_ns=end, moments=(Moment(NETNS, start, end),), figures=figures)


class Counting:
    """A model, and its counters of sent bytes in the order of time."""

    def __init__(self, *labels: str, context: Context = CONTEXT) -> None:
        self.model = Model(context, labels=labels, start_ns=0)
        self._time_ns = 0

    def add(self, *batches: Events, snapshot: Snapshot | None = None) -> int:
        self._time_ns += SECOND
        self.model.add(reading(*batches, snapshot=snapshot, time_ns=self._time_ns))
        return self.sent

    @property
    def report(self) -> Report:
        return self.model.report()

    @property
    def sent(self) -> int:
        return int(self.report.series.sent_bytes.sum())


def test_a_connection_counts_with_each_dump_and_exactly_at_its_end() -> None:
    counting = Counting()
    assert counting.add(handshake()) == 0
    assert counting.add(snapshot=dump(connection(sent_bytes=401), at=1)) == 400
    assert counting.add(snapshot=dump(connection(sent_bytes=701), at=2)) == 700
    assert counting.add(close()) == SENT
    assert int(counting.report.series.received_bytes.sum()) == RECEIVED
    assert int(counting.report.series.sent_segments.sum()) == 9


def test_the_number_of_a_connection_stays_the_same_as_recordings_have_it() -> None:
    local = list(bytes(10) + b"\xff\xff\x0a\0\0\1")
    assert ends_key(events("handshake", netns=4026531840, local_address=local)).tolist() == [0xFAD20FE131F51ECA]


def test_the_same_dump_counts_once() -> None:
    counting = Counting()
    first = dump(connection(sent_bytes=401), at=1)
    assert [counting.add(handshake(), snapshot=first), counting.add(snapshot=first)] == [400, 400]


def test_a_dump_that_still_has_what_has_ended_since_it_began_adds_nothing() -> None:
    counting = Counting()
    counting.add(handshake())
    counting.add(snapshot=dump(at=1))
    assert counting.add(close(time_ns=2 * SECOND + 1), snapshot=dump(connection(sent_bytes=901), at=2)) == SENT
    assert counting.add(snapshot=dump(at=3)) == SENT


def test_an_older_connection_counts_from_the_first_dump_on() -> None:
    counting = Counting()
    assert counting.add(snapshot=dump(connection(sent_bytes=100_001), at=1)) == 0
    assert counting.add(snapshot=dump(connection(sent_bytes=100_051), at=2)) == 50
    assert counting.add(close(sent=100_070, flags=("partial",))) == 70


def test_one_that_was_not_older_after_all_is_whole_at_its_end() -> None:
    counting = Counting()
    assert counting.add(snapshot=dump(connection(sent_bytes=401), at=1)) == 0
    assert counting.add(snapshot=dump(connection(sent_bytes=501), at=2)) == 100
    assert counting.add(close()) == SENT


def test_of_one_that_began_before_a_rotated_recording_the_rest_counts() -> None:
    counting = Counting(context=replace(CONTEXT, start_ns=SECOND))
    assert counting.add(snapshot=dump(connection(sent_bytes=401), at=1)) == 0
    assert counting.add(close()) == SENT - 400


def test_a_new_one_whose_handshake_was_lost_counts_from_its_start() -> None:
    counting = Counting()
    counting.add(snapshot=dump(at=1))
    assert counting.add(snapshot=dump(connection(sent_bytes=401), at=2)) == 400


def test_the_next_connection_between_the_same_ends_is_another_one() -> None:
    counting = Counting()
    counting.add(handshake())
    counting.add(snapshot=dump(connection(sent_bytes=401), at=1))
    # the first one's end is in no record
    assert counting.add(handshake(time_ns=3 * SECOND), close(sent=50, time_ns=4 * SECOND, duration_ns=SECOND)) == 450
    assert counting.add(snapshot=dump(connection(cookie=2, sent_bytes=11), at=5)) == 460


def test_the_next_one_in_the_same_batch_as_the_first_ones_end_is_counted_whole() -> None:
    counting = Counting()
    counting.add(handshake())
    counting.add(snapshot=dump(connection(sent_bytes=401), at=1))
    both = close(time_ns=2 * SECOND), handshake(time_ns=3 * SECOND), close(sent=7, time_ns=4 * SECOND, duration_ns=SECOND)
    assert counting.add(*both) == SENT + 7


def test_segments_go_on_behind_32_bits() -> None:
    counting = Counting()
    counting.add(handshake())
    counting.add(snapshot=dump(connection(sent_segments=2**32 - 5), at=1))
    counting.add(snapshot=dump(connection(sent_segments=6), at=2))
    assert counting.report.series.sent_segments.sum() == 2**32 + 6


def test_with_a_filter_that_a_dump_cannot_apply_only_what_was_traced_counts() -> None:
    counting = Counting()
    counting.add(handshake())
    both = connection(sent_bytes=401), connection(50124, 2, sent_bytes=900)
    assert counting.add(snapshot=dump(*both, at=1, everything=False)) == 400


def test_a_connection_counts_for_the_labels_of_its_handshake_or_of_its_ends() -> None:
    counting = Counting("process")
    counting.add(handshake(process=b"curl"))
    counting.add(snapshot=dump(connection(sent_bytes=401), connection(50124, 2, sent_bytes=1), at=1))
    counting.add(snapshot=dump(connection(sent_bytes=501), connection(50124, 2, sent_bytes=24), at=2))
    series = counting.report.series
    assert {labels: int(sent) for labels, sent in zip(series.labels, series.sent_bytes, strict=True) if sent} == {
        ("client", "443", "curl"): 500,
        ("client", "443", ""): 23,
    }


def test_what_has_counted_goes_with_its_label_set_when_that_leaves() -> None:
    counting = Counting()
    counting.model = Model(CONTEXT, max_sets=1, start_ns=0)
    counting.add(handshake())
    counting.add(snapshot=dump(connection(sent_bytes=401), at=1))
    assert counting.add(events("handshake", 5, port=80)) == 400
    assert counting.add(snapshot=dump(connection(sent_bytes=501), at=2)) == 500
    assert counting.add(close()) == SENT


def test_figures_that_a_later_plain_dump_brings_again_count_once_and_revive_nothing() -> None:
    counting = Counting()
    counting.add(handshake())
    first = dump(connection(sent_bytes=401), at=1)
    assert counting.add(snapshot=first) == 400
    counting.add(close(time_ns=2 * SECOND))
    later = replace(first, time_ns=9 * SECOND, moments=(Moment(NETNS, 8 * SECOND, 9 * SECOND),))
    assert counting.add(snapshot=later) == SENT
    assert counting.add(snapshot=dump(at=10)) == SENT


def test_quantiles_of_round_trips_are_those_of_the_connections() -> None:
    counting = Counting()
    found = [connection(50000 + n, n + 1) for n in range(100)]
    for n, each in enumerate(found):
        each["rtt_us"] = n + 1
    counting.add(snapshot=dump(*found, at=1))
    series = counting.report.series
    (row,) = np.flatnonzero(series.rtt[:, 0])
    assert (series.rtt[row] * 1e6).round().tolist() == [50, 90, 99]
