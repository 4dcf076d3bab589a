"""The pipeline over real recordings, and its clock."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.model.builder import CONTEXT, SECOND, events, reading
from tracer import pipeline as module
from tracer.errors import TcptraceError
from tracer.ingest.recorder import Recorder
from tracer.ingest.recording import RecordedSource
from tracer.ingest.source import Program, Reading
from tracer.model.report import Report
from tracer.model.totals import Model
from tracer.pipeline import Pipeline, drain, ticks

READINGS = (
    reading(time_ns=SECOND),
    reading(events("handshake", 23), time_ns=2 * SECOND, cells={"events_sent": 23}),
    reading(events("handshake", 5, role="server", port=80), events("close", 2), time_ns=3 * SECOND, cells={"events_sent": 30}),
    reading(time_ns=4 * SECOND, cells={"events_sent": 30, "events_lost": 7}),
)


def recorded(readings: tuple[Reading, ...] = READINGS) -> bytes:
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT)
    for one in readings:
        recorder.write(one)
    return file.getvalue()


def pipeline_of(data: bytes, recorder: Recorder | None = None) -> Pipeline:
    source = RecordedSource(io.BytesIO(data), "recording")
    return Pipeline(source, Model(source.context), recorder)


def handshakes(report: Report) -> int:
    return int(report.series.handshakes.sum())


def test_pumping_moves_one_reading_and_returns_it_until_the_end() -> None:
    pipeline = pipeline_of(recorded())
    times = [one.time_ns if (one := pipeline.pump()) else None for _ in range(5)]
    assert times == [SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND, None]


def test_a_report_includes_everything_that_was_pumped_and_nothing_else() -> None:
    pipeline = pipeline_of(recorded())
    seen = []
    while pipeline.pump() is not None:
        seen.append(handshakes(pipeline.report()))
    assert seen == [0, 23, 28, 28]
    report = pipeline.report()
    assert int(report.series.closes.sum()) == 2
    assert (report.events_lost, report.duration_seconds) == (7, 3.0)
    assert report.context == CONTEXT


def test_a_report_before_the_first_reading_is_empty() -> None:
    report = pipeline_of(recorded()).report()
    assert handshakes(report) == 0
    assert report.events_lost is None


def test_a_fresh_report_looks_at_the_source_first() -> None:
    pipeline = pipeline_of(recorded())
    pipeline.pump()
    assert handshakes(pipeline.report()) == 0
    assert handshakes(pipeline.fresh_report()) == 23
    assert handshakes(pipeline.report()) == 23


def test_a_fresh_report_at_the_end_is_the_last_one() -> None:
    pipeline = pipeline_of(recorded(READINGS[:2]))
    seen = [handshakes(pipeline.fresh_report()) for _ in range(5)]
    assert seen == [0, 23, 23, 23, 23]


def test_a_pipeline_is_healthy_until_its_source_ends() -> None:
    pipeline = pipeline_of(recorded(READINGS[:1]))
    assert pipeline.healthy()
    pipeline.pump()
    assert pipeline.healthy()
    pipeline.pump()
    assert not pipeline.healthy()


def test_a_closed_pipeline_is_unhealthy_and_still_reports() -> None:
    pipeline = pipeline_of(recorded())
    pipeline.fresh_report()
    pipeline.fresh_report()
    pipeline.close()
    assert not pipeline.healthy()
    assert handshakes(pipeline.report()) == handshakes(pipeline.fresh_report()) == 23


def test_closing_twice_does_no_harm_and_closes_the_source(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(recorded())
    file = path.open("rb")
    source = RecordedSource(file, str(path))
    pipeline = Pipeline(source, Model(source.context))
    pipeline.close()
    pipeline.close()
    assert file.closed


def attached(**programs: bool) -> Reading:
    """Return a reading in which these programs are attached or not."""
    return replace(READINGS[0], programs=tuple(Program(name, is_so, 0, 0.0, 0) for name, is_so in programs.items()))


def test_a_program_that_is_detached_is_no_health_and_one_that_never_was_attached_is_no_fault() -> None:
    pipeline = pipeline_of(
        recorded((attached(one=True, two=False), attached(one=True, two=True), attached(one=True, two=False)))
    )
    seen = []
    for _ in range(3):
        pipeline.pump()
        seen.append(pipeline.healthy())
    assert seen == [True, True, False]


def test_a_source_that_nobody_reads_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = pipeline_of(recorded())
    monkeypatch.setattr(module, "STALE_SECONDS", 0)
    assert not pipeline.healthy()
    monkeypatch.setattr(module, "STALE_SECONDS", 60)
    pipeline.pump()
    assert pipeline.healthy()


def test_damage_reaches_the_caller_and_the_report_keeps_what_came_before() -> None:
    pipeline = pipeline_of(recorded()[:-1])
    with pytest.raises(TcptraceError, match="damaged"):
        drain(pipeline, threading.Event(), 5, lambda _: None)
    assert handshakes(pipeline.report()) == 28


def test_what_is_pumped_is_recorded_and_replays_to_the_same_report() -> None:
    file = io.BytesIO()
    first = pipeline_of(recorded(), Recorder(file, CONTEXT))
    while first.pump() is not None:
        pass
    assert file.getvalue() == recorded()
    second = pipeline_of(file.getvalue())
    while second.pump() is not None:
        pass
    assert second.report().series.labels == first.report().series.labels
    assert second.report().series.handshakes.tolist() == first.report().series.handshakes.tolist()
    assert second.report().time_ns == first.report().time_ns


def test_reports_from_several_threads_never_show_half_a_reading() -> None:
    # every reading has as many handshakes as closes, so that a whole one keeps them equal
    many = tuple(reading(events("handshake", 5), events("close", 5), time_ns=SECOND + n) for n in range(200))
    pipeline = pipeline_of(recorded(many))
    torn: list[tuple[int, int]] = []

    def watch() -> None:
        while True:
            report = pipeline.fresh_report()
            both = handshakes(report), int(report.series.closes.sum())
            if both[0] != both[1]:
                torn.append(both)
            if not pipeline.healthy():
                return

    threads = [threading.Thread(target=watch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert torn == []
    assert handshakes(pipeline.report()) == 1000


class Clocked:
    """A Stop whose waiting moves the clock that the pipeline looks at, and nothing else; stopped once it shows `at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: float = float("inf")) -> None:
        self.now = 1000.0
        self._end = self.now + at
        monkeypatch.setattr("tracer.pipeline.time.monotonic", lambda: self.now)

    def is_set(self) -> bool:
        return self.now >= self._end

    def wait(self, timeout: float | None = None) -> bool:
        self.now = min(self.now + (timeout or 0), self._end)
        return self.is_set()


def test_ticks_stop_when_the_duration_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clocked(monkeypatch)
    assert list(ticks(clock, 0.25, lambda: 0.125)) == [0, 0.125]
    assert clock.now == 1000.25


def test_a_last_tick_is_no_longer_than_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clocked(monkeypatch)
    assert list(ticks(clock, 0.5, lambda: 30)) == [0]
    assert clock.now == 1000.5


def test_ticks_end_at_once_when_asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clocked(monkeypatch, at=0.25)
    assert list(ticks(clock, None, lambda: 30)) == [0]
    assert clock.now == 1000.25


def test_there_is_no_tick_after_a_stop_or_without_time() -> None:
    stop = threading.Event()
    stop.set()
    assert list(ticks(stop, None, lambda: 0.01)) == []
    assert list(ticks(threading.Event(), 0, lambda: 0.01)) == []


def test_draining_pumps_everything_and_looks_once_more_at_the_end() -> None:
    pipeline = pipeline_of(recorded())
    drain(pipeline, threading.Event(), 0.2, lambda _: None, pause=lambda: 0.02)
    assert handshakes(pipeline.report()) == 28
    stop = threading.Event()
    stop.set()
    last = pipeline_of(recorded(READINGS[1:2]))
    drain(last, stop, None, lambda _: None)
    assert handshakes(last.report()) == 23


def test_draining_looks_at_other_things_after_every_look_at_the_source() -> None:
    ticked: list[bool] = []
    stop = threading.Event()

    def tick() -> None:
        ticked.append(True)
        if len(ticked) == 23:
            stop.set()

    drain(pipeline_of(recorded()), stop, None, lambda _: None, tick, lambda: 0.001)
    assert len(ticked) == 23


def test_draining_shows_a_report_about_once_a_second() -> None:
    shown: list[Report] = []
    pipeline = pipeline_of(recorded())
    drain(pipeline, threading.Event(), 1.3, shown.append, pause=lambda: 0.02)
    assert [handshakes(report) for report in shown] == [28]
