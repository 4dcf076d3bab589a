"""`make test-kernels ARGS="6.1 7.3 -k follow"`: kernel tests on other kernels, one guest after the other, and a matrix.

Words that name a kernel (a version such as 6.1, or a suite such as bookworm) choose guests, all without any; `--chosen` takes
the tests that continuous integration runs, on the oldest kernel and one in the middle. The rest goes to pytest.
"""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Iterator

from tests.guests import matrix
from tests.guests.archives import SUITES, Kernel, Suite, Unavailable, fetch, look_up
from tests.guests.guest import SLOWNESS, Outcome, run

PYTEST = ".venv/bin/python -m pytest -v -p no:cacheprovider --tb=short"
TEST_SECONDS = 300 * SLOWNESS
GUEST_SECONDS = 5400

CHOSEN_SUITES = ("bullseye", "noble")
CHOSEN_SECONDS = 350
"""For a guest with the chosen tests: two of them are done within twelve minutes, on slow machines with fewer tests."""

CHOSEN = (
    "tests/kernel/test_verifier.py",
    "tests/kernel/test_counting.py",
    "tests/kernel/test_failures.py",
    "tests/kernel/test_closes.py",
    "tests/kernel/test_filters.py",
    "tests/kernel/test_follow.py",
    "tests/kernel/test_audit.py",
)
CHOSEN_NAMES = (
    "head_room or known_number or failed_handshake or gives_up or end_has_its_reason or takes_the_clients_address"
    " or refused_connection_is_four_lines or firewall_refuses"
)


def main() -> int:
    """Run what the words ask for; return the exit status, 1 where a test failed or a guest never ended."""
    words = sys.argv[1:]
    chosen = "--chosen" in words
    words = [word for word in words if word != "--chosen"]
    kernels = [word for word in words if names_kernel(word)]
    rest = [word for word in words if word not in kernels]
    command = shlex.join([*rest, *CHOSEN, "-k", CHOSEN_NAMES]) if chosen else shlex.join(rest or ["tests/kernel"])
    outcomes = {}
    for kernel in wanted(kernels or (list(CHOSEN_SUITES) if chosen else [])):
        outcomes[kernel.release] = test(kernel, command, CHOSEN_SECONDS if chosen else GUEST_SECONDS)
    if not outcomes:
        say("NO OTHER KERNEL WAS TESTED: none could be had")
        return 0
    print(matrix.render({name: outcome.place for name, outcome in outcomes.items()}), flush=True)
    return int(any(failed(outcome) for outcome in outcomes.values()))


def names_kernel(word: str) -> bool:
    """Say whether a word of the command line names a kernel."""
    return bool(re.fullmatch(r"\d+\.\d+", word)) or word in {suite.name for suite in SUITES}


def wanted(names: list[str]) -> Iterator[Kernel]:
    """Fetch those kernels, all without names; one that cannot be had is named, and no failure."""
    for suite in SUITES:
        try:
            if not names or suite.name in names or is_version(suite, names):
                yield fetch(suite)
        except (Unavailable, OSError) as error:
            say(f"NOT TESTED, since this kernel cannot be had: {error}")


def is_version(suite: Suite, names: list[str]) -> bool:
    """Say whether the suite's kernel is of a version that was named."""
    return any(name[0].isdigit() for name in names) and look_up(suite)[0] in names


def test(kernel: Kernel, arguments: str, seconds: float) -> Outcome:
    """Run tests in a guest with this kernel, and say how it went."""
    say(f"{kernel.release}: booting")
    start = time.monotonic()
    command = f"{PYTEST} --timeout {min(TEST_SECONDS, seconds // 2):.0f} --junitxml $OUT/junit.xml {arguments}"
    outcome = run(kernel, command, seconds)
    say(f"{kernel.release}: {outcome.summary} after {time.monotonic() - start:.0f} s; all of it is in {outcome.place}")
    if outcome.timed_out:
        say(f"NOT ALL WAS TESTED on {kernel.release}: the time was up")
    if failed(outcome):
        print("\n".join(outcome.output.splitlines()[-60:]), flush=True)
    return outcome


def failed(outcome: Outcome) -> bool:
    """Say whether a test failed, or the machine ended before its tests did; that its time was up is said, and no failure."""
    if outcome.timed_out:
        return " FAILED" in outcome.output or " ERROR" in outcome.output
    return outcome.status not in (0, 5)


def say(what: str) -> None:
    """Say what happens, beside the matrix."""
    print(f"test-kernels: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
