"""Which upstreams answer for external names: from settings, networks and the host's resolv.conf to upstream sets. No I/O.

Equal sets of upstreams are one `UpstreamSet` object, because answers are cached for each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from netcore.model import Endpoint, Network, NetworkId, Sandbox
from netcore.plan import gateway
from resolver import limits
from resolver.daemon.config import DaemonConfig, parse_host_listen
from resolver.daemon.hostfile import HostResolvConf
from resolver.engine import upstream
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.resolvconf import EMBEDDED
from resolver.wire import name as names

_NO_ACCESS = "the sandbox has no network with external access, so the host's nameservers are not asked for it"


@dataclass(frozen=True, slots=True)
class ChosenUpstreams:
    """Where the external names of one view go: *common*, and *by_domain* for those below a domain (its wire name)."""

    common: UpstreamSet
    by_domain: Mapping[bytes, UpstreamSet] = field(default_factory=dict)


def _usable(servers: Sequence[Upstream], *, confined: bool) -> list[Upstream]:
    """Return *servers*; for a sandbox with rules without loopback, which was meant as its own and would be the host's."""
    return [server for server in servers if not confined or not ip_address(server.address.partition("%")[0]).is_loopback]


class UpstreamSets:
    """See the module. *host*: the host's resolv.conf as it is now."""

    def __init__(self, config: DaemonConfig, host: HostResolvConf) -> None:
        self._config = config
        self._host = host
        self._known: dict[tuple[tuple[Upstream, ...], str, bool], UpstreamSet] = {}

    def configure(self, config: DaemonConfig) -> None:
        """Choose by *config* from now on."""
        self._config = config

    def given_servers(self, sandbox: Sandbox) -> tuple[str, ...]:
        """Return the name servers given for *sandbox*, its own or the daemon's; none: the host's are used."""
        return sandbox.dns.servers or self._config.dns

    def of_sandbox(
        self,
        sandbox: Sandbox,
        endpoints: Sequence[Endpoint],
        networks: Mapping[NetworkId, Network],
        gateways: Collection[str],
        *,
        confined: bool = False,
    ) -> ChosenUpstreams:
        """Return the upstreams of a sandbox with *endpoints* in gateway order (rules DNS-64..DNS-69).

        *gateways*: addresses at which the host would ask us. *confined*: it has egress rules, so nobody is asked from inside it:
        it could answer itself, and so open what it likes.
        """
        asker = None if confined else sandbox.id
        has_access = gateway.has_external_access(list(endpoints), networks)
        by_domain = self._by_domain(self._config.forward) if has_access else {}
        for endpoint in reversed(endpoints):
            # What is set for a network is asked from its sandboxes: it may be a server on that network.
            by_domain |= self._by_domain(networks[endpoint.network_id].common.forward, asker, confined=confined)
        given = self.given_servers(sandbox)
        if given:
            # Its own embedded resolver would be asked in circles (DNS-68).
            usable = _usable([upstream.parse(server, asker) for server in given if server != EMBEDDED], confined=confined)
            lacks = "its own loopback, where a sandbox with egress rules could answer itself" if confined else EMBEDDED
            return ChosenUpstreams(self._set(usable, f"--dns has no other server than {lacks}"), by_domain)
        if not has_access:
            return ChosenUpstreams(self._set((), _NO_ACCESS), by_domain)
        return ChosenUpstreams(self._of_host_file(gateways), by_domain)

    def of_network(self, network: Network, gateways: Collection[str]) -> ChosenUpstreams:
        """Return the upstreams for whoever asks a network's gateway address and is no endpoint of ours."""
        if network.internal:
            return ChosenUpstreams(self._set((), f"network {network.name} is internal"))
        return ChosenUpstreams(
            self._of_host_file(gateways), self._by_domain(self._config.forward) | self._by_domain(network.common.forward)
        )

    def of_host(self, networks: Iterable[Network], gateways: Collection[str]) -> ChosenUpstreams:
        """Return the upstreams of somebody on every network."""
        by_domain = self._by_domain(self._config.forward)
        for network in networks:
            by_domain |= self._by_domain(network.common.forward)
        return ChosenUpstreams(self._of_host_file(gateways), by_domain)

    def _of_host_file(self, gateways: Collection[str]) -> UpstreamSet:
        # What is answered for the host is ours already, and all else is refused there.
        own, port = parse_host_listen(self._config.host_listen) if self._config.host_listen else ("", 53)
        ours = {EMBEDDED, own} if port == 53 else {EMBEDDED}
        servers = [server for server in self._host.content.nameservers if server not in gateways and server not in ours]
        return self._set([Upstream(server) for server in dict.fromkeys(servers)], f"{self._host.path} names no nameserver that can be used")

    def _by_domain(
        self, forward: Iterable[tuple[str, tuple[str, ...]]], sandbox_id: str | None = None, *, confined: bool = False
    ) -> dict[bytes, UpstreamSet]:
        return {
            names.from_text(domain): self._set(
                _usable([upstream.parse(server, sandbox_id) for server in servers], confined=confined),
                "a sandbox with egress rules may not ask the host's own loopback",
                is_trusted=True,
            )
            for domain, servers in forward
        }

    def _set(self, servers: Sequence[Upstream], reason: str, *, is_trusted: bool = False) -> UpstreamSet:
        key = (tuple(servers[: limits.UPSTREAMS]), reason, is_trusted)
        upstreams = self._known.get(key)
        if upstreams is None:
            upstreams = self._known[key] = UpstreamSet(key[0], reason, is_trusted=is_trusted)
        return upstreams

    def keep(self, used: Iterable[UpstreamSet]) -> None:
        """Forget the sets that are not among *used*."""
        wanted = set(used)
        self._known = {key: upstreams for key, upstreams in self._known.items() if upstreams in wanted}
