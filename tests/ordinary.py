"""The command line as an ordinary user: where root runs the tests, and the checkout may be unreadable for anyone else."""

from __future__ import annotations

import sys

NOBODY = 65534

# Root becomes the ordinary user after importing; the parser imports some of its parts when it first needs them.
_CODE = f"""
import contextlib, io, os, sys
from tracer.cli import command_line, main
app = command_line()
words, sys.argv = sys.argv[1:], ["tcptrace", "run", "--help"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(app)
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
sys.argv = words
main(app)
"""


def ordinary_user(*words: str) -> list[str]:
    """Return the command that runs these words, the program's name first, unprivileged; from the checkout's directory."""
    return [sys.executable, "-c", _CODE, *words]
