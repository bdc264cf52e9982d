"""The listening sockets of resolvers: inside a sandbox behind its redirect, and on a network's gateway. Blocking parts only.

Everything here runs on worker threads; namespaces and nftables are reached through netcore's modules for them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from netcore.errors import NetcoreError, Unavailable
from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel import bound_ports, netns, nft
from netcore.kernel.netlink import NETFILTER, NetlinkSocket
from netcore.model import IPAddress, NetnsPath, NetworkId, Sandbox
from resolver import limits
from resolver.daemon import redirect
from resolver.resolvconf import EMBEDDED
from resolver.transport.udp import set_filter

PORT = 53
_IP_FREEBIND, _SO_BINDTOIFINDEX = 15, 62
_PRIVILEGED = range(600, 1024)
"""Ports that only the root of a namespace can take, as rresvport(3) does."""


@dataclass(frozen=True, slots=True)
class SocketPair:
    """A bound UDP socket and a listening TCP socket. *screen*: what datagrams must meet first, see `transport.udp`."""

    udp: socket.socket
    tcp: socket.socket
    screen: bytes = b""

    def by_name(self, names: tuple[str, str]) -> dict[str, int]:
        """Return the descriptors of both, by what they are kept by."""
        return dict(zip(names, (self.udp.fileno(), self.tcp.fileno()), strict=True))

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def open_in_sandbox(netns_path: NetnsPath, *, replace: bool) -> tuple[SocketPair, str | None]:
    """Open a sandbox's resolver sockets and make them appear at 127.0.0.11:53; return them and a warning, if there is one.

    Without nftables they are bound to port 53 itself, which the sandbox then can't use.
    """

    def inside() -> tuple[SocketPair, str | None]:
        pair = _bind(socket.AF_INET, EMBEDDED, 0, None)
        try:
            ports = pair.udp.getsockname()[1], pair.tcp.getsockname()[1]
            nft.apply_text(redirect.render(*ports, replace=replace))
        except NetcoreError as error:
            pair.close()
            if isinstance(error, Unavailable) and error.capability != "nftables":
                raise
            return _bind(socket.AF_INET, EMBEDDED, PORT, None), f"port 53 of the sandbox is taken by the resolver: {error}"
        return pair, None

    with netns.opened(netns_path) as descriptor:
        return netns.run_inside(descriptor, inside)


def take_in_sandbox(kept: KeptSockets, sandbox: Sandbox) -> SocketPair | None:
    """Return the resolver sockets that an earlier daemon kept for *sandbox*; None if they are not of its namespace, or are not there."""
    namespace = netns.identity_of_path(sandbox.netns_path)
    return _take(kept, names_in_sandbox(sandbox), lambda sock: netns.identity_of_socket(sock) == namespace)


def names_in_sandbox(sandbox: Sandbox) -> tuple[str, str]:
    """Return what the UDP and the TCP socket of a sandbox's resolver are kept by."""
    return f"resolver/{sandbox.id}/udp", f"resolver/{sandbox.id}/tcp"


def _take(kept: KeptSockets, names: tuple[str, str], fits: Callable[[socket.socket], bool]) -> SocketPair | None:
    udp, tcp = (kept.take(name, fits) for name in names)
    if udp is not None and tcp is not None:
        return SocketPair(udp, tcp)
    kept.drop(*names)
    for sock in (udp, tcp):
        if sock is not None:
            sock.close()
    return None


def restore_redirect(netns_path: NetnsPath, udp_port: int, tcp_port: int) -> None:
    """Write the redirect of a resolver at these ports again if it is not complete, as after a damage while no daemon ran."""

    def inside() -> None:
        with NetlinkSocket(NETFILTER) as netlink:
            found = nft.count_rules(netlink, redirect.FAMILY, redirect.NAME)
        if found != redirect.RULES:
            nft.apply_text(redirect.render(udp_port, tcp_port, replace=True))

    with netns.opened(netns_path) as descriptor:
        netns.run_inside(descriptor, inside)


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


_NOT_BY_LOOPBACK = b"".join(
    struct.pack("=HBBI", *instruction)
    # Load the index of the link, which is 1 for lo in every namespace; then take no octets (linux/filter.h, SKF_AD_IFINDEX).
    for instruction in ((0x20, 0, 0, 0xFFFFF008), (0x15, 0, 1, 1), (0x06, 0, 0, 0))
)
_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)


def take_on_gateway(kept: KeptSockets, network_id: NetworkId, address: IPAddress, bridge: str, *, for_host: bool) -> SocketPair | None:
    """Return the sockets that an earlier daemon kept for a gateway; None if they are of another bridge, or are not there."""
    own = netns.own_identity()

    def fits(sock: socket.socket) -> bool:
        # By its index: a bridge that was made anew has the same name.
        index = sock.getsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX)
        is_same_link = index == (socket.if_nametoindex(bridge) if bridge else 0)
        bound = ip_address(sock.getsockname()[0].partition("%")[0])
        return is_same_link and bound == address and netns.identity_of_socket(sock) == own

    pair = _take(kept, names_on_gateway(network_id, address), fits)
    return None if pair is None else _screened(pair, for_host=for_host)


def names_on_gateway(network_id: NetworkId, address: IPAddress) -> tuple[str, str]:
    """Return what the UDP and the TCP socket at a gateway address are kept by."""
    return f"gateway/{network_id}/{address}/udp", f"gateway/{network_id}/{address}/tcp"


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
