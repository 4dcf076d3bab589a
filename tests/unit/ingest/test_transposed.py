"""Records by columns are the records."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.model.builder import beginnings, events
from tracer.ingest.decode import BEGINNING, EVENT, Events
from tracer.ingest.transposed import BLOCK, Transposed, mask_of, words_of
from tracer.model.batch import Part

COUNTS = (0, 1, BLOCK, 2 * BLOCK + 3)


def records(count: int) -> Events:
    """Return records whose every byte is another than its neighbours'."""
    found = np.random.default_rng(count).integers(0, 256, (count, EVENT.itemsize), np.uint8)
    return found.view(EVENT).reshape(count)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", EVENT.names or ())
def test_every_column_is_that_of_the_records(name: str, count: int) -> None:
    plain = records(count)
    column = Transposed.of([plain])[name]
    assert (column.dtype, column.shape) == (plain[name].dtype, plain[name].shape)
    assert (column == plain[name]).all()


@pytest.mark.parametrize("name", EVENT.names or ())
def test_a_part_has_the_columns_of_its_records(name: str) -> None:
    plain, index = records(100), np.array([7, 3, 99])
    part = Part(Transposed.of([plain]), index)
    assert (part[name] == plain[index][name]).all()
    assert (part.at(np.array([0, 2]))[name] == plain[[7, 99]][name]).all()


@pytest.mark.parametrize("name", ["sent_bytes", "netns", "srtt_us", "local_port", "kind", "retransmit_kind"])
def test_a_number_is_the_same_as_a_word(name: str) -> None:
    plain, index = records(100), np.array([7, 3, 99])
    found = Part(Transposed.of([plain]), index).number(name)
    assert found.dtype == np.uint64
    assert found.tolist() == plain[index][name].tolist()


def test_namespace_and_error_fit_into_one_word() -> None:
    assert mask_of("netns") & mask_of("error") == 0


def test_records_come_back_as_they_were() -> None:
    plain = records(10)
    columns = Transposed.of([plain])
    assert columns[3] == plain[3]
    assert columns[np.array([9, 2])].tobytes() == plain[[9, 2]].tobytes()
    assert columns.where(plain["kind"] > 100)[:].tobytes() == plain[plain["kind"] > 100].tobytes()
    assert Transposed.of([plain, plain[:0], plain[4:]])[10] == plain[4]


def test_what_records_do_not_have_is_zero() -> None:
    whole = records(BLOCK + 3)
    columns = Transposed.of([beginnings(whole), beginnings(whole)])
    for name in EVENT.names or ():
        expected = whole[name] if name in (BEGINNING.names or ()) else np.zeros_like(whole[name])
        assert (columns[name] == np.concatenate((expected, expected))).all()


def test_an_address_has_the_same_words_in_records_sockets_and_columns() -> None:
    plain = events("handshake", 3, peer="2001:db8::1")
    assert (words_of(plain, "remote_address") == words_of(Transposed.of([plain]), "remote_address")).all()
