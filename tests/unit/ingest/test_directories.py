"""Directories as they come and go, in a file system where the kernel tells of them as in cgroup2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel.until import until
from tracer.ingest import directories
from tracer.ingest.directories import Directories, children


class Told:
    """What was told of, path by inode; paths in the order in which they were."""

    def __init__(self, root: Path) -> None:
        self.paths: dict[int, str] = {}
        self.directories = Directories(str(root), self.paths.__setitem__)

    def watched(self) -> set[str]:
        return set(self.directories._watches)


def test_what_is_there_is_told_of_with_its_inode(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "file").touch()
    expected = {(tmp_path / "a").stat().st_ino: "/a", (tmp_path / "a/b").stat().st_ino: "/a/b"}
    assert Told(tmp_path).paths == expected


def test_what_comes_later_is_told_of_at_any_depth(tmp_path: Path) -> None:
    told = Told(tmp_path)
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    until(lambda: "/a/b/c/d" in told.paths.values(), "the deepest was told of")
    (tmp_path / "a/b/c/d/e").mkdir()
    until(lambda: told.paths.get((tmp_path / "a/b/c/d/e").stat().st_ino) == "/a/b/c/d/e", "one in it too")


def test_watches_are_given_back_when_directories_go(tmp_path: Path) -> None:
    told = Told(tmp_path)
    for _ in range(23):
        (tmp_path / "a").mkdir()
        until(lambda: "/a" in told.watched(), "it is watched")
        (tmp_path / "a").rmdir()
        until(lambda: told.watched() == {""}, "it is not watched any more")
    assert set(told.directories._paths.values()) == {""}


def test_names_need_not_be_text(tmp_path: Path) -> None:
    told = Told(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b")).mkdir()
    until(lambda: "/\udcff\x1b" in told.paths.values(), "it was told of")


def test_one_watch_too_many_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """A kernel that has no more watches to give."""

        inotify_init1 = staticmethod(directories._LIBC.inotify_init1)

        @staticmethod
        def inotify_add_watch(*_: object) -> int:
            return -1

    monkeypatch.setattr(directories, "_LIBC", Full)
    monkeypatch.setattr("ctypes.get_errno", lambda: 28)
    with pytest.raises(OSError, match="No space left"):
        Directories(str(tmp_path), lambda *_: None)


def test_a_directory_that_is_not_there_has_no_children(tmp_path: Path) -> None:
    assert children(str(tmp_path / "missing")) == []
