"""`tcptrace rules`: the very file."""

from __future__ import annotations

import pytest

from tests.needs import ROOT
from tracer.commands.rules import rules


def test_the_rules_are_printed_as_they_are_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    rules()
    assert capsys.readouterr().out == (ROOT / "dashboards/rules.yml").read_text(encoding="utf-8")
