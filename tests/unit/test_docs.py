"""The documents against the code: tests that they name exist, links lead somewhere, tables have what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracer.cli import VERBS
from tracer.model.tcp import FAILURE_REASONS
from tracer.outputs.metrics import METRICS, HistogramMetric, Metric

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
LINKED = [*DOCS, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "deploy/README.md", "dashboards/README.md"))]
TESTS = {
    name
    for path in (ROOT / "tests").rglob("*.py")
    for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(path: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", path.read_text(encoding="utf-8")))
    assert named - TESTS == set()


def test_every_fault_has_a_test() -> None:
    rows = [line for line in (ROOT / "docs/faults.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    assert [row for row in rows if "`test_" not in row] == []


@pytest.mark.parametrize("path", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(path: Path) -> None:
    targets = re.findall(r"(?:\]\(|(?:href|src)=\")(?!https?:)([^)\"#]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_has_its_row(metric: Metric | HistogramMetric) -> None:
    kind = "histogram" if isinstance(metric, HistogramMetric) else metric.type
    row = f"| `{metric.name}` | {kind} | {', '.join(metric.labels) or '-'} | {metric.help} |"
    assert row in (ROOT / "docs/metrics.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("document", ["docs/truth.md", "dashboards/RUNBOOK.md"])
def test_every_reason_of_a_failure_is_explained(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert [reason for reason in FAILURE_REASONS if not re.search(rf"\b{reason}\b", text)] == []


@pytest.mark.parametrize("document", ["README.md", "docs/commands.md"])
def test_every_command_is_named(document: str) -> None:
    rows = "".join(re.findall(r"^\| `.*\|$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE))
    assert [verb for verb in VERBS if f"`{verb}" not in rows] == []


def test_the_readme_is_no_longer_than_a_reader_has_patience_for() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250
