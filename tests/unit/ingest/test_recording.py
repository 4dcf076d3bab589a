from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.unit.ingest.recordings import (
    CONTEXT,
    PROGRAMS,
    header_of,
    opened,
    read_all,
    recorded,
    same,
    sample,
    some_readings,
    with_header,
)
from tests.unit.model.builder import events, reading
from tracer.errors import TcptraceError
from tracer.ingest.decode import EVENT, LAYOUT
from tracer.ingest.interfaces import NAMES
from tracer.ingest.plausible import BOUNDS, MAX_NS
from tracer.ingest.recording import MAGIC, MAX_FRAME, VERSION, RecordedSource
from tracer.ingest.source import Reading


def test_readings_come_back_as_they_were_written() -> None:
    found, written = read_all(opened(sample())), some_readings()
    assert len(found) == len(written)
    assert [i for i, (a, b) in enumerate(zip(found, written, strict=True)) if not same(a, b)] == []


def test_the_context_comes_back_with_its_names_by_number() -> None:
    assert opened(sample()).context == CONTEXT


def test_a_recording_of_nothing_has_a_context_and_no_reading() -> None:
    source = opened(recorded([]))
    assert source.context == CONTEXT
    assert source.read() is None
    assert source.read() is None


def test_an_empty_reading_is_a_reading_all_the_same() -> None:
    (one,) = read_all(opened(recorded([reading()])))
    assert one.events.shape == (0,)
    assert one.events.dtype == EVENT
    assert not one.cells.any()


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, MAX_NS), st.randoms(use_true_random=False))
def test_any_number_of_records_of_any_bytes_comes_back(sizes: list[int], time_ns: int, random: np.random.Generator) -> None:
    written = []
    for n in sizes:
        raw = np.random.default_rng(random.randint(0, 2**32)).bytes(n * EVENT.itemsize)  # type: ignore[attr-defined]
        records = np.frombuffer(bytearray(raw), EVENT)
        for name, (least, most) in BOUNDS.items():
            records[name] = least + records[name] % (most - least + 1)
        written.append(replace(reading(time_ns=time_ns), records=records))
    found = read_all(opened(recorded(written)))
    assert all(same(a, b) for a, b in zip(found, written, strict=True))


def test_what_does_not_change_is_written_once() -> None:
    one = reading(programs=PROGRAMS, sockets={"listen": 5})
    assert recorded([one] * 23).count(b"NOTE") == 1


def test_closing_closes_the_file() -> None:
    file = io.BytesIO(sample())
    RecordedSource(file, "a").close()
    assert file.closed


@pytest.mark.parametrize(
    "data", [b"", b"T", MAGIC, MAGIC + b"\1\0\0\0", b"\x7fELF" + bytes(200), b"\xd4\xc3\xb2\xa1" + bytes(99)]
)
def test_another_file_is_no_recording(data: bytes) -> None:
    with pytest.raises(TcptraceError, match=r"^a\.tcptrace is no recording of tcptrace") as caught:
        opened(data)
    assert "tcptrace record" in str(caught.value.hint)


@pytest.mark.parametrize("version", [0, VERSION + 1, 2**32 - 1])
def test_another_format_is_refused_by_its_number(version: int) -> None:
    data = MAGIC + struct.pack("<I", version) + sample()[12:]
    with pytest.raises(TcptraceError, match=f"recording format {version}, this tcptrace reads {VERSION}") as caught:
        opened(data)
    assert caught.value.hint


def test_another_layout_is_refused_by_its_identity() -> None:
    data = with_header({**header_of(sample()), "layout": "0123456789abcdef"})
    with pytest.raises(TcptraceError, match=f"record layout 0123456789abcdef, this tcptrace has {LAYOUT.identity}") as caught:
        opened(data)
    assert caught.value.hint


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        [],
        23,
        None,
        {},
        {"layout": LAYOUT.identity},
        {"layout": LAYOUT.identity, "context": None},
        {"layout": LAYOUT.identity, "context": {}},
        {"layout": LAYOUT.identity, "context": {"reset_reasons": [], "missing": []}},
        {"layout": LAYOUT.identity, "context": {"reset_reasons": {"x": "y"}, "missing": []}},
        {"layout": LAYOUT.identity, "context": {"reset_reasons": {}, "missing": [], "another": 1}},
    ],
    ids=lambda header: repr(header)[:40],
)
def test_a_header_that_makes_no_sense_is_damage(header: object) -> None:
    with pytest.raises(TcptraceError, match="is damaged: its header cannot be read"):
        opened(with_header(header))


def frame(tag: bytes, payload: bytes, time_ns: int = 1) -> bytes:
    packed = zlib.compress(payload)
    return struct.pack("<4sIQ", tag, len(packed), time_ns) + packed


def a_record(**members: int) -> bytes:
    record = np.zeros(1, EVENT)
    record["kind"] = 1
    for name, value in members.items():
        record[name] = value
    return record.tobytes()


CELLS = bytes(LAYOUT.enums["counter"]["COUNTER_CELLS"] * 8)


def counted(cell: int) -> bytes:
    """Return counters with 1 in a cell; the first 256 are changes of state, 16 rows of 16."""
    return CELLS[: cell * 8] + b"\1" + CELLS[cell * 8 + 1 :]


@pytest.mark.parametrize(
    ("frames", "how"),
    [
        (frame(b"WHAT", b"") + frame(b"CELL", CELLS), "unknown frame b'WHAT'"),
        (frame(b"CELL", CELLS[8:]), "another number of counters"),
        (frame(b"CELL", CELLS[1:]), "no whole number of records"),
        (frame(b"EVNT", b"x" * (EVENT.itemsize + 1)), "no whole number of records"),
        (frame(b"EVNT", a_record()), "ends in the middle of a reading"),
        (frame(b"EVNT", a_record(role=3)), "role of a record is out of range"),
        (frame(b"EVNT", a_record(time_ns=2**63 - 1)), "time_ns of a record is out of range"),
        (frame(b"EVNT", a_record(to_state=13)), "to_state of a record is out of range"),
        (frame(b"EVNT", a_record(kind=0)), "kind of a record is out of range"),
        (frame(b"CELL", CELLS, time_ns=2**63), "a time makes no sense"),
        (frame(b"CELL", b"\xff" * len(CELLS)), "a counter is out of range"),
        (frame(b"CELL", counted(13 * 16 + 1)), "a counter is out of range"),
        (frame(b"CELL", counted(1 * 16 + 13)), "a counter is out of range"),
        (frame(b"NOTE", b'{"programs": [], "snapshot": null, "books": {"before": 1, "after": 2}}'), "a note cannot be read"),
        (frame(b"NOTE", b'{"programs": [], "snapshot": null, "books": {"before": {"x": ""}, "after": {}}}'), "a note cannot"),
        (frame(b"NOTE", b'{"programs": [], "snapshot": null, "books": null, "anchor_ns": 1e300}'), "a note cannot be read"),
        (struct.pack("<4sIQ", b"CELL", MAX_FRAME + 1, 1), "length makes no sense"),
        (struct.pack("<4sIQ", b"CELL", 5, 1) + b"12345", "cannot be unpacked"),
        (struct.pack("<4sIQ", b"CELL", 0, 1), "is not whole"),
        (frame(b"NOTE", b"{"), "a note cannot be read"),
        (frame(b"NOTE", b"[" * 100_000), "a note cannot be read"),
        (frame(b"NOTE", b"[]"), "a note cannot be read"),
        (frame(b"NOTE", b'{"what": 1}'), "a note cannot be read"),
        (frame(b"NOTE", b'{"remains": [[1, 99, 0.5, 1]]}'), "a note cannot be read"),
        (frame(b"DIFF", bytes([255]) * 10), "another number of counters"),
        (frame(b"DIFF", bytes(9)), "no whole number of records"),
        (frame(b"NOTE", b'{"programs": [{"nick": 1}], "snapshot": null, "books": null}'), "a note cannot be read"),
        (frame(b"NOTE", b'{"programs": [], "snapshot": {"states": "many"}, "books": null}'), "a note cannot be read"),
        (
            frame(b"NOTE", b'{"programs": [], "snapshot": {"states": {"listen": 1e999}, "namespaces": []}, "books": null}'),
            "a note cannot be read",
        ),
        (frame(b"NOTE", b'{"programs": [], "snapshot": [1], "books": null}'), "a note cannot be read"),
        (frame(b"NOTE", b'{"programs": [], "snapshot": null, "books": {"x": 1}}'), "a note cannot be read"),
    ],
)
def test_damage_is_named_and_what_came_before_was_read(frames: bytes, how: str) -> None:
    source = opened(recorded([reading(events("close", 5))]) + frames)
    first = source.read()
    assert first is not None
    assert len(first.events) == 5
    with pytest.raises(TcptraceError, match=rf"^a\.tcptrace is damaged: .*{how}") as caught:
        source.read()
    assert caught.value.hint == "what came before it was read"


def test_a_frame_with_bytes_behind_its_data_is_damage_so_that_no_frame_is_swallowed() -> None:
    packed = zlib.compress(CELLS)
    swallowed = frame(b"CELL", CELLS)
    data = recorded([]) + struct.pack("<4sIQ", b"CELL", len(packed) + len(swallowed), 1) + packed + swallowed
    with pytest.raises(TcptraceError, match="is damaged"):
        opened(data).read()


def read_until_damage(data: bytes) -> tuple[list[Reading], str | None]:
    """Return the readings before the end or the damage, and what was said of that; anything else is raised."""
    found: list[Reading] = []
    try:
        source = opened(data)
        while (one := source.read()) is not None:
            found.append(one)
    except TcptraceError as error:
        return found, error.what
    return found, None


def test_a_recording_cut_anywhere_gives_all_whole_readings_and_says_where_it_ends() -> None:
    written = some_readings()
    ends = {len(recorded(written[:n])): n for n in range(len(written) + 1)}
    start = min(ends)
    for cut in range(len(sample())):
        found, said = read_until_damage(sample()[:cut])
        assert all(same(a, b) for a, b in zip(found, written, strict=False))
        if cut < start:
            assert found == []
            assert said is not None
            assert "no recording" in said or "header cannot be read" in said
        else:
            assert len(found) == max(n for end, n in ends.items() if end <= cut)
            assert (said is None) == (cut in ends)
            assert said is None or "it ends in the middle of a" in said


FRAME_HEAD = 16


def flipped(data: bytes, bits: set[int]) -> bytes:
    changed = bytearray(data)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.sets(st.integers(0, len(sample()) * 8 - 1), min_size=1, max_size=4))
def test_flipped_bits_give_whole_readings_or_a_sentence_and_never_a_traceback(bits: set[int]) -> None:
    found, said = read_until_damage(flipped(sample(), bits))
    assert said is None or said.startswith("a.tcptrace ")
    # a time has no check, everything else in a frame has
    for one, written in zip(found, some_readings(), strict=False):
        assert one.records.tobytes() == written.records.tobytes()
        assert one.cells.tolist() == written.cells.tolist()


@given(st.binary(max_size=200))
def test_noise_behind_a_recording_is_damage_or_nothing(noise: bytes) -> None:
    found, said = read_until_damage(sample() + noise)
    assert len(found) == len(some_readings())
    assert (said is None) == (noise == b"")


@given(st.binary(max_size=300))
def test_noise_in_the_place_of_a_header_is_a_sentence(noise: bytes) -> None:
    for data in (noise, MAGIC + noise, with_header(noise)):
        found, said = read_until_damage(data)
        assert found == []
        assert said is not None


def test_names_of_interfaces_are_in_a_recording() -> None:
    NAMES[7, 2] = "eth0"
    data = recorded([reading(time_ns=1)])
    NAMES.clear()
    read_all(opened(data))
    assert NAMES.pop((7, 2)) == "eth0"
