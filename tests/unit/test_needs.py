"""Proves the switch: a pytest run inside the test, on small test files, with and without it."""

from __future__ import annotations

import pytest

from tests import needs

SKIPPED_TEST = """
import pytest

def test_passes():
    pass

@pytest.mark.skip(reason="rain")
def test_is_skipped():
    pass
"""

SKIPPED_FILE = """
import pytest

pytest.importorskip("a_module_that_nobody_has")
"""

NEEDY_TEST = """
import pytest

@pytest.mark.needs("a-program-that-nobody-has", "sh")
def test_runs_a_program():
    pass
"""

KERNEL_TEST = """
import pytest

@pytest.mark.kernel
def test_loads_a_program():
    pass
"""

EXPECTED_FAILURE = """
import pytest

@pytest.mark.xfail(reason="not yet")
def test_fails_as_expected():
    assert False
"""


@pytest.fixture(name="run")
def fixture_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(pytester, monkeypatch)


class Runner:
    """Runs pytest with tests/needs.py on one test file."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.monkeypatch = monkeypatch

    def __call__(self, text: str, *, forced: bool) -> pytest.RunResult:
        self.monkeypatch.setenv(needs.SWITCH, "1" if forced else "0")
        self.pytester.makepyfile(text)
        return self.pytester.runpytest("-p", "tests.needs", "-p", "no:cacheprovider", "-rs", "--strict-markers")


def test_a_skip_passes_and_is_listed_without_the_switch(run: Runner) -> None:
    result = run(SKIPPED_TEST, forced=False)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*rain"])
    assert result.ret == pytest.ExitCode.OK


def test_a_skip_fails_with_the_switch(run: Runner) -> None:
    result = run(SKIPPED_TEST, forced=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*test_is_skipped was skipped, and {needs.SWITCH} forbids that: rain"])
    result.stdout.no_fnmatch_line("*1 skipped*")


def test_a_file_that_skips_itself_is_an_error_with_the_switch(run: Runner) -> None:
    assert run(SKIPPED_FILE, forced=False).ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result = run(SKIPPED_FILE, forced=True)
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_an_expected_failure_is_no_skip(run: Runner) -> None:
    run(EXPECTED_FAILURE, forced=True).assert_outcomes(xfailed=1)


def test_a_missing_program_is_named(run: Runner) -> None:
    result = run(NEEDY_TEST, forced=False)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*not installed: a-program-that-nobody-has"])


def test_a_missing_program_fails_with_the_switch(run: Runner) -> None:
    assert run(NEEDY_TEST, forced=True).ret == pytest.ExitCode.TESTS_FAILED


def test_a_kernel_test_is_skipped_exactly_where_something_is_in_the_way(run: Runner) -> None:
    obstacle = needs.kernel_obstacle()
    result = run(KERNEL_TEST, forced=False)
    result.assert_outcomes(passed=0 if obstacle else 1, skipped=1 if obstacle else 0)
    if obstacle:
        result.stdout.fnmatch_lines([f"SKIPPED*{obstacle}"])
