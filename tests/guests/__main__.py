"""`make test-kernels ARGS="6.1 7.3 -k follow"`: kernel tests on other kernels, one guest after the other, and a matrix.

Words that name a kernel (a version such as 6.1, or a suite such as bookworm) choose guests, all without any; `--chosen` takes
the tests that continuous integration runs, on the oldest kernel and one in the middle, `--commands` one test a command, for the
table of docs/kernels.md. The rest goes to pytest.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.guests import matrix
from tests.guests.archives import SUITES, Kernel, Suite, Unavailable, fetch, look_up
from tests.guests.guest import SLOWNESS, Outcome, run
from tests.guests.image import vmlinux

PLUGINS = "-p tests.needs -p tests.guests.reports"
PYTEST = f".venv/bin/python -m pytest {PLUGINS} -v -o cache_dir=/tmp/pytest -o testpaths=tests/kernel --tb=short"
TEST_SECONDS = 300 * SLOWNESS
GUEST_SECONDS = 5400

CHOSEN_SUITES = ("bullseye", "noble")
CHOSEN_SECONDS = 720
"""For all that `--chosen` does. A quiet machine of two CPUs needs less than half of it."""

LEAST_SECONDS = 240
"""What a guest must be given at least to be worth its boot."""

ENDS = "tests/kernel/test_closes.py::test_a_connections_end_has_its_reason_on_both_sides"
FAILURES = "tests/kernel/test_failures.py::test_a_failed_handshake_has_its_reason"
CHOSEN = (
    "tests/kernel/test_verifier.py",
    "tests/kernel/test_follow.py::test_a_refused_connection_is_four_lines",
    "tests/kernel/test_counting.py::test_every_connection_of_a_known_number_is_in_the_summary",
    f"{FAILURES}[nobody listens]",
    f"{FAILURES}[a firewall resets]",
    f"{FAILURES}[no such host]",
    f"{ENDS}[client first]",
    f"{ENDS}[server aborts]",
    f"{ENDS}[client leaves data unread]",
    "tests/kernel/test_filters.py::test_an_address_filter_takes_the_clients_address_as_well",
    "tests/kernel/test_audit.py::test_a_retransmission_that_a_firewall_refuses_is_no_drift",
)
TOOLS = ("qemu-system-x86_64", "busybox", "mke2fs", "depmod", "zstd")


def main() -> int:
    """Run what the words ask for; return the exit status, 1 where a test failed or a machine died."""
    words = sys.argv[1:]
    shapes = next((word.removeprefix("--") for word in words if word in {"--chosen", "--commands"}), "every")
    words = [word for word in words if word != f"--{shapes}"]
    kernels = [word for word in words if names_kernel(word)]
    rest = [word for word in words if word not in kernels]
    chosen = shapes == "chosen"
    end = time.monotonic() + CHOSEN_SECONDS if chosen else None
    found = list(wanted(kernels or (list(CHOSEN_SUITES) if chosen else []))) if tools_are_there() else []
    for version in unserved(kernels, found):
        say(f"NOT TESTED: no archive serves Linux {version} now")
    tests = {"chosen": [*rest, *CHOSEN], "commands": [*rest, *matrix.COMMANDS.values()]}.get(shapes, rest)
    with ThreadPoolExecutor(2 if chosen else 1) as pool:  # an emulated machine has one CPU, and the chosen ones are in a hurry
        all_ = pool.map(lambda kernel: test(kernel, shlex.join(tests), shapes, end), found)
        outcomes = [outcome for outcome in all_ if outcome]
    if not outcomes:
        say("NO OTHER KERNEL WAS TESTED")
        return 0
    print(matrix.render({outcome.kernel: outcome.place for outcome in outcomes}), flush=True)
    if shapes == "commands":
        print(matrix.by_command({outcome.kernel: outcome.place for outcome in outcomes}), flush=True)
    return int(any(failed(outcome) for outcome in outcomes))


def tools_are_there() -> bool:
    """Say whether what boots machines is installed, and what is not."""
    lacking = [name for name in TOOLS if not shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    if lacking:
        say(f"these are not installed: {', '.join(lacking)}")
    return not lacking


def names_kernel(word: str) -> bool:
    """Say whether a word of the command line names a kernel."""
    return bool(re.fullmatch(r"\d+\.\d+", word)) or word in {suite.name for suite in SUITES}


def wanted(names: list[str]) -> Iterator[Kernel]:
    """Fetch those kernels, all without names; one that cannot be had is named, and no failure."""
    for suite in SUITES:
        try:
            if not names or suite.name in names or is_version(suite, names):
                kernel = fetch(suite)
                vmlinux(kernel)
                yield kernel
        except (Unavailable, OSError, subprocess.SubprocessError) as error:
            say(f"NOT TESTED, since this kernel cannot be had: {error}")


def is_version(suite: Suite, names: list[str]) -> bool:
    """Say whether the suite's kernel is of a version that was named."""
    return any(name[0].isdigit() for name in names) and look_up(suite)[0] in names


def unserved(names: list[str], found: list[Kernel]) -> list[str]:
    """Return the versions that were named and are not among the kernels that could be had."""
    return [name for name in names if name[0].isdigit() and name not in {kernel.version for kernel in found}]


def test(kernel: Kernel, arguments: str, shapes: str, end: float | None) -> Outcome | None:
    """Run tests in a guest with this kernel, and say how it went; end: when the time is up, for the chosen tests."""
    say(f"{kernel.release}: booting")
    start = time.monotonic()
    seconds = end - start if end else GUEST_SECONDS
    if seconds < LEAST_SECONDS:
        say(f"NOT TESTED on {kernel.release}: {seconds:.0f} s are left")
        return None
    pytest = f"{PYTEST} --timeout {min(TEST_SECONDS, seconds // 2):.0f}"
    command = repeating(pytest, arguments)
    if shapes == "commands":
        command = f"{command}; s=$?; {pytest} --junitxml $OUT/{matrix.LOCKED} {matrix.LOCKDOWN} || s=$?; (exit $s)"
    outcome = run(kernel, command, seconds, shapes=shapes)
    say(f"{kernel.release}: {outcome.summary} after {time.monotonic() - start:.0f} s; all of it is in {outcome.place}")
    if outcome.compiled:
        say(f"{kernel.release} had to compile {outcome.compiled} texts itself, slowly: tests/guests/shapes.py lacks them")
    if outcome.timed_out:
        say(f"NOT ALL WAS TESTED on {kernel.release}: the time was up")
    if failed(outcome):
        print("\n".join(outcome.output.splitlines()[-60:]), flush=True)
    return outcome


def repeating(pytest: str, arguments: str) -> str:
    """Return the shell commands that run tests, and once more those that failed, which is what then counts.

    An emulated machine is so slow that now and then something takes place in another order. What is wrong fails twice.
    By the files: where pytest is to run a test by its name that did not fail, it finds none and gives up.
    """
    files = shlex.join(dict.fromkeys(word.partition("::")[0] for word in shlex.split(arguments)))
    again = f"echo 'once more what failed:'; {pytest} --last-failed --junitxml $OUT/{matrix.AGAIN} {files}"
    return f"{pytest} --junitxml $OUT/{matrix.FIRST} {arguments}; s=$?; if [ $s = 1 ]; then {again}; s=$?; fi; (exit $s)"


def failed(outcome: Outcome) -> bool:
    """Say whether a test failed, or the machine ended before its tests did.

    That the time was up is said, and no failure where a test had passed: all would fail if the programs did not load.
    """
    if outcome.timed_out:
        return " FAILED" in outcome.output or " ERROR" in outcome.output or " PASSED" not in outcome.output
    return outcome.status not in (0, 5)


def say(what: str) -> None:
    """Say what happens, beside the matrix."""
    print(f"test-kernels: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
