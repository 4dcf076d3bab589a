"""Snapshots, again and again: how often, and what happens when one fails."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import replace
from functools import partial

from hypothesis import given, strategies as st

from tests.kernel.until import until
from tests.unit.model.builder import CONTEXT, SECOND, reading
from tracer.errors import TcptraceError
from tracer.ingest.namespaces import Namespaces
from tracer.ingest.recorder import Recorder
from tracer.ingest.recording import RecordedSource
from tracer.ingest.snapshot import Dump, Snapshot
from tracer.ingest.source import Reading
from tracer.kernel.handles import open_handles
from tracer.model.sockets import Summarizer
from tracer.model.totals import Model
from tracer.pipeline import STALE_SNAPSHOT_SECONDS, Pipeline, is_stale
from tracer.watch import INTERVAL_SECONDS, PLAIN_SHARE, SHARE, Turns, Watch, pause_seconds


@given(st.floats(0, 60), st.floats(1, 4))
def test_snapshots_never_take_more_than_their_share_of_a_core(cpu: float, waiting: float) -> None:
    spent = cpu * waiting
    assert cpu / (spent + pause_seconds(spent, cpu)) <= SHARE * 1.0001


def test_quick_snapshots_come_once_a_second() -> None:
    assert 0.01 + pause_seconds(0.01, 0.01) == INTERVAL_SECONDS
    assert pause_seconds(30.0, 0.01) > 0


@given(st.floats(0.0001, 30), st.floats(0.01, 1))
def test_figures_and_plain_counts_have_a_share_each_and_plain_ones_stay_fresh(cpu: float, of_it: float) -> None:
    turns, now, spent, last = Turns(), 0.0, {True: 0.0, False: 0.0}, 0.0
    for _ in range(300):
        now = max(now, turns.due)
        plain = turns.is_plain(now)
        took = cpu * of_it if plain else cpu
        assert now - last <= cpu * of_it / PLAIN_SHARE + cpu + INTERVAL_SECONDS
        turns.taken(now, now + took, took)
        now, last = now + took, now
        spent[plain] += took
    for plain, share in ((False, SHARE), (True, PLAIN_SHARE)):  # the last ones have their pauses still before them
        assert spent[plain] / (now + cpu / share + INTERVAL_SECONDS) <= share * 1.0001


def test_where_figures_take_little_time_there_is_nothing_plain() -> None:
    turns = Turns()
    turns.taken(0.0, 0.005, 0.005)
    assert not turns.is_plain(turns.due)
    assert 0.9 < turns.due < 1.1


def own_namespace() -> closing[Namespaces]:
    return closing(Namespaces(open_handles(own_only=True)))


def test_whoever_looks_has_a_new_snapshot_and_else_there_are_few() -> None:
    made: list[Dump] = []

    class Numbering(Summarizer):
        def __call__(self, dump: Dump) -> Snapshot:
            made.append(dump)
            return Snapshot(time_ns=len(made))

    def looked(number: int) -> bool:
        watch.refresh()
        return watch.latest is not None and watch.latest.time_ns == number

    with own_namespace() as namespaces, closing(Watch(namespaces, Numbering(), every=1e6)) as watch:
        watch.start()
        for number in (1, 2, 3):
            until(partial(looked, number), "there is a new one")
            assert len(made) == number
    watch.refresh()
    assert len(made) == 3, "nothing comes after the end"


def test_an_error_in_the_thread_is_told_once_counted_and_tried_again() -> None:
    said: list[str] = []
    tries: list[Dump] = []

    class Failing(Summarizer):
        def __call__(self, dump: Dump) -> Snapshot:
            tries.append(dump)
            if len(tries) in {2, 3}:
                raise IndexError("no such row")
            return Snapshot(time_ns=len(tries))

    def complain(error: TcptraceError) -> None:
        said.append(error.what)

    with own_namespace() as namespaces, closing(Watch(namespaces, Failing(), complain)) as watch:
        watch.start()
        until(lambda: watch.latest and watch.latest.time_ns == 4, "it goes on")
        assert watch.latest
        assert watch.latest.errors == watch.errors == 2
    assert said == ["cannot count the sockets: no such row"]


def test_a_snapshot_that_grows_too_old_is_not_healthy() -> None:
    second, limit = 1_000_000_000, int(STALE_SNAPSHOT_SECONDS)
    for duration, age, stale in ((0.1, 5, False), (0.1, limit + 21, True), (2.0, limit + 11, False), (2.0, limit + 401, True)):
        one = replace(reading(time_ns=age * second), snapshot=Snapshot(duration_seconds=duration))
        assert is_stale(one) == stale
    assert not is_stale(reading(time_ns=10**15))


class Noting(RecordedSource):
    """A source that says when it is read."""

    order: list[str]

    def read(self) -> Reading | None:
        self.order.append("records")
        return super().read()


class NotingSums(Summarizer):
    """The same of what sums up the sockets."""

    order: list[str]

    def __call__(self, dump: Dump) -> Snapshot:
        self.order.append("sockets")
        return super().__call__(dump)


def test_what_the_records_say_is_known_when_the_sockets_are_counted_for_somebody() -> None:
    file, order, summarize = io.BytesIO(), list[str](), NotingSums()
    recorder = Recorder(file, CONTEXT)
    for second in range(1, 2000):
        recorder.write(reading(time_ns=second * SECOND))
    source = Noting(io.BytesIO(file.getvalue()), "recording")
    source.order = summarize.order = order
    with own_namespace() as namespaces:
        watch = Watch(namespaces, summarize, every=3600)
        with closing(Pipeline(source, Model(source.context), None, watch)) as pipeline:
            watch.start()
            until(lambda: watch.latest, "they were counted")

            def counted() -> bool:
                order.clear()
                pipeline.fresh_report()
                return "sockets" in order

            until(counted, "they were counted anew")
    assert order.index("records") < order.index("sockets")
