"""The registry: endpoints go in, zones and views come out. The only place where the two halves meet in data.

It implements netcore's `NamePublisher`, and is the only writer of zones and views. Names are swapped in one step on the
loop: a reader sees the old or the new state. The parts: `sandbox_resolver.py` (127.0.0.11), `gateway_resolver.py`,
`sandbox_files.py` (resolv.conf and its search list), `upstreams.py` (where external names go).
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from netcore import drivers
from netcore.desired.egress_rules import ALLOWED_MARK, TimedElement
from netcore.errors import NetcoreError
from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel.egress_elements import EgressElements
from netcore.model import Endpoint, Network, NetworkId, RemoteEndpoint, Sandbox, Stack
from netcore.parse.names import fits_in_dns
from netcore.plan import egress
from netcore.plan.drift import Concern
from netcore.plan.endpoint_names import label_of
from resolver.daemon import alias_targets, endpoint_records, listeners, names_of_others, numeric_names, replaced_names
from resolver.daemon.blocking import RunBlocking
from resolver.daemon.config import DaemonConfig
from resolver.daemon.egress_states import EgressStates
from resolver.daemon.gateway_clients import GatewayClients, keys_of
from resolver.daemon.gateway_resolver import GatewayResolver
from resolver.daemon.hidden_names import HiddenNames
from resolver.daemon.host_names import HostNames
from resolver.daemon.hostfile import HostResolvConf
from resolver.daemon.resolvers import Resolvers
from resolver.daemon.sandbox_files import SandboxFiles
from resolver.daemon.sandbox_resolver import SandboxResolver, watch
from resolver.daemon.served_networks import ServedNetworks
from resolver.daemon.spare_sockets import SpareSockets
from resolver.daemon.surroundings import Surroundings
from resolver.daemon.upstreams import ChosenUpstreams, UpstreamSets
from resolver.dns_client import Client, Strangers
from resolver.engine.rebinding import Protected, is_private
from resolver.engine.view import AttachedZone, View
from resolver.errors import BadName, ResolverError
from resolver.service import DnsService
from resolver.transport.poller import Poller
from resolver.wire import name as names
from resolver.zone.published import PublishedZone
from resolver.zone.static_names import StaticRecord, by_name
from resolver.zone.zone import Record, Zone


class Registry:
    """See the module. *sandbox_directory*: the directory of a sandbox's files. *kernel*: runs blocking work; set before use.

    *kept*: what outlives the daemon; None: nothing does. *static_records*: those of a network.
    *follow_socket*: is told of each socket that others may destroy, and whose it is.
    """

    def __init__(
        self,
        config: DaemonConfig,
        service: DnsService,
        poller: Poller,
        host: HostResolvConf,
        sandbox_directory: Callable[[Sandbox], Path],
        kept: KeptSockets | None = None,
        static_records: Callable[[NetworkId], Iterable[StaticRecord]] = lambda _: (),
    ) -> None:
        self._config = config
        self._service = service
        self._poller = poller
        self._host = host
        self._kept = kept or KeptSockets("", 0)
        self._static_records = static_records
        self._upstreams = UpstreamSets(config, host)
        self.host_names = HostNames(config)
        self.files = SandboxFiles(config, host, sandbox_directory)
        self._suffix = names.from_text(config.suffix)
        self._sandboxes: dict[str, SandboxResolver] = {}
        self._confined: dict[str, SandboxResolver] = {}
        self._gateways = ServedNetworks()
        self._host_addresses: tuple[IPv4Address | IPv6Address, ...] = ()
        self._every_host_address: tuple[IPv4Address | IPv6Address, ...] = ()
        self._networks: Mapping[NetworkId, Network] = {}
        self._at_gateways = GatewayClients(self._suffix, lambda: self.egress.settings)
        self.expect: Callable[[Sandbox, Sequence[Endpoint], Mapping[NetworkId, Network]], None] = self._at_gateways.expect
        self._closed_queries = 0
        self.egress = EgressStates(replace(config.egress, nat64=config.nat64_prefixes), EgressElements(), time.monotonic)
        self.client_by_id: Callable[[str], Client | None] = lambda identity: _client_in(self._sandboxes, identity)
        self.egress.target_of = lambda identity, name: alias_targets.of(self.client_by_id(identity), name)
        self.rewriting: Callable[[], contextlib.AbstractContextManager[Sequence[TimedElement]]] = self.egress.rewriting
        self.answer_waiting: Callable[[], None] = lambda: poller.answer_waiting()
        self.kernel: RunBlocking
        self.spares = SpareSockets()
        self.follow_socket: Callable[[socket.socket, Concern], None] = lambda _sock, _owner: None
        self.surroundings: Callable[[], Surroundings] = lambda: Surroundings(
            service, poller, self.kernel, self._kept, self.spares, self.follow_socket
        )
        self.resolvers = Resolvers(
            self._sandboxes, self._gateways, client_at=self._at_gateways.at, surroundings=self.surroundings, in_flight=self.in_flight,
            answers_at_gateways=config.gateway_resolver, answers_host=config.gateway_resolver_for_host,
        )  # fmt: skip

    # --- NamePublisher ----------------------------------------------------------------------------------------------

    async def open(self, sandbox: Sandbox) -> None:
        """Open the sandbox's resolver, if it has one (DNS-2); in its next namespace, if it was closed in one before."""
        if sandbox.stack is Stack.SHARED:
            return
        known = self._sandboxes.get(sandbox.id)
        if known is not None:
            known.sandbox = sandbox
            await known.listen(self.surroundings(), replace=False)
            self._rebuild(known)
            return
        if sandbox.stack is not Stack.OWN:
            await self.kernel(self.files.create(sandbox, is_new=True))
            return
        made = SandboxResolver(sandbox=sandbox, client=Client(View(suffix=self._suffix)))
        await made.listen(self.surroundings(), replace=False, first=self.files.create(sandbox, is_new=True))
        self._sandboxes[sandbox.id] = made

    async def close(self, sandbox: Sandbox, *, goes_on: bool = False) -> None:
        """End the sandbox's resolver and everything opened in its namespace. *goes_on*: names and files stay for its next namespace."""
        if not goes_on:
            self.files.forget(sandbox)
        self.egress.forget(sandbox.id)
        resolver = self._sandboxes.get(sandbox.id)
        if resolver is None:
            if self.spares.any:
                await self.kernel(lambda: self.spares.discard_at(sandbox.netns_path))
            if sandbox.adopted and sandbox.stack is Stack.OWN:
                # One of an earlier daemon may have been there.
                await self.kernel(lambda: listeners.close_in_sandbox(sandbox.netns_path))
            return
        self._confined.pop(sandbox.id, None)
        upstream_sets = resolver.client.view.upstream_sets()
        if goes_on:
            resolver.client.show(View(suffix=self._suffix))
        else:
            del self._sandboxes[sandbox.id]
            self._closed_queries += resolver.client.queries
            self._publish(resolver, (), {}, is_confined=resolver.client.view.policy is not None)
            watch(self._gateways, resolver, ())
        await resolver.close()
        await self.kernel(lambda: self._kept.drop(*listeners.names_in_sandbox(sandbox)))
        if any(upstream.sandbox_id is not None for upstreams in upstream_sets for upstream in upstreams.servers):
            self._drop_unused_upstreams()
        if sandbox.adopted:
            await self.kernel(lambda: listeners.close_in_sandbox(sandbox.netns_path))

    async def update(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> None:
        """From now on the names of *sandbox* are those of *endpoints*, in gateway order, and its resolv.conf is right for them.

        A sandbox that is on the default network bridge only reads a copy of the host's (DNS-2, RC-15, RC-20).
        """
        write = self._show(sandbox, endpoints, networks)
        if write is not None:
            await self.kernel(write)

    def _show(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> Callable[[], None] | None:
        """Publish names and view of *sandbox*; return what writes its resolv.conf, if that changes."""
        self._networks = networks
        resolver = self._sandboxes.get(sandbox.id)
        if resolver is None:
            return None
        resolver.sandbox = sandbox
        resolver.endpoints = tuple(endpoints)
        wanted = {
            endpoint.network_id: endpoint_records.of_endpoint(sandbox, endpoint, networks[endpoint.network_id]) for endpoint in endpoints
        }
        was_confined = resolver.client.view.policy is not None
        # A sandbox must see its new networks before others see it there, and lose them after.
        self._rebuild(resolver)
        self._publish(resolver, tuple(endpoints), wanted, is_confined=was_confined or resolver.client.view.policy is not None)
        attached = [networks[endpoint.network_id] for endpoint in endpoints]
        is_copy = bool(attached) and all(network.is_default_bridge for network in attached)
        return self.files.change(sandbox, is_copy=is_copy, ipv6=any(network.ipv6 for network in attached))

    def remote(self, network: Network, before: RemoteEndpoint | None, after: RemoteEndpoint | None) -> None:
        """From now on an endpoint on another host is *after*, None if it is gone."""
        gateway = self._gateways.get(network.id)
        if gateway is not None:
            gateway.zone.change(endpoint_records.of_remote(network, before), endpoint_records.of_remote(network, after))

    async def network_up(self, network: Network) -> None:
        """Serve the names of *network*, also on its gateway addresses."""
        self._add_networks([network])
        await self.resolvers.listen_at_gateways([network])

    def _add_networks(self, networks: Iterable[Network]) -> None:
        gone, made = [], []
        for network in networks:
            label = names.from_text(label_of(network))
            static = by_name(self._static_records(network.id), network.common.ttl)
            zone = PublishedZone(Zone(network.id, label, network.common.ttl, network.common.forward_single_label).with_static(static))
            addresses = tuple(str(interface.ip) for interface in drivers.of(network).host_addresses(network))
            gateway = GatewayResolver(network, zone, Strangers(Client(View(suffix=self._suffix))), addresses)
            before = self._gateways.drop(network.id)
            gone += [before] if before is not None else []
            self._gateways.put(gateway)
            made.append(gateway)
        self._networks_changed(gone, made)

    async def network_down(self, network: Network) -> None:
        """The opposite of `network_up`."""
        gateway = self._gateways.drop(network.id)
        if gateway is not None:
            self._closed_queries += sum(client.queries for client in gateway.strangers)
            self._at_gateways.drop(network.id)
            kept_names = gateway.kept_names()
            gateway.watch([])
            await gateway.close()
            if kept_names:
                await self.kernel(lambda: self._kept.drop(*kept_names))
            self._networks_changed([gateway], [])

    # --- what others break --------------------------------------------------------------------------------------

    def resolver_of(self, sandbox: Sandbox) -> SandboxResolver | None:
        """Return the resolver inside *sandbox*, None if it has none of its own."""
        return self._sandboxes.get(sandbox.id)

    def gateway_of(self, network: Network) -> GatewayResolver | None:
        """Return the resolver at the gateway of *network*."""
        return self._gateways.get(network.id)

    # --- after a start ----------------------------------------------------------------------------------------------

    def recall(
        self,
        networks_here: Iterable[Network],
        sandboxes: Sequence[tuple[Sandbox, Sequence[Endpoint]]],
        networks: Mapping[NetworkId, Network],
    ) -> list[tuple[Sandbox, str]]:
        """Publish all that an earlier daemon had published, in one step: whoever is answered from then on is answered rightly.

        *sandboxes*: with their endpoints in gateway order. Nobody is answered yet: see `resolvers`. Return the sandboxes whose
        names could not be published, each with the reason.
        """
        self._networks = networks
        self.egress.read_back()
        self._add_networks(networks_here)
        for sandbox, _ in sandboxes:
            if sandbox.stack is Stack.OWN:
                self._sandboxes[sandbox.id] = SandboxResolver(sandbox=sandbox, client=Client(View(suffix=self._suffix)))
            if sandbox.stack is not Stack.SHARED:
                self.files.create(sandbox, is_new=False)
        failed = []
        for sandbox, endpoints in sandboxes:
            try:
                self._show(sandbox, endpoints, networks)
            except (NetcoreError, ResolverError, LookupError, ValueError, TypeError, AttributeError) as error:
                failed.append((sandbox, str(error) or type(error).__name__))
        return failed

    # --- zones and views ----------------------------------------------------------------------------------------

    def _publish(
        self,
        resolver: SandboxResolver,
        endpoints: tuple[Endpoint, ...],
        wanted: Mapping[NetworkId, tuple[Record, ...]],
        *,
        is_confined: bool,
    ) -> None:
        """Publish the records *wanted* in place of what is published for this sandbox."""
        for network_id in resolver.published.keys() | wanted.keys():
            old, new = resolver.published.get(network_id, ()), wanted.get(network_id, ())
            gateway = self._gateways.get(network_id)
            if old != new and gateway is not None:
                gateway.zone.change(old, new)
        resolver.published = dict(wanted)
        before = resolver.addresses
        resolver.addresses = keys_of(
            endpoint for endpoint in endpoints if _asks_for_itself(resolver.sandbox, self._networks.get(endpoint.network_id))
        )
        self._at_gateways.move(resolver.client, before, resolver.addresses, is_confined=is_confined)

    def _rebuild(self, resolver: SandboxResolver) -> None:
        rules = egress.policy_of(resolver.sandbox, resolver.endpoints, self._networks, self.egress.settings, self._every_host_address)
        served = [endpoint for endpoint in resolver.endpoints if endpoint.network_id in self._gateways]
        own = [self._gateways[endpoint.network_id].network for endpoint in served]
        policy, kept = None, set[NetworkId]()
        if rules is not None:
            kept = {network.id for network in own} - {network.id for network in egress.known_networks(own, rules)}
            served = [endpoint for endpoint in served if endpoint.network_id not in kept]
        hidden = [(egress.known_network(network, attached=True), self._gateways[network.id].zone) for network in own if network.id in kept]
        own = [network for network in own if network.id not in kept]
        others = self._gateways.whose_names_are_found_on(own)
        if rules is None:
            self.egress.forget(resolver.sandbox.id)
        else:
            # To be found on another network is one thing, to be told to who is confined another.
            known = [gateway for gateway in others if egress.may_know_names(rules, gateway.network)]
            hidden += [(egress.known_network(one.network, attached=False), one.zone) for one in others if one not in known]
            others = known
            policy = self.egress.policy(
                resolver.sandbox.id,
                rules,
                ALLOWED_MARK | egress.firewall_part(rules, resolver.sandbox).generation,
                [address for endpoint in resolver.endpoints for address in endpoint.addresses()],
                HiddenNames(self._suffix, hidden),
            )
        zones = tuple(
            AttachedZone(
                self._gateways[endpoint.network_id].zone,
                {
                    names.from_text(alias): names.from_text(target)
                    for target, alias in endpoint.links
                    if fits_in_dns(target) and not names.is_address_form(alias)
                },
            )
            for endpoint in served
        )
        watch(self._gateways, resolver, [*(network.id for network in own), *(gateway.network.id for gateway in others)])
        present = [endpoint for endpoint in resolver.endpoints if endpoint.network_id in self._networks]
        chosen = self._upstreams.of_sandbox(resolver.sandbox, present, self._networks, self._gateways.addresses, confined=rules is not None)
        zones += tuple(AttachedZone(gateway.zone, is_own=False) for gateway in others)
        view = self._view(zones, chosen, [self._networks[endpoint.network_id] for endpoint in present])
        resolver.client.show(view if policy is None else replace(view, policy=policy))
        if policy is None:
            self._confined.pop(resolver.sandbox.id, None)
        else:
            self._confined[resolver.sandbox.id] = resolver

    def _rebuild_gateway(self, gateway: GatewayResolver) -> None:
        chosen = self._upstreams.of_network(gateway.network, self._gateways.addresses)
        others = self._gateways.whose_names_are_found_on([gateway.network])
        gateway.watch([gateway, *others])
        zones = (AttachedZone(gateway.zone), *(AttachedZone(other.zone, is_own=False) for other in others))
        gateway.strangers.show(self._view(zones, chosen, [gateway.network]))

    def _view(self, zones: tuple[AttachedZone, ...], chosen: ChosenUpstreams, networks: Sequence[Network]) -> View:
        return View(
            attached=zones,
            suffix=self._suffix,
            subnets=self._gateways.subnets,
            known=self._gateways.zones,
            upstreams=chosen.common,
            upstreams_by_domain=chosen.by_domain,
            allows_rebinding=self._config.allow_rebinding or any(network.common.allow_rebinding for network in networks),
        )

    def _networks_changed(self, gone: Sequence[GatewayResolver], came: Sequence[GatewayResolver]) -> None:
        """Take note of networks that came or went. Views are made anew only if they could differ: there may be thousands."""
        self.host_names.change(gone, came)
        self._protect()
        changed = [*gone, *came]
        moved = {address for gateway in changed for address in gateway.addresses}
        forwards = any(gateway.network.common.forward for gateway in changed)
        if forwards or self._gateways.names_are_wanted_of(changed) or not moved.isdisjoint(self._host.content.nameservers):
            self.rebuild_all()
            return
        for gateway in came:
            self._rebuild_gateway(gateway)
        self._rebuild_confined()
        # A reverse name may be ours now, or no longer.
        self._service.forget_replies()

    def host_addresses(self, addresses: Sequence[IPv4Address | IPv6Address]) -> None:
        """From now on the host's addresses that are no network's of ours are *addresses*."""
        self._host_addresses = tuple(address for address in addresses if is_private(address))
        self._every_host_address = tuple(addresses)
        self._protect()
        self._rebuild_confined()

    def _rebuild_confined(self) -> None:
        """Sandboxes with egress rules must not reach the networks and addresses that this host has now by a name."""
        with self.egress.together():
            for resolver in [*self._confined.values()]:
                self._rebuild(resolver)

    def _protect(self) -> None:
        """No answer of an upstream may point to the networks and private addresses that there are now."""
        self._service.protect(
            Protected(
                self._gateways.own,
                addresses=self._host_addresses,
                domains=_wire_names(self._host.content.search),
                nat64=self._config.nat64_prefixes,
            )
        )

    def rebuild_all(self) -> None:
        """Make all views anew."""
        with self.egress.together():
            for resolver in self._sandboxes.values():
                self._rebuild(resolver)
        for gateway in self._gateways.values():
            self._rebuild_gateway(gateway)
        self._drop_unused_upstreams()

    def _drop_unused_upstreams(self) -> None:
        """Close what was opened for upstreams that nobody asks any more, and forget their answers."""
        used = [upstreams for client in self._clients() for upstreams in client.view.upstream_sets()]
        self._upstreams.keep(used)
        self._service.keep(used)

    def _clients(self) -> list[Client]:
        strangers = (client for gateway in self._gateways.values() for client in gateway.strangers)
        return [self.host_names.client, *(resolver.client for resolver in self._sandboxes.values()), *strangers]

    async def configure(self, config: DaemonConfig) -> None:
        """Follow *config* from now on, in what can change while the daemon runs (`reload.LIVE`); egress rules are followed elsewhere."""
        before, self._config = self._config, config
        if replace(config, egress=before.egress) == before:
            return
        self._upstreams.configure(config)
        self.files.configure(config)
        await self.host_changed()

    async def host_changed(self) -> None:
        """The host's resolv.conf has changed: ask its servers from now on, and write the sandboxes' files again."""
        self._protect()
        self.rebuild_all()
        await self.kernel(self.files.rewrite())

    # --- for status, resolve and metrics ------------------------------------------------------------------------

    def client_of(self, sandbox: Sandbox) -> Client | None:
        """Return the client of *sandbox*, None if it has no resolver."""
        return self.client_by_id(sandbox.shared_with or sandbox.id)

    def everything(self) -> View:
        """Return the view of somebody on all networks, in the order of their names, with the host's upstreams."""
        gateways = sorted(self._gateways.values(), key=lambda gateway: gateway.network.name)
        chosen = self._upstreams.of_host(networks := [gateway.network for gateway in gateways], self._gateways.addresses)
        return self._view(tuple(AttachedZone(gateway.zone) for gateway in gateways), chosen, networks)

    def queries(self) -> int:
        """Return how many queries were received, those of sandboxes and networks that are gone included."""
        return sum(client.queries for client in self._clients()) + self._closed_queries

    def in_flight(self) -> int:
        """Return how many queries wait for an upstream."""
        return sum(client.in_flight for client in self._clients())

    def warnings(self) -> list[str]:
        """Return what is not as it should be, a line each."""
        known = self._gateways.by_name
        return [
            *(f"network {name}: {warning}" for name, network in known.items() for warning in names_of_others.warnings(network, known)),
            *(f"network {gateway.network.name}: {gateway.warning}" for gateway in self._gateways.values() if gateway.warning),
            *(f"sandbox {resolver.sandbox.name}: {resolver.warning}" for resolver in self._sandboxes.values() if resolver.warning),
            *(
                f"sandbox {resolver.sandbox.name}: {warning}"
                for resolver in self._sandboxes.values()
                for network_id, published in resolver.published.items()
                if network_id in self._gateways
                for warning in replaced_names.warnings(self._gateways[network_id].zone.current, published)
            ),
            *(
                f"sandbox {resolver.sandbox.name}: {warning}"
                for resolver in self._sandboxes.values()
                for warning in numeric_names.warnings(resolver.sandbox, resolver.endpoints)
            ),
            *(f"sandbox {sandbox.name}: its resolv.conf was edited and is left alone" for sandbox in self.files.edited()),
        ]


def _client_in(sandboxes: Mapping[str, SandboxResolver], identity: str) -> Client | None:
    """Return the client of the sandbox with this id, None if it has no resolver."""
    resolver = sandboxes.get(identity)
    return None if resolver is None else resolver.client


def _asks_for_itself(sandbox: Sandbox, network: Network | None) -> bool:
    """Return whether what comes from the address of *sandbox* on *network* is the sandbox's own.

    A router may pass on what others send, in its own name. On an internal network they would so reach its upstreams.
    """
    return not (sandbox.forwards and network is not None and network.internal)


def _wire_names(domains: Iterable[str]) -> Iterator[bytes]:
    """Yield those of *domains* that are domain names."""
    for domain in domains:
        with contextlib.suppress(BadName):
            yield names.from_text(domain)
