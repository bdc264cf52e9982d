"""Host ports that are published: held by a bound socket each, so that no program of the host takes one unnoticed.

No packet reaches these sockets once the firewall translates; what comes before is dropped by a filter, so that a client
tries again instead of talking to nobody. Blocking; for worker threads.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable

from netcore import limits
from netcore.errors import Conflict
from netcore.kernel import host
from netcore.model import PortMapping

_BPF_RETURN, _SO_ATTACH_FILTER, _IP_FREEBIND = 0x06, 26, 15


class HostPorts:
    """The sockets that hold published ports; beyond `limits.HELD_PORTS` a port is only remembered."""

    def __init__(self) -> None:
        self._held: dict[PortMapping, socket.socket | None] = {}

    def claim(self, mappings: Iterable[PortMapping]) -> None:
        """Hold every one of *mappings*, or none and raise Conflict."""
        made: list[PortMapping] = []
        try:
            for mapping in mappings:
                if mapping.host_port and mapping not in self._held:
                    self._held[mapping] = _bind(mapping) if len(self._held) < limits.HELD_PORTS else None
                    made.append(mapping)
        except OSError as error:
            self.release(made)
            where = mapping.host_address or ("0.0.0.0" if mapping.family == 4 else "[::]")
            raise Conflict(
                "port", f"{where}:{mapping.host_port}/{mapping.protocol}", f"failed to bind host port: {error.strerror}"
            ) from error

    def release(self, mappings: Iterable[PortMapping]) -> None:
        """Let go of *mappings*; one that is not held is done."""
        for mapping in mappings:
            sock = self._held.pop(mapping, None)
            if sock is not None:
                sock.close()


def _bind(mapping: PortMapping) -> socket.socket | None:
    sock = host.port_socket(mapping.family, mapping.protocol)
    if sock is None:
        return None
    try:
        # An address that the host will have later (a failover address) can be published too.
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        _drop_everything(sock)
        host.bind_port(sock, mapping.family, mapping.protocol, mapping.host_address, mapping.host_port)
    except BaseException:
        sock.close()
        raise
    return sock


def _drop_everything(sock: socket.socket) -> None:
    """Attach a filter of one instruction, "return 0 octets" (Linux Documentation/networking/filter.rst)."""
    instruction = ctypes.create_string_buffer(struct.pack("=HBBI", _BPF_RETURN, 0, 0, 0))
    program = struct.pack("@HP", 1, ctypes.addressof(instruction))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
