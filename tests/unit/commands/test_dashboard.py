"""`tcptrace dashboard`: the very files, on standard output or in a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.needs import ROOT
from tracer.commands.dashboard import DASHBOARDS, dashboard
from tracer.errors import TcptraceError, UsageError

FILES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "dashboards").glob("*.json")}


def test_every_dashboard_has_a_name() -> None:
    assert {f"tcptrace-{name}.json" for name in DASHBOARDS} == set(FILES)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_printed_as_it_is_shipped(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    dashboard(name)
    assert capsys.readouterr().out == FILES[f"tcptrace-{name}.json"]


def test_without_a_name_it_is_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    dashboard()
    assert capsys.readouterr().out == FILES["tcptrace-overview.json"]


def test_all_of_them_go_into_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dashboard(directory=tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == FILES
    assert capsys.readouterr().out == ""


def test_an_unknown_name_is_a_usage_error_that_lists_the_names() -> None:
    with pytest.raises(UsageError) as error:
        dashboard("latency")
    assert str(error.value) == "there is no dashboard 'latency'\nhint: name one of: overview, connections, fleet"


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TcptraceError) as error:
        dashboard(directory=tmp_path / "missing")
    assert error.value.what == f"cannot write {tmp_path / 'missing/tcptrace-overview.json'}: No such file or directory"
