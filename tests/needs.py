"""What a test may need from the machine, asked once and answered with a reason; a pytest plugin.

`@pytest.mark.kernel` is for tests that load BPF programs, `@pytest.mark.needs("tshark")` for those that run another program,
`@pytest.mark.needs_kernel("calls")` for those that can only hold on a kernel with a feature.
What is missing skips the test with the reason, and TCPTRACE_REQUIRE_KERNEL=1 turns every skip, of whatever origin, into a
failure: where all of it is meant to be there, a test that did not run must not look like one that passed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from tracer.kernel.btf import Btf
from tracer.kernel.features import feature, lacking

ROOT = Path(__file__).resolve().parents[1]
SWITCH = "TCPTRACE_REQUIRE_KERNEL"

# Where set-up puts what it does not install; and the directories that an ordinary user's PATH lacks.
PLACES = (ROOT / ".cache/prometheus/usr/bin", Path("/usr/sbin"), Path("/sbin"))

LACKS = "this kernel lacks"
"""How the reason of a skip begins where a test cannot hold on this kernel."""

SYSCALL_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
T = TypeVar("T")

BPF_PROG_LOAD = 5
BPF_RAW_TRACEPOINT_OPEN = 17
BPF_PROG_TYPE_RAW_TRACEPOINT = 17


def forced() -> bool:
    """Whether a skip counts as a failure."""
    return os.environ.get(SWITCH, "") not in ("", "0")


@cache
def find_tool(name: str) -> str | None:
    """Return the path of a program, or None where there is none."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, PLACES)))


def tool(name: str) -> str:
    """Return the path of a program that the test named in its needs marker."""
    path = find_tool(name)
    assert path is not None, f"{name} is not here: mark the test with needs({name!r})"
    return path


def bpf(command: int, attributes: bytes) -> int:
    """Call bpf(2); return what it does, -1 with errno set where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(SYSCALL_BPF[platform.machine()], command, attributes, len(attributes)))


def _bpf_obstacle() -> str | None:
    """Load the smallest program there is ("return 0") and attach it to the tracepoint that matters most."""
    program = ctypes.create_string_buffer(struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0), 16)
    licence = ctypes.create_string_buffer(b"GPL")
    load = struct.pack("=IIQQ", BPF_PROG_TYPE_RAW_TRACEPOINT, 2, ctypes.addressof(program), ctypes.addressof(licence))
    loaded = bpf(BPF_PROG_LOAD, load)
    if loaded < 0:
        return f"the kernel refuses to load a BPF program: {os.strerror(ctypes.get_errno())}"
    name = ctypes.create_string_buffer(b"inet_sock_set_state")
    attached = bpf(BPF_RAW_TRACEPOINT_OPEN, struct.pack("=QII", ctypes.addressof(name), loaded, 0))
    reason = os.strerror(ctypes.get_errno())
    os.close(loaded)
    if attached < 0:
        return f"the kernel refuses a raw tracepoint program: {reason}"
    os.close(attached)
    return None


def _bcc_is_there() -> bool:
    """Say whether the distribution's Python has it, without importing it, which takes root's time."""
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('bcc') is None)"
    try:
        return subprocess.run(["/usr/bin/python3", "-I", "-c", look], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@cache
def kernel_obstacle() -> str | None:
    """Say why BPF programs cannot be loaded here, or None where they can."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "needs a kernel with BTF: /sys/kernel/btf/vmlinux is missing"
    if not _bcc_is_there():
        return "needs bcc for /usr/bin/python3: apt-get install python3-bpfcc"
    if platform.machine() not in SYSCALL_BPF:
        return f"cannot ask a kernel on {platform.machine()} whether it loads BPF programs"
    return _bpf_obstacle()


def missing_tools(item: pytest.Item) -> list[str]:
    """Return the programs that the item's needs markers name and that are not here."""
    names = [name for marker in item.iter_markers("needs") for name in marker.args]
    return [name for name in names if find_tool(name) is None]


@cache
def lacking_features() -> dict[str, str]:
    """Return what this kernel lacks, by the features' names (tracer/kernel/features.py)."""
    btf = Btf()
    lost = {feature.name: feature.what for feature in lacking(btf)}
    btf.close()
    return lost


def missing_feature(item: pytest.Item) -> str | None:
    """Say which feature the item's needs_kernel markers name and this kernel lacks."""
    names = [feature(name).name for marker in item.iter_markers("needs_kernel") for name in marker.args]
    lost = [name for name in names if name in lacking_features()]
    return f"{LACKS} {', '.join(lost)}" if lost else None


def shown(name: str, value: T) -> T | None:
    """Return a value, or None where this kernel lacks the feature by which it is known, as every output then has it."""
    return None if feature(name).name in lacking_features() else value


def skip_for_lack_of(what: str) -> NoReturn:
    """Skip a test that found out by itself that it cannot hold on this kernel."""
    pytest.skip(f"{LACKS} {what}")


def needs_mptcp() -> None:
    """Skip a test where this kernel has no MPTCP."""
    if not Path("/proc/sys/net/mptcp/enabled").exists():
        skip_for_lack_of("MPTCP (CONFIG_MPTCP)")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "needs_kernel(*features): holds only on kernels with these (tracer/kernel/features.py)")
    config.addinivalue_line("markers", "kernel: loads BPF programs; needs root")
    config.addinivalue_line("markers", "needs(*programs): runs other programs, such as tshark, promtool, nft or gcc")


def obstacle_of(item: pytest.Item) -> str | None:
    """Say why an item cannot run here, or None where it can."""
    if item.get_closest_marker("kernel") and (obstacle := kernel_obstacle()):
        return obstacle
    if item.get_closest_marker("needs_kernel") and (lack := missing_feature(item)):
        return lack
    missing = missing_tools(item)
    return f"not installed: {', '.join(missing)}" if missing else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what cannot run here to be skipped; everything below tests/kernel is a kernel test, marked or not."""
    if ROOT / "tests/kernel" in item.path.parents:
        item.add_marker("kernel")
    if obstacle := obstacle_of(item):
        item.add_marker(pytest.mark.skip(reason=obstacle))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test's skip into a failure where the switch is set; an expected failure is no skip."""
    report = yield
    if forced() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = _complaint(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole file (importorskip, a skip at module level) into an error likewise."""
    report = yield
    if forced() and report.skipped:
        report.outcome = "failed"
        report.longrepr = _complaint(report)
    return report


def _complaint(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return f"{report.nodeid} was skipped, and {SWITCH} forbids that: {reason.removeprefix('Skipped: ')}"
