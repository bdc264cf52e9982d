"""What must exist inside a sandbox for one of its links, whatever driver made the link. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from netcore.desired.objects import Address, Announcement, KernelObject, LinkUp, Sysctl
from netcore.model import Endpoint, Network, SandboxId
from netcore.parse import endpoint_options


def inside(network: Network, endpoint: Endpoint, *, port: str | None = None, announces: bool = True) -> list[KernelObject]:
    """Return sysctls, addresses and announcement of an endpoint's link. *port*: the bridge port behind it, if there is one.

    *announces*: it answers ARP and neighbour discovery, so that a new address is announced.
    """
    sandbox_id, ifname = endpoint.sandbox_id, endpoint.ifname
    result: list[KernelObject] = [
        LinkUp(sandbox_id=sandbox_id, ifname=ifname),
        # With several networks a strict check would drop what arrives over the one that is not the default route.
        Sysctl(sandbox_id=sandbox_id, path=f"net/ipv4/conf/{ifname}/rp_filter", value="2"),
    ]
    if endpoint.ipv6 is None and not any(interface.version == 6 for interface in endpoint.link_local):
        # Behind a port of ours IPv6 leads nowhere: our firewall knows no IPv6 address there.
        path = f"net/ipv6/conf/{ifname}/disable_ipv6"
        result.append(Sysctl(sandbox_id=sandbox_id, path=path, value="1", optional=True, dispensable=bool(port)))
    else:
        result.append(Sysctl(sandbox_id=sandbox_id, path=f"net/ipv6/conf/{ifname}/disable_ipv6", value="0"))
        result.append(Sysctl(sandbox_id=sandbox_id, path=f"net/ipv6/conf/{ifname}/accept_ra", value="0", optional=True))
        # The link-local address would be tentative for a second, and neighbour discovery with it.
        result.append(Sysctl(sandbox_id=sandbox_id, path=f"net/ipv6/conf/{ifname}/accept_dad", value="0", optional=True, dispensable=True))
    # What the user sets for the link comes in place of ours.
    given = {sysctl.key: sysctl for sysctl in sysctl_objects(sandbox_id, ifname, endpoint.sysctls)}
    result = [ours for ours in result if ours.key not in given]
    result += given.values()
    interfaces = [interface for interface in (endpoint.ipv4, endpoint.ipv6, *endpoint.link_local) if interface is not None]
    result += [Address(sandbox_id=sandbox_id, ifname=ifname, interface=interface) for interface in interfaces]
    if announces and network.common.announcements and endpoint.addresses():
        result.append(
            Announcement(
                sandbox_id=sandbox_id,
                ifname=ifname,
                port=port,
                mac=endpoint.mac,
                addresses=endpoint.addresses(),
                count=network.common.announcements,
                interval=network.common.announcement_interval_ms / 1000,
            )
        )
    return result


def sysctl_objects(sandbox_id: SandboxId, ifname: str, settings: endpoint_options.LinkSysctls) -> Iterable[Sysctl]:
    """Yield the sysctls that *settings* mean for the link called *ifname*."""
    for path, value in settings:
        yield Sysctl(sandbox_id=sandbox_id, path=path.format(ifname=ifname), value=value)
