"""Compiled programs that are kept between runs, since the compiler takes ten times as long as all the rest of a start.

What is read here is loaded into the kernel by root. So the directory and the file have to belong to whoever loads,
and nobody else may be able to write there; otherwise nothing is kept, and a start compiles. What is compiled depends on the
text, which has the kernel's offsets in it, and on the compiler: both are in the name.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import stat
from collections.abc import Callable
from pathlib import Path

from tracer.kernel.bytecode import Bytecode
from tracer.kernel.compiler import CFLAGS, compile_text

FORMAT = 1
MOST = 256
"""Kept files; each has some 80 kB, a choice of filters three. The ones that were read or written longest ago give way."""


def directory() -> Path:
    """Return where compiled programs are kept: systemd's CacheDirectory=, or the usual place."""
    return Path(os.environ.get("CACHE_DIRECTORY") or "/var/cache/tcptrace").resolve()  # systemd's is a link


def compiled(text: str) -> Bytecode:
    """Return what the text compiles to, from the directory if it is there; raises TcptraceError when it does not compile."""
    found = read(text)
    if found is None:
        found = compile_text(text)
        write(text, found)
    return found


def is_kept() -> bool:
    """Say whether there is a directory for compiled programs that only who runs this can write."""
    return _is_own(directory(), stat.S_ISDIR)


def read(text: str) -> Bytecode | None:
    """Return what a text was compiled to; None when that is not known, or not to be believed."""
    path = _path(text)
    if not is_kept() or not _is_own(path, stat.S_ISREG):
        return None
    try:
        digest, body = path.read_text(encoding="ascii").split("\n", 1)
        if digest != hashlib.sha256(body.encode()).hexdigest():
            return None
        os.utime(path)
        return Bytecode.from_json(body)
    except (OSError, ValueError, TypeError, KeyError):  # damaged
        return None


def write(text: str, bytecode: Bytecode) -> None:
    """Keep what a text was compiled to, all of it or nothing, where there is a place for it."""
    path = _path(text)
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_kept():
        return
    import tempfile  # noqa: PLC0415 - a start with kept programs writes nothing

    body = bytecode.to_json()
    with contextlib.suppress(OSError):
        descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".json")
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}")
        os.replace(name, path)
        for old in sorted(path.parent.glob("*.json"), key=lambda kept: -kept.stat().st_mtime_ns)[MOST:]:
            old.unlink()


def _path(text: str) -> Path:
    """Return the file for a text: its name has the compiler's package in it, whose files change with every version."""
    spec = importlib.util.find_spec("bcc")
    files = [Path(place) / "version.py" for place in (spec.submodule_search_locations or [] if spec else [])]
    versions = [(str(file), file.stat().st_mtime_ns) for file in files if file.exists()]
    name = hashlib.sha256(repr((FORMAT, os.uname().machine, versions, CFLAGS, text)).encode()).hexdigest()
    return directory() / f"{name}.json"


def _is_own(path: Path, is_kind: Callable[[int], bool]) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return is_kind(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
