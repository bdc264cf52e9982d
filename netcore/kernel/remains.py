"""What berth made on this host, whoever knows of it: links by their tag, pinned namespaces and directories by their name. Blocking."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from netcore.errors import KernelError, NetcoreError
from netcore.kernel import netns, nft, rtnl
from netcore.kernel.deferred_deletes import is_leaving
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.model import NetnsPath

_TAG, _SHARED_TAG = "berth:", "berth:parent"
_PIN = "berth-"
_REDIRECT = "table ip berth {\n}\ndelete table ip berth\n"
"""Deletes the redirect to a sandbox's resolver, whether or not it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedLink:
    """A link of the host with a tag of ours. *network_id*: which network it is of, by its tag. *ports*: those of a bridge."""

    name: str
    network_id: str
    ports: tuple[str, ...]


def tagged_links() -> list[TaggedLink]:
    """Return the links of the host that carry the tag of one network, but for those that are to be deleted already."""
    with NetlinkSocket(ROUTE) as netlink:
        links = [link for link in rtnl.links(netlink) if not is_leaving(link.group)]
    return [
        TaggedLink(
            name=link.name,
            network_id=link.alias.removeprefix(_TAG),
            ports=tuple(port.name for port in links if port.master == link.index and port.kind == "veth"),
        )
        for link in links
        if link.alias.startswith(_TAG) and link.alias != _SHARED_TAG
    ]


def remove_links(names: Iterable[str]) -> None:
    """Delete links of the host; those that are gone are done."""
    with NetlinkSocket(ROUTE) as netlink:
        for name in names:
            if rtnl.find_link(netlink, name) is not None:
                netlink.execute(rtnl.delete_link(name))


def pins(netns_directory: str) -> list[NetnsPath]:
    """Return the paths in *netns_directory* that are named as pins of sandboxes are."""
    return [NetnsPath(str(path)) for path in sorted(_entries(netns_directory)) if path.name.startswith(_PIN)]


def directories(sandboxes_directory: Path) -> list[Path]:
    """Return what is in the directory of the sandboxes' files, but for what `files.clear_way` put aside."""
    return [path for path in sorted(_entries(str(sandboxes_directory))) if not path.name.endswith(".set-aside")]


def _entries(directory: str) -> list[Path]:
    try:
        return [*Path(directory).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove_pin(netns_path: NetnsPath) -> None:
    """Take our redirect out of the namespace pinned at *netns_path*, which others may hold, and let go of it."""
    try:
        with netns.opened(netns_path) as descriptor:
            if netns.identity(descriptor) != netns.own_identity():
                _remove_ports(netns.run_inside(descriptor, _veths))
                netns.run_inside(descriptor, lambda: nft.apply_text(_REDIRECT))
    except NetcoreError:
        # There is no namespace, or none that knows nftables.
        pass
    try:
        netns.unpin(netns_path)
    except OSError as error:
        raise KernelError("remove", netns_path, error.errno or 0) from error


def _veths() -> list[rtnl.Link]:
    with NetlinkSocket(ROUTE) as netlink:
        return [link for link in rtnl.links(netlink) if link.kind == "veth"]


def _remove_ports(inside: Iterable[rtnl.Link]) -> None:
    """Delete the ports of our bridges whose other ends are *inside* a namespace."""
    ends = {(link.index, link.peer) for link in inside}
    with NetlinkSocket(ROUTE) as netlink:
        links = rtnl.links(netlink)
        ours = {link.index for link in links if link.alias.startswith(_TAG)}
        names = [link.name for link in links if link.master in ours and (link.peer, link.index) in ends]
    remove_links(names)


def remove_directory(path: Path) -> None:
    """Remove the directory of a sandbox's files, or what is in its place."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise KernelError("remove", str(path), error.errno or 0) from error
