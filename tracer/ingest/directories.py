"""Every directory below a root, now and as they come, by inotify: cgroups are often gone before anybody asks for them.

The kernel tells of mkdir(2) in cgroup2 as in any other file system, and it takes no privilege. Walks that are repeated were the
alternative: seldom enough to be cheap, they miss what lives for a tenth of a second.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

IN_CREATE, IN_DELETE, IN_MOVED_TO = 0x100, 0x200, 0x80
IN_Q_OVERFLOW, IN_IGNORED, IN_ISDIR, IN_ONLYDIR = 0x4000, 0x8000, 0x40000000, 0x01000000
MASK = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_ONLYDIR
_HEAD = struct.Struct("=iIII")
_BUFFER = 1 << 16
_LIBC = ctypes.CDLL(None, use_errno=True)

Tell = Callable[[int, str], None]
"""Called with a directory's inode and its path below the root, which begins with a slash."""


def children(directory: str) -> list[tuple[int, str]]:
    """Return inode and name of the directories in a directory, none of one that cannot be read."""
    try:
        with os.scandir(directory) as entries:
            return [(entry.inode(), entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


class Directories:
    """Tells of all directories below a root: first of those that there are, then of new ones, in a thread of its own.

    Raises OSError where the kernel does not allow so many watches; until then some may have been told of.
    """

    def __init__(self, root: str, tell: Tell) -> None:
        self._root, self._tell = root, tell
        self._paths: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        self._lock = threading.Lock()
        self._fd = _checked(_LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        try:
            self._take_in("")
        except OSError:
            os.close(self._fd)
            raise
        threading.Thread(target=self._follow, name="cgroups", daemon=True).start()

    def catch_up(self) -> None:
        """Tell of all that have come until now."""
        with self._lock, suppress(BlockingIOError):
            while True:
                for watch, mask, name in _events(os.read(self._fd, _BUFFER)):
                    with suppress(OSError):  # gone already, or one watch too many
                        self._take(watch, mask, name)

    def _take_in(self, top: str) -> None:
        """Watch a directory and all below it, and tell of those below it; what comes meanwhile is told of twice."""
        waiting = [top]
        while waiting:
            path = waiting.pop()
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                self._watch(path)
                for inode, name in children(self._root + path):
                    self._tell(inode, f"{path}/{name}")
                    waiting.append(f"{path}/{name}")

    def _watch(self, path: str) -> None:
        watch = _checked(_LIBC.inotify_add_watch(self._fd, os.fsencode(self._root + path), MASK))
        self._paths[watch], self._watches[path] = path, watch

    def _follow(self) -> None:
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        while True:
            ready.poll()
            self.catch_up()

    def _take(self, watch: int, mask: int, name: str) -> None:
        if mask & IN_Q_OVERFLOW:
            self._take_in("")
        elif mask & IN_IGNORED:
            self._paths.pop(watch, None)
        elif watch in self._paths and mask & IN_ISDIR:
            path = f"{self._paths[watch]}/{name}"
            if mask & IN_DELETE:
                self._forget(path)
            else:
                self._tell(Path(self._root + path).stat().st_ino, path)
                self._take_in(path)

    def _forget(self, path: str) -> None:
        """Give a watch back: of a cgroup that is gone, not every kernel does it by itself."""
        watch = self._watches.pop(path, None)
        if watch is not None:
            self._paths.pop(watch, None)
            _LIBC.inotify_rm_watch(self._fd, watch)


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Yield watch, mask and name of each event."""
    at = 0
    while at < len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        yield watch, mask, os.fsdecode(data[at - length : at].rstrip(b"\0"))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
