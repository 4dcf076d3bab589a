"""The TCP sockets of one network namespace, asked for over an open sock_diag socket.

The kernel answers each read at once with up to 32 KB; it walks its tables meanwhile, and sockets come and go.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import socket
from dataclasses import dataclass

import numpy as np

from tracer.errors import TcptraceError
from tracer.ingest.sockdiag import (
    ALL_STATES,
    LISTEN,
    SOCKET,
    TIMER_TIME_WAIT,
    WITH_INFO,
    Reply,
    SocketEnds,
    Sockets,
    joined,
    last_heard,
    listeners_cgroups,
    normalize,
    parse_reply,
    request,
    request_one,
)
from tracer.ingest.tcpinfo import NO_DETAILS, WITH_DETAILS, Details, details, joined_details

REPLY_BYTES = 1 << 20
"""Room for an answer, which is far smaller as a rule. It is a mapping, so that only what is written of it takes memory."""
TRIES = 4
"""How often a dump is begun when the kernel says that it lost its place, before what there is has to do."""


@dataclass(frozen=True)
class TimeWait:
    """What a connection has left behind. state: TIME_WAIT, or FIN_WAIT2 while the peer's FIN is awaited, as in event.h.

    seconds: until it is gone, or until that is waited for no longer.
    """

    state: int
    seconds: float


class SocketTable:
    """The sockets of one network namespace, asked for over an open sock_diag socket, which belongs to this.

    whole: whether the kernel kept its place in the last read(). cgroups: those of the listeners that it found, by inode, where
    with_cgroups asks for them. details: of its sockets, where with_details asks for them.
    """

    def __init__(self, fd: int, netns: int, *, with_cgroups: bool = False, with_details: bool = False) -> None:
        self.netns = netns
        self.whole = True
        self.cgroups: dict[int, int] = {}
        self.details = NO_DETAILS
        self._with_cgroups = with_cgroups
        self._extensions = WITH_DETAILS if with_details else 0
        self._socket = socket.socket(fileno=fd)
        self._socket.settimeout(30)
        self._reply = memoryview(mmap.mmap(-1, REPLY_BYTES, mmap.MAP_PRIVATE))
        self._sequence = itertools.count(1)

    def read(self, states: int = ALL_STATES, *, plain: bool = False) -> Sockets:
        """Return all sockets in these states (bits), of both families; plain: with details of listeners alone, which are few.

        Raises TcptraceError when the kernel refuses, or answers what cannot be understood.
        """
        self.whole = True
        self.cgroups = {}
        listening = states & 1 << LISTEN if plain else 0
        first, found = self._dump(listening, self._extensions) if listening else ([], NO_DETAILS)
        rest, more = self._dump(states & ~listening, 0 if plain else self._extensions)
        self.details = joined_details([(0, found), (sum(map(len, first)), more)])
        sockets = joined([*first, *rest])
        return normalize(sockets, self.netns) if len(sockets) else sockets

    def time_wait(self, family: int, ends: SocketEnds) -> TimeWait | None:
        """Return the timewait object with these ends, None if there is none (any more); family: 4 or 6; raises as read()."""
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        sequence = next(self._sequence)
        self._send(request_one(kind, ends, sequence))
        _, reply = self._answer(sequence)
        if reply.error not in {0, errno.ENOENT}:
            raise _refused(reply.error)
        for found in reply.sockets[reply.sockets["timer"] == TIMER_TIME_WAIT]:
            return TimeWait(int(found["state"]), int(found["expires_ms"]) / 1000)
        return None

    def read_last_heard(self, states: int) -> dict[int, float]:
        """Return the seconds since the other side was heard, by inode, of the sockets in these states; raises as read()."""
        found: dict[int, float] = {}
        sequence = self._ask(states, WITH_INFO)
        while True:
            data, reply = self._receive(sequence)
            found.update(last_heard(data, sequence))
            if reply.done:
                return found

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _dump(self, states: int, extensions: int) -> tuple[list[Sockets], Details]:
        """Return the sockets; begins anew when the kernel lost its place, and gives the last try whole or not."""
        parts: list[Sockets] = []
        found: list[tuple[int, Details]] = []
        interrupted = False
        for _ in range(TRIES):
            sequence = self._ask(states, extensions)
            interrupted, done, count = False, False, 0
            parts, found = [], []
            while not done:
                data, reply = self._receive(sequence)
                if extensions:
                    found.append((count, details(data, reply.offsets, reply.lengths)))
                parts.append(reply.sockets)
                count += len(reply.sockets)
                if self._with_cgroups and (reply.sockets["state"] == LISTEN).any():
                    self.cgroups.update(listeners_cgroups(data, sequence))
                interrupted |= reply.interrupted
                done = reply.done
            if not interrupted:
                break
        self.whole &= not interrupted
        return parts, joined_details(found)

    def _ask(self, states: int, extensions: int = 0) -> int:
        sequence = next(self._sequence)
        self._send(request(states, sequence, extensions))
        return sequence

    def _send(self, message: bytes) -> None:
        try:
            self._socket.send(message)
        except OSError as error:
            raise _refused(error.errno or 0) from error

    def _receive(self, sequence: int) -> tuple[memoryview, Reply]:
        data, reply = self._answer(sequence)
        if reply.error:
            raise _refused(reply.error)
        return data, reply

    def _answer(self, sequence: int) -> tuple[memoryview, Reply]:
        try:
            size, _, flags, _ = self._socket.recvmsg_into([self._reply])
        except TimeoutError as error:
            raise TcptraceError("the kernel does not answer when asked for its sockets") from error
        except OSError as error:
            if error.errno == errno.ENOBUFS:  # a reply found no memory; the dump goes on behind it
                return self._reply[:0], Reply(np.empty(0, SOCKET), interrupted=True)
            raise _refused(error.errno or 0) from error
        try:
            if not size or flags & socket.MSG_TRUNC:
                raise ValueError("a reply that is cut off")
            reply = parse_reply(self._reply[:size], sequence)
        except ValueError as error:
            raise TcptraceError(f"cannot read the kernel's answer about its sockets: {error}", "please report this") from error
        return self._reply[:size], reply


def _refused(number: int) -> TcptraceError:
    hint = "load the module: modprobe tcp_diag" if number == errno.ENOENT else None
    return TcptraceError(f"the kernel does not list its sockets: {os.strerror(number)}", hint)
