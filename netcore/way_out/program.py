"""The way out of a nest: the process that carries what leaves it, by sockets of the edge. No right of the host's is needed.

`python -m netcore.way_out.program EDGE READY REPORT`, in the nest's network namespace. EDGE: path of the edge's socket. READY: descriptor
that is closed when packets can leave. REPORT: path of what it tells the daemon (`report`).

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
from collections.abc import Callable
from ipaddress import ip_address

import uvloop

from netcore import limits
from netcore.edge.connection import Edge
from netcore.kernel import netns
from netcore.kernel.conntrack import TranslatedFlow, client_behind
from netcore.kernel.netlink import NETFILTER, ROUTE, NetlinkSocket
from netcore.kernel.packet_log import PacketLog
from netcore.kernel.raw_packets import RawPackets
from netcore.look import segments
from netcore.way_out import namespace, packets
from netcore.way_out.host_routes import HostRoutesInNest
from netcore.way_out.ledger import Ledger
from netcore.way_out.ping import PingWayOut
from netcore.way_out.report import Kind
from netcore.way_out.room import Room, room_for
from netcore.way_out.rules import AGAIN_MAC, GROUP, HERE_MAC
from netcore.way_out.tcp import TcpWayOut
from netcore.way_out.udp import UdpWayOut

log = logging.getLogger(__name__)


class _WayOut:
    """*frames*, *flows*: sockets in the nest, for packets and for what it tracks. *report*: path."""

    def __init__(self, edge: Edge, frames: socket.socket, flows: NetlinkSocket, report: str, room: Room) -> None:
        self._frames = frames
        self._flows = flows
        self._raw = RawPackets()
        self._log = PacketLog(GROUP)
        ledger = Ledger(report, {Kind.CONNECTIONS: room.connections, Kind.FLOWS: room.flows, Kind.PINGS: room.pings})
        self._tcp = TcpWayOut(edge, self._again, self._to_client, self._client_of, ledger, room.connections)
        self._udp = UdpWayOut(edge, self._to_client, self._client_of, ledger, room.flows)
        self._ping = PingWayOut(edge, self._to_client, self._client_of, ledger, room.pings)
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

    def _client_of(self, flow: TranslatedFlow) -> str:
        return str(client_behind(self._flows, flow) or flow.source)

    def _again(self, packet: bytes) -> None:
        with contextlib.suppress(OSError):
            self._frames.send(namespace.frame(AGAIN_MAC, HERE_MAC, packet))

    def _to_client(self, packet: bytes) -> None:
        self._raw.send(packet, ip_address(packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]))


async def _main(way_out: Callable[[], _WayOut], routes: HostRoutesInNest, ready: int) -> None:
    serving = way_out()
    routes.follow()
    os.close(ready)
    await asyncio.Event().wait()
    del serving


def main() -> None:
    """Serve for ever."""
    edge, ready, report = Edge(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    os.set_inheritable(ready, False)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    nest = os.open(netns.OWN, os.O_RDONLY | os.O_CLOEXEC)
    frames = namespace.prepare(nest)
    routes = HostRoutesInNest(edge, netns.run_inside(nest, lambda: NetlinkSocket(ROUTE)))
    flows = netns.run_inside(nest, lambda: NetlinkSocket(NETFILTER))
    routes.settle()
    os.close(nest)
    uvloop.run(_main(lambda: _WayOut(edge, frames, flows, report, room_for(hard)), routes, ready))


if __name__ == "__main__":
    main()
