"""What the help of `berth network create` and the documentation say of drivers and options, from the tables of netcore."""

from __future__ import annotations

from resolver.cli.reference.model import Section, sentence

_DRIVERS = {
    "bridge": "A veth pair to a bridge of the host, NAT to the outside, published ports.",
    "macvlan": "A sub-interface of a link of the host, with a MAC address of its own.",
    "ipvlan": "A sub-interface of a link of the host, with the link's MAC address.",
    "overlay": "A bridge on each host of a cluster, and VXLAN between them.",
}
_PLUGIN = ("NAME, plugin:NAME", "What a Docker network plugin of that name provides.")
_MEANINGS = {
    "mtu": "MTU (that of the egress route)",
    "ifname_prefix": "prefix of interface names in sandboxes (eth)",
    "enable_ipv4": "as --ipv4 (true)",
    "enable_ipv6": "as --ipv6 (false)",
    "announcements": "gratuitous ARP and neighbour advertisements after a connect, 0 to 3 (3)",
    "announcement_interval_ms": "milliseconds between them, 100 to 2000 (1000)",
    "ttl": "TTL of the network's names in seconds (5)",
    "forward_single_label": "forward single-label names that are not ours; false: NXDOMAIN (true)",
    "allow_rebinding": "accept outside responses that point into local networks (false)",
    "forward": "name servers by domain: corp.example=10.0.0.53,10.0.0.54;lab.test=10.0.0.60",
    "name": "bridge device; an existing one is used and never removed (br- and 12 characters)",
    "icc": "let sandboxes of the network reach each other (true)",
    "masquerade": "give outgoing traffic the host's address (true)",
    "host_binding": "host address that -p binds where it names none (all)",
    "gateway_mode_ipv4": "nat, nat-unprotected, routed or isolated (nat)",
    "gateway_mode_ipv6": "nat, nat-unprotected, routed or isolated (nat)",
    "inhibit_ipv4": "put no IPv4 address on the bridge (false)",
    "trusted_interfaces": "host links, separated by colons, from which sandboxes are reached directly",
    "default_bridge": "refused if true: the network bridge is not created by hand (false)",
    "host_ipv4": "IPv4 source address of outgoing traffic",
    "host_ipv6": "IPv6 source address of outgoing traffic",
    "vni": "VXLAN network identifier (the lowest free one from 4096)",
    "vxlan_port": "UDP port of VXLAN (4789, encrypted 4790)",
    "encrypted": "encrypt VXLAN between hosts by IPsec ESP (false)",
    "parent": "link of the host; eth0.10 is VLAN 10 of eth0 (a dummy link, and the network is internal)",
    "macvlan_mode": "bridge, private, vepa or passthru (bridge)",
    "ipvlan_mode": "l2, l3 or l3s (l2)",
    "ipvlan_flag": "bridge, private or vepa (bridge)",
}


def driver_names() -> tuple[str, ...]:
    """Return the names of all drivers but plugins."""
    from netcore.plan.network import DRIVERS

    return DRIVERS


def sections() -> tuple[Section, ...]:
    """Return the drivers, the options of every driver, and those of each; an option as (short name, meaning, default and label)."""
    from netcore.parse import options as tables

    by_driver = {
        "bridge": tables.BRIDGE_NAMES,
        "overlay": tables.OVERLAY_NAMES,
        "macvlan": tables.MACVLAN_NAMES,
        "ipvlan": tables.IPVLAN_NAMES,
    }
    titles = {"bridge": "Options of bridge and overlay"}
    return (
        Section(title="Drivers", rows=(*((name, _DRIVERS.get(name, "")) for name in driver_names()), _PLUGIN)),
        Section(title="Options of every driver", rows=_rows(tables.COMMON_NAMES)),
        *(Section(title=titles.get(name, f"Options of {name}"), rows=_rows(by_driver[name])) for name in driver_names()),
    )


def _rows(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((short, sentence(_MEANINGS[short]) + (f" [{label}]" if label != short else "")) for short, label in labels.items())
