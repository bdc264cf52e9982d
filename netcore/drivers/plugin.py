"""Networks of third-party plugins: what must exist of ours beside what the plugin makes. Pure."""

from __future__ import annotations

from netcore.desired.objects import KernelObject, MovedLink
from netcore.drivers import link
from netcore.model import Endpoint, Network


def endpoint_objects(network: Network, endpoint: Endpoint) -> tuple[KernelObject, ...]:
    """Return what must exist for *endpoint* once the plugin has answered: its link moved into the sandbox, with addresses."""
    answer = endpoint.answer
    if answer is None or answer.link is None:
        return ()
    moved = MovedLink(sandbox_id=endpoint.sandbox_id, ifname=endpoint.ifname, source=answer.link, mac=endpoint.mac)
    return (moved, *link.inside(network, endpoint, announces=bool(endpoint.mac)))
