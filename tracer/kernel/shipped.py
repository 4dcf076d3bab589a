"""Where the C text lives: beside the package in a checkout, inside it in an installed one."""

from __future__ import annotations

from pathlib import Path

from tracer.errors import TcptraceError

PACKAGE = Path(__file__).resolve().parents[1]


def shipped(directory: str) -> Path:
    """Return the path of a directory that ships with tcptrace (bpf, dashboards), wherever this copy keeps it."""
    for place in (PACKAGE / directory, PACKAGE.parent / directory):
        if place.is_dir():
            return place
    raise TcptraceError(f"tcptrace's {directory}/ files are missing from {PACKAGE}", "reinstall tcptrace")


def read_source(name: str) -> str:
    """Return the text of bpf/NAME."""
    return (shipped("bpf") / name).read_text(encoding="utf-8")
