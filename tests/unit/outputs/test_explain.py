"""What is said of each step: a sentence for every kind there is, and a section that exists."""

from __future__ import annotations

import re

import pytest

from tests.unit.outputs.drawing import steps
from tests.unit.outputs.test_ladder import LADDERS, parts
from tracer.model.tcp import CLOSE_REASONS, FAILURE_REASONS, RETRANSMIT_KINDS
from tracer.outputs.explain import EXPLANATIONS, explanation
from tracer.outputs.wording import TIMERS

SECTIONS = {
    "9293": {"3.4", "3.4.1", "3.5", "3.5.2", "3.5.3", "3.6", "3.6.1", "3.8.3", "3.8.6", "3.9.1", "3.10.1", "3.10.4"},
    "6298": {"2", "5"},
    "6528": {"3"},
    "8985": {"6", "7.3"},
    "5681": {"3.1", "3.2"},
    "2525": {"2.17"},
    "1191": {"3"},
    "8201": {"4"},
    "4821": {"7.6"},
}
"""Looked up in the RFCs, each by its title."""


def test_every_step_that_a_script_makes_is_explained() -> None:
    for path in LADDERS:
        script, options, _ = parts(path)
        for step in steps(script, segments="segments" in options):
            assert explanation(step) or step.kind == "measured", step


@pytest.mark.parametrize("key", EXPLANATIONS)
def test_an_explanation_is_one_sentence_with_sections_that_exist(key: str) -> None:
    sentence, source = EXPLANATIONS[key]
    assert re.fullmatch(r"[A-Z0-9cl](?:[^.]|\.(?=\w))*\.", sentence), sentence
    for part in re.findall(r"RFC (\d+) ((?:§[\d.]+(?:, )?)+)", source):
        assert set(re.findall(r"[\d.]+", part[1])) <= SECTIONS[part[0]], source
    assert not re.sub(r"RFC \d+ (§[\d.]+(, )?)+", "", source)


def test_every_kind_of_retransmission_has_its_timer_and_its_explanation() -> None:
    assert set(TIMERS) == set(RETRANSMIT_KINDS) - {"unknown"}
    assert {f"retransmission.{kind}" for kind in TIMERS} <= set(EXPLANATIONS)


def test_no_explanation_is_for_a_reason_that_does_not_exist() -> None:
    reasons = {key.split(".")[1] for key in EXPLANATIONS if key.startswith(("failed.", "closed."))}
    assert reasons <= {*FAILURE_REASONS, *CLOSE_REASONS}
