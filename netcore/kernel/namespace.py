"""The namespace of a sandbox: made, adopted, looked into. Blocking."""

from __future__ import annotations

from collections.abc import Mapping

from netcore.errors import Conflict, InvalidRequest
from netcore.kernel import netns, rtnl, sysctl
from netcore.kernel.netlink import ROUTE, NetlinkSocket


def make(path: str) -> None:
    """Make a namespace, pinned at *path*, with its loopback up and forwarding off, whatever it inherited."""
    netns.create(path, _prepare)


def adopt(source: str, path: str, taken: Mapping[str, str]) -> None:
    """Pin the namespace at *source* to *path* too. *taken*: sandbox name → path of its namespace.

    Raises InvalidRequest for the host's own namespace, Conflict for one that is a sandbox already.
    """
    with netns.opened(source) as descriptor:
        if netns.identity(descriptor) == netns.own_identity():
            raise InvalidRequest("netns", f"{source} is the host's own namespace, which can't be a sandbox")
        for name, other in taken.items():
            if netns.identity_of_path(other) == netns.identity(descriptor):
                raise Conflict("netns", source, f"is sandbox {name} already")
        netns.pin(f"/proc/self/fd/{descriptor}", path)
        try:
            netns.run_inside(descriptor, _raise_loopback)
        except BaseException:
            netns.unpin(path)
            raise


def share(source: str, path: str) -> None:
    """Pin the namespace at *source* to *path* too, as it is."""
    with netns.opened(source) as descriptor:
        netns.pin(f"/proc/self/fd/{descriptor}", path)


def _raise_loopback() -> None:
    with NetlinkSocket(ROUTE) as netlink:
        rtnl.raise_link(netlink, "lo")


def _prepare() -> None:
    _raise_loopback()
    sysctl.write("net/ipv4/ip_forward", "0")
    sysctl.write("net/ipv6/conf/all/forwarding", "0", optional=True)


def link_names(netns_path: str) -> set[str]:
    """Return the names of all links in the namespace at *netns_path*."""

    def read() -> set[str]:
        with NetlinkSocket(ROUTE) as netlink:
            return {link.name for link in rtnl.links(netlink)}

    with netns.opened(netns_path) as descriptor:
        return netns.run_inside(descriptor, read)
