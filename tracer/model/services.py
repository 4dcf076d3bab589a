"""Which service a record belongs to: its port, and with namespace and role one number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracer.ingest.transposed import RecordColumns
from tracer.model.tcp import ROLE

Codes = NDArray[np.int64]
"""Services as one number each: namespace, role and port, of which the last two take ROLE_BITS and 16 bits."""

ROLE_BITS = 2
PORT, ROLE_AND_PORT = 0xFFFF, (1 << ROLE_BITS + 16) - 1
"""What of such a number is the port alone, and with the role."""


def service_ports(events: RecordColumns) -> NDArray[np.uint16]:
    """Return each record's service port, shape (n,): the local one of a server, the remote one of a client.

    Where the role is not known (the socket existed before) it is the lower of the two, as ephemeral ports are high; a
    port of 0 is no port.
    """
    role, local, remote = events["role"], events["local_port"], events["remote_port"]
    ports: NDArray[np.uint16] = np.where(role == ROLE["server"], local, remote)
    unknown = without_side(role)
    if len(unknown):
        local, remote = local[unknown], remote[unknown]
        ports[unknown] = np.where((local != 0) & ((local < remote) | (remote == 0)), local, remote)
    return ports


def without_side(role: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the places of the records of which is not known whether they are the server's or the client's."""
    places: NDArray[np.intp] = ((role != ROLE["server"]) & (role != ROLE["client"])).nonzero()[0]
    return places


def service_codes(records: RecordColumns) -> Codes:
    """Return the service of each record, shape (n,)."""
    where = records["netns"].astype(np.int64) << ROLE_BITS | records["role"]
    codes: Codes = where << 16 | service_ports(records)
    return codes
