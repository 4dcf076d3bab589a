"""What a recording keeps of the open connections: the last look, one now and then before it, and never more than so many."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.ingest.openconnections import open_rows, reading_with
from tests.unit.ingest.recordings import CONTEXT, opened, read_all
from tests.unit.model.builder import SECOND, reading
from tracer.errors import TcptraceError
from tracer.ingest.openrows import LOOK_NS, NS_A_ROW, ROW_BYTES, OpenRows, pack, unpack
from tracer.ingest.recorder import Recorder
from tracer.ingest.recording import VERSION
from tracer.model.openlist import largest_rows


def tables(rows: OpenRows) -> list[bytes]:
    return [rows.sockets.tobytes(), rows.details.tobytes(), rows.before.tobytes(), rows.server.tobytes()]


@pytest.mark.parametrize("count", [0, 1, 23])
def test_a_look_comes_back_as_it_was(count: int) -> None:
    rows = open_rows(count, total=count + 5)
    found = unpack(pack(rows))
    assert tables(found) == tables(rows)
    assert (found.seconds, found.time_ns, found.total) == (rows.seconds, rows.time_ns, rows.total)


def test_whoever_changes_what_a_row_is_changes_the_version_of_the_format() -> None:
    assert (ROW_BYTES, VERSION) == (401, 3)


def written(*looks: tuple[OpenRows, int]) -> bytes:
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT)
    for rows, time_ns in looks:
        recorder.write(reading_with(rows, time_ns))
    recorder.end()
    return file.getvalue()


def test_a_recording_has_the_first_look_and_the_last_one() -> None:
    looks = [(open_rows(3, time_ns=at * SECOND, acknowledged=24 + at), at * SECOND) for at in range(1, 24)]
    data = written(*looks)
    assert data.count(b"OPEN") == 2
    source = opened(data)
    readings = read_all(source)
    assert [one.time_ns // SECOND for one in readings] == [*range(1, 24), 23]
    assert source.open_rows is not None
    assert tables(source.open_rows) == tables(looks[-1][0])


def test_one_is_written_after_a_minute_and_later_where_there_are_many_connections() -> None:
    for count, every_ns in ((3, LOOK_NS), (1000, 1000 * NS_A_ROW)):
        times = [SECOND, every_ns, every_ns + SECOND]
        data = written(*((open_rows(count, time_ns=at, acknowledged=24 + at), at) for at in times))
        assert data.count(b"OPEN") == 2


def test_idle_connections_are_written_once_and_at_the_end() -> None:
    data = written(*((open_rows(3, time_ns=at * LOOK_NS), at * LOOK_NS) for at in range(1, 24)))
    assert data.count(b"OPEN") == 2


def test_a_look_that_was_written_is_not_written_at_the_end() -> None:
    rows = open_rows(3)
    assert written((rows, SECOND), (rows, 2 * SECOND)).count(b"OPEN") == 1


def test_without_looks_nothing_is_added_at_the_end() -> None:
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT)
    recorder.write(reading())
    size = recorder.size
    recorder.end()
    assert recorder.size == size


def test_of_many_those_are_kept_that_are_held_up_and_those_that_carried_most() -> None:
    rows = open_rows(23)
    rows.details["info"]["acknowledged_bytes"][7] = 10_000
    rows.sockets["rqueue"][11] = rows.before["unread"][11] = 100
    rows.details["info"]["last_received_ms"][11] = 500
    kept = largest_rows(rows, 2)
    assert (kept.sockets["cookie"].tolist(), kept.total) == ([16, 12], 23)
    assert largest_rows(rows, 23) is rows


@pytest.mark.parametrize(
    "broken",
    [
        replace(open_rows(2), total=1),
        replace(open_rows(2), seconds=0.0),
        replace(open_rows(2), time_ns=-1),
        open_rows(2, state=17),
    ],
)
def test_a_look_that_cannot_have_been_is_damage(broken: OpenRows) -> None:
    source = opened(written((broken, SECOND)))
    with pytest.raises(TcptraceError, match="is damaged: a look at the open connections cannot be read"):
        source.read()


def test_any_other_bytes_are_refused() -> None:
    whole = pack(open_rows(2))
    rng = np.random.default_rng(23)
    for cut in (whole[:-1], whole + b"\0", b"", b"[]\n", b"{}\n", b'{"rows": 1e999}\n', rng.bytes(500)):
        with pytest.raises((ValueError, KeyError, TypeError)):
            unpack(cut)
