"""What every test gets: the markers of tests/needs.py, and property tests without a clock or a memory.

A deadline measures the machine's load, and a data base of examples is a file that one run leaves for the next: a test
says the same on every machine, or it is not worth its time.
"""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.needs"]

settings.register_profile("tcptrace", deadline=None, database=None)
settings.load_profile("tcptrace")
