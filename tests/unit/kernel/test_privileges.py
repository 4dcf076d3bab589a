from __future__ import annotations

import ctypes
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tracer.errors import TcptraceError
from tracer.kernel.privileges import effective_capabilities, missing_capability, unprivileged_user

ROOT = Path(__file__).resolve().parents[3]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root has privileges to drop")
PR_CAPBSET_READ, CAP_SETPCAP = 23, 8


def somebody() -> pwd.struct_passwd:
    return next(entry for entry in pwd.getpwall() if entry.pw_uid not in {0, pwd.getpwnam("nobody").pw_uid})


def unused_uid() -> int:
    used = {entry.pw_uid for entry in pwd.getpwall()}
    return next(uid for uid in range(60123, 65000) if uid not in used)


@needs_root
def test_without_sudo_it_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert unprivileged_user(None).uid == pwd.getpwnam("nobody").pw_uid


@needs_root
def test_with_sudo_it_is_who_called_it(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = somebody()
    monkeypatch.setenv("SUDO_UID", str(entry.pw_uid))
    user = unprivileged_user(None)
    assert (user.name, user.uid, user.gid) == (entry.pw_name, entry.pw_uid, entry.pw_gid)


@needs_root
def test_root_who_calls_sudo_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "0")
    assert unprivileged_user(None).name == "nobody"


@needs_root
def test_a_named_user_comes_before_the_one_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(somebody().pw_uid))
    assert unprivileged_user("nobody").uid == pwd.getpwnam("nobody").pw_uid


def test_an_unknown_user_is_refused_by_name() -> None:
    with pytest.raises(TcptraceError, match="there is no user no-such-user on this machine") as caught:
        unprivileged_user("no-such-user")
    assert "--user" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["twenty-three", "", "1e3", None])
def test_a_caller_of_sudo_who_is_not_on_this_machine_is_refused_with_a_way_out(
    text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", str(unused_uid()) if text is None else text)
    with pytest.raises(TcptraceError, match="there is no user") as caught:
        unprivileged_user(None)
    assert "--user" in str(caught.value.hint)


@needs_root
def test_who_is_not_root_stays_who_they_are() -> None:
    code = """
import json, os
from tracer.errors import TcptraceError
from tracer.kernel.privileges import unprivileged_user
os.setresgid(23457, 23457, 23457)
os.setresuid(23456, 23456, 23456)
user = unprivileged_user(None)
try:
    unprivileged_user("nobody")
except TcptraceError as error:
    print(json.dumps({"uid": user.uid, "gid": user.gid, "what": error.what, "hint": error.hint}))
"""
    said = in_child(code, env={**os.environ, "SUDO_UID": "0"})
    assert (said["uid"], said["gid"]) == (23456, 23457)
    assert said["what"] == "cannot become nobody: only root can change users"
    assert said["hint"]


def test_root_is_refused() -> None:
    with pytest.raises(TcptraceError, match="tcptrace does not serve as root") as caught:
        unprivileged_user("root")
    assert caught.value.hint


def test_the_capabilities_of_a_process_are_those_that_the_kernel_shows() -> None:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    shown = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    assert effective_capabilities() == effective_capabilities(str(os.getpid())) == int(shown, 16)


def in_child(code: str, **options: Any) -> dict[str, Any]:
    """Run Python code that prints a JSON object, and return that."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


DROP = """
import ctypes, json, os, sys, threading
from tracer.kernel.privileges import User, drop_privileges, missing_capability
import numpy
before = missing_capability() is None
drop_privileges(User("somebody", 23456, 23457))
after = missing_capability()
threading.Thread(target=(running := threading.Event()).wait, daemon=True).start()
def status(task):
    with open(f"/proc/self/task/{task}/status") as file:
        return dict(line.rstrip().split(":", 1) for line in file)
def refused(act):
    try:
        act()
    except PermissionError:
        return True
    return False
print(json.dumps({
    "before": before,
    "after": after and after.what,
    "tasks": [{key: value.split() for key, value in status(task).items()} for task in os.listdir("/proc/self/task")],
    "refused": [refused(lambda: os.setuid(0)), refused(lambda: os.setgid(0)), refused(lambda: os.setgroups([0])),
                refused(lambda: open("/proc/1/environ", "rb").read())],
    "ambient": ctypes.CDLL(None).prctl(47, 1, 21, 0, 0),
}))
"""


@pytest.fixture(scope="module")
def dropped() -> dict[str, Any]:
    return in_child(DROP)


@needs_root
def test_after_the_drop_every_thread_is_the_user_without_groups(dropped: dict[str, Any]) -> None:
    assert len(dropped["tasks"]) >= 2
    for task in dropped["tasks"]:
        assert task["Uid"] == ["23456"] * 4
        assert task["Gid"] == ["23457"] * 4
        assert task["Groups"] == []


@needs_root
def test_after_the_drop_no_thread_has_a_capability_or_a_way_to_one(dropped: dict[str, Any]) -> None:
    for task in dropped["tasks"]:
        for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(task[kind][0], 16) == 0
        assert task["NoNewPrivs"] == ["1"]
    assert dropped["ambient"] == 0


@needs_root
def test_after_the_drop_nothing_leads_back(dropped: dict[str, Any]) -> None:
    assert dropped["refused"] == [True, True, True, True]


@needs_root
def test_the_drop_empties_the_bounding_set_where_the_caller_can(dropped: dict[str, Any]) -> None:
    if not effective_capabilities() >> CAP_SETPCAP & 1:
        pytest.skip("root here has no CAP_SETPCAP")
    assert all(int(task["CapBnd"][0], 16) == 0 for task in dropped["tasks"])


@needs_root
def test_before_the_drop_a_right_may_be_there_and_afterwards_it_is_missed_by_name(dropped: dict[str, Any]) -> None:
    assert dropped["before"] == (missing_capability() is None)
    assert "CAP_BPF and CAP_PERFMON" in dropped["after"]
    assert "user 23456" in dropped["after"]


@needs_root
def test_the_drop_is_for_good_through_programs_that_would_give_privileges_back() -> None:
    code = "import os; from tracer.kernel.privileges import User, drop_privileges; drop_privileges(User('x', 23456, 23456));"
    code += "import subprocess; subprocess.run(['/bin/sh', '-c', 'grep -E \"NoNewPrivs|CapEff\" /proc/self/status'])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1"]


@needs_root
def test_root_without_the_capabilities_is_told_which_ones_it_lacks() -> None:
    code = """
import ctypes, json
from tracer.kernel.privileges import missing_capability
libc = ctypes.CDLL(None)
assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()) == 0
print(json.dumps({"what": missing_capability().what}))
"""
    assert in_child(code)["what"] == "loading BPF programs needs CAP_BPF and CAP_PERFMON, which root lacks here"


CAPABILITIES = {"CAP_SYS_ADMIN": 1 << 21, "CAP_PERFMON": 1 << 38, "CAP_BPF": 1 << 39}


@needs_root
@pytest.mark.parametrize(
    ("names", "enough"),
    [
        (["CAP_SYS_ADMIN"], True),
        (["CAP_BPF", "CAP_PERFMON"], True),
        (["CAP_BPF"], False),
        (["CAP_PERFMON"], False),
        ([], False),
    ],
)
def test_either_all_of_the_old_right_or_both_new_ones_are_enough(names: list[str], enough: bool) -> None:
    mask = sum(CAPABILITIES[name] for name in names)
    if mask & ~effective_capabilities():
        pytest.skip("root lacks the capabilities to try")
    code = f"""
import ctypes, json
from tracer.kernel.privileges import missing_capability
libc, mask = ctypes.CDLL(None), {mask}
low, high = mask & 0xffffffff, mask >> 32
sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), sets) == 0
print(json.dumps({{"enough": missing_capability() is None}}))
"""
    assert in_child(code) == {"enough": enough}


@needs_root
def test_who_is_not_root_sheds_capabilities_too() -> None:
    code = """
import ctypes, json, os
from tracer.kernel.privileges import User, drop_privileges, effective_capabilities
libc = ctypes.CDLL(None)
assert libc.prctl(8, 1, 0, 0, 0) == 0
os.setresuid(23456, 23456, 23456)
kept = 1 << 10
assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(kept, kept, kept, 0, 0, 0)) == 0
assert libc.prctl(47, 2, 10, 0, 0) == 0
before = effective_capabilities()
drop_privileges(User("other", 34567, 34567))
with open("/proc/self/status") as file:
    status = dict(line.rstrip().split(":", 1) for line in file)
caps = [int(status[key], 16) for key in ("CapEff", "CapPrm", "CapInh", "CapAmb")]
print(json.dumps({"before": before, "uid": os.getuid(), "caps": caps}))
"""
    assert in_child(code) == {"before": 1 << 10, "uid": 23456, "caps": [0, 0, 0, 0]}


@needs_root
def test_a_thread_that_keeps_a_capability_stops_the_drop() -> None:
    code = """
import ctypes, json, os, threading
from tracer.errors import TcptraceError
from tracer.kernel.privileges import User, drop_privileges
libc = ctypes.CDLL(None)
assert libc.prctl(8, 1, 0, 0, 0) == 0
os.setresuid(23456, 23456, 23456)
ready, leave = threading.Event(), threading.Event()
def keeper():
    kept = 1 << 10
    assert libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)) == 0
    ready.set()
    leave.wait()
# a new thread inherits what this one holds
thread = threading.Thread(target=keeper)
thread.start()
ready.wait()
try:
    drop_privileges(User("x", 23456, 23456))
except TcptraceError as error:
    print(json.dumps({"what": error.what}))
leave.set()
thread.join()
"""
    assert in_child(code) == {"what": "capabilities could not be dropped"}


def test_the_numbers_of_prctl_are_those_of_this_machine() -> None:
    # reading the bounding set of a capability that exists gives 0 or 1, of one that does not an error
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_CAPBSET_READ, 0, 0, 0, 0) in {0, 1}
    assert libc.prctl(PR_CAPBSET_READ, 63, 0, 0, 0) == -1
