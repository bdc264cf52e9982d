"""Plans: what an operation will do, before anything of it has happened. Pure.

A plan holds what exists before and after, claims on what others may want too (addresses, pools), and warnings.
`controller.transaction` carries it out; `--dry-run` prints it. Some of it is known only on the way, because a plugin
says it: a draft lacks that, and pure functions complete it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netcore import drivers
from netcore.default_route import DefaultRoute
from netcore.desired import host_rules, hostsfile
from netcore.desired.diff import Step, diff
from netcore.desired.objects import Announcement, KernelObject
from netcore.errors import Conflict, NotFound
from netcore.model import (
    BridgeOptions,
    Endpoint,
    EndpointRequest,
    IPAddress,
    NetnsPath,
    Network,
    NetworkId,
    PortMapping,
    Sandbox,
    SandboxId,
    Stack,
)
from netcore.plan import egress, gateway, link_names, published_ports, tap
from netcore.plan import endpoint as plan_endpoint
from netcore.plan import sandbox as plan_sandbox
from netcore.plan.desired_state import own_default_routes
from netcore.plan.host_state import HostState, SandboxState

IsFresh = Callable[[NetworkId, IPAddress], bool]
"""Whether an address, which is taken, was nobody's before."""


@dataclass(frozen=True, slots=True)
class AddressClaim:
    """An address that an endpoint needs: *wish*, or with None any of *family*. *mac*: of the endpoint, for IPAM plugins."""

    network: Network
    family: int
    wish: IPAddress | None
    mac: str | None

    def describe(self) -> str:
        """Return one line for `--dry-run`."""
        source = f" from plugin {self.network.ipam.plugin}" if self.network.ipam is not None else ""
        return f"claim {self.wish or f'an IPv{self.family} address'} on network {self.network.name}{source}"


@dataclass(frozen=True, slots=True)
class PoolClaim:
    """A pool that a network needs from an IPAM plugin."""

    network: str
    family: int
    plugin: str

    def describe(self) -> str:
        """Return one line for `--dry-run`."""
        return f"claim an IPv{self.family} pool for network {self.network} from plugin {self.plugin}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation did, or would do: its claims and steps, and what the user should know."""

    steps: tuple[AddressClaim | PoolClaim | Step, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDraft:
    """An endpoint that lacks its addresses. *request* has been checked."""

    request: EndpointRequest
    network: Network
    mac: str | None
    claims: tuple[AddressClaim, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPlan:
    """A sandbox that is made or gets endpoints. *before* None: it is made, in the namespace at *adopted* if that is given.

    *used_ifnames*: names that links in its namespace have.
    """

    before: SandboxState | None
    sandbox: Sandbox
    drafts: tuple[EndpointDraft, ...] = ()
    adopted: NetnsPath | None = None
    used_ifnames: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def present(self) -> tuple[Endpoint, ...]:
        """The endpoints that it has already."""
        return self.before.endpoints if self.before is not None else ()

    def claims(self) -> tuple[AddressClaim, ...]:
        """Return the addresses that are needed."""
        return tuple(claim for draft in self.drafts for claim in draft.claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """A network that is made, with its pools. *objects*: those that come and go with it."""

    network: Network
    objects: tuple[KernelObject, ...]
    warnings: tuple[str, ...] = ()

    def steps(self) -> tuple[Step, ...]:
        """Return what makes the network."""
        return diff((), self.objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectPlan:
    """A sandbox that loses the endpoints *gone* and keeps those of *after*, with the ports that these can publish."""

    before: SandboxState
    after: SandboxState
    gone: tuple[Endpoint, ...]
    steps: tuple[Step, ...]
    target: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookups:
    """What must be read before endpoints can be planned. *parent_macs*: of the host links that networks take their MAC from."""

    used_ifnames: frozenset[str] = frozenset()
    parent_macs: Mapping[NetworkId, str] = field(default_factory=dict)


def names_are_known(sandbox: Sandbox, networks: Iterable[Network]) -> bool:
    """Return whether the names of links in *sandbox* can be taken for those of its endpoints: others are found when a pair is made."""
    return not sandbox.adopted and all(drivers.of(network).has_host_veth for network in networks)


def with_own_routes(state: HostState, before: SandboxState | None, sandbox: Sandbox, found: Sequence[DefaultRoute]) -> Sandbox:
    """Return an adopted *sandbox* with the default routes that its namespace has by itself, of those *found* there.

    In a family in which ours is in place, it is what was known before.
    """
    ours: set[int] = set()
    if before is not None:
        ways_out = zip((4, 6), gateway.gateway_endpoints(before.endpoints, state.networks), strict=True)
        ours = {family for family, endpoint in ways_out if endpoint is not None and not sandbox.keeps_default_route(family)}
    known = [route for route in sandbox.own_routes if route.family in ours]
    return replace(sandbox, own_routes=(*known, *(route for route in found if route.family not in ours)))


def plan_connect(
    state: HostState,
    before: SandboxState | None,
    sandbox: Sandbox,
    requests: Sequence[EndpointRequest],
    lookups: Lookups,
    *,
    adopted: NetnsPath | None = None,
    warnings: tuple[str, ...] = (),
) -> SandboxPlan:
    """Return the plan for *requests*; Conflict, InvalidRequest, Exhausted, NotFound for what can't be."""
    present = {endpoint.network_id for endpoint in before.endpoints} if before is not None else set()
    drafts: list[EndpointDraft] = []
    used = set(lookups.used_ifnames)
    for request in requests:
        network = state.find_network(request.network)
        if network.id in present:
            raise Conflict("sandbox", sandbox.name, f"is already attached to network {network.name}")
        present.add(network.id)
        drafts.append(_draft(state, sandbox, network, request, lookups, used))
    if before is None:
        named_by_plugins = any(drivers.of(draft.network).plugin(draft.network) is not None for draft in drafts)
        plan_sandbox.check_link_sysctls(sandbox, used, complete=not named_by_plugins)
    check_egress(state, before, sandbox, [state.networks[network_id] for network_id in present], drafts, lookups)
    if sandbox.own_routes and not sandbox.replaces_routes and any(not draft.network.internal for draft in drafts):
        kept = " and the ".join(route.describe() for route in sandbox.own_routes)
        warnings = (*warnings, f"{sandbox.name} keeps the {kept}; attach it with --gateway to replace it while it is attached")
    warnings = (*warnings, *_lacks_host_gateway(sandbox, [state.networks[network_id] for network_id in present]))
    return SandboxPlan(
        before=before,
        sandbox=sandbox,
        drafts=tuple(drafts),
        adopted=adopted,
        used_ifnames=lookups.used_ifnames,
        warnings=warnings,
    )


def check_egress(
    state: HostState,
    before: SandboxState | None,
    sandbox: Sandbox,
    networks: Sequence[Network],
    drafts: Sequence[EndpointDraft],
    lookups: Lookups,
) -> None:
    """Raise InvalidRequest or Conflict if *sandbox* has egress rules that can't be kept on *networks*."""
    ours = {endpoint.ifname for endpoint in before.endpoints} if before is not None else set()
    foreign = lookups.used_ifnames - ours if sandbox.adopted else frozenset()
    egress.check_possible(sandbox, networks, state.facts.egress, firewall=state.facts.firewall, foreign=foreign)
    macs = [draft.mac for draft in drafts if draft.request.mac is not None]
    if macs:
        # Frames to a sandbox with rules are known by its MAC alone, whatever network they are on.
        there = {endpoint.mac for _, endpoint in state.all_endpoints()}
        confined = {endpoint.mac for other, endpoint in state.all_endpoints() if other.egress is not None}
        has_rules = bool(egress.layers_of(sandbox, networks, state.facts.egress))
        taken = next((mac for mac in macs if mac in (there if has_rules else confined)), None)
        if taken is not None:
            raise Conflict("mac-address", taken, "is in use, and must be alone on this host where egress rules are")


def _lacks_host_gateway(sandbox: Sandbox, networks: Sequence[Network]) -> Iterable[str]:
    """Yield a warning for each `host-gateway` line that *sandbox* does not get on *networks*: the host has no address there."""
    may_come = not networks and sandbox.stack is not Stack.NONE  # a later connect gives one, and host mode has its loopback
    if may_come or any(not network.internal or drivers.of(network).host_addresses(network) for network in networks):
        return
    where = ", ".join(network.name for network in networks)
    for text in sandbox.extra_hosts:
        name, address = hostsfile.parse_extra_host(text)
        if address is None:
            reason = f"the host has no address on network {where}" if networks else "network mode none has no way to it"
            yield f"{name} is not in the hosts file (--add-host {text}): {reason}"


def _draft(
    state: HostState, sandbox: Sandbox, network: Network, request: EndpointRequest, lookups: Lookups, used: set[str]
) -> EndpointDraft:
    """Return the draft for *request*; the name that its link will have is added to *used*."""
    free_ifname = link_names.in_sandbox(sandbox.name, None, network.common.ifname_prefix, used)
    checked = plan_endpoint.check_endpoint_request(request, network, free_ifname=free_ifname, sysctls=sandbox.sysctls)
    # By its name, whatever it was called by: links follow a rename.
    checked = replace(checked, links=tuple((state.find_sandbox(target).name, alias) for target, alias in checked.links))
    drivers.of(network).check_endpoint(network, checked, state.indexes.count_of(network.id))
    mac = plan_endpoint.choose_mac(checked, network, lookups.parent_macs.get(network.id))
    if checked.tap is not None and mac is not None:
        checked = tap.with_own_ipv6(checked, network, mac)
    ifname = checked.ifname or free_ifname
    used.add(ifname)
    wishes: dict[int, IPAddress | None] = {4: checked.ipv4, 6: checked.ipv6}
    if checked.mac or any(wishes.values()):
        _check_wishes(checked.mac, [wish for wish in wishes.values() if wish is not None], network, state.members(network.id))
    families = plan_endpoint.families_for(checked, network, ifname=ifname, sysctls=sandbox.sysctls)
    claims = [AddressClaim(network, family, wishes[family], mac) for family in families]
    return EndpointDraft(request=checked, network=network, mac=mac, claims=tuple(claims))


def _check_wishes(mac: str | None, wishes: Collection[IPAddress], network: Network, members: Collection[tuple[Sandbox, Endpoint]]) -> None:
    """Raise Conflict if one of *members* has *mac* on *network*, or one of the addresses *wishes*: that names the sandbox."""
    if mac and any(endpoint.mac == mac for _, endpoint in members):
        raise Conflict("mac-address", mac, f"is in use on network {network.name}")
    for sandbox, endpoint in members:
        for address in endpoint.addresses():
            if address in wishes:
                field = "ip" if address.version == 4 else "ip6"
                because = f"address already in use on network {network.name} by {_holder(sandbox)}"
                raise Conflict(field, str(address), because=because)


def _holder(sandbox: Sandbox) -> str:
    if sandbox.ended:
        return f"what is left of sandbox {sandbox.name}; remove the sandboxes that share its network stack"
    return f"sandbox {sandbox.name}"


def complete_endpoints(
    plan: SandboxPlan, addresses: Mapping[AddressClaim, IPAddress], random_hex: plan_endpoint.RandomHex = secrets.token_hex
) -> tuple[Endpoint, ...]:
    """Return the new endpoints of *plan* with *addresses*; a claim without one is of a plugin that was not asked (dry run)."""
    used = set(plan.used_ifnames)
    made = []
    for draft in plan.drafts:
        endpoint = plan_endpoint.plan_endpoint(
            draft.request,
            draft.network,
            plan.sandbox,
            addresses={claim.family: addresses[claim] for claim in draft.claims if claim in addresses},
            mac=draft.mac,
            used_ifnames=used,
            random_hex=random_hex,
        )
        used.add(endpoint.ifname)
        made.append(endpoint)
    return tuple(made)


def with_ports(state: HostState, sandbox: Sandbox, endpoints: Sequence[Endpoint], mappings: Sequence[PortMapping]) -> SandboxState:
    """Return *sandbox* with *endpoints*, each family's published ports on the endpoint of its gateway."""
    ports = tuple(mappings)
    after = published_ports.assign_ports(endpoints, state.networks, ports)
    return SandboxState(sandbox if sandbox.ports == ports else replace(sandbox, ports=ports), after)


def ended(before: SandboxState) -> SandboxState:
    """Return what is left of a sandbox that has ended while others share its network stack: that publishes nothing any more."""
    sandbox = replace(before.sandbox, ended=True, owner=None, leader=None, health=None, ports=())
    return SandboxState(sandbox, tuple(replace(endpoint, ports=()) for endpoint in before.endpoints))


def host_gateway_warnings(state: HostState, after: SandboxState) -> tuple[str, ...]:
    """Return what keeps names that `--add-host` gives to the host from being of use: the network is closed to its services."""
    names = [name for name, address in map(hostsfile.parse_extra_host, after.sandbox.extra_hosts) if address is None]
    addresses = gateway.host_addresses(after.endpoints, state.networks) if names else ()
    networks = [state.networks[endpoint.network_id] for endpoint in after.endpoints]
    closed = [
        network.name
        for network in networks
        if isinstance(network.driver_options, BridgeOptions)
        and host_rules.open_ports(network) == ()
        and any(interface.ip in addresses for interface in drivers.of(network).host_addresses(network))
    ]
    return tuple(
        f"{name} is a name for the host (host-gateway), whose services network {network} does not reach;"
        " create the network with -o host_access=all or ports=.."
        for name in names
        for network in closed
    )


def taken_ports(state: HostState, sandbox: Sandbox) -> list[tuple[str, PortMapping]]:
    """Return (sandbox name, mapping) of all ports that sandboxes other than *sandbox* publish."""
    return [(other.name, mapping) for other in state.sandboxes.values() if other.id != sandbox.id for mapping in other.ports]


def change_steps(state: HostState, before: SandboxState | None, after: SandboxState) -> tuple[Step, ...]:
    """Return the steps from *before* to *after* of one sandbox."""
    if before is None:
        old: Sequence[KernelObject] = own_default_routes(after.sandbox)
    else:
        sandbox = before.sandbox
        if sandbox.own_routes != after.sandbox.own_routes:
            # Somebody has set a default route since the last operation, which has to make way too.
            sandbox = replace(sandbox, own_routes=after.sandbox.own_routes)
        old = state.objects_of(sandbox, before.endpoints)
    return diff(old, state.objects_of(after.sandbox, after.endpoints))


def without_needless_announcements(state: HostState, steps: Iterable[Step], endpoints: Iterable[Endpoint], is_fresh: IsFresh) -> list[Step]:
    """Return *steps* that announce those addresses of *endpoints* that somebody may remember as another's.

    A broadcast goes through every port of its bridge. Nobody can have an address in a cache that nobody had before, where only
    sandboxes are.
    """
    needless = {
        (endpoint.sandbox_id, endpoint.ifname, address)
        for endpoint in endpoints
        if _has_only_sandboxes(state, state.networks[endpoint.network_id])
        for address in endpoint.addresses()
        if is_fresh(endpoint.network_id, address)
    }
    result = []
    for step in steps:
        if isinstance(step.after, Announcement):
            where = step.after.sandbox_id, step.after.ifname
            left = tuple(address for address in step.after.addresses if (*where, address) not in needless)
            step = replace(step, after=replace(step.after, addresses=left))
        result.append(step)
    return result


def _has_only_sandboxes(state: HostState, network: Network) -> bool:
    """Return whether nobody but this host's sandboxes and the host itself can send on *network*."""
    options = network.driver_options
    is_ours = isinstance(options, BridgeOptions) and not network.is_overlay and not options.reuse_bridge and not options.allow_unknown_ports
    return is_ours and state.facts.firewall


def linking_to(state: HostState, name: str) -> list[SandboxId]:
    """Return the ids of the sandboxes with a link to the sandbox called *name*."""
    return [
        sandbox_id
        for sandbox_id, endpoints in state.endpoints.items()
        if any(target == name for endpoint in endpoints for target, _ in endpoint.links)
    ]


def rename_links(state: HostState, before: SandboxState, after: Sandbox) -> list[tuple[SandboxState, SandboxState]]:
    """Return (before, after) of the sandbox that becomes *after*, and of each whose links lead to it: they follow its name."""
    old, new = before.sandbox.name, after.name

    def follow(endpoint: Endpoint) -> Endpoint:
        return replace(endpoint, links=tuple((new if target == old else target, alias) for target, alias in endpoint.links))

    others = [state.sandbox_state(identity) for identity in linking_to(state, old) if old != new and identity != after.id]
    changes = [(before, replace(before, sandbox=after)), *((other, other) for other in others)]
    return [(was, replace(will, endpoints=tuple(map(follow, will.endpoints)))) for was, will in changes]


def left_without(state: HostState, before: SandboxState, network: Network) -> tuple[Endpoint, ...]:
    """Return the endpoints that a sandbox keeps when it is taken off *network*; NotFound if it is not on it.

    Its endpoint on the gateway bridge goes too, if no network that is left needs it (GW-9).
    """
    sandbox = before.sandbox
    if before.endpoint_on(network.id) is None:
        raise NotFound("endpoint", f"sandbox {sandbox.name} is not connected to network {network.name}")
    left = [endpoint for endpoint in before.endpoints if endpoint.network_id != network.id]
    return tuple(without_idle_gateway_bridge(left, state.networks))


def without_idle_gateway_bridge(endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> list[Endpoint]:
    """Return *endpoints* without the one on the gateway bridge, unless it is needed (GW-9)."""
    if gateway.needs_gateway_bridge(endpoints, networks):
        return [*endpoints]
    return [endpoint for endpoint in endpoints if not networks[endpoint.network_id].is_gateway_bridge]


def lacks_gateway_bridge(endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> bool:
    """Return whether a sandbox with *endpoints* must be connected to the gateway bridge and is not (GW-9)."""
    present = [*endpoints]
    is_on = any(networks[endpoint.network_id].is_gateway_bridge for endpoint in present)
    return not is_on and gateway.needs_gateway_bridge(present, networks)


def plan_disconnect(
    state: HostState, before: SandboxState, network: Network, left: Sequence[Endpoint], ports: published_ports.PortPlan
) -> DisconnectPlan:
    """Return the plan for taking a sandbox off *network*, so that the endpoints *left* publish *ports*."""
    after = with_ports(state, before.sandbox, left, ports.mappings)
    kept = {endpoint.network_id for endpoint in left}
    return DisconnectPlan(
        before=before,
        after=after,
        gone=tuple(endpoint for endpoint in before.endpoints if endpoint.network_id not in kept),
        steps=change_steps(state, before, after),
        target=f"endpoint of {before.sandbox.name} on {network.name}",
        warnings=ports.warnings,
    )


def plan_removal(state: HostState, before: SandboxState) -> DisconnectPlan:
    """Return the plan for removing a sandbox with everything it has."""
    steps = diff(state.objects_of(before.sandbox, before.endpoints), own_default_routes(before.sandbox))
    after = SandboxState(before.sandbox)
    return DisconnectPlan(before=before, after=after, gone=before.endpoints, steps=steps, target=f"sandbox {before.sandbox.name}")
