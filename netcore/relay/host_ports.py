"""Host ports that are published: each is held by a bound socket, so that no program of the host takes one unnoticed.

Once the firewall translates, no packet reaches these sockets. What comes earlier is dropped by a socket filter, so that a
client tries again instead of connecting to nobody. `port_proxy` removes the filter from those it serves. Blocking; for worker
threads.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from netcore import limits
from netcore.classic_bpf import RETURN, instruction
from netcore.edge.connection import Edge
from netcore.errors import Conflict, Unavailable
from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel import bound_ports, host, netns, socket_filter
from netcore.model import DNS_PORT, IPAddress, PortMapping
from netcore.plan.port_allocation import Binding

_IP_FREEBIND = 15
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_Port = tuple[int, str, IPAddress | None, int]
"""(family, protocol, host address or None for all, port)."""


def _port(mapping: PortMapping) -> _Port:
    return mapping.family, mapping.protocol, mapping.host_address, mapping.host_port


class _Hold:
    """What holds one port, or the same port of both families.

    *sock* None: the port is only remembered. *name*: what the socket is kept by for the next daemon. *users*: ports that it holds.
    *is_open*: packets reach the socket; None: unknown, an earlier daemon left it.
    """

    __slots__ = ("is_open", "name", "sock", "users")

    def __init__(self, sock: socket.socket | None, name: str, *, is_open: bool | None = False) -> None:
        self.sock = sock
        self.name = name
        self.is_open = is_open
        self.users = 0


def _name(family: int, protocol: str, address: IPAddress | None, port: int, *, both: bool) -> str:
    return f"port/{protocol}/{46 if both else family}/{address or '*'}/{port}"


class HostPorts:
    """The sockets that hold published ports; beyond `limits.HELD_PORTS` a port is only remembered.

    *kept*: goes on holding them while no daemon runs. *on_held*: is told of each socket that listens, because others may destroy it.
    *edge*: the way to the host's own ports, for a daemon in a nest.
    """

    def __init__(self, kept: KeptSockets, on_held: Callable[[socket.socket], None] = lambda _: None, edge: Edge | None = None) -> None:
        self._kept = kept
        self._held: dict[_Port, _Hold] = {}
        self._on_held = on_held
        self._edge = edge
        self._make: host.MakeSocket = socket.socket if edge is None else edge.open

    def begin(self) -> Claim:
        """Return a claim: the ports that one operation tries to hold, and then keeps or gives back."""
        return Claim(self._held, self._kept, self._on_held, self._edge)

    def go_on(self, mappings: Iterable[PortMapping]) -> None:
        """Go on holding those of *mappings* that an earlier daemon held."""
        taken: dict[str, _Hold] = {}
        for mapping in mappings:
            family, protocol, address, port = wanted = _port(mapping)
            for both in (True, False) if address is None else (False,):
                name = _name(family, protocol, address, port, both=both)
                if wanted not in self._held and name not in taken:
                    # The kernel tells nobody in a nest whose a socket of the host is.
                    sock = self._kept.take(name, netns.is_own_socket if self._edge is None else lambda _: True)
                    if sock is not None:
                        _tell(self._on_held, sock)
                        taken[name] = _Hold(sock, name, is_open=None)
                if wanted not in self._held and name in taken:
                    self._held[wanted] = taken[name]
                    taken[name].users += 1

    def block_unopened(self, mappings: Iterable[PortMapping]) -> None:
        """Let no packets reach those of *mappings* that an earlier daemon may have relayed, and this one does not."""
        for mapping in mappings:
            hold = self._held.get(_port(mapping))
            if hold is not None and hold.is_open is None and hold.sock is not None:
                block(hold.sock)
                hold.is_open = False

    def claim(self, mappings: Iterable[PortMapping]) -> None:
        """Hold every one of *mappings*, or none and raise Conflict."""
        claim = self.begin()
        # All addresses of both families are one socket.
        together: dict[tuple[str, int, IPAddress | None], list[Binding]] = defaultdict(list)
        wanted = [mapping for mapping in mappings if mapping.host_port and _port(mapping) not in self._held]
        for mapping in wanted:
            together[mapping.protocol, mapping.host_port, mapping.host_address].append((mapping.family, mapping.host_address))
        for (protocol, port, _), bindings in together.items():
            taken = claim.try_hold(bindings, protocol, port)
            if taken is not None:
                claim.keep(())
                where = taken[1] or ("0.0.0.0" if taken[0] == 4 else "[::]")
                reason = "failed to bind host port: address already in use by a program of the host"
                raise Conflict("port", f"{where}:{port}/{protocol}", because=reason)
        claim.keep(wanted)

    def probe(self, bindings: Sequence[Binding], protocol: str, port: int) -> Binding | None:
        """Return the one of *bindings* where a program of the host has the port; None if it is free. Nothing is held."""
        for family, address in bindings:
            try:
                sock = _bind_beside(self._held, family, protocol, address, port, both=False, make=self._make)
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    return family, address
            else:
                if sock is not None:
                    sock.close()
        return None

    def release(self, mappings: Iterable[PortMapping]) -> None:
        """Release *mappings*; those that are not held are ignored."""
        self._kept.drop(*(name for mapping in mappings if (name := _drop(self._held, _port(mapping))) is not None))

    def opened(self, mapping: PortMapping) -> socket.socket | None:
        """Return the socket of *mapping*, which packets reach from now on; None if there is none (SCTP)."""
        hold = self._held.get(_port(mapping))
        if hold is None or hold.sock is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            socket_filter.detach(hold.sock)
        hold.is_open = True
        return hold.sock

    def lost(self, mappings: Iterable[PortMapping]) -> list[PortMapping]:
        """Return those of *mappings* that are not held, or whose socket somebody has destroyed (`ss -K`)."""
        return [mapping for mapping in mappings if mapping.host_port and not _is_good(self._held.get(_port(mapping)), mapping)]

    def hold_again(self, mappings: Sequence[PortMapping]) -> None:
        """Hold ports that were lost; Conflict if a program of the host has one, and then none of them is held."""
        self.release(mappings)
        self.claim(mappings)

    def held(self) -> tuple[_Port, ...]:
        """Return every port that is held."""
        return tuple(self._held)


def _drop(held: dict[_Port, _Hold], port: _Port) -> str | None:
    """Hold *port* no longer; return what its socket was kept by, if nothing else needs that."""
    hold = held.pop(port, None)
    if hold is None:
        return None
    hold.users -= 1
    if hold.users or hold.sock is None:
        return None
    hold.sock.close()
    return hold.name


def _tell(on_held: Callable[[socket.socket], None], sock: socket.socket) -> None:
    if sock.type == socket.SOCK_STREAM:
        on_held(sock)


def _is_good(hold: _Hold | None, mapping: PortMapping) -> bool:
    if hold is None or hold.sock is None:
        return hold is not None
    try:
        is_listening = mapping.protocol != "tcp" or bool(hold.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        return is_listening and hold.sock.getsockname()[1] == mapping.host_port
    except OSError:
        return False


class Claim:
    """Ports tried by one operation. Each is bound once: what is found free is held from then on."""

    def __init__(
        self, held: dict[_Port, _Hold], kept: KeptSockets, on_held: Callable[[socket.socket], None], edge: Edge | None = None
    ) -> None:
        self._edge = edge
        self._held = held
        self._kept = kept
        self._on_held = on_held
        self._tried: list[_Port] = []

    @property
    def has_tried(self) -> bool:
        """Whether there is anything to keep or to give back."""
        return bool(self._tried)

    def try_hold(self, bindings: Sequence[Binding], protocol: str, port: int) -> Binding | None:
        """Hold the port at each of *bindings* and return None, or return the one where a program of the host has it."""
        if len(bindings) == 2 and all(address is None for _, address in bindings):
            # One socket for both families is half the work for a range of ports.
            hold = self._hold(6, protocol, None, port, both=True)
            if hold is not None:
                self._keep(hold, [(family, protocol, None, port) for family, _ in bindings])
                return None
        for binding in bindings:
            family, address = binding
            wanted: _Port = (family, protocol, address, port)
            if wanted in self._tried:
                continue
            hold = self._hold(family, protocol, address, port) if wanted not in self._held else None
            if hold is None:
                return binding
            self._keep(hold, [wanted])
        return None

    def _hold(self, family: int, protocol: str, address: IPAddress | None, port: int, *, both: bool = False) -> _Hold | None:
        name = _name(family, protocol, address, port, both=both)
        if self._edge is not None and protocol not in _CARRIED:
            raise Unavailable(f"publishing {protocol} ports", "without root only ports of TCP and UDP are published")
        make = socket.socket if self._edge is None else self._edge.open
        try:
            has_room = len(self._held) < limits.HELD_PORTS
            return _Hold(_bind_beside(self._held, family, protocol, address, port, both=both, make=make) if has_room else None, name)
        except PermissionError as error:
            raise _not_permitted(port) from error
        except OSError as error:
            # An address that the host does not have yet (a VIP, say) can't be in use there.
            return _Hold(None, name) if error.errno in _NO_SUCH_ADDRESS and not both else None

    def _keep(self, hold: _Hold, wanted: Sequence[_Port]) -> None:
        for port in wanted:
            _drop(self._held, port)
            self._held[port] = hold
            hold.users += 1
            self._tried.append(port)

    def keep(self, mappings: Iterable[PortMapping]) -> None:
        """Go on holding what *mappings* need, and release everything else that was tried."""
        needed = {_port(mapping) for mapping in mappings}
        for wanted in self._tried:
            if wanted not in needed:
                _drop(self._held, wanted)
        holds = {hold.name: hold.sock for wanted in self._tried if (hold := self._held.get(wanted)) is not None and hold.sock is not None}
        for sock in holds.values():
            _tell(self._on_held, sock)
        self._kept.keep({name: sock.fileno() for name, sock in holds.items()})
        self._tried.clear()


_CARRIED = ("tcp", "udp")
"""Protocols that a relay knows."""


def _not_permitted(port: int) -> Unavailable:
    return Unavailable(
        f"port {port} of the host",
        f"ports below net.ipv4.ip_unprivileged_port_start of the host (1024 unless it was changed) are root's; publish a higher one, "
        f"such as {8000 + port}, or allow it with `sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}`",
    )


def _bind_beside(
    held: Mapping[_Port, _Hold], family: int, protocol: str, address: IPAddress | None, port: int, *, both: bool, make: host.MakeSocket
) -> socket.socket | None:
    """Bind a socket, also beside those of *held* that have the port at other addresses.

    Whoever asks has made sure that they are the same sandbox's, which gives them up when its gateway moves.
    """
    try:
        return _bind(family, protocol, address, port, both=both, make=make)
    except OSError as error:
        own = [hold.sock for (_, of, _, number), hold in held.items() if (of, number) == (protocol, port) and hold.sock is not None]
        if error.errno != errno.EADDRINUSE or not own or (family, protocol, address, port) in held:
            raise
        if not _only_ours_are_in_the_way(family, protocol, address, port, both=both):
            raise
        before = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for sock in own]
        try:
            # Only for this moment: with it, programs of the host could have the port too. (Those of root that set it themselves
            # can from now on, as far as TCP is concerned: the kernel remembers it with the port.)
            for sock in own:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            return _bind(family, protocol, address, port, both=both, shared=True, make=make)
        finally:
            for sock, value in zip(own, before, strict=True):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, value)


def _only_ours_are_in_the_way(family: int, protocol: str, address: IPAddress | None, port: int, *, both: bool) -> bool:
    sock = host.port_socket(family, protocol, both=both)
    if sock is None:
        return True
    with sock:
        return bound_ports.only_ours_are_in_the_way(sock, str(address or ("0.0.0.0" if family == 4 else "::")), port)


def _bind(
    family: int, protocol: str, address: IPAddress | None, port: int, *, both: bool, make: host.MakeSocket, shared: bool = False
) -> socket.socket | None:
    if port == DNS_PORT and address is not None and bound_ports.have_at(protocol, address, port):
        # A resolver of ours is at that address, and holds the port. A second socket there would get its queries.
        return None
    sock = host.port_socket(family, protocol, both=both, make=make)
    if sock is None:
        return None
    try:
        if address is not None:
            # An address that the host will have later (a failover address) can be published too.
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        block(sock)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        host.bind_port(sock, family, protocol, address, port)
        if shared and port != DNS_PORT:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    except BaseException:
        sock.close()
        raise
    return sock


_NOTHING = instruction(RETURN, 0)


def block(sock: socket.socket) -> None:
    """Drop all packets to *sock* from now on. Of the host's TCP sockets only root may ask that (Linux 6.16): clients of a nest wait."""
    with contextlib.suppress(PermissionError):
        socket_filter.attach(sock, _NOTHING)
