"""Fresh roots of other distributions: a base image that is kept, and over it a layer that each run throws away.

A container engine would do the same, and would be one more thing to install; the kernel has all that it takes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.distributions.archives import keyring, mirror
from tests.distributions.suites import Suite

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache/distributions"
ENTER = Path(__file__).with_name("enter.sh")
PACKAGES = "apt,ca-certificates,git,make"
"""What the documentation takes for granted, beside what every Debian has."""

# The way to the networks is the machine's, in the root as outside.
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT")


class Root:
    """A root of one distribution. Results lie in its directory `results`, the base image in `base`."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self.place = CACHE / suite.name
        self.results = self.place / "results"

    def prepare(self) -> None:
        """Make the base image unless it is there, and an empty layer over it with a copy of the checkout."""
        for name in ("archives/partial", "../pip"):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        if not (self.place / "base").is_dir():
            self._make_base()
        for name in ("fresh", "results"):
            shutil.rmtree(self.place / name, ignore_errors=True)
        for name in ("upper", "work", "root"):
            (self.place / "fresh" / name).mkdir(parents=True)
        self.results.mkdir()
        _copy_checkout(self.place / "fresh/upper/srv/tcptrace")

    def _make_base(self) -> None:
        """A base that was not finished has another name, so that an interrupted run leaves none that is half done."""
        unfinished = self.place / "base.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ["--mode=root", "--variant=minbase", f"--include={PACKAGES}", f"--components={self._suite.components}"]
        # a mirror may lag behind, and sid's lists are said to be good for a week only
        options += ["--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Check-Valid-Until "false"']
        options += [f"--keyring={keyring(self._suite.archive, CACHE / 'keys')}"]
        command = ["mmdebstrap", "--quiet", *options, self._suite.name, str(unfinished), mirror(self._suite.archive)]
        subprocess.run(command, check=True)
        unfinished.rename(self.place / "base")

    def run(self, name: str, text: str, seconds: int) -> int:
        """Run shell text in the root, with the checkout as its directory; return its status, 124 when it took too long.

        What it prints goes to the file NAME.log among the results.
        """
        passed = [f"{key}={os.environ[key]}" for key in PASSED_ON if key in os.environ]
        command = ["nice", "unshare", "--mount", "--propagation", "private", str(ENTER), str(self.place), "env", *passed]
        command += ["bash", "-euo", "pipefail", "-c", f"cd /srv/tcptrace; {text}"]
        with (self.results / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                return 124
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _copy_checkout(place: Path) -> None:
    """Copy what git knows of and what is new: no environment, nothing cached."""
    place.mkdir(parents=True)
    listed = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=CHECKOUT, capture_output=True, check=True).stdout.decode().rstrip("\0").split("\0")
    for name in names:
        if (CHECKOUT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, place / name)
