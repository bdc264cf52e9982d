"""For which name each open connection was opened, so that other rules cut those whose name they don't allow, and no others.

The names are remembered as numbers, in a file that is mapped to memory: so a daemon that is killed leaves them to the next one. The
oldest are forgotten first.
"""

from __future__ import annotations

import struct
import zlib
from ipaddress import ip_address
from typing import NamedTuple

from netcore.kernel.shared_records import SharedRecords
from netcore.look.steps import FlowKey

ADDRESS_ALONE = 0
"""The number of a connection whose first data name no server."""
RECORD_LENGTH = 64
_RECORD = struct.Struct("!BHH16s16sI")
_CHECK = struct.Struct("!I")


class _Known(NamedTuple):
    """The number of a connection's name, and its record in the file."""

    number: int
    place: int
    record: bytes


def number_of(name: str) -> int:
    """Return the number of a name; "" has ADDRESS_ALONE."""
    return (zlib.crc32(name.encode()) or 1) if name else ADDRESS_ALONE


class OpenedFlows:
    """See the module. *path*: of the file, *count*: connections at most. Raises OSError."""

    def __init__(self, path: str, count: int) -> None:
        self._records = SharedRecords(path, RECORD_LENGTH, count)
        self._count = count
        self._known: dict[FlowKey, _Known] = {}
        for place, record in self._records.left.items():
            found = _decode(record)
            if found is None or found[0] in self._known:
                self._records.erase(place, record)
            else:
                self._known[found[0]] = _Known(found[1], place, record)

    def opened(self, key: FlowKey, name: str | None) -> None:
        """Note that a connection was opened for *name*: "" for its address alone, None: nobody knows."""
        self._forget(key)
        if name is not None:
            self._put(key, number_of(name))

    def number(self, key: FlowKey) -> int | None:
        """Return the number of the name that a connection was opened for, None if nobody knows."""
        known = self._known.get(key)
        return known.number if known is not None else None

    def close(self) -> None:
        """Close the file; what is in it stays."""
        self._records.close()

    def _put(self, key: FlowKey, number: int) -> None:
        if len(self._known) >= self._count:
            self._forget(next(iter(self._known)))
        record = _encode(key, number)
        self._known[key] = _Known(number, self._records.write(record), record)

    def _forget(self, key: FlowKey) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            # The next daemon must find one record of it at most.
            self._records.erase(known.place, known.record)


def _encode(key: FlowKey, number: int) -> bytes:
    client, server = (address.packed.ljust(16, b"\0") for address in (key.client, key.server))
    record = _RECORD.pack(key.client.version, key.client_port, key.server_port, client, server, number)
    return (record + _CHECK.pack(zlib.crc32(record))).ljust(RECORD_LENGTH, b"\0")


def _decode(octets: bytes) -> tuple[FlowKey, int] | None:
    record = octets[: _RECORD.size]
    version, client_port, server_port, client, server, number = _RECORD.unpack(record)
    if version not in (4, 6) or _CHECK.unpack_from(octets, _RECORD.size) != (zlib.crc32(record),):
        return None
    length = 4 if version == 4 else 16
    return FlowKey(ip_address(client[:length]), client_port, ip_address(server[:length]), server_port), number
