"""What the host itself finds: the names of its networks below the suffix, and the names of their addresses. Nothing else."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from operator import itemgetter

from netcore.model import Network
from resolver.daemon.config import DaemonConfig, parse_host_listen
from resolver.daemon.gateway_resolver import GatewayResolver
from resolver.dns_client import Client
from resolver.engine.answer import has_service_form
from resolver.engine.view import AttachedZone, HostDomain, View
from resolver.wire import name as names
from resolver.wire.message import Type
from resolver.zone.published import NameChange
from resolver.zone.static_names import WILDCARD, RecordSet, StaticName
from resolver.zone.subnets import Subnets
from resolver.zone.zone import Zone

_NAMES_IN_A_LINE = 8
"""musl reads no line of more than a thousand octets."""
_TTL = 5
"""Of the records of the zone itself, in seconds."""


_Place = tuple[str, str]
"""Name and id of a network: an overlay may have the name of a network of this host."""


def _place(gateway: GatewayResolver) -> _Place:
    return gateway.network.name, gateway.network.id


def are_shown(network: Network) -> bool:
    """Return whether the host finds the names of *network*."""
    wanted = network.common.host_names
    return network.has_names and (not network.internal if wanted is None else wanted)


class HostNames:
    """The client that the host is. Its view follows the networks; where `host_listen` is not set, it sees nothing.

    *on_change*: is called when names have changed that the host finds.
    """

    def __init__(self, config: DaemonConfig) -> None:
        self._suffix = names.from_text(config.suffix)
        self._short_names = config.host_short_names
        self._address = parse_host_listen(config.host_listen)[0] if config.host_listen else None
        self._shown: list[tuple[_Place, AttachedZone]] = []
        self._subnets = Subnets()
        self.on_change: Callable[[], None] = lambda: None
        self.client = Client(View(suffix=self._suffix))
        self._show()

    def change(self, gone: Iterable[GatewayResolver], came: Iterable[GatewayResolver]) -> None:
        """From now on the host no longer finds the names of the networks *gone*, and those of *came* if they are shown."""
        lost, found = ([gateway for gateway in gateways if are_shown(gateway.network)] for gateways in (gone, came))
        for gateway in lost:
            gateway.zone.watchers -= {self, self.client}
            del self._shown[self._position(gateway)]
            for pool in gateway.network.pools:
                self._subnets.discard(pool.subnet)
        for gateway in found:
            gateway.zone.watchers |= {self, self.client}
            self._shown.insert(self._position(gateway), (_place(gateway), AttachedZone(gateway.zone)))
            for pool in gateway.network.pools:
                self._subnets.add(pool.subnet)
        if lost or found:
            self.on_change()
            self._show()

    def _position(self, gateway: GatewayResolver) -> int:
        return bisect_left(self._shown, _place(gateway), key=itemgetter(0))

    def _show(self) -> None:
        if self._address is None:
            return
        self.client.show(
            View(
                attached=tuple(map(itemgetter(1), self._shown)),
                suffix=self._suffix,
                subnets=self._subnets,
                host=HostDomain(short_names=self._short_names, records=self._apex(self._address)),
            )
        )

    def on_names_changed(self, change: NameChange) -> None:
        """Tell who wants to know."""
        self.on_change()

    def hosts_lines(self) -> list[str]:
        """Return what is found as lines of a hosts file: for each address a few names, those of its network first (hosts(5))."""
        of_addresses: dict[bytes, dict[bytes, None]] = {}
        taken: set[tuple[bytes, int]] = set()
        for zone in (attached.zone for _, attached in self._shown):
            for name, addresses in _addresses(zone):
                for address in addresses:
                    found = of_addresses.setdefault(address, {})
                    found[names.join(names.join(name, zone.label), self._suffix)] = None
                    if self._short_names and (name, len(address)) not in taken:
                        found[names.join(name, self._suffix)] = None
                taken |= {(name, len(address)) for address in addresses}
        lines = []
        for address, found in sorted(of_addresses.items(), key=lambda pair: (len(pair[0]), pair[0])):
            texts = sorted((names.to_text(name)[:-1] for name in found), key=lambda text: (-text.count("."), len(text), text))
            for at in range(0, len(texts), _NAMES_IN_A_LINE):
                lines.append(f"{ip_address(address)}\t{' '.join(texts[at : at + _NAMES_IN_A_LINE])}")
        return lines

    def _apex(self, address: str) -> dict[bytes, StaticName]:
        """Return the NS record of the zone, and the address of that server."""
        server = names.join(names.from_text("ns"), self._suffix)
        packed = ip_address(address).packed
        rtype = Type.A if len(packed) == 4 else Type.AAAA
        return {
            self._suffix: StaticName((RecordSet(int(Type.NS), _TTL, (server,)),)),
            server: StaticName((RecordSet(int(rtype), _TTL, (packed,)),)),
        }


def _addresses(zone: Zone) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    """Yield each name of *zone* that has addresses, in alphabetical order, with these. A hosts file can have no wildcard."""
    for name, records in sorted((name, records) for shard in zone.shards for name, records in shard.items()):
        if name.startswith(WILDCARD) or name.endswith((names.IN_ADDR_ARPA, names.IP6_ARPA)) or has_service_form(name):
            continue
        static = () if records.static is None else records.static.sets
        given = tuple(value for one in static if one.rtype in (Type.A, Type.AAAA) for value in one.values)
        addresses = (*given, *records.ipv4, *records.ipv6)
        if addresses:
            yield name, addresses
