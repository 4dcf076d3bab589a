"""Compiled programs as values: instructions and the tables they use, before anything of it is in the kernel.

What differs from run to run without changing the code is no part of it: sizes of tables, and the numbers that the C text
calls CONSTANT(n) (bpf/sock.h). They are put in here, so that a text is compiled once and not at every start.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass

INSTRUCTION = struct.Struct("=BBhi")
"""struct bpf_insn: code, registers (destination in the lower half), offset, immediate value."""

LOAD_64 = 0x18
"""BPF_LD | BPF_IMM | BPF_DW: a value of 64 bits in two instructions, the lower half first."""

PSEUDO_MAP = 1
"""BPF_PSEUDO_MAP_FD, as source register of LOAD_64: the value is a descriptor of a map."""

CONSTANT_MARK = 0x74637074
"""Upper half of the value that stands for CONSTANT(n); the lower one is n."""

CALL = 0x85
"""BPF_JMP | BPF_CALL: of a helper by its number, or of a function of the kernel."""

PSEUDO_FUNCTION = 2
"""BPF_PSEUDO_KFUNC_CALL, as source register of CALL: the number is the function's in the kernel's BTF."""

CAST_MARK = 0x7463
"""Stands for the number of bpf_rdonly_cast() (bpf/read.h)."""

OWN = 2
"""CONSTANT(0) and CONSTANT(1) are each program's own, all others the same in all."""


@dataclass(frozen=True)
class Table:
    """A map as the C text declares it; type and flags as in include/uapi/linux/bpf.h."""

    name: str
    type: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int


@dataclass(frozen=True)
class CompiledProgram:
    """Instructions (hexadecimal, 8 bytes each), and the tables that they load, by the place of the instruction."""

    code: str
    tables: dict[int, str]


@dataclass(frozen=True)
class Bytecode:
    """All that one text compiles to. bcc: the version that compiled it."""

    bcc: str
    tables: tuple[Table, ...]
    programs: dict[str, CompiledProgram]

    def joined(self, other: Bytecode) -> Bytecode:
        """Return both together; a table that both use is one."""
        return Bytecode(self.bcc, tuple(dict.fromkeys(self.tables + other.tables)), self.programs | other.programs)

    def to_json(self) -> str:
        """Return it as text for from_json()."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Bytecode:
        """Return what to_json() wrote; raises ValueError, TypeError or KeyError for anything else."""
        document = json.loads(text)
        programs = {
            name: CompiledProgram(program["code"], {int(place): table for place, table in program["tables"].items()})
            for name, program in document["programs"].items()
        }
        return cls(document["bcc"], tuple(Table(**table) for table in document["tables"]), programs)


def take_apart(code: bytes, tables: dict[int, str]) -> CompiledProgram:
    """Return instructions without the descriptors of the tables that they were compiled with; tables: names by descriptor."""
    words = [list(word) for word in INSTRUCTION.iter_unpack(code)]
    found = {place: tables[word[3]] for place, word in enumerate(words) if word[0] == LOAD_64 and word[1] >> 4 == PSEUDO_MAP}
    for place in found:
        words[place][3] = 0
    return CompiledProgram(_pack(words).hex(), found)


def put_together(program: CompiledProgram, tables: dict[str, int], constants: Sequence[int], cast: int = 0) -> bytes:
    """Return instructions to load: with descriptors of tables, by name, and values for CONSTANT(0), CONSTANT(1) and so on.

    cast: the number of bpf_rdonly_cast() in the kernel's BTF, which calls of it need.
    """
    words = [list(word) for word in INSTRUCTION.iter_unpack(bytes.fromhex(program.code))]
    for place, name in program.tables.items():
        words[place][3] = tables[name]
    for place, word in enumerate(words):
        if _is_constant(word, words[place + 1 : place + 2]):
            value = constants[word[3]]
            word[3], words[place + 1][3] = struct.unpack("=ii", struct.pack("=Q", value))
        elif word[0] == CALL and word[3] == CAST_MARK:
            word[1], word[3] = PSEUDO_FUNCTION << 4, cast
    return _pack(words)


def _is_constant(word: list[int], following: list[list[int]]) -> bool:
    return word[0] == LOAD_64 and word[1] >> 4 == 0 and following[0][3] == CONSTANT_MARK


def _pack(words: list[list[int]]) -> bytes:
    return b"".join(INSTRUCTION.pack(*word) for word in words)
