"""The table of edges in bpf/README.md against what the rest of the project knows of them: an edge without a row is a gap."""

from __future__ import annotations

import json
import re
from itertools import pairwise

from tests.needs import ROOT
from tests.unit.test_demo import replayed
from tracer.model.follow.recordsteps import ACK_OF_FIN, FIN_ARRIVES, FIN_LEAVES
from tracer.model.tcp import CLOSES, FAILURES, STATES

ROW = re.compile(r"^\| (?:(\w+) → (\w+))? ?\| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)

UNSEEN = {"unknown", "time_wait", "new_syn_recv"}
"""No socket of the tracepoint's is ever in these."""


def rows() -> list[tuple[str, ...]]:
    """Return left, entered, who sets it, when, what is told; of a further row to the same edge the first two are empty."""
    text = (ROOT / "bpf/README.md").read_text(encoding="utf-8").split("\n## Edges\n")[1]
    return [tuple(row) for row in ROW.findall(text) if not set(row[2]) <= {"-"} and row[2] != "set by"]


def edges() -> set[tuple[str, str]]:
    return {(left, entered) for left, entered, *_ in rows() if left}


def test_every_row_is_whole_and_of_states_that_there_are() -> None:
    table = rows()
    assert len(table) > 40
    for left, entered, by, when, told in table:
        assert {left, entered} <= {*STATES, ""} - UNSEEN
        assert by
        assert when or by.startswith("as ")
        assert told


def test_an_edge_has_its_rows_in_one_place() -> None:
    named = [(left, entered) for left, entered, *_ in rows() if left]
    assert len(named) == len(set(named))


def test_every_state_can_be_left_for_close_and_every_reason_has_its_state() -> None:
    left = {name for name, entered in edges() if entered == "close"}
    assert left == set(STATES) - UNSEEN
    assert {state for rule in (*CLOSES, *FAILURES) for state in rule.states or ()} <= left


def test_what_follow_knows_of_edges_is_in_the_table() -> None:
    assert edges() >= FIN_LEAVES | FIN_ARRIVES | ACK_OF_FIN


def test_what_happens_in_the_recording_that_ships_is_in_the_table() -> None:
    happened = {(row["from"], row["to"]) for row in json.loads(replayed("--json").stdout)["transitions"]}
    assert happened
    assert happened <= edges()


def test_the_ways_of_a_whole_life_are_in_the_table() -> None:
    for life in (
        "close syn_sent established fin_wait1 fin_wait2 close",
        "close syn_sent established fin_wait1 closing close",
        "close syn_sent syn_recv established close_wait last_ack close",
        "listen syn_recv established close_wait close",
        "listen syn_recv fin_wait1 close",
        "close listen close",
    ):
        assert set(pairwise(life.split())) <= edges()
