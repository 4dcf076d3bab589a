"""What is written of readings, when, and by whom: nothing twice, nothing of idle time, several files, another thread."""

from __future__ import annotations

import errno
import io
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.ingest.recordings import CONTEXT, KERNEL_COUNTS, PROGRAMS, opened, read_all, rotated
from tests.unit.model.builder import SECOND, events, reading
from tracer.ingest.kernelcounters import KernelCounts
from tracer.ingest.recorder import IDLE_NS, Recorder, Sparing
from tracer.ingest.source import Reading, Remains
from tracer.ingest.spool import MOST_BYTES, Spool
from tracer.ingest.workloads import Workload


class Kept:
    """Takes readings. wait: before each one."""

    def __init__(self, wait: threading.Event | None = None, error: OSError | None = None) -> None:
        self.readings: list[Reading] = []
        self.ended = False
        self._wait = wait
        self._error = error

    def write(self, one: Reading) -> None:
        if self._wait:
            self._wait.wait(60)
        if self._error:
            raise self._error
        self.readings.append(one)

    def end(self) -> None:
        self.ended = True


def idle(seconds: int) -> list[Reading]:
    """Return a reading a second in which nothing happens, but that time passes."""
    return [
        replace(
            reading(time_ns=at * SECOND, programs=PROGRAMS, sockets={"listen": 5}),
            kernel_counts=KernelCounts(dict(KERNEL_COUNTS.after), dict(KERNEL_COUNTS.after)),
        )
        for at in range(1, seconds + 1)
    ]


def test_an_idle_hour_takes_a_reading_in_ten_seconds_and_ends_when_it_ended() -> None:
    kept = Kept()
    sparing = Sparing(kept)
    for one in idle(3605):
        sparing.write(one)
    sparing.end()
    times = [one.time_ns // SECOND for one in kept.readings]
    assert times == [*range(1, 3605, IDLE_NS // SECOND), 3605]


def test_an_idle_minute_takes_few_bytes() -> None:
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT)
    sparing = Sparing(recorder)
    begun = 0
    for one in idle(3601):
        sparing.write(one)
        begun = begun or recorder.size
    assert (recorder.size - begun) / 60 < 2000


@pytest.mark.parametrize(
    "news",
    [
        {"records": events("close")},
        {"cells": reading(cells={"partial": 1}).cells},
        {"kernel_counts": KernelCounts({"ActiveOpens": 1}, {"ActiveOpens": 2})},
        {"programs": ()},
        {"anchor_ns": 5},
        {"snapshot": reading(sockets={"listen": 6}).snapshot},
        {"remains": (Remains(1, 6, 60.0, 5),)},
    ],
    ids=lambda news: next(iter(news)),
)
def test_news_are_written_at_once(news: dict[str, object]) -> None:
    first, second = idle(2)
    changed = replace(second, **news)  # type: ignore[arg-type]
    kept = Kept()
    sparing = Sparing(kept)
    sparing.write(first)
    sparing.write(changed)
    assert kept.readings == [first, changed]


def test_what_belongs_to_one_reading_comes_back_with_it_alone() -> None:
    left = (Remains(2**63 + 5, 6, 59.75, 7), Remains(3, 5, 0.0, 8))
    written = [
        replace(reading(time_ns=1), kernel_counts=KERNEL_COUNTS, remains=left),
        reading(time_ns=2),
        replace(reading(time_ns=3), kernel_counts=KernelCounts(KERNEL_COUNTS.after, {"ActiveOpens": 25})),
    ]
    file = io.BytesIO()
    for one in written[:1]:
        Recorder(file, CONTEXT).write(replace(one, remains=left[1:]))
    (first,) = read_all(opened(file.getvalue()))
    assert first.remains == left[1:]
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT)
    for one in written[1:]:
        recorder.write(one)
    second, third = read_all(opened(file.getvalue()))
    assert (second.kernel_counts, second.remains) == (None, ())
    assert third.kernel_counts == written[2].kernel_counts


def test_whose_cgroups_are_is_recorded_when_it_is_known() -> None:
    known: dict[int, Workload] = {}
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT, lambda cgroup: known.get(cgroup, Workload()))
    recorder.write(reading(events("close", cgroup=7), time_ns=1))
    known[7] = Workload("web", "0" * 64, "", "web.service")
    recorder.write(reading(events("close", cgroup=7), time_ns=2))
    source = opened(file.getvalue())
    source.read()
    assert source.whose(7) == Workload()
    source.read()
    assert source.whose(7) == known[7]


def test_names_of_namespaces_are_recorded_once_and_only_where_there_are_any() -> None:
    asked: list[int] = []

    def named(netns: int) -> str:
        asked.append(netns)
        return {8: "blue"}.get(netns, str(netns))

    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT, named=named)
    for second in (1, 2):
        recorder.write(reading(events("close", netns=7), events("close", netns=8), time_ns=second))
    source = opened(file.getvalue())
    read_all(source)
    assert asked == [7, 8]
    assert (source.named(7), source.named(8)) == ("7", "blue")
    assert source.named(7, Workload("web", "0" * 64)) == "web"


def test_rotated_recordings_count_from_zero_and_begin_where_the_last_one_ended() -> None:
    readings = [
        replace(
            reading(events("close", 5), time_ns=at * SECOND, cells={"partial": at}, sockets={"listen": 3}),
            kernel_counts=KERNEL_COUNTS,
        )
        for at in range(1, 7)
    ]
    files = rotated(readings, lambda _, age_ns: age_ns >= 2 * SECOND)
    found = [read_all(opened(file)) for file in files]
    assert [[one.time_ns // SECOND for one in each] for each in found] == [[1, 2, 3], [3, 4, 5], [5, 6]]
    assert [[len(one.events) for one in each] for each in found] == [[5, 5, 5], [0, 5, 5], [0, 5]]
    assert [[int(one.cells.max()) for one in each] for each in found] == [[1, 2, 3], [0, 1, 2], [0, 1]]
    assert [opened(file).context.start_ns for file in files[1:]] == [3 * SECOND, 5 * SECOND]


def test_each_rotated_recording_begins_and_ends_where_the_kernel_counters_were_read() -> None:
    readings = [
        replace(reading(time_ns=at * SECOND), kernel_counts=KERNEL_COUNTS if at % 5 == 1 else None) for at in range(1, 23)
    ]
    found = [read_all(opened(file)) for file in rotated(readings, lambda _, age_ns: age_ns >= SECOND)]
    ends = [(each[0].time_ns // SECOND, each[-1].time_ns // SECOND) for each in found]
    assert ends == [(1, 6), (6, 11), (11, 16), (16, 21), (21, 22)]
    assert all(each[0].kernel_counts == KERNEL_COUNTS for each in found)


def test_a_spool_writes_everything_in_its_order_and_says_what_went_wrong() -> None:
    kept = Kept()
    spool = Spool(kept, lambda: None)
    written = [reading(events("close", 3), time_ns=at) for at in range(1, 50)]
    for one in written:
        spool.write(one)
    spool.close()
    assert kept.readings == written
    broken = Spool(Kept(error=OSError(errno.ENOSPC, "full")), lambda: None)
    broken.write(written[0])
    with pytest.raises(OSError, match="full"):
        broken.close()


def test_a_spool_takes_readings_while_the_disk_stands_still_up_to_a_limit() -> None:
    go = threading.Event()
    kept = Kept(wait=go)
    spool = Spool(kept, lambda: None)
    large = reading(events("close", 10_000), time_ns=1)
    fitting = MOST_BYTES // large.events.nbytes
    for _ in range(fitting):
        spool.write(large)
    late = threading.Thread(target=lambda: deque(map(spool.write, [large] * 3), maxlen=0))
    late.start()
    late.join(0.05)
    assert late.is_alive()
    go.set()
    late.join(60)
    spool.close()
    assert len(kept.readings) == fitting + 3


def test_a_recording_on_a_full_disk_is_readable_up_to_there(tmp_path: Path) -> None:
    file = tmp_path / "cut"
    with file.open("wb") as out:
        recorder = Recorder(out, CONTEXT)
        recorder.write(reading(events("close", 5), time_ns=1))
        recorder.flush()
        assert len(opened(file.read_bytes()).read().events) == 5  # type: ignore[union-attr]
