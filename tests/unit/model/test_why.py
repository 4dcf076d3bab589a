"""Rules for why a connection is slow: each has its cause and its words, and the first that holds is the answer."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from tracer.model.why import CAUSES, NO_RULE, RULES, Evidence, sentence, verdicts

REST = {"send_window": 65536, "receive_buffer": 131072, "room": 10, "rtt": 0.001}


def evidence(**values: float) -> Evidence:
    known = {**REST, **values}
    return Evidence(**{field.name: np.array([float(known.get(field.name, 0))]) for field in fields(Evidence)})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, None),
        ({"busy": 1, "sent": 1e9, "queued": 1e6, "unsent": 1e5}, None),  # healthy, and fast
        ({"unread": 23, "quiet": 0.3}, "our application does not read: 23 bytes wait for it"),
        ({"unread": 1, "quiet": 0.3}, "our application does not read: 1 byte waits for it"),
        ({"unread": 23, "quiet": 0.1}, None),
        (
            {"queued": 1000, "send_window": 0},
            "the peer's application does not read: its window is closed, 1,000 bytes wait here",
        ),
        ({"queued": 9, "busy": 0.5, "window": 0.75}, "the peer's application reads slowly: 75% of the time"),
        ({"queued": 9, "backoff": 3, "silent": 1.5}, "the peer does not answer: nothing for 1.5 s, 3 time-outs in a row"),
        ({"lost": 0.05, "busy": 1}, "the network loses segments: 5.0% of those sent were retransmissions"),
        ({"disordered": 0.02}, "the network loses or reorders segments: 2.0% of those received"),
        ({"busy": 0.9, "buffer": 0.4}, "our send buffer is too small: it holds the sender up for 40%"),
        ({"busy": 0.9, "queued": 9, "memory": 1.1, "room": 6}, "the network would take 6 segments more"),
        ({"busy": 0.9, "unsent": 1, "queued": 2, "rtt": 0.0405}, "the network is slow: a round trip takes 40.5 ms"),
        ({"sent": 1, "busy": 0.01, "pause": 0.4}, "our application does not write: nothing for 0.4 s"),
        ({"sent": 1, "received": 1, "pause": 0.4, "quiet": 2}, None),  # the peer's turn
        ({"pause": 60}, None),  # a connection that rests
    ],
)
def test_a_verdict_and_its_words(values: dict[str, float], words: str | None) -> None:
    found = evidence(**values)
    (number,) = verdicts(found).tolist()
    said = sentence(number, found, 0)
    assert (said is None) == (words is None) == (number == NO_RULE)
    assert words is None or words in (said or "")


def test_every_rule_blames_somebody_and_names_its_source() -> None:
    assert {rule.cause for rule in RULES} == set(CAUSES)
    assert all(rule.source for rule in RULES)


def test_what_is_worst_comes_first() -> None:
    (number,) = verdicts(evidence(unread=9, quiet=1, lost=0.5, busy=1, queued=9, send_window=0)).tolist()
    assert number == 0
