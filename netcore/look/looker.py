"""The look at TLS and HTTP at work: reads the copies of packets on the event loop, and does what `flow` says.

What it has opened is marked in the kernel, and what it has not is asked for anew by the next one. Only what was allowed and is being
sent must be known to that: it is in a file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from netcore import limits
from netcore.desired.look_rules import FORGED, FROM_CLIENT, FROM_SERVER, HELD, LAST_HELD
from netcore.errors import KernelError
from netcore.kernel import flow_marks
from netcore.kernel.netlink import NETFILTER, NetlinkSocket
from netcore.kernel.packet_log import LoggedPacket, PacketLog
from netcore.kernel.raw_packets import RawPackets
from netcore.kernel.shared_records import SharedRecords
from netcore.look import decisions, segments
from netcore.look.decisions import Decided
from netcore.look.flows import Flows
from netcore.look.steps import Allows, Decide, FlowKey, Forge, Inject, Open, Refusal, Sender, Step

log = logging.getLogger(__name__)


class Looker:
    """Looks at connections of the namespace of the calling thread, on the running loop, until it is closed.

    *packets*: the copies, of the group `look_rules.GROUP`. *allows*: is asked for each name that was found. *refused*, *opened*: are told
    of each that was refused or opened. *path*: of the file with decisions, which lasts as long as the host runs. Raises OSError if that
    can't be written, KernelError.
    """

    def __init__(
        self,
        packets: PacketLog,
        allows: Allows,
        refused: Callable[[Refusal], None],
        path: str,
        opened: Callable[[Open], None] = lambda _: None,
    ) -> None:
        self._refused = refused
        self._opened = opened
        self._records = SharedRecords(path, decisions.RECORD_LENGTH, limits.LOOK_DECISIONS)
        self._undone: dict[tuple[FlowKey, int], list[tuple[int, bytes]]] = {}
        """Where the records are of a connection that is not open yet, the last ones."""
        self._flows = Flows(allows, self._take_over())
        self._loop = asyncio.get_running_loop()
        self._packets = packets
        self._as_client, self._as_server = RawPackets(), RawPackets(FORGED)
        self._netlink = NetlinkSocket(NETFILTER)
        self._loop.add_reader(self._packets.fileno(), self._read)
        self._clock = self._loop.call_later(limits.LOOK_PERIOD, self._expire)

    def close(self) -> None:
        """Stop. What is held stays held, and what is open stays open."""
        self._clock.cancel()
        self._loop.remove_reader(self._packets.fileno())
        for part in (self._packets, self._as_client, self._as_server, self._netlink, self._records):
            part.close()

    def _take_over(self) -> dict[FlowKey, dict[int, tuple[Decided, ...]]]:
        """Return what an earlier daemon has decided; it stays noted, for the case that this one does not live long either."""
        found: dict[FlowKey, dict[int, tuple[Decided, ...]]] = {}
        for place, record in self._records.left.items():
            decoded = decisions.decode(record)
            if decoded is None:
                self._records.erase(place, record)
                continue
            key, held, decided = decoded
            by_mark = found.setdefault(key, {})
            by_mark[held] = (*by_mark.get(held, ()), decided)
            self._undone.setdefault((key, held), []).append((place, record))
        return found

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
            case p if p == FROM_CLIENT and segment.length == len(segment.payload) and HELD <= logged.mark <= LAST_HELD:
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
                case Decide():
                    self._note(step)
                case Open():
                    self._open(step)
                case Refusal():
                    self._refused(step)

    def _note(self, step: Decide) -> None:
        record = decisions.encode(step)
        # The one before stays too: the server may not have got what is sent after this one.
        before = self._undone.pop((step.key, step.held), [])
        self._undone[step.key, step.held] = [*before[-1:], (self._records.write(record), record)]
        self._erase(before[:-1])
        if len(self._undone) > limits.LOOK_DECISIONS // 2:
            self._erase(self._undone.pop(next(iter(self._undone))))

    def _erase(self, noted: Iterable[tuple[int, bytes]]) -> None:
        for place, record in noted:
            self._records.erase(place, record)

    def _open(self, step: Open) -> None:
        key = step.key
        self._opened(step)
        request = flow_marks.exchange(key.client, key.client_port, key.server, key.server_port, step.held, step.mark)
        try:
            self._netlink.execute(request)
        except KernelError as error:
            # It has ended meanwhile, or somebody has flushed the table; then it goes on as one that is not known.
            log.info("connection is not opened reason=%s", error)
        if step.mark != step.held:
            self._erase(self._undone.pop((key, step.held), ()))
