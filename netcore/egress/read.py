"""Egress rules as users write them: `[deny:]TARGET[:PORT[-PORT]][/PROTOCOL]`. The one place that reads them. Pure.

Every error names the rule and what would be right. Names: RFC 1035 section 2.3.4, IDNA 2008 with the mapping of UTS 46.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv6Network, ip_network
from typing import Any, NoReturn

from netcore import limits
from netcore.egress.ports import PROTOCOLS
from netcore.egress.rules import WORDS, Below, Name, OwnNetwork, Prefix, Rule, SetName, Target, Wide
from netcore.errors import InvalidRequest, NetcoreError
from netcore.model import IPNetwork
from netcore.parse import addresses, names
from netcore.parse.problems import Problems

_Refuse = Callable[[str], NoReturn]
_DENY, _NETWORK = "deny:", "network:"
_OPTIONS = {"+private": "its addresses may be private", "+address": "they alone count, and not what is said to them"}
_CHECK = re.compile(r"check\s*=\s*[\"']?(\w+)[\"']?\Z")
CHECKS = ("name", "address")
"""What decides beside the address: the name that TLS and HTTP ask for, or nothing."""
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\Z")
_SET_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|\d+)\Z")
_SET_LENGTH = 64


def rules(texts: Iterable[str], field: str = "egress") -> tuple[Rule, ...]:
    """Return the rules that *texts* are, each once; a text may be several, with commas between. InvalidRequest names all that is wrong."""
    problems = Problems()
    found: dict[Rule, None] = {}
    for text in texts:
        for part in text.split(","):
            with problems.noted():
                found[rule(part, field)] = None
    problems.refuse()
    if len(found) > limits.EGRESS_RULES:
        raise InvalidRequest(field, f"{len(found)} rules; at most {limits.EGRESS_RULES}")
    return tuple(found)


def rule(text: str, field: str = "egress") -> Rule:
    """Return the rule that *text* is."""
    written = text.strip()

    def refuse(reason: str) -> NoReturn:
        raise InvalidRequest(f"{field} rule {written[:80]!r}", reason)

    if not written:
        refuse("is empty; write a target, as in packages.example.org or 10.1.0.0/16:5432")
    if len(written) > limits.EGRESS_RULE_LENGTH or not written.isprintable():
        refuse(f"must be one line of at most {limits.EGRESS_RULE_LENGTH} characters")
    if "://" in written or re.search(r"\s", written):
        refuse("write a name or an address and a port, as in packages.example.org:443, not a URL or a sentence")
    deny = written[: len(_DENY)].lower() == _DENY
    rest = written[len(_DENY) :] if deny else written
    target_text, ports_text, protocol = _split(rest, refuse)
    target_text, options = _options(target_text)
    target = _target(target_text, refuse)
    for option in options:
        if deny or not isinstance(target, Name | Below):
            refuse(f"{option} is for a name that is allowed: {_OPTIONS[option]}")
    if protocol is not None and protocol not in PROTOCOLS:
        refuse(f"{protocol!r} is none of the protocols {', '.join(PROTOCOLS)}; a path can't be part of a rule")
    first, last = _ports(ports_text, refuse) if ports_text is not None else (None, None)
    if isinstance(target, SetName) and (first is not None or protocol is not None):
        refuse("a list has no port: its rules have theirs")
    if target in (Wide.NONE, Wide.LEARN) and (deny or first is not None or protocol is not None):
        what = "the own networks and nothing else" if target is Wide.NONE else "everything, and records it"
        refuse(f"{target} stands alone: it allows {what}")
    private, by_address = "+private" in options, "+address" in options
    made = Rule(target=target, deny=deny, private=private, by_address=by_address, first=first, last=last, protocol=protocol)
    if not made.ports:
        refuse(f"{target} does not open port {first}; name the server by its address, as in 9.9.9.9:{first}")
    return made


def _options(target: str) -> tuple[str, list[str]]:
    """Return (target, what stands behind it with a plus)."""
    found: list[str] = []
    while (option := next((one for one in _OPTIONS if target.lower().endswith(one) and one not in found), None)) is not None:
        found.append(option)
        target = target[: -len(option)]
    return target, found


def _split(text: str, refuse: _Refuse) -> tuple[str, str | None, str | None]:
    """Return (target, ports, protocol) of a rule without its `deny:`."""
    if text.startswith("["):
        inner, bracket, behind = text[1:].partition("]")
        if not bracket:
            refuse("the bracket is not closed; write [2001:db8::1]:443 or [2001:db8::/32]:443")
        length, colon, ports = behind.partition(":")
        if length.startswith("/") and length[1:].isdecimal() and "/" not in inner:
            inner, length = inner + length, ""
        if not colon:
            protocol = length.removeprefix("/") if length else None
            if length and not length.startswith("/"):
                refuse("behind the bracket comes :PORT, as in [2001:db8::1]:443")
            return _bracketed(inner, refuse), None, protocol.lower() if protocol is not None else None
        if length:
            refuse("behind the bracket comes :PORT, as in [2001:db8::1]:443")
        ports, slash, protocol = ports.partition("/")
        return _bracketed(inner, refuse), ports, protocol.lower() if slash else None
    is_network = text[: len(_NETWORK)].lower() == _NETWORK
    head, rest = (text[: len(_NETWORK)], text[len(_NETWORK) :]) if is_network else ("", text)
    if rest.count(":") > 1:
        # An IPv6 address without a port; a protocol may follow its prefix length.
        address, slash, behind = rest.partition("/")
        if slash and not behind[:1].isdecimal():
            return address, None, behind.lower()
        length, slash2, protocol = behind.partition("/")
        return f"{address}{slash}{length}", None, protocol.lower() if slash2 else None
    target, colon, ports = rest.partition(":")
    if colon:
        ports, slash, protocol = ports.partition("/")
        return head + target, ports, protocol.lower() if slash else None
    target, slash, behind = rest.partition("/")
    if slash and behind[:1].isdecimal():
        length, slash, protocol = behind.partition("/")
        return f"{target}/{length}", None, protocol.lower() if slash else None
    return head + target, None, behind.lower() if slash else None


def _bracketed(text: str, refuse: _Refuse) -> str:
    if ":" not in text:
        refuse("brackets are for IPv6 addresses, as in [2001:db8::1]:443")
    return text


def _ports(text: str, refuse: _Refuse) -> tuple[int, int]:
    match = _PORTS.match(text)
    if match is None:
        refuse(f"{text!r} is not a port or a range like 8000-8010")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= 65_535:
        refuse(f"{text!r}: ports are 1 to 65535, the lower one first")
    return first, last


def _target(text: str, refuse: _Refuse) -> Target:
    lower = text.lower()
    if not text:
        refuse("has no target; write one, as in packages.example.org:443")
    if lower in WORDS:
        return Wide(lower)
    if text.startswith("@"):
        return SetName(_set_name(text[1:], refuse))
    if lower.startswith(_NETWORK):
        name = text[len(_NETWORK) :]
        try:
            return OwnNetwork(names.check_object_name("network", name))
        except NetcoreError:
            refuse("network: is followed by the name of a network, as in network:build")
    network = _network(text, refuse)
    return Prefix(network) if network is not None else _name(text, refuse)


def _set_name(name: str, refuse: _Refuse) -> str:
    if name.startswith((".", "/", "~")) or "/" in name:
        refuse("a file is read by the command line alone, as in `berth run --egress @./list.txt`")
    if not _SET_NAME.match(name) or len(name) > _SET_LENGTH:
        refuse(f"@ is followed by the name of a list: letters, digits, _ . and -, at most {_SET_LENGTH}")
    return name


def _network(text: str, refuse: _Refuse) -> IPNetwork | None:
    """Return the addresses that *text* is, None if it has not their form."""
    address, slash, length = text.partition("/")
    last_label = address.rstrip(".").rpartition(".")[2].lower()
    if ":" not in address and not slash and not _NUMBER.match(last_label):
        return None
    if "%" in address:
        refuse("an address with a zone is of one link only; write it without %")
    if ":" in length:
        refuse(f"an IPv6 address with a port is in brackets, as in [{address}/{length.replace(':', ']:', 1)}")
    if slash and not (length.isascii() and length.isdecimal()):
        refuse(f"/{length} is no prefix length")
    try:
        if not slash:
            return ip_network(addresses.read(address))
        network = ip_network(f"{address}/{length}", strict=False)
    except ValueError:
        what = "IPv6" if ":" in address else "IPv4"
        refuse(f"{text!r} is no {what} address or prefix; write one as in {'2001:db8::/32' if what == 'IPv6' else '10.1.0.0/16'}")
    if isinstance(network, IPv6Network) and addresses.is_mapped(network):
        refuse(f"{network} holds IPv4-mapped addresses only; write the IPv4 prefix")
    if str(network.network_address) != str(ip_network(address).network_address):
        refuse(f"{text} has bits behind its prefix; did you mean {network}?")
    return network


def _name(text: str, refuse: _Refuse) -> Name | Below:
    is_below, rest = text.startswith("*."), text.removeprefix("*.")
    if text in ("*", "*."):
        refuse("* alone is no name; write public, or all")
    if "*" in rest:
        refuse("* stands for all labels in front, as in *.example.org, and nowhere else")
    name = ascii_name(rest)
    if name is None:
        refuse(f"{rest!r} is no domain name: labels of letters, digits and hyphens, at most 63 each and 253 in all")
    return Below(name) if is_below else Name(name)


def ascii_name(text: str) -> str | None:
    """Return a domain name in lower case, in its ASCII form and without the dot at its end; None if it is none."""
    name = text.lower()
    if not name.isascii():
        import idna  # Only where it is needed: its tables take a while to load.

        try:
            name = idna.encode(text, uts46=True).decode("ascii").lower()
        except (idna.IDNAError, UnicodeError):
            return None
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(len(label) <= 63 and _LABEL.match(label) for label in labels):
        return None
    return None if _NUMBER.match(labels[-1]) else name


# --- other forms --------------------------------------------------------------------------------------------------


def lines(text: str, field: str) -> tuple[Rule, ...]:
    """Return the rules of a file: one a line or several with commas, # begins a comment; see `check_of`."""
    written, check = check_of(text, field)
    return with_check(rules(written, field), check)


def check_of(text: str, field: str) -> tuple[list[str], str]:
    """Return the lines of a file with rules, and which of CHECKS it has for all of them: a line may be `check = "address"`."""
    found = [part for part in (line.partition("#")[0].strip() for line in text.splitlines()) if part]
    said = [match[1] for match in map(_CHECK.match, found) if match is not None]
    if len(said) > 1 or not set(said) <= set(CHECKS):
        raise InvalidRequest(field, f'check is there once, and {" or ".join(CHECKS)}, as in check = "address"')
    return [line for line in found if not _CHECK.match(line)], said[0] if said else CHECKS[0]


def with_check(given: Iterable[Rule], check: str) -> tuple[Rule, ...]:
    """Return *given*; with `address` as *check* the address alone counts for all names that they allow."""
    if check == CHECKS[0]:
        return tuple(given)
    return tuple(replace(one, by_address=True) if isinstance(one.target, Name | Below) and not one.deny else one for one in given)


def to_json(made: Rule) -> dict[str, Any]:
    """Return a rule as the API and `--format json` show it: its text, and its parts."""
    shown: dict[str, Any] = {"rule": str(made), "target": str(made.target), "action": "deny" if made.deny else "allow"}
    shown |= {"private": True} if made.private else {}
    shown |= {"check": "address"} if made.by_address else {}
    shown |= {"ports": [made.first, made.last]} if made.first is not None else {}
    return shown | ({"protocol": made.protocol} if made.protocol is not None else {})


def from_json(value: object, field: str = "egress") -> Rule:
    """Return the rule that `to_json` wrote, or that a text is; of an object with `rule` that alone counts."""
    if isinstance(value, str):
        return rule(value, field)
    if not isinstance(value, Mapping):
        raise InvalidRequest(field, "a rule is a text, or an object with target, action, ports, protocol, private and check")
    if isinstance(value.get("rule"), str):
        return rule(value["rule"], field)
    known = ("target", "action", "ports", "protocol", "private", "check", "rule")
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise InvalidRequest(field, f"{key!s:.40} is no part of a rule" + (f"; did you mean {near[0]}?" if near else ""))
    target, ports, action = value.get("target"), value.get("ports"), value.get("action", "allow")
    if not isinstance(target, str) or action not in ("allow", "deny"):
        raise InvalidRequest(field, "an object needs a target, and as action allow or deny")
    if value.get("check", CHECKS[0]) not in CHECKS:
        raise InvalidRequest(field, f"check is {' or '.join(CHECKS)}")
    text = f"{target}{'+private' if value.get('private') is True else ''}{'+address' if value.get('check') == 'address' else ''}"
    if ports is not None:
        if not (isinstance(ports, list) and 1 <= len(ports) <= 2 and all(type(port) is int for port in ports)):
            raise InvalidRequest(field, "ports is a list of one port, or of the first and the last")
        text = f"[{text}]" if text.count(":") > 1 and not text.lower().startswith(_NETWORK) else text
        text += ":" + "-".join(map(str, ports))
    if value.get("protocol") is not None:
        text += f"/{value['protocol']}"
    return rule(f"{_DENY if action == 'deny' else ''}{text}", field)
