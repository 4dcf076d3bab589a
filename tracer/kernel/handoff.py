"""The one message between the two processes: a JSON document and file descriptors, over a socket pair with SCM_RIGHTS.

The loader sends either what it opened or the error that stopped it; there is no second message and no answer.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, field

from tracer.errors import TcptraceError

MAX_BYTES = 1 << 17
MAX_DESCRIPTORS = 32


@dataclass(frozen=True)
class Loaded:
    """What the loader opened. Descriptors belong to whoever holds this; attached ones keep their programs running.

    programs: name of each raw tracepoint, to its program's descriptor and that of its attachment.
    reset_reasons: names of the running kernel's enum sk_rst_reason by value.
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
    reset_reasons: dict[int, str] = field(default_factory=dict)


def send_loaded(channel: socket.socket, loaded: Loaded) -> None:
    """Send all of it; the descriptors travel in the order ring, counters, then program and attachment by turns."""
    pairs = [fd for pair in loaded.programs.values() for fd in pair]
    message = json.dumps({"loaded": asdict(loaded)}).encode()
    socket.send_fds(channel, [message], [loaded.ring, loaded.counters, *pairs])


def send_error(channel: socket.socket, error: TcptraceError) -> None:
    """Send what stopped the loader, for the main process to raise."""
    channel.send(json.dumps({"error": [error.what, error.hint]}).encode())


def receive_loaded(channel: socket.socket) -> Loaded:
    """Wait for the loader's message and return it with this process's own descriptors.

    Raises the loader's TcptraceError, or one of our own when the loader died without a word.
    """
    message, descriptors, _, _ = socket.recv_fds(channel, MAX_BYTES, MAX_DESCRIPTORS)
    if not message:
        raise TcptraceError("the loader died before it could say why", "run 'tcptrace doctor'; its messages are above")
    document = json.loads(message)
    if "error" in document:
        raise TcptraceError(*document["error"])
    body = document["loaded"]
    ring, counters, *pairs = descriptors
    for fd in descriptors:
        os.set_inheritable(fd, False)
    body["programs"] = {name: (pairs[2 * i], pairs[2 * i + 1]) for i, name in enumerate(body["programs"])}
    body["missing"] = tuple(body["missing"])
    body["reset_reasons"] = {int(value): name for value, name in body["reset_reasons"].items()}
    return Loaded(**{**body, "ring": ring, "counters": counters})
