"""What the look at TLS and HTTP asks of egress rules, and what it tells: which sandbox a connection is of, and whether it may go on.

Where the kernel refuses the look its log group, because an earlier daemon still has it, it is tried again. Until then what is held
stays held.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from netcore.desired.egress_rules import ALLOWED_MARK
from netcore.errors import NetcoreError, NotFound
from netcore.look.looker import Looker
from netcore.look.opened_flows import OpenedFlows
from netcore.look.steps import Allowed, Asked, Denied, Refusal, Verdict
from resolver import limits
from resolver.daemon.egress_log import EgressLog
from resolver.daemon.egress_states import EgressStates

_DECISIONS, _OPENED = "egress-decisions", "egress-opened"
"""In the run directory: what the look has decided and not carried out yet, and for which names it has opened connections."""

log = logging.getLogger(__name__)


class EgressLook:
    """See the module. On the loop. *directory*: for the files with what was decided and opened; it lasts as long as the host runs."""

    def __init__(self, states: EgressStates, egress_log: EgressLog, directory: Path) -> None:
        self._states = states
        self._log = egress_log
        self._directory = directory
        self._opened: OpenedFlows | None = None
        self._looker: Looker | None = None
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look, now or as soon as the kernel lets."""
        try:
            if self._opened is None:
                self._opened = OpenedFlows(str(self._directory / _OPENED), limits.EGRESS_OPENED_FLOWS)
                self._states.name_number = self._opened.number
            opened = self._opened
            self._looker = Looker(
                self.allows, self._refused, str(self._directory / _DECISIONS), lambda step: opened.opened(step.key, step.name)
            )
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
            return Denied("the sandbox has no egress rules any more")
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
