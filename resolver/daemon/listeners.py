"""The listening sockets of resolvers: inside a sandbox behind its redirect, and on a network's gateway. Blocking parts only.

Everything here runs on worker threads; namespaces and nftables are reached through netcore's modules for them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address

from netcore import limits
from netcore.errors import NetcoreError, Unavailable
from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel import bound_ports, netns, nft, nft_listing, ruleset
from netcore.kernel.nft_listing import Structure
from netcore.model import IPAddress, NetnsPath, NetworkId, Sandbox
from resolver.daemon import redirect
from resolver.resolvconf import EMBEDDED
from resolver.transport.thinning import assembled
from resolver.transport.udp import set_filter

PORT = 53
_IP_FREEBIND, _SO_BINDTOIFINDEX, _SIOCGSKNS = 15, 62, 0x894C
_PRIVILEGED = range(600, 1024)
"""Ports that only the root of a namespace can take, as rresvport(3) does."""
_REDIRECT = ruleset.Form(partial(redirect.render, replace=False), 2)
_REDIRECT_AGAIN = ruleset.Form(partial(redirect.render, replace=True), 2)


@dataclass(frozen=True, slots=True)
class SocketPair:
    """A bound UDP socket and a listening TCP socket. *screen*: what datagrams must meet first, see `transport.udp`."""

    udp: socket.socket
    tcp: socket.socket
    screen: bytes = b""

    def by_name(self, names: tuple[str, str]) -> dict[str, int]:
        """Return the descriptors of both, by what they are kept by."""
        return dict(zip(names, (self.udp.fileno(), self.tcp.fileno()), strict=True))

    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """Return both sockets."""
        return self.udp, self.tcp

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def is_serving(pair: SocketPair, link: str = "") -> bool:
    """Return whether both sockets still have their ports: `ss -K` takes them. *link*: that they must be bound to as it is now."""
    try:
        if not pair.tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) or not pair.udp.getsockname()[1]:
            return False
        # A link that was made anew has another index.
        index = socket.if_nametoindex(link) if link else 0
        return all(sock.getsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX) == index for sock in (pair.udp, pair.tcp))
    except OSError:
        return False


def namespace_of(pair: SocketPair) -> int | None:
    """Return a new descriptor of the namespace that the sockets were opened in, also when it is pinned nowhere any more.

    None if they are closed meanwhile.
    """
    descriptor = pair.udp.fileno()
    return None if descriptor < 0 else fcntl.ioctl(descriptor, _SIOCGSKNS)


def redirect_rules(netns_path: NetnsPath, known: int | None = None) -> tuple[int, Structure | None]:
    """Return the generation of the ruleset in a sandbox, and the redirect as the kernel has it, None if it is that of *known* still."""
    with netns.opened(netns_path) as descriptor:
        return netns.run_inside(descriptor, lambda: _redirect_here(known))


def redirect_rules_in_each(netns_paths: Sequence[NetnsPath]) -> list[tuple[int, Structure | None] | NetcoreError | OSError]:
    """Return the same for each of these sandboxes, or why it can't be read."""
    return netns.run_inside_each(netns_paths, lambda _: _redirect_here(None))


def _redirect_here(known: int | None) -> tuple[int, Structure | None]:
    # First the generation: what changes meanwhile is seen the next time.
    generation = nft.generation()
    return generation, nft_listing.structure(("ip",)) if generation != known else None


def is_complete(rules: Structure) -> bool:
    """Return whether all chains and rules of a redirect are among *rules*. To which ports they lead is not looked at."""
    chains = Counter((found[0] or b"").rstrip(b"\0").decode() for kind, _, found in rules if kind == "ip rule")
    return chains == redirect.RULES


def redirect_again(netns_path: NetnsPath, pair: SocketPair) -> Structure:
    """Make the sockets appear at port 53 again; return the redirect as the kernel has it then."""

    def inside() -> Structure:
        nft.apply(_REDIRECT_AGAIN.requests(pair.udp.getsockname()[1], pair.tcp.getsockname()[1]))
        return nft_listing.structure(("ip",))

    with netns.opened(netns_path) as descriptor:
        return netns.run_inside(descriptor, inside)


def open_in_sandbox(netns_path: NetnsPath, *, replace: bool) -> tuple[SocketPair, str | None]:
    """Do `open_here` in the namespace at *netns_path*."""
    with netns.opened(netns_path) as descriptor:
        return netns.run_inside(descriptor, lambda: open_here(replace=replace))


def open_here(*, replace: bool) -> tuple[SocketPair, str | None]:
    """Open a sandbox's resolver sockets and make them appear at 127.0.0.11:53; return them and a warning, if there is one.

    Without nftables they are bound to port 53 itself, which the sandbox then can't use. In the namespace of the calling thread.
    """
    pair = _bind(socket.AF_INET, EMBEDDED, 0, None)
    try:
        ports = pair.udp.getsockname()[1], pair.tcp.getsockname()[1]
        nft.apply((_REDIRECT_AGAIN if replace else _REDIRECT).requests(*ports))
    except NetcoreError as error:
        pair.close()
        if isinstance(error, Unavailable) and error.capability != "nftables":
            raise
        return _bind(socket.AF_INET, EMBEDDED, PORT, None), f"port 53 of the sandbox is taken by the resolver: {error}"
    return pair, None


def take_in_sandbox(kept: KeptSockets, sandbox: Sandbox) -> SocketPair | None:
    """Return the resolver sockets that an earlier daemon kept for *sandbox*; None if they are not of its namespace, or are not there."""
    namespace = netns.identity_of_path(sandbox.netns_path)
    return _take(kept, names_in_sandbox(sandbox), lambda sock: netns.identity_of_socket(sock) == namespace)


def names_in_sandbox(sandbox: Sandbox) -> tuple[str, str]:
    """Return what the UDP and the TCP socket of a sandbox's resolver are kept by."""
    return f"resolver/{sandbox.id}/udp", f"resolver/{sandbox.id}/tcp"


def _take(kept: KeptSockets, names: tuple[str, str], fits: Callable[[socket.socket], bool], link: str = "") -> SocketPair | None:
    udp, tcp = (kept.take(name, fits) for name in names)
    if udp is not None and tcp is not None and is_serving(pair := SocketPair(udp, tcp), link):
        return pair
    kept.drop(*names)
    for sock in (udp, tcp):
        if sock is not None:
            sock.close()
    return None


def close_in_sandbox(netns_path: NetnsPath) -> None:
    """Remove the redirect from a namespace that stays; it may be absent."""
    try:
        with netns.opened(netns_path) as descriptor:
            netns.run_inside(descriptor, lambda: nft.apply_text(redirect.render_removal()))
    except NetcoreError:
        # The namespace is gone, or never had one.
        return


def open_on_gateway(address: IPAddress, bridge: str, *, for_host: bool) -> SocketPair:
    """Open resolver sockets at port 53 of a network's gateway, for queries that arrive over *bridge* only.

    *for_host*: for those of this host's own programs too, which the kernel counts as arriving there.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return _screened(_bind(family, str(address), PORT, bridge), for_host=for_host)


def _screened(pair: SocketPair, *, for_host: bool) -> SocketPair:
    """Return *pair*, which the host's own programs reach only if *for_host*."""
    # One that was taken over may have another.
    with contextlib.suppress(FileNotFoundError):
        set_filter(pair.tcp, None if for_host else _NOT_BY_LOOPBACK + _ALL)
    return pair if for_host else replace(pair, screen=_NOT_BY_LOOPBACK)


# Load the index of the link, which is 1 for lo in every namespace; then take no octets (linux/filter.h, SKF_AD_IFINDEX).
_NOT_BY_LOOPBACK = assembled([(0x20, 0, 0, 0xFFFFF008), (0x15, 0, 1, 1), (0x06, 0, 0, 0)])
_ALL = assembled([(0x06, 0, 0, 0xFFFFFFFF)])


def take_on_gateway(kept: KeptSockets, network_id: NetworkId, address: IPAddress, bridge: str, *, for_host: bool) -> SocketPair | None:
    """Return the sockets that an earlier daemon kept for a gateway; None if they are of another bridge, or are not there."""

    def fits(sock: socket.socket) -> bool:
        bound = ip_address(sock.getsockname()[0].partition("%")[0])
        return bound == address and netns.is_own_socket(sock)

    pair = _take(kept, names_on_gateway(network_id, address), fits, bridge)
    return None if pair is None else _screened(pair, for_host=for_host)


def names_on_gateway(network_id: NetworkId, address: IPAddress) -> tuple[str, str]:
    """Return what the UDP and the TCP socket at a gateway address are kept by."""
    return f"gateway/{network_id}/{address}/udp", f"gateway/{network_id}/{address}/tcp"


LOOPBACK = "lo"
"""The link that the host's resolver is bound to: where `route_localnet` is on, packets for 127.0.0.0/8 come over others too."""


def open_for_host(address: str, port: int) -> SocketPair:
    """Open resolver sockets at a loopback address, for programs of this host only."""
    return _bind(socket.AF_INET6 if ":" in address else socket.AF_INET, address, port, LOOPBACK)


def take_for_host(kept: KeptSockets, names: tuple[str, str], address: str, port: int) -> SocketPair | None:
    """Return the sockets that an earlier daemon kept as *names* for the host; None if they are not of here, or are not there."""
    return _take(kept, names, lambda sock: sock.getsockname()[:2] == (address, port) and netns.is_own_socket(sock), LOOPBACK)


def _bind(family: int, address: str, port: int, device: str | None) -> SocketPair:
    opened: list[socket.socket] = []
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            opened.append(sock)
            if device is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
                sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _check_room(sock)
            _bind_socket(sock, address, port, beside=device is not None)
        opened[1].listen(128)
    except BaseException as error:
        for sock in opened:
            sock.close()
        if isinstance(error, OSError) and error.errno in (23, 24):
            raise Unavailable("a file descriptor", "the limit is reached; raise LimitNOFILE or `ulimit -n`") from error
        raise
    return SocketPair(opened[0], opened[1])


def _check_room(sock: socket.socket) -> None:
    """Leave some descriptors for everything else: new sockets take the lowest that is free."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if sock.fileno() >= soft - limits.DESCRIPTORS_KEPT:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _bind_socket(sock: socket.socket, address: str, port: int, *, beside: bool) -> None:
    """Bind *sock*; for any port (0) also where a program without privileges has taken all that the kernel hands out.

    *beside*: other sockets of this process may have the port.
    """
    try:
        if beside:
            bound_ports.bind(sock, address, port)
        else:
            sock.bind((address, port))
    except OSError as error:
        if port or error.errno != errno.EADDRINUSE:
            raise
        for privileged in _PRIVILEGED:
            try:
                sock.bind((address, privileged))
            except OSError as again:
                if again.errno == errno.EADDRINUSE:
                    continue
                raise error from again
            return
        raise
