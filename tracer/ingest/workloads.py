"""Whose a cgroup is, by its path: a container, the pod that it belongs to, a systemd unit.

Runtimes put a container's id of 64 digits into the path, whatever else they put there: it is found wherever it stands. Of
several containers, one in another, the deepest counts. tests/unit/ingest/test_workloads.py has a table of the known shapes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tracer.ingest.names import name_text

_CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
# These have an id as well: a container's monitor, a pod of Podman's, a mounted layer or bundle.
_NO_CONTAINER = re.compile(r"conmon-|libpod_pod_|\.mount$")
_LXC = re.compile(r"lxc\.payload\.(.+)")
_LXC_PARENTS = {"lxc", "lxc.payload"}
_NSPAWN = re.compile(r"(systemd-nspawn@|machine-).+\.(service|scope)")
_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])")
_UNIT = re.compile(r".+\.(service|scope|socket|mount|swap)")
_SLICE = re.compile(r".+\.slice")

SHORT = 12
"""Digits of a container's id that runtimes show, and so do we."""


@dataclass(frozen=True)
class Workload:
    """What runs in a cgroup; "" for what it is not.

    name: of the container (LXC's name, the unit of systemd-nspawn, or the beginning of its id), else of the unit, else of the
    slice. container_id: all 64 digits. pod_uid: as Kubernetes writes it; of a static pod a hash without dashes. unit: systemd's
    innermost one, unless it is a container's own scope.
    """

    name: str = ""
    container_id: str = ""
    pod_uid: str = ""
    unit: str = ""


def workload(path: str) -> Workload:
    """Return whose a cgroup is, by its path below the mount point."""
    parts = name_text(os.fsencode(path)).strip("/").split("/")
    containers = [_container(parts, at) for at in range(len(parts))]
    depth, (identity, short) = next(_from_the_deepest(containers), (len(parts), ("", "")))
    units = _units(parts, containers)
    slices = [part for part in parts if _SLICE.fullmatch(part)]
    unit = units[-1] if units else ""
    pods = [found[1] for part in parts[: depth + 1] if (found := _POD.search(part))]
    name = short or unit or (slices[-1] if slices else "")
    return Workload(name, identity, pods[-1].replace("_", "-") if pods else "", unit)


def _units(parts: Sequence[str], containers: Sequence[tuple[str, str] | None]) -> list[str]:
    """Return systemd's units, the innermost last. A service with an init.scope of its own, as a user's, is the unit itself."""
    found = []
    for at, (part, container) in enumerate(zip(parts, containers, strict=True)):
        is_init_of_unit = part == "init.scope" and at and parts[at - 1] in found and not containers[at - 1]
        if _UNIT.fullmatch(part) and not is_init_of_unit and (not container or container[1] == part):
            found.append(part)
    return found


def _container(parts: Sequence[str], at: int) -> tuple[str, str] | None:
    """Return the id and the short name of the container that begins at a part of the path, None if none does."""
    part = parts[at]
    if (found := _CONTAINER.search(part)) and not _NO_CONTAINER.search(part):
        return found[1], found[1][:SHORT]
    if lxc := _LXC.fullmatch(part):
        return "", lxc[1]
    above = parts[at - 1] if at else ""
    return ("", part) if above in _LXC_PARENTS or (above == "machine.slice" and _NSPAWN.fullmatch(part)) else None


def _from_the_deepest(containers: Sequence[tuple[str, str] | None]) -> Iterator[tuple[int, tuple[str, str]]]:
    for depth in reversed(range(len(containers))):
        if found := containers[depth]:
            yield depth, found
