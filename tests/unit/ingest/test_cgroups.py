"""Names of cgroups, from a tree of directories like that of /sys/fs/cgroup."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from tests.kernel.until import until
from tracer.ingest import cgroups
from tracer.ingest.cgroups import CgroupNames, cgroup2_mount, cgroup_workloads
from tracer.ingest.workloads import Workload, workload

ID = "0123456789abcdef" * 4


class Clock:
    """Time that passes when the test says so. looks: how often it was asked, which every walk does."""

    now = 0.0
    looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now


def make(root: Path, path: str) -> int:
    directory = root / path
    directory.mkdir(parents=True)
    return directory.stat().st_ino


def test_ids_are_the_inodes_of_directories(tmp_path: Path) -> None:
    nginx = make(tmp_path, "system.slice/nginx.service")
    docker = make(tmp_path, f"system.slice/docker-{ID}.scope")
    names = CgroupNames(tmp_path)
    assert (names(nginx), names(docker)) == ("nginx.service", "0123456789ab")


def test_the_root_has_no_name_and_all_below_it_have_their_paths(tmp_path: Path) -> None:
    nginx = make(tmp_path, "system.slice/nginx.service")
    assert dict(cgroup_workloads(tmp_path)) == {
        tmp_path.stat().st_ino: Workload(),
        (tmp_path / "system.slice").stat().st_ino: Workload("system.slice"),
        nginx: Workload("nginx.service", unit="nginx.service"),
    }


def test_files_and_links_are_not_cgroups(tmp_path: Path) -> None:
    make(tmp_path, "a.service")
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "a.service" / "loop.service").symlink_to(tmp_path)
    assert sorted(found.name for _, found in cgroup_workloads(tmp_path)) == ["", "a.service"]


def test_a_cgroup_that_came_later_is_found_when_it_is_asked_for(tmp_path: Path) -> None:
    names = CgroupNames(tmp_path, Clock(), watch=False)
    assert names(make(tmp_path, "a.service")) == "a.service"
    assert names(make(tmp_path, "b.service")) == "b.service"


def test_a_cgroup_that_is_gone_keeps_its_name(tmp_path: Path) -> None:
    clock = Clock()
    names = CgroupNames(tmp_path, clock, watch=False)
    gone = make(tmp_path, "a.service")
    assert names(gone) == "a.service"
    (tmp_path / "a.service").rename(tmp_path / "b.scope")
    names(2**60)
    (tmp_path / "b.scope").rmdir()
    names(2**60 + 1)
    assert names(gone) == "b.scope"


def test_an_id_that_is_nowhere_costs_one_walk(tmp_path: Path) -> None:
    clock = Clock()
    names = CgroupNames(tmp_path, clock, watch=False)
    names(2**60)
    looks = clock.looks
    assert [names(2**60) for _ in range(23)] == [""] * 23
    assert clock.looks == looks


def test_after_a_long_walk_the_next_one_has_to_wait(tmp_path: Path) -> None:
    class Slow(Clock):
        def __call__(self) -> float:
            self.now += 1
            return self.now

    clock = Slow()
    names = CgroupNames(tmp_path, clock, watch=False)
    names(2**60)
    late = make(tmp_path, "late.service")
    assert names(late) == ""
    clock.now += 1 / cgroups.SHARE
    assert names(late) == "late.service"


def test_no_more_than_so_many_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "LIMIT", 5)
    names = CgroupNames(tmp_path, Clock(), watch=False)
    for number in range(23):
        names(2**60 + number)
    assert len(names._workloads) <= 6


def test_a_directory_that_is_not_there_has_no_names(tmp_path: Path) -> None:
    assert CgroupNames(tmp_path / "missing")(23) == ""


def test_the_mount_of_version_2_is_found_in_both_layouts() -> None:
    one, two = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0", "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0"
    assert cgroup2_mount(f"tmpfs /sys/fs/cgroup tmpfs rw 0 0\n{one}\n{two}\n") == Path("/sys/fs/cgroup/unified")
    assert cgroup2_mount("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") == Path("/sys/fs/cgroup")
    assert cgroup2_mount(r"none /mnt/c\040g cgroup2 rw 0 0") == Path("/mnt/c g")
    assert cgroup2_mount("cgroup2 /mnt tmpfs rw 0 0\n\n") is None


def test_the_name_of_our_own_cgroup_is_that_of_its_path() -> None:
    root = cgroup2_mount(cgroups.MOUNTS.read_text(encoding="utf-8"))
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if root is None or path is None or not (root / path[1:]).is_dir():
        assert CgroupNames()(2**60) == ""
    else:
        assert CgroupNames()((root / path[1:]).stat().st_ino) == workload(path).name


def test_directories_that_are_gone_when_they_are_asked_for_are_known(tmp_path: Path) -> None:
    names = CgroupNames(tmp_path)
    names(2**60)
    quick = [make(tmp_path, f"{number}.slice/{number}.service") for number in range(23)]
    until(lambda: quick[-1] in names._workloads, "the last was learnt")
    shutil.rmtree(tmp_path)
    assert [names(identity) for identity in quick] == [f"{number}.service" for number in range(23)]


def test_one_that_was_just_made_is_known_although_the_next_walk_has_to_wait(tmp_path: Path) -> None:
    clock = Clock()
    names = CgroupNames(tmp_path, clock)
    names(2**60)
    names._next_walk = float("inf")
    for number in range(230):
        assert names(make(tmp_path, f"{number}.service")) == f"{number}.service"


def test_no_more_than_so_many_are_remembered_of_those_that_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "LIMIT", 5)
    names = CgroupNames(tmp_path)
    names(2**60)
    for number in range(23):
        make(tmp_path, f"{number}.service")
    until(lambda: "22.service" in {found.name for found in names._workloads.values()}, "the last was learnt")
    assert len(names._workloads) == 5


def test_where_the_kernel_refuses_to_tell_walks_find_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cgroups, "Directories", refuse)
    names = CgroupNames(tmp_path, Clock())
    assert names(make(tmp_path, "a.service")) == "a.service"
    assert names(make(tmp_path, "b.service")) == "b.service"
