"""bpf/times.h, compiled with gcc: the kernel has each time in the bucket in which the model has it."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.needs import tool
from tests.unit.kernel.filterprograms import TYPES
from tracer.ingest.buckets import BOUNDS_NS
from tracer.ingest.counted import BUCKETS
from tracer.ingest.places import STAYS
from tracer.kernel.buckets import edges
from tracer.kernel.shipped import read_source
from tracer.model.histogram import bucket_index

pytestmark = pytest.mark.needs("gcc")

LIMIT_NS = 1 << 32
ASK = """
u64 ask(const struct stays *here, u64 ns) { return bucket_of(here, ns); }
u64 limit(void) { return TALLY_LIMIT_NS; }
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    directory = tmp_path_factory.mktemp("times")
    source, library = directory / "times.c", directory / "times.so"
    source.write_text("\n".join((TYPES, read_source("places.h"), read_source("times.h"), ASK)), encoding="utf-8")
    subprocess.run([tool("gcc"), "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    found = ctypes.CDLL(str(library))
    found.ask.argtypes = (ctypes.c_void_p, ctypes.c_uint64)
    found.ask.restype = found.limit.restype = ctypes.c_uint64
    return found


def stays() -> NDArray[np.void]:
    """Return a CPU's row in which nothing is but what times are looked up in."""
    row = np.zeros(1, STAYS)
    row["edges"] = edges(row["edges"].shape[1])
    return row


def test_each_time_is_in_the_models_bucket(compiled: ctypes.CDLL) -> None:
    bounds = BOUNDS_NS[BOUNDS_NS < LIMIT_NS - 1]
    random = np.exp2(np.random.default_rng(1).uniform(0, 32, 50_000)).astype(np.uint64)
    times = np.concatenate((np.arange(5000, dtype=np.uint64), random, bounds - 1, bounds, bounds + 1, [LIMIT_NS - 1]))
    times = times[times < LIMIT_NS].astype(np.uint64)
    row = stays()
    found = [compiled.ask(row.ctypes.data, int(ns)) for ns in times]
    assert found == bucket_index(times).tolist()


@pytest.mark.parametrize("ns", [1 << 32, 1 << 36, 69 * 10**9, 72 * 10**9, 100 * 10**9, 1 << 40, 1 << 62])
def test_a_time_that_has_a_record_is_in_no_bucket(compiled: ctypes.CDLL, ns: int) -> None:
    assert compiled.ask(stays().ctypes.data, ns) == BUCKETS


def test_what_is_counted_has_a_bucket(compiled: ctypes.CDLL) -> None:
    assert compiled.limit() == LIMIT_NS <= BOUNDS_NS[BUCKETS - 1]
    assert compiled.ask(stays().ctypes.data, LIMIT_NS + 1) == BUCKETS
