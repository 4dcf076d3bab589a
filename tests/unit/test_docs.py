"""What docs/ says is tested is tested: every test that is named there exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
TESTS = {
    name
    for path in (ROOT / "tests").rglob("*.py")
    for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(path: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", path.read_text(encoding="utf-8")))
    assert named
    assert named - TESTS == set()


def test_every_fault_has_a_test() -> None:
    rows = [line for line in (ROOT / "docs/faults.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    assert [row for row in rows if "`test_" not in row] == []
