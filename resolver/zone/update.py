"""What an update of a network's zone changes (RFC 2136 section 3). Only static names can be changed. Pure.

| RFC | what | status |
|---|---|---|
| 2136 3.1 | one zone, of type SOA | done by dnspython and `daemon.updates` |
| 2136 3.2 | prerequisites: of a name, of an RRset, of an RRset with these values | done; what sandboxes have counts |
| 2136 3.4 | add, delete a record, an RRset, everything of a name; all or nothing | done; SOA, NS and what sandboxes have stays |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from resolver.wire import name as names
from resolver.zone import record_text
from resolver.zone.static_changes import added
from resolver.zone.static_names import CNAME, StaticRecord
from resolver.zone.zone import Zone

RecordsByName = Mapping[str, tuple[StaticRecord, ...]]
_ANY, _NONE = dns.rdataclass.ANY, dns.rdataclass.NONE
_ADDRESSES = (int(dns.rdatatype.A), int(dns.rdatatype.AAAA))


class UpdateRefused(Exception):
    """An update is not carried out; *rcode* says why to programs, the text to people."""

    def __init__(self, rcode: dns.rcode.Rcode, reason: str) -> None:
        super().__init__(reason)
        self.rcode = rcode


class ZoneUpdate:
    """An update of the zone called *origin*, of the network *label* below *suffix*. Each of its records is an RRset of its own."""

    def __init__(
        self, origin: dns.name.Name, label: str, suffix: str, prerequisites: Iterable[dns.rrset.RRset], changes: Iterable[dns.rrset.RRset]
    ) -> None:
        self._origin = origin
        self._label = label
        self._suffix = suffix
        self._prerequisites = tuple(prerequisites)
        self._changes = tuple(changes)

    def decide(self, existing: RecordsByName, zone: Zone) -> dict[str, tuple[StaticRecord, ...]]:
        """Return the names that change with their records then; UpdateRefused if a prerequisite fails, or a change can't be made.

        *existing*: the static records. *zone*: with them, what is answered.
        """
        self._check(existing, zone)
        self._scan()
        changed: dict[str, tuple[StaticRecord, ...]] = {}
        for rrset in self._changes:
            name = self._name(rrset.name)
            if name is None:
                # The network itself has SOA and NS records of berth's own, which stay (section 3.4.2.3).
                continue
            before = changed.get(name, existing.get(name, ()))
            changed[name] = self._after(rrset, name, before, zone)
        return changed

    # --- prerequisites (section 3.2) ----------------------------------------------------------------------------

    def _check(self, existing: RecordsByName, zone: Zone) -> None:
        wanted: dict[tuple[dns.name.Name, int], set[dns.rdata.Rdata]] = {}
        for rrset in self._prerequisites:
            self._check_form(rrset, is_prerequisite=True)
            if rrset.deleting is None:
                wanted.setdefault((rrset.name, int(rrset.rdtype)), set()).update(rrset)
                continue
            found = self._answered(rrset.name, existing, zone)
            must_exist = rrset.deleting == _ANY
            if rrset.rdtype == dns.rdatatype.ANY:
                if must_exist != bool(found):
                    rcode = dns.rcode.NXDOMAIN if must_exist else dns.rcode.YXDOMAIN
                    raise UpdateRefused(rcode, f"{rrset.name} {'has no records' if must_exist else 'has records'}")
            elif must_exist != (int(rrset.rdtype) in found):
                rcode = dns.rcode.NXRRSET if must_exist else dns.rcode.YXRRSET
                text = dns.rdatatype.to_text(rrset.rdtype)
                raise UpdateRefused(rcode, f"{rrset.name} {'has no' if must_exist else 'has'} records of type {text}")
        for (name, rtype), values in wanted.items():
            if self._answered(name, existing, zone).get(rtype, set()) != values:
                raise UpdateRefused(dns.rcode.NXRRSET, f"{name} has other records of type {record_text.type_text(rtype)}")

    def _answered(self, name: dns.name.Name, existing: RecordsByName, zone: Zone) -> dict[int, set[dns.rdata.Rdata]]:
        """Return the records that *name* has, by type; those of the network itself are SOA and NS, with no values to compare."""
        kept = self._name(name)
        if kept is None:
            return {int(dns.rdatatype.SOA): set(), int(dns.rdatatype.NS): set()}
        found: dict[int, set[dns.rdata.Rdata]] = {}
        for record in existing.get(kept, ()):
            found.setdefault(record.rtype, set()).add(_rdata(record.rtype, bytes.fromhex(record.data)))
        records = zone.look(names.from_text(kept))
        for rtype, values in zip(
            _ADDRESSES, (() if records is None else records.ipv4, () if records is None else records.ipv6), strict=True
        ):
            for value in values:
                found.setdefault(rtype, set()).add(_rdata(rtype, value))
        return found

    # --- the update (section 3.4) -------------------------------------------------------------------------------

    def _scan(self) -> None:
        for rrset in self._changes:
            self._check_form(rrset, is_prerequisite=False)

    def _check_form(self, rrset: dns.rrset.RRset, *, is_prerequisite: bool) -> None:
        if not rrset.name.is_subdomain(self._origin):
            raise UpdateRefused(dns.rcode.NOTZONE, f"{rrset.name} is not in {self._origin}")
        if (is_prerequisite or rrset.deleting is not None) and rrset.ttl:
            raise UpdateRefused(dns.rcode.FORMERR, f"{rrset.name}: the TTL must be 0 here")
        may_be_any = rrset.deleting == _ANY or (is_prerequisite and rrset.deleting == _NONE)
        if dns.rdatatype.is_metatype(rrset.rdtype) and not (rrset.rdtype == dns.rdatatype.ANY and may_be_any):
            raise UpdateRefused(dns.rcode.FORMERR, f"{rrset.name}: {dns.rdatatype.to_text(rrset.rdtype)} is no type of data")

    def _after(self, rrset: dns.rrset.RRset, name: str, before: tuple[StaticRecord, ...], zone: Zone) -> tuple[StaticRecord, ...]:
        if rrset.deleting == _ANY:
            return tuple(one for one in before if rrset.rdtype not in (dns.rdatatype.ANY, one.rtype))
        if rrset.deleting == _NONE:
            gone = set(rrset)
            return tuple(one for one in before if one.rtype != rrset.rdtype or _rdata(one.rtype, bytes.fromhex(one.data)) not in gone)
        return self._with(rrset, name, before, zone)

    def _with(self, rrset: dns.rrset.RRset, name: str, before: tuple[StaticRecord, ...], zone: Zone) -> tuple[StaticRecord, ...]:
        rtype = int(rrset.rdtype)
        if any((one.rtype == CNAME) != (rtype == CNAME) for one in before):
            # An alias stands alone; what does not fit beside it is passed over (section 3.4.2.2).
            return before
        try:
            record_text.check_type(rtype)
            record_text.check_place(name, rtype)
            record_text.read_ttl(rrset.ttl)
            records = zone.look(names.from_text(name))
            if records is not None and records.published and rtype in (*_ADDRESSES, CNAME, int(dns.rdatatype.SRV)):
                raise ValueError(f"{name} is the name of a sandbox, whose addresses and services can't be changed")
            after = tuple(one for one in before if one.rtype != CNAME)
            for rdata in rrset:
                known = next((one for one in after if one.rtype == rtype and _rdata(rtype, bytes.fromhex(one.data)) == rdata), None)
                data = known.data if known is not None else rdata.to_wire().hex()
                after = added(after, StaticRecord(name=name, rtype=rtype, data=data, ttl=rrset.ttl))
        except ValueError as error:
            raise UpdateRefused(dns.rcode.REFUSED, str(error)) from error
        return after

    def _name(self, name: dns.name.Name) -> str | None:
        """Return what is kept of *name*; None for the network itself."""
        if name == self._origin:
            return None
        text = name.relativize(self._origin).to_text()
        try:
            return record_text.read_name(f"{text}.{self._label}.{self._suffix}.", self._label, self._suffix)
        except ValueError as error:
            raise UpdateRefused(dns.rcode.REFUSED, str(error)) from error


@lru_cache(maxsize=4096)
def _rdata(rtype: int, wire: bytes) -> dns.rdata.Rdata:
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rtype), wire, 0, len(wire))
