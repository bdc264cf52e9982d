"""Names that sandboxes with egress rules have asked for are asked again before their addresses are closed.

Programs keep addresses: nginx asks once, a JVM may. Only names that a rule allows exactly are asked for by us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from netcore import limits
from resolver.daemon.egress_policy import EgressPolicy
from resolver.daemon.egress_states import EgressStates
from resolver.dns_client import Client
from resolver.service import DnsService
from resolver.wire import name as names
from resolver.wire.message import HEADER, IN, RD, Type

_TYPES = {4: Type.A, 6: Type.AAAA}
_PERIODS = 20
"""How often in the time of a hold it is looked what is due."""


class EgressRefresh:
    """See the module. *client_of*: sandbox id → its client, None if there is none any more."""

    def __init__(self, states: EgressStates, service: DnsService, client_of: Callable[[str], Client | None]) -> None:
        self._states = states
        self._service = service
        self._client_of = client_of
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look now and then what is due."""
        self._timer = asyncio.get_running_loop().call_later(max(0.1, self._states.settings.hold / _PERIODS), self._run)

    def _run(self) -> None:
        self.ask_again()
        self.start()

    def ask_again(self) -> None:
        """Ask for what is due, as the sandbox would."""
        for identity, name, family in self._states.due()[: limits.EGRESS_ASKED_AT_ONCE]:
            client = self._client_of(identity)
            policy = client.view.policy if client is not None else None
            if client is None or not isinstance(policy, EgressPolicy):
                continue
            asking = Client(replace(client.view, policy=policy.asked_by_us()))
            question = names.from_text(name) + _TYPES[family].to_bytes(2, "big") + IN.to_bytes(2, "big")
            self._service.on_query(asking, HEADER.pack(0, RD, 1, 0, 0, 0) + question, _Nobody(), b"", tcp=True)

    def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()


class _Nobody:
    """Takes a response that nobody waits for."""

    def reply(self, peer: bytes, octets: bytes) -> None:
        """Throw it away: what it opens is open."""
