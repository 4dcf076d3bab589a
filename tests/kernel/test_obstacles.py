"""Machines that lack something: each says what, and what to do, and ends with status 1."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.kernel.mounts import with_mounts
from tests.kernel.until import PATIENCE
from tests.needs import ROOT, tool

RUN = (sys.executable, "-m", "tracer", "run", "--listen", "127.0.0.1:0", "--duration", "1")
SNAPSHOT = (sys.executable, "-m", "tracer", "snapshot")
FOLLOW = (sys.executable, "-m", "tracer", "follow")
TRACING = (RUN, FOLLOW, *((sys.executable, "-m", "tracer", word) for word in ("events", "audit")))
DOCTOR = (sys.executable, "-m", "tracer", "doctor")
BCC = Path("/usr/lib/python3/dist-packages/bcc")
BTF = Path("/sys/kernel/btf")
SECURITY = Path("/sys/kernel/security")
KEPT = Path("/var/cache/tcptrace")
"""Programs that were compiled before: with them no compiler is missed."""

(LIBBPF,) = {path.resolve() for path in Path("/usr/lib").glob("*/libbpf.so.1")} or {Path("/nonexistent")}


def without(
    command: Sequence[str], *, empty: Sequence[Path] = (), bind: Mapping[Path, Path] | None = None
) -> subprocess.CompletedProcess[str]:
    hidden = with_mounts(*command, empty=[*empty, KEPT], bind=bind)
    return subprocess.run(hidden, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("empty", "bind", "said", "remedy"),
    [
        ([BCC], {}, "is not the BPF Compiler Collection", "apt-get install python3-bpfcc"),
        ([], {BCC / "libbcc.py": Path("/dev/null")}, "cannot import bcc", "apt-get install python3-bpfcc"),
        ([BTF], {}, "cannot read the kernel's type information", "CONFIG_DEBUG_INFO_BTF"),
        ([], {LIBBPF: Path("/dev/null")}, "libbpf", "apt-get install"),
    ],
    ids=["another bcc", "a broken bcc", "no BTF", "no libbpf"],
)
def test_what_is_missing_is_said_with_the_remedy(empty: list[Path], bind: dict[Path, Path], said: str, remedy: str) -> None:
    done = without(RUN, empty=empty, bind={what: where for where, what in bind.items()})
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["tcptrace", "hint"]  # and nothing of libbpf's own
    assert said in done.stderr
    assert remedy in done.stderr
    examined = without(DOCTOR, empty=empty, bind={what: where for where, what in bind.items()})
    assert examined.returncode == 1
    assert "FAIL" in examined.stdout


def test_root_without_capabilities_is_told_which_ones_are_needed() -> None:
    command = [tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all", *RUN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    assert "needs CAP_BPF and CAP_PERFMON, which root lacks here" in done.stderr
    assert "tcptrace replay" in done.stderr


def test_a_kernel_without_ring_buffers_is_told_which_one_has_them(tmp_path: Path) -> None:
    name = b"\0bpf_ringbuf_reserve\0"
    types = (BTF / "vmlinux").read_bytes()
    assert name in types
    older = tmp_path / "vmlinux"
    older.write_bytes(types.replace(name, name.upper()))
    said = ["tcptrace: this kernel has no BPF ring buffers", "hint: tcptrace needs Linux 5.8 or newer"]
    assert without(RUN, bind={older: BTF / "vmlinux"}).stderr.splitlines() == said
    examined = without(DOCTOR, bind={older: BTF / "vmlinux"})
    assert examined.returncode == 1
    assert "FAIL ring buffers: this kernel has no BPF ring buffers" in examined.stdout


def test_a_container_whose_capabilities_count_for_itself_alone_is_told_what_it_needs() -> None:
    container = (tool("unshare"), "--user", "--map-root-user")
    for command in (RUN, FOLLOW):
        done = without((*container, *command))
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "tcptrace: the kernel refused the BPF programs: Operation not permitted",
            "hint: BPF is not allowed here: in a container add CAP_BPF and CAP_PERFMON, or run on the host",
        ]
    examined = without((*container, *DOCTOR))
    assert examined.returncode == 1
    assert "FAIL privileges: the kernel refused the BPF programs" in examined.stdout
    assert "would fail" not in examined.stdout  # what follows from it is not told once more


def test_a_kernel_that_is_locked_down_is_said_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "lockdown").write_text("none integrity [confidentiality]\n", encoding="ascii")
    locked = {tmp_path: SECURITY}
    for command in TRACING:
        done = without(command, bind=locked)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "tcptrace: the kernel is locked down (confidentiality): BPF may not read its memory",
            "hint: boot with lockdown=integrity or none",
        ]
    examined = without(DOCTOR, bind=locked)
    assert examined.returncode == 1
    assert "the kernel is locked down (confidentiality)" in examined.stdout


@pytest.mark.parametrize(
    ("place", "commands"), [(Path("/proc"), (*TRACING, SNAPSHOT)), (Path("/sys"), TRACING)], ids=["no /proc", "no /sys"]
)
def test_a_chroot_without_proc_or_sys_is_told_which_one_is_missing(place: Path, commands: tuple[tuple[str, ...], ...]) -> None:
    examined = without(DOCTOR, empty=[place])
    assert f"{place} is not mounted here" in examined.stdout
    assert examined.returncode == 1
    for command in commands:
        done = without(command, empty=[place])
        assert done.returncode == 1, command
        assert f"{place} is not mounted here" in done.stderr, command
        assert "Traceback" not in done.stderr
