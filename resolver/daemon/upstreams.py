"""Where foreign names go: from settings, networks and the host's resolv.conf to the routes of each view. No I/O.

Equal sets of upstreams are one `Route` object, because answers are remembered for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from netcore.model import Endpoint, Network, NetworkId, Sandbox
from netcore.plan import gateway
from resolver import limits
from resolver.daemon.config import DaemonConfig
from resolver.daemon.hostfile import HostResolvConf
from resolver.resolvconf import EMBEDDED
from resolver.wire import name as names
from resolver.zone import upstream
from resolver.zone.upstream import Route, Upstream

_NO_ACCESS = "the sandbox has no network with external access, so the host's nameservers are not asked for it"

Found = tuple[Route, Mapping[bytes, Route]]
"""(where names go, where those below a domain go)."""


class Routes:
    """See the module. *host*: the host's resolv.conf as it is now."""

    def __init__(self, config: DaemonConfig, host: HostResolvConf) -> None:
        self._config = config
        self._host = host
        self._known: dict[tuple[tuple[Upstream, ...], str, bool], Route] = {}

    def own_servers(self, sandbox: Sandbox) -> tuple[str, ...]:
        """Return the nameservers given for *sandbox*, its own or the daemon's; none: the host's are used."""
        return sandbox.dns.servers or self._config.dns

    def of_sandbox(
        self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network], own: frozenset[str]
    ) -> Found:
        """Return the routes of a sandbox with *endpoints* in gateway order (rules DNS-64..DNS-69).

        *own*: addresses of our gateways, where the host would ask us.
        """
        has_access = gateway.has_external_access(list(endpoints), networks)
        domains = self._domains(self._config.forward) if has_access else {}
        for item in reversed(endpoints):
            # What is set for a network is asked from its sandboxes: it may be a server on that network.
            domains |= self._domains(networks[item.network_id].common.forward, sandbox.id)
        given = self.own_servers(sandbox)
        if given:
            # Its own embedded resolver would be asked in circles (DNS-68).
            usable = [upstream.parse(item, sandbox.id) for item in given if item != EMBEDDED]
            return self._route(usable, f"--dns has no other server than {EMBEDDED}"), domains
        if not has_access:
            return self._route((), _NO_ACCESS), domains
        return self._of_host_file(own), domains

    def of_network(self, network: Network, own: frozenset[str]) -> Found:
        """Return the routes for who asks a network's gateway address and is no endpoint of ours."""
        if network.internal:
            return self._route((), f"network {network.name} is internal"), {}
        return self._of_host_file(own), self._domains(self._config.forward) | self._domains(network.common.forward)

    def of_host(self, networks: Iterable[Network], own: frozenset[str]) -> Found:
        """Return the routes of somebody on every network."""
        domains = self._domains(self._config.forward)
        for network in networks:
            domains |= self._domains(network.common.forward)
        return self._of_host_file(own), domains

    def _of_host_file(self, own: frozenset[str]) -> Route:
        servers = [item for item in self._host.content.nameservers if item not in own and item != EMBEDDED]
        return self._route([Upstream(item) for item in dict.fromkeys(servers)], f"{self._host.path} names no nameserver that can be used")

    def _domains(self, forward: Iterable[tuple[str, tuple[str, ...]]], netns: str = "") -> dict[bytes, Route]:
        return {
            names.from_text(domain): self._route([upstream.parse(item, netns) for item in servers], "", is_trusted=True)
            for domain, servers in forward
        }

    def _route(self, upstreams: Sequence[Upstream], reason: str, *, is_trusted: bool = False) -> Route:
        key = (tuple(upstreams[: limits.UPSTREAMS]), reason, is_trusted)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Route(key[0], reason, is_trusted=is_trusted)
        return found

    def keep(self, used: Iterable[Route]) -> None:
        """Forget the routes that are not among *used*."""
        wanted = set(used)
        self._known = {key: route for key, route in self._known.items() if route in wanted}
