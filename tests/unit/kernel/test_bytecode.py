"""Instructions without what only one run knows, and with it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from tracer.kernel.bytecode import CONSTANT_MARK, INSTRUCTION, Bytecode, CompiledProgram, Table, put_together, take_apart

MOVE = INSTRUCTION.pack(0xB7, 1, 0, 23)
EXIT = INSTRUCTION.pack(0x95, 0, 0, 0)


def load(register: int, value: int, source: int = 0) -> bytes:
    """Return the two instructions that load 64 bits."""
    low, high = struct.unpack("=ii", struct.pack("=Q", value))
    return INSTRUCTION.pack(0x18, register | source << 4, 0, low) + INSTRUCTION.pack(0, 0, 0, high)


def constant(number: int) -> bytes:
    return load(3, CONSTANT_MARK << 32 | number)


def test_a_table_is_known_by_its_name_and_not_by_the_descriptor_it_was_compiled_with() -> None:
    program = take_apart(MOVE + load(1, 5, source=1) + load(2, 7, source=1) + EXIT, {5: "events", 7: "conns"})
    assert program.tables == {1: "events", 3: "conns"}
    assert put_together(program, {"events": 40, "conns": 41}, ()) == (
        MOVE + load(1, 40, source=1) + load(2, 41, source=1) + EXIT
    )


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5))
def test_a_constant_becomes_its_value(values: list[int]) -> None:
    code = b"".join(constant(number) for number in range(len(values))) + EXIT
    assert put_together(take_apart(code, {}), {}, values) == b"".join(load(3, value) for value in values) + EXIT


@given(st.integers(0, 2**64 - 1).filter(lambda value: value >> 32 != CONSTANT_MARK))
def test_no_other_value_is_taken_for_a_constant(value: int) -> None:
    assert put_together(take_apart(load(3, value) + EXIT, {}), {}, ()) == load(3, value) + EXIT


def test_a_table_that_was_not_declared_is_an_error() -> None:
    with pytest.raises(KeyError):
        take_apart(load(1, 5, source=1), {})


def test_bytecode_comes_back_from_text_as_it_was() -> None:
    program = CompiledProgram(EXIT.hex(), {0: "events"})
    bytecode = Bytecode("0.26.0", (Table("events", 27, 0, 0, 4096, 0),), {"on_it": program})
    assert Bytecode.from_json(bytecode.to_json()) == bytecode


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"bcc": "1", "tables": [{}], "programs": {}}', '{"bcc": "1"}'])
def test_text_that_is_no_bytecode_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Bytecode.from_json(text)
