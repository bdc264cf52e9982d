"""The bridge driver: a bridge on the host, a veth pair for each endpoint, NAT to the outside, published ports. Pure.

Rules BR-1..BR-14 of docs/rules.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from netcore import limits
from netcore.desired import firewall, host_rules
from netcore.desired.objects import (
    HOST,
    Address,
    Bridge,
    BridgePort,
    GuardedLink,
    GuardedPort,
    Hairpin,
    KernelObject,
    Neighbor,
    Sysctl,
    TapLink,
    Veth,
)
from netcore.drivers import link, uplinks
from netcore.drivers.defaults import DriverDefaults
from netcore.drivers.facts import Facts, HostConstraints
from netcore.drivers.protocol import AttachedLink, Configured, ExistingNetworks, Hop, NewNetwork, Publishing
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import (
    DEFAULT_BRIDGE,
    GATEWAY_BRIDGE,
    BridgeOptions,
    Endpoint,
    EndpointRequest,
    GatewayMode,
    HostAccess,
    IPAddress,
    IPInterface,
    Network,
    NetworkId,
    Pool,
    RemoteEndpoint,
)
from netcore.parse.addresses import with_prefix
from netcore.parse.host_access import host_access
from netcore.parse.options import Option, address, address4, address6, boolean, link_name, one_of, stable_mac
from netcore.parse.problems import Problems

LABEL_PREFIX = "com.docker.network.bridge."
_PREDEFINED_LINKS = {DEFAULT_BRIDGE: "berth0", GATEWAY_BRIDGE: "berth_gw"}


def _gateway_mode(text: str) -> GatewayMode:
    return GatewayMode(one_of(*GatewayMode)(text))


def _links(text: str) -> tuple[str, ...]:
    return tuple(link_name(name) for name in text.split(":") if name)


OPTIONS: tuple[Option[Any], ...] = (
    NAME := Option[str | None](
        name="name",
        label=LABEL_PREFIX + "name",
        meaning="bridge device; an existing one is used and never removed",
        parse=link_name,
        default=None,
        default_text="br- and the first 12 characters of the network's id",
    ),
    ICC := Option[bool](
        name="icc",
        label=LABEL_PREFIX + "enable_icc",
        meaning="sandboxes of the network reach each other",
        parse=boolean,
        default=True,
    ),
    MASQUERADE := Option[bool](
        name="masquerade",
        label=LABEL_PREFIX + "enable_ip_masquerade",
        meaning="outgoing traffic has the host's address",
        parse=boolean,
        default=True,
    ),
    HOST_BINDING := Option[IPAddress | None](
        name="host_binding",
        label=LABEL_PREFIX + "host_binding_ipv4",
        meaning="host address for ports that -p publishes without an address",
        parse=address,
        default=None,
        default_text="all addresses",
    ),
    GATEWAY_MODE4 := Option[GatewayMode](
        name="gateway_mode_ipv4",
        label=LABEL_PREFIX + "gateway_mode_ipv4",
        meaning="IPv4 traffic to and from the outside: nat, nat-unprotected, routed or isolated",
        parse=_gateway_mode,
        default=GatewayMode.NAT,
    ),
    GATEWAY_MODE6 := Option[GatewayMode](
        name="gateway_mode_ipv6",
        label=LABEL_PREFIX + "gateway_mode_ipv6",
        meaning="IPv6 traffic to and from the outside: nat, nat-unprotected, routed or isolated",
        parse=_gateway_mode,
        default=GatewayMode.NAT,
    ),
    INHIBIT_IPV4 := Option[bool](
        name="inhibit_ipv4",
        label=LABEL_PREFIX + "inhibit_ipv4",
        meaning="the bridge has no IPv4 address",
        parse=boolean,
        default=False,
    ),
    TRUSTED_INTERFACES := Option[tuple[str, ...]](
        name="trusted_interfaces",
        label=LABEL_PREFIX + "trusted_host_interfaces",
        meaning="host links, separated by colons, from which all ports of sandboxes can be reached directly",
        parse=_links,
        default=(),
    ),
    DEFAULT_BRIDGE_FLAG := Option[bool](
        name="default_bridge",
        label=LABEL_PREFIX + "default_bridge",
        meaning="refused if true, because the default bridge network can't be created by hand",
        parse=boolean,
        default=False,
    ),
    HOST_IPV4 := Option[IPv4Address | None](
        name="host_ipv4",
        label="com.docker.network.host_ipv4",
        meaning="source address of outgoing IPv4 traffic",
        parse=address4,
        default=None,
        default_text="as masquerade says",
    ),
    HOST_IPV6 := Option[IPv6Address | None](
        name="host_ipv6",
        label="com.docker.network.host_ipv6",
        meaning="source address of outgoing IPv6 traffic",
        parse=address6,
        default=None,
        default_text="as masquerade says",
    ),
    HOST_ACCESS := Option[HostAccess | None](
        name="host_access",
        label="berth.host_access",
        meaning="services of the host that sandboxes reach: all, none, or ports=443,53/udp",
        parse=host_access,
        default=None,
        default_text="all; with --internal none",
    ),
    UNKNOWN_PORTS := Option[bool | None](
        name="unknown_ports",
        label="berth.unknown_ports",
        meaning="what ports of the bridge that berth did not make may send: allow or drop",
        parse=lambda text: one_of("allow", "drop")(text) == "allow",
        default=None,
        default_text="drop; on an existing bridge allow",
    ),
)


def parse_options(network_id: NetworkId, labels: Mapping[str, str], *, link_name: str | None = None) -> BridgeOptions:
    """Return what *labels* mean for the network with *network_id*. *link_name*: of the bridge, unless they give another."""
    if DEFAULT_BRIDGE_FLAG.of(labels):
        raise InvalidRequest("option default_bridge", "the default bridge network can't be created by hand")
    binding = HOST_BINDING.of(labels)
    return BridgeOptions(
        bridge_name=NAME.of(labels) or link_name or f"br-{network_id[:12]}",
        bridge_mac=stable_mac(f"bridge:{network_id}"),
        icc=ICC.of(labels),
        masquerade=MASQUERADE.of(labels),
        host_binding=() if binding is None else (binding,),
        gateway_mode_ipv4=GATEWAY_MODE4.of(labels),
        gateway_mode_ipv6=GATEWAY_MODE6.of(labels),
        inhibit_ipv4=INHIBIT_IPV4.of(labels),
        trusted_interfaces=TRUSTED_INTERFACES.of(labels),
        snat_ipv4=HOST_IPV4.of(labels),
        snat_ipv6=HOST_IPV6.of(labels),
        host_access=HOST_ACCESS.of(labels),
        allow_unknown_ports=UNKNOWN_PORTS.of(labels),
    )


class BridgeDriver(DriverDefaults):
    """See the module."""

    name = "bridge"
    options = OPTIONS
    has_host_veth = True

    def configure(self, new: NewNetwork, existing: ExistingNetworks, host: HostConstraints) -> Configured:
        parsed = parse_options(new.id, new.labels, link_name=_PREDEFINED_LINKS.get(new.name))
        problems = Problems()
        for mode, family in ((parsed.gateway_mode_ipv4, 4), (parsed.gateway_mode_ipv6, 6)):
            with problems.noted():
                if mode is GatewayMode.ISOLATED and not new.internal:
                    reason = "gateway mode 'isolated' can only be used for an internal network; add --internal"
                    raise InvalidRequest(f"option gateway_mode_ipv{family}", reason)
        with problems.noted():
            parsed = _check_link(new.name, parsed, existing, host)
        with problems.noted():
            if not new.ipv4 and not new.ipv6:
                raise InvalidRequest("network", "IPv4 or IPv6 must be enabled; leave out --ipv4=false or add --ipv6")
        problems.refuse()
        return Configured(options=parsed, mtu=host.egress_mtu, internal=new.internal)

    def wants_gateway(self, network: Network, family: int) -> bool:
        options = network.bridge
        if _mode(options, family) is GatewayMode.ISOLATED:
            return False
        return not (network.internal and family == 4 and options.inhibit_ipv4)

    def network_objects(self, network: Network, facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
        options, name, addresses = network.bridge, network.bridge.bridge_name, self.host_addresses(network)
        result: list[KernelObject] = [
            Bridge(name=name, mac=options.bridge_mac, mtu=network.common.mtu, tag=f"berth:{network.id}", reused=options.reuse_bridge)
        ]
        result += [Address(sandbox_id=HOST, ifname=name, interface=interface) for interface in addresses]
        result += _bridge_sysctls(network, facts)
        if not network.internal:
            result += _forwarding(network, facts)
        if facts.firewall:
            result.append(GuardedLink(ifname=name))
            result += firewall.network_elements(network)
            if facts.resolver_at_gateways:
                result += firewall.resolver_elements(name, [interface.ip for interface in addresses])
            result += host_rules.network_elements(network, addresses)
        return tuple(result)

    def endpoint_objects(self, network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
        result: list[KernelObject] = [
            _host_link(network, endpoint),
            BridgePort(host_ifname=endpoint.host_ifname, mac=endpoint.mac, router=forwards),
        ]
        if endpoint.tap is None:
            result += link.inside(network, endpoint, port=endpoint.host_ifname)
        result += self._neighbors(network, endpoint)
        if endpoint.ports:
            result.append(Hairpin(host_ifname=endpoint.host_ifname))
        if facts.firewall:
            if not network.bridge.icc:
                result.append(GuardedPort(ifname=endpoint.host_ifname, separate=True))
            result += firewall.endpoint_elements(network, endpoint, forwards=forwards)
            if not network.internal:
                result += firewall.port_elements(network, endpoint)
        return tuple(result)

    def host_link(self, network: Network) -> AttachedLink | None:
        return AttachedLink(name=network.bridge.bridge_name, routed=True)

    def host_addresses(self, network: Network) -> tuple[IPInterface, ...]:
        """Return the addresses that the bridge itself carries (BR-6, BR-8)."""
        result = []
        for family in (4, 6):
            pool = network.pool(family)
            inhibited = family == 4 and network.bridge.inhibit_ipv4
            if pool is None or inhibited or _mode(network.bridge, family) is GatewayMode.ISOLATED:
                continue
            own = _own_gateway(pool)
            if own is not None:
                result.append(with_prefix(own, pool.subnet.prefixlen))
        return tuple(result)

    def default_hop(self, network: Network, endpoint: Endpoint, family: int) -> Hop | None:
        interface = endpoint.ipv4 if family == 4 else endpoint.ipv6
        pool = network.pool_of(interface.ip) if interface is not None else None
        if network.internal or pool is None:
            return None
        gateway = dict(pool.auxiliary).get(f"DefaultGatewayIPv{family}", pool.gateway)
        return Hop(gateway) if gateway is not None else None

    def publishing(self, network: Network, family: int) -> Publishing | None:
        return Publishing(mode=_mode(network.bridge, family), binding=network.bridge.host_binding)

    def check_endpoint(self, network: Network, request: EndpointRequest, present: int) -> None:
        if present >= limits.BRIDGE_PORTS:
            raise Exhausted("network", network.name, because=f"a bridge takes at most {limits.BRIDGE_PORTS} endpoints; add a network")

    def _neighbors(self, network: Network, endpoint: Endpoint) -> Iterable[Neighbor]:
        """Yield the neighbour entries that bridge and endpoint have for each other, in the families that the bridge has an address of."""
        carried = {interface.ip for interface in self.host_addresses(network)}
        bridge, options = network.bridge.bridge_name, network.bridge
        for interface, gateway_pool in ((endpoint.ipv4, network.pool(4)), (endpoint.ipv6, network.pool(6))):
            if interface is None or gateway_pool is None:
                continue
            own = _own_gateway(gateway_pool)
            if own is None or own not in carried:
                continue
            yield Neighbor(sandbox_id=HOST, ifname=bridge, address=interface.ip, mac=endpoint.mac)
            if not options.reuse_bridge and endpoint.tap is None:
                yield Neighbor(sandbox_id=endpoint.sandbox_id, ifname=endpoint.ifname, address=own, mac=options.bridge_mac)


def _host_link(network: Network, endpoint: Endpoint) -> Veth | TapLink:
    if endpoint.tap is not None:
        return TapLink(
            host_ifname=endpoint.host_ifname,
            owner=endpoint.tap.owner,
            group=endpoint.tap.group,
            mtu=network.common.mtu,
            bridge=network.bridge.bridge_name,
            tag=f"berth-tap:{endpoint.sandbox_id}",
        )
    return Veth(
        host_ifname=endpoint.host_ifname,
        sandbox_id=endpoint.sandbox_id,
        ifname=endpoint.ifname,
        mac=endpoint.mac,
        mtu=network.common.mtu,
        bridge=network.bridge.bridge_name,
    )


def _mode(options: BridgeOptions, family: int) -> GatewayMode:
    return options.gateway_mode_ipv4 if family == 4 else options.gateway_mode_ipv6


def _own_gateway(pool: Pool) -> IPAddress | None:
    """Return the bridge's own address; an auxiliary DefaultGatewayIPv4/6 is another router (BR-8)."""
    elsewhere = dict(pool.auxiliary).get(f"DefaultGatewayIPv{pool.subnet.version}")
    return None if pool.gateway == elsewhere else pool.gateway


def _check_link(network_name: str, parsed: BridgeOptions, existing: ExistingNetworks, host: HostConstraints) -> BridgeOptions:
    """Return *parsed*, for a bridge that berth makes or that the host has; Conflict if the name is taken (BR-3)."""
    name = parsed.bridge_name
    for other in existing.on_link(name):
        if isinstance(other.driver_options, BridgeOptions):
            raise Conflict("bridge", name, f"is in use by network {other.name}; choose another name with --opt name=")
    present = host.links.get(name)
    if present is None:
        return parsed
    if present.kind != "bridge":
        raise Conflict("network", network_name, because=f"existing interface {name} is not a bridge; choose another name with --opt name=")
    return replace(parsed, reuse_bridge=True)


def _bridge_sysctls(network: Network, facts: Facts) -> Iterable[Sysctl]:
    if not facts.ipv6:
        return
    name = network.bridge.bridge_name
    off = not network.ipv6 or network.bridge.gateway_mode_ipv6 is GatewayMode.ISOLATED
    # Where it can't be switched off, the firewall drops what sandboxes send by it.
    path = f"net/ipv6/conf/{name}/disable_ipv6"
    yield Sysctl(sandbox_id=HOST, path=path, value="1" if off else "0", optional=True, dispensable=off and facts.firewall)
    if not off:
        yield Sysctl(sandbox_id=HOST, path=f"net/ipv6/conf/{name}/accept_ra", value="0", optional=True)
        # Our addresses are unique by allocation; detection would leave them unusable for a second.
        yield Sysctl(sandbox_id=HOST, path=f"net/ipv6/conf/{name}/accept_dad", value="0", optional=True, dispensable=True)


def _forwarding(network: Network, facts: Facts) -> Iterable[Sysctl]:
    """Yield the sysctls that let the bridge's packets be forwarded; for links that they leave by see `uplinks`."""
    name = network.bridge.bridge_name
    if network.ipv4:
        yield Sysctl(sandbox_id=HOST, path=uplinks.forwarding4(name), value="1")
        # 127.0.0.1 of the host reaches published ports; `firewall` closes it to everybody else.
        yield Sysctl(sandbox_id=HOST, path=f"net/ipv4/conf/{name}/route_localnet", value="1")
    if network.ipv6 and facts.ipv6 and facts.force_forwarding:
        yield Sysctl(sandbox_id=HOST, path=uplinks.forwarding6(name), value="1")
