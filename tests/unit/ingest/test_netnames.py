from __future__ import annotations

from pathlib import Path

from tracer.ingest.netnames import NamespaceNames
from tracer.ingest.workloads import Workload

CONTAINER = Workload("0123456789ab", container_id="0123456789ab" + 52 * "0")


def test_a_namespace_has_the_name_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "blue").touch()
    names = NamespaceNames(tmp_path)
    assert names((tmp_path / "blue").stat().st_ino, CONTAINER) == "blue"


def test_one_without_a_file_has_the_name_of_the_container_or_its_number(tmp_path: Path) -> None:
    names = NamespaceNames(tmp_path)
    assert names(1, CONTAINER) == CONTAINER.name
    assert names(2, Workload("ssh.service", unit="ssh.service")) == "2"
    assert names(3) == "3"


def test_a_name_that_was_given_out_stays(tmp_path: Path) -> None:
    names = NamespaceNames(tmp_path)
    assert names(7) == "7"
    assert names(7, CONTAINER) == "7"


def test_a_namespace_that_comes_later_is_found(tmp_path: Path) -> None:
    now = 0.0
    names = NamespaceNames(tmp_path, lambda: now)
    names(1)
    (tmp_path / "green").touch()
    now = 1.0
    assert names((tmp_path / "green").stat().st_ino) == "green"


def test_no_directory_and_odd_names_harm_nothing(tmp_path: Path) -> None:
    assert NamespaceNames(tmp_path / "none")(5) == "5"
    (tmp_path / "a\x1b[2J").touch()
    assert NamespaceNames(tmp_path)((tmp_path / "a\x1b[2J").stat().st_ino) == r"a\x1b[2J"
