"""What leaves the checkout: the wheel has all that the program reads, and the Makefile offers what the documents promise."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.needs import ROOT, tool

TARGETS = ["setup", "run", "demo", "test", "bench", "check", "install", "uninstall", "help"]


@pytest.fixture(name="installed", scope="module")
def fixture_installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that holds the wheel's files as an installation lays them."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = place.glob("tcptrace-*.whl")
    zipfile.ZipFile(wheel).extractall(place / "site")
    return place / "site"


LEFT_OUT = {"__pycache__", "pictures"}


def files_below(directory: Path) -> set[str]:
    files = [path.relative_to(directory) for path in directory.rglob("*") if path.is_file()]
    return {str(path) for path in files if LEFT_OUT.isdisjoint(path.parts)}


def test_the_wheel_leaves_out_pictures_of_the_dashboards(installed: Path) -> None:
    assert not (installed / "tracer/dashboards/pictures").exists()


def test_the_wheel_carries_every_c_file(installed: Path) -> None:
    assert files_below(ROOT / "bpf") == files_below(installed / "tracer/bpf")


def test_the_wheel_carries_the_dashboards_without_what_makes_them(installed: Path) -> None:
    made = {name for name in files_below(ROOT / "dashboards") if not name.endswith(".py")}
    assert made == files_below(installed / "tracer/dashboards")
    assert {"tcptrace-overview.json", "tcptrace-connections.json", "tcptrace-fleet.json"} <= made


@pytest.mark.parametrize(("call", "file"), [("dashboard('fleet')", "tcptrace-fleet.json"), ("rules()", "rules.yml")])
def test_an_installed_copy_prints_its_dashboards_and_rules(installed: Path, call: str, file: str) -> None:
    program = f"from tracer.commands.dashboard import dashboard; from tracer.commands.rules import rules; {call}"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {program}"]
    seen = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True).stdout
    assert seen == (ROOT / "dashboards" / file).read_text(encoding="utf-8")


def test_the_wheel_carries_the_whole_package(installed: Path) -> None:
    assert files_below(ROOT / "tracer") <= files_below(installed / "tracer")


def test_an_installed_copy_finds_its_c_code(installed: Path) -> None:
    program = "from tracer.kernel.shipped import read_source; print(read_source('event.h'))"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {program}"]
    seen = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True).stdout
    assert seen.strip() == (ROOT / "bpf/event.h").read_text(encoding="utf-8").strip()


def test_the_package_does_not_depend_on_the_unrelated_bcc_of_pypi(installed: Path) -> None:
    (metadata,) = installed.glob("tcptrace-*.dist-info/METADATA")
    required = [
        line.split()[1] for line in metadata.read_text(encoding="utf-8").splitlines() if line.startswith("Requires-Dist")
    ]
    assert [name for name in required if name.startswith("bcc")] == []
    assert {"numpy", "prometheus-client", "typer"} <= {re.split(r"[<>=]", name)[0] for name in required}


@pytest.mark.needs("make")
def test_make_alone_lists_the_targets() -> None:
    listed = subprocess.run([tool("make"), "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [name for name in TARGETS if f"\n  {name} " not in listed] == []
