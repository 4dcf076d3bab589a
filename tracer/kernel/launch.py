"""Says to the loader what to load, and waits for what it opened."""

from __future__ import annotations

import json
import os
import resource
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Self

from tracer.errors import TcptraceError
from tracer.kernel.handoff import Loaded, receive_loaded
from tracer.kernel.machine import machine_obstacle
from tracer.kernel.privileges import missing_capability
from tracer.kernel.settings import Settings
from tracer.kernel.starter import DESCRIPTORS, SYSTEM_PYTHON, take_loader


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
        self._loader = take_loader()
        self._loader.ask(json.dumps(asdict(settings)))

    def wait(self) -> Loaded:
        """Return the descriptors that it opened; raises TcptraceError with its reason if it failed."""
        return receive_loaded(self._loader.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        """Wait for its end; at an error (Ctrl-C among them) end it: nothing goes on as root."""
        self._loader.end(at_once=error_type is not None)


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
