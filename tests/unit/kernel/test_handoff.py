"""Over a real socket pair, with real descriptors."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tracer.errors import TcptraceError
from tracer.kernel.handoff import MAX_BYTES, MAX_DESCRIPTORS, Loaded, receive_asked, receive_loaded, send_error, send_loaded

ROOT = Path(__file__).resolve().parents[3]
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[int]]:
    """Descriptors that can be told apart by what is in their files."""
    opened = []
    for i in range(12):
        path = tmp_path / f"{i}"
        path.write_bytes(b"%d" % i)
        opened.append(os.open(path, os.O_RDONLY))
    yield opened
    for fd in opened:
        os.close(fd)


def loaded_from(files: list[int]) -> Loaded:
    names = ("inet_sock_set_state", "tcp_send_reset", "tcp_receive_reset", "another", "last")
    return Loaded(
        ring=files[0],
        counters=files[1],
        programs={name: (files[2 + 2 * i], files[3 + 2 * i]) for i, name in enumerate(names)},
        ring_bytes=1 << 22,
        cpus=8,
        own_netns=4026531833,
        kernel="6.18.0",
        bcc="0.26.0",
        missing=("cgroups", "IPv6"),
        reset_reasons={0: "not_specified", 23: "tcp_state"},
    )


def descriptors_of(loaded: Loaded) -> list[int]:
    return [loaded.ring, loaded.counters, *(fd for pair in loaded.programs.values() for fd in pair)]


def test_everything_arrives_and_every_descriptor_is_the_same_file_under_its_own_number(pair: Pair, files: list[int]) -> None:
    ours, theirs = pair
    sent = loaded_from(files)
    send_loaded(theirs, sent)
    received = receive_loaded(ours)
    numbers = descriptors_of(received)
    try:
        assert [os.pread(fd, 9, 0) for fd in numbers] == [b"%d" % i for i in range(12)]
        assert set(numbers).isdisjoint(files)
        assert replace(received, ring=sent.ring, counters=sent.counters, programs=sent.programs) == sent
        assert list(received.programs) == list(sent.programs)
    finally:
        for fd in numbers:
            os.close(fd)


def test_received_descriptors_are_not_passed_on_to_children(pair: Pair, files: list[int]) -> None:
    ours, theirs = pair
    send_loaded(theirs, loaded_from(files))
    numbers = descriptors_of(receive_loaded(ours))
    try:
        assert not any(os.get_inheritable(fd) for fd in numbers)
    finally:
        for fd in numbers:
            os.close(fd)


def test_a_descriptor_survives_the_process_that_sent_it(tmp_path: Path) -> None:
    text = (
        "import os, socket, sys; from tracer.kernel.handoff import Loaded, send_loaded;"
        "r, w = os.pipe(); os.write(w, b'still here');"
        "send_loaded(socket.socket(fileno=int(sys.argv[1])), Loaded(r, w, {}, 1, 1, 1, 'k', 'b', ()));"
        "os._exit(0)"
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        subprocess.run([sys.executable, "-c", text, str(theirs.fileno())], pass_fds=[theirs.fileno()], check=True, cwd=ROOT)
        received = receive_loaded(ours)
    assert os.read(received.ring, 99) == b"still here"
    assert stat.S_ISFIFO(os.fstat(received.counters).st_mode)
    os.close(received.ring)
    os.close(received.counters)


@pytest.mark.parametrize("hint", ["boot another kernel", None])
def test_the_loaders_error_is_raised_here_as_it_was_there(pair: Pair, hint: str | None) -> None:
    ours, theirs = pair
    send_error(theirs, TcptraceError("cannot attach tcp:tcp_send_reset: no “such” tracepoint\nsecond line", hint))
    with pytest.raises(TcptraceError) as caught:
        receive_loaded(ours)
    assert (caught.value.what, caught.value.hint) == (
        "cannot attach tcp:tcp_send_reset: no “such” tracepoint\nsecond line",
        hint,
    )
    assert caught.value.exit_status == 1


def test_a_loader_that_dies_without_a_word_gives_a_sentence_and_no_traceback(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(TcptraceError, match="the loader died before it could say why") as caught:
        receive_loaded(ours)
    assert caught.value.hint


def test_a_loader_that_is_killed_gives_the_same_sentence() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        child = subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=[theirs.fileno()], stdin=subprocess.PIPE)
        theirs.close()
        child.kill()
        with child, pytest.raises(TcptraceError, match="the loader died"):
            receive_loaded(ours)


def test_a_loader_that_dies_before_it_has_read_what_it_is_asked_for_gives_the_same_sentence(pair: Pair) -> None:
    ours, theirs = pair
    ours.send(b"{}")
    theirs.close()
    with pytest.raises(TcptraceError, match="the loader died"):
        receive_loaded(ours)


def test_what_is_asked_arrives_and_that_nobody_asks_any_more_is_an_error(pair: Pair) -> None:
    ours, theirs = pair
    ours.send("ä".encode() * 50_000)
    ours.close()
    assert receive_asked(theirs) == "ä" * 50_000
    with pytest.raises(BrokenPipeError):
        receive_asked(theirs)


def test_all_reasons_of_a_kernel_and_all_programs_fit_into_the_one_message(pair: Pair, files: list[int]) -> None:
    reasons = {value: f"reason_{'X' * 40}_{value}" for value in range(500)}
    sent = replace(loaded_from(files), reset_reasons=reasons)
    ours, theirs = pair
    send_loaded(theirs, sent)
    received = receive_loaded(ours)
    for fd in descriptors_of(received):
        os.close(fd)
    assert received.reset_reasons == reasons
    assert len(json.dumps(reasons)) < MAX_BYTES
    assert len(files) <= MAX_DESCRIPTORS


@pytest.mark.parametrize(
    "message",
    [
        b"{",
        b"[]",
        b"{}",
        b"[" * 50_000,
        b'{"error": 5}',
        b'{"error": ["one", "two", "three", "four"]}',
        b'{"loaded": {}}',
        b'{"loaded": {"programs": {}, "held": [], "handles": [], "unknown": 1}}',
        b'{"loaded": {"programs": {"a": [1, 2]}, "held": [], "handles": []}}',
    ],
)
def test_a_message_that_was_not_expected_is_refused_with_a_sentence_and_nothing_stays_open(
    pair: Pair, files: list[int], message: bytes
) -> None:
    ours, theirs = pair
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the directory itself is a descriptor, both times
    socket.send_fds(theirs, [message], files[:2])
    with pytest.raises(TcptraceError, match="what the loader sent is not understood") as caught:
        receive_loaded(ours)
    assert caught.value.hint
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_message_that_is_cut_off_is_refused(pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b" " * (MAX_BYTES + 1))
    with pytest.raises(TcptraceError, match="it is cut off"):
        receive_loaded(ours)
