"""Names of cgroups: the container or systemd unit that a socket's cgroup id belongs to.

A cgroup's id is the inode number of its directory in the cgroup2 file system, so that a walk over those directories gives all
names, without any rights. Turning one id into its path at once (open_by_handle_at) would need CAP_DAC_READ_SEARCH, and reading
/proc/PID/cgroup of the event's process is too late for one that has ended.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tracer.ingest.names import name_text

MOUNTS = Path("/proc/self/mounts")
LIMIT = 65_536
"""Ids that are remembered; the oldest go first."""

SHARE = 0.05
"""Of the time, what walks may take at most: a storm of new cgroups must not become one of walks."""

_CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{12})[0-9a-f]{52}(?![0-9a-f])")
_LXC = re.compile(r"lxc\.payload\.(.+)")
_UNIT = re.compile(r".+\.(service|scope|socket|mount)")
_OCTAL = re.compile(r"\\([0-7]{3})")


class CgroupNames:
    """Names by id, found when they are first asked for; call it with an id.

    An id that is in no directory at the time of a walk never will be, as ids are not used twice and a socket's cgroup is older
    than the socket: so each id costs one walk at most. root: the mount point; None for wherever cgroup2 is mounted.
    """

    def __init__(self, root: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._names: dict[int, str] = {}
        self._next_walk = float("-inf")

    def __call__(self, cgroup: int) -> str:
        """Return the name, "" for a cgroup that is no container or unit, or cannot be seen from here (any more)."""
        name = self._names.get(cgroup)
        if name is not None:
            return name
        if self._clock() < self._next_walk:
            return ""
        self._walk()
        return self._names.setdefault(cgroup, "")

    def _walk(self) -> None:
        start = self._clock()
        root = self._root or _mounted()
        if root is not None:
            self._names.update(cgroup_names(root))
        for oldest in list(self._names)[: max(len(self._names) - LIMIT, 0)]:
            del self._names[oldest]
        now = self._clock()
        self._next_walk = now + (now - start) / SHARE


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


def cgroup_names(root: Path) -> Iterator[tuple[int, str]]:
    """Yield (id, name) of every cgroup below root, and of root itself; what cannot be read is left out."""
    try:
        yield root.stat().st_ino, ""
    except OSError:
        return
    waiting = [(str(root), "")]
    while waiting:
        directory, path = waiting.pop()
        for identity, name in _children(directory):
            below = f"{path}/{name}"
            yield identity, cgroup_name(below)
            waiting.append((f"{directory}/{name}", below))


def _children(directory: str) -> list[tuple[int, str]]:
    try:
        with os.scandir(directory) as entries:
            return [(entry.inode(), entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def cgroup_name(path: str) -> str:
    """Return the name of a cgroup by its path below the mount point, "" when it is neither in a container nor in a unit.

    A container is the first 12 digits of its id, as docker, containerd, cri-o, podman and Kubernetes put all 64 into the path,
    or LXC's name; otherwise the systemd unit. Of several, one in another, the innermost.
    """
    parts = name_text(os.fsencode(path)).strip("/").split("/")
    for found in (_last(_CONTAINER, parts), _last(_LXC, parts)):
        if found:
            return found[1]
    unit = _last(_UNIT, parts)
    return unit[0] if unit else ""


def _last(pattern: re.Pattern[str], parts: list[str]) -> re.Match[str] | None:
    """Return the match in the innermost part that has one; a container's id may stand anywhere in it."""
    find = pattern.search if pattern is _CONTAINER else pattern.fullmatch
    return next((match for part in reversed(parts) if (match := find(part))), None)
