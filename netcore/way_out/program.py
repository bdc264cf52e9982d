"""The way out of a nest: the process that carries what leaves it, by sockets of the edge. No right of the host's is needed.

`python -m netcore.way_out.program EDGE READY`, in the nest's network namespace. EDGE: path of the edge's socket. READY: descriptor that
is closed when packets can leave.

    sandbox ─ bridge ─ the nest's routing and firewall ─ uplink0 ═ nest0 ─ sockets of this process ┊ sockets of the edge ─ outside

To the daemon the nest is a host with an uplink, so firewall, egress rules and the look at names work as on a host. What comes by the
link here is handed to transparent sockets (`rules`), and sockets that the edge has made outside carry it on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import sys
from ipaddress import ip_address

import uvloop

from netcore import limits
from netcore.edge.connection import Edge
from netcore.kernel import netns
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.kernel.packet_log import PacketLog
from netcore.kernel.raw_packets import RawPackets
from netcore.look import segments
from netcore.way_out import namespace, packets
from netcore.way_out.host_routes import HostRoutesInNest
from netcore.way_out.ping import PingWayOut
from netcore.way_out.rules import AGAIN_MAC, GROUP, HERE_MAC
from netcore.way_out.tcp import TcpWayOut
from netcore.way_out.udp import UdpWayOut

log = logging.getLogger(__name__)


class _WayOut:
    """*frames*: a packet socket in the nest."""

    def __init__(self, edge: Edge, frames: socket.socket, most: int) -> None:
        self._frames = frames
        self._raw = RawPackets()
        self._log = PacketLog(GROUP)
        self._tcp = TcpWayOut(edge, self._again, self._to_client, most)
        self._udp = UdpWayOut(edge, self._to_client, min(most, limits.WAY_OUT_FLOWS))
        self._ping = PingWayOut(edge, self._to_client, limits.WAY_OUT_PINGS)
        asyncio.get_running_loop().add_reader(self._log.fileno(), self._read)

    def _read(self) -> None:
        for logged in self._log.read(limits.WAY_OUT_TURN):
            opening = segments.read(logged.packet)
            if opening is not None:
                # Its checksum may be left to a card that is not there.
                self._tcp.begins(opening, segments.write(opening))
            elif (echo := packets.read_echo(logged.packet)) is not None:
                self._ping.take(echo)
            elif (told := packets.unreachable(logged.packet, errno.EPROTONOSUPPORT)) is not None:
                self._to_client(told)

    def _again(self, packet: bytes) -> None:
        with contextlib.suppress(OSError):
            self._frames.send(namespace.frame(AGAIN_MAC, HERE_MAC, packet))

    def _to_client(self, packet: bytes) -> None:
        self._raw.send(packet, ip_address(packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]))


async def _main(edge: Edge, frames: socket.socket, most: int, routes: HostRoutesInNest, ready: int) -> None:
    way_out = _WayOut(edge, frames, most)
    routes.follow()
    os.close(ready)
    await asyncio.Event().wait()
    del way_out


def main() -> None:
    """Serve for ever."""
    edge, ready = Edge(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(ready, False)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    nest = os.open(netns.OWN, os.O_RDONLY | os.O_CLOEXEC)
    frames = namespace.prepare(nest)
    routes = HostRoutesInNest(edge, netns.run_inside(nest, lambda: NetlinkSocket(ROUTE)))
    routes.settle()
    os.close(nest)
    most = min(limits.WAY_OUT_CONNECTIONS, hard // limits.WAY_OUT_DESCRIPTORS)
    uvloop.run(_main(edge, frames, most, routes, ready))


if __name__ == "__main__":
    main()
