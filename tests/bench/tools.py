"""The tracers that are measured side by side, how each is started and stopped, and why one is left out.

Standard output goes to a file, which favours the tools that print a line per event: a terminal costs them more.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.headers import make_tree
from tests.bench.partial import EMPTY
from tests.bench.process import programs, wait_until_quiet
from tests.needs import ROOT, find_tool
from tracer.kernel.starter import SYSTEM_PYTHON

PATIENCE = 60
OURS = (sys.executable, "-m", "tracer", "run", "--listen", "127.0.0.1:0", "--json", "--no-view")


class CannotStartError(Exception):
    """A tool ended before it had attached anything; the text is its reason."""


def lines_with(output: bytes, port: int) -> list[list[str]]:
    """Return the lines that name a port in a column of its own or behind an address, split into words."""
    lines = [line.replace(":", " ").split() for line in output.decode(errors="replace").splitlines()]
    return [words for words in lines if str(port) in words]


def json_ends(output: bytes, port: int) -> int:
    """Return the ends that tcptrace counted on a port."""
    return sum(row["count"] for row in json.loads(output)["closes"] if row["port"] == port)


def line_ends(output: bytes, port: int) -> int:
    """Return the ends in the output of a tool that prints one line for each."""
    return output.count(f" {port} ".encode())


def state_ends(output: bytes, port: int) -> int:
    """Return the changes to CLOSE, but for listeners', in the output of a tool that prints every change."""
    needle = f" {port} ".encode()
    return sum(b"-> CLOSE " in line and b" LISTEN " not in line for line in output.splitlines() if needle in line)


@dataclass(frozen=True)
class Tool:
    """A tracer. ends: from its output and a port, how many ends of connections it reported."""

    name: str
    command: tuple[str, ...]
    package: str
    ends: Callable[[bytes, int], int] = line_ends
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def ours(self) -> bool:
        """Whether it is tcptrace."""
        return self.command == OURS


TCPTRACE = Tool("tcptrace run", OURS, "", json_ends)
TCPLIFE = Tool("tcplife (libbpf)", ("tcplife",), "libbpf-tools")
TCPSTATES = Tool("tcpstates (libbpf)", ("tcpstates",), "libbpf-tools", state_ends)
BCC_TCPLIFE = Tool("tcplife (bcc)", ("tcplife-bpfcc",), "bpfcc-tools")
BCC_TCPSTATES = Tool("tcpstates (bcc)", ("tcpstates-bpfcc",), "bpfcc-tools", state_ends)
BCC_TCPRETRANS = Tool("tcpretrans (bcc)", ("tcpretrans-bpfcc",), "bpfcc-tools")
EMPTY_PAIR = Tool(
    "two empty programs",
    (SYSTEM_PYTHON, "-I", str(ROOT / "tests" / "bench" / "partial.py"), EMPTY),
    "",
    lambda _output, _port: 0,
)
"""What exactness needs at least (bpf/twice.h): both programs of the tracepoint, each of which returns at once."""

COMPARED = (TCPTRACE, TCPLIFE, TCPSTATES, BCC_TCPLIFE, BCC_TCPSTATES)


@dataclass(frozen=True)
class Running:
    """A tool that has attached its programs. Its output is complete once it was stopped."""

    tool: Tool
    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def output(self) -> bytes:
        """What it has written to standard output."""
        return (self.directory / "out").read_bytes()

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        return (self.directory / "err").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it as Ctrl-C does, which has it write what it still holds; again where bcc's callbacks swallowed it."""
        for _ in range(PATIENCE):
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1 if not self.tool.ours else PATIENCE)
                return
        raise TimeoutError(f"{self.tool.name} does not end")


def launch(tool: Tool, output: int, errors: int) -> subprocess.Popen[bytes]:
    """Start a tool with its output to two descriptors."""
    program = find_tool(tool.command[0])
    assert program is not None, f"{tool.command[0]} is not here"
    return subprocess.Popen(
        [program, *tool.command[1:]],
        cwd=ROOT,
        env={**os.environ, **tool.environment},
        stdin=subprocess.PIPE,  # which nobody writes to, and which ends with this process
        stdout=output,
        stderr=errors,
        start_new_session=True,
    )


@contextmanager
def running(tool: Tool, directory: Path) -> Iterator[Running]:
    """Yield a tool that is attached and has come to rest, its output in a directory; afterwards it is gone."""
    with (directory / "out").open("wb") as output, (directory / "err").open("wb") as errors:
        process = launch(tool, output.fileno(), errors.fileno())
    with process:
        try:
            run = Running(tool, process, directory)
            _wait_until_attached(run)
            yield run
        finally:
            process.kill()


def _wait_until_attached(run: Running) -> None:
    """Wait for it to hold programs and then for the processor to be idle: output to a file is late for all but ours."""
    end = time.monotonic() + PATIENCE
    while run.process.poll() is None and not programs(run.pid):
        if time.monotonic() > end:
            raise CannotStartError("has attached nothing in a minute")
        time.sleep(0.02)
    if run.process.poll() is None:
        wait_until_quiet(run.pid)
    if run.process.poll() is not None:
        raise CannotStartError(reason(run.output.decode(errors="replace") + run.log))


def reason(log: str) -> str:
    """Return the line of a tool's complaint that says most: what is missing, or else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["said nothing"]
    telling = (re.search(r"(?:fatal error: )?([^:]*file not found|Unable to find [^.]*|^tcptrace: .*)", line) for line in lines)
    return next((found[1] for found in telling if found), lines[-1])


@dataclass(frozen=True)
class Line:
    """The tools that can be measured, the others by name with the reason, and notes on those that needed help."""

    tools: tuple[Tool, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]


def line_up(wanted: Sequence[Tool], directory: Path) -> Line:
    """Try each tool as it is packaged, then with headers made for it; needs a directory for those and for output."""
    tree = {"BCC_KERNEL_SOURCE": str(make_tree(directory))}
    found, left_out, helped = [], {}, {}
    for tool in wanted:
        if find_tool(tool.command[0]) is None:
            left_out[tool.name] = f"left out: not installed, apt-get install {tool.package}"
            continue
        given = replace(tool, environment=tree)
        plain = obstacle(tool, directory)
        why = plain and not tool.ours and obstacle(given, directory)
        if why:
            left_out[tool.name] = f"does not start: {why}"
        elif plain:
            helped[tool.name] = plain
        if not why:
            found.append(given if plain else tool)
    return Line(tuple(found), left_out, tuple(_notes(helped)))


def obstacle(tool: Tool, directory: Path) -> str | None:
    """Say why a tool does not start, or None where it does."""
    try:
        with running(tool, directory):
            return None
    except CannotStartError as error:
        return str(error)


def _notes(helped: Mapping[str, str]) -> Iterator[str]:
    if helped:
        these = "; ".join(f"{name}: {why}" for name, why in helped.items())
        yield f"As packaged these do not start here ({these}); they ran with headers made from the kernel's BTF."
