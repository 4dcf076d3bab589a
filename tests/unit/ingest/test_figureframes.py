"""What a recording keeps of the figures of open connections: the first ones, the last ones, and some in between."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.ingest.recordings import CONTEXT, KERNEL_COUNTS, opened, read_all, rotated
from tests.unit.model.builder import SECOND, reading
from tracer.errors import TcptraceError
from tracer.ingest import figureframes
from tracer.ingest.figureframes import NS_A_ROW, pack, unpack
from tracer.ingest.figures import OPEN, Figures
from tracer.ingest.openrows import LOOK_NS
from tracer.ingest.recorder import Recorder, Sparing
from tracer.ingest.recording import START, RecordedSource
from tracer.ingest.snapshot import Snapshot
from tracer.ingest.source import Reading


def some_figures(count: int, *, at: int = 1, netns: tuple[int, ...] = (7,)) -> Figures:
    table = np.zeros(count, OPEN)
    table["cookie"], table["key"], table["state"] = np.arange(count) + 5, np.arange(count) * 2**40, 1
    table["figures"][:, 0] = at * 1000
    return Figures(table, frozenset(netns), at * SECOND - 9, at * SECOND)


def in_no_state(figures: Figures) -> Figures:
    figures.table["state"] = 17
    return figures


def reading_of(figures: Figures | None, time_ns: int) -> Reading:
    return reading(time_ns=time_ns, snapshot=Snapshot(figures=figures))


def written(*found: Figures, end: bool = True) -> bytes:
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT)
    for figures in found:
        recorder.write(reading_of(figures, figures.end_ns))
    if end:
        recorder.end()
    return file.getvalue()


def kept(source: RecordedSource) -> list[int]:
    """Return the seconds of which readings have figures, each once."""
    snapshots = [one.snapshot for one in read_all(source)]
    return sorted({one.figures.end_ns // SECOND for one in snapshots if one and one.figures})


@pytest.mark.parametrize("count", [0, 1, 23])
def test_figures_come_back_as_they_were(count: int) -> None:
    figures = replace(some_figures(count, netns=(7, 2**32 - 1)), all=False)
    found = unpack(pack(figures))
    assert found.table.tobytes() == figures.table.tobytes()
    assert replace(found, table=figures.table) == figures


def test_a_recording_has_the_first_ones_of_each_namespace_and_the_last_ones() -> None:
    found = [some_figures(2, at=at, netns=(7, 8) if at > 5 else (7,)) for at in range(1, 24)]
    source = opened(written(*found))
    assert kept(source) == [1, 6, 23]
    assert source.figures_ended


def test_some_are_written_in_between_and_fewer_where_there_are_many_connections() -> None:
    for count, every_ns in ((3, LOOK_NS), (1000, 1000 * NS_A_ROW)):
        minutes = [1, every_ns // SECOND, every_ns // SECOND + 1, every_ns // SECOND + 2]
        assert kept(opened(written(*(some_figures(count, at=at) for at in minutes)))) == [1, minutes[2], minutes[3]]


def test_the_last_ones_are_written_once() -> None:
    data = written(some_figures(3))
    assert len(data) - len(written(some_figures(3), end=False)) < 100
    source = opened(data)
    assert [one.snapshot.figures.end_ns for one in read_all(source) if one.snapshot and one.snapshot.figures] == [SECOND] * 2
    assert source.figures_ended


def test_a_recording_that_was_cut_off_is_known_by_its_last_reading() -> None:
    source = opened(written(some_figures(3), some_figures(3, at=2), end=False))
    assert kept(source) == [1]
    assert not source.figures_ended


def test_of_more_connections_than_a_frame_holds_there_are_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figureframes, "MOST", 22)
    source = opened(written(some_figures(23), some_figures(23, at=2)))
    assert kept(source) == []
    assert not source.figures_ended


def test_readings_that_have_nothing_else_are_written_for_the_first_figures() -> None:
    file = io.BytesIO()
    sparing = Sparing(Recorder(file, CONTEXT))
    for at, figures in enumerate((None, some_figures(2, at=2), some_figures(2, at=3), some_figures(2, at=4)), start=1):
        sparing.write(reading_of(figures, at * SECOND))
    sparing.end()
    assert kept(opened(file.getvalue())) == [2, 4]


def test_each_rotated_file_has_figures_at_both_ends_and_is_not_full_of_them() -> None:
    readings = [replace(reading_of(some_figures(500, at=at), at * SECOND), kernel_counts=KERNEL_COUNTS) for at in range(1, 101)]
    files = rotated(readings, lambda size, _: size >= 1000)
    ends = [(kept(source), source.figures_ended) for source in map(opened, files)]
    assert 1 < len(ends) < 20
    assert [first for (first, *_), _ in ends[1:]] == [last for (*_, last), _ in ends[:-1]]
    assert all(ended for _, ended in ends)


def test_a_recording_of_the_format_before_is_read() -> None:
    data = bytearray(written(some_figures(2)))
    magic, _, length = START.unpack(data[: START.size])
    data[: START.size] = START.pack(magic, 2, length)
    assert kept(opened(bytes(data))) == [1]


@pytest.mark.parametrize(
    "damaged",
    [
        b"{}\n",
        pack(some_figures(2))[:-1],
        pack(replace(some_figures(2), start_ns=-1)),
        pack(replace(some_figures(2), end_ns=2**62)),
        pack(some_figures(2)).replace(b"[7]", b"[[]]"),
        pack(some_figures(2)).replace(b"true", b"1"),
        pack(in_no_state(some_figures(2))),
    ],
)
def test_damaged_figures_are_refused_with_a_sentence(damaged: bytes) -> None:
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT)
    recorder._frame(b"FIGS", 1, damaged)
    recorder.write(reading())
    with pytest.raises(TcptraceError, match="the figures of open connections cannot be read"):
        read_all(opened(file.getvalue()))
