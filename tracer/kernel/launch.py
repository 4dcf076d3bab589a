"""Starts the loader and waits for what it opened; the only place that knows how the two processes are told apart."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tracer.errors import TcptraceError
from tracer.kernel.handoff import Loaded, receive_loaded
from tracer.kernel.machine import machine_obstacle
from tracer.kernel.privileges import missing_right
from tracer.kernel.programs import Settings
from tracer.kernel.sources import PACKAGE

SYSTEM_PYTHON = "/usr/bin/python3"

# Behind the system's own directories, so that nothing of a virtual environment (such as PyPI's unrelated bcc) comes first.
_LOADER = (
    "import sys; sys.dont_write_bytecode = True; sys.path.append(sys.argv[1]); "
    "from tracer.kernel.loader import main; main(int(sys.argv[2]), sys.argv[3])"
)


def load_programs(settings: Settings) -> Loaded:
    """Run the loader to its end and return the descriptors it opened; raises TcptraceError with its reason if it failed."""
    if obstacle := machine_obstacle():
        raise obstacle
    if lacking := missing_right():
        raise TcptraceError(lacking.what, rights_hint())
    if not os.access(SYSTEM_PYTHON, os.X_OK):
        raise TcptraceError(f"there is no {SYSTEM_PYTHON}, for which bcc is installed", "apt-get install python3 python3-bpfcc")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        fd = theirs.fileno()
        command = loader_command(fd, settings)
        with subprocess.Popen(command, pass_fds=[fd], stdin=subprocess.DEVNULL, process_group=0) as loader:
            theirs.close()
            try:
                return receive_loaded(ours)
            finally:
                loader.wait()


def loader_command(fd: int, settings: Settings) -> list[str]:
    """Return the command that loads what settings ask for and sends it over a socket that it gets as a descriptor."""
    return [SYSTEM_PYTHON, "-I", "-c", _LOADER, str(PACKAGE.parent), str(fd), json.dumps(asdict(settings))]


def rights_hint() -> str:
    """Return the exact command that has the rights, and what can be done without any."""
    if os.geteuid() == 0:
        return "give this container CAP_BPF and CAP_PERFMON, or run on the host; 'tcptrace replay FILE' needs no rights"
    program = Path(sys.argv[0]).resolve()
    words = [sys.executable, "-m", "tracer"] if program.name == "__main__.py" else [str(program)]
    command = shlex.join([*words, *sys.argv[1:]])
    return f"sudo {command}\nwithout rights, 'tcptrace replay FILE' shows a recording; the one that ships: 'make demo'"
