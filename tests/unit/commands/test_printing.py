"""Events to a descriptor: which, how many, and what happens when nobody reads (any more)."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.model.builder import CONTEXT, events, reading
from tracer.commands.printing import DEFAULT_KINDS, FORMATS, KINDS, Output, Printer, check_format, check_kinds, print_events
from tracer.errors import UsageError
from tracer.ingest.decode import Events
from tracer.ingest.recorder import Recorder
from tracer.ingest.recording import RecordedSource


class Pipe:
    """A pipe and the Output that writes into it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.stop = threading.Event()
        self.output = Output(self.stop, self.writer)

    def text(self) -> str:
        """Close the writing end, and return all that was written."""
        os.close(self.writer)
        with os.fdopen(self.reader, "rb") as file:
            return file.read().decode()


@pytest.fixture(name="pipe")
def fixture_pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for fd in (pipe.reader, pipe.writer):
        with contextlib.suppress(OSError):
            os.close(fd)


def recorded(*batches: Events) -> RecordedSource:
    file = io.BytesIO()
    recorder = Recorder(file, CONTEXT)
    for batch in batches:
        recorder.write(reading(batch))
    file.seek(0)
    return RecordedSource(file, "test")


def printed(pipe: Pipe, *batches: Events, **options: Any) -> list[dict[str, Any]]:
    printer = Printer(pipe.output, FORMATS["json"], CONTEXT, **options)
    print_events(recorded(*batches), printer, pipe.output, pipe.stop, every=0)
    return [json.loads(line) for line in pipe.text().splitlines()]


def test_all_that_a_source_gives_is_printed_in_its_order(pipe: Pipe) -> None:
    rows = printed(pipe, events("handshake", 2), events("close"), events("state"))
    assert [row["kind"] for row in rows] == ["handshake", "handshake", "close", "state"]


def test_only_the_kinds_asked_for_are_printed(pipe: Pipe) -> None:
    rows = printed(pipe, events("handshake"), events("close"), events("reset"), kinds=("close", "reset"))
    assert [row["kind"] for row in rows] == ["close", "reset"]


def test_exactly_so_many_are_printed_within_a_batch_and_across(pipe: Pipe) -> None:
    assert len(printed(pipe, events("handshake", 7), events("close", 7), events("close", 7), count=10)) == 10


def test_the_header_is_printed_once_and_does_not_count(pipe: Pipe) -> None:
    printer = Printer(pipe.output, FORMATS["csv"], CONTEXT, count=2)
    print_events(recorded(events("close"), events("close"), events("close")), printer, pipe.output, pipe.stop, every=0)
    lines = pipe.text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["kind", "close", "close"]


def test_more_than_a_pipe_holds_arrives_whole(pipe: Pipe) -> None:
    lines = [f"{number:099}" for number in range(10_000)]
    writing = threading.Thread(target=pipe.output.write, args=(lines,))
    writing.start()
    with os.fdopen(os.dup(pipe.reader)) as file:
        assert [file.readline() for _ in lines] == [f"{line}\n" for line in lines]
    writing.join()


def test_without_a_reader_the_wait_ends_at_once(pipe: Pipe) -> None:
    os.close(pipe.reader)
    pipe.output.wait(3600)
    assert pipe.output.gone


def test_a_reader_that_is_gone_ends_the_printing(pipe: Pipe) -> None:
    printer = Printer(pipe.output, FORMATS["json"], CONTEXT)
    os.close(pipe.reader)
    printer.show(reading(events("close", 23)))
    assert printer.done


def test_a_reader_that_takes_nothing_is_not_waited_for_after_a_signal(pipe: Pipe) -> None:
    pipe.stop.set()
    pipe.output.write(["x" * 1_000_000])
    assert not pipe.output.gone


def test_a_reset_that_explains_an_earlier_end_is_taken_into_account(pipe: Pipe) -> None:
    end = events("close", flags=("reset_received",), from_state="fin_wait2", connection=5, error=104)
    cause = events("reset", flags=("reset_sent",), from_state="fin_wait2", connection=5)
    rows = {row["kind"]: row for row in printed(pipe, _together(end, cause))}
    assert (rows["close"]["reason"], rows["reset"]["direction"]) == ("reset_sent", "sent")


def _together(*batches: Events) -> Events:
    return reading(*batches).events


def test_the_default_is_every_kind_but_state_changes() -> None:
    assert check_kinds(None) == check_kinds([]) == DEFAULT_KINDS
    assert set(KINDS) - set(DEFAULT_KINDS) == {"state"}
    assert check_kinds(["state", "close"]) == ("state", "close")


def test_what_is_not_known_is_refused_with_what_is() -> None:
    with pytest.raises(UsageError, match="--kind closes is not known\nhint: choose from handshake, failure, close, "):
        check_kinds(["close", "closes"])
    with pytest.raises(UsageError, match="--format xml is not known\nhint: choose from table, json, csv"):
        check_format("xml", color=False)
