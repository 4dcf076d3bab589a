"""What every test gets: the markers of tests/needs.py, and property tests without a clock or a memory.

A deadline measures the machine's load, and a data base of examples is a file that one run leaves for the next: a test
says the same on every machine, or it is not worth its time.
"""

from __future__ import annotations

import signal

from hypothesis import settings

pytest_plugins = ["tests.needs", "tests.kernel.repeating"]

settings.register_profile("tcptrace", deadline=None, database=None)
settings.load_profile("tcptrace")

# What a shell starts in the background ignores Ctrl-C, and so would every process that a test starts, and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# And what nohup starts ignores SIGHUP: here it still ends nothing, but what a test starts is as on a user's terminal.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
