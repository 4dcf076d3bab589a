"""Reads a Dockerfile's instructions, as far as ours uses the language; an engine that builds it would need a network."""

from __future__ import annotations

import re
from pathlib import Path

KNOWN = {"FROM", "RUN", "COPY", "WORKDIR", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD", "ENV"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return (instruction, rest) of each line, continued ones joined; raises ValueError for an unknown one."""
    text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]
    if strange := [word for word, _ in found if word not in KNOWN]:
        raise ValueError(f"not an instruction that is used here: {strange}")
    return found
