"""Options of networks: how one is declared, those of every driver, and the readers of their values. Pure.

An option is declared once, as a row of a table: `COMMON` here for every driver, and `options` of each driver for its own.
The parser, the list of names, the help and the documentation are made from these rows. Docker ignores a label it does not
know (rule BR-2); we refuse it by name, with the nearest known one.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Generic, TypeVar

from netcore import limits
from netcore.common_options import CommonOptions
from netcore.errors import InvalidRequest
from netcore.model import DEFAULT_BRIDGE, GATEWAY_BRIDGE, IPAddress
from netcore.parse import addresses, names

DRIVER = "com.docker.network.driver."

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)  # no slots: with them Python 3.11 can't make an Option[int](...)
class Option(Generic[_T]):
    """One option: the short name and Docker's label, both accepted, its meaning in one line, and how its value is read.

    An option that Docker does not have has a label of berth's. *parse* raises ValueError for a value that is wrong.
    *default_text*: the default in words, where *default* alone does not tell. *synonyms*: further labels of Docker's.
    """

    name: str
    label: str
    meaning: str
    parse: Callable[[str], _T]
    default: _T
    default_text: str | None = None
    synonyms: tuple[str, ...] = ()

    def of(self, labels: Mapping[str, str]) -> _T:
        """Return the value that *labels* give the option, else the default; InvalidRequest if the value is wrong."""
        text = labels.get(self.label)
        if text is None:
            return self.default
        try:
            return self.parse(text)
        except ValueError as error:
            raise InvalidRequest(f"option {self.name}", f"{text!r}: {error}") from error

    def described(self) -> str:
        """Return the meaning, with the default in brackets if there is one."""
        match self.default:
            case _ if self.default_text is not None:
                default = self.default_text
            case bool() as on:
                default = "true" if on else "false"
            case None | "" | ():
                return self.meaning
            case other:
                default = str(other)
        return f"{self.meaning} ({default})"


# --- readers of values: each raises ValueError that says what would be right --------------------------------------


def boolean(text: str) -> bool:
    """Read Docker's spellings of a truth value."""
    match text.lower():
        case "true" | "1" | "t":
            return True
        case "false" | "0" | "f":
            return False
    raise ValueError("must be true or false")


def between(low: int, high: int) -> Callable[[str], int]:
    """Return the reader of a whole number from *low* to *high*."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ValueError(f"must be {low} to {high}")
        return value

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Return the reader of one of *choices*."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def link_name(text: str) -> str:
    """Read a name that the kernel would take for a link."""
    if not 0 < len(text.encode()) <= limits.IFNAME_LENGTH or text in {".", ".."} or any(c in "/: \t\n%" for c in text):
        raise ValueError(f"a link name has 1 to {limits.IFNAME_LENGTH} octets, without / : % or space")
    return text


def address(text: str) -> IPAddress:
    """Read an address of either family."""
    try:
        return addresses.read(text)
    except ValueError:
        raise ValueError("must be an IP address") from None


def address4(text: str) -> IPv4Address:
    """Read an IPv4 address."""
    found = address(text)
    if not isinstance(found, IPv4Address):
        raise ValueError("must be an IPv4 address")
    return found


def address6(text: str) -> IPv6Address:
    """Read an IPv6 address."""
    found = address(text)
    if not isinstance(found, IPv6Address):
        raise ValueError("must be an IPv6 address")
    return found


def _mtu(text: str) -> int:
    # 0 is Docker's "unset"; 68 is IPv4's least (RFC 791), 65535 what a bridge takes.
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value != 0 and not 68 <= value <= 65_535:
        raise ValueError("must be 0 (that of the egress route) or 68 to 65535")
    return value


def _prefix(text: str) -> str:
    # Four digits of room: a sandbox never has more links than that.
    if len(text) > limits.IFNAME_LENGTH - 4:
        raise ValueError(f"must have at most {limits.IFNAME_LENGTH - 4} characters, because a number follows")
    return link_name(text)


def _forward(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read `DOMAIN=SERVER,SERVER;DOMAIN=SERVER`. The resolver checks what a name server may look like."""
    result: dict[str, tuple[str, ...]] = {}
    for rule in filter(None, (part.strip() for part in text.split(";"))):
        domain_text, _, servers_text = rule.partition("=")
        domain = domain_text.strip()
        servers = tuple(filter(None, (server.strip() for server in servers_text.split(","))))
        if not domain or not servers:
            raise ValueError("must be DOMAIN=SERVER[,SERVER], with a semicolon before the next domain")
        if domain in result:
            raise ValueError(f"domain {domain} is given twice")
        result[domain] = servers
    return tuple(result.items())


def _networks(text: str) -> tuple[str, ...]:
    """Read names of networks, with commas between."""
    found = tuple(filter(None, (part.strip() for part in text.split(","))))
    for name in found:
        if name in _WITHOUT_NAMES:
            raise ValueError(f"the network {name} has no names")
        try:
            names.check_object_name("network", name)
        except InvalidRequest as error:
            raise ValueError(f"must be names of networks, with commas between; {error.reason}") from error
    return tuple(dict.fromkeys(found))


_WITHOUT_NAMES = (DEFAULT_BRIDGE, GATEWAY_BRIDGE, "host", "none")


COMMON: tuple[Option[Any], ...] = (
    MTU := Option[int](
        name="mtu",
        label=DRIVER + "mtu",
        meaning="MTU of the network's links",
        parse=_mtu,
        default=0,
        default_text="that of the egress route, or of the parent",
        synonyms=("com.docker.network.bridge.mtu",),
    ),
    IFNAME_PREFIX := Option[str](
        name="ifname_prefix",
        label="com.docker.network.container_iface_prefix",
        meaning="prefix of the names of links in sandboxes; a number follows",
        parse=_prefix,
        default="eth",
        synonyms=("com.docker.network.bridge.container_iface_prefix",),
    ),
    ENABLE_IPV4 := Option[bool](
        name="enable_ipv4", label="com.docker.network.enable_ipv4", meaning="same as --ipv4", parse=boolean, default=True
    ),
    ENABLE_IPV6 := Option[bool](
        name="enable_ipv6", label="com.docker.network.enable_ipv6", meaning="same as --ipv6", parse=boolean, default=False
    ),
    ANNOUNCEMENTS := Option[int](
        name="announcements",
        label="com.docker.network.advertise_addr_nmsgs",
        meaning="how often a new address is announced by gratuitous ARP or unsolicited NA, 0 to 3 times",
        parse=between(0, 3),
        default=3,
    ),
    ANNOUNCEMENT_INTERVAL := Option[int](
        name="announcement_interval_ms",
        label="com.docker.network.advertise_addr_ms",
        meaning="milliseconds between two announcements",
        parse=between(100, 2000),
        default=1000,
    ),
    TTL := Option[int](
        name="ttl", label="berth.ttl", meaning="TTL of the network's names, in seconds", parse=between(0, 86_400), default=5
    ),
    FORWARD_SINGLE_LABEL := Option[bool](
        name="forward_single_label",
        label="berth.forward_single_label",
        meaning="forward queries for unknown names of one label; if false they are answered with NXDOMAIN",
        parse=boolean,
        default=True,
    ),
    ALLOW_REBINDING := Option[bool](
        name="allow_rebinding",
        label="berth.allow_rebinding",
        meaning="outside name servers may answer with addresses in networks of this host",
        parse=boolean,
        default=False,
    ),
    FORWARD := Option[tuple[tuple[str, tuple[str, ...]], ...]](
        name="forward",
        label="berth.forward",
        meaning="name servers for the names below a domain, as in corp.example=10.0.0.53,10.0.0.54;lab.test=10.0.0.60",
        parse=_forward,
        default=(),
    ),
    NAMES_FROM := Option[tuple[str, ...]](
        name="names_from",
        label="berth.names_from",
        meaning="networks whose names are found on this one too, after its own, with commas between",
        parse=_networks,
        default=(),
    ),
    NAMES_TO := Option[tuple[str, ...] | None](
        name="names_to",
        label="berth.names_to",
        meaning="networks that may find this one's names by their names_from, with commas between",
        parse=_networks,
        default=None,
        default_text="all; none for an internal network",
    ),
    HOST_NAMES := Option[bool | None](
        name="host_names",
        label="berth.host_names",
        meaning="the host finds this network's names, where the setting host_listen is set",
        parse=boolean,
        default=None,
        default_text="true; false for an internal network",
    ),
)
"""The options of every driver."""


def canonical_options(given: Mapping[str, str], known: Sequence[Option[Any]], *, field: str, owner: str) -> dict[str, str]:
    """Return *given*, options of *owner* by short name or label, keyed by label.

    InvalidRequest names an option that is not among *known*, or is given twice, as a *field*.
    """
    labels = {spelling: option.label for option in known for spelling in (option.name, option.label, *option.synonyms)}
    result: dict[str, str] = {}
    for key, value in given.items():
        label = labels.get(key)
        if label is None:
            near = difflib.get_close_matches(key, labels, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(option.name for option in known)}"
            raise InvalidRequest(f"{field} {key}", f"{owner} has no such option{hint}")
        if label in result:
            raise InvalidRequest(f"{field} {key}", f"given twice, also as {label}")
        result[label] = value
    return result


def parse_common(labels: Mapping[str, str], *, mtu: int) -> CommonOptions:
    """Return what *labels* mean whatever the driver is. *mtu*: the one to use unless they give another."""
    return CommonOptions(
        mtu=MTU.of(labels) or mtu,
        ifname_prefix=IFNAME_PREFIX.of(labels),
        announcements=ANNOUNCEMENTS.of(labels),
        announcement_interval_ms=ANNOUNCEMENT_INTERVAL.of(labels),
        ttl=TTL.of(labels),
        forward_single_label=FORWARD_SINGLE_LABEL.of(labels),
        allow_rebinding=ALLOW_REBINDING.of(labels),
        forward=FORWARD.of(labels),
        names_from=NAMES_FROM.of(labels),
        names_to=NAMES_TO.of(labels),
        host_names=HOST_NAMES.of(labels),
    )


def parse_forward(given: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the (domain, name servers) pairs of *given*, keyed by label or short name; InvalidRequest if they can't be read."""
    return FORWARD.of({FORWARD.label: given.get(FORWARD.label, given.get(FORWARD.name, ""))})


def family_flags(labels: Mapping[str, str], *, ipv4: bool | None, ipv6: bool | None) -> tuple[bool, bool]:
    """Return whether IPv4 and IPv6 are on: the flag, else the option, else Docker's default (rule IP-30)."""
    return ENABLE_IPV4.of(labels) if ipv4 is None else ipv4, ENABLE_IPV6.of(labels) if ipv6 is None else ipv6


def stable_mac(seed: str) -> str:
    """Return a locally administered unicast MAC derived from *seed*, so that a bridge keeps its address."""
    digest = hashlib.sha256(seed.encode()).digest()
    return ":".join(f"{octet:02x}" for octet in bytes([0x02, 0x42]) + digest[:4])


def check_ifname(field: str, name: str) -> str:
    """Return *name* if the kernel would take it as a link name; InvalidRequest otherwise."""
    try:
        return link_name(name)
    except ValueError as error:
        raise InvalidRequest(field, f"{name!r}: {error}") from error


def parse_addresses(field: str, texts: tuple[str, ...]) -> tuple[IPAddress, ...]:
    """Return *texts* as addresses; InvalidRequest names the first that is none."""
    result = []
    for text in texts:
        try:
            result.append(address(text))
        except ValueError as error:
            raise InvalidRequest(field, f"{text!r}: {error}") from error
    return tuple(result)
