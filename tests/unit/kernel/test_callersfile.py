"""What a user names is opened with their own permissions, also when sudo made it root: nothing else is read or written."""

from __future__ import annotations

import os
import pwd
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.kernel.until import until
from tracer.errors import TcptraceError
from tracer.kernel.callersfile import open_as_caller, open_to_read, read_as_caller, unless_empty

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can act for somebody else")

SOMEBODY = pwd.getpwnam("daemon")


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a directory of a user who called sudo, below directories that everybody may enter."""
    monkeypatch.setenv("SUDO_UID", str(SOMEBODY.pw_uid))
    with TemporaryDirectory() as directory:
        os.chown(directory, SOMEBODY.pw_uid, SOMEBODY.pw_gid)
        yield Path(directory)


@needs_root
def test_a_new_file_belongs_to_who_called_sudo_and_nobody_else_reads_it(theirs: Path) -> None:
    with open_as_caller(theirs / "new") as file:
        file.write(b"events")
    found = (theirs / "new").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (SOMEBODY.pw_uid, SOMEBODY.pw_gid, 0o600)
    assert (os.geteuid(), os.getegid()) == (0, 0)


def in_child(path: Path, text: bytes, *, killed: bool = False) -> None:
    """Write a file in a process of its own, which then has no privileges, or is killed."""
    child = os.fork()
    if not child:
        with unless_empty(path) as file:
            if os.geteuid() == 0:
                os.setresuid(SOMEBODY.pw_uid, SOMEBODY.pw_uid, SOMEBODY.pw_uid)
            file.write(text)
            if killed:
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    os.waitpid(child, 0)


def test_a_new_file_that_stays_empty_is_removed_and_another_one_stays(tmp_path: Path) -> None:
    empty, written, old, gone = (tmp_path / name for name in ("empty", "written", "old", "gone"))
    old.touch()
    in_child(empty, b"")
    in_child(written, b"text")
    in_child(old, b"")
    in_child(gone, b"", killed=True)
    until(lambda: set(tmp_path.iterdir()) == {written, old}, "the empty ones are removed")
    assert written.read_bytes() == b"text"


@needs_root
def test_who_waits_to_remove_an_empty_file_is_the_caller(theirs: Path) -> None:
    def users(pid: str) -> list[str]:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        return next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]

    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text("ascii").split())

    before = children()
    with unless_empty(theirs / "new"):
        (child,) = children() - before
        until(lambda: users(child) == [str(SOMEBODY.pw_uid)] * 4, "it has their number in every sense")
    assert not (theirs / "new").exists()


@needs_root
def test_what_has_taken_the_place_of_a_new_file_is_not_removed(theirs: Path) -> None:
    with unless_empty(theirs / "new"):
        (theirs / "new").unlink()
        (theirs / "new").touch()
    assert (theirs / "new").exists()


@needs_root
def test_a_file_of_roots_is_neither_written_nor_truncated_nor_given_away(theirs: Path, tmp_path: Path) -> None:
    secret = tmp_path / "preload"
    secret.write_text("root's")
    in_their_directory = theirs / "preload"
    in_their_directory.write_text("root's")
    in_their_directory.chmod(0o666)
    for path in (secret, in_their_directory):
        with pytest.raises(TcptraceError, match="cannot write"):
            open_as_caller(path)
        assert path.read_text() == "root's"
        assert path.stat().st_uid == 0


@needs_root
def test_where_the_caller_may_not_write_nothing_is_made(theirs: Path, tmp_path: Path) -> None:
    del theirs
    with pytest.raises(TcptraceError, match="Permission denied"):
        open_as_caller(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def secret_behind_a_link(theirs: Path, directory: Path) -> tuple[Path, Path]:
    """Make a file that is root's and a link to it where the caller may write; return both."""
    secret, link = directory / "secret", theirs / "link"
    secret.write_text("root's")
    link.symlink_to(secret)
    return secret, link


@needs_root
def test_a_link_is_not_followed(theirs: Path, tmp_path: Path) -> None:
    secret, link = secret_behind_a_link(theirs, tmp_path)
    with pytest.raises(TcptraceError, match="it is a link"):
        open_as_caller(link)
    assert secret.read_text() == "root's"


def test_what_is_in_a_file_stays_until_it_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_text("an older recording")
    with open_as_caller(path) as file:
        assert path.read_text() == "an older recording"
        file.truncate(0)
    assert path.read_text() == ""


def test_a_pipe_that_nobody_reads_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TcptraceError, match="it is not an ordinary file"):
        open_as_caller(tmp_path / "pipe")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full"])
def test_a_device_is_refused(path: str) -> None:
    with pytest.raises(TcptraceError, match="it is not an ordinary file"):
        open_as_caller(Path(path))


def test_a_directory_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TcptraceError, match="Is a directory") as caught:
        open_as_caller(tmp_path)
    assert "give a path where you may write" in str(caught.value.hint)


@needs_root
def test_what_the_caller_may_not_read_is_not_read_for_them(theirs: Path, tmp_path: Path) -> None:
    for path in secret_behind_a_link(theirs, tmp_path):
        with pytest.raises(PermissionError, match=f"{SOMEBODY.pw_name}, who called sudo, may not read it"):
            open_to_read(path)
    assert os.geteuid() == 0


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "/tmp", "fifo"])
def test_what_is_no_ordinary_file_is_not_read_and_not_waited_for(path: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"not an ordinary file|No such"):
        open_to_read(tmp_path / path)


def test_no_more_is_read_than_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(101))
    assert read_as_caller(path, 101) == bytes(101)
    with pytest.raises(OSError, match="more than 100 bytes"):
        read_as_caller(path, 100)


def test_a_path_with_a_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="null"):
        open_to_read(tmp_path / "a\0b")
    with pytest.raises(TcptraceError, match="cannot write"):
        open_as_caller(tmp_path / "a\0b")
