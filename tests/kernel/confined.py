"""tcptrace with a bad will: python -m tests.kernel.confined PLAN COMMAND... tries what PLAN (JSON) says once it is at work.

The last line on standard error is a JSON object: each attempt, and the name of its error, or null where it succeeded. Without a
COMMAND it is tried at once, by whoever this is.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tracer import cli
from tracer.commands import replayedrun, tracing


def execute(path: str) -> None:
    """Start a program, in a child."""
    child = os.fork()
    if not child:
        try:
            os.execv(path, [path])
        except OSError as error:
            os._exit(error.errno or 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, os.strerror(status))


def write(path: str) -> None:
    """Make a file, or write to one."""
    with Path(path).open("a", encoding="ascii") as file:
        file.write("written\n")


def connect(port: int) -> None:
    """Connect to somebody on this machine."""
    socket.create_connection(("127.0.0.1", port), timeout=10).close()


def listen(port: int) -> None:
    """Serve something else."""
    socket.create_server(("127.0.0.1", port)).close()


def remove(path: str) -> None:
    """Remove a file, if there is one."""
    Path(path).unlink()


ATTEMPTS: dict[str, Callable[..., object]] = {
    "execute": execute,
    "write": write,
    "make": write,
    "remove": remove,
    "read": lambda path: Path(path).read_bytes(),
    "read elsewhere": lambda path: Path(path).read_bytes(),
    "connect": connect,
    "listen": listen,
    "signal": lambda pid: os.kill(pid, signal.SIGCONT),
    "discard": lambda _: os.close(os.open(os.devnull, os.O_WRONLY)),
}


def outcome(name: str, argument: object) -> str | None:
    """Try it; return the name of the error."""
    try:
        ATTEMPTS[name](argument)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return None


def attempt(plan: dict[str, object]) -> dict[str, str | None]:
    """Try all of it, in a thread of its own, as what serves does."""
    found: dict[str, str | None] = {}
    thread = threading.Thread(target=lambda: found.update({name: outcome(name, what) for name, what in plan.items()}))
    thread.start()
    thread.join()
    return found


def main() -> None:
    """Have the command try it when it prints its summary."""
    plan = json.loads(sys.argv.pop(1))

    def instead(*_: object, **__: object) -> None:
        print(json.dumps(attempt(plan)), file=sys.stderr, flush=True)

    if len(sys.argv) == 1:
        instead()
        return
    for module in (tracing, replayedrun):
        vars(module)["print_summary"] = instead
    cli.main(cli.command_line())


if __name__ == "__main__":
    main()
