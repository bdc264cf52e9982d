"""The firewall of the host: a constant skeleton as readable text, and the elements of its sets. Pure.

A packet meets the same rules whether the host has one network or a thousand, one published port or ten thousand:
everything that grows is an element. Tables: `inet berth` (routing, NAT; `host_rules`) and `bridge berth` (`frame_rules`).

An accept in our table does not overrule a drop in another one. So packets that we forward carry MARK, and one rule in
the other firewall can accept them (see `other_firewalls`).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from netcore.desired import egress_rules, frame_rules, host_rules
from netcore.desired.objects import Element, FirewallSet, Order
from netcore.model import BridgeOptions, Endpoint, GatewayMode, IPAddress, Network

MARK = 0x1000_0000
"""Bit set on packets that our forward chain lets pass. Set on what comes to the host from our bridges too, and taken off behind the
guard table."""

HAIRPIN = 0x2000_0000
"""Bit set on packets that go back to the network they came from, by a published port."""

SEEN = 0x4000_0000
"""Bit set on packets from our bridges while they pass the guard table (`kernel.guard`), and taken off behind it: neither
routing rules nor other firewalls ever see it."""

INET = "inet"
BRIDGE = "bridge"

_ADDRESS = "address"
"""In place of the type of addresses of one family."""


def _per_family(
    name: str, key: tuple[str, ...], data: tuple[str, ...] = (), *, table: str = INET, order: Order = Order.FIREWALL_ELEMENT
) -> dict[int, FirewallSet]:
    """Return the two sets called *name*, whose %d is the family: one for IPv4, one for IPv6."""

    def types(fields: tuple[str, ...], family: int) -> tuple[str, ...]:
        return tuple(f"ipv{family}_addr" if field == _ADDRESS else field for field in fields)

    return {
        family: FirewallSet(
            table=table, name=name % family, key_types=types(key, family), data_types=types(data, family), family=family, order=order
        )
        for family in (4, 6)
    }


BRIDGES = FirewallSet(table=INET, name="bridges", key_types=("ifname",))
INTERNAL = FirewallSet(table=INET, name="internal", key_types=("ifname",))
SAME = FirewallSet(table=INET, name="same", key_types=("ifname", "ifname"))
ICC = FirewallSet(table=INET, name="icc", key_types=("ifname", "ifname"))
TRUSTED = FirewallSet(table=INET, name="trusted", key_types=("ifname", "ifname"))
MASQUERADE = _per_family("masquerade%d", ("ifname",))
UNPROTECTED = _per_family("unprotected%d", ("ifname",))
ROUTED = _per_family("routed%d", ("ifname",))
OPEN = _per_family("open%d", (_ADDRESS, "inet_proto", "inet_service"))
CLOSED = _per_family("closed%d", ("ifname",), order=Order.FORWARDING_GUARD)
CLOSED_FAMILIES = FirewallSet(table=INET, name="closed_families", key_types=("nf_proto",), order=Order.FORWARDING_GUARD)
TUNNELS = FirewallSet(table=INET, name="tunnels", key_types=("inet_service",))
SNAT = _per_family("snat%d", ("ifname",), (_ADDRESS,))
DNAT = _per_family("dnat%d", ("inet_proto", _ADDRESS, "inet_service"), (_ADDRESS, "inet_service"))
DNAT_ANY = _per_family("dnat%d_any", ("inet_proto", "inet_service"), (_ADDRESS, "inet_service"))
RESOLVERS = _per_family("resolvers%d", ("ifname", _ADDRESS))
_BINDING = Order.PORT_BINDING
PORTS = FirewallSet(table=BRIDGE, name="ports", key_types=("ifname",), order=_BINDING)
TUNNEL_PORTS = FirewallSet(table=BRIDGE, name="tunnel_ports", key_types=("ifname",), order=_BINDING)
MEMBERS = FirewallSet(table=BRIDGE, name="members", key_types=("ifname",), order=_BINDING)
EXCLUSIVE_PORTS = FirewallSet(table=BRIDGE, name="exclusive_ports", key_types=("ifname",), order=_BINDING)
NO_ICC = FirewallSet(table=BRIDGE, name="noicc", key_types=("ifname",), order=_BINDING)
ROUTERS = FirewallSet(table=BRIDGE, name="routers", key_types=("ifname", "ether_addr"), order=_BINDING)
SOURCE = _per_family("source%d", ("ifname", "ether_addr", _ADDRESS), table=BRIDGE, order=_BINDING)
TARGET6 = FirewallSet(table=BRIDGE, name="target6", key_types=("ifname", "ether_addr", "payload128"), family=6, order=_BINDING)

SETS: tuple[FirewallSet, ...] = (
    BRIDGES,
    INTERNAL,
    SAME,
    ICC,
    TRUSTED,
    *MASQUERADE.values(),
    *UNPROTECTED.values(),
    *ROUTED.values(),
    *OPEN.values(),
    *CLOSED.values(),
    CLOSED_FAMILIES,
    TUNNELS,
    *SNAT.values(),
    *DNAT.values(),
    *DNAT_ANY.values(),
    *RESOLVERS.values(),
    *host_rules.SETS,
    PORTS,
    TUNNEL_PORTS,
    MEMBERS,
    EXCLUSIVE_PORTS,
    NO_ICC,
    ROUTERS,
    *SOURCE.values(),
    TARGET6,
    *egress_rules.SETS,
)
"""Every set and map of both tables, in the order in which they are declared."""

_PAYLOAD = {"payload128": "@th,64,128", "payload48": "@th,208,48"}
_FIELDS = {**_PAYLOAD, "ifname": "iifname", "ether_addr": "ether saddr"}
"""nftables types that can only be declared by an expression that has them."""

_CHAINS = {
    INET: """
  chain raw_prerouting {
    type filter hook prerouting priority -300; policy accept;
    # route_localnet is on for our bridges, so the host's loopback is closed here, to sandboxes and to outside.
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname @bridges ip6 daddr ::1 drop
    # Only hosts send VXLAN. From a sandbox it would pass for another host's: here, or there with this host's address.
    iifname @bridges udp dport @tunnels drop
    # From a port of the bridge that nobody of ours made.
    iifname @exclusive meta mark and %(known)s == 0 fib saddr type != local counter name unknown_sender drop
    iifname @bridges meta mark and %(of_port)s != 0 meta mark set meta mark and %(not_of_port)s
  }
  # The guard table stands between these two: it drops what the first has not marked, so all of it once our tables are gone.
  chain seen {
    type filter hook prerouting priority 1000; policy accept;
    iifname @bridges meta mark set meta mark or %(seen)s
  }
  chain unseen {
    type filter hook prerouting priority 1002; policy accept;
    iifname @bridges meta mark set meta mark and %(unseen)s
  }
  chain forward {
    type filter hook forward priority -10; policy accept;
    # Only for the sake of our bridges berth has switched forwarding on here: the host is no router for others.
    meta nfproto ipv4 iifname @closed4 oifname != @bridges drop
    meta nfproto ipv6 iifname @closed6 oifname != @bridges drop
    meta nfproto @closed_families iifname != @bridges oifname != @bridges drop
    iifname != @bridges oifname != @bridges accept
    # Marked here, because with bridge-nf-call-iptables the postrouting hook does not know the input link.
    iifname . oifname @same ct status dnat meta mark set meta mark or %(hairpin)s
    iifname . oifname @icc goto pass
    iifname @internal drop
    oifname @internal drop
    oifname @bridges ct status dnat goto pass
    ct state established,related goto pass
    iifname . oifname @trusted goto pass
    # From other networks too, but within the network only with ICC.
    oifname @unprotected4 meta nfproto ipv4 iifname . oifname != @same goto pass
    oifname @unprotected6 meta nfproto ipv6 iifname . oifname != @same goto pass
    oifname @routed4 ip protocol icmp goto pass
    oifname @routed6 meta nfproto ipv6 meta l4proto ipv6-icmp goto pass
    oifname @routed4 ip daddr . meta l4proto . th dport @open4 goto pass
    oifname @routed6 ip6 daddr . meta l4proto . th dport @open6 goto pass
    oifname @bridges drop
    goto pass
  }
  chain pass {
    ct state new iifname @bridges jump bounded_connections
    ct state new iifname @bridges jump bounded_neighbors
    meta mark set meta mark or %(mark)s accept
  }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    # What a network asks its gateway is for berth's resolver, also while a sandbox publishes port 53.
    iifname . ip daddr @resolvers4 meta l4proto { tcp, udp } th dport 53 accept
    iifname . ip6 daddr @resolvers6 meta l4proto { tcp, udp } th dport 53 accept
    fib daddr type local goto published
  }
  chain output {
    type nat hook output priority -100; policy accept;
    fib daddr type local goto published
  }
  chain published {
    # What is sent from ::1 can't leave the host: `relay.port_proxy` serves it.
    ip6 daddr ::1 return
    dnat ip to meta l4proto . ip daddr . th dport map @dnat4
    dnat ip to meta l4proto . th dport map @dnat4_any
    dnat ip6 to meta l4proto . ip6 daddr . th dport map @dnat6
    dnat ip6 to meta l4proto . th dport map @dnat6_any
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    # A sandbox that asks a published port of its own network must get the answer back through the host.
    meta mark and %(hairpin)s == %(hairpin)s masquerade
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    iifname . oifname @same accept
    iifname != @bridges accept
    meta nfproto ipv4 snat ip to iifname map @snat4
    meta nfproto ipv6 snat ip6 to iifname map @snat6
    iifname @masquerade4 meta nfproto ipv4 masquerade
    iifname @masquerade6 meta nfproto ipv6 masquerade
  }
"""
    + host_rules.CHAINS.lstrip("\n")
    + egress_rules.CHAINS.lstrip("\n"),
    BRIDGE: frame_rules.CHAINS + egress_rules.FRAME_CHAINS.lstrip("\n"),
}


_MASKS = {
    "mark": MARK,
    "unmarked": ~MARK & 0xFFFF_FFFF,
    "hairpin": HAIRPIN,
    "seen": SEEN,
    "unseen": ~SEEN & 0xFFFF_FFFF,
    "known": frame_rules.KNOWN,
    "of_port": frame_rules.KNOWN | frame_rules.JUDGED,
    "not_of_port": ~(frame_rules.KNOWN | frame_rules.JUDGED) & 0xFFFF_FFFF,
}

REMOVE_TABLES = "".join(f"table {family} berth {{\n}}\ndelete table {family} berth\n" for family in (INET, BRIDGE))
"""Declares each table first: deleting one that is not there is an error."""


COUNTERS = {INET: host_rules.COUNTERS, BRIDGE: frame_rules.COUNTERS}
"""Counters of what was dropped, by table."""

EXCEEDING, OFFENDERS = host_rules.EXCEEDING, frame_rules.OFFENDERS
"""Sets of those whom something was dropped of: (bridge, MAC) in the first table, port in the second; each with a counter."""

_DYNAMIC_SETS = {
    INET: host_rules.DYNAMIC_SETS + egress_rules.DYNAMIC_SETS,
    BRIDGE: frame_rules.DYNAMIC_SETS + egress_rules.FRAME_SETS,
}


def render_skeleton() -> str:
    """Return the ruleset that makes both tables anew, empty. Applying it twice gives the same."""
    parts = []
    for family, chains in _CHAINS.items():
        parts.append(f"table {family} berth {{\n}}\ndelete table {family} berth\ntable {family} berth {{")
        parts += [f"  counter {name} {{ }}" for name in COUNTERS[family]]
        parts += [_declare(declared) for declared in SETS if declared.table == family]
        parts.append(_DYNAMIC_SETS[family].strip("\n"))
        text = chains.strip("\n")
        for name, mask in _MASKS.items():
            text = text.replace(f"%({name})s", f"{mask:#x}")
        parts.append(text)
        parts.append("}")
    return "\n".join(parts) + "\n"


def _declare(declared: FirewallSet) -> str:
    if any(kind in _PAYLOAD for kind in declared.key_types):
        return f"  set {declared.name} {{ typeof {' . '.join(_FIELDS[kind] for kind in declared.key_types)}; }}"
    key = " . ".join(declared.key_types)
    if declared.data_types:
        return f"  map {declared.name} {{ type {key} : {' . '.join(declared.data_types)}; }}"
    return f"  set {declared.name} {{ type {key};{' flags interval;' if declared.interval else ''} }}"


def network_elements(network: Network) -> Iterable[Element]:
    """Yield the elements of one network, without its endpoints."""
    options = network.bridge
    bridge = options.bridge_name
    yield Element(set=BRIDGES, fields=(bridge,))
    yield Element(set=SAME, fields=(bridge, bridge))
    if options.icc:
        yield Element(set=ICC, fields=(bridge, bridge))
    if options.vxlan is not None:
        yield Element(set=TUNNELS, fields=(options.vxlan.port,))
    if network.internal:
        yield Element(set=INTERNAL, fields=(bridge,))
        return
    for name in options.trusted_interfaces:
        yield Element(set=TRUSTED, fields=(name, bridge))
    for family, on in ((4, network.ipv4), (6, network.ipv6)):
        if on:
            yield from _family_elements(bridge, options, family)


def _family_elements(bridge: str, options: BridgeOptions, family: int) -> Iterable[Element]:
    mode = options.gateway_mode_ipv4 if family == 4 else options.gateway_mode_ipv6
    snat: IPAddress | None = options.snat_ipv4 if family == 4 else options.snat_ipv6
    match mode:
        case GatewayMode.ROUTED:
            yield Element(set=ROUTED[family], fields=(bridge,))
            return
        case GatewayMode.NAT_UNPROTECTED:
            yield Element(set=UNPROTECTED[family], fields=(bridge,))
        case GatewayMode.NAT | GatewayMode.ISOLATED:
            pass
    if snat is not None:
        yield Element(set=SNAT[family], fields=(bridge,), data=(snat,))
    elif options.masquerade:
        yield Element(set=MASQUERADE[family], fields=(bridge,))


def resolver_elements(bridge: str, addresses: Iterable[IPAddress]) -> Iterable[Element]:
    """Yield what leaves DNS queries that come over *bridge* to one of *addresses* to berth's resolver there."""
    for address in addresses:
        yield Element(set=RESOLVERS[address.version], fields=(bridge, address))


def endpoint_elements(network: Network, endpoint: Endpoint, *, forwards: bool = False) -> Iterable[Element]:
    """Yield what binds an endpoint's MAC and addresses to its bridge port, for IP, ARP and ND; without ICC, what isolates it.

    *forwards*: its sandbox is a router, which sends packets with the source addresses of others.
    """
    port, mac = endpoint.host_ifname, endpoint.mac
    if forwards:
        yield Element(set=ROUTERS, fields=(port, mac))
    yield Element(set=PORTS, fields=(port,))
    yield Element(set=MEMBERS, fields=(port,))
    if host_rules.drops_unknown_ports(network):
        yield Element(set=EXCLUSIVE_PORTS, fields=(port,))
    yield from host_rules.endpoint_elements(network, endpoint)
    if not network.bridge.icc:
        # Not by isolated bridge ports: those would also stop the translated frames (see chain forward).
        yield Element(set=NO_ICC, fields=(port,))
    interfaces = [interface for interface in (endpoint.ipv4, endpoint.ipv6, *endpoint.link_local) if interface is not None]
    own4 = [interface.ip for interface in interfaces if interface.version == 4]
    if own4:
        # 0.0.0.0 is the sender of an ARP probe (RFC 5227 section 2.1.1).
        for address in (*own4, IPv4Address(0)):
            yield Element(set=SOURCE[4], fields=(port, mac, address))
    own6 = [interface.ip for interface in interfaces if interface.version == 6]
    if own6:
        own = {*own6, frame_rules.link_local(mac)}
        for address6 in sorted(own):
            yield Element(set=TARGET6, fields=(port, mac, address6))
        # :: is the sender of duplicate address detection and of first MLD reports (RFC 4862 section 5.4.2).
        for address6 in sorted(own | {IPv6Address(0)}):
            yield Element(set=SOURCE[6], fields=(port, mac, address6))


def tunnel_elements(ifname: str) -> Iterable[Element]:
    """Yield what makes a tunnel one of the ports that frames may come from. *ifname*: its link."""
    yield Element(set=TUNNEL_PORTS, fields=(ifname,))
    yield Element(set=MEMBERS, fields=(ifname,))


def port_elements(network: Network, endpoint: Endpoint) -> Iterable[Element]:
    """Yield what publishes an endpoint's ports: NAT entries, or open ports in a routed family (CL-30)."""
    for mapping in endpoint.ports:
        if mapping.proxied:
            continue
        address = endpoint.ipv4 if mapping.family == 4 else endpoint.ipv6
        if address is None:
            continue
        options, family = network.bridge, mapping.family
        mode = options.gateway_mode_ipv4 if family == 4 else options.gateway_mode_ipv6
        target = (address.ip, mapping.sandbox_port)
        if mode is GatewayMode.ROUTED:
            yield Element(set=OPEN[family], fields=(address.ip, mapping.protocol, mapping.sandbox_port))
        elif mapping.host_address is None:
            yield Element(set=DNAT_ANY[family], fields=(mapping.protocol, mapping.host_port), data=target)
        else:
            fields = (mapping.protocol, mapping.host_address, mapping.host_port)
            yield Element(set=DNAT[family], fields=fields, data=target)
