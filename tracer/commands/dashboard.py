"""`tcptrace dashboard`: prints a Grafana dashboard as JSON, to be imported or provisioned.

They are files that ship with the package, and not made here: making them takes Grafana's SDK, which no user needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tracer.errors import TcptraceError, UsageError
from tracer.kernel.callersfile import open_as_caller
from tracer.kernel.shipped import shipped

DASHBOARDS = ("overview", "connections", "fleet")


def dashboard(
    name: Annotated[
        str, typer.Argument(metavar=f"[{'|'.join(DASHBOARDS)}]", help="Which one.", show_default=True)
    ] = DASHBOARDS[0],
    directory: Annotated[
        Path | None, typer.Option("--all", metavar="DIRECTORY", help="Write all of them there instead, each as a file.")
    ] = None,
) -> None:
    """Print a Grafana dashboard as JSON, to import or to provision; no root needed."""
    if name not in DASHBOARDS:
        raise UsageError(f"there is no dashboard {name!r}", f"name one of: {', '.join(DASHBOARDS)}")
    if directory is None:
        print(_path(name).read_text(encoding="utf-8"), end="")
    else:
        write_all(directory)


def write_all(directory: Path) -> None:
    """Write every dashboard into a directory that is there, as the caller; raises TcptraceError where that fails."""
    try:
        for name in DASHBOARDS:
            path = _path(name)
            with open_as_caller(directory / path.name, 0o644) as file:
                file.truncate(0)
                file.write(path.read_bytes())
    except OSError as error:
        raise TcptraceError(
            f"cannot write to {directory}: {error.strerror}", "name a directory that you may write to"
        ) from error


def _path(name: str) -> Path:
    return shipped("dashboards") / f"tcptrace-{name}.json"
