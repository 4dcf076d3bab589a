"""`tcptrace help [VERB]`: the help of a verb, or of all."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tracer.errors import UsageError


def show_help(
    context: typer.Context,
    verb: Annotated[str | None, typer.Argument(metavar="[VERB]", show_default=False, help="Which one; default: all.")] = None,
) -> None:
    """Show what a verb does, with its options and examples: the same as 'tcptrace VERB --help'."""
    everything: Any = context.find_root()
    if verb is None:
        print(everything.get_help())
        return
    command = everything.command.get_command(everything, verb)
    if command is None:
        raise UsageError(f"there is no verb {verb}", f"choose from {', '.join(everything.command.list_commands(everything))}")
    command.make_context(verb, ["--help"], parent=everything)
