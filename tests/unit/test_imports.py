"""The architecture, as a test: who may import whom, read from the source text and not from what happens to run.

Data flow one way, so imports do too: a package knows only what stands to its left in ORDER. Two packages are narrower still:
tracer/kernel runs as root, and tracer/model computes and does nothing else.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = ("errors", "kernel", "ingest", "model", "outputs", "watch", "pipeline", "commands", "cli")
LONGEST_FILE = 300
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

# Modules whose purpose is to read, write, wait or ask the time.
IO_MODULES = {
    *("asyncio", "ctypes", "fcntl", "fileinput", "glob", "http", "io", "logging", "mmap", "multiprocessing", "os", "pathlib"),
    *("platform", "random", "resource", "secrets", "select", "selectors", "shutil", "signal", "socket", "socketserver"),
    *("sqlite3", "subprocess", "sys", "tempfile", "termios", "threading", "time", "urllib", "uuid"),
    *("prometheus_client", "rich", "typer"),
}
IO_CALLS = {"open", "print", "input", "breakpoint", "exec", "eval"}
CLOCK_CALLS = {"now", "today", "utcnow"}

PYTHON_FILES = sorted((ROOT / "tracer").rglob("*.py"))
C_FILES = sorted(path for path in (ROOT / "bpf").rglob("*") if path.suffix in {".c", ".h"})


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def files_of(package: str) -> list[Path]:
    return [path for path in PYTHON_FILES if part_of(path) == package]


def part_of(path: Path) -> str:
    """Return the word of ORDER that a file belongs to: its package, or its own name at the top."""
    return path.relative_to(ROOT / "tracer").parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Yield the full name of everything a file imports, wherever in the file and under whatever condition."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls_of(path: Path) -> Iterator[str]:
    """Yield the last word of everything a file calls: `open` for open(...), `now` for datetime.now(...)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield node.func.id if isinstance(node.func, ast.Name) else node.func.attr


def own_parts(path: Path) -> set[str]:
    """Return the words of ORDER that a file imports; `from tracer import __version__` is none."""
    words = {name.split(".")[1] for name in imports_of(path) if name.startswith("tracer.")}
    return words - {"__version__"}


def test_there_is_something_to_check() -> None:
    assert len(PYTHON_FILES) > len(ORDER)
    assert C_FILES


def test_every_module_has_its_place_in_the_order() -> None:
    assert {part_of(path) for path in PYTHON_FILES} <= {*ORDER, "__init__", "__main__"}


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_a_package_imports_only_what_is_to_its_left(path: Path) -> None:
    part = part_of(path)
    allowed = set(ORDER if part == "__main__" else ORDER[: ORDER.index(part) + 1] if part in ORDER else ())
    assert own_parts(path) <= allowed


@pytest.mark.parametrize("path", files_of("kernel"), ids=name_of)
def test_what_runs_as_root_imports_only_the_standard_library_and_bcc(path: Path) -> None:
    outside = {name for name in imports_of(path) if name.split(".")[0] not in sys.stdlib_module_names | {"bcc"}}
    assert {name for name in outside if not name.startswith(("tracer.errors", "tracer.kernel"))} == set()


@pytest.mark.parametrize("path", files_of("model"), ids=name_of)
def test_the_model_reads_writes_and_waits_for_nothing(path: Path) -> None:
    assert {name.split(".")[0] for name in imports_of(path)} & IO_MODULES == set()
    assert set(calls_of(path)) & (IO_CALLS | CLOCK_CALLS) == set()


def test_run_starts_the_loader_before_it_imports_what_takes_long() -> None:
    code = "import sys, tracer.cli; tracer.cli.command_line(['run']); print({'numpy', 'prometheus_client'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_no_module_has_a_vague_name() -> None:
    assert [name_of(path) for path in PYTHON_FILES if {path.stem, path.parent.name} & VAGUE_NAMES] == []


@pytest.mark.parametrize("path", PYTHON_FILES + C_FILES, ids=name_of)
def test_a_file_is_short_enough_to_be_read_at_once(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
