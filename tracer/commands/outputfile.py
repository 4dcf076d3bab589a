"""Where the text of a report goes: to standard output, or into a file that is opened with the caller's permissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tracer.errors import TcptraceError
from tracer.kernel.callersfile import unless_empty


@contextmanager
def written(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Yield what writes a text with a line break behind it; raises TcptraceError for a file that cannot be written.

    The file is opened at once, before privileges are dropped, and stays as it was until there is something to write; one that
    was not there is gone again where there was nothing.
    """
    if path is None:
        yield print
        return
    with unless_empty(path) as file:

        def write(text: str) -> None:
            try:
                file.truncate(0)
                file.write(f"{text}\n".encode(errors="backslashreplace"))
                file.flush()
            except OSError as error:
                file.truncate(0)
                raise TcptraceError(f"cannot write {path}: {error.strerror}", "give a path with room for it") from error

        yield write
