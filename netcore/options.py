"""Driver options of a bridge network: Docker's labels and our short names, parsed to `BridgeOptions`. Pure.

Docker ignores a label it does not know (docker-behaviour BR-2); we refuse it by name, with the nearest known one.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeVar

from netcore import limits
from netcore.errors import InvalidRequest
from netcore.model import BridgeOptions, GatewayMode, IPAddress

BRIDGE = "com.docker.network.bridge."
DRIVER = "com.docker.network.driver."

SHORT_NAMES: dict[str, str] = {
    "name": BRIDGE + "name",
    "icc": BRIDGE + "enable_icc",
    "masquerade": BRIDGE + "enable_ip_masquerade",
    "host_binding": BRIDGE + "host_binding_ipv4",
    "gateway_mode_ipv4": BRIDGE + "gateway_mode_ipv4",
    "gateway_mode_ipv6": BRIDGE + "gateway_mode_ipv6",
    "inhibit_ipv4": BRIDGE + "inhibit_ipv4",
    "trusted_interfaces": BRIDGE + "trusted_host_interfaces",
    "default_bridge": BRIDGE + "default_bridge",
    "mtu": DRIVER + "mtu",
    "ifname_prefix": "com.docker.network.container_iface_prefix",
    "host_ipv4": "com.docker.network.host_ipv4",
    "host_ipv6": "com.docker.network.host_ipv6",
    "enable_ipv4": "com.docker.network.enable_ipv4",
    "enable_ipv6": "com.docker.network.enable_ipv6",
    "announcements": "com.docker.network.advertise_addr_nmsgs",
    "announcement_interval_ms": "com.docker.network.advertise_addr_ms",
    "ttl": "berth.ttl",
    "forward_single_label": "berth.forward_single_label",
    "allow_rebinding": "berth.allow_rebinding",
    "forward": "berth.forward",
}
"""Short name of `--opt` → label. Both are accepted; those of berth have no Docker label of their own meaning."""

# Docker's own historic spellings.
SYNONYMS = {BRIDGE + "mtu": DRIVER + "mtu", BRIDGE + "container_iface_prefix": SHORT_NAMES["ifname_prefix"]}


_T = TypeVar("_T")


def canonical_options(
    options: Mapping[str, str], known: Mapping[str, str] = SHORT_NAMES, *, field: str = "option", owner: str = "the bridge driver"
) -> dict[str, str]:
    """Return *options* of *owner* keyed by label; InvalidRequest names an unknown or doubled one as a *field*.

    *known*: short name → label.
    """
    labels = set(known.values())
    result: dict[str, str] = {}
    for key, value in options.items():
        label = known.get(key) or SYNONYMS.get(key) or key
        if label not in labels:
            near = difflib.get_close_matches(key, [*known, *labels], n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise InvalidRequest(f"{field} {key}", f"{owner} has no such option{hint}")
        if label in result:
            raise InvalidRequest(f"{field} {key}", f"given twice, also as {label}")
        result[label] = value
    return result


def parse_bridge_options(network_id: str, options: Mapping[str, str], *, egress_mtu: int) -> BridgeOptions:
    """Return the meaning of *options* for the network with *network_id*; InvalidRequest on a bad value."""
    labels = canonical_options(options)
    if _value(labels, "default_bridge", _boolean, False):
        raise InvalidRequest("option default_bridge", "the default bridge network can't be created by hand")
    name = _value(labels, "name", _ifname, f"br-{network_id[:12]}")
    binding = _value(labels, "host_binding", ip_address, None)
    return BridgeOptions(
        bridge_name=name,
        bridge_mac=stable_mac(f"bridge:{network_id}"),
        mtu=_value(labels, "mtu", _mtu, egress_mtu) or egress_mtu,
        icc=_value(labels, "icc", _boolean, True),
        masquerade=_value(labels, "masquerade", _boolean, True),
        host_binding=() if binding is None else (binding,),
        gateway_mode_ipv4=_value(labels, "gateway_mode_ipv4", _mode, GatewayMode.NAT),
        gateway_mode_ipv6=_value(labels, "gateway_mode_ipv6", _mode, GatewayMode.NAT),
        inhibit_ipv4=_value(labels, "inhibit_ipv4", _boolean, False),
        trusted_interfaces=_value(labels, "trusted_interfaces", _interfaces, ()),
        ifname_prefix=_value(labels, "ifname_prefix", _prefix, "eth"),
        snat_ipv4=_value(labels, "host_ipv4", IPv4Address, None),
        snat_ipv6=_value(labels, "host_ipv6", IPv6Address, None),
        announcements=_value(labels, "announcements", _between(0, 3), 3),
        announcement_interval_ms=_value(labels, "announcement_interval_ms", _between(100, 2000), 1000),
        ttl=_value(labels, "ttl", _between(0, 86_400), 5),
        forward_single_label=_value(labels, "forward_single_label", _boolean, True),
        allow_rebinding=_value(labels, "allow_rebinding", _boolean, False),
        forward=_value(labels, "forward", _forward, ()),
    )


def parse_forward(options: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the (domain, nameservers) pairs of *options*; InvalidRequest if they can't be read."""
    return _value(canonical_options(options), "forward", _forward, ())


def family_flags(options: Mapping[str, str], *, ipv4: bool | None, ipv6: bool | None) -> tuple[bool, bool]:
    """Return whether IPv4 and IPv6 are on: the flag, else the option, else Docker's default (docker-behaviour IP-30)."""
    labels = canonical_options(options)
    on4 = _value(labels, "enable_ipv4", _boolean, True) if ipv4 is None else ipv4
    on6 = _value(labels, "enable_ipv6", _boolean, False) if ipv6 is None else ipv6
    if not on4 and not on6:
        raise InvalidRequest("network", "IPv4 or IPv6 must be enabled; leave out --ipv4=false or add --ipv6")
    return on4, on6


def stable_mac(seed: str) -> str:
    """Return a locally administered unicast MAC derived from *seed*, so that a bridge keeps its address."""
    digest = hashlib.sha256(seed.encode()).digest()
    return ":".join(f"{octet:02x}" for octet in bytes([0x02, 0x42]) + digest[:4])


def check_ifname(field: str, name: str) -> str:
    """Return *name* if the kernel would take it as a link name; InvalidRequest otherwise."""
    if not 0 < len(name.encode()) <= limits.IFNAME_LENGTH or name in {".", ".."} or any(c in "/: \t\n%" for c in name):
        raise InvalidRequest(field, f"{name!r} is not a link name of 1 to {limits.IFNAME_LENGTH} octets without / : or space")
    return name


def _value(labels: Mapping[str, str], short: str, parse: Callable[[str], _T], default: _T) -> _T:
    label = SHORT_NAMES[short]
    if label not in labels:
        return default
    try:
        return parse(labels[label])
    except InvalidRequest:
        raise
    except ValueError as error:
        raise InvalidRequest(f"option {short}", f"{labels[label]!r}: {error}") from error


def _boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "t":
            return True
        case "false" | "0" | "f":
            return False
    raise ValueError("must be true or false")


def _ifname(text: str) -> str:
    return check_ifname("option name", text)


def _prefix(text: str) -> str:
    # Four digits of room: a sandbox never has more links than that.
    if len(text) > limits.IFNAME_LENGTH - 4:
        raise ValueError(f"at most {limits.IFNAME_LENGTH - 4} characters, a number follows")
    return check_ifname("option ifname_prefix", text)


def _interfaces(text: str) -> tuple[str, ...]:
    return tuple(check_ifname("option trusted_interfaces", name) for name in text.split(":") if name)


def _mode(text: str) -> GatewayMode:
    try:
        return GatewayMode(text)
    except ValueError:
        raise ValueError(f"must be one of {', '.join(GatewayMode)}") from None


def _mtu(text: str) -> int:
    value = int(text)
    # 0 is Docker's "unset"; 68 is IPv4's least (RFC 791), 65535 what a bridge takes.
    if value != 0 and not 68 <= value <= 65_535:
        raise ValueError("must be 0 (as the egress route) or 68 to 65535")
    return value


def _forward(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read `DOMAIN=SERVER,SERVER;DOMAIN=SERVER`. What a nameserver may look like is the resolver's to say."""
    result: dict[str, tuple[str, ...]] = {}
    for item in filter(None, (part.strip() for part in text.split(";"))):
        domain, _, servers = item.partition("=")
        given = tuple(filter(None, (server.strip() for server in servers.split(","))))
        if not domain.strip() or not given:
            raise ValueError(f"{item!r} must be DOMAIN=SERVER[,SERVER]; more domains follow behind a semicolon")
        if domain.strip() in result:
            raise ValueError(f"domain {domain.strip()} is given twice")
        result[domain.strip()] = given
    return tuple(result.items())


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"must be {low} to {high}")
        return value

    return parse


def parse_addresses(field: str, texts: tuple[str, ...]) -> tuple[IPAddress, ...]:
    """Return *texts* as addresses; InvalidRequest names the first that is none."""
    try:
        return tuple(ip_address(text) for text in texts)
    except ValueError as error:
        raise InvalidRequest(field, str(error)) from error
