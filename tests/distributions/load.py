"""What the loader does, alone, with a distribution's bcc and Python: compile, load and attach what each command asks for.

`/usr/bin/python3 -I tests/distributions/load.py` as root, without an environment; one line for each set of settings.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tracer.kernel.filters import Filters  # noqa: E402 - the path comes first
from tracer.kernel.loader import kernel_types, load  # noqa: E402
from tracer.kernel.settings import Settings  # noqa: E402

ASKED = {
    "run": Settings(Filters(), snapshots=True),
    "events": Settings(Filters(ports=(80, 443), addresses=("10.0.0.0/8", "2001:db8::/32"), role="client"), states=True),
    "follow": Settings(Filters(), follow=True, segments=True),
}


def main() -> None:
    """Load for each command, and leave as the loader does."""
    bcc = ""
    for command, settings in ASKED.items():
        start = time.monotonic()
        loaded = load(kernel_types(), settings)
        bcc = loaded.bcc
        missing = ", ".join(loaded.missing) or "nothing"
        print(f"{command}: {len(loaded.programs)} programs in {time.monotonic() - start:.2f} s; missing: {missing}")
    print(f"bcc {bcc}, Python {platform.python_version()}, {platform.machine()}", flush=True)
    os._exit(0)


main()
