"""The namespace of a sandbox: made, adopted, shared, looked into. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from netcore.default_route import DefaultRoute
from netcore.errors import Conflict, InvalidRequest
from netcore.kernel import default_routes, netns, rtnl, sysctl
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.kernel.seal import Seal
from netcore.model import NetnsPath


def make(netns_path: NetnsPath) -> None:
    """Make a namespace, pinned at *netns_path*, with its loopback up and forwarding off, whatever it inherited."""
    netns.create(netns_path, _prepare)


def make_unpinned(inside: Callable[[], None]) -> int:
    """Return a descriptor of a namespace like those of `make` that is pinned nowhere: it goes when the descriptor is closed.

    *inside*: what else is done there, on the thread that makes it.
    """

    def prepare() -> None:
        _prepare()
        inside()

    return netns.create_unpinned(prepare)[0]


def seal(netns_descriptor: int) -> Seal:
    """Return what tells whether the namespace of *netns_descriptor* is changed from now on."""
    return Seal(netns_descriptor)


def pin(netns_descriptor: int, netns_path: NetnsPath) -> None:
    """Pin the namespace of *netns_descriptor* at *netns_path*, as it is."""
    netns.pin(f"/proc/self/fd/{netns_descriptor}", netns_path)


def adopt(source: NetnsPath, netns_path: NetnsPath, taken: Mapping[str, NetnsPath]) -> None:
    """Pin the namespace at *source* to *netns_path* too. *taken*: sandbox name → path of its namespace.

    Raises InvalidRequest for the host's own namespace, Conflict for one that is a sandbox already.
    """
    with netns.opened(source) as descriptor:
        if netns.identity(descriptor) == netns.own_identity():
            raise InvalidRequest("netns", f"{source} is the host's own namespace, which can't be a sandbox")
        for name, other in taken.items():
            if netns.identity_of_path(other) == netns.identity(descriptor):
                raise Conflict("netns", source, f"is sandbox {name} already")
        netns.pin(f"/proc/self/fd/{descriptor}", netns_path)
        try:
            netns.run_inside(descriptor, _set_loopback_up)
        except BaseException:
            netns.unpin(netns_path)
            raise


def share(source: NetnsPath, netns_path: NetnsPath) -> None:
    """Pin the namespace at *source* to *netns_path* too, as it is."""
    with netns.opened(source) as descriptor:
        netns.pin(f"/proc/self/fd/{descriptor}", netns_path)


def _set_loopback_up() -> None:
    with NetlinkSocket(ROUTE) as netlink:
        netlink.execute(rtnl.set_link("lo"))


def _prepare() -> None:
    _set_loopback_up()
    sysctl.write("net/ipv4/ip_forward", "0")
    sysctl.write("net/ipv6/conf/all/forwarding", "0", optional=True)


def own_default_routes(netns_path: NetnsPath) -> tuple[DefaultRoute, ...]:
    """Return the default routes in the namespace at *netns_path*."""
    with netns.opened(netns_path) as descriptor:
        return netns.run_inside(descriptor, default_routes.read)


def sysctls(netns_path: NetnsPath, paths: Sequence[str]) -> dict[str, str]:
    """Return path → value of those of *paths* that the namespace at *netns_path* has."""
    with netns.opened(netns_path) as descriptor:
        return netns.run_inside(descriptor, lambda: sysctl.read_all(paths))


def link_names(netns_path: NetnsPath) -> set[str]:
    """Return the names of all links in the namespace at *netns_path*."""

    def read() -> set[str]:
        with NetlinkSocket(ROUTE) as netlink:
            return {link.name for link in rtnl.links(netlink)}

    with netns.opened(netns_path) as descriptor:
        return netns.run_inside(descriptor, read)


def links_up(netns_path: NetnsPath) -> set[str]:
    """Return the names of the links in the namespace at *netns_path* that are up."""

    def read() -> set[str]:
        with NetlinkSocket(ROUTE) as netlink:
            return {link.name for link in rtnl.links(netlink) if link.up}

    with netns.opened(netns_path) as descriptor:
        return netns.run_inside(descriptor, read)


def set_link_down(netns_path: NetnsPath, name: str) -> None:
    """Set a link in the namespace at *netns_path* down."""

    def change() -> None:
        with NetlinkSocket(ROUTE) as netlink:
            netlink.execute(rtnl.set_link(name, up=False))

    with netns.opened(netns_path) as descriptor:
        netns.run_inside(descriptor, change)
