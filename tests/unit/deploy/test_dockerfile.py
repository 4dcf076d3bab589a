"""The image's recipe, as far as it can be held against the checkout without an engine that builds it."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import pytest

from tests.needs import ROOT
from tests.unit.deploy.dockerfile import instructions
from tracer.commands.options import DEFAULT_LISTEN

FILE = ROOT / "deploy/docker/Dockerfile"


def rest_of(word: str) -> list[str]:
    return [rest for name, rest in instructions(FILE) if name == word]


def sources() -> list[str]:
    """Return what is copied from the checkout."""
    return [source for rest in rest_of("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]]


def test_a_word_that_is_no_instruction_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text("FROM debian:12\nCOPPY a b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="COPPY"):
        instructions(path)


def test_all_that_is_copied_exists_and_is_not_kept_from_the_engine() -> None:
    assert sources()
    assert [source for source in sources() if not (ROOT / source).exists()] == []
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == set(sources())


def test_what_the_package_is_built_from_is_copied() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^only-include = (\[.*\])$", text, re.MULTILINE)
    assert {*json.loads(listed), "pyproject.toml", "README.md", "LICENSE", "deploy/locked"} == set(sources())


def test_every_base_is_debian_with_a_version() -> None:
    assert [fnmatch.fnmatch(base.split()[0], "debian:[0-9]*") for base in rest_of("FROM")] == [True, True]


def test_bcc_comes_from_debian() -> None:
    assert any("python3-bpfcc" in step for step in rest_of("RUN"))


def test_it_is_healthy_where_it_listens() -> None:
    (check,) = rest_of("HEALTHCHECK")
    (words,) = rest_of("CMD")
    assert json.loads(words) == ["--listen", DEFAULT_LISTEN]
    assert f"http://{DEFAULT_LISTEN}/healthz" in json.loads(check.partition("CMD ")[2])[-1]
