"""The scrape configuration, as Prometheus reads it, with the rules that it names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.needs import ROOT, tool
from tracer.commands.options import DEFAULT_LISTEN

CONFIGURATION = ROOT / "deploy/prometheus/prometheus.yml"


def check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [tool("promtool"), "check", "config", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.needs("promtool")
def test_prometheus_accepts_the_configuration_and_finds_the_rules() -> None:
    done = check(CONFIGURATION)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dashboards/rules.yml" in done.stdout
    assert "FAILED" not in done.stdout + done.stderr


@pytest.mark.needs("promtool")
def test_a_misspelt_option_would_be_refused(tmp_path: Path) -> None:
    document = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    document["scrape_configs"][0]["static_config"] = []
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert "static_config" in check(path).stderr


@pytest.mark.needs("promtool")
def test_the_lines_that_are_commented_out_are_correct_too(tmp_path: Path) -> None:
    text = CONFIGURATION.read_text(encoding="utf-8").replace("    #   ", "    ")
    document = yaml.safe_load(text)
    (job,) = document["scrape_configs"]
    assert {"file_sd_configs", "scheme", "tls_config", "basic_auth"} <= set(job)
    for name in ("ca.crt", "password"):
        (tmp_path / name).touch()
    del document["rule_files"]
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = check(path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_target_is_where_tcptrace_listens_by_default() -> None:
    document = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    assert document["scrape_configs"][0]["static_configs"] == [{"targets": [DEFAULT_LISTEN]}]
