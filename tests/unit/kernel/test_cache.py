"""Where compiled programs are kept, and when what is there is not believed; no compiler is asked here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracer.kernel import cache
from tracer.kernel.bytecode import Bytecode, CompiledProgram

BYTECODE = Bytecode("0.26.0", (), {"on_it": CompiledProgram("95" + "00" * 7, {})})


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "kept"
    monkeypatch.setenv("CACHE_DIRECTORY", str(directory))
    return directory


def test_what_was_kept_is_read_again(kept: Path) -> None:
    cache.write("text", BYTECODE)
    assert cache.read("text") == BYTECODE
    assert cache.read("another text") is None
    assert kept.stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in kept.iterdir()] == [0o600]


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff\xfe", b'0\n{"bcc": "1"}'])
def test_a_damaged_file_is_passed_over_and_replaced(damage: bytes, kept: Path) -> None:
    cache.write("text", BYTECODE)
    next(kept.iterdir()).write_bytes(damage)
    assert cache.read("text") is None
    cache.write("text", BYTECODE)
    assert cache.read("text") == BYTECODE


def test_a_changed_instruction_is_noticed(kept: Path) -> None:
    cache.write("text", BYTECODE)
    file = next(kept.iterdir())
    file.write_text(file.read_text().replace('"9500', '"9501'))
    assert cache.read("text") is None


def test_what_others_can_write_is_not_read(kept: Path) -> None:
    cache.write("text", BYTECODE)
    file = next(kept.iterdir())
    for place in (file, kept):
        place.chmod(place.stat().st_mode | 0o020)
        assert cache.read("text") is None
        place.chmod(place.stat().st_mode & ~0o020)
    assert cache.read("text") == BYTECODE


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root gives files away")
def test_what_belongs_to_somebody_else_is_not_read(kept: Path) -> None:
    cache.write("text", BYTECODE)
    for place in (next(kept.iterdir()), kept):
        os.chown(place, 65534, -1)
        assert cache.read("text") is None
        os.chown(place, 0, -1)


def test_a_link_in_place_of_a_file_is_not_followed(kept: Path, tmp_path: Path) -> None:
    cache.write("text", BYTECODE)
    file = next(kept.iterdir())
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert cache.read("text") is None


def test_where_nothing_can_be_kept_nothing_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "file" / "below"))
    cache.write("text", BYTECODE)
    assert cache.read("text") is None
    assert not cache.is_kept()


def test_the_oldest_give_way(kept: Path) -> None:
    for number in range(cache.MOST + 3):
        cache.write(f"text {number}", BYTECODE)
        for file in kept.iterdir():
            os.utime(file, ns=(0, file.stat().st_mtime_ns - 1_000_000_000))
    assert len(list(kept.iterdir())) == cache.MOST
    assert cache.read("text 2") is None
    assert cache.read("text 3") == BYTECODE
