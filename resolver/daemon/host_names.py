"""What the host itself finds: the names of its networks below the suffix, and the names of their addresses. Nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from netcore.model import Network
from resolver.client import Client
from resolver.daemon.config import DaemonConfig, parse_host_listen
from resolver.daemon.gateway_resolver import GatewayResolver
from resolver.engine.query_policy import Refusal
from resolver.engine.view import AttachedZone, HostDomain, View
from resolver.wire import name as names
from resolver.wire.message import Rcode, Type
from resolver.zone.published import PublishedZone
from resolver.zone.static_names import RecordSet, StaticName
from resolver.zone.subnets import Subnets

_TTL = 5
"""Of the records of the zone itself, in seconds."""


def are_shown(network: Network) -> bool:
    """Return whether the host finds the names of *network*."""
    wanted = network.common.host_names
    return network.has_names and (not network.internal if wanted is None else wanted)


class OwnNamesOnly:
    """The policy of the host's view: a query for any other name is for another name server (see `QueryPolicy`)."""

    has_effects = False

    def __init__(self, suffix: bytes, subnets: Subnets) -> None:
        self._suffix = suffix
        self._subnets = subnets
        self._refusal = Refusal(Rcode.REFUSED, f"only names below {names.to_text(suffix)} and addresses of its networks are answered here")

    def verdict(self, qname: bytes, qtype: int) -> Refusal | None:
        """Return why the query is refused; None if it is for a name of ours."""
        if names.is_below(qname, self._suffix):
            return None
        network = names.reverse_network(qname)
        return None if network is not None and self._subnets.containing(network) is not None else self._refusal

    def effect(self, qname: bytes, qtype: int, reply: bytes) -> None:
        """Nothing has to happen before a response leaves."""


class HostNames:
    """The client that the host is. Its view follows the networks; where `host_listen` is not set, it is not made."""

    def __init__(self, config: DaemonConfig) -> None:
        self._suffix = names.from_text(config.suffix)
        self._short_names = config.host_short_names
        self._address = parse_host_listen(config.host_listen)[0] if config.host_listen else None
        self._zones: list[PublishedZone] = []
        self.client = Client(View(suffix=self._suffix))
        self.show(())

    def show(self, gateways: Iterable[GatewayResolver]) -> None:
        """Let the host find the names of those networks of *gateways* that are shown, in the order of their names."""
        if self._address is None:
            return
        shown = sorted((gateway for gateway in gateways if are_shown(gateway.network)), key=lambda gateway: gateway.network.name)
        for zone in self._zones:
            zone.watchers.discard(self.client)
        self._zones = [gateway.zone for gateway in shown]
        for zone in self._zones:
            zone.watchers.add(self.client)
        subnets = Subnets(pool.subnet for gateway in shown for pool in gateway.network.pools)
        self.client.show(
            View(
                attached=tuple(map(AttachedZone, self._zones)),
                suffix=self._suffix,
                subnets=subnets,
                policy=OwnNamesOnly(self._suffix, subnets),
                host=HostDomain(short_names=self._short_names, records=self._apex(self._address)),
            )
        )

    def _apex(self, address: str) -> dict[bytes, StaticName]:
        """Return the NS record of the zone, and the address of that server."""
        server = names.join(names.from_text("ns"), self._suffix)
        packed = ip_address(address).packed
        rtype = Type.A if len(packed) == 4 else Type.AAAA
        return {
            self._suffix: StaticName((RecordSet(int(Type.NS), _TTL, (server,)),)),
            server: StaticName((RecordSet(int(rtype), _TTL, (packed,)),)),
        }
