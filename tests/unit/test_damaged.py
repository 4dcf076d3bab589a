"""What every command makes of recordings with a damage: a report or a sentence, and never a traceback."""

from __future__ import annotations

from tests.fuzz.damaged import REPORTS, every_report, run, sample


def test_the_recording_that_is_damaged_gives_every_report() -> None:
    every_report(sample())
    for make in REPORTS.values():
        make(sample())


def test_a_damaged_recording_gives_a_report_or_a_sentence() -> None:
    counts = run(60, 0, sample())
    assert min(counts.values()) > 0
