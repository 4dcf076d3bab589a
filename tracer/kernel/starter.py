"""The loader's process, from its start to its end; it may be started before anybody knows what it is to load.

It takes as long as the command line does to import what it needs, and both can do so at once: what it is to load comes over its
channel afterwards. So nothing is imported here that itself takes long.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tracer.errors import TcptraceError

DESCRIPTORS = 512
"""Programs and attachments, three a network namespace (kernel/handles.py), connections of scrapers."""

SYSTEM_PYTHON = "/usr/bin/python3"

TRACING = ("run", "events", "follow", "record")
"""The verbs that always load."""

# It ends with its parent (PR_SET_PDEATHSIG, 1), also when that one was killed before it could ask for this. The package comes
# behind the system's own directories, so that nothing of a virtual environment (such as PyPI's unrelated bcc) comes first.
_LOADER = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0); "
    "os.getppid() == int(sys.argv[3]) or os._exit(1); "
    "sys.dont_write_bytecode = True; sys.path.append(sys.argv[1]); "
    "from tracer.kernel.loader import main; main(int(sys.argv[2]))"
)

_early: list[Loader] = []


class Loader:
    """A loader that waits on its channel for what it is to load; raises TcptraceError where none can be started."""

    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = _started(theirs.fileno())
        except OSError as error:
            self.channel.close()
            raise _limited(error) from error

    def ask(self, text: str) -> None:
        """Say what it is to load; where it has ended meanwhile, that is seen when its answer is received.

        Raises TcptraceError where it is too long.
        """
        try:
            self.channel.send(text.encode())
        except BrokenPipeError:
            pass
        except OSError as error:
            self.end(at_once=True)
            raise _limited(error) from error

    def end(self, *, at_once: bool) -> None:
        """Wait for its end, or end it."""
        if at_once:
            self._process.kill()
        self.channel.close()
        self._process.wait()


def _limited(error: OSError) -> TcptraceError:
    what = f"cannot start the loader ({SYSTEM_PYTHON}): {error.strerror}"
    return TcptraceError(what, "processes, memory or descriptors are limited here")


def loader_command(fd: int) -> list[str]:
    """Return the command that loads what it is asked for, and sends it, over a socket that it gets as a descriptor."""
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    return [SYSTEM_PYTHON, "-I", "-c", _LOADER, os.path.dirname(package), str(fd), str(os.getpid())]


def _started(fd: int) -> subprocess.Popen[bytes]:
    """Start the loader; elsewhere than here, since this directory may have been deleted."""
    return subprocess.Popen(loader_command(fd), pass_fds=[fd], stdin=subprocess.DEVNULL, process_group=0, cwd="/")


@contextmanager
def early_loader(arguments: Sequence[str]) -> Iterator[None]:
    """Have a loader started meanwhile if this command line will need one; it has ended afterwards.

    It inherits the bound on open files, which may have to be raised before (launch.py).
    """
    enough = resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= DESCRIPTORS
    if enough and arguments and arguments[0] in TRACING and not {"-h", "--help"} & {*arguments}:
        with suppress(TcptraceError):  # which is said when it is needed
            _early.append(Loader())
    try:
        yield
    finally:
        for loader in _early:
            loader.end(at_once=True)
        _early.clear()


def take_loader() -> Loader:
    """Return the loader that was started early, or a new one."""
    return _early.pop() if _early else Loader()
