"""Kernels as packages: which suites have one, what it is called today, and its files unpacked in .cache.

Each suite has an apt configuration of its own, so that the machine's lists and packages stay as they are. Versions are looked
up, never pinned: an archive keeps only the latest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/guests"
LOOK_UP_EVERY_SECONDS = 86_400
APT_SECONDS = 240

KERNEL_PACKAGE = re.compile(r"linux-(image|modules|binary|base-)")
RELEASE = re.compile(r"linux-(?:image|binary)-(?:unsigned-)?((\d+\.\d+)\.\S+)")


class Unavailable(Exception):  # noqa: N818 - no error of ours: an archive that does not serve what we look for
    """A kernel that cannot be had just now, with the reason."""


@dataclass(frozen=True)
class Archive:
    """Where packages of a distribution come from: its name as apt gives it, a public mirror, and who signs."""

    origin: str
    mirror: str
    keyring: Path


@dataclass(frozen=True)
class Suite:
    """One release of a distribution, and the package that depends on its current kernel."""

    name: str
    archive: Archive
    package: str


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: version (6.1), release as uname gives it, and the directory with its packages' files."""

    version: str
    release: str
    root: Path

    @property
    def image(self) -> Path:
        """The compressed kernel, which lies beside its modules since Debian's 7.x."""
        places = (self.root / "boot" / f"vmlinuz-{self.release}", self.root / "lib/modules" / self.release / "vmlinuz")
        return next(path for path in places if path.exists())


DEBIAN = Archive("Debian", "http://deb.debian.org/debian", Path("/usr/share/keyrings/debian-archive-keyring.gpg"))
UBUNTU = Archive("Ubuntu", "http://archive.ubuntu.com/ubuntu", CACHE / "ubuntu/usr/share/keyrings/ubuntu-archive-keyring.gpg")

SUITES = (
    Suite("bullseye", DEBIAN, "linux-image-amd64"),
    Suite("bookworm", DEBIAN, "linux-image-amd64"),
    Suite("noble", UBUNTU, "linux-image-generic"),
    Suite("trixie", DEBIAN, "linux-image-amd64"),
    Suite("trixie-backports", DEBIAN, "linux-image-amd64"),
)


def mirror(archive: Archive) -> str:
    """Return where this machine itself gets packages of that distribution, else a public mirror."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Identifier: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")
    own = [line.split()[1] for line in lines if line.startswith(f"{archive.origin} ") and "security" not in line]
    return own[0] if own else archive.mirror


def apt(suite: Suite, *words: str, cwd: Path | None = None) -> str:
    """Run an apt command with the suite's own configuration; return what it says, raise Unavailable if it fails."""
    environment = {**os.environ, "APT_CONFIG": str(CACHE / "apt" / suite.name / "apt.conf"), "LC_ALL": "C"}
    try:
        result = subprocess.run(
            words, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=APT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{suite.name}: {' '.join(words[:2])} took longer than {APT_SECONDS} s") from error
    if result.returncode:
        raise Unavailable(f"{suite.name}: {' '.join(words[:2])} failed: {(result.stderr.strip() or 'no reason given')[-200:]}")
    return result.stdout


def configure(suite: Suite) -> None:
    """Write the suite's apt configuration, and fetch its lists unless they are of today."""
    place = CACHE / "apt" / suite.name
    stamp = place / "updated"
    if stamp.exists() and time.time() - stamp.stat().st_mtime < LOOK_UP_EVERY_SECONDS:
        return
    if suite.archive is UBUNTU:
        fetch_ubuntu_keyring()
    for directory in ("lists/partial", "cache/archives/partial"):
        (place / directory).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    (place / "sources.list").write_text(
        f"deb [arch=amd64 signed-by={suite.archive.keyring}] {mirror(suite.archive)} {suite.name} main\n"
    )
    settings = {"Etc::sourcelist": "sources.list", "State": "", "State::lists": "lists", "State::status": "status"}
    settings["Cache"] = "cache"
    lines = [f'Dir::{name} "{place / value}";' for name, value in settings.items()]
    options = ('Dir::Etc::sourceparts "-";', 'APT::Sandbox::User "root";', 'Acquire::Languages "none";')
    (place / "apt.conf").write_text("\n".join([*lines, *options, ""]))
    apt(suite, "apt-get", "-q", "-o", "Acquire::Retries=2", "-o", "APT::Update::Error-Mode=any", "update")
    stamp.touch()


def fetch_ubuntu_keyring() -> None:
    """Unpack Ubuntu's keys from Debian's package of them, since a Debian machine has none."""
    if UBUNTU.keyring.exists():
        return
    suite = next(suite for suite in SUITES if suite.name == "trixie")
    configure(suite)
    unpack(download(suite, ["ubuntu-keyring"], CACHE / "ubuntu"), CACHE / "ubuntu")


def download(suite: Suite, packages: list[str], place: Path) -> list[Path]:
    """Fetch packages into a directory; return their files."""
    place.mkdir(parents=True, exist_ok=True)
    apt(suite, "apt-get", "-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30", "download", *packages, cwd=place)
    return sorted(place.glob("*.deb"))


def unpack(files: list[Path], place: Path) -> None:
    """Unpack packages and remove them."""
    for file in files:
        subprocess.run(["dpkg", "-x", file, place], check=True)
        file.unlink()


def dependencies(suite: Suite, package: str) -> list[str]:
    """Return the kernel packages that one depends on."""
    said = apt(suite, "apt-cache", "depends", package)
    names = [line.split()[1] for line in said.splitlines() if line.lstrip(" |").startswith("Depends:")]
    return [name for name in names if KERNEL_PACKAGE.match(name)]


def look_up(suite: Suite) -> tuple[str, str, list[str]]:
    """Return version and release of a suite's kernel, and the packages that it is made of."""
    configure(suite)
    found: dict[str, None] = {}
    ahead = [suite.package]
    while ahead:
        for name in dependencies(suite, ahead.pop()):
            if name not in found:
                found[name] = None
                ahead.append(name)
    for name in found:
        if match := RELEASE.fullmatch(name):
            return match[2], match[1], [name for name in found if match[1] in name]
    raise Unavailable(f"{suite.name}: {suite.package} depends on no kernel")


def fetch(suite: Suite) -> Kernel:
    """Return a suite's present kernel, unpacked in .cache; raises Unavailable where the archive does not serve it."""
    version, release, packages = look_up(suite)
    root = CACHE / "kernels" / release
    if not root.exists():
        for older in (CACHE / "kernels").glob(f"{version}.*"):
            shutil.rmtree(older)
        place = root.parent / f"{release}.new"
        shutil.rmtree(place, ignore_errors=True)
        unpack(download(suite, packages, place), place)
        if not (place / "lib").exists():
            (place / "lib").symlink_to("usr/lib")
        subprocess.run(["depmod", "-b", place, release], check=True)
        place.rename(root)
    return Kernel(version, release, root)
