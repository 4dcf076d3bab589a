"""The names of labels, without what their values need: the command line offers them before anything large is imported."""

from __future__ import annotations

from collections.abc import Sequence

from tracer.errors import UsageError

BASE = ("role", "port")
OPTIONAL = ("peer", "peer_group", "process", "workload", "container", "netns")
CGROUP_LABELS = {"workload", "container"}
OWNER_LABELS = {"process", "netns", *CGROUP_LABELS}
"""What a connection's process or cgroup tells; a network namespace may have its container's name."""

PEER_LABELS = {"peer", "peer_group"}


def optional_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that --label may add, as far as they are named, in their fixed order; raises UsageError for others.

    names: of one label each, or of several with commas between.
    """
    names = [name for several in names for name in several.split(",")]
    if unknown := [name for name in names if name not in OPTIONAL]:
        raise UsageError(f"there is no label {unknown[0]}", f"choose from {', '.join(OPTIONAL)}")
    return tuple(name for name in OPTIONAL if name in names)
