"""What egress rules refuse, told: questions by the policies of views, connections by the kernel's log group."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

from netcore.egress.openings import Openings
from netcore.egress.policy import Flow
from netcore.egress.ports import PROTOCOLS
from netcore.egress.refusals import CONNECTION, QUESTION, Refusals, Refused
from netcore.egress.surroundings import KnownNetwork
from netcore.errors import NetcoreError
from netcore.kernel.refused_packets import HELD_FOR, RefusedPacket, RefusedPackets
from netcore.kernel.sought_neighbors import NeighborAnswers, Sought
from netcore.model import BridgeOptions, IPAddress, SandboxId
from netcore.parse.mac import octets
from netcore.plan.host_state import HostState
from resolver import limits
from resolver.daemon.egress_states import EgressStates
from resolver.daemon.events import Events

OnLearned = Callable[[str, Openings, RefusedPacket], None]
"""(sandbox id, its openings, the first packet of a connection)."""

log = logging.getLogger(__name__)
_MARGIN = 0.02
"""Seconds; the kernel's timer counts in jiffies."""


class EgressLog:
    """See the module. *clock*: seconds since the epoch."""

    def __init__(self, state: HostState, states: EgressStates, events: Events, clock: Callable[[], float]) -> None:
        self._state = state
        self._states = states
        self._events = events
        self._clock = clock
        self._packets: RefusedPackets | None = None
        self._answers: NeighborAnswers | None = None
        self._listeners: set[asyncio.Queue[Refused | None]] = set()
        self.refusals = Refusals()
        self.on_learned: OnLearned = lambda _identity, _openings, _packet: None
        """Is told of what sandboxes use that learn their rules; set before use."""
        states.on_refused = self._question

    def start(self) -> None:
        """Listen to the kernel. Where that is refused, connections are refused without being told."""
        try:
            self._answers = NeighborAnswers()
            self._packets = RefusedPackets()
        except (NetcoreError, OSError) as error:
            log.warning("refused connections are not told reason=%s", error)
            return
        asyncio.get_running_loop().add_reader(self._packets.fileno(), self._read)

    def close(self) -> None:
        """Stop."""
        if self._packets is not None:
            asyncio.get_running_loop().remove_reader(self._packets.fileno())
            self._packets.close()
            self._packets = None
        if self._answers is not None:
            self._answers.close()
        for queue in tuple(self._listeners):
            queue.put_nowait(None)

    def _read(self) -> None:
        assert self._packets is not None
        for packet in self._packets.read():
            if isinstance(packet, Sought):
                self._sought(packet)
            else:
                self._packet(packet)

    def _sought(self, sought: Sought) -> None:
        """Answer in the place of a peer, so that what is sent to it comes here and is refused at once."""
        assert self._answers is not None
        identity = self._states.owner_of(sought.source)
        openings = self._states.openings_of(identity) if identity is not None else None
        if openings is None or sought.address == sought.source:
            return
        place = openings.policy.around.place(sought.address)
        network = next((one for one in self._state.networks.values() if isinstance(place, KnownNetwork) and one.name == place.name), None)
        if network is not None and isinstance(network.driver_options, BridgeOptions):
            self._answers.send(sought, octets(network.driver_options.bridge_mac))

    def _packet(self, packet: RefusedPacket) -> None:
        identity = self._states.owner_of(packet.source)
        openings = self._states.openings_of(identity) if identity is not None else None
        if identity is None or openings is None:
            return
        if packet.is_learned:
            self.on_learned(identity, openings, packet)
            return
        name = next(iter(openings.names_of(packet.address, self._states.clock())), None)
        flow = Flow(address=packet.address, protocol=packet.protocol, port=packet.port, name=name)
        verdict = openings.policy.allows(flow)
        if verdict.allowed:
            # It was refused a moment ago, by rules that have changed since, or before its name had been answered.
            verdict = openings.policy.allows(Flow(address=packet.address, protocol=packet.protocol, port=packet.port))
        port = packet.port if packet.protocol in PROTOCOLS else 0
        self._put(identity, CONNECTION, name or "", str(packet.address), packet.protocol, port, verdict.reason, verdict.lacks)

    def connection(self, identity: str, name: str, address: IPAddress, protocol: str, port: int, reason: str, lacks: str | None) -> None:
        """Note a connection that was refused by what its first data ask for."""
        self._put(identity, CONNECTION, name, str(address), protocol, port, reason, lacks)

    def _question(self, identity: str, name: str, reason: str, lacks: str | None) -> None:
        self._put(identity, QUESTION, name, "", "", 0, reason, lacks)

    def _put(self, identity: str, kind: str, name: str, address: str, protocol: str, port: int, reason: str, lacks: str | None) -> None:
        sandbox = self._state.sandboxes.get(SandboxId(identity))
        now = self._clock()
        refused, is_news = self.refusals.put(
            Refused(
                sandbox=sandbox.name if sandbox is not None else identity[:12], sandbox_id=identity, kind=kind, name=name, address=address,
                protocol=protocol, port=port, reason=reason, lacks=lacks, first=now, last=now,
            )
        )  # fmt: skip
        if not is_news:
            return
        self._events.emit("egress", "refuse", refused.sandbox, identity=identity, detail=refused.reason)
        for queue in tuple(self._listeners):
            if queue.qsize() >= limits.EVENTS:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(refused)

    async def settle(self, identity: str | None) -> None:
        """Return when what was refused by now is noted, to one sandbox or to all: the kernel gathers packets before it hands them on."""
        if self._packets is None or (identity is not None and self._states.openings_of(identity) is None):
            return
        await asyncio.sleep(HELD_FOR + _MARGIN)
        if self._packets is not None:
            # The loop may have been too busy to look.
            self._read()

    def past(self, identity: str | None, since: float | None) -> list[Refused]:
        """Return what was refused since a time (seconds since the epoch), to one sandbox or to all."""
        return [one for one in self.refusals if identity in (None, one.sandbox_id) and (since is None or one.last >= since)]

    async def follow(self, identity: str | None, since: float | None) -> AsyncGenerator[Refused, None]:
        """Yield what was refused since then, and what is from now on: each thing when it is news."""
        queue: asyncio.Queue[Refused | None] = asyncio.Queue()
        past = self.past(identity, since) if since is not None else []
        self._listeners.add(queue)
        try:
            for one in past:
                yield one
            while (told := await queue.get()) is not None:
                if identity in (None, told.sandbox_id):
                    yield told
        finally:
            self._listeners.discard(queue)
