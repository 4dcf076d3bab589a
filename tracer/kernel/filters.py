"""Which connections are traced, as the user said it and as C predicates that are compiled into the programs."""

from __future__ import annotations

import ipaddress
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracer.errors import UsageError

if TYPE_CHECKING:
    from tracer.kernel.constants import Constants

ROLES = {"client": "ROLE_CLIENT", "server": "ROLE_SERVER"}
CGROUP_HINT = "give a directory below where cgroup2 is mounted; see 'mount -t cgroup2'"

MAX_CGROUP_LEVEL = 15
"""Down to which a cgroup is looked for where its level is not known; container managers use six."""


@dataclass(frozen=True)
class Filters:
    """All given kinds must hold; of one kind, any value will do. Addresses are networks in CIDR form, of either side."""

    ports: tuple[int, ...] = ()
    addresses: tuple[str, ...] = ()
    role: str | None = None
    pid: int | None = None
    cgroup: str | None = None
    own_netns: bool = False

    def __post_init__(self) -> None:
        """Refuse what can match nothing, before anything is started."""
        for port in self.ports:
            if not 0 < port < 65536:
                raise UsageError(f"--port {port} is not a port", "give a number from 1 to 65535")
        for address in self.addresses:
            network_of(address)
        if self.role not in {None, *ROLES}:
            raise UsageError(f"--role {self.role} is not a role", "give client or server")

    def check_here(self) -> None:
        """Refuse a process and a cgroup that this machine does not have; a recording may be of another one."""
        if self.pid is not None:
            _check_pid(self.pid)
        if self.cgroup is not None and not os.path.isdir(self.cgroup):
            raise UsageError(f"--cgroup {self.cgroup}: no such directory", CGROUP_HINT)
        if self.cgroup is not None:
            _cgroup(self.cgroup)


def filter_macros(filters: Filters, constants: Constants) -> str:
    """Return the FILTER_ definitions for the programs; a filter that was not asked for has none and costs nothing."""
    lines = []
    if filters.ports:
        lines.append(_predicate("PORT", "port", [f"(port) == {constants.text(port)}" for port in filters.ports]))
    if filters.addresses:
        tests = [_address_test(network_of(text), constants) for text in filters.addresses]
        lines.append(_predicate("ADDRESS", "a", tests))
    if filters.role:
        lines.append(_predicate("ROLE", "role", [f"(role) == {ROLES[filters.role]}"]))
    if filters.own_netns:
        lines.append(_predicate("NETNS", "netns", ["(netns) == OWN_NETNS"]))
    if filters.pid is not None:
        lines.append(f"#define FILTER_PID {constants.text(filters.pid)}\n")
    if filters.cgroup is not None:
        levels, identity = _cgroup(filters.cgroup)
        lines.append(f"#define FILTER_CGROUP {constants.text(identity)}\n")
        lines.append(f"#define FILTER_CGROUP_LEVEL {levels.start}\n#define FILTER_CGROUP_LAST {levels.stop - 1}\n")
    return "".join(lines)


def _predicate(name: str, argument: str, alternatives: list[str]) -> str:
    return f"#define FILTER_{name}({argument}) ({' || '.join(f'({a})' for a in alternatives)})\n"


def network_of(text: str) -> ipaddress.IPv6Network:
    """Return the network, IPv4 as it comes mapped into IPv6."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise UsageError(f"--address {text} is not a network: {error}", "give it like 10.0.0.0/8 or 2001:db8::/32") from error
    if isinstance(network, ipaddress.IPv4Network):
        return ipaddress.IPv6Network(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return network


def _address_test(network: ipaddress.IPv6Network, constants: Constants) -> str:
    """Compare word by word, in network order as the kernel keeps them; words without a bit of the mask say nothing."""
    mask, value = network.netmask.packed, network.network_address.packed
    words = [(i, _word(mask, i), _word(value, i)) for i in range(4)]
    tests = [f"((a)[{i}] & {constants.text(m)}) == {constants.text(v)}" for i, m, v in words if m]
    return " && ".join(tests) or "true"


def _word(packed: bytes, index: int) -> int:
    return int.from_bytes(packed[4 * index : 4 * index + 4], sys.byteorder)


def _check_pid(pid: int) -> None:
    """Refuse a process that is not there, or whose number means another one to the kernel than to /proc."""
    try:
        shown = int(os.readlink("/proc/self"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--pid {pid}: cannot read /proc", "mount /proc") from error
    if shown != os.getpid():
        raise UsageError(
            f"--pid {pid}: /proc shows another pid namespace than the one that tcptrace is in",
            "mount the namespace's own: mount -t proc proc /proc",
        )
    if not os.path.isdir(f"/proc/{pid}"):
        raise UsageError(f"--pid {pid}: there is no such process", "look it up with pgrep")


def _cgroup(path: str) -> tuple[range, int]:
    """Return (levels below the root, id) of a version 2 cgroup; its id is the inode number of its directory.

    There is one level, except where the root is not to be seen (in a cgroup namespace, or where a part alone is mounted): how
    deep what is seen lies, nothing in it tells. All cgroups but the root have the file cgroup.events.
    """
    top = real = os.path.realpath(path)
    if not os.path.exists(f"{real}/cgroup.controllers"):
        raise UsageError(f"--cgroup {path} is no cgroup of version 2", CGROUP_HINT)
    level = 0
    while os.path.exists(f"{top}/cgroup.events"):
        top, level = os.path.dirname(top), level + 1
    known = os.path.exists(f"{top}/cgroup.controllers")
    return range(level, level + 1) if known else range(MAX_CGROUP_LEVEL + 1), os.stat(real).st_ino
