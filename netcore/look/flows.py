"""All connections that are looked at, within bounds, so that one sandbox takes nothing from others. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from netcore import limits
from netcore.desired.look_rules import NUMBER
from netcore.look.decisions import Decided
from netcore.look.flow import Flow, Lost
from netcore.look.segments import ACK, FIN, RST, SYN, Segment
from netcore.look.steps import Allows, FlowKey, Sender, Step
from netcore.model import IPAddress


class Flows:
    """The connections by client and ends, the oldest first. What is forgotten is asked for anew when it goes on.

    *decided*: what an earlier daemon has allowed, and perhaps not opened, by held mark. Each holds for what comes first of a connection.
    """

    __slots__ = ("_allows", "_by_client", "_count", "_decided", "_first_look", "_octets")

    def __init__(self, allows: Allows, decided: dict[FlowKey, dict[int, tuple[Decided, ...]]] | None = None) -> None:
        self._allows = allows
        self._decided = decided or {}
        self._first_look: float | None = None
        self._by_client: dict[IPAddress, dict[FlowKey, Flow]] = {}
        self._octets: dict[IPAddress, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take_client(self, segment: Segment, held: int, sender: Sender, now: float) -> list[Step]:
        """Take a segment with data of a client, which the kernel has dropped. *held*: the connection mark that it had."""
        key = FlowKey(segment.source, segment.source_port, segment.destination, segment.destination_port)
        flow = self._by_client.get(key.client, {}).get(key)
        if flow is not None and flow.held is not None and (flow.held ^ held) & NUMBER:
            self._forget(key)
            flow = None
        if flow is None:
            # Only by the mark that it had then: whoever begins anew between the same ends finds nothing.
            flow = self._add(key, now, self._decided.pop(key, {}).get(held, ()))
        if self._octets.get(key.client, 0) + len(segment.payload) > limits.FIRST_DATA_PER_SANDBOX:
            return []
        try:
            return self._counted(key, flow, functools.partial(flow.take_client, segment, held, sender, now))
        except Lost:
            self._forget(key)
            return []

    def take_server(self, segment: Segment, now: float) -> list[Step]:
        """Take a segment of a server, which has passed."""
        key = FlowKey(segment.destination, segment.destination_port, segment.source, segment.source_port)
        flow = self._by_client.get(key.client, {}).get(key)
        begins = segment.flags & (FIN | SYN | RST | ACK) == SYN | ACK
        if flow is not None:
            try:
                return self._counted(key, flow, functools.partial(flow.take_server, segment, now))
            except Lost:
                self._forget(key)
        if not begins:
            return []
        self._decided.pop(key, None)
        flow = self._add(key, now)
        return self._counted(key, flow, functools.partial(flow.take_server, segment, now))

    def expire(self, now: float) -> list[Step]:
        """Return what is to be done about those that are late, and forget those of which nothing came."""
        steps: list[Step] = []
        self._first_look = now if self._first_look is None else self._first_look
        late = now - self._first_look
        if late > limits.LOOKED_FLOW_IDLE and self._decided:
            # Connections of HTTP may go on later (their mark is 0): what was allowed then is asked again.
            kept = {
                key: {held: some for held, some in by_mark.items() if not any(one.mark for one in some)}
                for key, by_mark in self._decided.items()
            }
            self._decided = {key: by_mark for key, by_mark in kept.items() if by_mark and late <= limits.FOLLOWED_FLOW_IDLE}
        for key, flow in list(self._all()):
            if flow.has_run_out(now):
                self._forget(key)
            else:
                steps += self._counted(key, flow, functools.partial(flow.expire, now))
        return steps

    # --- how -----------------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[tuple[FlowKey, Flow]]:
        for flows in self._by_client.values():
            yield from flows.items()

    def _counted(self, key: FlowKey, flow: Flow, take: Callable[[], list[Step]]) -> list[Step]:
        """Have *flow* take something, and note what it then holds."""
        before = flow.octets
        try:
            return take()
        finally:
            self._octets[key.client] = self._octets.get(key.client, 0) + flow.octets - before

    def _add(self, key: FlowKey, now: float, decided: tuple[Decided, ...] = ()) -> Flow:
        if self._count >= limits.LOOKED_FLOWS:
            # Of the sandbox that has most of them, so others keep theirs.
            self._forget(_first_idle(max(self._by_client.values(), key=len)))
        flows = self._by_client.setdefault(key.client, {})
        if len(flows) >= limits.LOOKED_FLOWS_PER_SANDBOX:
            self._forget(_first_idle(flows))
        flow = flows[key] = Flow(key, self._allows, now, decided)
        self._count += 1
        return flow

    def _forget(self, key: FlowKey) -> None:
        flows = self._by_client[key.client]
        self._octets[key.client] = self._octets.get(key.client, 0) - flows.pop(key).octets
        self._count -= 1
        if not flows:
            del self._by_client[key.client]
            del self._octets[key.client]


def _first_idle(flows: dict[FlowKey, Flow]) -> FlowKey:
    """Return the oldest connection that has not sent anything, or else the oldest."""
    return next((key for key, flow in flows.items() if not flow.has_data), next(iter(flows)))
