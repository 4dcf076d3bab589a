"""A private view of the file system for one command: directories covered by nothing, or shown at another place."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.needs import tool


@cache
def _obstacle() -> str | None:
    done = subprocess.run([tool("unshare"), "--mount", "true"], capture_output=True, text=True, check=False)
    return f"no private mounts here, as in a chroot: {done.stderr.strip()}" if done.returncode else None


def with_mounts(*command: str, bind: Mapping[Path, Path] | None = None, empty: Sequence[Path] = ()) -> list[str]:
    """Return the command that runs another one with these mounts, which nobody else sees and which end with it.

    bind: what to show where, done first. empty: directories to cover with an empty one; those that do not exist are left out.
    """
    if obstacle := _obstacle():
        pytest.skip(obstacle)
    steps = [f"mount --bind {shlex.quote(str(what))} {shlex.quote(str(where))}" for what, where in (bind or {}).items()]
    steps += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(place))}" for place in empty if place.is_dir()]
    return [tool("unshare"), "--mount", "sh", "-c", " && ".join([*steps, 'exec "$@"']), "sh", *command]
