"""Options of networks: Docker's labels and our short names, parsed to `CommonOptions` and those of each driver. Pure.

Docker ignores a label it does not know (docker-behaviour BR-2); we refuse it by name, with the nearest known one.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeVar

from netcore import limits
from netcore.errors import Conflict, InvalidRequest
from netcore.model import BridgeOptions, CommonOptions, GatewayMode, IPAddress, Makes, ParentOptions, VxlanOptions

BRIDGE = "com.docker.network.bridge."
DRIVER = "com.docker.network.driver."

COMMON_NAMES: dict[str, str] = {
    "mtu": DRIVER + "mtu",
    "ifname_prefix": "com.docker.network.container_iface_prefix",
    "enable_ipv4": "com.docker.network.enable_ipv4",
    "enable_ipv6": "com.docker.network.enable_ipv6",
    "announcements": "com.docker.network.advertise_addr_nmsgs",
    "announcement_interval_ms": "com.docker.network.advertise_addr_ms",
    "ttl": "berth.ttl",
    "forward_single_label": "berth.forward_single_label",
    "allow_rebinding": "berth.allow_rebinding",
    "forward": "berth.forward",
}
BRIDGE_NAMES: dict[str, str] = {
    "name": BRIDGE + "name",
    "icc": BRIDGE + "enable_icc",
    "masquerade": BRIDGE + "enable_ip_masquerade",
    "host_binding": BRIDGE + "host_binding_ipv4",
    "gateway_mode_ipv4": BRIDGE + "gateway_mode_ipv4",
    "gateway_mode_ipv6": BRIDGE + "gateway_mode_ipv6",
    "inhibit_ipv4": BRIDGE + "inhibit_ipv4",
    "trusted_interfaces": BRIDGE + "trusted_host_interfaces",
    "default_bridge": BRIDGE + "default_bridge",
    "host_ipv4": "com.docker.network.host_ipv4",
    "host_ipv6": "com.docker.network.host_ipv6",
}
OVERLAY_NAMES: dict[str, str] = {
    "vni": DRIVER + "overlay.vxlanid_list",
    "vxlan_port": "berth.vxlan_port",
    "encrypted": "encrypted",
}
MACVLAN_NAMES: dict[str, str] = {"parent": "parent", "macvlan_mode": "macvlan_mode"}
IPVLAN_NAMES: dict[str, str] = {"parent": "parent", "ipvlan_mode": "ipvlan_mode", "ipvlan_flag": "ipvlan_flag"}
SHORT_NAMES = COMMON_NAMES | BRIDGE_NAMES | OVERLAY_NAMES | MACVLAN_NAMES | IPVLAN_NAMES
"""Short name of `--opt` → label. Both are accepted; those of berth have no Docker label of their own meaning."""

_BY_DRIVER = {"bridge": BRIDGE_NAMES, "overlay": BRIDGE_NAMES | OVERLAY_NAMES, "macvlan": MACVLAN_NAMES, "ipvlan": IPVLAN_NAMES}

# Docker's own historic spellings.
SYNONYMS = {BRIDGE + "mtu": DRIVER + "mtu", BRIDGE + "container_iface_prefix": SHORT_NAMES["ifname_prefix"]}


_T = TypeVar("_T")


def of_network(driver: str, options: Mapping[str, str]) -> dict[str, str]:
    """Return *options* of a network with *driver*, keyed by label; InvalidRequest names an unknown or doubled one.

    *driver* "": a plugin's, which knows its own; the labels that are for every driver are ours too.
    """
    if not driver:
        return {key: value for key, value in options.items() if key in COMMON_NAMES.values()}
    return canonical_options(options, COMMON_NAMES | _BY_DRIVER[driver], field="option", owner=f"the {driver} driver")


def canonical_options(options: Mapping[str, str], known: Mapping[str, str], *, field: str, owner: str) -> dict[str, str]:
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


def parse_common(labels: Mapping[str, str], *, mtu: int) -> CommonOptions:
    """Return what *labels* mean whatever the driver; *mtu*: unless they say another."""
    return CommonOptions(
        mtu=_value(labels, "mtu", _mtu, mtu) or mtu,
        ifname_prefix=_value(labels, "ifname_prefix", _prefix, "eth"),
        announcements=_value(labels, "announcements", _between(0, 3), 3),
        announcement_interval_ms=_value(labels, "announcement_interval_ms", _between(100, 2000), 1000),
        ttl=_value(labels, "ttl", _between(0, 86_400), 5),
        forward_single_label=_value(labels, "forward_single_label", _boolean, True),
        allow_rebinding=_value(labels, "allow_rebinding", _boolean, False),
        forward=parse_forward(labels),
    )


def parse_bridge(network_id: str, labels: Mapping[str, str], *, name: str = "") -> BridgeOptions:
    """Return what *labels* mean for the bridge network with *network_id*. *name*: of the bridge, unless they say another."""
    if _value(labels, "default_bridge", _boolean, False):
        raise InvalidRequest("option default_bridge", "the default bridge network can't be created by hand")
    binding = _value(labels, "host_binding", ip_address, None)
    return BridgeOptions(
        bridge_name=_value(labels, "name", _ifname, name or f"br-{network_id[:12]}"),
        bridge_mac=stable_mac(f"bridge:{network_id}"),
        icc=_value(labels, "icc", _boolean, True),
        masquerade=_value(labels, "masquerade", _boolean, True),
        host_binding=() if binding is None else (binding,),
        gateway_mode_ipv4=_value(labels, "gateway_mode_ipv4", _mode, GatewayMode.NAT),
        gateway_mode_ipv6=_value(labels, "gateway_mode_ipv6", _mode, GatewayMode.NAT),
        inhibit_ipv4=_value(labels, "inhibit_ipv4", _boolean, False),
        trusted_interfaces=_value(labels, "trusted_interfaces", _interfaces, ()),
        snat_ipv4=_value(labels, "host_ipv4", IPv4Address, None),
        snat_ipv6=_value(labels, "host_ipv6", IPv6Address, None),
    )


LEAST_VNI, MOST_VNI = 4096, (1 << 24) - 1


def parse_vxlan(labels: Mapping[str, str], taken: Collection[int]) -> VxlanOptions:
    """Return what *labels* mean for an overlay network; *taken*: VNIs in use, of which the lowest that is not is chosen (OV-1)."""
    vni = _value(labels, "vni", _between(1, MOST_VNI), 0) or next(item for item in range(LEAST_VNI, MOST_VNI) if item not in taken)
    if vni in taken:
        raise Conflict("vni", str(vni), "is in use by another overlay network")
    encrypted = _value(labels, "encrypted", lambda text: text == "" or _boolean(text), False)
    # All that goes to a port is encrypted or not, so the two kinds have one each.
    usual = 4790 if encrypted else 4789
    return VxlanOptions(vni=vni, port=_value(labels, "vxlan_port", _between(1024, 49_151), usual), encrypted=encrypted)


MACVLAN_MODES = ("bridge", "private", "vepa", "passthru")
IPVLAN_MODES = ("l2", "l3", "l3s")
IPVLAN_FLAGS = ("bridge", "private", "vepa")
_VLAN_IDS = range(1, 4095)


def parse_parent(driver: str, network_id: str, labels: Mapping[str, str]) -> ParentOptions:
    """Return what *labels* mean for a macvlan or ipvlan network; whether its parent exists is not asked here.

    Without a parent the network gets a dummy link of its own (MV-3), *makes* then says so.
    """
    mode = _value(labels, f"{driver}_mode", _one_of(*(MACVLAN_MODES if driver == "macvlan" else IPVLAN_MODES)), "")
    flag = _value(labels, "ipvlan_flag", _one_of(*IPVLAN_FLAGS), "bridge") if driver == "ipvlan" else ""
    given = _value(labels, "parent", _parent, "")
    return ParentOptions(
        parent=given or f"d{driver[0]}-{network_id[:12]}",
        mode=mode or ("bridge" if driver == "macvlan" else "l2"),
        flag=flag,
        makes=Makes.NOTHING if given else Makes.DUMMY,
    )


def vlan_of(parent: str) -> tuple[str, int]:
    """Return (base link, VLAN id) of a parent written like eth0.10; InvalidRequest if it is not (MV-2)."""
    base, dot, number = parent.rpartition(".")
    if not dot or not number.isdigit() or int(number) not in _VLAN_IDS:
        reason = f"the host has no link {parent}; name one that it has, or VLAN 1 to 4094 of one, like eth0.10"
        raise InvalidRequest("option parent", reason)
    return base, int(number)


def parse_forward(options: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the (domain, nameservers) pairs of *options*, keyed by label or short name; InvalidRequest if they can't be read."""
    label = COMMON_NAMES["forward"]
    given = options.get(label, options.get("forward", ""))
    return _value({label: given}, "forward", _forward, ())


def family_flags(labels: Mapping[str, str], *, ipv4: bool | None, ipv6: bool | None) -> tuple[bool, bool]:
    """Return whether IPv4 and IPv6 are on: the flag, else the option, else Docker's default (docker-behaviour IP-30)."""
    on4 = _value(labels, "enable_ipv4", _boolean, True) if ipv4 is None else ipv4
    on6 = _value(labels, "enable_ipv6", _boolean, False) if ipv6 is None else ipv6
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
    return GatewayMode(_one_of(*GatewayMode)(text))


def _parent(text: str) -> str:
    if text == "lo":
        raise ValueError("the loopback link can't be a parent")
    return check_ifname("option parent", text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


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
