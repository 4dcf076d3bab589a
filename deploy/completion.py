"""Write the completion of a shell, for `make install`: `python deploy/completion.py bash`, or zsh, with tcptrace's own Python.

It is a table of words, made once: Typer's own completion starts Python at each press of Tab and imports what the verb imports.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from tracer.cli import command_line

BASH = """\
# Completion of tcptrace for bash, written by 'make install'.
_tcptrace() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb= choices= i
	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == -* ]] || { verb=${COMP_WORDS[i]} && break; }
	done
@CASES@
	COMPREPLY=($(compgen -W "$choices" -- "$word"))
}
complete -o default -F _tcptrace tcptrace
"""

ZSH = """\
#compdef tcptrace
# Completion of tcptrace for zsh, written by 'make install'.
local before=${words[CURRENT - 1]} verb= choices= i
for ((i = 2; i < CURRENT; i++)); do
	[[ ${words[i]} == -* ]] || { verb=${words[i]} && break; }
done
@CASES@
[[ -z $choices ]] || compadd -- ${=choices}
[[ -z $verb || ( -n $choices && ${words[CURRENT]} == -* ) ]] || _files
"""


def main(shell: str) -> None:
    """Write the completion of a shell to standard output."""
    cases = "\n".join(f"\t{line}" if shell == "bash" else line for line in case_lines())
    sys.stdout.write({"bash": BASH, "zsh": ZSH}[shell].replace("@CASES@", cases))


def case_lines() -> Iterator[str]:
    """Yield what sets `choices` by the verb and the word before; both shells read it. Empty choices are names of files."""
    whole: Any = typer.main.get_command(command_line())
    verbs = " ".join(whole.commands)
    yield 'case "$verb $before" in'
    yield f"'help '*) choices='{verbs}' ;;"
    for name, verb in whole.commands.items():
        for option in options_of(verb):
            if not option.is_flag:
                words = "|".join(f"'{name} {word}'" for word in option.opts)
                yield f"{words}) choices='{values_of(option)}' ;;"
        yield f"'{name} '*) choices='{' '.join(words_of(verb))}' ;;"
    yield f"*) choices='{verbs} {' '.join(words_of(whole))}' ;;"
    yield "esac"


def options_of(command: Any) -> list[Any]:
    """Return the options of a command."""
    return [param for param in command.params if param.param_type_name == "option"]


def words_of(command: Any) -> list[str]:
    """Return what may be typed for the options of a command."""
    return [word for option in options_of(command) for word in (*option.opts, *option.secondary_opts)] + ["--help"]


def values_of(option: Any) -> str:
    """Return the values of an option that has a few, as its help has them (a|b|c)."""
    return option.metavar.replace("|", " ") if re.fullmatch(r"[a-z_]+(\|[a-z_]+)+", option.metavar or "") else ""


if __name__ == "__main__":
    main(sys.argv[1])
