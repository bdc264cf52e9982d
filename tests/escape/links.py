"""Attempts by frames of other kinds, and by links, addresses and routes of the sandbox's own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address

from tests.escape import packets
from tests.escape.attempts import Arguments, Here, Kind, crossed
from tests.support import frames

# --- frames that are not of IP, or say that they are not ----------------------------------------------------------------

_TYPES = {
    "experimental": 0x88B5, "LLDP": 0x88CC, "EAPOL": 0x888E, "PPPoE": 0x8863, "PPPoE session": 0x8864, "MPLS": 0x8847, "loopback": 0x9000,
    "IPX": 0x8137, "AppleTalk": 0x809B, "RARP": 0x8035, "WoL": 0x0842, "MACsec": 0x88E5, "802.3": 60, "TRILL": 0x22F3, "PTP": 0x88F7,
}  # fmt: skip
_TO = {
    "everybody": frames.BROADCAST,
    "bridges": frames.STP,
    "LLDP group": frames.LLDP,
    "LACP group": frames.LACP,
    "group": "01:00:5e:00:00:fb",
}


def _mac(here: Here, to: str) -> str:
    return _TO.get(to) or here.around[f"{to}_mac"]


def _frame(here: Here, how: Arguments) -> None:
    packets.send_frame(
        here, frames.ethernet(_mac(here, str(how["to"])), here.around["mac"], _TYPES[str(how["type"])], here.secret.ljust(60, b"."))
    )


def _tagged(here: Here, how: Arguments) -> None:
    tags = {
        "VLAN": ((frames.VLAN, 7),),
        "VLAN 0": ((frames.VLAN, 0),),
        "two": ((frames.SERVICE_VLAN, 7), (frames.VLAN, 8)),
        "many": ((frames.VLAN, 1),) * 8,
    }
    family = int(how["family"])
    where = "peer" if how["to"] == "peer" else "fresh"
    source, target = here.own(family), here.target(where, family)
    protocol, message = packets.transport(here, "udp", source, target)
    kind = frames.IPV4 if family == 4 else frames.IPV6
    inner = packets.packet(source, target, protocol, message)
    packets.send_frame(here, frames.ethernet(_mac(here, str(how["to"])), here.around["mac"], kind, inner, tags=tags[str(how["tags"])]))


def _arp(here: Here, how: Arguments) -> None:
    """A message of ARP with more behind it, or that claims an address, or has the secret in its fields."""
    own, mac = here.own(4), here.around["mac"]
    about = {"own": own, "gateway": here.around["gateway4"], "peer": here.around["peer4"], "fresh": here.target("fresh", 4)}[
        str(how["about"])
    ]
    to = _mac(here, str(how["to"]))
    target = here.around["peer4"]
    message = {
        "request": frames.arp(1, mac, about, "00:00:00:00:00:00", target), "reply": frames.arp(2, mac, about, to, target),
        "announcement": frames.arp(1, mac, about, frames.BROADCAST, about), "inverse": frames.arp(8, mac, about, to, target),
        "long addresses": b"\0\1\x08\0\x14\x14\0\1" + here.secret.ljust(80)[:80],
    }[str(how["message"])]  # fmt: skip
    packets.send_frame(here, frames.ethernet(to, mac, frames.ARP, message + here.secret * 20))


def _neighbour(here: Here, how: Arguments) -> None:
    """A message of neighbour discovery with the secret as an option of it, or behind it."""
    kind = {"solicitation": 135, "advertisement": 136, "router solicitation": 133, "router advertisement": 134, "redirect": 137}[
        str(how["message"])
    ]
    source, peer = here.own(6), here.around["peer6"]
    about = peer if how["about"] == "peer" else source
    target, to = {
        "peer": (peer, here.around["peer_mac"]), "nodes": ("ff02::1", "33:33:00:00:00:01"),
        "solicited": ("ff02::1:ff" + IPv6Address(peer).exploded[-7:], "33:33:ff:" + ":".join(here.around["peer_mac"].split(":")[3:])),
        "away": (here.target("fresh", 6), here.around["gateway_mac"]),
    }[str(how["to"])]  # fmt: skip
    body = bytes(4) + (IPv6Address(about).packed if kind in (135, 136, 137) else b"") + (IPv6Address(source).packed if kind == 137 else b"")
    option = bytes([253 if how["as"] == "option" else 1, 10]) + here.secret.ljust(78, b".")
    packets.frame_out(
        here,
        frames.icmpv6(
            source, target, kind, body + (option if how["as"] != "behind" else b"\1\1" + frames.octets(here.around["mac"]) + here.secret)
        ),
        to,
    )


def _group(here: Here, how: Arguments) -> None:
    """Datagrams and reports to groups."""
    group = str(how["group"])
    family = packets.family_of(group)
    own = here.own(family)
    if how["of"] == "report":
        protocol, message = (2, b"\x16\0\0\0" + socket.inet_aton(group) + here.secret) if family == 4 else (
            frames.ICMPV6, packets.icmp_message(own, group, 143, bytes(4) + here.secret))  # fmt: skip
    else:
        protocol, message = packets.transport(here, str(how["of"]), own, group, 9999)
    last = group.split(".")
    mac = (frames.BROADCAST if group.endswith("255") else f"01:00:5e:{int(last[1]) & 127:02x}:{int(last[2]):02x}:{int(last[3]):02x}") if family == 4 else (
        "33:33:" + ":".join(f"{octet:02x}" for octet in IPv6Address(group).packed[-4:]))  # fmt: skip
    packets.frame_out(here, packets.packet(own, group, protocol, message), mac)


# --- links, addresses and routes ----------------------------------------------------------------------------------------


def ip(*arguments: str) -> bool:
    return subprocess.run(("ip", *arguments), capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def changed(do: Iterable[Iterable[str]], undo: Iterable[Iterable[str]]) -> Iterator[None]:
    """Run commands of `ip`, and others afterwards. Those that fail have tried it."""
    try:
        for command in do:
            ip(*command)
        yield
    finally:
        for command in undo:
            ip(*command)


def send_all(here: Here, family: int, *, source: str | None = None, link: str | None = None) -> None:
    """Send by the namespace's own stack, whatever its routes are now."""
    target = here.target("fresh", family)
    with contextlib.suppress(OSError):
        packets.datagram(target, 9999, here.secret, source=source)
    with contextlib.suppress(OSError), socket.socket(packets.socket_family(target), socket.SOCK_STREAM) as sock:
        sock.settimeout(0.5)
        if link:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        if source:
            sock.bind((source, 0))
        sock.connect((target, 8080))
        sock.sendall(here.secret)
        sock.recv(1)


def _address(here: Here, how: Arguments) -> None:
    family = int(how["family"])
    what = str(how["address"])
    address = {"beside": {4: "172.17.77.77", 6: "fd77::77"}, "away": {4: "192.0.2.50", 6: "2001:db8:9::50"}}.get(what, {}).get(
        family
    ) or here.target(what, family)
    length = "32" if family == 4 else "128"
    nodad = ("nodad",) if family == 6 else ()
    with changed(
        [("addr", "add", f"{address}/{length}", "dev", here.link, *nodad)], [("addr", "del", f"{address}/{length}", "dev", here.link)]
    ):
        send_all(here, family, source=address)


def _route(here: Here, how: Arguments) -> None:
    """Another way to the target: a neighbour, the host's other addresses, or as if it were on the same link."""
    family = int(how["family"])
    target = f"{here.target('fresh', family)}/{32 if family == 4 else 128}"
    via = str(how["via"])
    way = ("dev", here.link) if via == "link" else ("via", here.target(via, family), "dev", here.link, "onlink")
    flag = "-6" if family == 6 else "-4"
    neighbour = here.target("fresh", family) if via == "link" else here.target(via, family)
    with changed(
        [(flag, "route", "replace", target, *way)], [(flag, "route", "del", target), (flag, "neigh", "del", neighbour, "dev", here.link)]
    ):
        if how["neighbour"] != "asked":
            ip("neigh", "replace", neighbour, "lladdr", here.around[f"{how['neighbour']}_mac"], "dev", here.link, "nud", "permanent")
        send_all(here, family)


def _own_mac(here: Here, how: Arguments) -> None:
    family = int(how["family"])
    mac = "02:00:00:00:07:07" if how["mac"] == "random" else here.around[f"{how['mac']}_mac"]
    with changed([("link", "set", "dev", here.link, "address", mac)], [("link", "set", "dev", here.link, "address", here.around["mac"])]):
        send_all(here, family)
        packets.frame_out(
            here,
            packets.packet(
                here.own(family),
                here.target("fresh", family),
                *packets.transport(here, "udp", here.own(family), here.target("fresh", family)),
            ),
            source=mac,
        )


_MAKE: dict[str, tuple[str, ...]] = {
    "macvlan bridge": ("type", "macvlan", "mode", "bridge"), "macvlan private": ("type", "macvlan", "mode", "private"), "macvlan vepa": ("type", "macvlan", "mode", "vepa"),
    "macvlan source": ("type", "macvlan", "mode", "source"), "macvtap": ("type", "macvtap", "mode", "bridge"), "ipvlan": ("type", "ipvlan", "mode", "l2"),
    "VLAN": ("type", "vlan", "id", "7"),
}  # fmt: skip
_TUNNELS: dict[str, tuple[str, ...]] = {
    "VXLAN": ("type", "vxlan", "id", "7", "dstport", "4789"), "GENEVE": ("type", "geneve", "id", "7"), "GRE": ("type", "gre"), "GRE with frames": ("type", "gretap"),
    "IPIP": ("type", "ipip"), "SIT": ("type", "sit"), "IPv6 in IPv6": ("type", "ip6tnl"), "GRE over IPv6": ("type", "ip6gre"),
}  # fmt: skip


def _link_on_it(here: Here, how: Arguments) -> None:
    """A link on the sandbox's own, with a MAC address of its own; it takes the sandbox's address."""
    family = int(how["family"])
    name, own = "own0", here.own(family)
    length = "16" if family == 4 else "64"
    nodad = ("nodad",) if family == 6 else ()
    target = here.target("fresh", family)
    make = [("link", "add", name, "link", here.link, *_MAKE[str(how["link"])]), ("link", "set", name, "up"), ("addr", "add", f"{own}/{length}", "dev", name, *nodad),
            ("route", "replace", target, "via", here.around[f"gateway{family}"], "dev", name, "onlink")]  # fmt: skip
    with changed(make, [("link", "del", name)]):
        send_all(here, family, link=name)


def _tunnel(here: Here, how: Arguments) -> None:
    over = int(how["over"])
    inner = {"IPIP": 4, "SIT": 6, "IPv6 in IPv6": 6}.get(str(how["link"]), 4)
    remote = here.target(str(how["to"]), over)
    make = [("link", "add", "own0", *_TUNNELS[str(how["link"])], "remote", remote, *(() if how["link"] == "GENEVE" else ("local", here.own(over)))), ("link", "set", "own0", "up"),
            ("route", "replace", here.target("fresh", inner), "dev", "own0")]  # fmt: skip
    with changed(make, [("link", "del", "own0")]):
        send_all(here, inner)


def _bridge(here: Here, how: Arguments) -> None:
    """The sandbox's link becomes a port of a bridge of its own, with a pair of links behind it."""
    family = int(how["family"])
    target = here.target("fresh", family)
    make = [("link", "add", "own0", "type", "bridge"), ("link", "set", "own0", "up"), ("link", "add", "own1", "type", "veth", "peer", "name", "own2"), ("link", "set", "own1", "master", "own0", "up"),
            ("link", "set", "own2", "address", "02:00:00:00:05:05", "up"), ("link", "set", here.link, "master", "own0")]  # fmt: skip
    with changed(make, [("link", "set", here.link, "nomaster"), ("link", "del", "own1"), ("link", "del", "own0")]):
        source = here.own(family)
        packet = packets.packet(source, target, *packets.transport(here, "udp", source, target))
        kind = frames.IPV4 if family == 4 else frames.IPV6
        for mac in ("02:00:00:00:05:05", here.around["mac"], here.around["free_mac"]):
            with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
                sock.bind(("own2", 0))
                sock.send(frames.ethernet(here.around["gateway_mac"], mac, kind, packet))


def _translation(here: Here, how: Arguments) -> None:
    """Rules of the sandbox's own change addresses and ports of what it sends, or take its packets out of tracking."""
    family = int(how["family"])
    ip_word = "ip" if family == 4 else "ip6"
    fresh = here.target("fresh", family)
    rule = {
        "source": f"{ip_word} daddr {fresh} snat to {here.around[f'free{family}']}", "destination": f"{ip_word} daddr {here.target('named', family)} dnat to {fresh}",
        "untracked": f"{ip_word} daddr {fresh} notrack", "mark": f"{ip_word} daddr {fresh} meta mark set 0x80000001", "connection mark": f"{ip_word} daddr {fresh} ct mark set 0x80000001",
        "copy": f"{ip_word} daddr {fresh} dup to {here.around[f'peer{family}']} device {here.link}",
    }[str(how["rule"])]  # fmt: skip
    chain = {
        "source": "type nat hook postrouting priority 100",
        "destination": "type nat hook output priority -100",
        "untracked": "type filter hook output priority -300",
    }.get(str(how["rule"]), "type filter hook output priority 0")
    text = f"table {ip_word} escape {{ chain c {{ {chain}; {rule} }} }}"
    subprocess.run(("nft", text), capture_output=True, check=False)
    try:
        send_all(here, family)
        if how["rule"] == "destination":
            packets.datagram(here.target("named", family), 9999, here.secret)
            packets.connect(here.target("named", family), 8080, here.secret)
    finally:
        subprocess.run(("nft", "delete", "table", ip_word, "escape"), capture_output=True, check=False)


_FAMILY = packets.FAMILIES

KINDS = (
    Kind(name="frames of other kinds", variants=lambda: crossed(type=_TYPES, to=(*_TO, "peer", "gateway")), make=_frame, shown={"to": "peer"}),
    Kind(name="frames with tags", variants=lambda: crossed(tags=("VLAN", "VLAN 0", "two", "many"), to=("peer", "gateway", "everybody"), family=_FAMILY), make=_tagged, shown={"to": "peer"}),
    Kind(name="ARP", variants=lambda: crossed(message=("request", "reply", "announcement", "inverse", "long addresses"), about=("own", "gateway", "peer", "fresh"), to=("everybody", "peer", "gateway")), make=_arp, shown={"to": "peer"}),
    Kind(name="neighbour discovery", variants=lambda: crossed(message=("solicitation", "advertisement", "router solicitation", "router advertisement", "redirect"), about=("peer", "own"), to=("peer", "nodes", "solicited", "away"), **{"as": ("option", "link-layer address", "behind")}), make=_neighbour),
    Kind(name="groups", variants=lambda: crossed(group=("224.0.0.1", "224.0.0.251", "239.1.2.3", "255.255.255.255", "172.17.255.255", "ff02::1", "ff02::2", "ff02::fb", "ff05::1:3", "ff0e::1"), of=("udp", "icmp", "report")), make=_group),
    Kind(name="own addresses", variants=lambda: crossed(address=("free", "peer", "gateway", "host", "outside", "beside", "away"), family=_FAMILY), make=_address, exclusive=True, shown={"family": 6}),
    Kind(name="own routes", variants=lambda: crossed(via=("router", "peer", "free", "host", "outside", "link"), neighbour=("asked", "gateway", "router", "peer"), family=_FAMILY), make=_route, exclusive=True, shown={"via": "router"}),
    Kind(name="own MAC addresses", variants=lambda: crossed(mac=("random", "peer", "free", "gateway", "router"), family=_FAMILY), make=_own_mac, exclusive=True),
    Kind(name="own links", variants=lambda: crossed(link=_MAKE, family=_FAMILY), make=_link_on_it, exclusive=True, shown={"link": "macvlan bridge"}),
    Kind(name="own tunnels", variants=lambda: ({**how, "over": 6 if "IPv6" in str(how["link"]) else 4} for how in crossed(link=_TUNNELS, to=("fresh", "named", "peer", "host"))), make=_tunnel, exclusive=True, shown={"to": "named"}),
    Kind(name="own bridge", variants=lambda: crossed(family=_FAMILY), make=_bridge, exclusive=True),
    Kind(name="own firewall rules", variants=lambda: crossed(rule=("source", "destination", "untracked", "mark", "connection mark", "copy"), family=_FAMILY), make=_translation, exclusive=True),
)  # fmt: skip
