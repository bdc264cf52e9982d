"""The look at TLS and HTTP at work: reads the copies of packets on the event loop, and does what `flow` says.

It keeps nothing that must outlive it: what it has opened is marked in the kernel, and what it had not is asked for anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from netcore import limits
from netcore.desired.look_rules import FORGED, FROM_CLIENT, FROM_SERVER, GROUP
from netcore.errors import KernelError
from netcore.kernel import flow_marks
from netcore.kernel.netlink import NETFILTER, NetlinkSocket
from netcore.kernel.packet_log import LoggedPacket, PacketLog
from netcore.kernel.raw_packets import RawPackets
from netcore.look import segments
from netcore.look.flows import Flows
from netcore.look.steps import Allows, Forge, Inject, Open, Refusal, Sender, Step

log = logging.getLogger(__name__)


class Looker:
    """Looks at connections of the namespace of the calling thread, on the running loop, until it is closed.

    *allows*: is asked for each name that was found. *refused*: is told of each refusal. Raises KernelError if another process has
    the log group.
    """

    def __init__(self, allows: Allows, refused: Callable[[Refusal], None]) -> None:
        self._refused = refused
        self._flows = Flows(allows)
        self._loop = asyncio.get_running_loop()
        self._packets = PacketLog(GROUP)
        self._as_client, self._as_server = RawPackets(), RawPackets(FORGED)
        self._netlink = NetlinkSocket(NETFILTER)
        self._loop.add_reader(self._packets.fileno(), self._read)
        self._clock = self._loop.call_later(limits.LOOK_PERIOD, self._expire)

    def close(self) -> None:
        """Stop. What is held stays held, and what is open stays open."""
        self._clock.cancel()
        self._loop.remove_reader(self._packets.fileno())
        for part in (self._packets, self._as_client, self._as_server, self._netlink):
            part.close()

    def _read(self) -> None:
        for logged in self._packets.read(limits.LOOKED_PACKETS_PER_TURN):
            self._do(self._take(logged))

    def _take(self, logged: LoggedPacket) -> list[Step]:
        segment = segments.read(logged.packet)
        if segment is None:
            return []
        match logged.prefix:
            case p if p == FROM_SERVER:
                return self._flows.take_server(segment, self._loop.time())
            case p if p == FROM_CLIENT and segment.length == len(segment.payload):
                sender = Sender(logged.link, logged.mac, segment.source)
                return self._flows.take_client(segment, logged.mark, sender, self._loop.time())
            case _:
                return []

    def _expire(self) -> None:
        self._do(self._flows.expire(self._loop.time()))
        self._clock = self._loop.call_later(limits.LOOK_PERIOD, self._expire)

    def _do(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case Inject(packet, destination):
                    self._as_client.send(packet, destination)
                case Forge(packet, destination):
                    self._as_server.send(packet, destination)
                case Open():
                    self._open(step)
                case Refusal():
                    self._refused(step)

    def _open(self, step: Open) -> None:
        key = step.key
        request = flow_marks.exchange(key.client, key.client_port, key.server, key.server_port, step.held, step.mark)
        try:
            self._netlink.execute(request)
        except KernelError as error:
            # It has ended meanwhile, or somebody has flushed the table; then it goes on as one that is not known.
            log.info("connection is not opened reason=%s", error)
