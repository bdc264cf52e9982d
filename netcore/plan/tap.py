"""What a sandbox with a tap may be, and the IPv6 address that its guest makes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

from netcore import drivers
from netcore.errors import InvalidRequest
from netcore.model import Endpoint, EndpointRequest, Network, SandboxRequest
from netcore.parse.mac import octets
from netcore.taps.router_advertisement import interface_address

RESERVED = ("veth", "br-", "berth")
"""How links are called that berth names."""


def check_sandbox(request: SandboxRequest) -> None:
    """Raise InvalidRequest if *request* asks for a tap, and for what a virtual machine does not have of a sandbox."""
    if not any(asked.tap is not None for asked in request.networks):
        return
    if len(request.networks) != 1:
        raise InvalidRequest("tap", "a sandbox with a tap is on one network; make another one for each further link of the virtual machine")
    for field, given in (
        ("netns", request.netns), ("follow", request.follows), ("sysctl", request.sysctls), ("forward", request.forwards),
        ("health", request.health_check), ("owner", request.owner), ("process", request.leader),
    ):  # fmt: skip
        if given:
            raise InvalidRequest(field, "a sandbox with a tap can't have it: its programs run in a virtual machine")


def check_connect(endpoints: Sequence[Endpoint], request: EndpointRequest) -> None:
    """Raise InvalidRequest if a sandbox with *endpoints* can't be connected once more as *request* asks, because of a tap."""
    if request.tap is not None:
        raise InvalidRequest("tap", "a tap is made together with its sandbox")
    if any(endpoint.tap is not None for endpoint in endpoints):
        raise InvalidRequest("network", "a sandbox with a tap stays on its one network; make another one for each further link")


def check_request(request: EndpointRequest, network: Network) -> None:
    """Raise InvalidRequest unless *network* can have the tap that *request* asks for."""
    if drivers.of(network).name != "bridge":
        raise InvalidRequest("tap", f"network {network.name} has the driver {network.driver}; a tap needs one of the driver bridge")
    if not request.ifname:
        raise InvalidRequest("tap", "its name is missing: give it as ifname")
    if request.ifname.startswith(RESERVED):
        raise InvalidRequest("tap", f"{request.ifname}: names that begin with {', '.join(RESERVED)} are for links that berth names")
    for field, given in (("driver-opt", request.driver_options), ("route", request.routes), ("link-local-ip", request.link_local)):
        if given:
            raise InvalidRequest(field, "is set inside of a sandbox, and the virtual machine behind a tap is its own")
    pool = network.pool(6)
    if network.ipv6 and pool is not None and pool.subnet.prefixlen != 64:
        reason = f"the IPv6 subnet {pool.subnet} of network {network.name} must be a /64: the virtual machine makes its address of that"
        raise InvalidRequest("tap", reason)


def with_own_ipv6(request: EndpointRequest, network: Network, mac: str) -> EndpointRequest:
    """Return *request* with the IPv6 address that a guest with *mac* makes by itself (RFC 4862); InvalidRequest for another one."""
    pool = network.pool(6)
    if not network.ipv6 or pool is None:
        return request
    subnet = pool.subnet
    assert isinstance(subnet, IPv6Network)
    own: IPv6Address = interface_address(subnet, octets(mac))
    if request.ipv6 not in (None, own):
        raise InvalidRequest("ip6", f"{request.ipv6}: the virtual machine makes {own} of its MAC {mac}; give another MAC, or no address")
    return replace(request, ipv6=own)
