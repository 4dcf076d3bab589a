"""What guests read often and find slow over the shared file system: an ext4 image, and the checkout as an archive.

The image holds the compiler's libraries, Python's, and the virtual environment, under the paths that they have on the host;
its file `paths` says where each is to be mounted. One image serves all kernels.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sysconfig
import tarfile
import tempfile
from pathlib import Path
from threading import Lock

from tests.guests.archives import CACHE, ROOT

IMAGE = CACHE / "disk.img"
STAMP = CACHE / "disk.stamp"
VENV = ROOT / ".venv"
LEFT_OUT = {".git", ".venv", ".cache", "__pycache__", ".mypy_cache", ".ruff_cache"}
UNUSED = ("mypy*", "*mypyc*", "kubernetes_validate", "grafana_foundation_sdk", "ruff*", "setuptools", "pip", "test")
"""Of the environment and of Python's library: what no kernel test imports."""

MAKING = Lock()

SYSTEM_PYTHON = "import sysconfig; print(sysconfig.get_path('stdlib'))"
LIBRARIES = "import bcc.libbcc as l; print(open('/proc/self/maps').read())"


def disk() -> Path:
    """Return the image, made anew if what it was copied from has changed."""
    with MAKING:
        return made()


def made() -> Path:
    """Return the image, which nobody else makes meanwhile."""
    files = [*libraries(), *directories()]
    stamp = hashlib.sha256(repr([(str(path), path.stat().st_mtime_ns) for path in [*files, *packages()]]).encode()).hexdigest()
    if not IMAGE.exists() or not STAMP.exists() or STAMP.read_text() != stamp:
        make_image(files)
        STAMP.write_text(stamp)
    return IMAGE


def libraries() -> list[Path]:
    """Return the shared libraries that bcc loads."""
    said = subprocess.run(["/usr/bin/python3", "-I", "-c", LIBRARIES], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in said.splitlines() if ".so" in line}
    return sorted(Path(name).resolve() for name in names)


def directories() -> list[Path]:
    """Return the directories of Python: its library, the distribution's packages, our environment."""
    said = subprocess.run(["/usr/bin/python3", "-I", "-c", SYSTEM_PYTHON], capture_output=True, text=True, check=True)
    return [Path(said.stdout.strip()), Path("/usr/lib/python3"), VENV]


def packages() -> list[Path]:
    """Return what changes when a package of the environment does."""
    return sorted(Path(sysconfig.get_path("purelib", vars={"base": str(VENV)})).glob("*.dist-info"))


def make_image(paths: list[Path]) -> None:
    """Copy and write the image."""
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        place = Path(name)
        for path in paths:
            copy(path, place / path.relative_to("/"))
        (place / "paths").write_text("".join(f"{path}\n" for path in paths))
        IMAGE.unlink(missing_ok=True)
        size = int(subprocess.run(["du", "-sm", place], capture_output=True, text=True, check=True).stdout.split()[0])
        command = ["mke2fs", "-qF", "-t", "ext4", "-O", "^has_journal", "-d", str(place), str(IMAGE), f"{size * 5 // 4 + 64}M"]
        subprocess.run(command, check=True)


def copy(path: Path, to: Path) -> None:
    """Copy a file, or a directory without what is not used."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, to, symlinks=True, ignore=shutil.ignore_patterns(*UNUSED), dirs_exist_ok=True)
    else:
        shutil.copy2(path, to)


def pack_checkout(to: Path) -> None:
    """Write the checkout, as it is now, into an archive, with bytecode, since every process there would compile it anew."""
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        shutil.copytree(ROOT, name, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)
        command = [str(VENV / "bin/python"), "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        subprocess.run([*command, "-s", name, "-p", str(ROOT), f"{name}/tracer", f"{name}/tests"], check=True)
        with tarfile.open(to, "w") as archive:
            archive.add(name, ".")
