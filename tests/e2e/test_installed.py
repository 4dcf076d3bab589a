"""What `pipx install` makes: a wheel from the sdist, in an environment of its own, which is used from outside the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.needs import ROOT, tool
from tracer import __version__

DEMO = "tracer/data/demo.tcptrace"


def build(kind: str, source: Path, place: Path) -> Path:
    """Build an sdist or a wheel; return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(place)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = place.glob("tcptrace-*.whl" if kind == "wheel" else "tcptrace-*.tar.gz")
    return made


@pytest.fixture(name="home", scope="module")
def fixture_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with tcptrace installed; without a network, as its dependencies are those of the tests."""
    place = tmp_path_factory.mktemp("installed")
    subprocess.run([tool("tar"), "-xf", build("sdist", ROOT, place), "-C", place], check=True)
    (source,) = place.glob("tcptrace-*/")
    wheel = build("wheel", source, place)
    venv.create(place / "venv")
    libraries = site_packages(place / "venv")
    (libraries / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(place / "venv/bin/python")]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True, capture_output=True)
    return place / "venv"


def site_packages(home: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(home)}))


def tcptrace(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([home / "bin/tcptrace", *words], cwd="/", check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("words", "file"), [(["rules"], "rules.yml"), (["dashboard", "fleet"], "tcptrace-fleet.json")], ids=["rules", "dashboard"]
)
def test_it_prints_the_rules_and_the_dashboards(home: Path, words: list[str], file: str) -> None:
    done = tcptrace(home, *words)
    assert (done.returncode, done.stdout) == (0, (ROOT / "dashboards" / file).read_text(encoding="utf-8")), done.stderr


def test_it_replays_the_recording_that_it_came_with(home: Path) -> None:
    done = tcptrace(home, "replay", str(site_packages(home) / DEMO), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(tcptrace(home, "replay", str(ROOT / DEMO), "--json").stdout)


@pytest.mark.kernel
def test_it_finds_nothing_wrong_with_itself(home: Path) -> None:
    done = tcptrace(home, "doctor", "--json")
    found = {finding["name"]: finding["status"] for finding in json.loads(done.stdout)["findings"]}
    assert (found["run, record, report, audit"], found["command"]) == ("ok", "ok"), done.stdout + done.stderr


@pytest.mark.kernel
def test_it_traces(home: Path) -> None:
    done = tcptrace(home, "run", "--duration", "0.1", "--listen", "127.0.0.1:0", "--json")
    assert done.returncode == 0, done.stderr
    assert "attached after" in done.stderr
    assert json.loads(done.stdout)["version"] == __version__
