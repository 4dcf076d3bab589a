"""A configuration file in YAML, as sections whose values are asked for by name and type.

Everything that is not as it should be is a TcptraceError that names the file and the setting: a misspelt word must not
leave the page without a password. A validating library was the alternative; four kinds of values do not need one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tracer.errors import TcptraceError
from tracer.kernel.callersfile import read_as_caller

LARGEST = 1 << 20
"""Bytes of a configuration, and of each file that it names; a bundle of all authorities has a fifth of that."""


class _Loader(yaml.SafeLoader):
    """Refuses a name given twice, where PyYAML would take the last one, and merges, which can grow without bounds."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "<< is not understood here", key.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's own
        seen = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_NOT_YAML = (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError)
"""The latter are PyYAML's, of values that are not what their tags say: `!!timestamp x`, `!!bool x`."""


@dataclass(frozen=True)
class ConfigSection:
    """A section of a file. name: the way to it, with a dot after each step; `` for the whole file."""

    file: Path
    name: str
    values: Mapping[str, object]

    def text(self, name: str) -> str | None:
        """Return a text, None where there is none or an empty one."""
        return self._value(name, str, "a text; put it in quotes") or None

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        found = self._value(name, list, "a list") or []
        if not all(isinstance(text, str) for text in found):
            raise self.fault(name, "is not a list of texts", "put each of them in quotes")
        return tuple(found)

    def flag(self, name: str, default: bool) -> bool:  # noqa: FBT001 - it is what the function returns
        """Return true or false."""
        found = self._value(name, bool, "true or false")
        return default if found is None else found

    def section(self, name: str, known: frozenset[str] | None = None) -> ConfigSection:
        """Return the section of that name, empty where there is none; known: all that it may have, None for anything."""
        values = self._value(name, dict, "a section with names and values") or {}
        return checked_section(self.file, f"{self.name}{name}.", values, known)

    def contents(self, name: str) -> str | None:
        """Return what is in the file that a setting names, relative to this file; None where it names none."""
        named = self.text(name)
        if named is None:
            return None
        try:
            return read_as_caller(self.file.parent / named, LARGEST).decode()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a text"
            raise self.fault(
                name, f"cannot read {self.file.parent / named}: {why}", "relative paths start at this file"
            ) from error

    def fault(self, name: str, what: str, hint: str | None = None) -> TcptraceError:
        """Return the error to raise when a setting will not do; what continues the sentence that its name begins."""
        return TcptraceError(f"{self.file}: {self.name}{name} {what}", hint)

    def _value(self, name: str, kind: type, wanted: str) -> Any:
        value = self.values.get(name)
        if value is not None and not isinstance(value, kind):
            raise self.fault(name, f"is not {wanted.partition(';')[0]}", f"give {wanted}")
        return value


def checked_section(file: Path, name: str, values: Mapping[object, object], known: frozenset[str] | None) -> ConfigSection:
    """Return values as a section; raises TcptraceError for names that are not known."""
    for key in values:
        if not isinstance(key, str):
            raise TcptraceError(f"{file}: {name}{key} is a name that is not a text", "put it in quotes")
        if known is not None and key not in known:
            raise TcptraceError(f"{file}: {name}{key} is not known here", f"known are {', '.join(sorted(known))}")
    return ConfigSection(file, name, {str(key): value for key, value in values.items()})


def read(path: Path, known: frozenset[str]) -> ConfigSection:
    """Return the whole of a file; raises TcptraceError, with the line where it is no YAML."""
    try:
        text = read_as_caller(path, LARGEST)
    except OSError as error:
        raise TcptraceError(
            f"cannot read {path}: {error.strerror}", "give a file that the user who starts tcptrace can read"
        ) from error
    return parse(path, text, known)


def parse(path: Path, text: bytes, known: frozenset[str]) -> ConfigSection:
    """Return what is in a file of this name; raises TcptraceError, with the line where it is no YAML."""
    try:
        # The loader is a safe one: it makes texts, numbers and their like, and no objects.
        values = yaml.load(text.decode(), _Loader)  # noqa: S506
    except RecursionError as error:
        raise TcptraceError(f"{path} is not understood: too many lists or sections, one in another") from error
    except _NOT_YAML as error:
        raise TcptraceError(f"{path}{_place(error)} is not YAML: {_reason(error)}") from error
    if values is not None and not isinstance(values, dict):
        raise TcptraceError(f"{path} is not a section with names and values", f"known are {', '.join(sorted(known))}")
    return checked_section(path, "", values or {}, known)


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}," if mark else ""


def _reason(error: Exception) -> str:
    if not isinstance(error, yaml.YAMLError | UnicodeDecodeError):
        return "a value is not what its tag says"
    return str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
