"""The egress rules of one sandbox as the policy of its view: what it may ask, and what answers open."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Protocol

from netcore.egress.new_names import NewNames
from netcore.egress.openings import NoRoom, Opening, Openings
from netcore.model import IPAddress
from resolver.daemon.hidden_names import NOTHING_HIDDEN, HiddenNames
from resolver.engine.answered import answered, without_ech
from resolver.engine.query_policy import Refusal
from resolver.engine.received import Received
from resolver.wire import name as names
from resolver.wire.message import Query, Rcode

_SERVICE_OF_A_PORT = re.compile(r"_\d{1,5}\._https\.(.+)", re.ASCII)
"""The HTTPS record of a server at another port (RFC 9460 section 9.1)."""
_NO_RULE_MATCHES = "\\"
"""In place of a name with odd octets: no rule can be about it."""


class Opener(Protocol):
    """Who keeps the kernel in step: see `egress_states`."""

    @property
    def is_busy(self) -> bool:
        """Whether nothing can be opened at once."""

    def open(self, opened: Sequence[Opening], closed: Sequence[Opening], now: float) -> None:
        """Have the kernel open and close; raises KernelError."""

    async def open_later(self, opened: Sequence[Opening]) -> None:
        """The same, when that is possible again, with room made for it."""


class EgressPolicy:
    """See the module. *hidden*: the names of networks that its rules do not open, and nothing else keeps from it.

    *refused*: is told of each question that is refused, with the reason and the rule that would allow it.
    """

    def __init__(
        self,
        openings: Openings,
        new_names: NewNames,
        opener: Opener,
        clock: Callable[[], float],
        refused: Callable[[str, str, str | None], None],
        hidden: HiddenNames = NOTHING_HIDDEN,
        *,
        is_asked_by_us: bool = False,
    ) -> None:
        self.openings = openings
        self._policy = openings.policy
        self._new_names = new_names
        self._opener = opener
        self._clock = clock
        self._refused = refused
        self._hidden = hidden
        self._is_asked_by_us = is_asked_by_us

    def asked_by_us(self) -> EgressPolicy:
        """Return the same for questions of our own, which say nothing of what the sandbox needs."""
        return EgressPolicy(
            self.openings, self._new_names, self._opener, self._clock, lambda _name, _reason, _lacks: None, is_asked_by_us=True
        )

    # --- questions ----------------------------------------------------------------------------------------------

    def verdict(self, qname: bytes, qtype: int) -> Refusal | None:
        """See `QueryPolicy`."""
        if qname.endswith((names.IN_ADDR_ARPA, names.IP6_ARPA)):
            return self._reverse(qname)
        name = _text(qname)
        if self._policy.may_ask(name).allowed or self._meant(name) is not None:
            return self._bounded(name)
        if self._policy.is_above(name):
            return Refusal(Rcode.NOERROR, f"{name or 'the root'} is above a name that sandbox {self._policy.sandbox} may ask for")
        hidden = self.hidden(qname)
        if hidden is not None:
            return hidden
        verdict = self._policy.may_ask(name)
        self._refused(name, verdict.reason, verdict.lacks)
        return Refusal(Rcode.NXDOMAIN, verdict.reason)

    def hidden(self, qname: bytes) -> Refusal | None:
        """See `QueryPolicy`."""
        network = self._hidden.network_of(qname)
        if network is None:
            return None
        name = names.to_text(qname)[:-1]
        verdict = self._policy.may_know(name, network)
        self._refused(name, verdict.reason, verdict.lacks)
        return Refusal(Rcode.NXDOMAIN, verdict.reason)

    def _bounded(self, name: str) -> Refusal | None:
        if self._policy.is_unbounded(name) or self._new_names.take(name, self._clock()):
            return None
        reason = (
            f"sandbox {self._policy.sandbox} asks for too many new names below its wildcards: the next ones are allowed within a minute"
        )
        self._refused(name, reason, None)
        return Refusal(Rcode.REFUSED, reason)

    def _reverse(self, qname: bytes) -> Refusal | None:
        network = names.reverse_network(qname)
        if network is not None and network.prefixlen == network.max_prefixlen:
            address = network.network_address
            if self.openings.names_of(address, self._clock()) or self._policy.ports(None, address):
                return None
            reason = f"sandbox {self._policy.sandbox} may not ask whose address {address} is: its egress rules do not allow it"
            self._refused(names.to_text(qname)[:-1], reason, str(address))
            return Refusal(Rcode.NXDOMAIN, reason)
        return Refusal(Rcode.NOERROR, f"sandbox {self._policy.sandbox} may ask for names of single addresses alone")

    def _meant(self, name: str) -> str | None:
        """Return the allowed name that asking for *name* is part of: it is one, belongs to one, or was led to by one."""
        service = _SERVICE_OF_A_PORT.fullmatch(name)
        if service is not None and self._policy.may_ask(service[1]).allowed:
            return service[1]
        return self.openings.meant_by(name, self._clock())

    # --- answers ------------------------------------------------------------------------------------------------

    def shown(self, query: Query, received: Received) -> Received:
        """See `QueryPolicy`: encrypted server names can't be looked at."""
        return without_ech(query, received)

    def open(self, query: Query, received: Received) -> Awaitable[None] | None:
        """See `QueryPolicy`."""
        if not self._policy.opens_by_name and not self._policy.opens_without_names:
            return None
        found = answered(query, received)
        if self._policy.opens_without_names and not self._is_asked_by_us:
            self.openings.note_names(_text(query.qname), map(ip_address, found.addresses))
        if not self._policy.opens_by_name:
            return None
        if not found.addresses and not found.targets:
            return None
        now, asked = self._clock(), _text(query.qname)
        # What the sandbox means by the address is the name it is allowed: that is what it tells the server.
        name = asked if self._policy.may_ask(asked).allowed else self._meant(asked) or asked
        if found.targets:
            self.openings.lead_to(name, map(_text, found.targets), found.ttl, now)
        if not self._is_asked_by_us:
            self.openings.asked(name, now)
        addresses: list[IPAddress] = [ip_address(octets) for octets in found.addresses]
        opened = self.openings.answered(name, addresses, found.ttl, now)
        if not opened:
            self.openings.used(addresses, now)
            return None
        if self._opener.is_busy:
            return self._opener.open_later(opened)
        try:
            closed = self.openings.room_for(opened, now)
        except NoRoom:
            return self._opener.open_later(opened)
        self._opener.open(opened, closed, now)
        return None


def _text(qname: bytes) -> str:
    """Return a name as rules have it."""
    text = names.to_text(qname)[:-1]
    return text if "\\" not in text else _NO_RULE_MATCHES
