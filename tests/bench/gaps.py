"""`tcptrace run` with a clock on its pipeline: python -m tests.bench.gaps run ... prints when the ring was read, at the end.

The last line on standard error is a JSON list of CLOCK_MONOTONIC seconds, one for each look at the ring.
"""

from __future__ import annotations

import atexit
import json
import sys
import time
from array import array

from tracer import cli
from tracer.commands import tracing
from tracer.ingest.source import Reading
from tracer.pipeline import Pipeline

TIMES = array("d")


class TimedPipeline(Pipeline):
    """Notes the time of every look at the ring, whichever thread takes it."""

    def _pump(self) -> Reading | None:
        reading = super()._pump()
        TIMES.append(time.monotonic())
        return reading


if __name__ == "__main__":
    vars(tracing)["Pipeline"] = TimedPipeline
    atexit.register(lambda: print(json.dumps(TIMES.tolist()), file=sys.stderr))
    cli.main(cli.command_line())
