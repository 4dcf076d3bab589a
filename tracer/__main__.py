"""`python -m tracer`, and the command `tcptrace`: what has to be right before anything else is imported.

That takes a tenth of a second, in which the loader gets ready, and Ctrl-C must not end in a traceback. And a standard
descriptor that is closed would be given to the next file that is opened, a ring of the kernel's say, into which messages would
then be written.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

CLOSED = ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY))
"""How /dev/null is opened in the place of each: of standard output so that writing to it still is an error."""


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    fill_closed_descriptors()
    try:
        from tracer.kernel.starter import early_loader  # noqa: PLC0415 - see above
    except (ImportError, OSError, MemoryError) as error:
        give_up(error)
    with early_loader(sys.argv[1:]):
        run_command()


def run_command() -> None:
    """Import what the command line needs, and run it."""
    try:
        from tracer.cli import command_line, main as run, needed  # noqa: PLC0415 - see above
        from tracer.commands.streams import prepare  # noqa: PLC0415

        app = command_line(needed(sys.argv[1:]))
    except (ImportError, OSError, MemoryError) as error:
        give_up(error)
    prepare()
    run(app)


def give_up(error: BaseException) -> NoReturn:
    """Say what could not be imported, and end."""
    last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    sys.exit(f"tcptrace: cannot load all of itself: {last}\nhint: see 'ulimit -a' for what is limited here, or reinstall it")


def fill_closed_descriptors() -> None:
    """Give standard descriptors that are closed to /dev/null."""
    for descriptor, flags in CLOSED:
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                opened = os.open(os.devnull, flags)  # the lowest number there is
                if opened != descriptor:
                    os.close(opened)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)


if __name__ == "__main__":
    main()
