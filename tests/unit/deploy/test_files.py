"""What holds for all of deploy/: no privileged containers, and no word of a file that is not there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.needs import ROOT

PLACE = ROOT / "deploy"
YAML_FILES = sorted(path for path in PLACE.rglob("*") if path.suffix in {".yaml", ".yml"})
README = (PLACE / "README.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"(?<![\w/.])((?:deploy|dashboards|tests)/[\w./-]*[\w/])", README)))


def settings(node: object) -> list[tuple[str, object]]:
    """Return all (name, value) of a document, wherever they stand in it."""
    if isinstance(node, dict):
        return [pair for name, value in node.items() for pair in [(str(name), value), *settings(value)]]
    if isinstance(node, list):
        return [pair for value in node for pair in settings(value)]
    return []


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(PLACE)))
def test_nothing_is_privileged(path: Path) -> None:
    found = [pair for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) for pair in settings(document)]
    assert found
    assert [value for name, value in found if name == "privileged"] == []
    added = [value for name, value in found if name in {"add", "cap_add"}]
    assert all(set(rights) <= {"BPF", "PERFMON", "SETUID", "SETGID"} for rights in added if isinstance(rights, list))


@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_the_readme_names_exists(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("kind", ["systemd", "docker", "compose", "kubernetes", "prometheus"])
def test_the_readme_tells_of_every_kind_of_deployment(kind: str) -> None:
    assert any(name.startswith(f"deploy/{kind}") for name in NAMED)
    assert (PLACE / kind).is_dir()


@pytest.mark.parametrize("path", sorted(PLACE.glob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_one_that_bash_understands(path: Path) -> None:
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
