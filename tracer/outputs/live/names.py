"""By which names a text search of the live view finds a service: the processes and peers of its latest records.

A row shows the last of them alone, which is not what is looked for where there are many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tracer.ingest.decode import Events
from tracer.ingest.names import name_text
from tracer.model.naming import address_text
from tracer.model.services import service_ports
from tracer.model.tcp import ROLES

Names = Mapping[tuple[str, str], set[str]]
"""By role and port."""


def names_of(records: Sequence[Events]) -> Names:
    """Return the names of each service in batches of records."""
    found: dict[tuple[str, str], set[str]] = {}
    for role, port, address, netns, process in set().union(*map(_each, records)):
        service = ROLES[role] if role < len(ROLES) else "", str(port)
        found.setdefault(service, set()).update((address_text(address, netns), name_text(process)))
    return found


def _each(batch: Events) -> set[tuple[int, int, bytes, int, bytes]]:
    addresses = np.ascontiguousarray(batch["remote_address"]).view("V16").ravel()
    columns = batch["role"], service_ports(batch), addresses, batch["netns"], batch["process"]
    return set(zip(*(column.tolist() for column in columns), strict=True))
