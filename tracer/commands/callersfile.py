"""A file that a user names and root opens: with the rights of who called, never with root's.

Who may run tcptrace by sudo must not get at other people's files through it: no link is followed, and what is there already has
to be an ordinary file of the caller's own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tracer.errors import TcptraceError
from tracer.kernel.privileges import User, caller

HINT = "give a path with -o where you may write: a new one, or that of a file of yours"


def open_as_caller(path: Path) -> BinaryIO:
    """Open a file to write it, made with mode 0600 where there is none; what is in it stays until it is truncated.

    Raises TcptraceError for what the caller may not write, for a link, and for what is not an ordinary file of theirs.
    """
    user = caller()
    try:
        with acting_as(user):
            # a pipe nobody reads would otherwise be waited for
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        what = "it is a link" if path.is_symlink() else error.strerror
        raise TcptraceError(f"cannot write {path}: {what}", HINT) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != (user.uid if user else os.geteuid()):
        os.close(descriptor)
        whose = "an ordinary file" if not stat.S_ISREG(found.st_mode) else "yours"
        raise TcptraceError(f"cannot write {path}: it is not {whose}", HINT)
    return os.fdopen(descriptor, "wb")


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Open files with the rights of a user and of their groups; with those of this process for None."""
    if user is None:
        yield
        return
    groups = os.getgroups()
    os.setgroups(os.getgrouplist(user.name, user.gid))
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
