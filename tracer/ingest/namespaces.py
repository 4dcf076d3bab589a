"""The sockets of several network namespaces, of those that were there at the start and of those that come and go.

Three ways lead to the sockets of a namespace, and none keeps it alive for longer than a second or two:
- The own one has a sock_diag socket for as long as we run, which lives in it anyway.
- Those of the start have one each, opened by the loader (kernel/handles.py). Such a socket keeps its namespace alive, and
  with it the other end of a deleted pod's veth. So it is closed as soon as no process lives there and no name leads there.
- Later ones, and those that could not be entered, are read from /proc/PID/net/tcp of a process that lives there
  (proctable.py), which is unprivileged and keeps nothing alive. So a pod is counted from some seconds after its birth.
  Its number is told by the right to trace that process, or by a record of one of its connections; until then its identity
  (residents.py) stands for it. One with too many sockets for this is left to the events until it has fewer.
Of all others only events tell (model/unlisted.py). tcptrace's own namespace alone was the alternative: it is simple, and says
nothing about the pods of a container host; and a process that stays privileged to enter new ones is what nobody wants.

Where /proc hides processes, nothing says who lives in a namespace. Then it counts as left when two dumps in a row show no
socket but TIME_WAIT.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterable, Sequence

import numpy as np

from tracer.ingest.clock import kernel_ns
from tracer.ingest.interfaces import learn, name_there, split_address
from tracer.ingest.numbers import Numbers
from tracer.ingest.ports import UNKNOWN_PORTS, EphemeralPorts, read_ports
from tracer.ingest.proctable import ProcTable
from tracer.ingest.residents import find_named, find_residents, identity_of, is_at, number_of
from tracer.ingest.snapshot import Dump, Moment
from tracer.ingest.sockdiag import ALL_STATES, TIMER_TIME_WAIT, SocketEnds, Sockets, joined
from tracer.ingest.sockettable import SocketTable, TimeWait
from tracer.ingest.tcpinfo import NO_DETAILS, Details, joined_details
from tracer.kernel.handles import NamespaceHandle

LOOK_SECONDS = 1.0
"""How often it is looked whether namespaces with a handle are still there."""

SEARCH_SECONDS, QUIET_SECONDS = 3.0, 15.0
SEARCH_SHARE = 0.01
"""How often all processes are asked where they live: while records tell of namespaces that nobody knew, and else; and the share
of a core that this may take."""

IDLE_DUMPS = 2


class Opened:
    """A namespace with a sock_diag socket; owns its handle's descriptors.

    seen_alive: whether anything has ever said, unprivileged, that somebody lives there.
    """

    def __init__(self, handle: NamespaceHandle, *, with_cgroups: bool = False, with_details: bool = False) -> None:
        self.handle = handle
        self.table = SocketTable(handle.diag, handle.netns, with_cgroups=with_cgroups, with_details=with_details)
        self.seen_alive = False
        self.idle = 0
        self._path = handle.path
        self._pid = int(handle.path.split("/")[2]) if handle.path.startswith("/proc/") and handle.path[6].isdecimal() else 0

    def read(self, states: int, *, plain: bool) -> Sockets:
        """Return the sockets in these states (bits)."""
        sockets = self.table.read(states, plain=plain)
        learn(sockets["netns"], sockets["remote_address"], lambda _, index: name_there(self.handle.diag, index))
        if states == ALL_STATES:
            self.idle = 0 if (sockets["timer"] != TIMER_TIME_WAIT).any() else self.idle + 1
        return sockets

    def ports(self) -> EphemeralPorts:
        """Return the present ephemeral ports."""
        return read_ports(self.handle.port_range, self.handle.reserved_ports)

    def is_alive(self) -> bool:
        """Return whether who or what has led there before still does."""
        alive = identity_of(self._pid) == self.handle.identity if self._pid else is_at(self._path, self.handle.netns)
        self.seen_alive |= alive
        return alive

    def is_found(self, residents: dict[int, int], named: dict[int, str]) -> bool:
        """Return whether anything else leads there, and remember it."""
        self._pid = residents.get(self.handle.identity, 0)
        self._path = named.get(self.handle.netns, "")
        found = bool(self._pid or self._path)
        self.seen_alive |= found
        return found

    def is_left(self) -> bool:
        """Return whether a namespace to which nothing leads has to be let go."""
        return self.seen_alive or self.idle >= IDLE_DUMPS

    def close(self) -> None:
        """Close all that is open."""
        self.table.close()
        for fd in (self.handle.port_range, self.handle.reserved_ports):
            os.close(fd)


class Namespaces:
    """The sockets and ephemeral ports of several network namespaces; owns their handles, of which the own one is first.

    later: whether to read those that have no handle, too. numbers: what records tell of those. with_cgroups: whether dumps
    have the cgroups of listeners; with_details: whether details of open connections. For one thread where no other is named.
    """

    def __init__(
        self,
        handles: Sequence[NamespaceHandle],
        *,
        later: bool = False,
        numbers: Numbers | None = None,
        with_cgroups: bool = False,
        with_details: bool = False,
    ) -> None:
        self._own, *others = (Opened(handle, with_cgroups=with_cgroups, with_details=with_details) for handle in handles)
        self._others = others
        self._later: dict[int, ProcTable] = {}
        self._reads_later = later
        self._numbers = numbers or Numbers()
        self._look_at = self._search_at = self._searched = 0.0
        self._lock = threading.Lock()

    @property
    def look_due(self) -> float:
        """When look() has something to do again, on the clock of time.monotonic()."""
        search = self._search_due if self._reads_later else math.inf
        return min(self._look_at, search) if self._others else search

    @property
    def _search_due(self) -> float:
        wanted = self._searched + (SEARCH_SECONDS if self._numbers.has_news else QUIET_SECONDS)
        return max(self._search_at, wanted)

    def look(self) -> None:
        """Let go of the namespaces that are gone, and find new ones, as far as it is time for that."""
        now = time.monotonic()
        if now < self.look_due:
            return
        self._look_at = now + LOOK_SECONDS
        lost = [opened for opened in self._others if not opened.is_alive()]
        if lost or (self._reads_later and now >= self._search_due):
            self._search(lost)

    def _search(self, lost: Iterable[Opened]) -> None:
        start = time.thread_time()
        self._numbers.has_news = False
        residents = find_residents()
        named = find_named() if lost else {}
        for opened in lost:
            if not opened.is_found(residents, named) and opened.is_left():
                with self._lock:
                    self._others.remove(opened)
                    opened.close()
        self._look_later(residents)
        self._searched = time.monotonic()
        self._search_at = self._searched + (time.thread_time() - start) / SEARCH_SHARE

    def _look_later(self, residents: dict[int, int]) -> None:
        if not self._reads_later:
            return
        entered = {opened.handle.identity for opened in (self._own, *self._others)}
        before, self._later = self._later, {}
        for identity, pid in residents.items():
            if identity not in entered:
                known = before.get(identity)
                # another process can be another namespace with the number of one that is gone
                same = known is not None and identity_of(known.pid) == identity
                self._later[identity] = known if known and same else ProcTable(pid, identity, number_of(pid) or identity)

    def read(self, states: int = ALL_STATES, *, plain: bool = False) -> Dump:
        """Return all sockets in these states (bits); plain: without details of open connections, which take most of the time.

        Raises TcptraceError when a namespace with a handle cannot be read.
        """
        start_ns = kernel_ns()
        moments: list[Moment] = []
        parts: list[Sockets] = []
        found: list[tuple[int, Details]] = []
        cgroups: dict[int, int] = {}
        for opened in (self._own, *self._others):
            before_ns = kernel_ns()
            place = sum(map(len, parts))
            with self._lock:
                parts.append(opened.read(states, plain=plain))
            found.append((place, opened.table.details))
            opened.table.details = NO_DETAILS
            cgroups |= opened.table.cgroups
            if opened.table.whole:
                moments.append(Moment(opened.handle.netns, before_ns, kernel_ns()))
        parts += [self._read_later(table, states, moments) for table in self._later.values()]
        self._later = {identity: table for identity, table in self._later.items() if table.whole}
        ports = self.ports() | {table.netns: UNKNOWN_PORTS for table in self._later.values()}
        self._numbers.listed = np.array(sorted(ports), np.uint32)
        unnamed = frozenset(table.netns for table in self._later.values() if table.netns == table.identity)
        more = joined_details(found)
        return Dump(joined(parts), ports, start_ns, kernel_ns(), tuple(moments), unnamed, cgroups, more, plain)

    def _read_later(self, table: ProcTable, states: int, moments: list[Moment]) -> Sockets:
        """Return the sockets of a namespace without a handle; its moment is noted when its number is known."""
        before_ns = kernel_ns()
        sockets = table.read(states)
        if table.netns == table.identity and (netns := self._numbers.find(sockets)):
            table.netns = sockets["netns"] = netns
        if table.whole and table.netns != table.identity:
            moments.append(Moment(table.netns, before_ns, kernel_ns()))
        return sockets

    def ports(self) -> dict[int, EphemeralPorts]:
        """Return the present ephemeral ports of the namespaces with a handle, the own one first."""
        return {opened.handle.netns: opened.ports() for opened in (self._own, *self._others)}

    def read_last_heard(self, states: int) -> dict[int, float]:
        """Return the seconds since the other side was heard, by inode, of the sockets in these states."""
        tables = [opened.table for opened in (self._own, *self._others)]
        with self._lock:
            return {inode: age for table in tables for inode, age in table.read_last_heard(states).items()}

    def time_wait(self, event: np.void) -> TimeWait | None:
        """Return what the connection of a record (dtype EVENT) has left behind: None if nothing, or no handle is there.

        Asks for that one socket only; raises TcptraceError when the kernel refuses. For any thread.
        """
        (local, _), (remote, interface) = (split_address(event[f"{side}_address"].tobytes()) for side in ("local", "remote"))
        ends = SocketEnds(local, int(event["local_port"]), remote, int(event["remote_port"]), interface)
        with self._lock:
            for opened in (self._own, *self._others) if not self._closed else ():
                if opened.handle.netns == event["netns"]:
                    return opened.table.time_wait(int(event["family"]), ends)
        return None

    def interface_name(self, netns: int, index: int) -> str | None:
        """Return the name of an interface of a namespace with a handle, None for another; for any thread."""
        with self._lock:
            for opened in (self._own, *self._others) if not self._closed else ():
                if opened.handle.netns == netns:
                    return name_there(opened.handle.diag, index)
        return None

    def close(self) -> None:
        """Close all that is open; safe to call twice."""
        with self._lock:
            for opened in (self._own, *self._others) if not self._closed else ():
                opened.close()
            self._others, self._later, self._closed = [], {}, True

    _closed = False
