"""Static records as people write them, and back. By dnspython, which knows the types. Pure.

What is refused raises ValueError that says what would be right.
"""

from __future__ import annotations

import difflib
from ipaddress import ip_address

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from resolver import limits
from resolver.errors import BadName
from resolver.wire import name as names
from resolver.zone.static_names import WILDCARD, StaticRecord

_TARGETS = {
    "CNAME": ("target",), "PTR": ("target",), "SRV": ("target",), "SVCB": ("target",), "HTTPS": ("target",), "MX": ("exchange",),
    "KX": ("exchange",), "AFSDB": ("hostname",), "RT": ("exchange",), "NAPTR": ("replacement",), "RP": ("mbox", "txt"),
    "PX": ("map822", "mapx400"), "LP": ("fqdn",),
}  # fmt: skip
"""Type → the fields of its data that are names and may be written in short."""
_NOT_SERVED = {
    "SOA": "berth makes it for each network",
    "NS": "berth answers for the whole network itself; `--opt forward=DOMAIN=SERVER` of the network sends a domain to another server",
    "DNAME": "write a CNAME for each name, or one for a wildcard such as *.app",
    **dict.fromkeys(
        ("RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "DS", "CDS", "CDNSKEY", "DLV", "KEY", "SIG", "NXT", "ZONEMD"),
        "the names of networks are not signed",
    ),
    **dict.fromkeys(
        ("ANY", "AXFR", "IXFR", "MAILA", "MAILB", "OPT", "TSIG", "TKEY", "TYPE0", "NONE", "NULL"),
        "it is no type of data; try A, CNAME or TXT",
    ),
}
_TEXT_TYPES = ("TXT", "SPF", "AVC", "NINFO", "WALLET", "RESINFO")
_STRING = 255
"""Octets of one character-string (RFC 1035 section 3.3)."""
_SPECIAL = ("localhost", "invalid", "onion")
_COMMON = ("A", "AAAA", "CAA", "CNAME", "HTTPS", "LOC", "MX", "NAPTR", "PTR", "SRV", "SSHFP", "SVCB", "TLSA", "TXT", "URI")


def read_name(text: str, label: str, suffix: str, *, may_be_address: bool = False) -> str:
    """Return what is kept of the name *text*: in lower case, without the network's name *label* and the *suffix* behind it.

    *may_be_address*: an address stands for its reverse-mapping name.
    """
    if may_be_address:
        try:
            return names.to_text(names.reverse(ip_address(text)))[:-1]
        except ValueError:
            pass
    lower = text.lower()
    is_full = lower.endswith(".")
    name = lower.removesuffix(".")
    if not text or text == "@" or name in (label.lower(), f"{label}.{suffix}".lower()):
        raise ValueError(f"{text!r} is the network itself; give a name on it, such as www")
    if not name.endswith((".in-addr.arpa", ".ip6.arpa")):
        for domain in (f".{label}.{suffix}".lower(), f".{label}".lower()):
            if name.endswith(domain):
                name = name[: -len(domain)]
                break
        else:
            if is_full:
                raise ValueError(f"{text} is not on this network; give a name such as www or www.{label}.{suffix}.")
    return _checked(text, name, label, suffix)


def _checked(text: str, name: str, label: str, suffix: str) -> str:
    try:
        wire = names.from_text(name)
        names.from_text(f"{name}.{label}.{suffix}")
    except BadName as error:
        raise ValueError(f"{error.reason}; write international names in their xn-- form") from error
    if any(not 0x20 < ord(char) < 0x7F or char in '\\"' for char in name):
        raise ValueError(f"{text!r} must be printable ASCII; write international names in their xn-- form")
    if wire == WILDCARD + names.ROOT:
        raise ValueError("* alone would take every name there is; give a domain with it, such as *.app")
    if names.is_address_form(name):
        raise ValueError(f"C libraries take {text} for an address and never look it up")
    if name.rpartition(".")[2] in _SPECIAL:
        raise ValueError(f"names that end in {name.rpartition('.')[2]} have a meaning of their own (RFC 6761); choose another")
    return name


def read_type(text: str) -> int:
    """Return the number of the record type *text*."""
    try:
        rtype = dns.rdatatype.from_text(text)
    except (dns.rdatatype.UnknownRdatatype, ValueError) as error:
        near = difflib.get_close_matches(text.upper(), _COMMON, n=1)
        hint = f"did you mean {near[0]}?" if near else f"common ones are {', '.join(_COMMON)}"
        raise ValueError(f"{text!r:.40} is no record type; {hint}") from error
    check_type(rtype)
    return int(rtype)


def check_type(rtype: int) -> None:
    """Raise ValueError if records of the type *rtype* can't be kept."""
    text = type_text(rtype)
    reason = _NOT_SERVED.get(text) or (_NOT_SERVED["ANY"] if dns.rdatatype.is_metatype(dns.rdatatype.RdataType.make(rtype)) else None)
    if reason is not None:
        raise ValueError(f"{text} records can't be added: {reason}")


def type_text(rtype: int) -> str:
    """Return what a record type is called."""
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rtype))


def read_data(rtype: int, text: str, label: str, suffix: str) -> str:
    """Return the data *text* of a record in wire form, as hexadecimal digits.

    A target of one label, or one that ends in *label* without a dot behind it, is on that network, and becomes a full name below
    *suffix*. Any other is a full name already.
    """
    kind = type_text(rtype)
    if kind in _TEXT_TYPES and not text.lstrip().startswith(('"', "\\#")):
        text = _quoted(text)
    try:
        data = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rtype), text, relativize=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{text!r:.80} is no data of a {kind} record; write it like {_examples(kind)} ({error})") from error
    full = {field: _full(getattr(data, field), label, suffix) for field in _TARGETS.get(kind, ()) if hasattr(data, field)}
    wire = (data.replace(**full) if full else data).to_wire()
    assert wire is not None
    if len(wire) > limits.STATIC_DATA:
        raise ValueError(f"has {len(wire)} octets of data; at most {limits.STATIC_DATA} are kept for a name and type")
    return wire.hex()


def data_text(rtype: int, data: str) -> str:
    """Return the *data* of a record as in a zone file (RFC 1035 section 5)."""
    wire = bytes.fromhex(data)
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rtype), wire, 0, len(wire)).to_text()


def read_ttl(ttl: int | None) -> int | None:
    """Return *ttl* if it can be one."""
    if ttl is not None and not 0 <= ttl <= limits.LONGEST_TTL:
        raise ValueError(f"{ttl} must be 0 to {limits.LONGEST_TTL} seconds")
    return ttl


def read(name: str, rtype: str, value: str, ttl: int | None, *, label: str, suffix: str) -> StaticRecord:
    """Return the record that is written so for the network called *label*, below *suffix*."""
    number = read_type(rtype)
    is_pointer = number == dns.rdatatype.PTR
    kept = read_name(name, label, suffix, may_be_address=is_pointer)
    check_place(kept, number)
    return StaticRecord(name=kept, rtype=number, data=read_data(number, value, label, suffix), ttl=read_ttl(ttl))


def check_place(name: str, rtype: int) -> None:
    """Raise ValueError if a name can't have records of this type: of reverse mapping there are pointers only."""
    if rtype != dns.rdatatype.PTR and name.endswith((".in-addr.arpa", ".ip6.arpa")):
        raise ValueError(f"{name} maps an address to a name; its records have the type PTR")


def _quoted(text: str) -> str:
    """Return *text*, which a shell has taken the quotes off, as character-strings."""
    octets = text.encode()
    parts = [octets[at : at + _STRING] for at in range(0, len(octets), _STRING)] or [b""]
    return " ".join(f'"{"".join(map(_escaped, part))}"' for part in parts)


def _escaped(octet: int) -> str:
    char = chr(octet)
    return f"\\{char}" if char in '"\\' else char if 0x20 <= octet < 0x7F else f"\\{octet:03d}"


def _full(target: dns.name.Name, label: str, suffix: str) -> dns.name.Name:
    if target.is_absolute():
        return target
    network = dns.name.from_text(label, None)
    if target.is_subdomain(network) and target != network:
        return target.concatenate(dns.name.from_text(suffix))
    if len(target) == 1:
        return target.concatenate(dns.name.from_text(f"{label}.{suffix}"))
    return target.concatenate(dns.name.root)


_EXAMPLES = {
    "A": "10.0.0.5", "AAAA": "fd00::5", "CAA": '0 issue "ca.example"', "CNAME": "web", "HTTPS": "1 . alpn=h2",
    "LOC": "52 22 23.0 N 4 53 32.0 E 0m",
    "MX": "10 mail", "NAPTR": '100 10 "S" "SIP+D2U" "" _sip._udp.example.', "PTR": "web", "SRV": "0 5 5060 web", "SSHFP": "4 2 HEX",
    "SVCB": "1 web alpn=h2 port=8443", "TLSA": "3 1 1 HEX", "TXT": '"some text"', "URI": '10 1 "https://example.org/"',
}  # fmt: skip


def _examples(kind: str) -> str:
    return _EXAMPLES.get(kind, r"\# LENGTH HEX")
