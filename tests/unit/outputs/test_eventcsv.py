"""Events as CSV: read back with the csv module, as any reader would."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from tests.unit.model.builder import events
from tests.unit.outputs.test_jsonl import CONTEXT, LIFE, sample
from tracer.ingest.decode import Events
from tracer.model.tcp import KINDS
from tracer.outputs.eventcsv import CSV_COLUMNS, HEAD, csv_lines
from tracer.outputs.jsonl import describe


def read_back(*batches: Events) -> list[dict[str, str]]:
    text = "\n".join([HEAD, *csv_lines(describe(np.concatenate(batches), CONTEXT))])
    return list(csv.DictReader(io.StringIO(text), strict=True))


def test_a_line_has_a_cell_for_every_column() -> None:
    (line,) = csv_lines(describe(sample("reset", flags=("reset_received",)), CONTEXT))
    assert line == (
        "2026-11-22T20:23:20.123456789Z,reset,client,4,10.0.0.1,50123,10.0.0.2,443,4711,curl,,4026531840,false"
        ",,,,,,,,received,,,,,,,,,,,,,,,,,,,,"
    )
    assert line.count(",") == HEAD.count(",") == len(CSV_COLUMNS) - 1


def test_all_kinds_share_one_header() -> None:
    rows = read_back(*(events(kind) for kind in KINDS[1:]))
    assert [row["kind"] for row in rows] == list(KINDS[1:])
    assert all(tuple(row) == CSV_COLUMNS and None not in row.values() for row in rows)


def test_the_cells_of_a_close_are_its_fields() -> None:
    (row,) = read_back(sample("close", from_state="fin_wait2", duration_ns=3_000_000, sent_bytes=1000, state_ns=LIFE))
    filled = {name: row[name] for name in ("reason", "errno", "duration_seconds", "sent_bytes", "received_bytes", "fast_open")}
    assert filled == {
        "reason": "normal",
        "errno": "",
        "duration_seconds": "0.003",
        "sent_bytes": "1000",
        "received_bytes": "0",
        "fast_open": "false",
    }
    assert row["states"] == "syn_sent=0.00102;established=3.0;fin_wait1=2e-05;fin_wait2=3e-05"


@pytest.mark.parametrize("name", ['a,"b";c', "a=b+c-d@e"])
def test_a_name_with_separators_or_signs_in_its_middle_reads_back_as_it_is(name: str) -> None:
    (row,) = read_back(sample("reset", process=name.encode()))
    assert row["process"] == name


def test_a_name_with_a_line_end_or_an_escape_stays_one_visible_line() -> None:
    lines = csv_lines(describe(sample("reset", process=b"a\nb\x1b\\n"), CONTEXT))
    assert len(lines) == 1
    assert r"a\nb\x1b\n" in lines[0]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_name_is_no_formula(name: str) -> None:
    (row,) = read_back(sample("reset", process=name.encode()))
    assert row["process"] == f"'{name}"
