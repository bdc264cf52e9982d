"""The namespace between a nest and the outside: its link into the nest, its routes and rules. Blocking, before anything else runs."""

from __future__ import annotations

import contextlib
import socket
import struct
from ipaddress import ip_network

from netcore.errors import KernelError
from netcore.kernel import link_kinds, netns, nft, rtnl, sysctl
from netcore.kernel import rtnl_bodies as bodies
from netcore.kernel.netlink import CREATE, EXCL, REPLACE, ROUTE, NetlinkSocket, Request
from netcore.model import IPNetwork
from netcore.way_out.rules import (
    HERE4,
    HERE6,
    HERE_MAC,
    INNER,
    MARK,
    MTU,
    NEST4,
    NEST6,
    NEST_MAC,
    NEST_MARK,
    NEST_RULES,
    RULES,
    TABLE,
    UPLINK,
)  # fmt: skip

_NEWROUTE, _NEWRULE = 24, 32
_LOCAL, _HOST_SCOPE, _STATIC, _TO_TABLE = 2, 254, 4, 1
_OIF, _FWMARK, _FWMASK = 4, 10, 16
_ETH_P_ALL = 3
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def prepare(nest: int) -> socket.socket:
    """Move this process, which has one thread, into a new namespace that is linked to that of the descriptor *nest*.

    Returns a packet socket in the nest: frames that it sends come here by the link.
    """
    netns.move_to_new()
    with NetlinkSocket(ROUTE) as netlink:
        netlink.execute(rtnl.set_link("lo"))
        netns.run_inside(nest, _remove_link)
        netlink.execute(link_kinds.add_veth(INNER, master=0, mtu=MTU, peer_ifname=UPLINK, peer_mac=NEST_MAC, peer_netns_descriptor=nest))
        netlink.execute(rtnl.set_mac(INNER, HERE_MAC))
        # What is sent here from the nest's address has only this one way back.
        for path in ("net/ipv4/conf/all/rp_filter", f"net/ipv4/conf/{INNER}/rp_filter"):
            sysctl.write(path, "0", optional=True)
        netlink.execute(rtnl.set_link(INNER))
        index = rtnl.link_index(netlink, INNER)
        for address in (HERE4, HERE6):
            netlink.execute(rtnl.add_address(address, index))
            # Networks that are not masqueraded are behind it.
            netlink.execute(rtnl.replace_route(_everywhere(address.version), (NEST4 if address.version == 4 else NEST6).ip, index))
        _deliver_here(netlink, MARK)
    nft.apply_text(RULES)
    return netns.run_inside(nest, _prepare_nest)


def _remove_link() -> None:
    """Remove the link of another one that served this nest before, from the nest.

    The namespace of that one may last for minutes: connections that it left to a client who acknowledges nothing are in it.
    """
    with NetlinkSocket(ROUTE) as netlink, contextlib.suppress(KernelError):
        netlink.execute(rtnl.delete_link(UPLINK))


def _everywhere(version: int) -> IPNetwork:
    return ip_network("0.0.0.0/0" if version == 4 else "::/0")


def _deliver_here(netlink: NetlinkSocket, mark: int) -> None:
    """Have packets with the bit *mark* delivered to sockets of this namespace, whatever their destination is."""
    loopback = rtnl.link_index(netlink, "lo")
    for family in _FAMILIES:
        netlink.execute(_rule(family, mark))
        netlink.execute(_everything_is_local(family, loopback))


def _rule(family: int, mark: int) -> Request:
    """Packets with the bit *mark* are looked up in our table."""
    # struct fib_rule_hdr has the fields of struct rtmsg: the action where that has its type.
    marked = bodies.number(_FWMARK, mark) + bodies.number(_FWMASK, mark)
    return Request(_NEWRULE, CREATE | EXCL, bodies.route(family, marked, table=TABLE, kind=_TO_TABLE), "add rule", f"mark {mark:#x}")


def _everything_is_local(family: int, loopback: int) -> Request:
    body = bodies.route(family, bodies.number(_OIF, loopback), table=TABLE, protocol=_STATIC, scope=_HOST_SCOPE, kind=_LOCAL)
    return Request(_NEWROUTE, CREATE | REPLACE, body, "set route", f"table {TABLE}")


def _prepare_nest() -> socket.socket:
    with NetlinkSocket(ROUTE) as netlink:
        netlink.execute(rtnl.set_link(UPLINK))
        index = rtnl.link_index(netlink, UPLINK)
        for address, gateway in ((NEST4, HERE4.ip), (NEST6, HERE6.ip)):
            netlink.execute(rtnl.add_address(address, index))
            netlink.execute(rtnl.replace_neighbor(gateway, HERE_MAC, index))
            netlink.execute(rtnl.replace_route(_everywhere(gateway.version), gateway, index))
        with contextlib.suppress(KernelError):
            # They are there already, if another one served this nest before.
            _deliver_here(netlink, NEST_MARK)
    nft.apply_text(f"table inet berth_clients {{\n}}\ndelete table inet berth_clients\n{NEST_RULES}")
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    frames.bind((UPLINK, 0))
    frames.setblocking(False)
    return frames


def frame(source: str, target: str, packet: bytes) -> bytes:
    """Return the Ethernet frame of an IP packet."""
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    return bytes.fromhex((target + source).replace(":", "")) + struct.pack("!H", kind) + packet
