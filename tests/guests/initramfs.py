"""The guest's first file system: busybox, the few modules that reach the disk and the host's files, and init.sh.

The archive is written here, in the kernel's newc format (Documentation/driver-api/early-userspace/buffer-format.rst). A
ready-made tool for this, virtme-ng, was the alternative: its own first process costs an emulated machine half a minute.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path

from tests.guests.archives import Kernel

MODULES = ("virtio_pci", "virtio_blk", "ext4", "9p", "9pnet_virtio", "overlay", "virtio_rng")
INIT = Path(__file__).with_name("init.sh")

DIRECTORY, FILE = 0o040755, 0o100755
TRAILER = "TRAILER!!!"


def write_initramfs(kernel: Kernel, path: Path) -> None:
    """Write the archive for one kernel."""
    busybox = Path(shutil.which("busybox") or "busybox").read_bytes()
    names = ("bin", "modules", "proc", "sys", "dev", "host", "top", "root", "out")
    entries = [(name, DIRECTORY, b"") for name in names]
    entries += [("init", FILE, INIT.read_bytes()), ("bin/busybox", FILE, busybox)]
    for number, module in enumerate(module_files(kernel)):
        entries.append((f"modules/{number:02}-{module.name.split('.')[0]}.ko", FILE, decompressed(module)))
    parts = [entry(name, mode, data) for name, mode, data in [*entries, (TRAILER, 0, b"")]]
    path.write_bytes(b"".join(parts))


def module_files(kernel: Kernel) -> list[Path]:
    """Return the files of the modules and of what they need, in the order in which they can be loaded."""
    found: dict[Path, None] = {}
    for name in MODULES:
        command = ["modprobe", "-d", str(kernel.root), "-S", kernel.release, "--show-depends", name]
        for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines():
            if line.startswith("insmod "):
                found[Path(line.split()[1])] = None
    return list(found)


def decompressed(module: Path) -> bytes:
    """Return a module's code, which distributions compress in different ways."""
    data = module.read_bytes()
    if module.suffix == ".xz":
        return lzma.decompress(data)
    if module.suffix == ".zst":
        return subprocess.run(["zstd", "-dc", module], capture_output=True, check=True).stdout
    return data


def entry(name: str, mode: int, data: bytes) -> bytes:
    """Return a file as the archive has it: a header of hexadecimal numbers, the name, the data, each padded to 4 bytes."""
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return padded(header) + padded(data)


def padded(data: bytes) -> bytes:
    """Return data with zeros up to the next multiple of four."""
    return data + bytes(-len(data) % 4)
