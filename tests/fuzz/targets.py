"""What is fuzzed: a name, what is done with some bytes, and bytes to begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.fuzz import records, texts


class Target(NamedTuple):
    """run: may raise nothing. seeds: inputs from which the fuzzer begins. most: bytes of an input."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    most: int


TARGETS: Mapping[str, Target] = {
    "ring": Target(records.ring, records.ring_seeds, 4000),
    "sock_diag": Target(records.sock_diag, records.sock_diag_seeds, 1024),
    "btf": Target(records.btf, records.btf_seeds, 1024),
    "event_h": Target(texts.event_h, texts.event_h_seeds, 8192),
    "recording": Target(texts.recording, texts.recording_seeds, 32_768),
    "web_config": Target(texts.web_config, texts.web_config_seeds, 1024),
    "http": Target(texts.http, texts.http_seeds, 2048),
}
