"""tcptrace's programs for a guest, compiled here beforehand; what the guest compiles itself is kept for the next time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.guests.archives import Kernel
from tests.guests.image import vmlinux

SHAPES = Path(__file__).with_name("shapes.py")
SECONDS = {"chosen": 150, "commands": 150, "every": 600}
"""For the compiler, by the set of shapes; what it has not done then, the guest does, which takes a minute a text."""

OUT_OF_TIME = 124
"""What timeout(1) returns then."""


def lay_out(kernel: Kernel, place: Path, *, shapes: str) -> set[str]:
    """Compile for a kernel, put what came of it into a directory, and return the names of the files.

    Raises CalledProcessError where the compiler refuses.
    """
    kept = kernel.root / "programs"
    kept.mkdir(mode=0o700, exist_ok=True)
    compile_them = ["/usr/bin/python3", "-I", str(SHAPES), vmlinux(kernel), str(kept), shapes]
    done = subprocess.run(["timeout", str(SECONDS[shapes]), *compile_them], capture_output=True, text=True, check=False)
    if done.returncode != OUT_OF_TIME:
        done.check_returncode()
    place.mkdir(mode=0o700)
    for file in kept.glob("*.json"):
        shutil.copy2(file, place)
    return {file.name for file in place.glob("*.json")}


def keep(kernel: Kernel, place: Path, known: set[str]) -> int:
    """Keep what a guest has added to the directory, and return how many files that are."""
    added = [file for file in place.glob("*.json") if file.name not in known and not file.name.startswith("tmp")]
    for file in added:
        shutil.copy2(file, kernel.root / "programs")
    return len(added)
