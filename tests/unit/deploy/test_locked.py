"""What `make install` and the image take from PyPI: of each package one version, by the hashes of its files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.needs import ROOT

PLACE = ROOT / "deploy/locked"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WANTED = {"requirements": PROJECT["project"]["dependencies"], "build": PROJECT["build-system"]["requires"]}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def locked(name: str) -> list[tuple[Requirement, int]]:
    """Return what a lock has, with the number of hashes of each."""
    text = (PLACE / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.partition(" --hash")[::2] for line in text.splitlines() if line and not line.startswith("#")]
    return [(Requirement(what), len(re.findall(r"hash=sha256:[0-9a-f]{64}\b", f"--hash{hashes}"))) for what, hashes in lines]


def of_python(name: str, version: str) -> dict[str, Requirement]:
    """Return what is installed by one version of Python, by name."""
    environment = {"python_version": version, "python_full_version": f"{version}.0"}  # the rest is this one's
    chosen = [what for what, _ in locked(name) if what.marker is None or what.marker.evaluate(environment)]
    assert len({what.name for what in chosen}) == len(chosen)
    return {canonicalize_name(what.name): what for what in chosen}


def lacking(wanted: Iterable[str], have: dict[str, Requirement]) -> list[str]:
    """Return the requirements that are not met."""
    found = []
    for requirement in map(Requirement, wanted):
        pin = have.get(canonicalize_name(requirement.name))
        version = next(iter(pin.specifier)).version if pin else ""
        if not pin or not requirement.specifier.contains(version):
            found.append(str(requirement))
    return found


@pytest.mark.parametrize("version", PYTHONS)
@pytest.mark.parametrize("name", WANTED)
def test_a_lock_has_all_that_the_project_asks_for_in_a_version_that_it_takes(name: str, version: str) -> None:
    assert lacking(WANTED[name], of_python(name, version)) == []


@pytest.mark.parametrize("name", WANTED)
def test_each_package_has_one_version_and_hashes(name: str) -> None:
    assert [what.name for what, hashes in locked(name) if not hashes] == []
    assert [str(what) for what, _ in locked(name) if [one.operator for one in what.specifier] != ["=="]] == []


def test_a_requirement_that_is_not_met_would_be_found() -> None:
    have = of_python("requirements", "3.11")
    assert lacking(["numpy>=99", "nothing", "typer"], have) == ["numpy>=99", "nothing"]


def test_the_installation_and_the_image_take_nothing_else() -> None:
    script = (PLACE / "install.sh").read_text(encoding="utf-8")
    installs = re.findall(r"pip install (.*)", script)
    assert len(installs) == 3
    assert [line for line in installs if "--require-hashes" not in line] == ["--no-deps --no-build-isolation ."]
    for path in ("deploy/install.sh", "deploy/docker/Dockerfile"):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert "deploy/locked/install.sh" in text
        assert "pip install" not in text
