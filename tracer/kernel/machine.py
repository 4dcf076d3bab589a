"""What a start needs of the machine before anything else: byte order, /proc, /sys; what is amiss, in a sentence."""

from __future__ import annotations

import os
import sys

from tracer.errors import TcptraceError


def machine_obstacle(byte_order: str = sys.byteorder) -> TcptraceError | None:
    """Return why nothing can be traced here whatever the privileges, None when nothing is in the way."""
    if byte_order != "little":
        return TcptraceError(
            "this machine is big-endian, and tcptrace reads the kernel's bit fields and its own records as little-endian ones",
            "trace on x86-64, arm64 or another little-endian machine",
        )
    if missing := proc_obstacle():
        return missing
    if not os.path.isdir("/sys/kernel"):
        return TcptraceError("/sys is not mounted here", "as root: mount -t sysfs sysfs /sys; or run outside of this chroot")
    return None


def proc_obstacle() -> TcptraceError | None:
    """Return an error where /proc is not mounted, without which sockets cannot be listed either; else None."""
    if os.path.exists("/proc/self/status"):
        return None
    return TcptraceError("/proc is not mounted here", "as root: mount -t proc proc /proc; or run outside of this chroot")
