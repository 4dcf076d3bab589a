"""What serves the metrics has no privileges, none of the compiler in its memory, and needs no file once it has begun."""

from __future__ import annotations

import ctypes
import errno
import gzip
import mmap
import os
import pwd
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.kernel.mounts import with_mounts
from tests.kernel.net import SERVER, Link
from tests.kernel.tracing import MAX_RESIDENT_KB, RUN, Tracing, start, tracing
from tests.kernel.traffic import listening, talk
from tests.kernel.until import PATIENCE
from tests.needs import ROOT, bpf
from tracer.kernel.filters import Filters
from tracer.kernel.launch import load_programs
from tracer.kernel.settings import Settings

BPF_MAP_UPDATE_ELEM = 2
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(name="tracer", scope="module")
def fixture_tracer() -> Iterator[Tracing]:
    """Return a tracer that has served everything it serves."""
    with tracing("--port", "7001", "--netns", "own") as tracer:
        get_everything(tracer)
        yield tracer


def get_everything(tracer: Tracing) -> None:
    """Ask for every page in every form, which ends in an error if one cannot be had."""
    text, head = tracer.get("/metrics")
    assert head["Content-Type"].startswith("text/plain")
    assert b"tcptrace_build_info" in text
    openmetrics, head = tracer.get("/metrics", Accept=OPENMETRICS)
    assert head["Content-Type"].startswith("application/openmetrics-text")
    parsed = text_string_to_metric_families(openmetrics.decode())  # type: ignore[no-untyped-call]
    assert any(family.name == "tcptrace_build" for family in parsed)
    packed, head = tracer.get("/metrics", Accept_Encoding="gzip")
    assert head["Content-Encoding"] == "gzip"
    assert b"tcptrace_build_info" in gzip.decompress(packed)
    page, head = tracer.get("/")
    assert head["Content-Type"].startswith("text/html")
    assert b"</html>" in page
    assert tracer.get("/healthz")[0] == b"ok\n"


def test_the_serving_process_is_not_root_in_any_of_its_threads(tracer: Tracing) -> None:
    nobody = pwd.getpwnam("nobody")
    assert len(tracer.thread_statuses()) > 1
    for status in tracer.thread_statuses():
        assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert status["Groups"] == ""


def test_no_thread_has_a_capability_or_a_way_to_one(tracer: Tracing) -> None:
    for status in tracer.thread_statuses():
        sets = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        assert sets == dict.fromkeys(sets, 0)
        assert status["NoNewPrivs"] == "1"


def test_the_compiler_is_not_in_its_memory(tracer: Tracing) -> None:
    maps = Path(f"/proc/{tracer.pid}/maps").read_text(encoding="utf-8")
    assert "numpy" in maps
    for library in ("libLLVM", "libbcc", "libclang", "libbpf"):
        assert library not in maps


def test_it_stays_within_its_memory(tracer: Tracing, record_property: Callable[[str, object], None]) -> None:
    resident = int(tracer.status()["VmRSS"].split()[0])
    record_property("resident_kb", resident)
    print(f"resident after every page: {resident / 1024:.1f} MiB")
    assert resident < MAX_RESIDENT_KB


def test_it_holds_nothing_but_what_it_reads_from_and_serves(tracer: Tracing) -> None:
    # libffi may keep itself open, for the trampolines of ctypes' callbacks
    names = [name for name in tracer.descriptors() if not Path(name).name.startswith("libffi.so")]
    kinds = [name.split(":")[0].split("/")[1] if name.startswith("/") else name.split(":")[0] for name in names]
    assert set(kinds) <= {"anon_inode", "dev", "pipe", "proc", "socket"}
    assert kinds.count("socket") <= 3  # the listener, the sockets' list, and a scrape that is on its way out


def test_scrapes_leave_no_descriptor_behind(tracer: Tracing) -> None:
    tracer.scrape()
    before = [name for name in tracer.descriptors() if not name.startswith("socket:")]
    for _ in range(23):
        get_everything(tracer)
    assert [name for name in tracer.descriptors() if not name.startswith("socket:")] == before


def test_the_loader_is_gone_when_tracing_begins(tracer: Tracing) -> None:
    assert tracer.children() == []


def test_the_user_can_be_chosen() -> None:
    daemon = pwd.getpwnam("daemon")
    with tracing("--user", "daemon") as tracer:
        assert tracer.status()["Uid"].split() == [str(daemon.pw_uid)] * 4
        assert tracer.status()["Gid"].split() == [str(daemon.pw_gid)] * 4


@pytest.mark.parametrize(("user", "said"), [("root", "is root"), ("no-such-user", "there is no user no-such-user")])
def test_a_user_that_will_not_do_is_refused(user: str, said: str) -> None:
    with start("--user", user) as process:
        out, log = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert out == b""
    assert said in log.decode()
    assert "hint:" in log.decode()


def test_it_works_from_a_checkout_that_only_root_can_read(link: Link, port: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    checkout = home / "tcptrace"
    checkout.mkdir(parents=True)
    home.chmod(0o700)
    python = sys.executable.replace(str(ROOT), str(checkout))
    hidden = with_mounts("sh", "-c", f'cd {checkout} && exec "$@"', "sh", python, *RUN, bind={ROOT: checkout}, empty=[ROOT])
    with tracing("--port", str(port), command=hidden) as tracer:
        assert_unreadable(tracer, checkout)
        with listening(link.server, SERVER[4], port) as listener:
            talk(link.client, listener, SERVER[4], times=23)
        tracer.wait_for_transitions({("fin_wait2", "close"): 23, ("last_ack", "close"): 23})
        get_everything(tracer)
        summary = tracer.stop()
    assert summary.status == 0
    assert summary.count("handshakes", role="client", port=port) == 23
    assert "Traceback" not in summary.log


def assert_unreadable(tracer: Tracing, checkout: Path) -> None:
    """Show that the test means something: the process's user cannot read the code, and there is no other copy of it."""
    user = f"--reuid={tracer.status()['Uid'].split()[0]}"
    look = ["nsenter", f"--mount=/proc/{tracer.pid}/ns/mnt", "setpriv", user, "--clear-groups", "test", "-r"]
    for place in (checkout, ROOT):
        assert subprocess.run([*look, str(place / "tracer/cli.py")], check=False).returncode == 1


def test_nobody_but_the_programs_writes_the_counters() -> None:
    loaded = load_programs(Settings(Filters(ports=(1,))))
    handles = [fd for handle in loaded.handles for fd in handle.descriptors]
    try:
        size = loaded.cpus * 4096
        with pytest.raises(PermissionError):
            mmap.mmap(loaded.counters, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        key, value = ctypes.create_string_buffer(8), ctypes.create_string_buffer(size)
        attributes = struct.pack("=IxxxxQQQ", loaded.counters, ctypes.addressof(key), ctypes.addressof(value), 0)
        assert bpf(BPF_MAP_UPDATE_ELEM, attributes) == -1
        assert ctypes.get_errno() == errno.EPERM
    finally:
        pairs = [fd for pair in loaded.programs.values() for fd in pair]
        for fd in (loaded.ring, loaded.counters, *loaded.held, *pairs, *handles):
            os.close(fd)
