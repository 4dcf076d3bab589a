"""The command line: verbs, and the one door through which errors become messages and exit statuses.

0 done · 1 expected failure · 2 usage · 3 bug · 130 Ctrl-C
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from tracer import __version__
from tracer.commands.audit import audit
from tracer.commands.dashboard import dashboard
from tracer.commands.doctor import doctor
from tracer.commands.events import events
from tracer.commands.follow import follow
from tracer.commands.record import record
from tracer.commands.replay import replay
from tracer.commands.rules import rules
from tracer.commands.run import run
from tracer.commands.snapshot import snapshot
from tracer.errors import TcptraceError

app = typer.Typer(
    name="tcptrace",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, events, follow, audit, snapshot, record, replay, dashboard, rules, doctor):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tcptrace {__version__}")
        raise typer.Exit


@app.callback()
def tcptrace(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    color: Annotated[bool | None, typer.Option("--color/--no-color", help="Colors; default: on a terminal.")] = None,
) -> None:
    """What the Linux kernel knows about your TCP connections: handshakes, failures, retransmissions, closes, TIME_WAIT."""
    context.obj = color


def main() -> None:
    """Run the command line and leave with the contract's exit status; usage errors are Typer's to print (2)."""
    try:
        app()
    except TcptraceError as error:
        print(f"tcptrace: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:  # noqa: BLE001 - the last resort, which names it a bug
        traceback.print_exc()
        print("tcptrace: this is a bug; please report it with what is above", file=sys.stderr)
        sys.exit(3)
    finally:
        _flush()


def _flush() -> None:
    """Write out what is left; a reader that has seen enough (`| head`) must not make Python complain at its end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
