"""Starts the loader and waits for what it opened; the only place that knows how the two processes are told apart."""

from __future__ import annotations

import json
import os
import resource
import shlex
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Self

from tracer.errors import TcptraceError
from tracer.kernel.handoff import Loaded, receive_loaded
from tracer.kernel.machine import machine_obstacle
from tracer.kernel.privileges import missing_capability
from tracer.kernel.programs import Settings
from tracer.kernel.shipped import PACKAGE

DESCRIPTORS = 512
"""Programs and attachments, three a network namespace (kernel/handles.py), connections of scrapers."""

SYSTEM_PYTHON = "/usr/bin/python3"

# It ends with its parent (PR_SET_PDEATHSIG, 1), also when that one was killed before it could ask for this. The package comes
# behind the system's own directories, so that nothing of a virtual environment (such as PyPI's unrelated bcc) comes first.
_LOADER = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0); "
    "os.getppid() == int(sys.argv[4]) or os._exit(1); "
    "sys.dont_write_bytecode = True; sys.path.append(sys.argv[1]); "
    "from tracer.kernel.loader import main; main(int(sys.argv[2]), sys.argv[3])"
)


def load_programs(settings: Settings) -> Loaded:
    """Run the loader to its end and return the descriptors it opened; raises TcptraceError with its reason if it failed."""
    with Loading(settings) as loading:
        return loading.wait()


class Loading:
    """A loader at work, so that something else can be done meanwhile; at the end of the with statement it has ended.

    Raises TcptraceError where none can be started.
    """

    def __init__(self, settings: Settings) -> None:
        settings.filters.check_here()
        if obstacle := machine_obstacle():
            raise obstacle
        if lacking := missing_capability():
            raise TcptraceError(lacking.what, privileges_hint())
        if not os.access(SYSTEM_PYTHON, os.X_OK):
            raise TcptraceError(
                f"there is no {SYSTEM_PYTHON}, for which bcc is installed", "apt-get install python3 python3-bpfcc"
            )
        require_descriptors()
        self.settings = settings
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._loader = _started(loader_command(theirs.fileno(), settings), theirs.fileno())
            except TcptraceError:
                self._channel.close()
                raise

    def wait(self) -> Loaded:
        """Return the descriptors that it opened; raises TcptraceError with its reason if it failed."""
        return receive_loaded(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        """Wait for its end; at an error (Ctrl-C among them) end it: nothing goes on as root."""
        if error_type:
            self._loader.kill()
        self._channel.close()
        self._loader.wait()


def loader_command(fd: int, settings: Settings) -> list[str]:
    """Return the command that loads what settings ask for and sends it over a socket that it gets as a descriptor."""
    return [SYSTEM_PYTHON, "-I", "-c", _LOADER, str(PACKAGE.parent), str(fd), json.dumps(asdict(settings)), str(os.getpid())]


def _started(command: list[str], fd: int) -> subprocess.Popen[bytes]:
    """Start the loader; elsewhere than here, since this directory may have been deleted."""
    try:
        return subprocess.Popen(command, pass_fds=[fd], stdin=subprocess.DEVNULL, process_group=0, cwd="/")
    except OSError as error:
        raise TcptraceError(
            f"cannot start the loader ({SYSTEM_PYTHON}): {error.strerror}", "processes, memory or descriptors are limited here"
        ) from error


def require_descriptors() -> None:
    """See to it that enough files may be open; raises TcptraceError where too few may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= DESCRIPTORS:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(DESCRIPTORS, hard)))
    except (OSError, ValueError) as error:
        raise TcptraceError(
            f"only {soft} files may be open here, and tcptrace needs up to {DESCRIPTORS}", f"raise it: ulimit -n {DESCRIPTORS}"
        ) from error


def privileges_hint() -> str:
    """Return the exact command that has the privileges, and what can be done without."""
    if os.geteuid() == 0:
        return "give this container CAP_BPF and CAP_PERFMON, or run on the host; 'tcptrace replay FILE' runs unprivileged"
    program = Path(sys.argv[0]).resolve()
    words = [sys.executable, "-m", "tracer"] if program.name == "__main__.py" else [str(program)]
    command = shlex.join([*words, *sys.argv[1:]])
    return f"sudo {command}\nunprivileged, 'tcptrace replay FILE' shows a recording; the one that ships: 'make demo'"
