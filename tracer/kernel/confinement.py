"""What the serving process may still do once it has begun: Landlock takes from it what no privilege is needed for.

An ordinary user without capabilities can still write that user's files, read their keys, start programs and connect anywhere.
None of this is needed after the start: everything is open by then. Landlock stacks on whatever else confines the process, takes
no privilege, and is for this process and its children alone. Three system calls without a wrapper in libc are less than a
dependency (PyPI's packages for it are not kept). seccomp would add what Landlock does not know (UDP, paths of Unix sockets),
but its filters are lists of numbers by processor.

Facts: include/uapi/linux/landlock.h; security/landlock/. A right that is handled is denied but where a rule gives it; what was
opened before stays as it is. A kernel of an older version handles fewer of them.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress

PR_SET_NO_NEW_PRIVS = 38
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, on every processor."""

VERSION_FLAG, PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_AND_REMOVE = 0x1FF0
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
ABSTRACT_UNIX_SOCKET, SIGNAL = 1 << 0, 1 << 1

FILES = {1: EXECUTE | WRITE_FILE | READ_FILE | READ_DIR | MAKE_AND_REMOVE, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
NETWORK = {4: BIND_TCP | CONNECT_TCP}
SCOPES = {6: ABSTRACT_UNIX_SOCKET | SIGNAL}
"""What is denied, by the version since which it can be."""

PRIVATE = frozenset({"home", "root"})
"""Directories of / in which people keep what is theirs; of all others only what their user may read can be read."""

WRITABLE = ("/dev/null", "/dev/tty")
"""What the view and the end still open to write."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Return the version of Landlock that this kernel offers, 0 where it has none, or it is not switched on."""
    return max(int(_LIBC.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION_FLAG))), 0)


def confine(own: Iterable[str]) -> bool:
    """Have this thread and later ones start no program, write no file, read none in PRIVATE but below `own`, and not connect.

    Returns whether the kernel does that; to be called while there is one thread.
    """
    found = version()
    # each right is of one version only
    files, network, scopes = (
        sum(bits for since, bits in rights.items() if since <= found) for rights in (FILES, NETWORK, SCOPES)
    )
    attributes = struct.pack("=QQQ", files, network, scopes)[: 8 if found < 4 else 16 if found < 6 else 24]
    ruleset = _LIBC.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)) if found else -1
    if ruleset < 0:
        return False
    try:
        for path in (*(f"/{name}" for name in os.listdir("/") if name not in PRIVATE), *own):
            _allow(ruleset, path, READ_FILE | READ_DIR)
        for path in WRITABLE:
            _allow(ruleset, path, READ_FILE | WRITE_FILE)
        _LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return not _LIBC.syscall(RESTRICT_SELF, ruleset, ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Allow rights on a file, or on all that is beneath a directory; on nothing where it cannot be opened."""
    with suppress(OSError):
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            directory = os.path.isdir(f"/proc/self/fd/{fd}")
            rule = struct.pack("=Qi", rights if directory else rights & ~READ_DIR, fd)
            _LIBC.syscall(ADD_RULE, ruleset, ctypes.c_int(PATH_BENEATH), rule, ctypes.c_uint32(0))
        finally:
            os.close(fd)
