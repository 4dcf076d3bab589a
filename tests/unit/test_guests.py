"""What `make test-kernels` makes of a guest: a failure is told from time that was up, and a kernel is read from its image."""

from __future__ import annotations

import gzip
import lzma
import os
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guests.__main__ import CHOSEN, PLUGINS, failed, repeating
from tests.guests.archives import Unavailable
from tests.guests.guest import Outcome
from tests.guests.image import decompressed
from tests.guests.matrix import COLUMNS, by_command, outcomes_in
from tests.needs import ROOT

JUNIT = """<testsuites><testsuite><properties><property name="tcp_probe" value="73023"/></properties>
<testcase classname="tests.kernel.test_verifier" name="test_head_room"/>
<testcase classname="tests.kernel.test_follow" name="test_a_refused_connection_is_four_lines"><failure message="no"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("status", "output", "timed_out", "bad"),
    [
        pytest.param(0, "a PASSED", False, False, id="all passed"),
        pytest.param(1, "a FAILED", False, True, id="one failed"),
        pytest.param(None, "a PASSED", False, True, id="the machine died"),
        pytest.param(None, "a PASSED", True, False, id="out of time behind a test that passed"),
        pytest.param(None, "a PASSED\nb FAILED", True, True, id="out of time behind a test that failed"),
        pytest.param(None, "", True, True, id="out of time before any test"),
    ],
)
def test_what_is_a_failure(status: int | None, output: str, timed_out: bool, bad: bool) -> None:
    assert failed(Outcome("6.1", status, output, Path(), timed_out, 0)) == bad


def image(payload: bytes) -> bytes:
    """Return an image with four sectors of set-up, as boot.rst has it."""
    head = bytearray(5 * 512)
    head[0x1F1] = 4
    struct.pack_into("<II", head, 0x248, 16, len(payload) + 4)
    return bytes(head) + bytes(16) + payload + bytes(4) + b"more"


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_kernel_is_read_from_its_image(compress: Callable[[bytes], bytes]) -> None:
    assert decompressed(image(compress(b"kernel"))) == b"kernel"


def test_an_unknown_compression_is_said() -> None:
    with pytest.raises(Unavailable, match="begins with 000102"):
        decompressed(image(b"\0\1\2\3\4\5"))


@pytest.mark.parametrize("test", [*CHOSEN, *COLUMNS.values()])
def test_every_test_that_is_chosen_by_its_name_exists(test: str) -> None:
    file, _, name = test.partition("[")[0].partition("::")
    assert (f"\ndef {name}(" if name else "") in (ROOT / file).read_text(encoding="utf-8")


def test_the_table_of_commands_has_what_became_of_each(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(JUNIT)
    (tmp_path / "locked.xml").write_text(
        '<testsuite><testcase classname="tests.guests.lockdown" name="test_integrity"/></testsuite>'
    )
    head, _, row = by_command({"6.1": tmp_path}).splitlines()
    cells = dict(zip(head.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert cells["the programs load"] == "ok, 73,023"
    assert cells["`follow`"] == "failed"
    assert cells["`run`"] == "-"
    assert cells["lockdown"] == "ok"
    assert len(cells) == len(COLUMNS) + 1


def test_a_guest_that_was_ended_early_has_what_its_tests_said_until_then(tmp_path: Path) -> None:
    (tmp_path / "output").write_text(
        "collecting ... collected 4 items\n"
        "tests/kernel/test_a.py::test_it[a b] PASSED [ 25%]\n"
        "tests/kernel/test_a.py::test_other FAILED [ 50%]\n"
        "tests/kernel/test_b.py::test_third SKIPPED [ 75%]\n"
        "tests/kernel/test_b.py::test_fourth "
    )
    found = {name: outcome for name, (outcome, _) in outcomes_in(tmp_path).items()}
    assert found == {"test_a::test_it[a b]": "passed", "test_a::test_other": "failed", "test_b::test_third": "skipped"}


TRIED = """
from pathlib import Path

def test_that_passes() -> None:
    pass

def test_that_fails() -> None:
    seen = Path(__file__).with_name("seen")
    before, _ = seen.exists(), seen.touch()
    assert before and {passes}
"""


@pytest.mark.parametrize("names", [[""], ["::test_that_passes", "::test_that_fails"]], ids=["a file", "tests by name"])
@pytest.mark.parametrize(("passes", "status", "what"), [(True, 0, "passed"), (False, 1, "failed")])
def test_what_failed_is_tried_once_more_and_that_counts(
    passes: bool, status: int, what: str, names: list[str], tmp_path: Path
) -> None:
    tried = tmp_path / "test_tried.py"
    tried.write_text(TRIED.format(passes=passes))
    command = repeating(
        f"{sys.executable} -m pytest -q -o cache_dir={tmp_path}/cache", shlex.join(f"{tried}{name}" for name in names)
    )
    done = subprocess.run(["bash", "-c", command], env={**os.environ, "OUT": str(tmp_path)}, capture_output=True, check=False)
    assert done.returncode == status
    found = outcomes_in(tmp_path)
    assert {name.partition("::")[2]: outcome for name, (outcome, _) in found.items()} == {
        "test_that_passes": "passed",
        "test_that_fails": what,
    }


ENDED_EARLY = """
import pytest

def test_that_lacks():
    pytest.skip("this kernel lacks a feature")

def test_that_fails():
    assert "one" == "another"
"""


def test_a_guest_that_is_ended_early_has_told_what_failed_and_what_its_kernel_lacks(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_tried.py").write_text(ENDED_EARLY)
    command = [sys.executable, "-m", "pytest", *PLUGINS.split(), "-v", "--rootdir", str(tmp_path), "tests"]
    environment = {**os.environ, "OUT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("TCPTRACE_REQUIRE_KERNEL", None)  # with which a skip is a failure; guests are without
    with (tmp_path / "output").open("w") as output:
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=output, check=False)
    whats = {name: what for name, (what, _) in outcomes_in(tmp_path).items()}
    assert whats == {"test_tried::test_that_lacks": "lacks", "test_tried::test_that_fails": "failed"}
    assert "'one' == 'another'" in (tmp_path / "failures").read_text()
