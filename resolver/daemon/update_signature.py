"""Whether an update (RFC 2136) is signed by one of our keys (TSIG, RFC 8945): found out before anything else of it is read.

Whoever has no key can send updates too, and to read one of 64 KB takes most of a second.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import dns.exception
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.tsig

from resolver import limits
from resolver.errors import DecodeError
from resolver.wire.message import HEADER, OPCODE, QR, RA, read_question, skip_name

_TSIG = int(dns.rdatatype.TSIG)
_FUDGE = 300
_RECORD = struct.Struct("!HHIH")


def refusal(octets: bytes, keys: Mapping[dns.name.Name, dns.tsig.Key], clock: float) -> tuple[bytes, str] | None:
    """Return the response to an update that is not signed by one of *keys* or has no form, with the reason; None if all is well."""
    try:
        found = _last_record(octets)
        if found is None:
            return bare(octets, dns.rcode.REFUSED), "it is not signed; use a key of update_keys"
        at, data = found
        owner, _ = dns.name.from_wire(octets, at)
        length = int.from_bytes(octets[data - 2 : data], "big")
        rdata = dns.rdata.from_wire(dns.rdataclass.ANY, dns.rdatatype.TSIG, octets, data, length)
    except (DecodeError, dns.exception.DNSException, ValueError, struct.error, IndexError):
        return bare(octets, dns.rcode.FORMERR), "it has no form"
    except _TooManyError as error:
        return bare(octets, dns.rcode.REFUSED), str(error)
    if not isinstance(rdata, dns.rdtypes.ANY.TSIG.TSIG):
        return bare(octets, dns.rcode.FORMERR), "it has no form"
    key = keys.get(owner)
    if key is None:
        return _unverified(octets, dns.rcode.BADKEY, owner, rdata, clock), f"no key of update_keys is called {owner}"
    try:
        dns.tsig.validate(octets, key, owner, rdata, int(clock), b"", at)  # type: ignore[no-untyped-call]
    except dns.tsig.BadTime:
        return _unverified(octets, dns.rcode.BADTIME, owner, rdata, clock), "its time is not that of this host"
    except (dns.exception.DNSException, NotImplementedError):
        return _unverified(octets, dns.rcode.BADSIG, owner, rdata, clock), "its signature is wrong"
    return None


class _TooManyError(Exception):
    """An update has more records than are carried out."""


def _last_record(octets: bytes) -> tuple[int, int] | None:
    """Return where the last record, a TSIG one, begins, and where its data do; None if it is another one, or there is none."""
    _, _, zones, *counts = HEADER.unpack_from(octets)
    if zones != 1:
        raise DecodeError(4, "not one zone")
    count = sum(counts)
    if count > limits.UPDATE_RECORDS:
        raise _TooManyError(f"it has {count} records; at most {limits.UPDATE_RECORDS} are carried out at once")
    _, _, _, at = read_question(octets)
    begin = data = rtype = rclass = ttl = 0
    for _ in range(count):
        begin, at = at, skip_name(octets, at)
        rtype, rclass, ttl, length = _RECORD.unpack_from(octets, at)
        data = at + _RECORD.size
        at = data + length
    if at != len(octets):
        raise DecodeError(at, "the last record is cut off, or octets follow it")
    if not counts[2] or rtype != _TSIG:
        return None
    if rclass != dns.rdataclass.ANY or ttl:
        raise DecodeError(begin, "a TSIG record has the class ANY and no TTL")
    return begin, data


def bare(octets: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """Return a response without records and without signature."""
    identity, flags, *_ = HEADER.unpack_from(octets)
    return HEADER.pack(identity, QR | RA | flags & OPCODE | rcode, 0, 0, 0, 0)


def _unverified(octets: bytes, error: dns.rcode.Rcode, owner: dns.name.Name, tsig: dns.rdtypes.ANY.TSIG.TSIG, clock: float) -> bytes:
    """Return NOTAUTH with the reason in a TSIG record that is not signed (RFC 8945 section 5.3.2)."""
    now = int(clock)
    other = now.to_bytes(6, "big") if error == dns.rcode.BADTIME else b""
    rdata = dns.rdtypes.ANY.TSIG.TSIG(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY, dns.rdatatype.TSIG, tsig.algorithm, now, _FUDGE, b"", tsig.original_id, error, other
    ).to_wire()
    name = owner.to_wire()
    assert rdata is not None
    assert name is not None
    head = struct.pack("!HHIH", _TSIG, int(dns.rdataclass.ANY), 0, len(rdata))
    return bare(octets, dns.rcode.NOTAUTH)[:10] + b"\0\1" + name + head + rdata
