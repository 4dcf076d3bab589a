"""One emulated machine: boots a kernel with the host's files, runs a command, and returns what came of it.

Software emulation on purpose: continuous integration has no other, and one way is enough. The guest sees the host's files
read only, and a directory of results.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.guests.archives import CACHE, ROOT, Kernel
from tests.guests.disk import disk, pack_checkout
from tests.guests.initramfs import write_initramfs
from tests.guests.programs import keep, lay_out

SLOWNESS = 6
"""How many times longer a guest may take than a machine of its own, for tests that wait (tests/kernel/until.py)."""

OPTIONS = "console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests apparmor=0 nokaslr norandmaps random.trust_cpu=on"
INSIDE = Path(__file__).with_name("inside.sh")


@dataclass(frozen=True)
class Outcome:
    """What a guest left: the command's status, None where it never ended, its output, and the directory with its files.

    timed_out: whether the machine was ended because its time was up. compiled: how many programs' texts the guest had to
    compile itself, slowly.
    """

    kernel: str
    status: int | None
    output: str
    place: Path
    timed_out: bool
    compiled: int

    @property
    def summary(self) -> str:
        """How it ended: pytest's own last line, where there is one."""
        last = (self.output.strip().splitlines() or ["nothing came of it"])[-1]
        return last if self.status is not None else f"never ended ({last})"


def run(kernel: Kernel, command: str, seconds: float, *, shapes: str = "every") -> Outcome:
    """Boot, run a shell command in the checkout, and wait for the end; what the guest writes to $OUT is kept in .cache.

    shapes: which programs are compiled beforehand (tests/guests/shapes.py).
    """
    place = CACHE / "results" / kernel.version if shapes == "every" else CACHE / "results" / f"{kernel.version}-{shapes}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copy(INSIDE, place)
    (place / "command").write_text(f"{command}\n")
    (place / "environment").write_text(f"export OUT=/mnt/out CHECKOUT={ROOT} TCPTRACE_SLOWNESS={SLOWNESS}\n")
    pack_checkout(place / "checkout.tar")
    try:
        compiled = lay_out(kernel, place / "programs", shapes=shapes)
    except subprocess.CalledProcessError as error:
        return Outcome(kernel.release, None, f"the programs cannot be compiled for it: {error.stderr}", place, False, 0)
    with tempfile.NamedTemporaryFile(dir=CACHE, suffix=".cpio") as initramfs:
        write_initramfs(kernel, Path(initramfs.name))
        ended = emulate(kernel, Path(initramfs.name), place, seconds)
    return outcome(kernel, place, timed_out=not ended, compiled=keep(kernel, place / "programs", compiled))


def emulate(kernel: Kernel, initramfs: Path, place: Path, seconds: float) -> bool:
    """Run the machine until it powers off, or for so many seconds; return whether it powered off.

    One CPU: with two, the same takes one and a half times as much of the host's. Nehalem: what numpy asks for, and no more.
    """
    shares = {"host": "/", "out": str(place), "modules": str(kernel.root / "lib/modules")}
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "Nehalem", "-m", "2G", "-no-reboot", "-nodefaults"]
    command += ["-display", "none", "-nic", "none", "-serial", f"file:{place}/console", "-device", "virtio-rng-pci"]
    command += ["-drive", f"file={disk()},format=raw,if=virtio,readonly=on"]
    for tag, path in shares.items():
        only = "" if tag == "out" else ",readonly=on"
        command += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap{only}"]
    command += ["-kernel", str(kernel.image), "-initrd", str(initramfs), "-append", OPTIONS]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as machine:
        try:
            machine.wait(seconds)
        except subprocess.TimeoutExpired:
            machine.kill()
            return False
    return True


def outcome(kernel: Kernel, place: Path, *, timed_out: bool, compiled: int) -> Outcome:
    """Return what is in the directory of results."""
    status = place / "status"
    parts = [(place / name).read_text(errors="replace") for name in ("log", "output") if (place / name).exists()]
    ended = int(status.read_text()) if status.exists() else None
    return Outcome(kernel.release, ended, "".join(parts), place, timed_out and ended is None, compiled)
