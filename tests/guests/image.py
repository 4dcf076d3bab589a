"""The kernel itself out of its compressed image, for the type information (BTF) that lies in it.

The image says where (Documentation/arch/x86/boot.rst): setup_sects at 0x1f1, payload_offset and payload_length at 0x248. The
payload is compressed, and its last four bytes are the length that it has then.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
from collections.abc import Callable

from tests.guests.archives import Kernel, Unavailable

Decompress = Callable[[bytes], bytes]

SECTOR = 512


def program(*command: str) -> Decompress:
    """Return a function that lets a program decompress."""
    return lambda data: subprocess.run(command, input=data, capture_output=True, check=True).stdout


FORMATS: dict[bytes, Decompress] = {
    b"\x1f\x8b\x08": gzip.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
    b"\x28\xb5\x2f\xfd": program("zstd", "-dc"),
}


def vmlinux(kernel: Kernel) -> str:
    """Return the path of a kernel's decompressed image, which is kept beside its packages' files."""
    path = kernel.root / "vmlinux"
    if not path.exists():
        new = path.with_suffix(".new")
        new.write_bytes(decompressed(kernel.image.read_bytes()))
        new.rename(path)
    return str(path)


def decompressed(image: bytes) -> bytes:
    """Return the kernel that an image has in it; raises Unavailable where its form is not known."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * SECTOR + offset
    payload = image[start : start + length - 4]
    for magic, decompress in FORMATS.items():
        if payload.startswith(magic):
            return decompress(payload)
    raise Unavailable(f"a kernel is compressed in a way that begins with {payload[:6].hex()}")
