"""The compose file, by the engine's own check; images and containers are not made, as that takes an engine that runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from tests.needs import ROOT, tool
from tests.unit.deploy.dockerfile import instructions

FILE = ROOT / "deploy/compose/compose.yaml"
PROVISIONING = FILE.parent / "grafana"


def config(path: Path) -> subprocess.CompletedProcess[str]:
    command = [tool("docker-compose"), "--file", str(path), "config", "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def services() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"])


def mounts(service: str) -> dict[PurePosixPath, Path]:
    """Return what is mounted from the checkout, by its place in the container."""
    parts = [volume.split(":") for volume in services()[service].get("volumes", [])]
    return {PurePosixPath(there): FILE.parent / here for here, there, *_ in parts if here.startswith(".")}


def seen(service: str, place: PurePosixPath) -> Path:
    """Return the file of the checkout that a container sees at a place."""
    found = [(inside, outside) for inside, outside in mounts(service).items() if place.is_relative_to(inside)]
    inside, outside = max(found, key=lambda pair: len(pair[0].parts))
    return outside / place.relative_to(inside)


@pytest.mark.needs("docker-compose")
def test_compose_understands_the_file() -> None:
    done = config(FILE)
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("docker-compose")
def test_compose_would_refuse_a_misspelt_key(tmp_path: Path) -> None:
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    document["services"]["tcptrace"]["cap_added"] = ["BPF"]
    path = tmp_path / "compose.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = config(path)
    assert done.returncode != 0
    assert "cap_added" in done.stderr


def test_every_image_but_our_own_has_a_tag_with_a_version() -> None:
    images = [service["image"] for service in services().values() if "build" not in service]
    assert images
    assert [image for image in images if not any(letter.isdigit() for letter in image.partition(":")[2])] == []


def test_all_that_is_mounted_exists_and_nothing_can_write_to_it() -> None:
    for name, service in services().items():
        assert [str(path) for path in mounts(name).values() if not path.exists()] == []
        assert all(volume.endswith(":ro") for volume in service.get("volumes", []) if volume.startswith("."))


def test_the_build_uses_our_dockerfile_with_the_checkout_around_it() -> None:
    build = services()["tcptrace"]["build"]
    context = (FILE.parent / build["context"]).resolve()
    assert context == ROOT
    assert instructions(context / build["dockerfile"])


def test_prometheus_finds_configuration_and_rules_in_its_container() -> None:
    (option,) = [word for word in services()["prometheus"]["command"] if word.startswith("--config.file=")]
    place = PurePosixPath(option.partition("=")[2])
    configuration = seen("prometheus", place)
    assert configuration.resolve() == ROOT / "deploy/prometheus/prometheus.yml"
    (rules,) = yaml.safe_load(configuration.read_text(encoding="utf-8"))["rule_files"]
    steps = list(place.parent.parts)
    for step in PurePosixPath(rules).parts:
        steps = steps[:-1] if step == ".." else [*steps, step]
    assert seen("prometheus", PurePosixPath(*steps)).resolve() == ROOT / "dashboards/rules.yml"


def test_grafana_is_provisioned_with_the_prometheus_beside_it_and_our_dashboards() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yaml").read_text(encoding="utf-8"))["datasources"]
    (listening,) = [word for word in services()["prometheus"]["command"] if word.startswith("--web.listen-address=")]
    assert source["url"] == f"http://{listening.partition('=')[2]}"
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/tcptrace.yaml").read_text(encoding="utf-8"))["providers"]
    place = PurePosixPath(provider["options"]["path"])
    found = {path.name for inside, path in mounts("grafana").items() if inside.parent == place}
    assert found == {path.name for path in (ROOT / "dashboards").glob("tcptrace-*.json")}
    home = PurePosixPath(services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads(seen("grafana", home).read_text(encoding="utf-8"))["title"]
