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
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.tsig
import dns.update

from netcore.errors import Exhausted, NetcoreError
from netcore.model import Network
from netcore.plan.endpoint_names import label_of
from resolver import limits
from resolver.daemon.static_names import StaticNames
from resolver.daemon.update_keys import UpdateKey
from resolver.transport.udp import ReplySender
from resolver.wire.message import HEADER, OPCODE, QR, RA
from resolver.zone.update import UpdateRefused, ZoneUpdate
from resolver.zone.zone import Zone

log = logging.getLogger(__name__)

_TSIG = int(dns.rdatatype.TSIG)
_FUDGE = 300


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

    def take(self, octets: bytes, sender: ReplySender, peer: bytes) -> None:
        """Carry out the update in *octets* soon; the response goes through *sender*."""
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
            reply = await self.answer(octets)
            if reply is not None:
                sender.reply(peer, reply)
            await asyncio.sleep(0)

    async def answer(self, octets: bytes) -> bytes | None:
        """Return the response to the update in *octets*; None: no response."""
        try:
            message = dns.message.from_wire(octets, keyring=self._keyring, one_rr_per_rrset=True)
        except dns.message.UnknownTSIGKey:
            return _unverified(octets, dns.rcode.BADKEY, self._clock())
        except (dns.tsig.BadSignature, dns.tsig.BadKey, dns.tsig.BadAlgorithm, dns.tsig.BadTime) as error:
            return _unverified(octets, dns.rcode.BADTIME if isinstance(error, dns.tsig.BadTime) else dns.rcode.BADSIG, self._clock())
        except (dns.exception.DNSException, ValueError, NotImplementedError):
            return _bare(octets, dns.rcode.FORMERR)
        if not isinstance(message, dns.update.UpdateMessage) or len(message.zone) != 1:
            return _bare(octets, dns.rcode.FORMERR)
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
        if not message.had_tsig or message.keyname is None:
            raise UpdateRefused(dns.rcode.REFUSED, "it is not signed; use a key of update_keys")
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


def _bare(octets: bytes, rcode: dns.rcode.Rcode) -> bytes | None:
    """Return a response without records and without signature."""
    if len(octets) < HEADER.size:
        return None
    identity, flags, *_ = HEADER.unpack_from(octets)
    return HEADER.pack(identity, QR | RA | flags & OPCODE | rcode, 0, 0, 0, 0)


def _unverified(octets: bytes, error: dns.rcode.Rcode, clock: float) -> bytes | None:
    """Return NOTAUTH with the reason in a TSIG record that is not signed (RFC 8945 section 5.3.2)."""
    bare = _bare(octets, dns.rcode.NOTAUTH)
    try:
        # The last record is the TSIG one: it is read without its signature being checked.
        message = dns.message.from_wire(octets, continue_on_error=True, keyring=False)
        tsig = message.tsig[0] if message.tsig is not None else None
        keyname = message.keyname
    except (dns.exception.DNSException, ValueError, NotImplementedError, AttributeError):
        return bare
    if bare is None or tsig is None or keyname is None:
        return bare
    now = int(clock)
    other = now.to_bytes(6, "big") if error == dns.rcode.BADTIME else b""
    rdata = dns.rdtypes.ANY.TSIG.TSIG(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY, dns.rdatatype.TSIG, tsig.algorithm, now, _FUDGE, b"", tsig.original_id, error, other
    ).to_wire()
    assert rdata is not None
    owner = keyname.to_wire()
    assert owner is not None
    record = (
        owner + _TSIG.to_bytes(2, "big") + int(dns.rdataclass.ANY).to_bytes(2, "big") + bytes(4) + len(rdata).to_bytes(2, "big") + rdata
    )
    return bare[:10] + b"\0\1" + record
