"""Files that a user names and root opens: with the caller's permissions, never with root's.

Who may run tcptrace by sudo must not get at other people's files through it: nothing is read that they may not read, no link
is followed to what is written, and what is there already has to be an ordinary file of the caller's own. Nothing is waited for:
a pipe or a device is refused.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from tracer.errors import TcptraceError
from tracer.kernel.privileges import User, caller

HINT = "give a path where you may write: a new one, or that of a file of yours"


def open_as_caller(path: Path, mode: int = 0o600) -> BinaryIO:
    """Open a file to write it, made with that mode where there is none; what is in it stays until it is truncated.

    Raises TcptraceError for what the caller may not write, for a link, and for what is not an ordinary file of theirs.
    """
    user = caller()
    try:
        # a pipe nobody reads would otherwise be waited for
        descriptor = _open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, mode)
    except (OSError, ValueError) as error:
        raise TcptraceError(f"cannot write {path}: {_refused(path, error)}", HINT) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != (user.uid if user else os.geteuid()):
        os.close(descriptor)
        whose = "an ordinary file" if not stat.S_ISREG(found.st_mode) else "yours"
        raise TcptraceError(f"cannot write {path}: it is not {whose}", HINT)
    return os.fdopen(descriptor, "wb")


@contextmanager
def unless_empty(path: Path) -> Iterator[BinaryIO]:
    """Open a file as open_as_caller() does, until the end of the block; one that is new, and empty then, is removed.

    Who writes it has no privileges at the end, nor a way to remove anything. So a child waits for that, as the caller: when
    this process has closed its end of a pipe, or is gone, it looks at the file, and ends.
    """
    is_new = not os.path.lexists(path)
    with open_as_caller(path) as file:
        if not is_new:
            yield file
            return
        found = os.fstat(file.fileno())
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(writer)
            _remove_if_empty(path, found, reader)
        os.close(reader)
        try:
            yield file
        finally:
            file.flush()
            os.close(writer)
            os.waitpid(child, 0)


def _remove_if_empty(path: Path, made: os.stat_result, reader: int) -> NoReturn:
    """Wait for the other process, remove the file if it is the one that was made and nothing is in it, and end."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if user := caller():
            os.initgroups(user.name, user.gid)
            os.setgid(user.gid)
            os.setuid(user.uid)
        os.read(reader, 1)
        found = path.lstat()
        if (found.st_dev, found.st_ino, found.st_size) == (made.st_dev, made.st_ino, 0):
            path.unlink()
    finally:
        os._exit(0)


def open_to_read(path: Path) -> BinaryIO:
    """Open an ordinary file that the caller may read; raises OSError, whose strerror says what is wrong with it."""
    user = caller()
    try:
        descriptor = _open(path, os.O_RDONLY)
    except ValueError as error:
        raise OSError(errno.EINVAL, _reason(error)) from error
    except PermissionError as error:
        if user is None:
            raise
        raise PermissionError(errno.EACCES, f"{user.name}, who called sudo, may not read it") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not an ordinary file")
    return os.fdopen(descriptor, "rb")


def read_as_caller(path: Path, most: int) -> bytes:
    """Return what is in an ordinary file of at most so many bytes; raises as open_to_read()."""
    with open_to_read(path) as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return text


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Open files with the permissions of a user and of their groups; with those of this process for None."""
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


def _open(path: Path, flags: int, mode: int = 0) -> int:
    with acting_as(caller()):
        return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, mode)


def _refused(path: Path, error: Exception) -> str:
    """Return why a file cannot be written."""
    try:
        found = path.lstat().st_mode
    except (OSError, ValueError):
        return _reason(error)
    if stat.S_ISLNK(found):
        return "it is a link"
    return "it is not an ordinary file" if stat.S_ISFIFO(found) else _reason(error)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
