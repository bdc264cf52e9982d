"""What one sandbox may see (RFC 9499: its view): zones in search order, private aliases, upstreams, policy. Frozen.

Search order: rules DNS-52..DNS-54, but for each record type alone (W-17) and without regard to case (W-19).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from resolver.engine.query_policy import QueryPolicy
from resolver.engine.upstream import UpstreamSet
from resolver.wire import name as names
from resolver.wire.message import Type
from resolver.zone.known_zones import KnownZones
from resolver.zone.published import PublishedZone
from resolver.zone.static_names import RecordSet, StaticName
from resolver.zone.subnets import Subnets
from resolver.zone.zone import Zone


@dataclass(frozen=True, slots=True)
class AttachedZone:
    """The zone of one network of a sandbox. *aliases*: private alias → name of its target, both wire octets (DNS-51).

    *is_own*: the sandbox is on the network; otherwise its names are found there, and nothing else of it counts.
    """

    published: PublishedZone
    aliases: Mapping[bytes, bytes] = field(default_factory=dict)
    is_own: bool = True

    @property
    def zone(self) -> Zone:
        """The zone as it is now."""
        return self.published.current


class Match(msgspec.Struct, frozen=True):
    """A name that exists: its values in the family asked for (none: NODATA), and where it was found. *static*: what was written down."""

    values: tuple[bytes, ...]
    ttl: int
    source: str
    static: RecordSet | None = None


class ZoneLookup(msgspec.Struct, frozen=True):
    """That *zone* was searched for *name*; *values*: None if it is not there. *alias*: the private alias that led to *name*.

    *static*: the records that somebody wrote down and that answer the query.
    """

    zone: Zone
    name: bytes
    values: tuple[bytes, ...] | None
    alias: bytes | None = None
    static: RecordSet | None = None


Lookups = list[ZoneLookup] | None
"""Where a search notes what it looked at; None: nobody wants to know."""

_SRV, _PTR = int(Type.SRV), int(Type.PTR)
_NO_UPSTREAMS = UpstreamSet()
_NO_SUBNETS = Subnets()
_NO_ZONES = KnownZones()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDomain:
    """What is different in the view of the host itself, for which the suffix is a zone like any other in the world's DNS.

    *short_names*: NAME answers directly below it too. *records*: of the zone itself, by full name.
    """

    short_names: bool = False
    records: Mapping[bytes, StaticName] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """*attached*: in gateway order, then those of which only the names are found. *known*: the zones of all networks of this host.

    *upstreams*: where external names go; *upstreams_by_domain*: where those below a domain go.

    *allows_rebinding*: answers of upstreams may point into networks of this host. *policy*: see there. *host*: None for sandboxes.
    """

    attached: tuple[AttachedZone, ...] = ()
    suffix: bytes = names.from_text("berth.internal")
    subnets: Subnets = _NO_SUBNETS
    known: KnownZones = _NO_ZONES
    upstreams: UpstreamSet = _NO_UPSTREAMS
    upstreams_by_domain: Mapping[bytes, UpstreamSet] = field(default_factory=dict)
    allows_rebinding: bool = False
    policy: QueryPolicy | None = None
    host: HostDomain | None = None

    @property
    def forwards_single_labels(self) -> bool:
        """Whether a name of one label that is not ours is forwarded."""
        return all(attached.zone.forward_single_label for attached in self.attached if attached.is_own)

    @property
    def ttl(self) -> int:
        """The TTL of negative answers that belong to no network."""
        return min((attached.zone.ttl for attached in self.attached if attached.is_own), default=5)

    def owns(self, qname: bytes) -> bool:
        """Return whether *qname* is a name of a network of this host, or below our own domain: no upstream is asked for it."""
        return names.is_below(qname, self.suffix) or self.find(qname, 0, 0) is not None or self.known.holding(qname) is not None

    def is_own_domain(self, qname: bytes) -> bool:
        """Return whether *qname* is below the suffix, or the reverse name of an address on a network of this view."""
        if names.is_below(qname, self.suffix):
            return True
        network = names.reverse_network(qname)
        return network is not None and self.subnets.containing(network) is not None

    def upstream_sets(self) -> Iterator[UpstreamSet]:
        """Yield all upstream sets of this view."""
        yield self.upstreams
        yield from self.upstreams_by_domain.values()

    def upstreams_for(self, qname: bytes) -> UpstreamSet:
        """Return where the external name *qname* is forwarded: the set of the longest domain it is below, else the common one."""
        at = 0
        while qname[at]:
            upstreams = self.upstreams_by_domain.get(qname[at:])
            if upstreams is not None:
                return upstreams
            at += 1 + qname[at]
        return self.upstreams

    def find(self, qname: bytes, size: int, rtype: int, lookups: Lookups = None) -> Match | None:
        """Return the addresses of *size* octets (4 or 16), or the static records of *rtype*, of *qname*; None if the name is not ours.

        Names that exist come before wildcards, wherever they are.
        """
        is_bare = not (qname.endswith(self.suffix) and len(qname) > len(self.suffix))
        if not is_bare:
            qname = qname[: -len(self.suffix)] + names.ROOT
            is_bare = self.host is not None and self.host.short_names and not any(self._qualified(qname))
        if is_bare:
            match = self._find(qname, self.attached, size, rtype, lookups)
            if match is not None:
                return match
        has_wildcards = is_qualified = False
        for attached in self.attached:
            zone = attached.published.current
            is_qualified = is_qualified or qname.endswith(zone.label)
            has_wildcards = has_wildcards or zone.wildcards > 0
        match = self._find_qualified(qname, size, rtype, lookups) if is_qualified else None
        if match is None and has_wildcards:
            return self._find_below_wildcards(qname, size, rtype, lookups, is_bare=is_bare)
        return match

    def _find_qualified(self, qname: bytes, size: int, rtype: int, lookups: Lookups) -> Match | None:
        """Return what stands before an attached network's name, the shortest network name first."""
        for attached, name in self._qualified(qname):
            match = self._find(name, (attached,), size, rtype, lookups)
            if match is not None:
                return match
        return None

    def _qualified(self, qname: bytes) -> Iterator[tuple[AttachedZone, bytes]]:
        """Yield each attached zone whose name *qname* ends with, the shortest first, and what stands before that."""
        matching = [one for one in self.attached if qname.endswith(one.zone.label) and len(qname) > len(one.zone.label)]
        for attached in sorted(matching, key=lambda one: len(one.zone.label)):
            yield attached, qname[: -len(attached.zone.label)] + names.ROOT

    def _find_below_wildcards(self, qname: bytes, size: int, rtype: int, lookups: Lookups, *, is_bare: bool) -> Match | None:
        """Return the same for a name that only wildcards may answer for."""
        searched = [*(((attached, qname) for attached in self.attached) if is_bare else ()), *self._qualified(qname)]
        exists: Match | None = None
        for attached, name in searched:
            zone = attached.zone
            found = zone.find_wildcard(name)
            if found is None:
                continue
            wildcard, records = found
            static = None if records.static is None else records.static.answering(rtype)
            if lookups is not None:
                lookups.append(ZoneLookup(zone, wildcard, records.values, name, static))
            if static is not None:
                return Match(static.values, static.ttl, zone.source, static)
            addresses = records.of_size(size)
            if addresses:
                return Match(addresses, zone.ttl, zone.source)
            exists = exists or Match((), zone.ttl, zone.source)
        return exists

    def exists_above(self, qname: bytes) -> bool:
        """Return whether there are names of ours below *qname*, which is below the suffix and has no records (RFC 8020)."""
        prefix = qname[: -len(self.suffix)] + names.ROOT
        has_short_names = self.host is not None and self.host.short_names
        return (
            any(names.is_below(attached.zone.label, prefix) for attached in self.attached)
            or any(attached.zone.has_below(name) for attached, name in self._qualified(prefix))
            or (has_short_names and any(attached.zone.has_below(prefix) for attached in self.attached))
        )

    def full_target(self, target: bytes) -> bytes:
        """Return the name NAME.NETWORK of a sandbox as the asker finds it: the host, only below the suffix."""
        return target if self.host is None else names.join(target, self.suffix)

    def find_service(self, qname: bytes, lookups: Lookups = None) -> Match | None:
        """Return the ports and targets (two octets and a wire name each) of an SRV name of ours; None if there is no such name.

        Static records in their place are found by `find`.
        """
        is_bare = True
        if qname.endswith(self.suffix) and len(qname) > len(self.suffix):
            qname = qname[: -len(self.suffix)] + names.ROOT
            is_bare = self.host is None or (self.host.short_names and not any(self._qualified(qname)))
        for attached in self.attached:
            zone = attached.published.current
            short = (qname[: -len(zone.label)] + names.ROOT,) if qname.endswith(zone.label) else ()
            for name in (*((qname,) if is_bare else ()), *short):
                records = zone.look(name)
                if records is not None and records.static is not None and records.static.replaces(_SRV):
                    return None
                values = None if records is None else records.values
                if lookups is not None:
                    lookups.append(ZoneLookup(zone, name, values))
                if values:
                    return Match(values, zone.ttl, zone.source)
        return None

    def find_pointer(self, qname: bytes, lookups: Lookups = None) -> Match | None:
        """Return the PTR target of the reverse-mapping name *qname*."""
        for attached in self.attached:
            zone = attached.published.current
            records = zone.look(qname)
            static = None if records is None or records.static is None else records.static.answering(_PTR)
            values = None if records is None else records.values
            if lookups is not None:
                lookups.append(ZoneLookup(zone, qname, values, None, static))
            if static is not None:
                return Match(static.values, static.ttl, zone.source, static)
            if values:
                return Match(values[:1], zone.ttl, zone.source)
        return None

    @staticmethod
    def _find(name: bytes, attached_zones: tuple[AttachedZone, ...], size: int, rtype: int, lookups: Lookups) -> Match | None:
        """Return the first network's records of that type; NODATA of the first that knows the name, if none has any.

        Private aliases of any network come before names.
        """
        exists: Match | None = None
        aliased = []
        for attached in attached_zones:
            if attached.aliases and name in attached.aliases:
                aliased.append(attached)
        for attached in (*aliased, *attached_zones) if aliased else attached_zones:
            zone = attached.published.current
            target = attached.aliases.get(name, name) if aliased else name
            records = zone.look(target)
            static = None if records is None or records.static is None else records.static.answering(rtype)
            if lookups is not None:
                values = None if records is None else records.values
                lookups.append(ZoneLookup(zone, target, values, None if target == name else name, static))
            if static is not None:
                return Match(static.values, static.ttl, zone.source, static)
            if records is not None:
                addresses = records.of_size(size)
                if addresses:
                    return Match(addresses, zone.ttl, zone.source)
                exists = exists or Match((), zone.ttl, zone.source)
        return exists
