"""What the virtual machine behind a tap is told of its link, as its network is now. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Network

from netcore import drivers
from netcore.desired.frame_rules import link_local
from netcore.model import Endpoint, IPAddress, Network
from netcore.parse.mac import octets
from netcore.taps.dhcp_server import Binding
from netcore.taps.router_advertisement import Advertisement

ROUTER_LIFETIME = 9000
"""Seconds (RFC 4861 section 6.2.1: the most)."""
_FOR_EVER = 0xFFFF_FFFF
_LARGEST_MTU, _USUAL_MTU = 9216, 1500
_NOBODY = IPv4Address("169.254.0.1")
"""Who says it where the network has no address of its own: a server of DHCP must be called something."""


def binding(network: Network, endpoint: Endpoint, name: str, *, resolver: bool) -> Binding | None:
    """Return what is told by DHCP, None without IPv4. *resolver*: berth answers names at gateways."""
    if endpoint.ipv4 is None:
        return None
    own = [address for address in _host_addresses(network) if isinstance(address, IPv4Address)]
    hop = drivers.of(network).default_hop(network, endpoint, 4)
    router = hop.address if hop is not None and isinstance(hop.address, IPv4Address) else None
    return Binding(
        hardware_address=octets(endpoint.mac),
        interface=IPv4Interface(endpoint.ipv4),
        server=own[0] if own else router or _NOBODY,
        router=router,
        name_servers=own if resolver else (),
        mtu=_mtu(network),
        name=name,
    )


def advertisement(network: Network, endpoint: Endpoint, router_mac: bytes, *, resolver: bool) -> Advertisement | None:
    """Return what routers say there, None without IPv6. *router_mac*: that of the bridge."""
    pool = network.pool(6)
    if endpoint.ipv6 is None or pool is None or not isinstance(pool.subnet, IPv6Network):
        return None
    own = [address for address in _host_addresses(network) if isinstance(address, IPv6Address)]
    leads = drivers.of(network).default_hop(network, endpoint, 6) is not None
    return Advertisement(
        link_address=router_mac,
        prefix=pool.subnet,
        mtu=_mtu(network),
        router_lifetime=ROUTER_LIFETIME if leads else 0,
        lifetime=_FOR_EVER,
        name_servers=own if resolver else (),
    )


def router_address(router_mac: bytes) -> IPv6Address:
    """Return the link-local address that the bridge with *router_mac* has."""
    return link_local(router_mac.hex(":"))


def _mtu(network: Network) -> int:
    """Return the MTU of *network*, or Ethernet's where it is more than a virtual network card can have, as in a nest."""
    return network.common.mtu if network.common.mtu <= _LARGEST_MTU else _USUAL_MTU


def _host_addresses(network: Network) -> list[IPAddress]:
    return [interface.ip for interface in drivers.of(network).host_addresses(network)]
