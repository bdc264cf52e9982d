"""What the look at TLS and HTTP asks of egress rules, and what it tells: which sandbox a connection is of, and whether it may go on.

The socket with the copies is kept, so that what is held back while no daemon runs waits there for the next one. Where the kernel refuses
the look its log group, because an earlier daemon still has it, it is tried again. Until then what is held stays held.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from netcore.desired.egress_rules import ALLOWED_MARK
from netcore.desired.look_rules import GROUP
from netcore.errors import NetcoreError, NotFound
from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel import packet_log
from netcore.kernel.packet_log import PacketLog
from netcore.look.looker import Looker
from netcore.look.opened_flows import OpenedFlows
from netcore.look.steps import Allowed, Asked, Denied, Refusal, Undecided, Verdict
from resolver import limits
from resolver.daemon.egress_log import EgressLog
from resolver.daemon.egress_states import EgressStates

_DECISIONS, _OPENED = "egress-decisions", "egress-opened"
"""In the run directory: what the look has decided and not carried out yet, and for which names it has opened connections."""

_COPIES = "look/copies"
"""What the socket with the copies is kept by."""

log = logging.getLogger(__name__)


class EgressLook:
    """See the module. On the loop. *directory*: for the files with what was decided and opened; it lasts as long as the host runs."""

    def __init__(self, states: EgressStates, egress_log: EgressLog, kept: KeptSockets, directory: Path) -> None:
        self._kept = kept
        self._states = states
        self._log = egress_log
        self._directory = directory
        self._opened: OpenedFlows | None = None
        self._looker: Looker | None = None
        self._retry: asyncio.TimerHandle | None = None
        # Taken now: soon what nobody has taken is closed.
        left = kept.take(_COPIES, lambda sock: packet_log.listens(sock, GROUP))
        self._packets = PacketLog(GROUP, left) if left is not None else None

    def start(self) -> None:
        """Begin to look, now or as soon as the kernel lets."""
        try:
            if self._opened is None:
                self._opened = OpenedFlows(str(self._directory / _OPENED), limits.EGRESS_OPENED_FLOWS)
                self._states.name_number = self._opened.number
            opened = self._opened
            if self._packets is None:
                self._packets = PacketLog(GROUP)
                self._kept.keep({_COPIES: self._packets.fileno()})
            decisions = str(self._directory / _DECISIONS)
            self._looker = Looker(self._packets, self.allows, self._refused, decisions, lambda step: opened.opened(step.key, step.name))
        except (NetcoreError, OSError) as error:
            log.warning("connections that names open wait: nobody looks at them yet reason=%s", error)
            self._retry = asyncio.get_running_loop().call_later(limits.EGRESS_LOOK_RETRY, self.start)

    def close(self) -> None:
        """Stop. What is held stays held, and what is open stays open."""
        if self._retry is not None:
            self._retry.cancel()
        for part in (self._looker, self._opened):
            if part is not None:
                part.close()

    def allows(self, asked: Asked) -> Verdict:
        """Return whether a connection may go on."""
        identity = self._states.owner_of(asked.sender.address)
        generation = self._states.generation_of(identity) if identity is not None else None
        if identity is None or generation is None:
            # It has no rules any more, so what it sends again passes; or it is not restored yet.
            return Undecided()
        verdict = self._states.allows_first_data(identity, asked.name, asked.address, asked.port, goes_on=asked.goes_on)
        return Allowed(ALLOWED_MARK | generation) if verdict.allowed else Denied(verdict.reason)

    def _refused(self, refusal: Refusal) -> None:
        identity = self._states.owner_of(refusal.sender.address)
        if identity is None:
            return
        lacks = None
        if refusal.name is not None:
            try:
                lacks = self._states.allows(identity, refusal.name, refusal.address, "tcp", refusal.port).lacks
            except NotFound:
                return
        self._log.connection(identity, refusal.name or "", refusal.address, "tcp", refusal.port, refusal.sentence, lacks)
