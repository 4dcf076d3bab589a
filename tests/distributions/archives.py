"""Where packages come from: the mirrors that this machine's own apt uses, and the keys that sign them.

A mirror of the other distribution's archive is the public one; TCPTRACE_DEBIAN and TCPTRACE_UBUNTU name others.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PUBLIC = {"debian": "http://deb.debian.org/debian/", "ubuntu": "http://archive.ubuntu.com/ubuntu/"}
KEYRINGS = Path("/usr/share/keyrings")
KEYRING_SUITE = "trixie"
"""A release of Debian that packages the keys of both archives."""


def mirror(archive: str) -> str:
    """Return the address of an archive: as told, else as this machine's apt has it, else the public one."""
    told = os.environ.get(f"TCPTRACE_{archive.upper()}")
    return told or _own_mirrors().get(archive) or PUBLIC[archive]


def _own_mirrors() -> dict[str, str]:
    """Return the mirrors of the machine's package lists by archive; the first of each, which is not the security one."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Identifier: Packages"]
    rows = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    found: dict[str, str] = {}
    for origin, _, address in (row.partition(" ") for row in rows):
        if "security" not in address:
            found.setdefault(origin.lower(), address)
    return found


def keyring(archive: str, place: Path) -> Path:
    """Return the file with an archive's keys; one that this machine lacks is fetched as a Debian package into a place."""
    name = f"{archive}-archive-keyring.gpg"
    fetched = place / "usr/share/keyrings" / name
    if (KEYRINGS / name).exists():
        return KEYRINGS / name
    if not fetched.exists():
        _fetch(f"{archive}-keyring", place)
    return fetched


def _fetch(package: str, place: Path) -> None:
    """Unpack a package of Debian's with a private configuration: the machine's own package lists stay as they are."""
    settings = {
        "Dir::Etc::sourcelist": place / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": place / "state",
        "Dir::State::status": place / "status",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "root",
    }
    for directory in ("state/lists/partial", "cache/archives/partial"):
        (place / directory).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    signed = f"[signed-by={keyring('debian', place)}]"
    (place / "sources.list").write_text(f"deb {signed} {mirror('debian')} {KEYRING_SUITE} main\n", encoding="utf-8")
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    subprocess.run(["apt-get", "-qq", *options, "update"], check=True)
    subprocess.run(["apt-get", "-qq", *options, "download", package], check=True, cwd=place)
    (deb,) = place.glob(f"{package}_*.deb")
    subprocess.run(["dpkg", "-x", str(deb), str(place)], check=True)
