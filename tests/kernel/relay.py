"""A wire with a delay, made in user space: two TUN devices, and a process that carries packets from one to the other.

netem is missing in many kernels, and is a qdisc that answers a sender who overruns it; a wire does not answer. The process is
this file, run with real-time priority, so that a busy machine delays packets no more than was asked. It holds the devices: when
it ends they are gone. select() instead of epoll, for its timeout in microseconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.kernel.net import Namespace

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
LONGEST = 65_536


def open_tun(side: Namespace, name: str) -> int:
    """Make a TUN device in a namespace and return its descriptor: a read is a packet that it sends, a write one it gets."""
    import fcntl

    with side.inside():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    return fd


@contextmanager
def relay(one: tuple[Namespace, str], other: tuple[Namespace, str], delay: float) -> Iterator[None]:
    """Join two namespaces by TUN devices of these names, whose packets arrive at the other so many seconds later."""
    fds = [open_tun(*end) for end in (one, other)]
    command = [sys.executable, "-I", str(Path(__file__)), *map(str, fds), str(round(delay * 1e9))]
    with subprocess.Popen(command, pass_fds=fds, stdin=subprocess.PIPE) as process:
        for fd in fds:
            os.close(fd)
        try:
            yield
        finally:
            process.kill()


def carry(fds: tuple[int, int], delay_ns: int) -> None:
    """Forward packets both ways until standard input ends; all wait equally long, so they leave in the order they came."""
    waiting: deque[tuple[int, int, bytes]] = deque()
    peer = {fds[0]: fds[1], fds[1]: fds[0]}
    while True:
        timeout = max(waiting[0][0] - time.monotonic_ns(), 0) / 1e9 if waiting else None
        ready, _, _ = select.select([*fds, 0], [], [], timeout)
        if 0 in ready:
            return
        for fd in ready:
            with contextlib.suppress(BlockingIOError):
                while True:
                    waiting.append((time.monotonic_ns() + delay_ns, peer[fd], os.read(fd, LONGEST)))
        while waiting and waiting[0][0] <= time.monotonic_ns():
            _, to, packet = waiting.popleft()
            with contextlib.suppress(OSError):  # the device is not up yet
                os.write(to, packet)


if __name__ == "__main__":
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    carry((int(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3]))
