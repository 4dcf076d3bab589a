"""The command line: verbs, and the one place where errors become messages and exit statuses.

0 done · 1 expected failure · 2 usage · 3 bug · 130 Ctrl-C
"""

from __future__ import annotations

import errno
import importlib
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from tracer import __version__
from tracer.commands.help import show_help
from tracer.commands.streams import ReaderGoneError, discard_output
from tracer.commands.verb import Verb
from tracer.errors import TcptraceError

SHORTAGES = {*(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN), *(errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)}

VERBS = (
    *("run", "events", "follow", "connections", "audit", "snapshot"),
    *("record", "replay", "report", "dashboard", "rules", "doctor"),
)
"""In the order of the help; each is a function in the module of tracer/commands that has its name."""


def command_line(verbs: Iterable[str] = VERBS) -> typer.Typer:
    """Return a command line that has these verbs; no others are imported. That may fail as imports do (see __main__.py)."""
    app = typer.Typer(
        name="tcptrace",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(tcptrace)
    for verb in verbs:
        app.command(cls=Verb)(getattr(importlib.import_module(f"tracer.commands.{verb}"), verb))
    app.command("help", cls=Verb)(show_help)
    return app


def needed(arguments: Sequence[str]) -> Sequence[str]:
    """Return the verbs that these arguments need: the one that is asked for, or all to choose from; others cost a start."""
    words = [word for word in arguments if not word.startswith("-")]
    verb = next((word for word in words if word != "help"), "")
    if verb in VERBS:
        return (verb,)
    return () if "--version" in arguments else VERBS


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tcptrace {__version__}")
        raise typer.Exit


def tcptrace(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    color: Annotated[bool | None, typer.Option("--color/--no-color", help="Colors; default: on a terminal.")] = None,
) -> None:
    """What the Linux kernel knows about your TCP connections: handshakes, failures, retransmissions, closes, TIME_WAIT."""
    context.obj = color


def main(app: typer.Typer) -> None:
    """Run a command line and leave with the contract's exit status; usage errors are Typer's to print (2)."""
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(_status(app))


def _status(app: typer.Typer) -> int:
    """Return how it ended, after everything was written that can be."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except TcptraceError as error:
        return _fail(str(error), error.exit_status)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (ReaderGoneError, BrokenPipeError):  # a reader that has seen enough (`| head`)
        discard_output()
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the last resort, which names it a bug
        return _fail_by_surprise(error)
    return 0


def _fail_by_surprise(error: Exception) -> int:
    """Say that it is the machine's fault, or ours."""
    if what := _shortage(error):
        return _fail(f"{what}\nhint: memory, descriptors, threads or disk are full or limited here (ulimit -a)", 1)
    traceback.print_exc()
    return _fail("this is a bug; please report it with what is above", 3)


def _shortage(error: Exception) -> str | None:
    """Return what the machine is short of, None for an error that does not say so."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return f"the system refuses: {error.strerror}" + (f": {error.filename}" if error.filename else "")
    return f"the system refuses: {error}" if isinstance(error, RuntimeError) and "new thread" in str(error) else None


def _fail(what: str, status: int) -> int:
    """Say what failed; what could not be written to standard output is given up."""
    print(f"tcptrace: {what}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except (OSError, ReaderGoneError, TcptraceError):
        discard_output()
    return status
