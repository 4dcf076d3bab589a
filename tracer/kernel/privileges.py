"""Privileges: whether this process may load BPF programs, and how it drops all of them for good.

The standard library has neither prctl nor capset; two calls through libc are less than a dependency.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from dataclasses import dataclass

from tracer.errors import TcptraceError

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522
CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 19, 21, 38, 39


@dataclass(frozen=True)
class User:
    """Whom to become: the numbers, and all groups there are to keep (none)."""

    name: str
    uid: int
    gid: int


def missing_capability() -> TcptraceError | None:
    """Return what keeps this process from loading BPF programs for tracing, None when nothing does."""
    held = effective_capabilities()
    if held >> CAP_SYS_ADMIN & 1 or (held >> CAP_BPF & 1 and held >> CAP_PERFMON & 1):
        return None
    who = "root" if os.geteuid() == 0 else f"the user {_user_name(os.geteuid())}"
    return TcptraceError(f"loading BPF programs needs CAP_BPF and CAP_PERFMON, which {who} lacks here")


def unseen_unprivileged(*, sockets: bool) -> tuple[str, ...]:
    """Return what tracing does without, because this process lacks optional capabilities, as sentences.

    sockets: whether those of all network namespaces are to be counted.
    """
    held = effective_capabilities()
    if sockets and not (held >> CAP_SYS_PTRACE & 1 and held >> CAP_SYS_ADMIN & 1):
        return ("without CAP_SYS_PTRACE and CAP_SYS_ADMIN, the ephemeral ports of other network namespaces have no limit",)
    return ()


def effective_capabilities(task: str = "self") -> int:
    """Return CapEff of a process or thread as a bit mask."""
    return int(_status(task, "CapEff"), 16)


def _status(task: str, name: str) -> str:
    """Return a line's value from the status of a process or thread in /proc."""
    with open(f"/proc/{task}/status", encoding="utf-8") as file:
        return next(line.split()[1] for line in file if line.startswith(f"{name}:"))


def caller() -> User | None:
    """Return who became root by sudo; None for who did not, and for root who called it. Raises TcptraceError if unknown."""
    number = os.environ.get("SUDO_UID", "0")
    if os.geteuid() != 0 or number == "0":
        return None
    try:
        entry = pwd.getpwuid(int(number))
    except (KeyError, ValueError, OverflowError) as error:
        raise _no_user(f"with number {number}" if number else "that SUDO_UID names") from error
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid) if entry.pw_uid else None


def _no_user(wanted: str) -> TcptraceError:
    return TcptraceError(f"there is no user {wanted} on this machine", "name another one with --user")


def unprivileged_user(name: str | None) -> User:
    """Return the named user, else whoever called sudo, else nobody; never root.

    Who is not root (but has capabilities, as under systemd) stays who they are, as nothing else is possible.
    Raises TcptraceError when there is no such user, it is root, or it cannot be become.
    """
    if not name and (who := caller()):
        return who
    try:
        entry = pwd.getpwnam(name or "nobody")
    except KeyError as error:
        raise _no_user(name or "nobody") from error
    if entry.pw_uid == 0:
        raise TcptraceError(f"--user {name} is root, and tcptrace does not serve as root", "name an unprivileged user, or none")
    if os.geteuid() == 0:
        return User(entry.pw_name, entry.pw_uid, entry.pw_gid)
    if name and entry.pw_uid != os.geteuid():
        raise TcptraceError(f"cannot become {name}: only root can change users", "leave --user away, or start as root")
    return User(_user_name(os.geteuid()), os.geteuid(), os.getegid())


def drop_privileges(user: User) -> None:
    """Become the user for good, without groups, capabilities or a way to new ones, and prove it.

    A process that is not root (capabilities of its own, as under systemd) only sheds what it has.
    Raises TcptraceError when anything of it fails: going on with privileges is not an option.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _clear_bounding_set(libc)
    if os.geteuid() == 0:
        _become(user)
    _prctl(libc, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _clear_capabilities(libc)
    _prctl(libc, PR_SET_NO_NEW_PRIVS, 1)
    _prove()


def _become(user: User) -> None:
    try:
        os.setgroups([])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except PermissionError as error:
        raise TcptraceError(
            f"cannot become {user.name}: root lacks CAP_SETUID and CAP_SETGID here",
            "give this container both, or start as an ordinary user with ambient CAP_BPF and CAP_PERFMON",
        ) from error


def _prove() -> None:
    try:
        os.setuid(0)
    except PermissionError:
        pass
    else:
        raise TcptraceError(
            "root's privileges could not be dropped: setuid(0) still works", "please report this; nothing was served"
        )
    # by thread, as both belong to threads
    for task in (f"self/task/{thread}" for thread in os.listdir("/proc/self/task")):
        if effective_capabilities(task) or _status(task, "NoNewPrivs") != "1":
            raise TcptraceError("capabilities could not be dropped", "please report this; nothing was served")


def _clear_bounding_set(libc: ctypes.CDLL) -> None:
    """Take every capability that exists out of the bounding set; only who holds CAP_SETPCAP can, and only they need to."""
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            return


def _clear_capabilities(libc: ctypes.CDLL) -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing):
        raise TcptraceError(f"cannot drop capabilities: {os.strerror(ctypes.get_errno())}")


def _prctl(libc: ctypes.CDLL, option: int, argument: int) -> None:
    if libc.prctl(option, argument, 0, 0, 0):
        raise TcptraceError(f"cannot drop privileges: prctl {option}: {os.strerror(ctypes.get_errno())}")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
