"""Fuzz one target in this process, which libFuzzer ends: python -m tests.fuzz.one TARGET [libFuzzer's own options]."""

from __future__ import annotations

import sys

import atheris

# numpy and others that are not ours give no coverage worth having, and take most of the time to instrument
with atheris.instrument_imports(include=["tracer", "yaml", "http.server", "tests.fuzz"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until the number of executions is reached, or something is found."""
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
