"""The two messages between the two processes: what to load, and then a JSON document and file descriptors (SCM_RIGHTS).

The loader is asked once, and sends either what it opened or the error that stopped it.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from typing import Any

from tracer.errors import TcptraceError
from tracer.kernel.handles import NamespaceHandle

MAX_ASKED = 1 << 20
MAX_BYTES = 1 << 17
MAX_DESCRIPTORS = 253
"""The most that the kernel lets through in one message (SCM_MAX_FD)."""


@dataclass(frozen=True)
class Loaded:
    """What the loader opened. Descriptors belong to whoever holds this; attached ones keep their programs running.

    programs: name of each raw tracepoint, to its program's descriptor and that of its attachment.
    whole_records: see Settings.
    held: more that has to stay open for as long as the programs are to run.
    reset_reasons: the running kernel's enum sk_rst_reason by value, in lower case without its prefix.
    reads: how the kernel's memory is read, a value of Reads in tracer/kernel/programs.py.
    absent: names of tracepoints that this kernel does not have.
    accepted: ports of connections accepted before, as the network namespace's number above the 16 bits of the port.
    bound: those that clients had called bind() for before, likewise.
    tallies: of the tables in which busy places are counted (bpf/places.h), in the order places, tallies, stays; empty unless
    asked for. tally_rows: of each of the first two.
    handles: of the network namespaces whose sockets are to be counted or looked up, the own one first; empty unless asked for.
    """

    ring: int
    counters: int
    programs: dict[str, tuple[int, int]]
    ring_bytes: int
    cpus: int
    own_netns: int
    kernel: str
    bcc: str
    missing: tuple[str, ...]
    reads: str = ""
    whole_records: bool = True
    reset_reasons: dict[int, str] = field(default_factory=dict)
    held: tuple[int, ...] = ()
    absent: tuple[str, ...] = ()
    accepted: tuple[int, ...] = ()
    bound: tuple[int, ...] = ()
    tallies: tuple[int, ...] = ()
    tally_rows: int = 0
    handles: tuple[NamespaceHandle, ...] = ()


def receive_asked(channel: socket.socket) -> str:
    """Wait for what is to be loaded; raises BrokenPipeError where nobody is there to say it any more."""
    if asked := channel.recv(MAX_ASKED):
        return asked.decode()
    raise BrokenPipeError


def send_loaded(channel: socket.socket, loaded: Loaded) -> None:
    """Send all of it; descriptors in the order ring, counters, program and attachment by turns, held, tallies, handles."""
    pairs = [fd for pair in loaded.programs.values() for fd in pair]
    handles = [fd for handle in loaded.handles for fd in handle.descriptors]
    message = json.dumps({"loaded": asdict(loaded)}).encode()
    socket.send_fds(channel, [message], [loaded.ring, loaded.counters, *pairs, *loaded.held, *loaded.tallies, *handles])


def send_error(channel: socket.socket, error: TcptraceError) -> None:
    """Send what stopped the loader, for the main process to raise."""
    channel.send(json.dumps({"error": [error.what, error.hint]}).encode())


def receive_loaded(channel: socket.socket) -> Loaded:
    """Wait for the loader's message and return it with this process's own descriptors.

    Raises the loader's TcptraceError, or one of our own when the loader died without a word.
    """
    try:
        message, descriptors, flags, _ = socket.recv_fds(channel, MAX_BYTES, MAX_DESCRIPTORS)
    except ConnectionResetError:  # it has not even read what it was asked for
        message, descriptors, flags = b"", [], 0
    for fd in descriptors:
        os.set_inheritable(fd, False)
    if not message:
        raise TcptraceError("the loader died before it could say why", "run 'tcptrace doctor'; its messages are above")
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("it is cut off")
        document = json.loads(message)
        if "error" not in document:
            return _loaded(document["loaded"], list(descriptors))
        error = TcptraceError(*document["error"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as unexpected:
        for fd in descriptors:
            os.close(fd)
        raise TcptraceError(
            f"what the loader sent is not understood: {unexpected}", "its version is another one: reinstall tcptrace"
        ) from unexpected
    raise error


def _loaded(body: dict[str, Any], descriptors: list[int]) -> Loaded:
    """Return a message's body with the descriptors in their places; raises ValueError unless there are as many as it says."""
    wanted = 2 + 2 * len(body["programs"]) + len(body["held"]) + len(body["tallies"]) + 3 * len(body["handles"])
    if len(descriptors) != wanted:
        raise ValueError(f"{len(descriptors)} descriptors instead of {wanted}")
    ring, counters, *others = descriptors
    pairs, others = others[: 2 * len(body["programs"])], others[2 * len(body["programs"]) :]
    held, others = others[: len(body["held"])], others[len(body["held"]) :]
    tallies, handles = others[: len(body["tallies"])], others[len(body["tallies"]) :]
    body["programs"] = {name: (pairs[2 * i], pairs[2 * i + 1]) for i, name in enumerate(body["programs"])}
    body["handles"] = tuple(
        NamespaceHandle(handle["netns"], handle["identity"], handle["path"], *handles[3 * i : 3 * i + 3])
        for i, handle in enumerate(body["handles"])
    )
    body["held"], body["tallies"] = tuple(held), tuple(tallies)
    body["accepted"], body["bound"] = tuple(body["accepted"]), tuple(body["bound"])
    body["missing"] = tuple(body["missing"])
    body["absent"] = tuple(body["absent"])
    body["reset_reasons"] = {int(value): name for value, name in body["reset_reasons"].items()}
    return Loaded(**{**body, "ring": ring, "counters": counters})
