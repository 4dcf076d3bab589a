"""What really was on the wire: a capture of a device by tcpdump, read by tshark.

It runs before the traffic begins, and ends when a marker, sent through the device after all else, is in the file: packets still
on their way from the kernel to tcpdump would be missing otherwise.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.net import Namespace
from tests.kernel.until import PATIENCE, SLOWNESS, until
from tests.needs import tool

FIN, SYN, RST, ACK = 1, 2, 4, 16
MARKER_PORT = 9

LAG = 0.001 if SLOWNESS == 1 else 0.2
"""Seconds that may pass between a change of state and the capture of its segment; more where the machine is emulated."""

FIELDS = {
    "time": "frame.time_epoch",
    "sport": "tcp.srcport",
    "dport": "tcp.dstport",
    "sequence": "tcp.seq_raw",
    "acknowledgment": "tcp.ack_raw",
    "flags": "tcp.flags",
    "length": "tcp.len",
    "stamp": "tcp.options.timestamp.tsval",
    "echo": "tcp.options.timestamp.tsecr",
}


@dataclass(frozen=True)
class Frame:
    """A TCP segment as tshark read it; numbers as they were on the wire, time_ns is Unix time."""

    time_ns: int
    sport: int
    dport: int
    sequence: int
    acknowledgment: int
    flags: int
    length: int
    stamp: int | None
    echo: int | None

    def has(self, *flags: int) -> bool:
        """Whether all of these flags are set."""
        return all(self.flags & flag for flag in flags)

    @property
    def end(self) -> int:
        """The number after the last one that it takes."""
        return self.sequence + self.length + self.has(SYN) + self.has(FIN)


def retransmitted(frames: list[Frame]) -> list[Frame]:
    """Return those frames of one direction that take numbers which an earlier one took."""
    found, sent = [], 0
    for frame in frames:
        if frame.end > frame.sequence and frame.sequence < sent:
            found.append(frame)
        sent = max(sent, frame.end)
    return found


def measured(seconds: Any) -> Any:
    """Return what equals a duration (or some, by name) that a capture has, measured elsewhere."""
    return pytest.approx(seconds, abs=LAG, rel=0.02)


class Capture:
    """A running capture. port: of TCP, either side's."""

    def __init__(self, side: Namespace, device: str, port: int, file: Path, marker_to: str) -> None:
        self._side, self._file, self._marker_to = side, file, marker_to
        wanted = f"tcp port {port} or udp port {MARKER_PORT}"
        options = ["-i", device, "-w", "-", "-U", "--immediate-mode", "--time-stamp-precision=nano"]
        options += ["-s", "256", "-B", "8192"]  # slots of 256 bytes: room for many
        # it becomes a user of its own, who could not open the file; with -Z root Ubuntu 24.04's ends with a fault
        with file.open("wb") as output:
            self.process = subprocess.Popen(
                side.command(tool("tcpdump"), *options, wanted), stdout=output, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
            )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert b"listening on" in line, line

    def frames(self) -> list[Frame]:
        """End the capture, and return all of it."""
        if self.process.returncode is None:
            self._end()
        options = [part for name in FIELDS.values() for part in ("-e", name)]
        command = [tool("tshark"), "-r", str(self._file), "-Y", "tcp", "-T", "fields", "-E", "separator=|", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return [_frame(line) for line in done.stdout.splitlines()]

    def _end(self) -> None:
        marker = os.urandom(16)
        with self._side.inside():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            sender.sendto(marker, (self._marker_to, MARKER_PORT))
        until(lambda: marker in self._file.read_bytes(), "the capture has all")
        self.process.send_signal(signal.SIGINT)
        _, log = self.process.communicate(timeout=PATIENCE)
        assert b"\n0 packets dropped by kernel" in log, log


def _frame(line: str) -> Frame:
    """Turn a line of tshark's into a Frame. Its times have nanoseconds, too many digits for a float."""
    time, sport, dport, sequence, acknowledgment, flags, length, stamp, echo = line.split("|")
    seconds, fraction = time.split(".")
    return Frame(
        time_ns=int(seconds) * 10**9 + int(fraction.ljust(9, "0")),
        sport=int(sport),
        dport=int(dport),
        sequence=int(sequence),
        acknowledgment=int(acknowledgment or "0"),
        flags=int(flags, 16),
        length=int(length),
        stamp=int(stamp) if stamp else None,
        echo=int(echo) if echo else None,
    )


@contextmanager
def capture(side: Namespace, device: str, port: int, file: Path, *, marker_to: str) -> Iterator[Capture]:
    """Yield a running capture into a file; marker_to: an IPv4 address beyond the device."""
    running = Capture(side, device, port, file, marker_to)
    with running.process:
        try:
            yield running
        finally:
            running.process.kill()
