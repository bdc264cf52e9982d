"""The rules of table `inet berth` for what comes to the host itself, and for how much of its tables one sandbox may fill.

Constant text and the sets that belong to it; `firewall` puts them into the table.
"""

from __future__ import annotations

from collections.abc import Iterable

from netcore import limits
from netcore.desired.objects import Element, FirewallSet, Order
from netcore.model import Endpoint, HostAccess, IPInterface, Network

_INET = "inet"

EXCLUSIVE = FirewallSet(table=_INET, name="exclusive", key_types=("ifname",))
"""Bridges on which ports of berth alone may send; the ports themselves are in `firewall.EXCLUSIVE_PORTS`."""
HOST_CLOSED = FirewallSet(table=_INET, name="host_closed", key_types=("ifname",))
HOST_CLOSED_SENDERS = FirewallSet(table=_INET, name="host_closed_senders", key_types=("ifname", "ether_addr"), order=Order.PORT_BINDING)
BRIDGE_ADDRESSES = FirewallSet(table=_INET, name="bridge_addresses", key_types=("ifname", "ether_addr"))
HOST_PORTS = FirewallSet(table=_INET, name="host_ports", key_types=("ifname", "inet_proto", "inet_service"))
GATEWAYS = {
    family: FirewallSet(table=_INET, name=f"gateways{family}", key_types=(f"ipv{family}_addr",), family=family) for family in (4, 6)
}
"""The addresses of all gateways."""
OWN_GATEWAYS = {
    family: FirewallSet(table=_INET, name=f"own_gateways{family}", key_types=("ifname", f"ipv{family}_addr"), family=family)
    for family in (4, 6)
}
"""The addresses that a bridge may be asked at, where services for its own network are."""

SETS: tuple[FirewallSet, ...] = (
    EXCLUSIVE,
    HOST_CLOSED,
    HOST_CLOSED_SENDERS,
    BRIDGE_ADDRESSES,
    HOST_PORTS,
    *GATEWAYS.values(),
    *OWN_GATEWAYS.values(),
)

COUNTERS = ("unknown_sender", "foreign_gateway", "host_access", "connections", "neighbors")
"""Counters of dropped packets, in the order in which they are declared."""

EXCEEDING = "exceeding"

DYNAMIC_SETS = f"""
  set connections {{ type ifname . ether_addr; size {limits.BOUNDED_SENDERS}; flags dynamic; }}
  set neighbors4 {{ type ifname . ether_addr . ipv4_addr; size {limits.BOUNDED_NEIGHBORS}; flags dynamic,timeout; timeout 5m; }}
  set neighbors6 {{ type ifname . ether_addr . ipv6_addr; size {limits.BOUNDED_NEIGHBORS}; flags dynamic,timeout; timeout 5m; }}
  set new_neighbors {{ type ifname . ether_addr; size {limits.BOUNDED_SENDERS}; flags dynamic,timeout; timeout 5m; }}
  set {EXCEEDING} {{ type ifname . ether_addr; size {limits.BOUNDED_SENDERS}; flags dynamic,timeout; timeout 1d; }}"""
"""Sets that rules fill, not we. A sender is a sandbox: its MAC is bound to its port."""

_NEW_NEIGHBOR = (
    f"update @new_neighbors {{ iifname . ether saddr limit rate over {limits.NEIGHBORS_PER_SECOND}/second"
    f" burst {limits.NEIGHBORS_AT_ONCE} packets }} counter name neighbors goto exceeded"
)

CHAINS = f"""
  chain input {{
    type filter hook input priority -10; policy accept;
    # For the guard table, which drops what has met no rules because they were flushed while it was on its way.
    iifname @bridges meta mark set meta mark or %(mark)s
    ct state established,related accept
    # A host takes what is for any of its addresses by any link. A gateway's are for its own network and the host itself.
    ip daddr @gateways4 iifname . ip daddr != @own_gateways4 jump foreign
    ip6 daddr @gateways6 iifname . ip6 daddr != @own_gateways6 jump foreign
    iifname != @bridges accept
    ct state new jump bounded_connections
    iifname @host_closed goto host_closed
    iifname . ether saddr @host_closed_senders goto host_closed
  }}
  chain input_passed {{
    type filter hook input priority -8; policy accept;
    iifname @bridges meta mark set meta mark and %(unmarked)s
  }}
  chain foreign {{
    iifname "lo" return
    meta l4proto {{ icmp, ipv6-icmp }} return
    counter name foreign_gateway drop
  }}
  chain host_closed {{
    icmp type echo-request accept
    icmpv6 type {{ echo-request, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} accept
    meta l4proto {{ tcp, udp }} th dport 53 iifname . ip daddr @resolvers4 accept
    meta l4proto {{ tcp, udp }} th dport 53 iifname . ip6 daddr @resolvers6 accept
    iifname . meta l4proto . th dport @host_ports accept
    counter name host_access drop
  }}
  chain bounded_connections {{
    add @connections {{ iifname . ether saddr ct count over {limits.CONNECTIONS_PER_SANDBOX} }} counter name connections goto exceeded
  }}
  chain exceeded {{
    update @{EXCEEDING} {{ iifname . ether saddr counter }}
    drop
  }}
  chain bounded_neighbors {{
    # With bridge-nf-call-iptables frames between ports come here too. They need no neighbour of the host.
    iifname . oifname @same iifname . ether daddr != @bridge_addresses return
    # All that leaves by a router has one next hop; each neighbour that is sent to is one more.
    meta nfproto ipv6 goto bounded_neighbors6
    iifname . ether saddr . rt ip nexthop @neighbors4 update @neighbors4 {{ iifname . ether saddr . rt ip nexthop }} return
    {_NEW_NEIGHBOR}
    add @neighbors4 {{ iifname . ether saddr . rt ip nexthop }}
  }}
  chain bounded_neighbors6 {{
    iifname . ether saddr . rt ip6 nexthop @neighbors6 update @neighbors6 {{ iifname . ether saddr . rt ip6 nexthop }} return
    {_NEW_NEIGHBOR}
    add @neighbors6 {{ iifname . ether saddr . rt ip6 nexthop }}
  }}
"""


def open_ports(network: Network) -> tuple[tuple[str, int], ...] | None:
    """Return the ports (protocol, number) of the host that sandboxes of a bridge network reach; None: all. Of an internal one none."""
    given = network.bridge.host_access or HostAccess(everything=not network.internal)
    return None if given.everything else given.ports


def drops_unknown_ports(network: Network) -> bool:
    """Return whether ports of the bridge that berth did not make may send nothing: so unless the bridge is the host's own."""
    allowed = network.bridge.allow_unknown_ports
    return not (network.bridge.reuse_bridge if allowed is None else allowed)


def network_elements(network: Network, gateways: Iterable[IPInterface]) -> Iterable[Element]:
    """Yield what closes the host to *network*, whose bridge has the addresses *gateways*."""
    bridge, access = network.bridge.bridge_name, open_ports(network)
    if not network.bridge.reuse_bridge:
        yield Element(set=BRIDGE_ADDRESSES, fields=(bridge, network.bridge.bridge_mac))
    if drops_unknown_ports(network):
        yield Element(set=EXCLUSIVE, fields=(bridge,))
    for gateway in gateways:
        yield Element(set=OWN_GATEWAYS[gateway.version], fields=(bridge, gateway.ip))
        if not gateway.ip.is_link_local:
            # The same one may be on any other link, and is not reached by any but its own.
            yield Element(set=GATEWAYS[gateway.version], fields=(gateway.ip,))
    if access is None:
        return
    if not network.bridge.reuse_bridge:
        yield Element(set=HOST_CLOSED, fields=(bridge,))
    for protocol, port in access:
        yield Element(set=HOST_PORTS, fields=(bridge, protocol, port))


def endpoint_elements(network: Network, endpoint: Endpoint) -> Iterable[Element]:
    """Yield what closes the host to *endpoint* alone: on a bridge of the host's own, others keep what they have."""
    if open_ports(network) is not None and network.bridge.reuse_bridge:
        yield Element(set=HOST_CLOSED_SENDERS, fields=(network.bridge.bridge_name, endpoint.mac))
