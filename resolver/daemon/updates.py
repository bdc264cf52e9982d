"""Updates of static names by RFC 2136, signed by TSIG (RFC 8945): who may, on which network, and the response.

They are carried out one after the other, between other work of the loop; beyond `limits.UPDATES_WAITING` they are dropped, and the
client asks again. A module that is imported only if there are keys: it needs dnspython.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import dns.exception
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.tsig
import dns.update

from netcore.errors import Exhausted, NetcoreError
from netcore.model import Network
from netcore.plan.endpoint_names import label_of
from resolver import limits
from resolver.daemon.static_names import StaticNames
from resolver.daemon.update_keys import UpdateKey
from resolver.daemon.update_signature import bare, refusal
from resolver.transport.protocol import ReplySender
from resolver.zone.update import UpdateRefused, ZoneUpdate
from resolver.zone.zone import Zone

log = logging.getLogger(__name__)


class Updates:
    """See the module. *secrets*: by name of the key. *networks*: those there are. *zone_of*: what is answered, None: nothing is here.

    *clock*: seconds since the epoch.
    """

    def __init__(
        self,
        keys: Iterable[UpdateKey],
        secrets: Mapping[str, bytes],
        static_names: StaticNames,
        suffix: str,
        networks: Callable[[], Iterable[Network]],
        zone_of: Callable[[Network], Zone | None],
        clock: Callable[[], float],
    ) -> None:
        self._keys = {dns.name.from_text(key.name): key for key in keys}
        self._keyring = {name: dns.tsig.Key(name, secrets[key.name], key.algorithm) for name, key in self._keys.items()}
        self._static_names = static_names
        self._suffix = suffix
        self._networks = networks
        self._zone_of = zone_of
        self._clock = clock
        self._waiting: deque[tuple[bytes, ReplySender, bytes]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._told_at = 0.0

    def take(self, octets: bytes, sender: ReplySender, peer: bytes) -> None:
        """Carry out the update in *octets* soon; the response goes through *sender*."""
        refused = self._refused(octets)
        if refused is not None:
            sender.reply(peer, refused)
            return
        if len(self._waiting) >= limits.UPDATES_WAITING:
            return
        self._waiting.append((octets, sender, peer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        while self._waiting:
            octets, sender, peer = self._waiting.popleft()
            sender.reply(peer, await self._answer(octets))

    async def answer(self, octets: bytes) -> bytes:
        """Return the response to the update in *octets*."""
        return self._refused(octets) or await self._answer(octets)

    def _refused(self, octets: bytes) -> bytes | None:
        """Return the response to an update that is not signed by a key of ours, None if it is."""
        found = refusal(octets, self._keyring, self._clock())
        if found is None:
            return None
        octets, reason = found
        if self._clock() - self._told_at > limits.UPDATES_TOLD_AGAIN:
            # Anybody may send them.
            self._told_at = self._clock()
            log.info("update refused rcode=%s reason=%s", dns.rcode.to_text(dns.rcode.Rcode(octets[3] & 0xF)), reason)
        return octets

    async def _answer(self, octets: bytes) -> bytes:
        try:
            # Not on the loop: names can be so long that it takes a while.
            message = await asyncio.to_thread(lambda: dns.message.from_wire(octets, keyring=self._keyring, one_rr_per_rrset=True))
        except (dns.exception.DNSException, ValueError, NotImplementedError):
            return bare(octets, dns.rcode.FORMERR)
        if not isinstance(message, dns.update.UpdateMessage) or len(message.zone) != 1 or not message.had_tsig:
            return bare(octets, dns.rcode.FORMERR)
        response = dns.message.make_response(message)
        response.set_rcode(await self._carry_out(message))
        return response.to_wire()

    async def _carry_out(self, message: dns.update.UpdateMessage) -> dns.rcode.Rcode:
        origin = message.zone[0].name
        try:
            network, key = self._allowed(message, origin)
            if origin not in self._origins(network):
                origin = self._origins(network)[0]
            zone = self._zone_of(network)
            if zone is None:
                raise UpdateRefused(dns.rcode.SERVFAIL, f"network {network.name} is not active on this host")
            update = ZoneUpdate(origin, label_of(network), self._suffix, message.prerequisite, message.update)
            await self._static_names.change(network, lambda existing: update.decide(existing, zone))
        except UpdateRefused as error:
            log.info("update refused zone=%s rcode=%s reason=%s", origin, dns.rcode.to_text(error.rcode), error)
            return error.rcode
        except Exhausted as error:
            log.info("update refused zone=%s rcode=REFUSED reason=%s", origin, error)
            return dns.rcode.REFUSED
        except NetcoreError as error:
            log.warning("update failed zone=%s reason=%s", origin, error)
            return dns.rcode.SERVFAIL
        log.info("update network=%s key=%s changes=%d", network.name, key.name, len(message.update))
        return dns.rcode.NOERROR

    def _allowed(self, message: dns.update.UpdateMessage, origin: dns.name.Name) -> tuple[Network, UpdateKey]:
        """Return the network whose zone *origin* is, and the key that may change it."""
        assert message.keyname is not None
        network = next((one for one in self._networks() if one.has_names and self._is_for(message, origin, one)), None)
        if network is None:
            raise UpdateRefused(dns.rcode.NOTAUTH, "no network of this host has that zone")
        key = self._keys[message.keyname]
        if network.name not in key.networks:
            raise UpdateRefused(dns.rcode.REFUSED, f"key {key.name} is for {', '.join(key.networks)}")
        return network, key

    def _is_for(self, message: dns.update.UpdateMessage, origin: dns.name.Name, network: Network) -> bool:
        """Return whether the update is for *network*: by the zone that it names, or, if that is the domain of all, by all its names."""
        full, short = self._origins(network)
        if origin in (full, short):
            return True
        changed = [rrset.name for rrset in (*message.prerequisite, *message.update)]
        return origin == dns.name.from_text(self._suffix) and bool(changed) and all(name.is_subdomain(full) for name in changed)

    def _origins(self, network: Network) -> tuple[dns.name.Name, dns.name.Name]:
        label = label_of(network)
        return dns.name.from_text(f"{label}.{self._suffix}"), dns.name.from_text(label)
