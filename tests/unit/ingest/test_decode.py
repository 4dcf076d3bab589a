from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.needs import tool
from tracer.ingest.decode import EVENT, LAYOUT, dtype_of
from tracer.kernel.layout import parse_layout
from tracer.kernel.shipped import read_source


def test_every_member_has_its_name_place_and_size() -> None:
    assert EVENT.names == tuple(field.name for field in LAYOUT.fields)
    assert EVENT.fields is not None
    for field in LAYOUT.fields:
        dtype, offset = EVENT.fields[field.name][:2]
        assert (offset, dtype.itemsize) == (field.offset, field.size)
    assert EVENT.itemsize == LAYOUT.size


def test_numbers_are_little_endian_and_signed_where_c_says_so() -> None:
    dtype = dtype_of(parse_layout("struct event { u64 a; u32 b; s32 c; u16 d; u8 e; u8 f[5]; };").fields)
    row = np.frombuffer(bytes(range(1, 13)) + b"\xff\xff\xff\xff" + b"\x01\x02\x03" + b"\x04\x05\x06\x07\x08", dtype)[0]
    assert row["a"] == 0x0807060504030201
    assert row["b"] == 0x0C0B0A09
    assert row["c"] == -1
    assert row["d"] == 0x0201
    assert row["e"] == 3
    assert row["f"].tolist() == [4, 5, 6, 7, 8]


def test_a_process_name_is_a_byte_string_without_the_zeros_behind_it() -> None:
    row = np.zeros(1, EVENT)
    row["process"] = b"curl"
    assert row["process"][0] == b"curl"
    assert EVENT["process"] == np.dtype("S16")


def test_an_address_is_sixteen_bytes_and_the_states_are_twelve_numbers() -> None:
    row = np.zeros(3, EVENT)
    assert row["local_address"].shape == row["remote_address"].shape == (3, 16)
    assert row["state_ns"].shape == (3, 12)


def test_a_column_of_a_batch_is_a_view_and_no_copy() -> None:
    batch = np.zeros(23, EVENT)
    assert np.shares_memory(batch["time_ns"], batch)


FILL = """
#include <stdio.h>
#include <string.h>
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64; typedef int s32;
%s
int main(void)
{
	struct event e;
	memset(&e, 0, sizeof(e));
	e.time_ns = 0x1122334455667788ULL;
	e.state_ns[STATE_ESTABLISHED] = 23;
	e.error = -111;
	e.local_port = 443;
	e.remote_address[15] = 29;
	strcpy((char *)e.process, "nginx");
	e.kind = EVENT_CLOSE;
	e.attempt = 31;
	fwrite(&e, sizeof(e), 1, stdout);
}
"""


@pytest.mark.needs("gcc")
def test_what_a_compiler_wrote_reads_as_it_was_meant(tmp_path: Path) -> None:
    source = tmp_path / "fill.c"
    source.write_text(FILL % read_source("event.h"), encoding="utf-8")
    subprocess.run([tool("gcc"), "-o", tmp_path / "fill", source], check=True)
    said = subprocess.run([tmp_path / "fill"], capture_output=True, check=True).stdout
    (row,) = np.frombuffer(said, EVENT)
    assert row["time_ns"] == 0x1122334455667788
    assert row["state_ns"].tolist() == [0, 23] + [0] * 10
    assert (row["error"], row["local_port"], row["kind"], row["attempt"]) == (-111, 443, 3, 31)
    assert row["remote_address"].tolist() == [0] * 15 + [29]
    assert row["process"] == b"nginx"
    assert row["sent_bytes"] == 0
