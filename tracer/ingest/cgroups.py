"""Names of cgroups: the container or systemd unit that a socket's cgroup id belongs to.

A cgroup's id is the inode number of its directory in the cgroup2 file system, so that those directories give all names, without
any privilege: there is a walk over them first, and then the kernel tells of new ones, which may soon be gone. Turning one id
into its path (open_by_handle_at) would need CAP_DAC_READ_SEARCH, and reading /proc/PID/cgroup of the event's process is too
late for one that has ended.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tracer.ingest.directories import Directories, children
from tracer.ingest.workloads import Workload, workload

MOUNTS = Path("/proc/self/mounts")
LIMIT = 65_536
"""Ids that are remembered; the oldest go first."""

SHARE = 0.05
"""Of the time, what walks may take at most: a storm of new cgroups must not become one of walks."""

NOBODYS = Workload()

_OCTAL = re.compile(r"\\([0-7]{3})")


class CgroupNames:
    """Names and workloads by id; call it with an id for the name.

    From the first question on, new directories are learnt as they are made. An id that is in no directory at the time of a walk
    never will be, as ids are not used twice and a socket's cgroup is older than the socket: so each id that was not learnt
    costs one walk at most. root: the mount point; None for wherever cgroup2 is mounted. watch: whether the kernel is asked to
    tell; where it refuses, walks are all there is.
    """

    def __init__(self, root: Path | None = None, clock: Callable[[], float] = time.monotonic, *, watch: bool = True) -> None:
        self._root = root
        self._clock = clock
        self._watch = watch
        self._directories: Directories | None = None
        self._lock = threading.Lock()
        self._workloads: dict[int, Workload] = {}
        self._next_walk = float("-inf")

    def __call__(self, cgroup: int) -> str:
        """Return the name, "" for a cgroup that is no container or unit, or cannot be seen from here (any more)."""
        return self.workload(cgroup).name

    def workload(self, cgroup: int) -> Workload:
        """Return whose the cgroup is, nobody's under the same conditions."""
        if cgroup not in self._workloads and self._directories:
            self._directories.catch_up()
        found = self._workloads.get(cgroup)
        if found is not None:
            return found
        if self._clock() < self._next_walk:
            return NOBODYS
        self._walk()
        found = self._workloads.get(cgroup)
        if found is None:
            self._learn(cgroup, NOBODYS)
        return found or NOBODYS

    def _walk(self) -> None:
        start = self._clock()
        root = self._root or _mounted()
        if root is not None:
            self._look_into(root)
        now = self._clock()
        self._next_walk = now + (now - start) / SHARE

    def _look_into(self, root: Path) -> None:
        """Walk over the directories; the first time, have the kernel tell of new ones, and walk after that."""
        if self._watch:
            self._watch = False
            with suppress(OSError):
                self._directories = Directories(str(root), lambda identity, path: self._learn(identity, workload(path)))
        for identity, found in cgroup_workloads(root):
            self._learn(identity, found)

    def _learn(self, identity: int, found: Workload) -> None:
        with self._lock:
            self._workloads[identity] = found
            if len(self._workloads) > LIMIT:
                del self._workloads[next(iter(self._workloads))]


def _mounted() -> Path | None:
    try:
        return cgroup2_mount(MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return None


def cgroup2_mount(mounts: str) -> Path | None:
    """Return where cgroup2 is mounted first, from the text of /proc/self/mounts; None when it is not."""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and fields[2] == "cgroup2":
            return Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[1]))
    return None


def cgroup_workloads(root: Path) -> Iterator[tuple[int, Workload]]:
    """Yield id and Workload of every cgroup below root, and of root itself; what cannot be read is left out."""
    try:
        yield root.stat().st_ino, NOBODYS
    except OSError:
        return
    waiting = [(str(root), "")]
    while waiting:
        directory, path = waiting.pop()
        for identity, name in children(directory):
            below = f"{path}/{name}"
            yield identity, workload(below)
            waiting.append((f"{directory}/{name}", below))


def cgroups_below(path: str) -> set[int]:
    """Return the ids of a cgroup (version 2) and of all below it: the inodes of their directories."""
    return {Path(place).stat().st_ino for place, _, _ in os.walk(path)}
